"""What the networks and functions of chapter 03 must do."""

import pytest
import torch
from torch import nn

from helpers import chapters, cost, shapes

chapter = chapters.load("03_vnet")
TINY = dict(classes=1, widths=(2, 4, 8))


@pytest.fixture(scope="module")
def paper():
    with torch.device("meta"):
        return chapter.VNet()


# --- the network --------------------------------------------------------------------


def test_the_paper_sizes_channels_and_convolutions(paper):
    ops = shapes.trace(paper, 1, 1, 64, 128, 128)
    fives = [o for o in ops if o.kind == "conv" and o.settings["kernel"][0] == 5]
    down, up = ([*(16,), *(32,) * 2, *(64,) * 3, *(128,) * 3, *(256,) * 3],
                [*(256,) * 3, *(128,) * 3, *(64,) * 2, 32])  # fmt: skip
    assert [op.shape[1] for op in fives] == down + up
    assert all(op.settings["kernel"] == (5, 5, 5) for op in fives)
    deepest = min(op.shape[2:] for op in fives)
    assert deepest == (4, 8, 8)
    assert ops[-1].shape == (1, 2, 64, 128, 128)
    assert cost.params(paper) == 65_175_314


def test_strides_instead_of_pooling_and_a_sum_in_every_stage(paper):
    ops = shapes.trace(paper, 1, 1, 32, 32, 32)
    kinds = [op.kind for op in ops]
    assert "pool" not in kinds and kinds.count("upconv") == 4
    assert kinds.count("add") == 9 and kinds.count("concat") == 4
    layers = [op for op in ops if op.kind in ("conv", "upconv")]
    steps = [o for o in layers if o.settings["stride"] == (2, 2, 2)]
    assert len(steps) == 8 and all(o.settings["kernel"] == (2, 2, 2) for o in steps)
    heads = [o for o in layers if o.settings["kernel"] == (1, 1, 1)]
    assert [o.shape[1] for o in heads] == [2]


def test_prelu_everywhere_and_batch_norm_only_if_asked(paper):
    kinds = [type(m) for m in paper.modules()]
    assert kinds.count(nn.PReLU) == 21 + 8
    assert nn.BatchNorm3d not in kinds and nn.ReLU not in kinds
    kinds = [type(m) for m in chapter.VNet(**TINY, norm=True).modules()]
    convolutions = kinds.count(nn.Conv3d) + kinds.count(nn.ConvTranspose3d)
    assert kinds.count(nn.BatchNorm3d) == convolutions - 1  # all but the head


@pytest.mark.parametrize(
    ("module", "width"),
    [("encoder.4", 372), ("decoder.0", 468), ("decoder.3", 548)],
)
def test_true_receptive_fields(paper, module, width):
    field = shapes.receptive_field(paper, 1, 1, 16, 16, 1024, module=module)
    assert field.width.max() == width


def test_a_stage_that_learned_nothing_returns_its_tiled_input():
    stage = chapter.Stage(2, 6, 2)
    for parameter in stage.body.parameters():
        nn.init.zeros_(parameter)
    x = torch.rand(1, 2, 4, 4, 4)
    assert stage(x).equal(torch.cat([x, x, x], dim=1))


def test_sides_may_differ_and_every_weight_learns():
    torch.manual_seed(0)
    net = chapter.VNet(**TINY)
    answer = net(torch.randn(2, 1, 4, 8, 12))
    assert answer.shape == (2, 1, 4, 8, 12)
    answer.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


def test_weights_start_as_he_says():
    torch.manual_seed(0)
    for layer in chapter.VNet(widths=(8, 16)).modules():
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
            up = isinstance(layer, nn.ConvTranspose3d)
            inputs = layer.in_channels if up else layer.weight[0].numel()
            slack = 5 / layer.weight.numel() ** 0.5
            expected = pytest.approx((2 / inputs) ** 0.5, rel=slack)
            assert layer.weight.std().item() == expected
            assert not layer.bias.any()


# --- refusals -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 1, 64, 64), (1, 3, 16, 16, 16), (1, 16, 16, 16), (16, 16)]
)
def test_pictures_and_wrong_channels_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected volumes \(N, 1, D, H, W\), got"):
        chapter.VNet(**TINY)(torch.zeros(shape))


@pytest.mark.parametrize(("side", "works"), [(18, (16, 20)), (3, (4, 8)), (0, (4, 8))])
def test_a_side_that_does_not_fit_is_refused_with_sizes_that_do(side, works):
    net = chapter.VNet(**TINY)
    message = f"cannot take {side} voxels.*divisible by 4; {works[0]} and {works[1]}"
    with pytest.raises(ValueError, match=message):
        net(torch.zeros(1, 1, 8, side, 8))
    for size in works:
        assert net(torch.zeros(1, 1, 8, size, 8)).shape[3] == size


def test_channels_that_cannot_be_tiled_are_refused():
    with pytest.raises(ValueError, match="3 channels cannot be tiled to 4"):
        chapter.tiled(torch.zeros(1, 3, 2, 2, 2), 4)
    with pytest.raises(ValueError, match="3 channels cannot be tiled to 2"):
        chapter.VNet(in_channels=3, classes=1, widths=(2, 4))


# --- slice by slice -----------------------------------------------------------------


@pytest.mark.parametrize("near", [0, 1, 2])
def test_by_slices_shows_each_slice_with_its_neighbours(near):
    seen = []

    def middle(slices):
        seen.append(slices)
        return slices[:, near : near + 1]

    x = torch.rand(2, 1, 5, 4, 6)
    assert chapter.BySlices(middle, near)(x).equal(x)
    assert seen[0].shape == (10, 2 * near + 1, 4, 6)
    if near:
        assert seen[0][7, near - 1].equal(x[1, 0, 1])  # slice 2 of volume 1
        assert seen[0][0, 0].equal(x[0, 0, 0])  # the end, repeated


def test_small_vnet_first_answers_the_share():
    net = chapter.small_vnet(0.1)
    assert net.head.bias.sigmoid().item() == pytest.approx(0.1)
    assert net(torch.rand(1, 1, 8, 8, 8)).shape == (1, 1, 8, 8, 8)
