"""The page of one chapter alone: `make page CHAPTER=02`.

The chapter is run if it has no valid run in the store. Only its page and those of the
glossary and the references are made; links to other chapters lead nowhere until
`make book` makes all pages.
"""

import subprocess
import sys
from pathlib import Path

import yaml

from book._ext import store

BESIDE = ["book/glossary", "book/references"]


def build(path):
    """Build the page of the notebook at `path`; return the exit status."""
    folder = store.ROOT / "_build" / "preview"
    folder.mkdir(parents=True, exist_ok=True)
    chapters = [{"file": name} for name in BESIDE]
    root = f"notebooks/{path.stem}"
    contents = {"format": "jb-book", "root": root, "chapters": chapters}
    (folder / "_toc.yml").write_text(yaml.safe_dump(contents), encoding="utf-8")

    config = yaml.safe_load((store.ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"]["suppress_warnings"] = ["myst.xref_missing"]
    for extension in config["sphinx"]["local_extensions"]:
        config["sphinx"]["local_extensions"][extension] = str(store.ROOT)
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", store.ROOT, "--quiet"]
    command += ["--toc", folder / "_toc.yml", "--config", folder / "_config.yml"]
    return subprocess.run(command, cwd=store.ROOT).returncode


def find(chapter):
    """Return the path of the one notebook whose name begins with `chapter`."""
    found = [path for path in store.NOTEBOOKS if path.stem.startswith(chapter)]
    if len(found) != 1:
        known = ", ".join(path.stem[:2] for path in store.NOTEBOOKS)
        sys.exit(f"no chapter {chapter!r}: make page CHAPTER= one of {known}")
    return found[0]


if __name__ == "__main__":
    path = find("".join(sys.argv[1:]))
    store.run([path])
    status = build(path)
    print((store.ROOT / "_build/html/notebooks" / f"{path.stem}.html").as_uri())
    sys.exit(status)
