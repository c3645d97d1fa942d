"""The book's store of executed notebooks (jupyter-cache), which the pages are made of.

The store knows a notebook by its code cells. It does not see the helpers, the
requirements, or what one chapter takes from another; `fresh` does:

    python -m tools.cache fresh             drop the pages, and if one of those changed
                                            all runs
    python -m tools.cache unchanged CMD...  run CMD; fail if it executed a notebook
    python -m tools.cache report            seconds per notebook, where the book is
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

from helpers.chapters import export_source

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "_build" / ".jupyter_cache"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGE = ROOT / "_build" / "html" / "index.html"


def fingerprint():
    """Return a hash of all that a notebook's run depends on beside its own cells."""
    files = [*sorted((ROOT / "helpers").glob("*.py")), *ROOT.glob("*.txt")]
    parts = [path.name.encode() + path.read_bytes() for path in sorted(files)]
    parts += [f"{path.name}{export_source(path)}".encode() for path in NOTEBOOKS]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def fresh():
    """Empty the store if what its runs depended on has changed; drop the old pages."""
    shutil.rmtree(PAGE.parent, ignore_errors=True)
    mark, now = FOLDER / "fingerprint", fingerprint()
    if not mark.is_file() or mark.read_text() != now:
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        mark.write_text(now)


def record(path):
    """Return the stored run of the notebook as it is now, or None."""
    try:
        notebook = nbformat.read(path, as_version=4)
        return get_cache(FOLDER).match_cache_notebook(notebook)
    except KeyError:
        return None


def forget(path):
    """Drop the stored run of a notebook."""
    if found := record(path):
        get_cache(FOLDER).remove_cache(found.pk)


def store(path, executed, seconds, peak):
    """Store an executed copy of the notebook at `path` as that notebook's run."""
    for cell in executed.cells:
        cell.metadata.pop("execution", None)  # or the notebook would never match
    data = {"execution_seconds": seconds, "peak_mib": peak}
    bundle = CacheBundleIn(executed, str(path), data=data)
    cached = get_cache(FOLDER)
    cached.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def runs():
    """Return (notebook, seconds, peak MiB or None) of every notebook that was run."""
    found = [(path.stem, record(path)) for path in NOTEBOOKS]
    return [
        (name, run.data["execution_seconds"], run.data.get("peak_mib"))
        for name, run in found
        if run
    ]


def table(rows):
    """Return the lines of a table; the rows are (name, number or None, ...)."""
    for name, *numbers in rows:
        cells = ["" if number is None else f"{number:.1f}" for number in numbers]
        yield f"{name:24}" + "".join(f"{cell:>10}" for cell in cells)


def unchanged(command):
    """Run a command and return its exit status, or 1 if it executed a notebook."""
    before = [item.pk for item in get_cache(FOLDER).list_cache_records()]
    status = subprocess.run(command, cwd=ROOT).returncode
    after = [item for item in get_cache(FOLDER).list_cache_records()]
    new = [Path(item.uri).name for item in after if item.pk not in before]
    if new:
        print(f"The build executed {', '.join(new)}: the tests' run was not used")
    return status or bool(new)


def report():
    """Print seconds per notebook and where the book is."""
    rows = runs()
    total = ("total", sum(seconds for _, seconds, _ in rows))
    print(f"\n{'notebook':24}{'seconds':>10}")
    print(*table([row[:2] for row in rows] + [total]), sep="\n")
    print(f"\nThe book: {PAGE.as_uri()}")


if __name__ == "__main__":
    verb, *rest = sys.argv[1:] or ["report"]
    verbs = {"fresh": fresh, "report": report, "unchanged": lambda: unchanged(rest)}
    sys.exit(verbs[verb]())
