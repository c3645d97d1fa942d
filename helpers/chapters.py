"""The networks, out of the notebooks that teach them.

A chapter tags the cells that define its network `export`. `load("02_unet")` runs
those cells, and no others, as the module `helpers.chapters.02_unet`. Python's own
import does the work, so the module runs once, classes know their source, and
worker processes find a network that is sent to them.
"""

import importlib
import json
import sys
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

__path__ = []  # lets Python look for helpers.chapters.<name>: see ChapterFinder


def load(name):
    """Return the module made of the `export` cells of notebooks/<name>.ipynb.

    Raises ValueError where there is no such chapter, or none of its cells is exported.
    """
    names = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    if name not in names:
        raise ValueError(f"no chapter {name!r}; there are: {', '.join(names)}")
    return importlib.import_module(f"{__name__}.{name}")


def trials(name):
    """Return the trials that a chapter defines: a dict from the trial's name.

    They stand in cells tagged `trial`, which define and train nothing; `make bench`
    runs them, with the chapter's exported names around them. Raises ValueError as
    `load` does.
    """
    names = dict(vars(load(name)))
    path = NOTEBOOKS / f"{name}.ipynb"
    exec(compile(source(path, "trial"), f"{path}:trial", "exec"), names)
    found = {}
    for thing in names.values():
        if type(thing).__name__ == "Trial":
            found[thing.name.partition("/")[2]] = thing
    return found


def source(path, tag="export"):
    """Return the joined source of the cells of a notebook that have this tag."""
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    exported = []
    for number, cell in enumerate(cells, start=1):
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and tag in tags:
            place = f"# {Path(path).stem}, cell {number}"
            exported.append(f"{place}\n{''.join(cell['source'])}\n")
    return "\n\n".join(exported)


class ChapterLoader(InspectLoader):
    """Hands Python a chapter's code, and tracebacks the chapter's lines."""

    def __init__(self, path):
        self.path = path

    def get_source(self, fullname):
        """Return the source of the module; ValueError where no cell is exported."""
        source_text = source(self.path)
        if not source_text:
            raise ValueError(f"{self.path} has no cell tagged export: nothing to load")
        return source_text

    def exec_module(self, module):
        """Run the chapter's exported cells in `module`."""
        source = self.get_source(module.__name__)
        # One compilation: cell by cell, tracebacks would show the wrong lines.
        exec(compile(source, module.__spec__.origin, "exec"), module.__dict__)


class ChapterFinder(MetaPathFinder):
    """Finds helpers.chapters.<name> in notebooks/<name>.ipynb."""

    def find_spec(self, fullname, path=None, target=None):
        """Return how to import `fullname`, or None if it is no chapter."""
        parent, _, name = fullname.rpartition(".")
        notebook = NOTEBOOKS / f"{name}.ipynb"
        if parent != __name__ or not notebook.is_file():
            return None
        # Not the file's own name: a traceback would show the file's JSON lines.
        origin = f"{notebook}:export"
        spec = ModuleSpec(fullname, ChapterLoader(notebook), origin=origin)
        spec.has_location = True
        return spec


sys.meta_path.append(ChapterFinder())
