"""The networks come out of the notebooks as ordinary Python modules."""

import builtins
import dis
import inspect
import pickle
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import nbformat
import pytest

from helpers import chapters

NET = "class Net:\n    def forward(self, x):\n        return x / 0"
OTHER = "raise SystemExit('a cell without the tag must not run')"


def write(path, cells):
    """Write a notebook of (tag, source) code cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.v4.new_notebook()
    for tag, source in cells:
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": [tag]})
        notebook.cells.append(cell)
    nbformat.write(notebook, path)


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A folder with three chapters in the place of the book's."""
    write(tmp_path / "91_net.ipynb", [("export", NET), ("other", OTHER)])
    write(tmp_path / "92_empty.ipynb", [("other", "x = 1")])
    write(tmp_path / "93_late.ipynb", [("export", "x = 1"), ("export", "y = x / 0")])
    monkeypatch.setattr(chapters, "NOTEBOOKS", tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("helpers.chapters.9")]:
        del sys.modules[name]


def test_only_exported_cells_run_and_only_once(notebooks):
    module = chapters.load("91_net")
    assert module.Net.__module__ == module.__name__ == "helpers.chapters.91_net"
    assert chapters.load("91_net") is module


def test_source_and_tracebacks_show_the_chapters_lines(notebooks):
    module = chapters.load("91_net")
    assert inspect.getsource(module.Net).strip() == NET
    with pytest.raises(ZeroDivisionError) as caught:
        module.Net().forward(1)
    last = "".join(traceback.format_exception(caught.value))
    assert f"{notebooks / '91_net.ipynb'}" in last
    assert "return x / 0" in last


def test_a_cell_that_fails_is_named_and_leaves_no_module(notebooks):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as caught:
            chapters.load("93_late")
        assert "y = x / 0" in "".join(traceback.format_exception(caught.value))


def test_objects_of_a_chapter_are_pickled_by_name(notebooks):
    net = chapters.load("91_net").Net()
    assert type(pickle.loads(pickle.dumps(net))) is type(net)


def test_worker_processes_find_the_chapter(tmp_path):
    """As in Colab: the book is in a folder that only sys.path tells of."""
    book = tmp_path / "book"
    (book / "helpers").mkdir(parents=True)
    for name in ("__init__.py", "chapters.py"):
        shutil.copy(Path(chapters.__file__).parent / name, book / "helpers")
    source = "def double(x):\n    return 2 * x"
    write(book / "notebooks" / "94_double.ipynb", [("export", source)])
    script = f"""
import sys
sys.path.insert(0, {str(book)!r})
import joblib
from helpers import chapters
double = chapters.load("94_double").double
print(joblib.Parallel(2)(joblib.delayed(double)(x) for x in range(3)))
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "[0, 2, 4]", done.stderr


def test_an_unknown_chapter_is_refused_with_those_there_are(notebooks):
    with pytest.raises(ValueError, match="no chapter '91'; there are: 91_net, 92_"):
        chapters.load("91")


def test_a_chapter_that_exports_nothing_is_refused(notebooks):
    with pytest.raises(ValueError, match=r"92_empty\.ipynb has no cell tagged export"):
        chapters.load("92_empty")


def read_by(code):
    """The names that some code and the functions in it read from their module."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            yield instruction.argval
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            yield from read_by(constant)


CHAPTERS = sorted(path.stem for path in chapters.NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_is_exported_finds_all_that_it_reads(name):
    module = chapters.load(name)
    code = compile(chapters.source(chapters.NOTEBOOKS / f"{name}.ipynb"), name, "exec")
    known = vars(module).keys() | vars(builtins).keys()
    assert set(read_by(code)) <= known
