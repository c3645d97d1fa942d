"""helpers.figures: what the pictures and tables show, in numbers and words."""

import base64
import io
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from helpers import chapters, figures
from helpers.training import Run


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


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


def run_of(scores, **settings):
    history = []
    for step, score in enumerate(scores, start=1):
        history.append(dict(step=10 * step, loss=1 / score, score=score))
    return SimpleNamespace(history=history, **settings)


def test_curves_draw_each_run_and_the_mean():
    runs = [run_of([0.1, 0.2, 0.4]), run_of([0.3, 0.4])]
    loss, score = figures.curves(runs).axes
    assert [len(line.get_xdata()) for line in score.lines] == [3, 2, 2]
    mean = score.lines[-1]
    assert list(mean.get_xdata()) == [10, 20]  # where both were measured
    assert np.allclose(mean.get_ydata(), [0.2, 0.3])
    assert np.allclose(loss.lines[-1].get_ydata()[0], (10 + 1 / 0.3) / 2)
    assert [axis.get_title() for axis in (loss, score)] == ["loss", "IoU, validation"]


def test_dots_have_a_row_for_each_variant():
    keys = [("plain", 3, 0), ("plain", 3, 1), ("norm", 3, 0), ("norm", 3, 1)]
    index = pandas.MultiIndex.from_tuples(keys, names=["variant", "depth", "seed"])
    table = pandas.DataFrame(dict(iou=[0.2, 0.4, 0.5, 0.7]), index)
    (axis,) = figures.dots(table, "iou", "test IoU").axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["plain, 3", "norm, 3"]
    shown = [list(line.get_xdata()) for line in axis.lines]
    assert np.allclose(np.hstack(shown), [0.2, 0.4, 0.3, 0.5, 0.7, 0.6])
    single = figures.dots(table.droplevel("depth"), "iou").axes[0]
    names = [label.get_text() for label in single.get_yticklabels()]
    assert names == ["plain", "norm"] and single.get_xlabel() == "iou"


class Asleep(torch.nn.Module):
    """Finds the bright pixels of the middle, with a probability of 0.38 at most."""

    def forward(self, images):
        return 10 * (images[:, :1, 1:-1, 1:-1] - 0.95)


@pytest.fixture
def answered():
    """A run that finds the first 3, 1, 2, 4 and 1 of 4 pixels, and its data set."""
    images, masks = torch.zeros(5, 3, 4, 4), torch.zeros(5, 1, 4, 4)
    middle = images[..., 1:3, 1:3].flatten(-2)
    for i, found in enumerate((3, 1, 2, 4, 1)):
        middle[i, :, :found] = 0.9
    images[..., 1:3, 1:3] = middle.unflatten(-1, (2, 2))
    masks[..., 1:3, 1:3] = 1
    masks[4] = 0  # no foreground: not to be ranked
    return Run(Asleep(), [], seed=7, threshold=0.3), TensorDataset(images, masks)


def test_best_median_and_worst_are_chosen_by_a_rule(answered):
    figure = figures.best_median_worst(*answered)
    titles = [axis.get_ylabel() for axis in figure.axes[::3]]
    assert titles == ["IoU 1.00", "IoU 0.75", "IoU 0.25"]  # of 0.25, 0.5, 0.75, 1
    best = figure.axes[0].images[0].get_array()
    assert best.shape == (2, 2, 3) and np.allclose(best, 0.9)  # cut to what is answered
    lower = figures.best_median_worst(*answered, at=(0, 0.25))
    titles = [axis.get_ylabel() for axis in lower.axes[::3]]
    assert titles == ["IoU 0.25", "IoU 0.50"]


def test_sweep_shows_where_the_answer_vanishes(answered):
    axis = figures.sweep([answered[0]], answered[1]).axes[0]
    line, half = axis.lines
    assert list(half.get_xdata()) == [0.5, 0.5] and line.get_label() == "seed 7"
    awake = line.get_xdata() < 0.37
    assert np.allclose(line.get_ydata()[awake], 10 / 17)  # 10 of 16, and one extra
    assert not line.get_ydata()[line.get_xdata() > 0.38].any()


def test_by_distance_plots_the_mean_of_the_rings():
    rings = np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.9]])  # the last: the whole picture
    curves = {"zeros": rings, "mirror": rings + 0.1}
    styles = {"mirror": dict(linestyle=":", marker="x")}
    axis = figures.by_distance(curves, [0, 4, 32], styles).axes[0]
    assert list(axis.lines[0].get_xdata()) == [0, 4]
    assert np.allclose(axis.lines[0].get_ydata(), [0.2, 0.3])
    assert axis.lines[1].get_linestyle() == ":" and axis.lines[1].get_marker() == "x"
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names == ["zeros", "mirror"]


@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7)])
def test_pixels_are_a_small_picture_in_the_page(shape):
    picture = torch.rand(shape) * 1.2 - 0.1
    page = figures.pixels(picture, 'a "guess"', "40rem")
    assert 'alt="a &quot;guess&quot;"' in page and "width:40rem" in page
    assert "image-rendering:pixelated" in page
    code = re.search(r"data:image/png;base64,([^\"]+)", page)[1]
    image = Image.open(io.BytesIO(base64.b64decode(code)))
    shown = np.asarray(image) / 255
    shown = shown if len(shape) == 2 else shown.transpose(2, 0, 1)
    assert np.allclose(shown, picture.clip(0, 1), atol=0.5 / 31 + 0.5 / 255)


def test_layers_of_a_network():
    net = chapters.load("02_unet").UNet(widths=(2, 4))
    net.train()
    rows = figures.layer_outputs(net, 1, 1, 20, 20)
    modules = dict(net.named_modules())
    for path, kind, _ in rows:
        assert type(modules[path]).__name__ == kind
    assert rows[0][1:] == ("Conv2d", (1, 2, 18, 18))
    assert rows[-1] == ("head", "Conv2d", (1, 2, 4, 4))
    assert len(rows) == 14  # 3 double convolutions of 4 layers, upconv, head
    page = figures.layers(net, 1, 1, 20, 20, caption="A small U-Net").data
    assert page.count("<tr>") == 15 and ">1 × 2 × 4 × 4<" in page
    assert net.training and next(net.parameters()).device.type == "cpu"


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
    for text in (
        "31.0 million",
        "167 billion",
        "1.0 MiB",
        "2.0 MiB",
        "12.3 ms",
        "1.50 s",
    ):
        assert text in page
    assert "few images" in page and figures.COLOURS["U-Net"] in page


def test_counts_in_words():
    assert figures.count(999) == "999" and figures.count(134_300_000) == "134 million"
    assert figures.count(134_300_000_000_000) == "134 trillion"


def test_heat_map_shows_every_number_and_greys_what_is_none():
    values = pandas.DataFrame([[0.5, 0.91], [0.25, 0.75]], ["a", "b"], ["x", "y"])
    gaps = pandas.DataFrame([[0.0, 0.41], [np.nan, 0.1]], ["a", "b"], ["x", "y"])
    signs = pandas.DataFrame([["", "†"], ["", ""]], ["a", "b"], ["x", "y"])
    figure = figures.heat_map(values, gaps, "difference", signs)
    axis = figure.axes[0]
    assert [t.get_text() for t in axis.texts] == ["0.50", "0.91†", "0.25", "0.75"]
    assert axis.texts[1].get_color() == "white"  # on the darkest field
    fields = axis.images[0].to_rgba(axis.images[0].get_array())
    assert tuple(fields[1, 0][:3].round(2)) == (0.87, 0.87, 0.87)
