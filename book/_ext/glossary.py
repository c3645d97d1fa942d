"""The glossary's entry at each word that links to it, for book/_static/words.js."""

import html
import re

from docutils import nodes

from book._ext.pages import TAG

PAGE = "book/glossary"
LINK = re.compile(r'<a (?=[^>]*href="[^"]*glossary\.html#([\w-]+)")')


def entries(tree):
    """The text of each entry, by its id, from the glossary's doctree."""
    found = {}
    for section in tree.findall(nodes.section):
        texts = []
        for part in section.children:
            if isinstance(part, nodes.paragraph):
                texts.append(TAG.sub("", part.astext()))
        for name in section["ids"]:
            found[name] = " ".join(texts).replace("\n", " ")
    return found


def add_entries(app, pagename, templatename, context, doctree):
    """Give each link to the glossary the text of its entry."""
    body = context.get("body", "")
    if "glossary.html#" not in body or PAGE not in app.env.found_docs:
        return  # the second: in a preview of one chapter
    known = entries(app.env.get_doctree(PAGE))

    def told(match):
        text = known.get(match[1])
        return f'<a data-entry="{html.escape(text)}" ' if text else match[0]

    context["body"] = LINK.sub(told, body)
    app.add_js_file("words.js")


def setup(app):
    """Connect to Sphinx, as it makes a page."""
    app.connect("html-page-context", add_entries)
    return {"parallel_read_safe": True}
