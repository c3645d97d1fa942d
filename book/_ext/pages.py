"""What a page leaves out, and what it keeps in files beside it."""

import base64
import hashlib
import html
import re
from pathlib import Path

from docutils import nodes

from book._ext import address
from helpers import embed

APART = re.compile(r'<script type="([^"]+)" data-live="(\w+)">(.*?)</script>', re.S)
FOLDER = "_static/live"
PICTURES = "_static/pictures"
INSIDE = re.compile(  # a picture inside a page, or inside the frames of a demo
    r'(<img [^>]*?src=\\?")data:image/(png|jpeg);base64,([\w+/=]{2000,})'
)
PICTURE = re.compile(r"<script.*?</script>|<img (?!loading)", re.S)
SPREAD = re.compile(r"(?<=\d) ± (?=\d)")  # 0.60 ± 0.03
MISNAMED = re.compile(  # what a screen reader would say in place of what is there
    ' aria-label="Toggle hidden content"| role="doc-biblioentry"'
    '|(?<=<div) role="list"(?= class="citation-list")'
)
TAG = re.compile("<[^>]+>")
CHINESE = re.compile(r'(<a (?![^>]*lang=)[^>]*href="[^"]*zh_\w+\.html")')
PLAIN = re.compile(r'<span class="(?:n|nn|nx|p|pm|w)">([^<]*)</span>')
ICONS = re.compile(r"<script[^>]*fontawesome\.js[^>]*></script>\n?")
INDEX = re.compile(
    r'<script src="[^"]*(searchtools|language_data|searchindex)\.js"></script>\n?'
)
WAITED = re.compile(r'<script( (?:data-[^>]*)?src="(?![^"]*documentation_options))')
SIGNS = re.compile(
    r'@font-face\{[^}]*Awesome[^}]*\}|(?:\.[\w-]+:before,?)+\{content:"\\f[0-9a-f]+"\}'
)


def drop_widget_state(app, pagename, templatename, context, doctree):
    """Take the scripts that hold widget states from a page: the demos' HTML serves."""
    state = {"type": "application/vnd.jupyter.widget-state+json"}.items()
    scripts = context["script_files"]
    scripts[:] = [s for s in scripts if not state <= s.attributes.items()]


def prepare_pictures(app, pagename, templatename, context, doctree):
    """Let pictures load when a reader comes near, and open large at a tap."""
    if "<img " in context.get("body", ""):
        body = PICTURE.sub(lazy, context["body"])
        context["body"] = body + embed.large_view()


def part_pictures(app, pagename, templatename, context, doctree):
    """Move pictures that a page carries inside it into files: it is read sooner.

    A demo's frames are then fetched as they are shown. What a canvas reads, which may
    read no file, is no <img>, and stays.
    """
    if "base64" not in context.get("body", ""):
        return
    url, folder = context["pathto"](PICTURES, resource=True), Path(app.outdir, PICTURES)
    folder.mkdir(parents=True, exist_ok=True)

    def move(match):
        start, kind, text = match.groups()
        name = f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.{kind}"
        (folder / name).write_bytes(base64.b64decode(text))
        return f"{start}{url}/{name}"

    context["body"] = INSIDE.sub(move, context["body"])


def lazy(match):
    """Return a picture's beginning with the word that lets it wait; scripts as is."""
    found = match[0]
    return found + 'loading="lazy" ' if found == "<img " else found


def keep_spreads_whole(app, pagename, templatename, context, doctree):
    """Let 0.60 ± 0.03 stand on one line, in text and tables."""
    if "body" in context:
        context["body"] = SPREAD.sub("\u00a0±\u00a0", context["body"])


def join_plain_code(app, pagename, templatename, context, doctree):
    """Take the marks from names and brackets in code, whose colour is the text's own.

    They are two fifths of a chapter's elements, all of which a phone lays out.
    """
    if "body" in context:
        context["body"] = PLAIN.sub(r"\1", context["body"])


def drop_names(app, pagename, templatename, context, doctree):
    """Take names and roles from folds and citations that hide what these say."""
    if "body" in context:
        context["body"] = MISNAMED.sub("", context["body"])


def lighten(app, exception):
    """Take from all pages what only costs time, once they are written.

    The theme's icons (a script of 1.5 MB, fonts, 2,000 rules), of which icons.css draws
    the few that are shown; the search's index, where nobody searches; and the wait for
    scripts that need the whole page anyway. Links to Chinese pages, the sidebar's too,
    are said to be Chinese.
    """
    if exception or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        light = CHINESE.sub(r'\1 lang="zh-Hant"', ICONS.sub("", text))
        if page.name != "search.html":
            light = INDEX.sub("", light)
        head, end, rest = light.partition("</head>")
        light = WAITED.sub(r"<script defer\1", head) + end + rest
        if light != text:
            page.write_text(light, encoding="utf-8")
    static = Path(app.outdir) / "_static"
    for style in static.glob("styles/pydata-sphinx-theme.css"):
        text = style.read_text(encoding="utf-8")
        style.write_text(SIGNS.sub("", text), encoding="utf-8")
    for file in (*static.glob("scripts/fontawesome.js*"), *static.rglob("fa-*.woff2")):
        file.unlink()


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


def describe(app, pagename, templatename, context, doctree):
    """Tell search engines and chats what a page is about, by its first sentences."""
    if doctree is None:  # the search page
        return
    paragraphs = [part.astext() for part in doctree.findall(nodes.paragraph)]
    long = [text for text in paragraphs if len(text.encode()) > 60]
    if not long:
        return
    text = " ".join(long[0].split())
    if len(text) > 160:
        text = f"{text[:160].rpartition(' ')[0]} …"
    user, name = address.repository()[0].split("/")[-2:]
    site = f"https://{user}.github.io/{name}"
    about = {"og:title": context["title"], "og:description": text, "og:type": "article"}
    about |= {"og:url": f"{site}/{pagename}.html"}
    about |= {"og:image": f"{site}/_static/page.png"}
    context["metatags"] += f'<meta name="description" content="{html.escape(text)}">\n'
    for key, value in about.items():
        value = html.escape(html.unescape(TAG.sub("", value)))  # titles are HTML
        context["metatags"] += f'<meta property="{key}" content="{value}">\n'


def setup(app):
    """Connect to Sphinx, after myst-nb has added its scripts to the page."""
    changes = drop_widget_state, keep_spreads_whole, join_plain_code, drop_names
    # The last one moves what the one before it has put there.
    for change in (*changes, prepare_pictures, part_pictures, move_apart):
        app.connect("html-page-context", change, priority=900)
    app.connect("html-page-context", set_language)
    app.connect("html-page-context", describe)
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True}
