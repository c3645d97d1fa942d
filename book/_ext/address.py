"""Carry the address of the book from _config.yml to where it is copied: `make address`.

The copies are in each notebook, the link to Colab and the setup cell, and in
CITATION.cff.
"""

import re

import yaml

from book._ext import store
from helpers.app.files import write_text

NOTEBOOKS = sorted((store.ROOT / "notebooks").glob("*.ipynb"))
COPIES = [*NOTEBOOKS, store.ROOT / "CITATION.cff"]


def repository():
    """Return the address and the branch of _config.yml."""
    config = yaml.safe_load((store.ROOT / "_config.yml").read_text(encoding="utf-8"))
    url, branch = config["repository"]["url"], config["repository"]["branch"]
    return url.rstrip("/").removesuffix(".git"), branch


def addressed(path):
    """Return the text of the file at `path` with the address of _config.yml in it."""
    url, branch = repository()
    place = url.removeprefix("https://github.com/")
    link = f"https://colab.research.google.com/github/{place}/blob/{branch}"
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"(in Colab\]\()[^)]*", rf"\g<1>{link}/notebooks/{path.name}", text)
    text = re.sub(r'(BOOK = \\")[^"\\]*', rf"\g<1>{url}", text)
    return re.sub(r"(?m)^(repository-code: ).*", rf"\g<1>{url}", text)


if __name__ == "__main__":
    for path in COPIES:
        write_text(path, addressed(path))
