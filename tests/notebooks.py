"""One execution of each notebook serves the tests, the Colab check and the pages.

nbmake executes a copy of the notebook, alone in an empty folder and told that it is
in Colab, so its setup cell has to fetch the book. The executed copy is stored as the
run that `jupyter-book build` finds, with its seconds and its peak memory. With `-n 2`
two notebooks run side by side, each with one process; the store is written by the
process that controls them.
"""

import shutil
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import psutil
import pytest

from book._ext import store
from tests import colab, timings

ALONE = "unet-book-alone-"  # begins the name of the folder a notebook is run in
EXECUTED = store.ROOT / "_build" / "executed"  # where the workers leave their copies
LONGEST_FIRST = ("06", "02", "03", "01", "05", "04", "08", "10", "07", "00", "09")


def pytest_configure(config):
    config.option.overwrite = True  # of the copy: see pytest_runtest_call
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Keeper())


def pytest_collection_modifyitems(items):
    """Begin with the longest notebooks, so that no worker is left with one at the end.

    But 10, which starts processes of its own, runs beside the smallest. A notebook that
    the list does not know comes first.
    """

    def place(item):
        number = Path(item.filename).name[:2]
        return LONGEST_FIRST.index(number) if number in LONGEST_FIRST else -1

    if all(getattr(item, "nbmake", False) for item in items):
        items.sort(key=place)


class PeakMemory(threading.Thread):
    """Samples the memory of all processes below this one: kernels, their workers.

    What several processes share, as the libraries' code, is divided between them.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.over = 0, threading.Event()

    def run(self):
        while not self.over.wait(0.5):
            below = psutil.Process().children(recursive=True)
            self.peak = max(self.peak, sum(map(held, below)))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def held(process):
    """Return the bytes that a process holds, 0 if it has just ended."""
    try:
        memory = process.memory_full_info()
    except psutil.Error:
        return 0
    return getattr(memory, "pss", memory.rss)  # Linux alone knows what is shared


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if not getattr(item, "nbmake", False):
        return (yield)
    notebook = Path(item.filename)
    mark = store.fingerprint(notebook, sets=[])  # alone, it finds no real set
    item.user_properties.append(("notebook", str(notebook)))
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
        EXECUTED.mkdir(parents=True, exist_ok=True)
        shutil.copy(alone, EXECUTED)
    data = {"execution_seconds": seconds, "peak_mib": memory.peak / 2**20}
    item.user_properties += [*data.items(), ("fingerprint", mark)]
    return result


class Keeper:
    """Stores each run and sums up at the end; lives in the controlling process."""

    def __init__(self):
        # Here, not above: the workers have no use for what they bring along.
        from book._ext import tally
        from tests import verdicts

        self.boxes, self.verdicts = tally.boxes, verdicts
        self.runs, self.old, self.new = [], [], []
        self.start, self.memory = time.perf_counter(), PeakMemory()
        store.drop_pages()
        store.forget_stale()
        self.memory.start()

    def pytest_runtest_logreport(self, report):
        data = dict(report.user_properties)
        if report.when != "call" or "notebook" not in data:
            return
        notebook = Path(data.pop("notebook"))
        store.forget(notebook)
        if report.passed:
            executed = nbformat.read(EXECUTED / notebook.name, as_version=4)
            store.store(notebook, executed, **data)
            chapter = notebook.stem
            peak = data["peak_mib"] * 2**20
            self.runs.append((chapter, data["execution_seconds"], peak))
            self.new += self.verdicts.rows(chapter, self.boxes(executed))
            recorded = self.verdicts.recorded()
            self.old += [row for row in recorded if row["chapter"] == chapter]

    def pytest_terminal_summary(self, terminalreporter):
        total = ("total", time.perf_counter() - self.start, self.memory.peak)
        say = terminalreporter.write_line
        for line in timings.table(self.runs, total):
            say(line)
        changed = self.verdicts.changes(self.old, self.new)
        say(f"\n{len(self.new)} verdicts, {len(changed)} changed since verdicts.csv")
        for line in changed:
            say(line)
