"""The book's store of executed notebooks (jupyter-cache), which the pages are made of.

    python -m book._ext.store run            drop the pages and run every chapter that
                                             has no valid run in the store
    python -m book._ext.store unchanged CMD  run CMD; fail if it executed a notebook

jupyter-cache knows a notebook by its code cells. It does not see what they depend on:
`fingerprint` does, and is kept beside each run.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "_build" / ".jupyter_cache"


def contents():
    """Return the names of all pages of the table of contents, in order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    names = [toc["root"]]
    for part in toc["parts"]:
        names += [chapter["file"] for chapter in part["chapters"]]
    return names


def listed():
    """Return the notebooks of the table of contents, not what else lies there."""
    paths = [ROOT / f"{name}.ipynb" for name in contents()]
    return [path for path in paths if path.parent.name == "notebooks"]


NOTEBOOKS = listed()


def stray(path):
    """Whether a file, by its path in its folder, is no file of the book.

    Such are a system's or an editor's own (.DS_Store), a lock, what Python compiled,
    and what is being written: `.part-...` around a file, or `.part` at its end.
    """
    hidden = any(part.startswith((".", "__pycache__")) for part in path.parts)
    return hidden or path.name.endswith(("~", ".part"))


def tagged(path, tags):
    """Return the code of a notebook's cells that have one of these tags."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    chosen = []
    for cell in cells:
        if set(tags) & set(cell["metadata"].get("tags", [])):
            chosen.append(cell["source"])
    return json.dumps(chosen)


def claimed(path, chapter):
    """Return what claims.toml beside `path` says of one chapter, or of all."""
    file = path.with_name("claims.toml")
    claims = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if chapter:
        own = claims.items()
        claims = {slug: claim for slug, claim in own if claim["chapter"] == chapter}
    return json.dumps(claims)


def in_place():
    """Return the names of the real sets that a reader has brought."""
    real = ROOT / "downloads" / "real"
    return sorted(p.name for p in real.glob("*") if not stray(p.relative_to(real)))


def fingerprint(path, sets=None):
    """Return a hash of all that the run of a notebook depends on beside its cells.

    These are the helpers, the requirements, what any chapter exports, the learning
    rates, the chapter's claims, and the tables recorded for it (04_resunet.csv for
    04_resunet.ipynb); where it shows recorded networks, their weights. A chapter that
    asks for the trials of the others depends on their trials, claims and tables too;
    one that shows real pictures, on which of the real sets are in place: `sets`, where
    it is run in another folder.
    """
    helpers = ROOT / "helpers"
    files = [p for p in helpers.rglob("*") if not stray(p.relative_to(helpers))]
    files += [*ROOT.glob("*.txt"), path.with_name("rates.csv")]
    text = path.read_text(encoding="utf-8")
    shown = []
    if "real.ready(" in text:
        shown = in_place() if sets is None else sets
    if "live_demos.recorded(" in text:
        files += (path.parent / "weights").glob("*.safetensors")
    if "chapters.trials(" in text:
        tags, claims = ["export", "trial"], claimed(path, None)
        files += [*path.parent.glob("[0-9]*.csv"), path.with_name("two_machines.csv")]
    else:
        tags, claims = ["export"], claimed(path, path.stem)
        files += path.parent.glob(f"{path.stem}*.csv")
    digest = hashlib.sha256(f"{claims}{shown}".encode())
    for file in sorted(file for file in files if file.is_file()):
        digest.update(f"{file.relative_to(ROOT)}".encode() + file.read_bytes())
    for notebook in NOTEBOOKS:
        digest.update(f"{notebook.stem}{tagged(notebook, tags)}".encode())
    return digest.hexdigest()


def record(path):
    """Return the stored run of the notebook as it is now, or None."""
    try:
        notebook = nbformat.read(path, as_version=4)
        return get_cache(FOLDER).match_cache_notebook(notebook)
    except KeyError:
        return None


def executed(path):
    """Return the executed notebook of the stored run, or None where there is none."""
    found = record(path)
    return get_cache(FOLDER).get_cache_bundle(found.pk).nb if found else None


def forget(path):
    """Drop the stored run of a notebook."""
    if found := record(path):
        get_cache(FOLDER).remove_cache(found.pk)


def forget_stale():
    """Drop every run that no longer fits what it depended on."""
    for path in NOTEBOOKS:
        found = record(path)
        if found and found.data.get("fingerprint") != fingerprint(path):
            forget(path)


def drop_pages():
    """Remove the pages that an earlier build made."""
    if (ROOT / "_build" / "html").exists():
        shutil.rmtree(ROOT / "_build" / "html")


def store(path, notebook, **data):
    """Store `notebook`, an executed copy of that at `path`, as its one run.

    `data` needs execution_seconds and the fingerprint taken before the run.
    """
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # or the notebook would never match
    bundle = CacheBundleIn(notebook, str(path), data=data)
    cached = get_cache(FOLDER)
    for item in cached.list_cache_records():  # those of other cells would stay for ever
        if Path(item.uri).name == path.name:
            cached.remove_cache(item.pk)
    cached.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def execute(path):
    """Run a notebook where it lies and store the run; return its seconds."""
    mark, start = fingerprint(path), time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    quiet = ["--log-level=ERROR"]  # a kernel warns of TCP, which stays on this machine
    client = NotebookClient(notebook, timeout=2400, extra_arguments=quiet)
    client.execute(cwd=path.parent)
    seconds = time.perf_counter() - start
    store(path, notebook, execution_seconds=seconds, fingerprint=mark)
    return seconds


def run(paths):
    """Run those of the notebooks that have no valid run, in order, and say so."""
    forget_stale()
    todo = [path for path in paths if not record(path)]
    print(f"{len(paths) - len(todo)} chapters have been run, {len(todo)} remain.")
    for number, path in enumerate(todo, start=1):
        print(f"{number} of {len(todo)}: {path.stem} ... ", end="", flush=True)
        try:
            print(f"{execute(path):.0f} s", flush=True)
        except (CellExecutionError, CellTimeoutError) as error:
            sys.exit(f"stopped\n\n{error}")


def unchanged(command):
    """Run a command and return its exit status, or 1 if it executed a notebook."""
    before = [item.pk for item in get_cache(FOLDER).list_cache_records()]
    status = subprocess.run(command, cwd=ROOT).returncode
    after = get_cache(FOLDER).list_cache_records()
    new = [Path(item.uri).name for item in after if item.pk not in before]
    if new:
        print(f"The build executed {', '.join(new)}: the tests' run was not used")
    return status or bool(new)


def main(asked):
    """Do what the words of a command line ask for; return the exit status."""
    if asked == ["run"]:
        drop_pages()
        return run(NOTEBOOKS)
    if asked[:1] == ["unchanged"] and asked[1:]:
        return unchanged(asked[1:])
    told = f"{' '.join(asked)!r} is neither `run` nor `unchanged COMMAND`"
    print(f"{told}: python -m book._ext.store run", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
