"""What a page leaves out, and what it keeps in files beside it."""

import re
from pathlib import Path

APART = re.compile(r'<script type="([^"]+)" data-live="(\w+)">(.*?)</script>', re.S)
FOLDER = "_static/live"


def drop_widget_state(app, pagename, templatename, context, doctree):
    """Take the scripts that hold widget states from a page: the demos' HTML serves."""
    state = {"type": "application/vnd.jupyter.widget-state+json"}.items()
    scripts = context["script_files"]
    scripts[:] = [s for s in scripts if not state <= s.attributes.items()]


def move_apart(app, pagename, templatename, context, doctree):
    """Move a page's networks and their engine into files."""
    if "data-live" in context.get("body", ""):
        url = context["pathto"](FOLDER, resource=True)
        context["body"] = moved(context["body"], Path(app.outdir) / FOLDER, url)


def moved(body, folder, url):
    """Return the HTML without the texts that `embed.apart` marked, which go to files.

    Each becomes a .js file in `folder`, which the page knows as `url`. Code is loaded
    with the page. Data is a call to nothing: it waits in `liveFiles` for live_demos.js,
    which loads it when a reader touches the demo; a <script> may do that on a page
    from file://, where `fetch` may not.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def move(match):
        kind, mark, text = match.groups()
        place = f"{url}/{mark}.js"
        tag = f'<script src="{place}"></script>'
        if kind == "application/json":
            text = f'(globalThis.liveFiles ??= {{}})["{mark}"] = {text};\n'
            tag = f'<script type="{kind}" data-live="{mark}" data-src="{place}">'
            tag += "</script>"
        (folder / f"{mark}.js").write_text(text, encoding="utf-8")
        return tag

    return APART.sub(move, body)


def set_language(app, pagename, templatename, context, doctree):
    """Give a page the language that it begins with, such as `lang: zh-Hant-TW`."""
    meta = context.get("meta") or {}  # the search page has none
    if "lang" in meta:
        context["language"] = meta["lang"]


def setup(app):
    """Connect to Sphinx, after myst-nb has added its scripts to the page."""
    app.connect("html-page-context", drop_widget_state, priority=900)
    app.connect("html-page-context", move_apart, priority=900)
    app.connect("html-page-context", set_language)
    return {"parallel_read_safe": True}
