"""Pieces of pictures and volumes: they cover, they fit, they are drawn repeatably."""

import gc

import pytest
import torch
from torch.utils.data import TensorDataset

from helpers import training
from helpers.app import windows
from helpers.metrics import IGNORE
from tests.helpers.toys import small


def pictures(n=3, size=(20, 30), channels=3):
    """Every pixel of a picture tells its place, and so does its mask."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, channels, *size), generator=rng) / 255
    return TensorDataset(images, (images[:, :1] > 0.5).float())


class Counting:
    def __init__(self, samples):
        self.samples, self.reads = samples, 0

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        self.reads += 1
        return self.samples[index]


@pytest.mark.parametrize("kind", ["bytes", "floats", "labels"])
def test_what_is_kept_is_read_once_and_given_back_exactly(kind):
    image, mask = pictures(1)[0]
    if kind == "floats":
        image = image**2
    if kind == "labels":
        mask = torch.where(mask > 0, IGNORE, 3)
    source = Counting([(image, mask)])
    kept = windows.Kept(source)
    for _ in range(3):
        again, labels = kept[0]
        assert torch.equal(again, image) and torch.equal(labels, mask)
        assert labels.dtype == mask.dtype and again.dtype == torch.float32
    assert source.reads == 1


def test_what_finds_no_room_is_read_again(monkeypatch):
    source = Counting(pictures(3))
    monkeypatch.setattr(windows, "ROOM", 5 * 20 * 30)  # a picture takes 4 bytes a pixel
    kept = windows.Kept(source)
    for _ in range(2):
        for index in range(3):
            assert torch.equal(kept[index][0], source.samples[index][0])
    assert source.reads == 5


def test_crops_are_pieces_of_the_picture_with_the_mask_in_place():
    source = pictures()
    crops = windows.Crops(source, [2, 0], (8, 16))
    torch.manual_seed(0)
    image, mask = crops[0]
    assert image.shape == (3, 8, 16) and len(crops) == 2
    assert torch.equal(mask, (image[:1] > 0.5).float())
    whole = source[2][0].unfold(1, 8, 1).unfold(2, 16, 1)
    same = (whole == image[:, None, None]).all(0).all(-1).all(-1)
    assert same.sum() == 1
    torch.manual_seed(0)
    assert torch.equal(crops[0][0], image)
    assert any(not torch.equal(crops[0][0], image) for _ in range(9))


def test_each_corner_can_be_drawn():
    source = TensorDataset(
        torch.arange(4.0).reshape(1, 1, 1, 4), torch.ones(1, 1, 1, 4)
    )
    crops = windows.Crops(source, [0], (1, 2))
    firsts = {crops[0][0].flatten()[0].item() for _ in range(60)}
    assert firsts == {0, 1, 2}


def test_a_picture_that_is_too_small_is_mirrored_with_its_mask():
    source = TensorDataset(
        torch.tensor([[[[1.0, 2, 3]]]]), torch.tensor([[[[0.0, 1, 1]]]])
    )
    image, mask = windows.Crops(source, [0], (2, 5))[0]
    assert image.tolist() == [[[1, 2, 3, 2, 1]] * 2]
    assert image[0, 0].tolist() == [1, 2, 3, 2, 1]
    assert mask[0, 1].tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("kind", [torch.float32, torch.int64])
def test_a_volume_that_is_too_small_gets_its_least_value_and_no_label(kind):
    volume, labels = torch.rand(1, 2, 3, 4), torch.ones(1, 2, 3, 4, dtype=kind)
    more, void = windows.filled(volume, labels, (4, 3, 6))
    assert more.shape == void.shape == (1, 4, 3, 6)
    assert (
        torch.equal(more[:, :2, :, :4], volume) and more[:, 2:].eq(volume.min()).all()
    )
    assert void[:, 2:].eq(IGNORE if kind == torch.int64 else 0).all()


@pytest.mark.parametrize("size", [(8, 16), (20, 30), (7, 11), (32, 8)])
def test_windows_cover_every_pixel(size):
    source = pictures(2)
    covered = torch.zeros(2, max(20, size[0]), max(30, size[1]))
    found = windows.Windows(source, [0, 1], size, 1, 0)
    for place, (index, (top, left)) in enumerate(found.places):
        assert found[place][0].shape == (3, *size)
        covered[index, top : top + size[0], left : left + size[1]] += 1
    assert covered.min() >= 1 and len(found) == found.all


def test_too_many_windows_are_drawn_by_lot(monkeypatch):
    monkeypatch.setattr(windows, "LOGITS", 6 * 8 * 8)
    first, again, other = (
        windows.Windows(pictures(), [0, 1, 2], (8, 8), 2, seed).places
        for seed in (1, 1, 2)
    )
    assert len(first) == 3 and first == again != other
    assert windows.Windows(pictures(), [0], (8, 8), 1, 0).all == 12


def test_the_survey_counts_classes_and_knows_the_pictures():
    labels = torch.tensor([[[[0, 1, 1, IGNORE]]], [[[2, 2, 2, 2]]]])
    source = TensorDataset(torch.rand(2, 3, 1, 4), labels)
    counts, sizes, total = windows.survey(source, 3)
    assert counts.tolist() == [[1, 2, 0], [0, 0, 4]] and sizes == [(1, 4)] * 2
    assert windows.survey(source, 3)[2] == total
    labels[0, 0, 0, 0] = 1
    assert windows.survey(source, 3)[2] != total


def test_memory_stays_flat_over_the_steps():
    source = windows.Kept(pictures(4, (16, 16), channels=1))
    crops = windows.Crops(source, range(4), (8, 8))
    alive = []

    def count(history):
        gc.collect()
        alive.append([type(thing) for thing in gc.get_objects()].count(torch.Tensor))
        assert all(type(row["loss"]) is float for row in history)

    training.fit(small(), crops, crops, steps=60, every=20, batch=2, report=count)
    assert alive[-1] <= alive[0]
