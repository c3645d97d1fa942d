"""book/drawn: the pages show the networks as the chapters have them."""

import pytest

from book._ext import drawn


@pytest.fixture(scope="module")
def pages():
    return drawn.pages()


NAMES = ["example", "family", "look", "worksheets"]
NAMES += [paper.chapter[3:] for paper in drawn.PAPERS.values()]


@pytest.mark.parametrize("name", [f"{name}.html" for name in NAMES])
def test_the_drawings_are_those_of_the_networks(pages, name):
    kept = (drawn.FOLDER / name).read_text(encoding="utf-8")
    assert kept == pages[name], f"book/drawn/{name} is stale: run `make drawn`"


def test_all_six_are_there_with_what_they_cost(pages):
    for name in ("FCN", "U-Net", "V-Net", "ResUNet", "Inception-U-Net", "U²-Net"):
        assert f"<b>{name}</b>" in pages["family.html"]
        assert f"<b>{name}</b> on an input of" in pages["worksheets.html"]
    assert "134 million parameters" in pages["family.html"]  # FCN-8s with VGG-16
