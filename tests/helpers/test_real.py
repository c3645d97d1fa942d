"""The six real sets: how they are divided, what an item is, what is refused."""

import re
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from helpers import real
from helpers.metrics import IGNORE
from tests.helpers import trees

NAMES = list(real.FACTS)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A function that puts a small set in place, and returns what it contains."""
    trees.few(monkeypatch, tmp_path)
    yield lambda name: trees.write(name, real.ROOT / name)
    real.sums.cache_clear()
    real.load.cache_clear()


# --- the sets as they are known ---------------------------------------------------


def groups(name, pairs):
    return {real.group(name, pair) for pair in pairs}


@pytest.mark.parametrize("name", NAMES)
def test_no_group_is_in_two_parts_and_all_pairs_are_known(name):
    parts = real.divided(name)
    train, validation, test = (groups(name, pairs) for pairs in parts.values())
    assert train and validation and test
    assert not train & validation and not train & test and not validation & test
    facts = real.FACTS[name]
    assert len(real.sums(name)) == facts["pairs"]
    for pairs in parts.values():
        assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize(
    ("name", "split", "sizes"),
    [
        ("pv_el_cells", "given", (972, 172, 128)),
        ("camvid", "group", (266, 101, 171)),
        ("camvid", "leaky", (266, 101, 163)),
        ("isbi_em", "group", (19, 4, 5)),
    ],
)
def test_divisions_that_are_known_beforehand(name, split, sizes):
    parts = real.divided(name, split)
    assert tuple(len(pairs) for pairs in parts.values()) == sizes


@pytest.mark.parametrize("name", ["pv_el_cells", "dsb2018", "hc18", "hippocampus"])
def test_the_others_are_shared_out_by_groups(name):
    parts = real.divided(name)
    n = len(groups(name, real.sums(name)))
    assert len(groups(name, parts["test"])) == round(0.2 * n)
    assert len(groups(name, parts["validation"])) == round(0.15 * n)
    assert sum(len(pairs) for pairs in parts.values()) == real.FACTS[name]["pairs"]


def test_what_leaks_is_in_the_leaky_splits_alone():
    parts = real.divided("pv_el_cells", "given")
    train, test = (groups("pv_el_cells", parts[part]) for part in ("train", "test"))
    assert (len(test), len(test & train)) == (114, 103)
    parts = real.divided("camvid", "leaky")
    assert groups("camvid", parts["test"]) == groups("camvid", parts["train"])
    assert len(groups("hc18", real.sums("hc18"))) == 999 - 193


def test_the_division_does_not_depend_on_the_order_of_the_files(monkeypatch):
    before = real.divided("hc18")
    backwards = dict(reversed(real.sums("hc18").items()))
    monkeypatch.setattr(real, "sums", lambda name: backwards)
    for part, pairs in real.divided("hc18").items():
        assert sorted(pairs) == sorted(before[part])


# --- what an item is --------------------------------------------------------------


def item(name, pair):
    """An item of a set in place, by its name."""
    pictures = real.Pictures(name, [pair])
    assert len(pictures) == 1 and pictures.names == [pair]
    return pictures[0]


@pytest.mark.parametrize("name", ["pv_el_cells", "camvid"])
def test_maps_of_classes(place, name):
    for pair, (pixels, label) in place(name).items():
        image, mask = item(name, pair)
        assert (image.dtype, mask.dtype) == (torch.float32, torch.int64)
        assert np.array_equal(image, pixels.transpose(2, 0, 1) / np.float32(255))
        label = label[..., 0] if label.ndim == 3 else label
        expected = np.where(label == 11, IGNORE, label)
        assert np.array_equal(mask[0], expected)


@pytest.mark.parametrize(
    ("name", "foreground"), [("hc18", 255), ("isbi_em", 0), ("dsb2018", (1, 2))]
)
def test_masks_of_one_thing(place, name, foreground):
    for pair, (pixels, label) in place(name).items():
        image, mask = item(name, pair)
        assert image.shape == (3, 4, 6) and mask.shape == (1, 4, 6)
        assert image.dtype == mask.dtype == torch.float32
        channels = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]
        expected = np.broadcast_to(channels, (3, 4, 6)) / np.float32(255)
        assert np.array_equal(image, expected)
        assert np.array_equal(mask[0], np.isin(label, foreground))


def test_nuclei_keep_their_numbers(place):
    label = place("dsb2018")["0b"][1]
    pictures = real.Pictures("dsb2018", ["0b"])
    assert np.array_equal(pictures.labels[0], label)


def test_volumes_are_normalised_each_and_padded_all_round(place):
    for pair, (pixels, label) in place("hippocampus").items():
        image, mask = item("hippocampus", pair)
        assert image.shape == mask.shape == (1, 48, 64, 48)
        assert (image.dtype, mask.dtype) == (torch.float32, torch.int64)
        middle = (0, slice(22, 25), slice(29, 34), slice(22, 26))  # of 3 x 5 x 4
        expected = (pixels - pixels.mean()) / pixels.std()
        assert np.allclose(image[middle], expected, atol=1e-5)
        assert np.array_equal(mask[middle], label)
        assert image.count_nonzero() <= 60 and mask.count_nonzero() == 40
    with pytest.raises(ValueError, match=r"\(3, 65, 4\) voxels exceeds \(48, 64, 48\)"):
        real.padded(np.zeros((3, 65, 4)))


def test_load_gives_what_the_loop_takes(place):
    place("pv_el_cells")
    sets = real.load("pv_el_cells", "given")
    assert sets.train.names == ["train/EL1_2", "train/EL2_7"]
    assert sets.test.groups == ["EL1"] and sets.validation.groups == ["EL3"]
    # 24 pixels, of which four have each value and four more begin again.
    assert sets.test.shares() == pytest.approx([5 / 24] * 4 + [4 / 24])


def test_shares_leave_out_what_is_ignored(place):
    place("camvid")
    shares = real.load("camvid").train.shares()
    assert shares == pytest.approx([1 / 11] * 11)


def test_a_block_of_drawn_pictures_within_another_leaves_the_outer_one_as_it_was():
    with real.drawn(3):
        with real.drawn(2):
            assert len(real.load("hippocampus").test) == 2
        assert len(real.load("hippocampus").test) == 3
    assert real.DRAWN == {}


# --- crops and whole pictures -----------------------------------------------------


class Counting:
    """Pictures whose pixels tell which one it is, and where."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        image = torch.arange(70.0).reshape(1, 7, 10) + 100 * index
        return image, image.long()


