"""What git holds: clean notebooks, all of them in the book, nothing too large."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement

from book._ext import address, preview, store

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 600 * 1024
BINARY = {".png", ".csv", ".safetensors"}  # and tables, which are long
COLAB_HAS = {  # of what the book imports
    "accelerate", "filelock", "ipywidgets", "joblib", "matplotlib", "numpy", "pandas",
    "pillow", "psutil", "safetensors", "scikit-image", "scipy", "tifffile", "torch",
}  # fmt: skip


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


# --- the address ------------------------------------------------------------------


def setup_cell(path):
    """Return the one cell of a notebook that is tagged setup."""
    cells = nbformat.read(path, as_version=4).cells
    (cell,) = [c for c in cells if "setup" in c.metadata.get("tags", [])]
    return cell


def test_a_notebook_opens_with_its_link_and_the_setup_cell_of_all(path, notebook):
    title, setup = notebook.cells[:2]
    name = f"/notebooks/{path.name})"
    assert re.match(r"# .+\n\n\[Run this chapter in Colab\]\(", title.source)
    assert title.source.count(name) == 1
    assert setup == setup_cell(path)
    assert setup.source == setup_cell(NOTEBOOKS[0]).source
    assert f'BOOK = "{address.repository()[0]}"' in setup.source
    assert set(setup.metadata.tags) == {"setup", "hide-input", "remove-output"}


@pytest.mark.parametrize("copy", address.COPIES, ids=lambda path: path.stem)
def test_every_copy_of_the_address_is_that_of_the_configuration(copy):
    assert copy.read_text(encoding="utf-8") == address.addressed(copy), "make address"


def test_another_address_reaches_every_copy(monkeypatch):
    old, _ = address.repository()
    new = "https://github.com/somebody/elsewhere"
    monkeypatch.setattr(address, "repository", lambda: (new, "edition"))
    for copy in address.COPIES:
        before, after = copy.read_text(encoding="utf-8"), address.addressed(copy)
        assert before.count(old) and old not in after
        assert before.count(old) == after.count(new)
        if copy.suffix == ".ipynb":
            link = f"github/somebody/elsewhere/blob/edition/notebooks/{copy.name}"
            assert after.count(link) == 1


# --- packages ---------------------------------------------------------------------


def modules(source):
    """Yield the top-level modules that some Python code imports."""
    # Lines for IPython, such as %timeit, are no Python and import nothing.
    tree = ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


def imported(paths):
    """Return the modules that some files import, Python's and the book's left out."""
    sources = []
    for path in paths:
        if path.suffix == ".py":
            sources.append(path.read_text(encoding="utf-8"))
        else:
            cells = nbformat.read(path, as_version=4).cells
            sources += [cell.source for cell in cells if cell.cell_type == "code"]
    found = set()
    for source in sources:
        found |= set(modules(source))
    ours = {path.stem for path in ROOT.glob("tests/**/*.py")} | {"book", "helpers"}
    return found - ours - {"tests"} - sys.stdlib_module_names


def names(file):
    """Return the packages that a file of requirements lists."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return {Requirement(line).name for line in lines if line and line[0] not in "#-"}


def packages(modules, listed):
    """Return the listed packages that hold some modules; all must have one."""
    known, needed, lacking = packages_distributions(), set(), set()
    for module in modules:
        package = listed.intersection(known.get(module, ()))
        needed |= package
        if not package:
            lacking.add(module)
    assert not lacking, "not in requirements.txt"
    return needed


def test_what_helpers_and_chapters_import_is_required_and_colab_gets_it():
    found = imported([*(ROOT / "helpers").rglob("*.py"), *NOTEBOOKS])
    found -= {"IPython"}  # comes with every kernel, Colab's too
    needed = packages(found, names("requirements.txt"))
    assert names("requirements-colab.txt") == needed - COLAB_HAS


def test_what_the_tests_and_the_build_import_is_pinned():
    found = imported(path for path in listed() if path.suffix == ".py")
    assert packages(found, names("requirements.txt") | names("constraints.txt"))


def test_what_colab_installs_leaves_its_torch_and_numpy_alone():
    """None of these packages asks for torch, or for a NumPy newer than Colab's 2.0."""
    seen, todo = set(), names("requirements-colab.txt")
    while todo:
        package = todo.pop()
        seen.add(package)
        for line in requires(package) or ():
            needed = Requirement(line)
            if needed.marker and not needed.marker.evaluate({"extra": ""}):
                continue
            assert needed.name != "torch", package
            if needed.name == "numpy":
                assert needed.specifier.contains("2.0.2"), f"{package}: {line}"
            if needed.name not in seen:
                todo.add(needed.name)
    assert "numpy" in seen


# --- the rest ---------------------------------------------------------------------


