"""What the networks and functions of chapter 03 must do.

The paper's Figure 2 and the true receptive fields are asserted in the chapter.
"""

import pytest
import torch
from torch import nn

from helpers import chapters
from tests.chapters.refusals import names_sizes_that_work

chapter = chapters.load("03_vnet")
TINY = dict(classes=1, widths=(2, 4, 8))


# --- the network --------------------------------------------------------------------


def test_prelu_everywhere_and_batch_norm_only_if_asked():
    with torch.device("meta"):
        kinds = [type(m) for m in chapter.VNet().modules()]
    assert kinds.count(nn.PReLU) == 21 + 8
    assert nn.BatchNorm3d not in kinds and nn.ReLU not in kinds
    kinds = [type(m) for m in chapter.VNet(**TINY, norm=True).modules()]
    convolutions = kinds.count(nn.Conv3d) + kinds.count(nn.ConvTranspose3d)
    assert kinds.count(nn.BatchNorm3d) == convolutions - 1  # all but the head


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


def test_small_vnet_first_answers_the_share():
    net = chapter.small_vnet(0.1)
    assert net.head.bias.sigmoid().item() == pytest.approx(0.1)
    assert net(torch.rand(1, 1, 8, 8, 8)).shape == (1, 1, 8, 8, 8)


def test_without_sums_nothing_else_changes():
    nets = []
    for stage in (chapter.Stage, chapter.PlainStage):
        torch.manual_seed(0)
        nets.append(chapter.small_vnet(stage=stage))
    for key, weights in nets[0].state_dict().items():
        assert nets[1].state_dict()[key].equal(weights)
    plain = chapter.PlainStage(2, 2, 1)
    nn.init.zeros_(plain.body[0].weight)
    nn.init.zeros_(plain.body[0].bias)
    assert not plain(torch.ones(1, 2, 4, 4, 4)).any()


# --- refusals -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 1, 64, 64), (1, 3, 16, 16, 16), (1, 16, 16, 16), (16, 16)]
)
def test_pictures_and_wrong_channels_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected a batch \(N, 1, D, H, W\), got"):
        chapter.VNet(**TINY)(torch.zeros(shape))


@pytest.mark.parametrize(("side", "works"), [(18, (16, 20)), (3, (4, 8)), (0, (4, 8))])
def test_a_side_that_does_not_fit_is_refused_with_sizes_that_do(side, works):
    net = chapter.VNet(**TINY)

    def answered(side):
        return net(torch.zeros(1, 1, 8, side, 8)).shape[3]

    said, answers = names_sizes_that_work(answered, side)
    assert "divisible by 4; " in said
    assert answers == {size: size for size in works}


def test_channels_that_cannot_be_tiled_are_refused():
    with pytest.raises(ValueError, match="3 channels cannot be tiled to 4"):
        chapter.tiled(torch.zeros(1, 3, 2, 2, 2), 4)
    with pytest.raises(ValueError, match="3 channels cannot be tiled to 2"):
        chapter.VNet(in_channels=3, classes=1, widths=(2, 4))


def test_dice_of_unequal_shapes_is_refused():
    with pytest.raises(ValueError, match="dice_loss needs one shape for both"):
        chapter.dice_loss(torch.zeros(2, 1, 8, 8), torch.zeros(2, 8, 8))


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
