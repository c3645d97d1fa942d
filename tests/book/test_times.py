"""The reading times that chapters name: 150 words or eight lines of code a minute.

A fresh reader took 75 minutes for chapter 00 of the first edition, which said half an
hour; this rule gives 77.
"""

import re

import nbformat
import pytest

from book._ext import store

FOLDED = {"hide-input", "hide-cell", "setup"}
TOLD = r"\*\*Time:\*\* (\d+) minutes to read; the short way, (\d+) minutes: (.*?)\. The"


def sections(path):
    """Minutes of each section of a chapter; solutions and folded code are left out."""
    found, name = {"": 0}, ""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            if not FOLDED & set(cell.metadata.get("tags", [])):
                lines = [line.strip() for line in cell.source.splitlines()]
                code = [line for line in lines if line and not line.startswith("#")]
                found[name] += len(code) / 8
            continue
        text = re.sub(r"(?s)<details>.*?</details>", "", cell.source)
        text = re.sub(r"\]\([^)]*\)|<[^>]+>", "", text)
        for part in re.split(r"(?m)^(?=## )", text):
            if part.startswith("## "):
                name = part.splitlines()[0].removeprefix("## ")
                found[name] = 0
            found[name] += len(part.split()) / 150
    return found


@pytest.mark.parametrize("path", store.NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_takes_as_long_as_it_says(path):
    found = sections(path)
    first = nbformat.read(path, as_version=4).cells[0].source
    whole, short, names = re.search(TOLD, first).groups()
    way = re.findall(r"\*(.*?)\*", names)
    assert abs(int(whole) - sum(found.values())) <= 5
    assert abs(int(short) - found[""] - sum(found[name] for name in way)) <= 5
