"""book/_ext/mathml.py: formulas as MathML, and the font they are drawn with."""

from types import SimpleNamespace

import pytest
from fontTools.ttLib import TTFont

from book._ext import mathml


def test_a_formula_is_what_its_tex_says():
    found = mathml.mathml(r"\frac{2I}{3K}")
    assert found == (
        "<math><mfrac><mrow><mn>2</mn><mi>I</mi></mrow>"
        "<mrow><mn>3</mn><mi>K</mi></mrow></mfrac></math>"
    )
    assert mathml.mathml("x", block=True).startswith('<math display="block">')


@pytest.mark.parametrize(
    "tex, found",
    [
        ("f'", "<mi>f</mi><mo>′</mo>"),
        ("f_1'", "<msub><mrow><mi>f</mi><mo>′</mo></mrow><mn>1</mn></msub>"),
        (
            "f_{2L}'",
            "<msub><mrow><mi>f</mi><mo>′</mo></mrow><mrow><mn>2</mn><mi>L</mi></mrow>"
            "</msub>",
        ),
    ],
)
def test_a_prime_is_as_high_as_its_letter(tex, found):
    assert mathml.mathml(tex) == f"<math>{found}</math>"


@pytest.mark.parametrize("tex, why", [(r"\nosuch x", "no formula"), (r"\aleph", "ℵ")])
def test_what_cannot_be_drawn_is_refused(tex, why):
    with pytest.raises(ValueError, match=why):
        mathml.mathml(tex)


def test_the_font_has_all_signs_and_roots_that_grow(tmp_path):
    (tmp_path / "_static").mkdir()
    html = SimpleNamespace(format="html")
    mathml.write_font(SimpleNamespace(outdir=tmp_path, builder=html), None)
    font = TTFont(tmp_path / mathml.FONT)
    assert font["cmap"].getBestCmap().keys() >= set(map(ord, "√(∑𝑥′"))
    grown = font["MATH"].table.MathVariants.VertGlyphCoverage.glyphs
    assert font["cmap"].getBestCmap()[ord("√")] in grown
    assert (tmp_path / mathml.FONT).stat().st_size < 60_000