def recipe(target):
    """Return the commands of a make target, as make would run them."""
    command = [
        "make",
        "--no-print-directory",
        "-n",
        "-o",
        ".venv/requirements.stamp",
        target,
    ]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "target, file",
    [("book", "README.md"), ("test", "README.md"), ("book", "book/how_to_use.md")],
)
def test_the_commands_without_make_are_those_of_the_makefile(target, file):
    text = (ROOT / file).read_text(encoding="utf-8")
    told = text.split(f"# make {target}\n")[1].split("\n\n")[0].split("```")[0]
    assert told.splitlines() == recipe(target)


def test_make_page_names_the_chapters_there_are():
    assert preview.find("02").stem == "02_unet"
    for wrong in ("", "0", "99"):
        with pytest.raises(SystemExit, match="one of 00, 01, 02"):
            preview.find(wrong)


def test_a_run_is_kept_for_new_prose_and_dropped_for_new_code(tmp_path, monkeypatch):
    for name in ("helpers", "notebooks"):
        (tmp_path / name).mkdir()
    paths = [tmp_path / "notebooks" / f"{name}.ipynb" for name in ("01_a", "02_b")]
    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setattr(store, "FOLDER", tmp_path / "cache")
    monkeypatch.setattr(store, "NOTEBOOKS", paths)

    def write(path, prose, code, tags=()):
        cells = [nbformat.v4.new_markdown_cell(line) for line in prose]
        cells.append(nbformat.v4.new_code_cell(code, metadata={"tags": list(tags)}))
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)

    def kept():
        store.forget_stale()
        return [bool(store.record(path)) for path in paths]

    def execute():
        for path in paths:
            mark = store.fingerprint(path)
            executed = nbformat.read(path, as_version=4)
            store.store(path, executed, execution_seconds=1.0, fingerprint=mark)

    write(paths[0], ["prose"], "x = 1", ["export"])
    write(paths[1], [], "y = 1")
    execute()
    assert kept() == [True, True]
    write(paths[0], ["prose", "more"], "x = 1", ["export"])
    assert kept() == [True, True]
    write(paths[1], [], "y = 2")
    assert kept() == [True, False]
    execute()
    (paths[1].parent / "02_b.csv").write_text("recorded")
    assert kept() == [True, False]
    execute()
    claims = paths[1].with_name("claims.toml")
    claims.write_text(f'[slug]\nchapter = "{paths[1].stem}"\nclaim = "A beats B"')
    assert kept() == [True, False]
    execute()
    paths[1].with_name("rates.csv").write_text("rates")
    assert kept() == [False, False]
    execute()
    write(paths[0], ["prose"], "x = 2", ["export"])
    assert kept() == [False, False]
    execute()
    (tmp_path / "helpers" / "data.py").write_text("new")
    assert kept() == [False, False]
    execute()
    write(paths[0], ["prose"], "z = 1", ["trial"])
    write(paths[1], [], "chapters.trials('01_a')")
    execute()
    write(paths[0], ["prose"], "z = 2", ["trial"])
    assert kept() == [False, False]  # its own cell; and what the other asks for
    execute()
    paths[0].with_suffix(".csv").write_text("recorded")
    assert kept() == [False, False]
    execute()
    claims.write_text(f'[slug]\nchapter = "{paths[0].stem}"\nclaim = "C beats D"')
    assert kept() == [False, False]


def test_no_file_is_too_large():
    large, weights = [], 0
    for path in listed():
        if path.suffix == ".safetensors":  # in float16; U²-Net alone takes 1.5 MB
            weights += path.stat().st_size
        elif path.stat().st_size > LARGEST:
            large.append(path)
    assert not large, "larger than 600 KiB"
    assert weights < 6 * LARGEST


def test_no_file_tells_of_a_machine():
    own = [folder for folder in (ROOT, Path.home()) if len(folder.parts) > 1]
    found = []
    for path in listed():
        if path.suffix not in BINARY:
            text = path.read_text(encoding="utf-8")
            for folder in own:
                if f"{folder}/" in text:
                    found.append(f"{path.relative_to(ROOT)}: {folder}")
    assert not found, "\n".join(found)


SCRIPTS = [path for path in listed() if path.suffix == ".js"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_valid(browser, script):
    text = script.read_text(encoding="utf-8")
    browser.execute_script("new Function(arguments[0])", text)  # reads, runs nothing


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cost_cards_are_folded(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and "figures.cost_card(" in cell.source:
            assert "hide-input" in cell.metadata.get("tags", []), cell.id


def test_what_the_code_of_a_page_imports_is_there():
    found = []
    for page in sorted((ROOT / "book").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```python\n(.*?)```", text, re.S):
            found += re.findall(r"^from helpers.* import .+$", block, re.M)
    assert len(found) > 2
    for line in found:
        exec(line, {})
