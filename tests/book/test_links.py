"""Every link from one page's prose into another leads to a section or a label."""

import re

import nbformat
import pytest

from helpers.chapters import NOTEBOOKS

BOOK = NOTEBOOKS.parent / "book"
PAGES = sorted([*NOTEBOOKS.glob("*.ipynb"), *BOOK.glob("*.md")])


def prose(page):
    """What a page says in Markdown."""
    if page.suffix == ".md":
        return page.read_text(encoding="utf-8")
    cells = nbformat.read(page, as_version=4).cells
    return "\n\n".join(c.source for c in cells if c.cell_type == "markdown")


def places(page):
    """The addresses in a page: labels, and headings as MyST makes addresses of them."""
    text = prose(page)
    found = set(re.findall(r"(?m)^\(([\w-]+)\)=$", text))
    for title in re.findall(r"(?m)^#+ (.+)$", text):
        title = re.sub(r"[^\w\- ]", "", title.lower())
        found.add(title.strip().replace(" ", "-"))
    return found


def links_of(page):
    """(page, place) of every link of a page that names a place."""
    return re.findall(r"\]\(((?:[\w./-]*\.(?:md|ipynb))?)#([^\s)]+)\)", prose(page))


def test_there_are_links():
    assert sum(len(links_of(page)) for page in PAGES) > 500


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_to_a_place(page):
    for name, place in links_of(page):
        to = page.parent / name if name else page
        assert place in places(to), f"{name}#{place}"
