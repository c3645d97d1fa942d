"""The setup cell: in a checkout, in Colab, and in Colab with no way to the book."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import colab, stamp

ROOT = Path(__file__).resolve().parents[1]
CELL = stamp.setup_source()
BOOK = stamp.repository()[0].split("/")[-1]
WHENCE = "\nimport helpers.chapters\nprint(helpers.chapters.__file__)"
LACKS = stamp.needs()[0]
# Python as it would be if that package were absent and pip only noted what it is asked.
PRETEND = """
import importlib.metadata, subprocess
_have, _run = importlib.metadata.distributions, subprocess.run
importlib.metadata.distributions = lambda: [d for d in _have() if d.name != "{lacks}"]
def _noted(command, **options):
    if "pip" not in command:
        return _run(command, **options)
    print("pip", *command[command.index("install"):])
    return subprocess.CompletedProcess(command, {status})
subprocess.run = _noted
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A bare repository that holds the working tree."""
    return colab.publish(tmp_path_factory.mktemp("published") / "book.git")


def run(folder, source, env=None):
    """Run code in a folder as a fresh Python, with further environment variables."""
    command = [sys.executable, "-c", source]
    env = os.environ | (env or {})
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env)


def one_sentence(done):
    """Return what a failed run said, which must be a single line."""
    assert done.returncode
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_in_a_checkout_the_cell_only_finds_the_book():
    done = run(ROOT / "notebooks", CELL + WHENCE)
    assert done.stdout.split() == [str(ROOT / "helpers" / "chapters.py")], done.stderr


def test_outside_a_checkout_the_cell_says_what_to_do(tmp_path):
    done = run(tmp_path, CELL)
    assert one_sentence(done).endswith(f"git clone {stamp.repository()[0]}")


def test_in_colab_the_cell_fetches_the_book_once(tmp_path, published):
    env = colab.pretend(published)
    first = run(tmp_path, CELL + WHENCE, env)
    said = f"Book in {tmp_path / BOOK}, installed nothing:"
    assert said in first.stdout, first.stderr
    assert first.stdout.split()[-1] == str(tmp_path / BOOK / "helpers" / "chapters.py")
    assert [path.name for path in tmp_path.iterdir()] == [BOOK]
    (tmp_path / BOOK / "mine.txt").write_text("the reader's own")
    second = run(tmp_path, CELL + CELL + WHENCE, env)
    assert second.stdout.split()[-1] == first.stdout.split()[-1], second.stderr
    assert (tmp_path / BOOK / "mine.txt").exists()


def test_what_is_published_is_the_working_tree(tmp_path, published):
    colab.git("clone", "--quiet", str(published), str(tmp_path / BOOK))
    for name in ("_config.yml", "helpers/chapters.py", "tests/test_colab.py"):
        assert (tmp_path / BOOK / name).read_bytes() == (ROOT / name).read_bytes()
    assert not (tmp_path / BOOK / ".venv").exists()


def test_with_nothing_lacking_no_package_is_touched(tmp_path, published):
    site = importlib.metadata.distribution("torch").locate_file("")
    before = os.stat(site).st_mtime_ns
    fake = PRETEND.format(lacks="", status=0)
    done = run(tmp_path, fake + CELL, colab.pretend(published))
    assert "installed nothing" in done.stdout, done.stderr
    assert "pip" not in done.stdout
    assert os.stat(site).st_mtime_ns == before


def test_a_lacking_package_is_installed_and_torch_and_numpy_stay(tmp_path, published):
    fake = PRETEND.format(lacks=LACKS, status=0)
    done = run(tmp_path, fake + CELL, colab.pretend(published))
    assert done.returncode == 0, done.stderr
    pip, said = done.stdout.splitlines()
    version = importlib.metadata.version
    keep = f"numpy=={version('numpy')} torch=={version('torch')}"
    assert pip == f"pip install {LACKS} {keep}"
    assert f"installed {LACKS}" in said


def test_a_package_that_cannot_be_installed_is_named(tmp_path, published):
    fake = PRETEND.format(lacks=LACKS, status=1)
    done = run(tmp_path, fake + CELL, colab.pretend(published))
    assert one_sentence(done).startswith(f"Could not install {LACKS}. Check the netw")


def test_with_the_book_out_of_reach_the_cell_says_so_and_leaves_nothing(tmp_path):
    folder = tmp_path / "colab"
    folder.mkdir()
    done = run(folder, CELL, colab.pretend(tmp_path / "nowhere.git"))
    assert one_sentence(done).startswith(f"Could not fetch {stamp.repository()[0]}. ")
    assert not list(folder.iterdir())
