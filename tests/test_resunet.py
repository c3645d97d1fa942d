"""What the networks and functions of chapter 04 must do."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers import chapters, cost, shapes

chapter = chapters.load("04_resunet")
TINY = dict(in_channels=1, classes=1, widths=(2, 3, 4))


@pytest.fixture(scope="module")
def paper():
    with torch.device("meta"):
        return chapter.ResUNet()


def test_the_maps_are_those_of_table_1(paper):
    ops = shapes.trace(paper, 1, 3, 224, 224)
    convs = [op for op in ops if op.kind == "conv" and "shortcut" not in op.module]
    sides = {64: 224, 128: 112, 256: 56, 512: 28}
    widths = [w for w in (64, 128, 256, 512, 256, 128, 64) for _ in range(2)]
    listed = [(w, sides[w]) for w in widths] + [(1, 224)]
    assert [(op.shape[1], op.shape[3]) for op in convs] == listed
    assert len(convs) == 15
    halving = [op for op in convs if op.settings["stride"] == (2, 2)]
    assert [op.shape[1] for op in halving] == [128, 256, 512]
    kinds = [op.kind for op in ops]
    assert not {"pool", "upconv", "crop", "pad"} & set(kinds)
    assert [kinds.count(k) for k in ("add", "concat", "upsample")] == [7, 3, 3]
    assert ops[-1].shape == (1, 1, 224, 224)


def test_78_million_parameters_are_those_without_projections(paper):
    names = dict(paper.named_parameters())
    shortcuts = sum(p.numel() for n, p in names.items() if "shortcut" in n)
    assert round((cost.params(paper) - shortcuts) / 1e6, 1) == 7.8
    assert shortcuts == sum(
        a * b
        for a, b in [
            *((3, 64), (64, 128), (128, 256), (256, 512)),
            *((512 + 256, 256), (256 + 128, 128), (128 + 64, 64)),
        ]
    )


def test_no_u_net_has_306_million_and_four_levels_are_smaller_than_resunet(paper):
    u_net = chapters.load("02_unet").UNet
    four = (64, 128, 256, 512)
    with torch.device("meta"):
        nets = [
            u_net(a, b, norm=norm)
            for a, b in [(1, 2), (3, 1), (3, 2)]
            for norm in (False, True)
        ]
        small = u_net(3, 1, norm=True, widths=four)
    assert all(abs(cost.params(net) / 1e6 - 30.6) > 0.3 for net in nets)
    assert cost.params(small) < cost.params(paper)


def test_only_the_first_unit_has_no_leading_norm(paper):
    units = [m for m in paper.modules() if isinstance(m, chapter.ResidualUnit)]
    first, *others = (type(unit.layers[0]) for unit in units)
    assert first is nn.Conv2d and set(others) == {nn.BatchNorm2d}
    order = [nn.BatchNorm2d, nn.ReLU, nn.Conv2d] * 2
    assert [type(layer) for layer in units[1].layers] == order


def test_a_silent_branch_leaves_the_shortcut_alone():
    x = torch.randn(2, 4, 8, 8)
    for stride, out in ((1, 4), (2, 4), (1, 6), (2, 6)):
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
    for shape in ((1, 3, size, 96), (1, 3, 96, size)):
        with pytest.raises(ValueError, match=f"depth 3 cannot take {size} px") as no:
            paper(torch.zeros(shape, device="meta"))
    assert "divisible by 8" in str(no.value)
    *_, below, _, above, _ = str(no.value).split()
    for works in (int(below), int(above)):
        x = torch.zeros(1, 3, works, 96, device="meta")
        assert paper(x).shape[2] == works


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


def test_small_resunet_costs_what_the_small_unet_does():
    price = cost.macs(chapter.small_resunet(), 1, 3, 64, 64)
    target = cost.macs(chapters.load("02_unet").small_unet(), 1, 3, 64, 64)
    assert price == pytest.approx(target, rel=0.15)
    net = chapter.small_resunet(0.1)
    assert net.head.bias.sigmoid().item() == pytest.approx(0.1)


@pytest.mark.parametrize("blocks", [1, 4])
def test_shortcuts_add_no_weights_and_norm_the_same_to_both(blocks):
    nets = {
        name: chapter.DeepUNet(blocks, **switches)
        for name, switches in chapter.VARIANTS.items()
    }
    size = {name: cost.params(net) for name, net in nets.items()}
    assert size["plain"] == size["residual"]
    assert size["plain + BN"] == size["residual + BN"]
    # 2 norms a block, 2 numbers a channel: 8, 16, 32 down and 8, 16 up
    assert size["plain + BN"] - size["plain"] == 4 * blocks * (8 + 16 + 32 + 16 + 8)
    for net in nets.values():
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


def test_depth_makes_gradients_explode_without_shortcuts_and_not_with_them():
    torch.manual_seed(0)
    he_init = chapters.load("02_unet").he_init
    for shortcut, least, most in ((False, 100, math.inf), (True, 0.5, 5)):
        blocks = [chapter.Block(8, norm=True, shortcut=shortcut) for _ in range(24)]
        stack = chapter.calm(nn.Sequential(*blocks).apply(he_init))
        x = torch.randn(4, 8, 12, 12, requires_grad=True)
        y = stack(x)
        g = torch.randn_like(y)
        (back,) = torch.autograd.grad(y, x, g)
        assert least < (back.norm() / g.norm()).item() < most


def test_no_sign_of_the_heads_weights_silences_a_resunet():
    torch.manual_seed(0)
    x = torch.rand(4, 3, 32, 32)
    for net, silent in (
        (chapters.load("02_unet").small_unet(), True),
        (chapter.small_resunet(), False),
    ):
        net.head.weight.data.abs_().neg_()
        with torch.no_grad():
            assert (net.eval()(x).max() <= net.head.bias).item() == silent
