"""The search page: what stands around each find, the section it is in, Chinese words.

Sphinx fetches the pages it found to show an excerpt, which no browser does on a page
from file://. Here the book's text lies in one script, and book/_static/search.js shows
the excerpt and leads to the section. Sphinx's index divides text at blanks; Chinese has
none, so its signs are taken in pairs, in the index as in the question.
"""

import itertools
import json
import re
from pathlib import Path

from bs4 import BeautifulSoup
from sphinx.search.en import SearchEnglish

TEXTS = "_static/search_texts.js"
SPLITTER = Path(__file__).with_name("split_query.js")
CHINESE = re.compile(r"([\u4e00-\u9fff]+)")
LEFT_OUT = "script, style, svg, .headerlink, .tag_remove-input, math"


class English(SearchEnglish):
    """Sphinx's English, and Chinese in pairs of signs."""

    js_splitter_code = SPLITTER.read_text(encoding="utf-8")

    def split(self, input):
        """The words of a text."""
        words = []
        for word in super().split(input):
            for part in CHINESE.split(word):
                if CHINESE.fullmatch(part):
                    words += pairs(part)
                elif part:
                    words.append(part)
        return words


def pairs(signs):
    """Neighbours in a run of signs; a sign alone is itself."""
    if len(signs) == 1:
        return [signs]
    return [a + b for a, b in itertools.pairwise(signs)]


def sections(html):
    """[id, title, text] of each section of a page, in order, without its own ones."""
    page, found = BeautifulSoup(html, "html.parser"), []
    article = page.select_one("article")
    if article is None:
        return found
    for tag in article.select(LEFT_OUT):
        tag.decompose()
    for cell in article.select("td, th, br"):
        cell.insert_after(" ")  # or the words of two cells were one
    for section in article.select("section[id]"):
        title = section.find(re.compile("^h[1-6]$"))
        parts = []
        for part in section.children:
            if part.name not in ("section", None) and part is not title:
                parts.append(part.get_text())
        text = " ".join(" ".join(parts).split())
        found.append([section["id"], title.get_text() if title else "", text])
    return found


def write_texts(app, exception):
    """Write the text of all pages as one script, for the search page."""
    if exception or app.builder.format != "html":
        return
    texts = {}
    for name in sorted(app.env.found_docs):
        path = Path(app.outdir) / f"{name}.html"
        if path.is_file():
            texts[f"{name}.html"] = sections(path.read_text(encoding="utf-8"))
    text = json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
    script = f"globalThis.bookTexts = {text};\n"
    (Path(app.outdir) / TEXTS).write_text(script, encoding="utf-8")


def load(app, pagename, templatename, context, doctree):
    """Give the search page its scripts."""
    if pagename == "search":
        app.add_js_file("search_texts.js")
        app.add_js_file("search.js")


def setup(app):
    """Give Sphinx the language of the index, and connect to its search page."""
    app.add_search_language(English)
    app.connect("html-page-context", load)
    app.connect("build-finished", write_texts)
    return {"parallel_read_safe": True}
