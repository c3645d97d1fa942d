"""What all tests share: cores to each process, and lines at the end of a run."""

import os

import pytest

CLOSING = []  # lines that a test wants to see at the end of the run


def pytest_configure(config):
    work = getattr(config, "workerinput", dict(workercount=1))
    if work["workercount"] > 1:
        os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # or each would take all cores
    if config.getoption("nbmake", False):
        from tests import notebooks  # unit tests do without all that it brings along

        config.pluginmanager.register(notebooks)


@pytest.fixture
def closing(record_property):
    """A function that prints a line above the run's last one, from any process."""
    return lambda line: record_property("closing", line)


def pytest_runtest_logreport(report):
    if report.when == "call":
        properties = report.user_properties
        CLOSING.extend(line for name, line in properties if name == "closing")


def pytest_terminal_summary(terminalreporter):
    for line in CLOSING:
        terminalreporter.write_line(line)
