"""What git holds: clean notebooks, all of them in the book, nothing too large."""

import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml

from tools import stamp

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 600 * 1024


def listed():
    """Return the files that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    paths = [ROOT / name for name in names.decode().split("\0") if name]
    return sorted(path for path in paths if path.is_file())


NOTEBOOKS = [path for path in listed() if path.suffix == ".ipynb"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    """The path of each notebook in turn."""
    return request.param


@pytest.fixture
def notebook(path):
    """Each notebook in turn."""
    return nbformat.read(path, as_version=4)


def test_there_are_notebooks_and_all_are_in_the_table_of_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [page["file"] for part in toc["parts"] for page in part["chapters"]]
    found = [str(path.relative_to(ROOT).with_suffix("")) for path in NOTEBOOKS]
    assert found
    assert found == [name for name in files if name.startswith("notebooks/")]


def test_a_notebook_holds_no_output(path, notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    dirty = [c.id for c in code if c.outputs or c.execution_count is not None]
    assert not dirty, f"run: .venv/bin/nbstripout --keep-id {path.relative_to(ROOT)}"


def test_a_notebook_is_valid_with_cell_ids_and_the_plain_kernel(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5), "no cell ids"
    assert notebook.metadata.kernelspec.name == "python3"


def test_a_notebook_is_stamped(path, tmp_path):
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    changed = stamp.stamp(copy, stamp.setup_source())
    assert not changed, "run: .venv/bin/python -m tools.stamp"


def test_what_the_helpers_and_chapters_import_is_required():
    lacking = [module for module, name in stamp.requirements().items() if not name]
    # IPython comes with every kernel, Colab's too.
    assert set(lacking) <= {"IPython"}, "not in requirements.txt"


def test_no_file_is_too_large():
    large = [path for path in listed() if path.stat().st_size > LARGEST]
    assert not large, "larger than 600 KiB"
