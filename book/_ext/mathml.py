"""Formulas as MathML, which a browser draws by itself, and a font to draw them with.

Sphinx leaves them in TeX, for MathJax: a script of 1.2 MB that keeps a phone busy for
seconds. Here each one is turned while the book is built. The font is STIX Two, as the
ziamath package brings it, cut down to the book's signs: not every system has one with
brackets and roots that grow.
"""

import re
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes
from fontTools import subset
from math_core import LatexError, LatexToMathML
from sphinx.util import logging

FONT = "_static/math.woff"
FULL = "ziamath/fonts/STIXTwoMath-Regular.ttf"
SIGNS = "¯±·×ϵ‖…′ℎℓ→⇒⟹∂∈∑−√∞∥≈≤≥⋅⋯"  # beyond ASCII and the letters below
LETTERS = ((0x20, 0x7F), (0x3B1, 0x3CA), (0x1D434, 0x1D468), (0x1D6FC, 0x1D71C))
CONVERTER = LatexToMathML(fancy_error=False)
# A prime is raised already: as an exponent it would be tiny, and float.
PRIMED = re.compile(r"<msup>(<mi>\w</mi>)(<mo>′</mo>)</msup>")
PRIMED_AND_COUNTED = re.compile(
    r"<msubsup>(<mi>\w</mi>)(<m.>\w</m.>|<mrow>(?:(?!mrow).)+</mrow>)(<mo>′</mo>)"
    "</msubsup>"
)


def mathml(tex, block=False):
    """TeX as MathML, in a line of text or as a `block` of its own.

    Raises ValueError for what is no TeX, or needs a sign that the font lacks.
    """
    try:
        found = CONVERTER.convert_with_local_state(tex, displaystyle=block)
    except LatexError as error:
        raise ValueError(f"{tex!r} is no formula: {error}") from None
    found = PRIMED.sub(r"\1\2", found)
    found = PRIMED_AND_COUNTED.sub(r"<msub><mrow>\1\3</mrow>\2</msub>", found)
    text = re.sub("<[^>]+>", "", found)
    if missing := set(text) - set(signs()):
        raise ValueError(f"{tex!r} has {missing}: add it to SIGNS in book/_ext/mathml")
    return found


def signs():
    """All characters of the font, as one text."""
    ranges = ["".join(map(chr, range(*ends))) for ends in LETTERS]
    return SIGNS + "\u00a0\u2061" + "".join(ranges)  # a space, "applied to"


def visit_math(self, node):
    """Write a formula of a line."""
    write(self, node, "span")


def visit_displaymath(self, node):
    """Write a formula that stands alone."""
    write(self, node, "div")


def write(translator, node, tag):
    """Put a formula into the page; a fault is a warning, which fails the build."""
    try:
        text = mathml(node.astext(), tag == "div")
    except ValueError as error:
        logging.getLogger(__name__).warning(str(error), location=node)
        text = ""
    more = dict(tabindex="0") if tag == "div" else {}  # a wide one is scrolled by key
    start = translator.starttag(node, tag, "", CLASS="math notranslate", **more)
    translator.body.append(f"{start}{text}</{tag}>")
    raise nodes.SkipNode


def write_font(app, exception):
    """Cut the font down to the book's signs, beside the pages' style."""
    if exception or app.builder.format != "html":
        return
    source = distribution("ziamath").locate_file(FULL)
    options = subset.Options(flavor="woff", layout_features=["math"])
    font = subset.load_font(str(source), options)
    cutter = subset.Subsetter(options)
    cutter.populate(text=signs())
    cutter.subset(font)
    subset.save_font(font, str(Path(app.outdir) / FONT), options)


def setup(app):
    """Connect to Sphinx as its renderer of mathematics."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    app.connect("build-finished", write_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
