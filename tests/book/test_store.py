"""book/_ext/store.py: the store of executed notebooks, and its command line."""

import sys

import nbformat
import pytest
from jupyter_cache import get_cache
from nbformat.v4 import new_code_cell, new_notebook

from book._ext import store


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A notebook, and a store of its own that is empty."""
    monkeypatch.setattr(store, "FOLDER", tmp_path / "store")
    path = tmp_path / "02_unet.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), path)
    return path


@pytest.mark.parametrize("asked", [[], ["runs"], ["run", "02"], ["unchanged"]])
def test_another_word_than_run_and_unchanged_runs_nothing(asked, monkeypatch, capsys):
    done = []
    monkeypatch.setattr(store, "drop_pages", lambda: done.append("drop_pages"))
    monkeypatch.setattr(store, "run", lambda paths: done.append("run"))
    assert store.main(asked) == 2 and not done
    told = capsys.readouterr().err
    assert told.startswith(f"{' '.join(asked)!r} is neither `run` nor `unchanged")
    store.main(["run"])
    assert done == ["drop_pages", "run"]


STORES = """
from pathlib import Path
import nbformat
from book._ext import store
store.FOLDER, path = Path({folder!r}), Path({path!r})
notebook = nbformat.read(path, 4)
store.store(path, notebook, execution_seconds=1, fingerprint="a")
"""


def test_a_build_that_executed_a_chapter_fails(path, capfd):
    assert store.main(["unchanged", sys.executable, "-c", "pass"]) == 0
    assert store.unchanged([sys.executable, "-c", "raise SystemExit(3)"]) == 3
    code = STORES.format(folder=str(store.FOLDER), path=str(path))
    assert store.unchanged([sys.executable, "-c", code]) == 1
    assert "The build executed 02_unet.ipynb" in capfd.readouterr().out


def test_a_new_run_takes_the_place_of_the_one_before_it(path):
    other = path.with_name("03_vnet.ipynb")
    for name, code in ((path, "1"), (other, "2"), (path, "3")):
        notebook = new_notebook(cells=[new_code_cell(code)])
        nbformat.write(notebook, name)
        store.store(name, notebook, execution_seconds=1, fingerprint="a")
    assert len(get_cache(store.FOLDER).list_cache_records()) == 2
    assert store.executed(path).cells[0].source == "3"
    assert store.executed(other).cells[0].source == "2"


def test_a_set_that_is_brought_makes_its_chapter_anew_and_no_other():
    changed = []
    for path in store.NOTEBOOKS:
        without = store.fingerprint(path, [])
        if without != store.fingerprint(path, ["dsb2018"]):
            changed.append(path.stem)
    assert changed == ["09_real_pictures"]


def test_a_set_on_its_way_is_not_in_place(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROOT", tmp_path)
    assert store.in_place() == []
    for name in ("hc18", "hc18.git.part", "drive.part", ".part-x"):
        (tmp_path / "downloads" / "real" / name).mkdir(parents=True)
    assert store.in_place() == ["hc18"]
