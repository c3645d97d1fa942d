"""helpers.drawing, chart, layout, svg: what a network's drawing says and shows."""

import functools
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import chapters, drawing, figures, layout
from helpers.chart import chart, size
from helpers.drawing import describe
from helpers.layout import place
from helpers.trace import trace

NETWORKS = {  # name -> chapter, what makes it, input
    "FCN-8s": ("01_fcn", "small_fcn()", (1, 3, 64, 96)),
    "U-Net": ("02_unet", "UNet()", (1, 1, 572, 572)),
    "V-Net": ("03_vnet", "small_vnet()", (1, 1, 16, 16, 8)),
    "ResUNet": ("04_resunet", "small_resunet()", (1, 3, 64, 64)),
    "Inception": ("05_inception_unet", "Inception(3, 16)", (1, 3, 16, 16)),
    "RSU": ("06_u2net", "RSU(5, 3, 8, 16)", (1, 3, 37, 37)),
}


@functools.cache
def network(name):
    chapter, maker, shape = NETWORKS[name]
    return eval(maker, vars(chapters.load(chapter))), shape


@functools.cache
def traced(name):
    net, shape = network(name)
    return trace(net, *shape)


@pytest.fixture(scope="module", autouse=True)
def not_for_longer():
    """The paper's networks are large, and no other module asks for them."""
    yield
    network.cache_clear()
    traced.cache_clear()


@pytest.fixture(scope="module")
def paper():
    """The paper's U-Net, drawn."""
    net, shape = network("U-Net")
    return figures.draw(net, *shape, title="U-Net")


def test_the_text_alternative_tells_the_network(paper):
    words = paper.description
    assert words.startswith("U-Net on an input of 1 channel of 572 × 572.")
    assert "4 concatenations." in words and "19 convolutions" in words
    assert "64 channels of 392 × 392 (cropped from 568 × 568)" in words
    assert words.endswith("Output: 2 channels of 388 × 388.")
    assert f">{words}</desc>" in paper.html


def test_a_network_of_many_turns_is_told_in_short():
    rsu = chapters.load("06_u2net").RSU
    ops = trace(nn.Sequential(*(rsu(5, 3, 4, 3) for _ in range(5))), 1, 3, 32, 32)
    words = describe(ops, chart(ops)[0], "Five U")
    assert words.startswith("Five U on an input of 3 channels of 32 × 32. It changes ")
    assert "its resolution 30 times, over 4 levels. In all: " in words
    assert "20 concatenations" in words and "Concatenated" not in words
    assert len(words) < 500


def test_equal_outputs_are_told_once():
    class Twins(nn.Module):
        def forward(self, x):
            return [x.relu(), x.sigmoid()]

    words = figures.draw(Twins(), 1, 2, 9, 9).description
    assert words.endswith("Output: 2 times 2 channels of 9 × 9.")


def test_the_drawing_shows_sizes_crops_and_operations(paper):
    page = paper._repr_html_()
    for text in ("572²", "568²→392²", "64²→56²", "388²", "1024"):
        assert f">{text}</text>" in page
    net, _ = network("U-Net")
    convs = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d)]
    assert f"{convs[0]}: convolution 3×3: 64 × 570 × 570" in page
    assert "up-convolution 2×2" in page and "max pooling 2×2" in page
    assert "skip, added" not in page  # the legend names only what there is
    assert 'role="img"' in page and page.count("<title id=") == 2


def test_a_unet_comes_out_as_a_u():
    boxes, arrows = chart(traced("U-Net"))
    places, detours = place(boxes, arrows)
    boxes.sort(key=lambda box: box.ops[-1].index)
    down, up = [0, 1, 2, 3, 4], [3, 2, 1, 0]
    path = [level for level in down + up for _ in range(3)] + [0]  # the head
    assert [box.level for box in boxes] == path
    rows = [places[box].cy for box in boxes[::3]]
    assert rows[:5] == sorted(rows[:5]) and rows[5:9] == rows[3::-1]
    skips = [arrow for arrow in arrows if arrow.skip]
    assert len(skips) == 4 and not detours
    for skip in skips:
        assert places[skip.source].cy == places[skip.target].cy
        assert skip.target.copied == 0.5  # half of it in pale


