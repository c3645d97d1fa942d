"""helpers.figures and helpers.drawing: what the pictures say, in numbers and words."""

import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_shapes import FCN, RSU, Inception, ResUNet, SqueezeExcite, UNet, VNet
from torch import nn

from helpers import figures
from helpers.drawing import chart, place, size
from helpers.shapes import trace


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def paper():
    return UNet()


# --- the network, drawn ---------------------------------------------------------------


def test_the_text_alternative_tells_the_network(paper):
    words = figures.draw(paper, 1, 1, 572, 572, title="U-Net").description
    assert words.startswith("U-Net on an input of 1 channel of 572 × 572.")
    assert "4 concatenations." in words and "19 convolutions" in words
    assert "64 channels of 392 × 392 (cropped from 568 × 568)" in words
    assert words.endswith("Output: 2 channels of 388 × 388.")


def test_a_long_network_is_told_in_short():
    nested = torch.nn.Sequential(*(UNet((2, 4), 2) for _ in range(13)))
    words = figures.draw(nested, 1, 2, 376, 376).description
    assert "changes its resolution 26 times, over 2 levels" in words
    assert len(words) < 1500
    assert "13 concatenations" in words
    words = figures.draw(RSU(), 1, 1, 17, 17).description
    assert "1 pooling," in words and "2 times 2 channels of 17 × 17" in words


def test_the_drawing_shows_sizes_crops_and_operations(paper):
    page = figures.draw(paper, 1, 1, 572, 572)._repr_html_()
    for text in ("572²", "568²→392²", "64²→56²", "388²", "1024"):
        assert f">{text}</text>" in page
    assert "down.0.0: convolution 3×3: 64 × 570 × 570" in page
    assert "up-convolution 2×2" in page and "max pooling 2×2" in page
    assert "skip, added" not in page  # the legend names only what there is
    assert 'role="img"' in page and page.count("<title id=") == 1


def test_a_unet_comes_out_as_a_u(paper):
    boxes, arrows = chart(trace(paper, 1, 1, 572, 572))
    place(boxes, arrows)
    path = [b.level for b in sorted(boxes, key=lambda b: b.ops[-1].index)]
    assert path == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3 + [3] * 3 + [
        *[2] * 3,
        *[1] * 3,
        *[0] * 4,
    ]
    skips = [a for a in arrows if a.kind == "concat"]
    assert len(skips) == 4
    assert all(a.source.cy == a.target.cy and not a.over for a in skips)


def test_one_box_a_module(paper):
    boxes, _ = chart(trace(paper, 1, 1, 572, 572), depth=1)
    names = [b.name for b in boxes if b.name]
    assert names == [f"down.{i}" for i in range(4)] + ["bottom"] + [
        f"merge.{i}" for i in range(4)
    ]


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (FCN(), (1, 3, 64, 96)),
        (VNet(), (1, 1, 16, 16, 8)),
        (ResUNet(), (1, 3, 16, 16)),
        (Inception(), (1, 1, 16, 16)),
        (RSU(), (1, 1, 17, 17)),
        (SqueezeExcite(), (1, 1, 9, 9)),
    ],
)
@pytest.mark.parametrize("depth", [None, 1])
def test_boxes_of_every_family_do_not_overlap(net, shape, depth):
    boxes, arrows = chart(trace(net, *shape), depth)
    place(boxes, arrows)
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            beside = a.right <= b.left or b.right <= a.left
            assert beside or a.below <= b.above or b.below <= a.above, (a, b)
    assert figures.draw(net, *shape, depth=depth).description


def test_pooling_by_frequencies_goes_one_level_down_and_stays_there():
    class Spectral(nn.Module):
        def forward(self, x):
            spectrum = torch.fft.rfft(x, norm="forward")[..., : x.shape[-1] // 4 + 1]
            y = torch.fft.irfft(spectrum, n=x.shape[-1] // 2, norm="forward")
            return F.max_pool2d(x, 2)[..., : y.shape[-1]] + y[..., ::2, :]

    boxes, _ = chart(trace(Spectral(), 1, 1, 32, 32))
    assert boxes[-1].level == 1 and boxes[-1].shape == (1, 1, 16, 16)


def test_residual_additions_are_skips():
    _, arrows = chart(trace(VNet(), 1, 1, 16, 16, 8))
    kinds = [a.kind for a in arrows]
    assert kinds.count("add") == 3 and kinds.count("concat") == 1
    assert "strided" in kinds and "upconv" in kinds


def test_ids_are_unique_and_sizes_short(paper):
    first, second = (figures.draw(paper, 1, 1, 188, 188).html for _ in range(2))
    ids = [set(re.findall(r' id="([^"]+)"', page)) for page in (first, second)]
    assert ids[0] and not ids[0] & ids[1]
    assert size((1, 2, 5, 5)) == "5²" and size((1, 2, 5, 7)) == "5×7"
    assert size((1, 2, 5, 5, 5)) == "5³" and size((1, 2, 5, 5, 7)) == "5²×7"


def test_a_refused_size_raises_the_networks_own_error(paper):
    with pytest.raises(ValueError, match="cannot be halved"):
        figures.draw(paper, 1, 1, 571, 571)


# --- images, curves, tables -----------------------------------------------------------


THREE = [figures.HIT, figures.EXTRA, figures.MISSED]


def test_gallery_shows_every_kind_of_picture_in_its_place():
    grey = torch.tensor([[0.0, 1.0], [0.5, 0.25]])
    pictures = [grey, grey[None].numpy(), torch.rand(3, 2, 2), grey > 0.4]
    outlines = torch.zeros(4, 1, 2, 2)
    outlines[1, 0, 0, 0] = 1
    axes = list(figures.gallery(pictures, ["a", "b"], outlines, rows=2))
    shown = [axis.images[0].get_array() for axis in axes]
    assert all(np.allclose(shown[i][..., 0], grey) for i in (0, 1))
    assert np.allclose(shown[2], pictures[2].permute(1, 2, 0))
    assert np.allclose(shown[3][..., 2], pictures[3])
    assert [axis.get_title() for axis in axes] == ["a", "b", "", ""]
    assert [len(axis.collections) for axis in axes] == [0, 1, 0, 0]


def test_painted_colours_hits_extras_and_misses():
    truth, found = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 1, 0]]]).bool()
    figure = figures.painted(torch.full((3, 1, 4), 0.5), truth, found)
    shown = figure.axes[0].images[0].get_array()[0]
    right = [plt.matplotlib.colors.to_rgb(c) for c in (*THREE, "#999999")]
    assert np.allclose(shown[[0, 2, 1, 3]], right)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["hit", "extra", "missed"]


