"""The probes: what tells and what does not, exact masks, sizes as asked for."""

import functools

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import measure

from helpers import data, probes
from tests.helpers.toys import component_count, same_pictures

# --- lattices ---------------------------------------------------------------------


def lattice_dots(image):
    """Which pixels of a lattice (3, H, W) are dots, and which are plain background.

    Dots and background are 0.25 apart. Background covers more than the dots do; the
    soft edges of the dots are neither.
    """
    grey = image.mean(0)
    low, high = np.quantile(grey, [0.01, 0.99])
    bright = grey > (low + high) / 2
    dots = bright if bright.mean() < 0.5 else ~bright
    return dots, ~ndimage.binary_dilation(dots, np.ones((3, 3)))


def test_the_gap_looks_like_background():
    images, masks = (part.numpy() for part in probes.lattices(150).tensors)
    offsets, noises = [], []
    for image, (mask,) in zip(images, masks > 0):
        dots, plain = lattice_dots(image)
        sign = np.sign(image[:, dots].mean() - image[:, plain & ~mask].mean())
        background = image[:, plain & ~ndimage.binary_dilation(mask, iterations=3)]
        offsets.append(sign * (image[:, mask].mean() - background.mean()))
        noises.append(image[:, mask].std() / background.std())
    assert np.abs(offsets).max() < 0.02  # a dot would be at 0.25
    assert abs(np.mean(offsets)) < 0.002
    assert np.mean(noises) == pytest.approx(1, abs=0.05)


def test_one_dot_is_missing_and_lies_inside():
    for size, period in ((64, (8, 12)), (26, (8, 12)), (65, (20, 51))):
        for mask in probes.lattices(40, size, period=period).tensors[1][:, 0].numpy():
            assert component_count(mask) == 1
            assert np.pi * 1.6**2 < mask.sum() < np.pi * 2.8**2
            assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()


def test_nothing_else_is_missing():
    """The lattice goes on to the edges: no hole that the mask does not show."""
    for image in probes.lattices(60, period=(12, 12)).tensors[0].numpy():
        dots, _ = lattice_dots(image)
        for side in (dots, dots[::-1], dots.T, dots.T[::-1]):
            assert side.any(1).argmax() < 12 - 2 * 1.8 + 2


def test_the_period_is_the_distance_between_dots():
    image = probes.lattices(1, 128, period=(16, 16)).tensors[0][0].numpy()
    dots, _ = lattice_dots(image)
    centres = np.array([d.centroid for d in measure.regionprops(measure.label(dots))])
    inner = centres[((centres > 8) & (centres < 120)).all(1)]
    apart = np.hypot(*(inner[:, None] - centres).T)
    nearest = np.sort(apart, 0)[1]
    assert np.median(nearest) == pytest.approx(16, abs=0.6)


@pytest.mark.parametrize("period", [(80, 90), (1, 2), (12, 8), (0, 0), (8, 51)])
def test_a_period_that_does_not_fit(period):
    with pytest.raises(ValueError, match="64 px need 8 <= shortest <= longest <= 50"):
        probes.lattices(2, period=period)


def at(image, place):
    """Whether a dot of a lattice is drawn at a place, (column, row) from the middle."""
    x, y = np.rint(np.array(place) + image.shape[-1] / 2 - 0.5).astype(int)
    grey = image.mean(0)
    return abs(grey[y, x] - np.median(grey)) > 0.15


def test_dots_around_a_gap_are_left_out_and_turned():
    for image, gap in zip(*probes.around_a_gap(9, missing=[(1, 0)]).tensors):
        image, place = image.numpy(), gap[0].nonzero().float().mean(0)
        assert place.tolist() == [23.5, 23.5]
        assert not at(image, (0, 0)) and not at(image, (16, 0))
        assert at(image, (-16, 0)) and at(image, (0, 16)) and at(image, (16, -16))
    image = probes.around_a_gap(1, apart=4).tensors[0][0].numpy()
    assert at(image, (20, 0)) and at(image, (-20, 0)) and not at(image, (16, 0))
    assert at(image, (16, 16)) and at(image, (0, -16))
    image = probes.around_a_gap(1, turned=45).tensors[0][0].numpy()
    diagonal = 16 / np.sqrt(2)
    assert at(image, (diagonal, -diagonal)) and not at(image, (16, 0))
    image = probes.around_a_gap(1, turned=10, missing=[(-1, 0)]).tensors[0][0].numpy()
    column, row = 16 * np.cos(np.deg2rad(10)), -16 * np.sin(np.deg2rad(10))
    assert at(image, (column, row)) and not at(image, (-column, -row))


