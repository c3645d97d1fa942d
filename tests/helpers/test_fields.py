"""Receptive fields: by hand, and against the gradient."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import chapters
from helpers.fields import effective_receptive_field, receptive_field


def test_two_convolutions_by_hand():
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, dilation=2))
    field = receptive_field(net, 1, 1, 16, 16)
    # 3 + 2 * 2 = 7, and without padding output i starts at input i
    assert field.lo.tolist() == list(range(10))
    assert set(field.width) == {7}


def test_strides_by_hand():
    net = nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3))
    field = receptive_field(net, 1, 1, 32, 32)
    # conv3: 3 | pool: 2 * 3 = 6 | conv stride 2: (6 - 1) * 2 + 3 = 13; start 4i - 1
    assert set(field.width) == {13}
    assert field.lo.tolist() == [4 * i - 1 for i in range(6)]


def test_transposed_convolutions_by_hand():
    net = nn.ConvTranspose2d(1, 1, 2, 2)
    assert receptive_field(net, 1, 1, 3, 3).lo.tolist() == [0, 0, 1, 1, 2, 2]
    # kernel 4, stride 2, padding 1: output 3 = 2i - 1 + k with k < 4, so i = 1 or 2
    field = receptive_field(nn.ConvTranspose2d(1, 1, 4, 2, 1), 1, 1, 3, 3)
    assert (field.lo[3], field.hi[3]) == (1, 2)
    # stride 3 with kernel 1 leaves two of three outputs without any input
    field = receptive_field(nn.ConvTranspose2d(1, 1, 1, 3), 1, 1, 3, 3)
    assert field.width.tolist() == [1, 0, 0, 1, 0, 0, 1]


def test_bilinear_upsampling_by_hand():
    double = nn.Upsample(scale_factor=2, mode="bilinear")
    field = receptive_field(double, 1, 1, 4, 4)
    # centres: output 3 lies at (3 + 0.5) / 2 - 0.5 = 1.25, between inputs 1 and 2
    assert (field.lo[3], field.hi[3]) == (1, 2)
    # output 0 lies at -0.25; inside the image there is only input 0
    assert (field.lo[0], field.hi[0]) == (-1, 0)


@pytest.mark.parametrize("dim, seen", [(1, 1), (-3, 1), (2, 9), (-1, 9)])
def test_a_softmax_along_the_picture_sees_all_of_it(dim, seen):
    assert set(receptive_field(nn.Softmax(dim), 1, 2, 9, 9).width) == {seen}


def test_a_border_that_wraps_around_sees_all():
    net = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    assert set(receptive_field(net, 1, 1, 9, 9).width) == {9}


@pytest.mark.parametrize(
    "net, reach",
    [
        (nn.Conv2d(1, 1, 1), 0),
        (nn.Conv2d(1, 1, 5, padding=2), 2),
        (nn.Conv2d(1, 1, 4, padding=1), 2),  # one to the left, two to the right
        (nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=4, dilation=4)] * 3), 12),
        # An even position sees itself and the next, an odd one the one before.
        (nn.Sequential(nn.MaxPool2d(2), nn.ConvTranspose2d(1, 1, 2, 2)), 1),
        (nn.Sequential(nn.MaxPool2d(8), nn.Upsample(scale_factor=8)), 7),
    ],
)
def test_reach_by_hand(net, reach):
    assert receptive_field(net, 1, 1, 32, 32).reach == reach


def test_reach_of_a_unet_is_that_of_a_changed_pixel():
    """It need not reach as far as it might, but never further."""
    torch.manual_seed(0)
    unet = chapters.load("02_unet").UNet
    net = unet(in_channels=1, classes=1, widths=(4, 6, 8), padding="zeros").eval()
    reach = receptive_field(net, 1, 1, 96, 96).reach
    image = torch.rand(1, 1, 96, 96)
    furthest = 0
    with torch.no_grad():
        before = net(image)
        for column in range(40, 48):
            changed = image.clone()
            changed[..., column] += 10
            columns = (net(changed) != before).any(dim=(0, 1, 2)).nonzero().flatten()
            furthest = max(furthest, (columns - column).abs().max().item())
    assert reach - 8 <= furthest <= reach


def test_a_stage_of_volumes():
    """5, then 2 at stride 2, then 5 in steps of 2: 6 + 2 * 4 = 14."""
    net = nn.Sequential(nn.Conv3d(1, 1, 5, padding=2), nn.Conv3d(1, 1, 2, 2))
    net.append(nn.Conv3d(1, 1, 5, padding=2))
    stage = receptive_field(net, 1, 1, 16, 16, 32, module="0")
    assert set(stage.width) == {5} and len(stage.lo) == 32
    stage = receptive_field(net, 1, 1, 16, 16, 32, module="2")
    assert set(stage.width) == {14} and len(stage.lo) == 16
    with pytest.raises(ValueError, match="no operation in module 'mit'; there are 0, "):
        receptive_field(net, 1, 1, 32, 32, 32, module="mit")


def test_unet_field_varies_by_position():
    net = chapters.load("02_unet").UNet(in_channels=1, classes=2)
    field = receptive_field(net, 1, 1, 572, 572)
    assert len(field.lo) == 388
    assert len(set(field.width)) > 1
    assert field.lo.min() == 0 and field.hi.max() == 571  # nothing is wasted


class Spectrum(nn.Module):
    def forward(self, x):
        return torch.fft.rfft2(x).abs()


def test_what_is_not_local_sees_everything():
    mean = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AdaptiveAvgPool2d(1))
    assert set(receptive_field(mean, 1, 1, 9, 9).width) == {11}
    assert set(receptive_field(Spectrum(), 1, 1, 9, 9).width) == {9}


class Branches(nn.Module):
    """Windows of 1, 3 and 5 px side by side."""

    def __init__(self):
        super().__init__()
        windows = [nn.Conv2d(1, 2, k, padding="same") for k in (1, 3, 5)]
        self.branches = nn.ModuleList(windows)
        self.pool, self.fuse = nn.MaxPool2d(3, 1, 1), nn.Conv2d(7, 4, 1)

    def forward(self, x):
        seen = [branch(x) for branch in self.branches]
        return self.fuse(torch.cat([*seen, self.pool(x)], 1))


@pytest.mark.parametrize(
    ("chapter", "make", "shape"),
    [
        ("02_unet", "UNet(1, 2, widths=(2, 3, 4))", (1, 1, 44, 44)),
        ("04_resunet", "ResUNet(widths=(2, 3, 4))", (1, 3, 16, 16)),
        ("06_u2net", "RSU(5, 1, 2, 2)", (1, 1, 19, 19)),
        ("06_u2net", "RSU4F(1, 2, 2)", (1, 1, 15, 15)),
        (None, "Branches()", (1, 1, 15, 15)),
    ],
)
def test_clipped_field_is_where_the_gradient_is(chapter, make, shape):
    """Positive weights and inputs: no path can cancel another or be switched off."""
    names = vars(chapters.load(chapter)) if chapter else globals()
    net = eval(make, names).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(0.1)
    for module in net.modules():  # a maximum hands its gradient to one input only
        if isinstance(module, nn.MaxPool2d):
            module.forward = mean_instead(module)
    field = receptive_field(net, *shape, clip=True)
    x = torch.rand(shape).requires_grad_()
    y = net(x).sum(dim=(0, 1, 2))
    for i in range(0, len(y), 3):
        (g,) = torch.autograd.grad(y[i], x, retain_graph=True)
        seen = g.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
        assert (seen[0], seen[-1]) == (field.lo[i], field.hi[i])


def mean_instead(pool):
    return lambda x: F.avg_pool2d(
        x, pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode
    )


def test_effective_field_peaks_in_the_middle_and_ends_with_the_theoretical_one():
    net = nn.Sequential(*(nn.Conv2d(c, 4, 3, padding=1) for c in (1, 4, 4, 4)))
    seen = effective_receptive_field(net, 1, 1, 21, 21)
    assert seen.shape == (21, 21) and seen.max() == 1
    assert (seen > 0).sum() == 81  # 4 convolutions of 3: 9 x 9, and nothing outside
    assert seen[6, 6] < seen[10, 10]
    assert net.training  # left as it was
    again = effective_receptive_field(net, 1, 1, 21, 21)
    assert np.array_equal(seen, again)
