"""book/_ext/downloads.py: what a reader takes along."""

import re
import subprocess
import zipfile
from types import SimpleNamespace

import nbformat
import pytest

from book._ext import downloads, store

SOURCES = {path.stem: path for path in store.NOTEBOOKS}


@pytest.mark.parametrize("name", SOURCES)
def test_an_exercise_copy_asks_and_does_not_answer(name):
    source = nbformat.read(SOURCES[name], as_version=4)
    found = downloads.exercises(source)
    assert len(found.cells) == len(source.cells)
    folds = 0
    for cell, asked in zip(source.cells, found.cells, strict=True):
        for question in re.findall("<summary>(.*?)</summary>", cell.source):
            folds += 1
            assert question in ("Solution", "Answer") or question in asked.source
        assert "<details>" not in asked.source
    told = sum(cell.source.count("*Your answer:*") for cell in found.cells)
    empty = sum(cell.source == "# your code\n" for cell in found.cells)
    assert told == folds > 0 and empty > 0
    nbformat.validate(found)


def test_the_zip_holds_what_the_book_needs_and_nothing_made(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROOT", tmp_path)
    for name in downloads.BOOK:
        path = tmp_path / name
        if name in ("book", "helpers", "notebooks", "tests", ".ci", ".github"):
            (path / "__pycache__").mkdir(parents=True)
            (path / "__pycache__" / "x.pyc").write_text("made")
            (path / ".DS_Store").write_text("made")
            (path / ".part-x").mkdir()
            for rows in ("rows.csv.part", ".part-x/rows.csv", ".bench.lock"):
                (path / rows).write_text("being written")
            (path / "own.py").write_text("own")
        else:
            path.write_text(name)
    (tmp_path / "_build").mkdir()
    (tmp_path / "_build" / "page.html").write_text("made")
    downloads.write_book(tmp_path / "book.zip")
    with zipfile.ZipFile(tmp_path / "book.zip") as book:
        names = book.namelist()
    assert len(names) == len(downloads.BOOK) and "unet-family-book/README.md" in names
    assert not re.findall("pyc|_build|DS_Store|part|lock", " ".join(names))


def test_a_chapter_without_a_run_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FOLDER", tmp_path / "store")
    monkeypatch.setattr(store, "NOTEBOOKS", store.NOTEBOOKS[:1])
    monkeypatch.setattr(downloads, "BOOK", ("README.md",))
    env = SimpleNamespace(found_docs=["book/downloads"])
    kind = SimpleNamespace(format="html")
    app = SimpleNamespace(env=env, builder=kind, outdir=tmp_path / "html")
    downloads.write_all(app, None)
    made = tmp_path / "html" / downloads.FOLDER
    names = sorted(path.name for path in made.rglob("*.*"))
    assert names == ["00_segmentation.ipynb", "unet-family-book.zip"]
    assert (made / "exercises" / "00_segmentation.ipynb").is_file()


def test_the_zip_names_all_that_is_tracked():
    command = ["git", "ls-files", "-z"]
    tracked = subprocess.check_output(command, cwd=store.ROOT, text=True)
    names = {path.split("/")[0] for path in tracked.strip("\0").split("\0")}
    assert set(downloads.BOOK) == names