# --- spots ------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.02, 0.005])
def test_spots_cover_their_share(share):
    images, masks = probes.spots(200, 48, share=share).tensors
    assert images.shape == masks.shape == (200, 1, 48, 48)
    assert 0.75 * share < masks.mean() < 2 * share + 0.005
    assert masks.flatten(1).any(1).all()  # each has one
    assert images[masks == 1].mean() > images[masks == 0].mean() + 0.03


def test_spots_repeat_and_differ_by_split():
    assert same_pictures(probes.spots(3), probes.spots(3))
    assert not torch.equal(
        probes.spots(3).tensors[0], probes.spots(3, split="test").tensors[0]
    )


@pytest.mark.parametrize("share", [0, -0.1, 0.5])
def test_a_share_of_spots_that_makes_no_sense(share):
    with pytest.raises(ValueError, match=f"share is {share}"):
        probes.spots(2, share=share)


# --- volumes ----------------------------------------------------------------------


@functools.cache
def discs_of():
    """Area and contrast of each disc of 150 volumes without noise, tubes and balls."""
    kinds = {True: [], False: []}
    for image, mask in probes.volumes(150, noise=0):
        for picture, tubes in zip(image[0].numpy(), mask[0].numpy()):
            labels = measure.label(picture > 0.425, connectivity=1)
            for disc in measure.regionprops(labels, picture):
                tube = tubes[labels == disc.label].mean() > 0.5
                kinds[tube].append((disc.area, disc.intensity_max - 0.35))
    return {tube: np.array(values) for tube, values in kinds.items()}


def test_volumes_repeat_differ_by_split_and_have_the_right_form():
    images, masks = probes.volumes(3).tensors
    assert images.shape == masks.shape == (3, 1, 24, 24, 24)
    assert images.dtype == masks.dtype == torch.float32
    assert 0 <= images.min() and images.max() <= 1
    assert set(masks.unique().tolist()) == {0, 1}
    assert same_pictures(probes.volumes(3), probes.volumes(3))
    pictures = [probes.volumes(3, split=split).tensors[0] for split in data.SPLITS]
    assert not any(torch.equal(pictures[i], pictures[i - 1]) for i in range(3))


def test_noise_changes_the_image_and_nothing_else():
    noisy, clean = probes.volumes(3), probes.volumes(3, noise=0)
    assert torch.equal(noisy.tensors[1], clean.tensors[1])
    apart = (noisy.tensors[0] - clean.tensors[0]).std()
    assert apart.item() == pytest.approx(0.08, rel=0.05)


def test_a_slice_does_not_tell_tubes_from_balls():
    tubes, balls = discs_of()[True], discs_of()[False]
    assert min(len(tubes), len(balls)) > 4000
    for column in (0, 1):
        a, b = tubes[:, column], balls[:, column]
        spread = np.concatenate([a, b]).std()
        assert abs(a.mean() - b.mean()) < 0.2 * spread
        assert a.std() == pytest.approx(b.std(), rel=0.15)


def test_the_neighbours_tell():
    """In a noise-free volume a tube keeps its area from slice to slice."""
    image, mask = (part[0, 0].numpy() for part in probes.volumes(1, noise=0).tensors)
    bright = image > 0.425
    for number in range(1, 1 + (columns := measure.label(bright)).max()):
        areas = (columns == number).sum((1, 2))
        share = mask[columns == number].mean()
        assert share < 0.1 or share > 0.5  # all tube (and its rim), or none
        changes = np.abs(np.diff(areas)) / areas.mean()
        assert changes.max() < 0.5 if share > 0.5 else changes.max() > 0.2


