"""What the networks and functions of chapter 04 must do.

The paper's Table 1 and its 7.8 million parameters are asserted in the chapter.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers import chapters
from tests.chapters.refusals import names_sizes_that_work

chapter = chapters.load("04_resunet")
TINY = dict(in_channels=1, classes=1, widths=(2, 3, 4))


@pytest.fixture(scope="module")
def paper():
    with torch.device("meta"):
        return chapter.ResUNet()


def test_only_the_first_unit_has_no_leading_norm(paper):
    units = [m for m in paper.modules() if isinstance(m, chapter.ResidualUnit)]
    first, *others = (type(unit.layers[0]) for unit in units)
    assert first is nn.Conv2d and set(others) == {nn.BatchNorm2d}
    order = [nn.BatchNorm2d, nn.ReLU, nn.Conv2d] * 2
    assert [type(layer) for layer in units[1].layers] == order


@pytest.mark.parametrize(("stride", "out"), [(1, 4), (2, 4), (1, 6), (2, 6)])
def test_a_silent_branch_leaves_the_shortcut_alone(stride, out):
    x = torch.randn(2, 4, 8, 8)
    unit = chapter.ResidualUnit(4, out, stride)
    nn.init.zeros_(unit.layers[-1].weight)
    nn.init.zeros_(unit.layers[-1].bias)
    expected = x
    if (stride, out) != (1, 4):
        expected = F.conv2d(x, unit.shortcut.weight)[..., ::stride, ::stride]
    assert torch.allclose(unit(x), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (64, 32)])
def test_the_answer_is_as_large_as_the_picture(size):
    net = chapter.ResUNet(**TINY)
    assert net(torch.zeros(2, 1, *size)).shape == (2, 1, *size)
    assert chapter.ResUNet(3, 5, (2, 3))(torch.zeros(2, 3, 8, 8)).shape[1] == 5


@pytest.mark.parametrize("size", [100, 8, 223])
def test_a_refusal_names_sizes_that_work(paper, size):
    def height(size):
        return paper(torch.zeros(1, 3, size, 96, device="meta")).shape[2]

    def width(size):
        return paper(torch.zeros(1, 3, 96, size, device="meta")).shape[3]

    for side in (height, width):
        said, answers = names_sizes_that_work(side, size)
        assert "depth 3 cannot take" in said and "divisible by 8" in said
        assert list(answers) == list(answers.values())


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 16, 16), (1, 1, 16, 16, 16)])
def test_wrong_channels_or_axes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected a batch \(N, 1, H, W\), got"):
        chapter.ResUNet(**TINY)(torch.zeros(shape))


def test_gradients_reach_every_weight_also_through_strided_projections():
    torch.manual_seed(0)
    net = chapter.small_resunet()
    net(torch.randn(2, 3, 96, 96)).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert all(p.grad.any() for n, p in net.named_parameters() if "weight" in n)


def test_small_resunet_starts_at_the_share():
    net = chapter.small_resunet(0.1)
    assert net.head.bias.sigmoid().item() == pytest.approx(0.1)


@pytest.mark.parametrize("blocks", [1, 4])
def test_a_deep_u_has_its_blocks_and_answers_in_the_picture_s_size(blocks):
    for switches in chapter.VARIANTS.values():
        net = chapter.DeepUNet(blocks, **switches)
        found = sum(isinstance(m, chapter.Block) for m in net.modules())
        assert found == 5 * blocks
        assert net(torch.zeros(1, 3, 16, 24)).shape == (1, 1, 16, 24)


def test_the_four_variants_are_what_their_names_say():
    x = torch.randn(2, 4, 8, 8)
    for name, switches in chapter.VARIANTS.items():
        block = chapter.Block(4, **switches)
        kinds = [type(m) for m in block.modules()]
        assert kinds.count(nn.BatchNorm2d) == (2 if "BN" in name else 0)
        branch = block.layers(x)
        expected = x + branch if "residual" in name else branch
        assert torch.allclose(block(x), expected)


def test_calm_divides_the_last_weights_of_residual_blocks_only():
    torch.manual_seed(0)
    net = chapter.DeepUNet(2, norm=False, shortcut=True)
    before = {name: p.clone() for name, p in net.named_parameters()}
    chapter.calm(net)
    for name, p in net.named_parameters():
        factor = math.sqrt(10) if name.endswith("layers.3.weight") else 1
        assert torch.allclose(p * factor, before[name])
    plain = chapter.DeepUNet(2, norm=False, shortcut=False)
    before = [p.clone() for p in plain.parameters()]
    chapter.calm(plain)
    assert all(map(torch.equal, before, plain.parameters()))