def test_one_box_a_module():
    boxes, _ = chart(traced("U-Net"), depth=1)
    names = [box.name for box in boxes if box.name]
    blocks = {name.split(".")[0] for name in names}
    assert len(names) == 9 and len(blocks) == 3  # down, bottom, up


@pytest.mark.parametrize("look", [layout.WIDE, layout.TURNED, layout.BARE])
@pytest.mark.parametrize("depth", [None, 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_boxes_of_every_network_stay_apart(name, depth, look):
    boxes, arrows = chart(traced(name), depth)
    places, _ = place(boxes, arrows, look)
    for i, box in enumerate(boxes):
        a = places[box]
        for other in boxes[:i]:
            b = places[other]
            beside = a.right <= b.left or b.right <= a.left
            assert beside or a.below <= b.above or b.below <= a.above, (box, other)
    for arrow in arrows:  # time runs to the right, wherever the resolution stays
        a, b = places[arrow.source], places[arrow.target]
        assert a.column <= b.column and (a.level != b.level or a.column < b.column)


def test_half_the_size_is_always_as_much_lower():
    boxes, arrows = chart(traced("U-Net"))
    places, _ = place(boxes, arrows)
    heights = {box.shape[-1]: places[box].height for box in boxes}
    for whole in (568, 280, 136, 64):  # before and after each pooling
        step = heights[whole] - heights[whole // 2]
        assert step == pytest.approx(layout.WIDE.halving)
    assert heights[28] == pytest.approx(layout.WIDE.least)


def test_one_arrow_leads_from_box_to_box_and_shows_what_changes_the_size():
    net = chapters.load("05_inception_unet").InceptionUNet(widths=(2, 4, 8, 16))
    _, arrows = chart(trace(net, 1, 3, 32, 32), depth=1)
    pairs = {(arrow.source, arrow.target) for arrow in arrows}
    assert len(pairs) == len(arrows)
    into = {arrow.target.name: arrow.kind for arrow in arrows}
    assert [into[f"pools.{k}"] for k in range(3)] == ["pool"] * 3
    assert into["encoder.1"] == "conv" and into["short"] == "pool"


def test_maps_side_by_side_do_not_lead_into_each_other():
    """U2-Net's side maps: each has its own way to the concatenation, above the next."""
    net = chapters.load("06_u2net").small_u2net()
    boxes, arrows = chart(trace(net, 1, 3, 64, 64), depth=1)
    places, detours = place(boxes, arrows)
    joins = [arrow.target for arrow in arrows if arrow.target.kind == "concat"]
    fusion = max(joins, key=lambda box: places[box].column)
    joining = [arrow for arrow in arrows if arrow.target is fusion]
    assert len(joining) == 6
    assert {places[arrow.source].row for arrow in joining} == {0}
    nearest = max(joining, key=lambda arrow: places[arrow.source].column)
    assert [arrow for arrow in joining if arrow not in detours] == [nearest]


def test_a_narrow_page_gets_the_turned_drawing(paper):
    page = paper.html
    wide, turned = map(float, re.findall(r'viewBox="0 0 (\d+) \d+"', page))
    assert turned < 360 < wide  # on a phone at its full size
    limit = re.search(r"network \(width < (\d+)px\)", page)[1]
    assert turned < int(limit) < wide
    net, shape = network("Inception")
    block = figures.draw(net, *shape, depth=1).html  # turned it would be wider
    assert "@container network" not in block and 'network-turned" role' not in block


def test_the_legend_names_the_axes_there_are(paper):
    assert "the other number: height and width." in paper.html
    net, shape = network("V-Net")
    page = figures.draw(net, *shape, depth=2).html
    assert "the other number: depth, height and width." in page
    assert "A box with a name is a whole module." in page


def test_a_worksheet_has_the_boxes_and_no_numbers(paper):
    net, shape = network("U-Net")
    page = drawing.worksheet(net, *shape, title="U-Net").html
    words = re.findall(r"<text[^>]*>([^<]*)</text>", page)
    assert set(words) == {"crop", "__→__"}
    wide = paper.html[: paper.html.index('network-turned" role')]
    filled = wide.count("<rect x")
    assert page.count("<rect x") == filled > 20
    assert "conv" not in page[: page.index("figcaption")]  # no tip tells the answer


def test_a_family_is_drawn_at_one_scale():
    def member(name, layers, *shape):
        net = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(layers)])
        return drawing.Member(name, net, shape, "#0072b2", note=f"{name}'s note")

    small, large = member("small", 1, 1, 3, 16, 16), member("large", 5, 1, 3, 64, 64)
    page = drawing.family([small, large]).html
    one, other = page.split("<figure")[1:]
    (high,) = set(re.findall(r'height="([\d.]+)" rx', one))
    (higher,) = set(re.findall(r'height="([\d.]+)" rx', other))
    assert float(higher) - float(high) == 2 * layout.BARE.halving
    shares = [float(share) for share in re.findall(r"--share:([\d.]+)", page)]
    widths = [float(width) for width in re.findall(r'viewBox="0 0 (\d+)', page)]
    assert shares[1] == 1 and shares[0] == pytest.approx(
        widths[0] / widths[1], abs=0.01
    )
    assert "small&#x27;s note" in one and "<text" not in page


def test_pooling_by_frequencies_goes_one_level_down_and_stays_there():
    class Spectral(nn.Module):
        def forward(self, x):
            spectrum = torch.fft.rfft(x, norm="forward")[..., : x.shape[-1] // 4 + 1]
            y = torch.fft.irfft(spectrum, n=x.shape[-1] // 2, norm="forward")
            return F.max_pool2d(x, 2)[..., : y.shape[-1]] + y[..., ::2, :]

    boxes, _ = chart(trace(Spectral(), 1, 1, 32, 32))
    assert boxes[-1].level == 1 and boxes[-1].shape == (1, 1, 16, 16)


def test_a_gate_is_a_multiplication():
    class Gate(nn.Module):
        """Squeeze and Excitation: every channel times a share."""

        def forward(self, x):
            return x * x.mean((2, 3), keepdim=True).sigmoid()

    boxes, arrows = chart(trace(Gate(), 1, 1, 9, 9))
    assert [box.sign for box in boxes] == ["", "", "×"]
    assert [arrow.kind for arrow in arrows if arrow.skip] == ["multiply"]
    assert "skip, multiplied" in figures.draw(Gate(), 1, 1, 9, 9).html


def test_residual_additions_are_skips():
    _, arrows = chart(traced("V-Net"))
    kinds = [arrow.kind for arrow in arrows]
    assert kinds.count("add") == 5 and kinds.count("concat") == 2
    assert "strided" in kinds and "upconv" in kinds


def test_what_is_in_the_way_is_passed_above():
    """RSU's residual connection runs over the whole U, in a lane above its skips."""
    boxes, arrows = chart(traced("RSU"))
    places, detours = place(boxes, arrows)
    (residual,) = [arrow for arrow in detours if arrow.kind == "add"]
    assert detours[residual] == max(detours.values())
    assert places[residual.source].level == places[residual.target].level == 0


def test_ids_are_unique_and_sizes_short():
    net, shape = network("Inception")
    pages = [figures.draw(net, *shape).html for _ in range(2)]
    first, second = (set(re.findall(r' id="([^"]+)"', page)) for page in pages)
    assert len(first) == 5 and not first & second
    assert size((1, 2, 5, 5)) == "5²" and size((1, 2, 5, 7)) == "5×7"
    assert size((1, 2, 5, 5, 5)) == "5³" and size((1, 2, 5, 5, 7)) == "5²×7"


def test_a_refused_size_raises_the_networks_own_error():
    net, _ = network("U-Net")
    with pytest.raises(ValueError, match="571"):
        figures.draw(net, 1, 1, 571, 571)
