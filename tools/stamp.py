"""Carry _config.yml into the notebooks: `python -m tools.stamp`.

Every notebook opens with a title cell that links to the chapter in Colab, and its
first code cell, tagged `setup`, is tools/setup_cell.py.
"""

import ast
import re
import sys
import textwrap
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LINK = "[Run this chapter in Colab]"
TAGS = ["setup", "hide-input", "remove-output"]
UNTOUCHED = {"torch", "numpy"}  # Colab's own, whatever their version


def repository():
    """Return the address and the branch of _config.yml."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    return config["repository"]["url"].rstrip("/"), config["repository"]["branch"]


def colab_link(notebook):
    """Return the Markdown line that opens a notebook in Colab."""
    url, branch = repository()
    place = url.replace("https://github.com/", "github/")
    path = f"notebooks/{Path(notebook).name}"
    return f"{LINK}(https://colab.research.google.com/{place}/blob/{branch}/{path})"


def imported(source):
    """Return the top-level modules that some Python code imports."""
    # Lines for IPython, such as %timeit, are no Python and import nothing.
    tree = ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


def requirements():
    """Return a dict from each module that helpers and chapters import to its package.

    The package is as requirements.txt names it, or None if it is not there.
    """
    sources = [path.read_text(encoding="utf-8") for path in ROOT.glob("helpers/*.py")]
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        sources += [cell.source for cell in cells if cell.cell_type == "code"]
    modules = {module for source in sources for module in imported(source)}
    modules -= {"helpers", *sys.stdlib_module_names}
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {line.split("==")[0] for line in lines if "==" in line}
    known = packages_distributions()
    found = {module: listed.intersection(known.get(module, ())) for module in modules}
    return {module: min(names, default=None) for module, names in found.items()}


def needs():
    """Return what Colab must have, besides its own torch and numpy."""
    return sorted(set(requirements().values()) - UNTOUCHED - {None})


def setup_source():
    """Return the source of the setup cell."""
    url, branch = repository()
    source = (ROOT / "tools/setup_cell.py").read_text(encoding="utf-8").strip()
    needed = textwrap.fill(" ".join(needs()), 66, break_on_hyphens=False)
    values = {"{url}": url, "{branch}": branch, "{needs}": needed}
    for mark, value in values.items():
        source = source.replace(mark, value)
    return source


def stamp(path, source):
    """Write the Colab link and the setup cell into one notebook; say if it changed."""
    notebook = nbformat.read(path, as_version=4)
    before = nbformat.writes(notebook)
    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        raise ValueError(f"{path}: the first cell is not a title (# ...)")
    title = notebook.cells[0]
    lines = [line for line in title.source.split("\n") if not line.startswith(LINK)]
    rest = "\n".join(lines[1:]).strip("\n")
    link = colab_link(path)
    title.source = "\n\n".join(part for part in (lines[0], link, rest) if part)
    setup = [c for c in notebook.cells if "setup" in c.metadata.get("tags", [])]
    if not setup:
        setup = [nbformat.v4.new_code_cell(id="setup", metadata={"tags": TAGS})]
        notebook.cells.insert(1, setup[0])
    setup[0].source = source
    changed = nbformat.writes(notebook) != before
    if changed:
        nbformat.write(notebook, path)
    return changed


if __name__ == "__main__":
    source = setup_source()
    for path in NOTEBOOKS:
        print(path.name, "stamped" if stamp(path, source) else "unchanged")
