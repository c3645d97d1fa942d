"""book/drawn: the pages show the networks as the chapters have them."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from book._ext import drawn


@pytest.fixture(scope="module")
def pages():
    return drawn.pages()


NAMES = ["family", "look", "worksheets"]
NAMES += [paper.chapter[3:] for paper in drawn.PAPERS.values()]


@pytest.mark.parametrize("name", [f"{name}.html" for name in NAMES])
def test_the_drawings_are_those_of_the_networks(pages, name):
    kept = (drawn.FOLDER / name).read_text(encoding="utf-8")
    assert kept == pages[name], f"book/drawn/{name} is stale: run `make drawn`"


PNG = re.compile('data:image/png;base64,([^"]+)')
IOU = re.compile(r"IoU (\d\.\d\d)")


def pictures(text):
    """The pictures of a page, as one array."""
    found = []
    for data in PNG.findall(text):
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        found.append(np.asarray(image.convert("RGB"), float))
    return np.stack(found)


def test_the_example_is_that_of_the_recorded_network(pages):
    """But for what another processor may round, and another zlib pack, otherwise."""
    kept = (drawn.FOLDER / "example.html").read_text(encoding="utf-8")
    new, stale = pages["example.html"], "example.html is stale: run `make drawn`"
    bare = [IOU.sub("", PNG.sub("", text)) for text in (kept, new)]
    assert bare[0] == bare[1], stale
    scores = [float(IOU.search(text)[1]) for text in (kept, new)]
    assert scores[0] == pytest.approx(scores[1], abs=0.02), stale
    apart = np.abs(pictures(kept) - pictures(new)).max(axis=3) > 2
    assert apart.mean(axis=(1, 2)).max() < 0.01, stale  # of the pixels of each


def test_all_six_are_there_with_what_they_cost(pages):
    for name in ("FCN", "U-Net", "V-Net", "ResUNet", "Inception-U-Net", "U²-Net"):
        assert f"<b>{name}</b>" in pages["family.html"]
        assert f"<b>{name}</b> on an input of" in pages["worksheets.html"]
    assert "134 million parameters" in pages["family.html"]  # FCN-8s with VGG-16