def test_painted_shows_several_answers():
    truth, found = torch.zeros(4, 6).bool(), torch.ones(3, 4, 6).bool()
    figure = figures.painted(torch.rand(3, 4, 6), truth, found, ["a", "b", "c"])
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c", ""]
    assert [len(axis.images) for axis in figure.axes] == [1, 1, 1, 0]


def test_overlay_draws_each_run_of_pixels_once():
    truth, found = torch.tensor(
        [[[1, 1, 0, 1], [0, 0, 0, 0]], [[1, 1, 0, 0], [0, 1, 1, 1]]]
    )
    page = figures.overlay(truth, found, 'a "guess"', "9rem")
    paths = dict(zip(THREE, ("M0 0h2v1H0z", "M1 1h3v1H1z", "M3 0h1v1H3z"), strict=True))
    for colour, path in paths.items():
        assert f'<path fill="{colour}" d="{path}"/>' in page
    for text in ("hit 2<", "extra 3<", "missed 1<", 'viewBox="0 0 4 2"', "width:9rem"):
        assert text in page
    assert 'role="img" aria-label="a &quot;guess&quot;"' in page


def test_bars_are_as_long_as_the_scores():
    page = figures.bars({"IoU": 0.254, "F1 <2>": torch.tensor(1.0)})
    assert "IoU 0.25<" in page and "width:25%" in page
    assert "F1 &lt;2&gt; 1.00<" in page and "width:100%" in page


def test_strip_colours_hits_extras_and_misses():
    truth, found = torch.zeros(2, 1, 1, 4, 4)
    truth[..., 0, :], found[..., 0, :2], found[..., 3, 0] = 1, 1, 1
    figure = figures.strip(torch.full((1, 3, 4, 4), 0.5), truth, found)
    shown = figure.axes[2].images[0].get_array()
    colours = {
        tuple(np.round(np.multiply(plt.matplotlib.colors.to_rgb(c), 255)))
        for c in (figures.HIT, figures.EXTRA, figures.MISSED)
    }
    assert tuple(np.round(shown[0, 0] * 255)) in colours
    assert len({tuple(p) for p in shown.reshape(-1, 3)}) == 4  # three kinds, the rest
    assert (shown[0, 0] == shown[0, 1]).all() and (shown[0, 2] != shown[0, 1]).any()


def test_strip_without_prediction_and_with_grey_images():
    figure = figures.strip(torch.rand(2, 1, 8, 8), torch.zeros(2, 1, 8, 8))
    assert len(figure.axes) == 4


def test_strip_refuses_other_sizes():
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"masks have shape \(2, 1, 4, 4\)"):
        figures.strip(images, torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match="1 titles for 2 images"):
        figures.strip(images, torch.zeros(2, 1, 8, 8), titles=["one"])


def test_curves_draw_each_run_and_the_mean():
    runs = [
        SimpleNamespace(
            history=[dict(step=s, loss=1 / (s + i), iou=s / 10) for s in (1, 2, 3)]
        )
        for i in (1, 3)
    ]
    loss = figures.curves(runs).axes[0]
    assert len(loss.lines) == 3
    assert np.allclose(loss.lines[-1].get_ydata()[0], (1 / 2 + 1 / 4) / 2)


def test_table_is_a_real_table_with_numbers_to_the_right():
    page = figures.table([["conv <1>", 1234567, 0.5]], ["a", "b", "c"], "sizes").data
    assert "<caption>sizes</caption>" in page and page.count('<th scope="col"') == 3
    assert "conv &lt;1&gt;" in page and "1,234,567" in page
    assert page.count("text-align:right") == 4  # two cells and their headers


def test_cost_card_says_everything():
    card = dict(
        input=(1, 1, 572, 572),
        params=31_030_658,
        macs=167_000_000_000,
        memory=2**20,
        memory_training=2**21,
        seconds=0.0123,
        seconds_training=1.5,
    )
    page = figures.cost_card("U-Net", card, "few images", "no memory").data
    for text in ("31.0 million", "167 billion", "1.0 MiB", "12.3 ms", "1.50 s"):
        assert text in page
    assert "few images" in page and figures.COLOURS["U-Net"] in page


def test_counts_in_words():
    assert figures.count(999) == "999" and figures.count(134_300_000) == "134 million"
