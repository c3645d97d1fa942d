"""The setup cell: in a checkout, in Colab, and in Colab with no way to the book.

That each whole chapter runs so is shown by `pytest notebooks`: see tests/notebooks.py.
"""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from book._ext.address import repository
from book._ext.store import ROOT
from tests import colab

URL = repository()[0]
BOOK = URL.split("/")[-1]
FIRST = nbformat.read(ROOT / "notebooks" / "00_segmentation.ipynb", as_version=4)
CELL = next(c.source for c in FIRST.cells if "setup" in c.metadata.get("tags", []))
WHENCE = "\nimport helpers.chapters\nprint(helpers.chapters.__file__)"
# Python whose pip only notes what it is asked, or says what went wrong.
PRETEND = """
import subprocess
_run = subprocess.run
def _noted(command, **options):
    if "pip" not in command:
        return _run(command, **options)
    print("pip", *command[command.index("install"):])
    return _run([{program!r}], **options)
subprocess.run = _noted
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A bare repository that holds the working tree."""
    return colab.publish(tmp_path_factory.mktemp("published") / "book.git")


def run(folder, source, env=None):
    """Run code in a folder as a fresh Python, with further environment variables."""
    command = [sys.executable, "-c", source]
    env = os.environ | dict(LC_ALL="C", LANGUAGE="") | (env or {})
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env)


def test_in_a_checkout_the_cell_only_finds_the_book():
    done = run(ROOT / "notebooks", CELL + WHENCE)
    assert done.stdout.split() == [str(ROOT / "helpers" / "chapters.py")], done.stderr


def test_outside_a_checkout_the_cell_says_what_to_do(tmp_path):
    done = run(tmp_path, CELL)
    assert done.returncode
    assert done.stderr.endswith(f"No book here: git clone {URL}\n")


def test_in_colab_the_cell_fetches_the_book_once(tmp_path, published):
    env = colab.pretend(published)
    first = run(tmp_path, CELL + WHENCE, env)
    assert first.stdout.strip() == str(tmp_path / BOOK / "helpers" / "chapters.py")
    assert [path.name for path in tmp_path.iterdir()] == [BOOK]
    (tmp_path / BOOK / "mine.txt").write_text("the reader's own")
    second = run(tmp_path, CELL + "\n" + CELL + WHENCE, env)
    assert second.stdout == first.stdout, second.stderr
    assert (tmp_path / BOOK / "mine.txt").exists()


def test_what_is_published_is_the_working_tree(tmp_path, published):
    colab.git("clone", "--quiet", str(published), str(tmp_path / BOOK))
    for name in ("_config.yml", "helpers/chapters.py", "requirements-colab.txt"):
        assert (tmp_path / BOOK / name).read_bytes() == (ROOT / name).read_bytes()
    assert not (tmp_path / BOOK / ".venv").exists()


def test_pip_is_asked_for_what_colab_lacks_and_nothing_else(tmp_path, published):
    fake = PRETEND.format(program="true")
    done = run(tmp_path, fake + CELL, colab.pretend(published))
    lacks = Path(tmp_path, BOOK, "requirements-colab.txt")
    assert done.stdout == f"pip install --quiet -r {lacks}\n", done.stderr


def test_a_pip_that_fails_stops_the_cell(tmp_path, published):
    fake = PRETEND.format(program="false")
    done = run(tmp_path, fake + CELL + WHENCE, colab.pretend(published))
    assert done.returncode
    assert "CalledProcessError" in done.stderr
    assert done.stdout.startswith("pip install") and "chapters.py" not in done.stdout


def test_with_the_book_out_of_reach_git_says_so_and_nothing_is_left(tmp_path):
    folder = tmp_path / "colab"
    folder.mkdir()
    done = run(folder, CELL + WHENCE, colab.pretend(tmp_path / "nowhere.git"))
    assert done.returncode
    assert "nowhere.git" in done.stderr and "fatal: " in done.stderr
    assert URL in done.stderr.splitlines()[-1] and not done.stdout
    assert not list(folder.iterdir())
