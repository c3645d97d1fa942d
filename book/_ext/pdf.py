"""The whole book as one PDF with bookmarks: `make pdf`, after `make book`.

Chromium prints each page of the table of contents as book.css says, with the answers
open and the folded code left out; pypdf binds them. It lies beside the pages, as
_build/html/book.pdf.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bs4 import BeautifulSoup
from pypdf import PdfWriter
from pypdf.generic import ArrayObject, NameObject

from book._ext import store

SITE = store.ROOT / "_build" / "html"
HIDDEN = '<a class="the-pdf" href="../book.pdf" hidden'
NAMES = "chromium", "chromium-browser", "google-chrome", "chrome"
PATIENCE = 300  # seconds for one page


def contents():
    """Return the pages of the table of contents, in order; stop if one is missing."""
    pages = [SITE / f"{name}.html" for name in store.contents()]
    missing = [page.name for page in pages if not page.is_file()]
    if missing:
        sys.exit(f"{SITE} has no {', '.join(missing)}: run `make book` first")
    return pages


def chromium():
    """Return the path of Chromium; stop if there is none."""
    for name in (os.environ.get("CHROMIUM", ""), *NAMES):
        if path := shutil.which(name):
            return path
    sys.exit(
        f"none of {', '.join(NAMES)} is installed: Chromium prints the PDF (in Debian: "
        "apt-get install chromium; elsewhere name its program in CHROMIUM)"
    )


def print_page(browser, page, file):
    """Print one page to the PDF `file`; stop with Chromium's words if it cannot."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--no-pdf-header-footer", "--generate-pdf-document-outline"]
    command += ["--virtual-time-budget=30000"]  # for pictures
    command += [f"--print-to-pdf={file}", f"{page.as_uri()}?answers"]
    how = dict(capture_output=True, text=True, timeout=PATIENCE)
    try:
        told = subprocess.run(command, **how)
    except subprocess.TimeoutExpired:
        sys.exit(f"Chromium hung for {PATIENCE} s at {page.name}: run `make pdf` again")
    if not file.is_file():
        sys.exit(f"Chromium printed no {page.name}:\n{told.stderr}")


def link_inside(book, first):
    """Let links to other pages of the book lead to their place in the PDF.

    `first` is the number of the first sheet of each page. What is not in the PDF, such
    as a download, loses its link.
    """
    for sheet in book.pages:
        for link in sheet.get("/Annots", []):
            link = link.get_object()
            address = urlsplit(link.get("/A", {}).get("/URI", ""))
            if address.scheme != "file":
                continue
            del link["/A"]
            page = Path(url2pathname(address.path))
            if page in first:
                target = book.pages[first[page]].indirect_reference
                goto = ArrayObject([target, NameObject("/Fit")])
                link[NameObject("/Dest")] = goto


def bind(pages, out):
    """Print the pages and bind them as the PDF `out`, a bookmark for each."""
    browser, book, first = chromium(), PdfWriter(), {}
    with TemporaryDirectory() as folder:
        for page in pages:
            file = Path(folder) / f"{page.stem}.pdf"
            print_page(browser, page, file)
            heading = BeautifulSoup(page.read_bytes(), "html.parser").h1
            title = heading.get_text().strip("# \n")
            first[page] = len(book.pages)
            book.append(file, outline_item=title)
            print(f"{title}: {len(book.pages) - first[page]} sheets", flush=True)
    link_inside(book, first)
    book.compress_identical_objects()
    book.write(out)


def offer(pages):
    """Show the links to the PDF, which are hidden as long as there is none."""
    for page in pages:
        text = page.read_text(encoding="utf-8")
        shown = text.replace(HIDDEN, HIDDEN.removesuffix(" hidden"))
        if shown != text:
            page.write_text(shown, encoding="utf-8")


if __name__ == "__main__":
    bind(contents(), SITE / "book.pdf")
    offer(contents())
    print(SITE / "book.pdf")