def test_crops_are_windows_that_seed_and_number_decide():
    crops = real.Crops(Counting(), 300, 4, seed=1)
    corners = set()
    for image, mask in crops:
        corner = int(image[0, 0, 0])
        rows, columns = np.mgrid[:4, :4]
        assert np.array_equal(image[0], corner + 10 * rows + columns)
        assert np.array_equal(mask, image)
        corners.add(corner)
    assert len(crops) == 300
    assert len(corners) > 60  # of 3 pictures with 4 x 7 places each
    assert torch.equal(crops[7][0], real.Crops(Counting(), 9, 4, seed=1)[7][0])
    other = real.Crops(Counting(), 300, 4, seed=2)
    assert any(not torch.equal(crops[k][0], other[k][0]) for k in range(9))


def test_a_crop_larger_than_its_picture_is_refused():
    with pytest.raises(ValueError, match=r"crop of 8 px .* 7 x 10 px: take a smaller"):
        real.Crops(Counting(), 1, 8)[0]


class Picky(nn.Module):
    """Takes multiples of 32 alone; answers two channels."""

    def forward(self, x):
        assert x.shape[2:] == (64, 96)
        return [x[:, :2] * 2]


def test_a_whole_picture_is_answered_at_its_own_size():
    image = torch.rand(3, 50, 70)
    assert torch.equal(real.answer(Picky(), image), image[:2] * 2)


# --- refused ----------------------------------------------------------------------


def refusal(make, *arguments, error=ValueError):
    with pytest.raises(error) as caught:
        make(*arguments)
    return str(caught.value)


def test_unknown_names_and_what_is_not_in_place(place):
    assert "no set 'pv'; there are pv_el_cells" in refusal(real.load, "pv")
    answer = refusal(real.load, "hc18", "given")
    assert "hc18 has no split 'given'; take group" in answer
    answer = refusal(real.load, "camvid", "given")
    assert "take group or leaky" in answer
    trees.write("hc18", real.ROOT / "elsewhere")
    answer = refusal(real.load, "hc18", error=FileNotFoundError)
    assert "python -m helpers.app.real fetch hc18" in answer


def spoil(kind):
    """Change a pair of camvid in place; what the answer must say."""
    image, label = real.paths("camvid", "train/0001TP_1", real.ROOT / "camvid")
    if kind == "missing":
        label.unlink()
        return "trainannot/0001TP_1.png is missing"
    if kind == "truncated":
        image.write_bytes(image.read_bytes()[:60])
        return "train/0001TP_1.png is damaged"
    if kind == "unlike":
        trees.save(label, trees.labels(range(12), (4, 5)))
        return r"image has \[4, 6\] px, its label \[4, 5\]"
    if kind == "large":
        trees.save(image, trees.picture((8, 6, 3)))
        trees.save(label, trees.labels(range(12), (8, 6)))
        return r"it has \[8, 6\] px, height first, and not \[4, 6\]"
    if kind == "label":
        trees.save(label, trees.labels([0, 12]))
        return r"a label is 12; there are \[0, 1"
    trees.save(image, trees.picture())
    return "the content is another"


KINDS = ("missing", "truncated", "unlike", "large", "label", "content")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_what_it_was_is_named(place, kind):
    place("camvid")
    told = spoil(kind)
    answer = refusal(real.load, "camvid", error=(ValueError, FileNotFoundError))
    assert re.search(told, answer) and "0001TP_1.png" in answer
    assert answer.endswith("Take it again from its origin")


def test_a_truncated_volume_is_named(place):
    place("hippocampus")
    path = real.ROOT / "hippocampus" / "images" / "h_003.nii.gz"
    path.write_bytes(path.read_bytes()[:50])
    assert "h_003.nii.gz is damaged" in refusal(real.load, "hippocampus")


def test_a_png_packed_anew_is_the_same(place):
    place("isbi_em")
    path = real.ROOT / "isbi_em" / "image" / "0.png"
    packed = path.read_bytes()
    with real.Image.open(path) as image:
        image.load()
        image.save(path, compress_level=0)
    assert path.read_bytes() != packed
    assert len(real.load("isbi_em").train) == 1
    assert real.checksum("isbi_em") != real.checksum("camvid")
    shutil.rmtree(real.ROOT / "isbi_em")
    assert not real.ready("isbi_em")
