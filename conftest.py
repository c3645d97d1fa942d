"""One execution of each notebook serves the tests, the Colab check and the pages.

nbmake executes a copy of the notebook, alone in an empty folder and told that it is
in Colab, so its setup cell has to fetch the book. The executed copy is stored as the
run that `jupyter-book build` finds, with its seconds and its peak memory.
"""

import shutil
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import psutil
import pytest

from tools import cache, colab

ALONE = "unet-book-alone-"  # begins the name of the folder a notebook is run in
CLOSING = pytest.StashKey()  # lines that a test wants to see at the end of the run


def pytest_configure(config):
    config.stash[CLOSING] = []
    if config.option.nbmake:
        config.option.overwrite = True  # of the copy: see pytest_runtest_call
        cache.fresh()


@pytest.fixture
def closing(pytestconfig):
    """Lines to print above the run's last line."""
    return pytestconfig.stash[CLOSING]


def pytest_terminal_summary(terminalreporter):
    for line in terminalreporter.config.stash[CLOSING]:
        terminalreporter.write_line(line)


class PeakMemory(threading.Thread):
    """Samples the memory of all processes below this one: kernels, their workers."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.over = 0, threading.Event()

    def run(self):
        while not self.over.wait(0.2):
            self.peak = max(self.peak, sum(map(rss, psutil.Process().children(True))))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def rss(process):
    """Return the bytes that a process holds, 0 if it has just ended."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if not getattr(item, "nbmake", False):
        return (yield)
    notebook = Path(item.filename)
    cache.forget(notebook)
    empty = TemporaryDirectory(prefix=ALONE)
    with empty as folder, pytest.MonkeyPatch.context() as patch, PeakMemory() as memory:
        bare = colab.publish(Path(folder) / "book.git")
        for name, value in colab.pretend(bare).items():
            patch.setenv(name, value)
        alone = Path(folder) / "colab" / notebook.name
        alone.parent.mkdir()
        shutil.copy(notebook, alone)
        patch.setattr(item, "filename", str(alone))
        start = time.perf_counter()
        result = yield
        seconds = time.perf_counter() - start
        executed = nbformat.read(alone, as_version=4)
    cache.store(notebook, executed, seconds, memory.peak / 2**20)
    return result
