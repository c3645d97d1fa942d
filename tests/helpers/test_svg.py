"""helpers.svg: what is drawn, beside what tests/helpers/test_drawing.py asks of it."""

from xml.etree import ElementTree

import pytest
from torch import nn

from helpers import layout, svg
from helpers.chart import chart
from helpers.trace import trace


@pytest.mark.parametrize("look", [layout.WIDE, layout.TURNED])
def test_a_name_of_any_signs_stands_in_the_drawing_as_it_is(look):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            two = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))
            self.parts = nn.ModuleDict({"a<b&": two})

        def forward(self, x):
            return self.parts["a<b&"](x)

    boxes, arrows = chart(trace(Odd(), 1, 1, 8, 8), depth=1)
    drawn, width, height = svg.picture(boxes, arrows, look, "#0072B2")
    page = ElementTree.fromstring(svg.svg(drawn, width, height, "Odd", "", "key"))
    assert "parts.a<b&" in [text.text for text in page.iter("text")]
