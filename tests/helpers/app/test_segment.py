"""A picture of any size, in tiles that nobody sees."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers import fields
from helpers.app import models, segment


def padded():
    """Two levels; sees 9 px to a side."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 5, padding=2),
        nn.Tanh(),
        nn.ConvTranspose2d(4, 4, 2, stride=2),
        nn.Conv2d(4, 1, 3, padding=1),
    ).eval()


class Valid(nn.Module):
    """Takes even sizes of 6 px or more, and loses 2 px at each side."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.MaxPool2d(2),
            nn.ConvTranspose2d(4, 4, 2, stride=2),
            nn.Conv2d(4, 1, 3),
        )

    def forward(self, x):
        if x.shape[-1] % 2:
            raise ValueError(f"{x.shape[-1]} px cannot be halved")
        return self.layers(x)


class Global(nn.Module):
    """Every position sees the whole picture; returns two maps."""

    def forward(self, x):
        grey = x.mean(1, keepdim=True)
        return grey - grey.mean((2, 3), keepdim=True), grey


def answer(net, image, size=(32, 32)):
    return segment.answer_all(net, image, size, segment.plan(net, size)[0])


def test_the_margin_is_what_the_network_reaches_or_loses():
    reach = fields.receptive_field(padded(), 1, 3, 64, 64).reach
    assert 0 < reach <= 32
    assert segment.plan(padded(), (32, 40))[0] == (256, 32)
    assert segment.plan(nn.Conv2d(3, 1, 1), (32, 32))[0] == (256, 0)
    assert segment.plan(Global(), (32, 32))[0] == (256, 64)
    assert segment.plan(Valid().eval(), (32, 32))[0] == (256, 2)


def test_a_network_that_takes_no_tile_is_refused():
    class Fixed(Valid):
        def forward(self, x):
            if x.shape[-1] != 32:
                raise ValueError("32 px, please")
            return super().forward(x)

    with pytest.raises(ValueError, match="no tile of 256 px works for this network"):
        segment.plan(Fixed(), (32, 32))


def test_a_picture_of_the_trainings_size_is_answered_in_one_go():
    net, image = padded(), torch.rand(3, 32, 40)
    with torch.no_grad():
        assert torch.equal(answer(net, image, (32, 40)), net(image[None])[0])


def test_a_large_picture_is_answered_as_in_one_piece():
    net, image = padded(), torch.rand(3, 328, 296)  # two tiles by two
    with torch.no_grad():
        one = net(image[None])[0]
    inside = (slice(None), slice(32, -32), slice(32, -32))
    torch.testing.assert_close(answer(net, image)[inside], one[inside])


@pytest.mark.parametrize("size", [(100, 124), (9, 30), (32, 32)])
def test_a_valid_network_answers_as_for_the_mirrored_picture(size):
    """Also where it was trained on this size, or a side is mirrored more than once."""
    net, image = Valid().eval(), torch.rand(3, *size)
    sides = [(0, 0), (2, 2 + size[0] % 2), (2, 2)]
    mirrored = torch.from_numpy(np.pad(image.numpy(), sides, mode="reflect"))
    with torch.no_grad():
        whole = net(mirrored[None])[0, :, : size[0]]
    torch.testing.assert_close(answer(net, image), whole)


@pytest.mark.parametrize("size", [(33, 70), (300, 90), (40, 41), (7, 7), (1, 5)])
def test_every_pixel_of_a_picture_of_any_size_is_answered(size):
    facts = dict(threshold=0.5, size=(32, 32), resized=False, tiling=(256, 32))
    facts["classes"] = 1
    found = segment.segment(padded(), torch.rand(3, *size), facts)
    assert found.shape == (1, *size) and found.dtype == torch.bool


def test_a_resized_picture_is_answered_in_one_go_and_stretched_back():
    net, image = padded(), torch.rand(3, 50, 60)
    facts = dict(threshold=0.4, size=[32, 40], resized=True, tiling=[256, 32])
    facts["classes"] = 1
    small = F.interpolate(image[None], (32, 40), mode="bilinear", antialias=True)
    with torch.no_grad():
        logits = net(small.clamp(0, 1))
    expected = F.interpolate(logits, (50, 60), mode="bilinear").sigmoid() > 0.4
    assert torch.equal(segment.segment(net, image, facts), expected[0])


def test_of_several_maps_the_first_is_the_answer():
    image = torch.rand(3, 32, 32)
    expected = image.mean(0) - image.mean()
    torch.testing.assert_close(answer(Global(), image)[0], expected)


# --- of several classes, of volumes, exactly --------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "02_unet.small_unet",
        "04_resunet.small_resunet",
        "01_fcn.small_fcn",
        "05_inception_unet.small_inception_unet",
    ],
)
@pytest.mark.parametrize("size", [(113, 56), (97, 131)])
def test_each_padded_network_answers_any_size(name, size):
    net = models.build(name, {})
    facts = dict(threshold=0.5, size=(64, 64), resized=False, classes=1)
    facts["tiling"] = (128, 32)
    assert segment.segment(net, torch.rand(3, *size), facts).shape == (1, *size)


def test_tiles_are_equal_to_one_piece_where_the_margin_covers_what_is_seen():
    """The paper's U-Net, padded, sees 107 px: its margin is 128."""
    torch.manual_seed(0)
    arguments = dict(in_channels=3, classes=1, padding="zeros", widths=(4, 4, 4, 4, 4))
    net = models.build("02_unet.UNet", arguments).eval()
    assert segment.plan(net, (64, 64)) == ((256, 128), True)
    image = torch.rand(3, 300, 272)
    found = answer(net, image, (64, 64))
    sides = [(0, 0), (128, 128 + 212), (128, 128 + 240)]
    around = torch.from_numpy(np.pad(image.numpy(), sides, mode="reflect"))
    with torch.no_grad():
        one = net(around[None])[0, :, 128:428, 128:400]
    torch.testing.assert_close(found, one, atol=1e-5, rtol=0)