@pytest.mark.parametrize("name, value", [("n", 0), ("seed", -1)])
def test_volumes_that_cannot_be(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be a whole"):
        probes.volumes(**{"n": 2, name: value})


# --- camouflage -------------------------------------------------------------------


def test_a_horse_is_large_and_differs_from_picture_to_picture():
    masks = probes.camouflage(60).tensors[1]
    share = masks.mean((1, 2, 3))
    assert 0.4 < share.min() and share.max() < 0.6
    assert masks.flatten(1).unique(dim=0).shape[0] == 60
    biggest = [max(np.bincount(ndimage.label(m[0])[0].ravel())[1:]) for m in masks]
    assert (torch.tensor(biggest) > 0.8 * masks.sum((1, 2, 3))).all()


def test_neither_area_nor_the_mean_colour_tells_the_horse():
    """Not even whoever knows both colours: the rarer one is the ground's as often.

    Of 300 coins 123 to 177 fall one way, but for one time in 500.
    """
    images, masks = probes.camouflage(300).tensors
    smaller, farther = 0, 0
    for image, mask in zip(images, masks[:, 0] > 0, strict=True):
        horse, around = image[:, mask].mean(1), image[:, ~mask].mean(1)
        mean = image.mean((1, 2))
        smaller += (mask.float().mean() < 0.5).item()
        farther += ((horse - mean).norm() > (around - mean).norm()).item()
    assert 123 <= smaller <= 177
    assert 123 <= farther <= 177


def test_brightness_does_not_give_the_horse_away():
    """Light falls on both alike; on average over pictures it is out of the way."""
    images, masks = probes.camouflage(200).tensors
    apart, spreads = [], []
    for image, mask in zip(images.mean(1), masks[:, 0] > 0, strict=True):
        horse, around = image[mask], image[~mask]
        apart.append((horse.mean() - around.mean()).item())
        spreads.append((horse.std() / around.std()).item())
    assert abs(np.mean(apart)) < 0.005 and np.abs(apart).max() < 0.1
    assert 0.85 < np.mean(spreads) < 1.15


def test_the_horse_has_another_texture_than_its_surroundings(drawn_from):
    """Stripes from top to bottom, from side to side, and across."""
    i, j = np.mgrid[:512, :512]
    photographs = {}
    for name, way in zip(data.PHOTOGRAPHS, (i, j, i + j), strict=True):
        photographs[name] = 255.0 * (way // 2 % 2)
    images, masks = drawn_from(**photographs).camouflage(40, split="test").tensors
    ways = set()
    for image, mask in zip(images.mean(1), masks[:, 0] > 0, strict=True):
        pair = []
        for part in (mask, ~mask):
            part = ndimage.binary_erosion(part, iterations=2)[1:, 1:]
            down = image.diff(dim=0).abs()[:, 1:][part].mean() > 0.03
            across = image.diff(dim=1).abs()[1:][part].mean() > 0.03
            pair.append((bool(down), bool(across)))
        assert pair[0] != pair[1]
        ways.add(tuple(pair))
    assert len(ways) == 6  # each of the three on each of the others


# --- coins ------------------------------------------------------------------------


@pytest.mark.parametrize("split", data.SPLITS)
def test_coins_are_numbered_whole_and_touch(split):
    images, maps = (part.numpy()[:, 0] for part in probes.touching_coins(
        40, split=split).tensors)  # fmt: skip
    counts = [instances.max() for instances in maps]
    assert set(counts) == {5, 6, 7, 8, 9}
    for image, instances, count in zip(images, maps, counts):
        assert np.unique(instances).tolist() == list(range(count + 1))
        for coin in range(1, count + 1):
            assert component_count(instances == coin, connectivity=1) == 1
            assert 100 < (instances == coin).sum() < 400
        assert component_count(instances > 0) == 1  # all hang together
        assert image[instances > 0].mean() > image[instances == 0].mean() + 0.1


@pytest.fixture
def full_resolution(monkeypatch):
    """Coins as they are in the photograph."""
    monkeypatch.setattr(probes, "SHRINK", 1)
    probes._coins.cache_clear()
    yield
    probes._coins.cache_clear()


def test_the_photograph_has_24_whole_coins_and_splits_their_own(full_resolution):
    """One coin a picture, in full resolution: its outline tells which one it is."""
    known = {}
    for split, n in zip(data.SPLITS, (12, 6, 6), strict=True):
        draw = functools.partial(probes.touching_coins, split=split)
        outlines = set()
        for mask in draw(120, count=(1, 1)).tensors[1][:, 0].numpy():
            coin = measure.regionprops(mask)[0]
            assert component_count(mask) == 1 and component_count(mask == 0) == 1
            height, width = coin.image.shape
            assert 0.9 < coin.area / (np.pi / 4 * height * width) < 1.1
            outlines.add((coin.area, min(height, width), max(height, width)))
        assert len(outlines) == n
        known[split] = outlines
    assert len(set.union(*known.values())) == 24


def test_there_are_as_many_coins_as_asked_for():
    maps = probes.touching_coins(3, count=(2, 2)).tensors[1]
    assert maps.amax((1, 2, 3)).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "bad, answer",
    [
        (dict(count=(9, 5)), "largest count is 5; it must be a whole number, at le"),
        (dict(count=(0, 5)), "smallest count is 0; it must be a whole number, at l"),
        (dict(count=(2.5, 5)), "smallest count is 2.5; it must be a whole number"),
        (dict(size=12), "no room for . touching coins in 12 x 12 px; take a larger"),
        (dict(size=40, count=(9, 9)), "no room for 9 touching coins in 40 x 40 px"),
    ],
)
def test_coins_that_cannot_be(bad, answer):
    with pytest.raises(ValueError, match=answer):
        probes.touching_coins(1, **bad)


# --- textures and mosaics ---------------------------------------------------------


@pytest.mark.parametrize("make", [data.textures, probes.mosaics])
def test_label_maps_of_three_textures(make):
    images, labels = make(40, 64).tensors
    side = 1 if make is data.textures else 64
    assert images.shape == (40, 3, 64, 64) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and images.isfinite().all()
    assert labels.shape == (40, 1, side, side) and labels.dtype == torch.int64
    share = torch.bincount(labels.flatten(), minlength=3) / labels.numel()
    assert len(share) == 3 and (share > 0.15).all()
    assert same_pictures(make(3), make(3)) and not same_pictures(
        make(3), make(3, seed=1)
    )
    with pytest.raises(ValueError, match="'val'; choose from train, validation, test"):
        make(2, split="val")
    with pytest.raises(ValueError, match="n is 0; it must be a whole"):
        make(0)


def test_grey_does_not_tell_the_texture():
    images, labels = probes.mosaics(100).tensors
    images = images.mean(1, keepdim=True)
    images = images / images.mean((1, 2, 3), keepdim=True)
    means = [images[labels == k].mean().item() for k in range(3)]
    assert max(means) - min(means) < 0.02


def test_mosaics_have_as_many_cells_as_asked():
    _, labels = probes.mosaics(20, cells=(1, 1)).tensors
    kinds = [len(one.unique()) for one in labels]
    assert max(kinds) == 2  # a cell, and the band across it
    with pytest.raises(ValueError, match="largest number of cells is 2; it must be"):
        probes.mosaics(1, cells=(3, 2))


# --- nuclei -----------------------------------------------------------------------


def test_nuclei_have_the_radius_that_was_asked_for_and_shine_or_are_dark():
    small = probes.nuclei(40, radius=(1.5, 3)).tensors[1]
    large = probes.nuclei(40, radius=(8, 16)).tensors[1]
    assert 0.005 < small.mean() < 0.04 and 0.2 < large.mean() < 0.5
    images, masks = probes.nuclei(40).tensors
    signs = set()
    for image, mask in zip(images, masks):
        inside, outside = image[:, mask[0] > 0].mean(), image[:, mask[0] == 0].mean()
        signs.add(bool(inside > outside))
        assert (inside > outside) == (outside < 0.4)
    assert signs == {True, False}


@pytest.mark.parametrize("radius", [(0.5, 3), (5, 3), (2, 17)])
def test_radii_of_nuclei_out_of_range(radius):
    with pytest.raises(ValueError, match="1 <= smallest <= largest <= 16"):
        probes.nuclei(2, radius=radius)