def test_what_sees_too_far_for_tiles_says_so():
    assert segment.plan(Global(), (32, 32)) == ((256, 64), False)
    assert segment.plan(padded(), (32, 32)) == ((256, 32), True)


def test_several_classes_are_numbered():
    class Two(nn.Module):
        def forward(self, x):
            return x[:, :2]

    facts = dict(threshold=None, size=(4, 4), resized=False, tiling=(256, 0), classes=2)
    image = torch.rand(3, 9, 7)
    found = segment.segment(Two(), image, facts)
    assert torch.equal(found[0], (image[1] > image[0]).long())


VOLUME = dict(threshold=None, size=(16, 16, 16), resized=False, classes=3)


@pytest.mark.parametrize("size", [(7, 18, 20), (1, 3, 40), (16, 16, 16)])
def test_a_volume_of_any_size_is_answered(size):
    net = models.build("03_vnet.VNet", dict(classes=3, widths=(2, 4)))
    found = segment.segment(net, torch.rand(1, *size), VOLUME | dict(tiling=(64, 32)))
    assert found.shape == (1, *size) and found.dtype == torch.int64


def test_a_large_volume_is_equal_to_one_piece(monkeypatch):
    torch.manual_seed(0)
    arguments = dict(in_channels=1, classes=2, widths=(2, 2))
    net = models.build("08_lineage.UNet3d", arguments).eval()
    assert segment.plan(net, (16, 16, 16)) == ((64, 16), True)
    volume = torch.rand(1, 35, 50, 41)
    one = segment.answer_volume(net, volume, 16, 16)
    monkeypatch.setattr(segment, "ONE_PIECE", 1000)
    blocks = segment.answer_volume(net, volume, 16, 16)
    torch.testing.assert_close(blocks, one, atol=1e-5, rtol=0)
    assert (segment.answer_volume(net, volume, 16, 0) - one).abs().max() > 1e-3
