"""The book's data: same seed same bytes, exact masks, splits that share nothing."""

import functools
import time

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import measure

from helpers import data

TEXTURES = data.PHOTOGRAPHS + data.PROCEDURAL
MAKERS = [data.surfaces, data.lattices, data.touching_coins, data.camouflage]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.tensors, b.tensors, strict=True))


def component_count(mask, connectivity=2):
    return measure.label(mask, connectivity=connectivity).max()


# --- all makers -------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS)
def test_same_seed_same_bytes(make):
    first = make(3)
    data._photograph.cache_clear()
    data._coins.cache_clear()
    np.random.seed(5)
    torch.manual_seed(5)
    assert same(first, make(3))
    assert not same(first, make(3, seed=1))
    pictures = [make(3, split=split).tensors[0] for split in data.SPLITS]
    assert not any(torch.equal(pictures[i], pictures[i - 1]) for i in range(3))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("size", [64, 65, 104, 128])
@pytest.mark.parametrize("split", data.SPLITS)
def test_shapes_types_and_range(make, size, split):
    images, masks = make(2, size, split=split).tensors
    channels, dtype = (1, torch.int64) if make is data.touching_coins else (3, None)
    assert images.shape == (2, channels, size, size)
    assert masks.shape == (2, 1, size, size)
    assert images.dtype == torch.float32
    assert masks.dtype == (dtype or torch.float32)
    assert images.isfinite().all() and images.min() >= 0 and images.max() <= 1
    assert images.std() > 0.02
    if not dtype:
        assert set(masks.unique().tolist()) <= {0, 1}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "name, value", [("n", 0), ("n", -1), ("n", 2.5), ("size", 0), ("size", -3),
                    ("size", 64.0), ("seed", -1)]
)  # fmt: skip
def test_numbers_that_make_no_sense(make, name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be a whole"):
        make(**{"n": 2, name: value})


@pytest.mark.parametrize("make", MAKERS)
def test_unknown_split(make):
    with pytest.raises(ValueError, match="'val'; choose from train, validation, test"):
        make(2, split="val")


# --- surfaces ---------------------------------------------------------------------


def test_six_hundred_images_are_quick_and_as_described():
    def seconds():
        start = time.process_time()
        data.surfaces(600)
        return time.process_time() - start

    assert any(seconds() < 3 for _ in range(3))  # again only if others slowed it down
    images, masks = data.surfaces(600).tensors
    assert 0.02 < masks.mean() < 0.07
    empty = (masks.amax((1, 2, 3)) == 0).float().mean()
    assert 0.10 < empty < 0.35
    assert images.flatten(1).unique(dim=0).shape[0] == 600


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("defect", data.DEFECTS)
def test_every_texture_and_defect_works_alone(texture, defect, monkeypatch):
    asked, original = [], data._texture
    monkeypatch.setattr(data, "_texture", lambda *a: asked.append(a[0]) or original(*a))
    images, masks = data.surfaces(8, textures=[texture], defects=[defect]).tensors
    assert set(asked) == {texture}
    assert images.isfinite().all()
    assert 0 < masks.mean() < 0.25


def test_unknown_names_are_refused_with_the_choices():
    with pytest.raises(ValueError, match="texture 'wood'; choose from brick, gra"):
        data.surfaces(2, textures=["brick", "wood"])
    with pytest.raises(ValueError, match="defect 'dent'; choose from scratch, cr"):
        data.surfaces(2, defects=["dent"])
    with pytest.raises(ValueError, match="no defect given; choose from scratch"):
        data.surfaces(2, defects=[])
    with pytest.raises(ValueError, match="no texture given; choose from brick"):
        data.surfaces(2, textures=[])


@pytest.mark.parametrize("zoom", [1, 2])
@pytest.mark.parametrize("name", data.PHOTOGRAPHS)
def test_splits_share_no_pixel_of_a_photograph(name, zoom, monkeypatch):
    """In a photograph whose every pixel is its row's number."""
    rows = np.repeat(np.arange(512)[:, None], 512, 1)
    monkeypatch.setattr(data.photographs, name, lambda: rows)
    monkeypatch.setattr(data, "_standard", lambda a: a)
    seen = set()
    for split in data.SPLITS:
        values = data._photograph.__wrapped__(name, split, zoom)
        # A value of zoom 2 is the mean of two rows, say 6.5: these are 6 and 7.
        own = {int(side(v)) for v in np.unique(values) for side in (np.floor, np.ceil)}
        assert own and not own & seen
        seen |= own
    assert seen == set(range(512))


@pytest.mark.parametrize("split", data.SPLITS)
def test_surfaces_ask_for_their_own_split_only(split, monkeypatch):
    asked, original = set(), data._photograph
    monkeypatch.setattr(
        data, "_photograph", lambda *a: asked.add((a[0], a[1])) or original(*a)
    )
    data.surfaces(40, 64, split=split, textures=data.PHOTOGRAPHS)
    assert asked == {(name, split) for name in data.PHOTOGRAPHS}


def without_defects(make, monkeypatch):
    """What `make()` gives with the same draws, but defects that change nothing."""
    original, nothing = data._defect, np.zeros((3, 1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(data, "_defect", lambda *a: (original(*a)[0], nothing))
        return make()


@pytest.mark.parametrize("defect", data.DEFECTS)
def test_masks_are_exact(defect, monkeypatch):
    """The picture differs from the one without defects where the mask says so."""

    def make():
        return data.surfaces(60, 65, defects=[defect])

    images, masks = (part.numpy() for part in make().tensors)
    clean, clean_masks = (
        part.numpy() for part in without_defects(make, monkeypatch).tensors
    )
    assert (masks == clean_masks).all()
    change = images - clean
    square = np.ones((1, 1, 3, 3))
    near = ndimage.binary_dilation(masks, square)  # soft edges are a pixel wide
    near[..., [0, -1], :] = near[..., [0, -1]] = True  # the defect may lie beyond
    inside = ndimage.binary_erosion(masks, square)
    assert (change[(~near).repeat(3, 1)] == 0).all()
    assert (abs(change).max(1)[masks[:, 0] > 0] > 0.03).mean() > 0.97
    middle = change[inside.repeat(3, 1)]
    if defect == "scratch":
        assert (middle >= 0).all() and middle.mean() > 0.1
    elif defect == "crack":
        assert (middle <= 0).all() and middle.mean() < -0.1
    else:
        assert middle.min() < -0.1 and middle.max() > 0.1


def test_the_mask_is_where_half_a_pixel_or_more_is_covered(monkeypatch):
    cover = np.zeros((data.PATCH, data.PATCH), np.float32)
    half = data.PATCH // 2
    cover[half, half - 1 : half + 2] = 0.49, 0.51, 1
    monkeypatch.setattr(data, "_defect", lambda *a: (cover, 0.3))
    monkeypatch.setattr(data, "_place", lambda patch, *a: patch[4:-4, 4:-4])
    monkeypatch.setattr(data, "DEFECTS", ["any"])
    masks = data.surfaces(4, 64, defects=["any"]).tensors[1]
    hit = masks[masks.amax((1, 2, 3)) > 0]
    row = half - 4
    assert len(hit) and (hit.sum((1, 2, 3)) == 2).all()
    assert (hit[:, 0, row, row : row + 2] == 1).all()


def test_a_stroke_is_as_wide_as_it_says():
    line = data._stroke(np.array([-20, 20]), 3)
    profile = line[:, data.PATCH // 2]
    middle = profile[data.PATCH // 2 - 3 : data.PATCH // 2 + 3]
    assert middle == pytest.approx([0, 0.5, 1, 1, 0.5, 0])
    assert profile.sum() == pytest.approx(3)
    for angle in (0.3, 1.2):
        turned = data._stroke(np.array([-20, 5, 20]) * np.exp(1j * angle), 3)
        for area in (turned.sum(), (turned > 0.5).sum()):
            assert area == pytest.approx(40 * 3 + np.pi * 1.5**2, rel=0.05)


def test_defects_are_whole_and_of_one_piece():
    rng = np.random.default_rng(0)
    for kind in data.DEFECTS * 60:
        cover, added = data._defect(kind, rng)
        assert cover.shape == (data.PATCH, data.PATCH)
        assert cover.min() == 0 and cover.max() == 1
        assert not np.concatenate([cover[[0, -1]], cover[:, [0, -1]].T]).any(), kind
        assert component_count(cover > 0.5) == 1
        assert (0.1 < np.abs(added)).all() and (np.abs(added) <= 0.45).all()


class Middle:
    """Instead of chance: the middle of every range, so a stain without waves."""

    def uniform(self, low, high):
        return (low + high) / 2


def test_a_stain_is_as_large_as_it_says():
    cover = data._blob(Middle())
    for area in (cover.sum(), (cover > 0.5).sum()):
        assert area == pytest.approx(np.pi * 7.5**2, rel=0.03)


def test_a_stain_is_round_within_its_waves():
    rng = np.random.default_rng(0)
    blobs = [data._blob(rng) > 0.5 for _ in range(40)]
    areas = [blob.sum() for blob in blobs]
    assert np.pi * 4**2 < min(areas) and max(areas) < np.pi * 13**2
    assert all(blob[data.PATCH // 2, data.PATCH // 2] for blob in blobs)


def test_a_defect_lands_anywhere_with_its_centre_inside():
    dot = np.zeros((data.PATCH, data.PATCH), np.float32)
    dot[data.PATCH // 2, data.PATCH // 2] = 1
    rng = np.random.default_rng(0)
    sheets = [data._place(dot, (2, 3), rng) for _ in range(100)]
    assert {sheet.shape for sheet in sheets} == {(2, 3)}
    assert {sheet.sum() for sheet in sheets} == {1}
    assert len({int(sheet.argmax()) for sheet in sheets}) == 6


def test_light_has_mean_one():
    light = data._light((40, 60), np.random.default_rng(0))
    assert light.shape == (40, 60)
    assert light.mean() == pytest.approx(1) and light.std() > 0.01


@pytest.mark.parametrize("name", TEXTURES)
def test_textures_are_about_standard(name):
    rng = np.random.default_rng(0)
    reliefs = [data._texture(name, (64, 64), "train", rng) for _ in range(20)]
    assert abs(np.mean(reliefs)) < 0.3
    assert 0.6 < np.std(reliefs) < 1.4


# --- the scene --------------------------------------------------------------------


def test_scene_is_four_bands_of_the_test_split(monkeypatch):
    bands, original = [], data._surface

    def record(shape, split, texture, *rest, **options):
        bands.append((shape, split, texture, original(shape, split, texture, *rest,
                                                      **options)))  # fmt: skip
        return bands[-1][-1]

    monkeypatch.setattr(data, "_surface", record)
    image, mask = data.scene()
    assert image.shape == (3, 512, 512) and mask.shape == (1, 512, 512)
    assert image.dtype == mask.dtype == torch.float32
    assert [band[:3] for band in bands] == [
        ((128, 512), "test", name) for name in ("brick", "gravel", "grass", "fabric")
    ]
    for i, (*_, (part, part_mask)) in enumerate(bands):
        rows = slice(128 * i, 128 * (i + 1))
        assert (image[:, rows].numpy() == part).all()
        assert (mask[:, rows].numpy() == part_mask).all()
    assert 0 < mask.mean() < 0.07
    assert component_count(mask[0].numpy()) > 5


def test_scene_is_deterministic():
    assert all(map(torch.equal, data.scene(1, 128), data.scene(1, 128)))
    assert not torch.equal(data.scene(1, 128)[0], data.scene(2, 128)[0])
    assert data.scene(0, 128)[0].shape == (3, 128, 128)
    with pytest.raises(ValueError, match="size is 130; four bands need a multiple"):
        data.scene(0, 130)


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
    images, masks = (part.numpy() for part in data.lattices(150).tensors)
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
        for mask in data.lattices(40, size, period=period).tensors[1][:, 0].numpy():
            assert component_count(mask) == 1
            assert np.pi * 1.6**2 < mask.sum() < np.pi * 2.8**2
            assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()


def test_nothing_else_is_missing():
    """The lattice goes on to the edges: no hole that the mask does not show."""
    for image in data.lattices(60, period=(12, 12)).tensors[0].numpy():
        dots, _ = lattice_dots(image)
        for side in (dots, dots[::-1], dots.T, dots.T[::-1]):
            assert side.any(1).argmax() < 12 - 2 * 1.8 + 2


def test_the_period_is_the_distance_between_dots():
    image = data.lattices(1, 128, period=(16, 16)).tensors[0][0].numpy()
    dots, _ = lattice_dots(image)
    centres = np.array([d.centroid for d in measure.regionprops(measure.label(dots))])
    inner = centres[((centres > 8) & (centres < 120)).all(1)]
    apart = np.hypot(*(inner[:, None] - centres).T)
    nearest = np.sort(apart, 0)[1]
    assert np.median(nearest) == pytest.approx(16, abs=0.6)


@pytest.mark.parametrize("period", [(80, 90), (1, 2), (12, 8), (0, 0), (8, 51)])
def test_a_period_that_does_not_fit(period):
    with pytest.raises(ValueError, match="64 px need 8 <= shortest <= longest <= 50"):
        data.lattices(2, period=period)


# --- spots ------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.02, 0.005])
def test_spots_cover_their_share(share):
    images, masks = data.spots(200, 48, share=share).tensors
    assert images.shape == masks.shape == (200, 1, 48, 48)
    assert 0.75 * share < masks.mean() < 2 * share + 0.005
    assert masks.flatten(1).any(1).all()  # each has one
    assert images[masks == 1].mean() > images[masks == 0].mean() + 0.03


def test_spots_repeat_and_differ_by_split():
    assert same(data.spots(3), data.spots(3))
    assert not torch.equal(
        data.spots(3).tensors[0], data.spots(3, split="test").tensors[0]
    )


@pytest.mark.parametrize("share", [0, -0.1, 0.5])
def test_a_share_of_spots_that_makes_no_sense(share):
    with pytest.raises(ValueError, match=f"share is {share}"):
        data.spots(2, share=share)


# --- volumes ----------------------------------------------------------------------


@functools.cache
def discs_of():
    """Area and contrast of each disc of 150 volumes without noise, tubes and balls."""
    kinds = {True: [], False: []}
    for image, mask in data.volumes(150, noise=0):
        for picture, tubes in zip(image[0].numpy(), mask[0].numpy()):
            labels = measure.label(picture > 0.425, connectivity=1)
            for disc in measure.regionprops(labels, picture):
                tube = tubes[labels == disc.label].mean() > 0.5
                kinds[tube].append((disc.area, disc.intensity_max - 0.35))
    return {tube: np.array(values) for tube, values in kinds.items()}


def test_volumes_repeat_differ_by_split_and_have_the_right_form():
    images, masks = data.volumes(3).tensors
    assert images.shape == masks.shape == (3, 1, 24, 24, 24)
    assert images.dtype == masks.dtype == torch.float32
    assert 0 <= images.min() and images.max() <= 1
    assert set(masks.unique().tolist()) == {0, 1}
    assert same(data.volumes(3), data.volumes(3))
    pictures = [data.volumes(3, split=split).tensors[0] for split in data.SPLITS]
    assert not any(torch.equal(pictures[i], pictures[i - 1]) for i in range(3))


def test_noise_changes_the_image_and_nothing_else():
    noisy, clean = data.volumes(3), data.volumes(3, noise=0)
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
    image, mask = (part[0, 0].numpy() for part in data.volumes(1, noise=0).tensors)
    bright = image > 0.425
    for number in range(1, 1 + (columns := measure.label(bright)).max()):
        areas = (columns == number).sum((1, 2))
        share = mask[columns == number].mean()
        assert share < 0.1 or share > 0.5  # all tube (and its rim), or none
        changes = np.abs(np.diff(areas)) / areas.mean()
        assert changes.max() < 0.5 if share > 0.5 else changes.max() > 0.2


@pytest.mark.parametrize("name, value", [("n", 0), ("size", 7), ("seed", -1)])
def test_volumes_that_cannot_be(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be a whole"):
        data.volumes(**{"n": 2, name: value})


# --- camouflage -------------------------------------------------------------------


def test_a_horse_is_large_and_differs_from_picture_to_picture():
    masks = data.camouflage(60).tensors[1]
    share = masks.mean((1, 2, 3))
    assert 0.05 < share.min() and share.max() < 0.4
    assert masks.flatten(1).unique(dim=0).shape[0] == 60
    biggest = [max(np.bincount(ndimage.label(m[0])[0].ravel())[1:]) for m in masks]
    assert (torch.tensor(biggest) > 0.8 * masks.sum((1, 2, 3))).all()


def test_brightness_does_not_give_the_horse_away(monkeypatch):
    monkeypatch.setattr(data, "_light", lambda *a: 1)
    images, masks = data.camouflage(60).tensors
    for image, mask in zip(images.mean(1), masks[:, 0] > 0, strict=True):
        horse, around = image[mask], image[~mask]
        assert abs(horse.mean() - around.mean()) < 0.02
        assert 0.7 < horse.std() / around.std() < 1.4


def test_horse_and_surroundings_are_two_photographs_of_the_split(monkeypatch):
    asked, original = [], data._photograph
    monkeypatch.setattr(
        data, "_photograph", lambda *a: asked.append(a[:2]) or original(*a)
    )
    data.camouflage(40, split="validation")
    pairs = list(zip(asked[::2], asked[1::2], strict=True))
    assert all(inner[0] != outer[0] for inner, outer in pairs)
    assert len({(a[0], b[0]) for a, b in pairs}) == 6
    assert {split for _, split in asked} == {"validation"}


# --- coins ------------------------------------------------------------------------


@pytest.mark.parametrize("split", data.SPLITS)
def test_coins_are_numbered_whole_and_touch(split):
    images, maps = (part.numpy()[:, 0] for part in data.touching_coins(
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


def test_splits_have_coins_of_their_own(monkeypatch):
    used = {}

    def record(size, count, coins, rng):
        used[split] = {id(mask) for _, mask in coins}
        return np.zeros((1, size, size)), np.zeros((1, size, size))

    monkeypatch.setattr(data, "_pile", record)
    for split in data.SPLITS:
        data.touching_coins(1, split=split)
    assert [len(used[split]) for split in data.SPLITS] == [12, 6, 6]
    assert len(set.union(*used.values())) == 24


def test_the_photograph_has_24_whole_coins():
    coins = data._coins(1)
    assert len(coins) == 24
    for grey, mask in coins:
        assert component_count(mask) == 1 and component_count(~np.pad(mask, 1)) == 1
        assert 0.9 < mask.sum() / (np.pi / 4 * mask.shape[0] * mask.shape[1]) < 1.1
        assert grey[mask].mean() > 0.35 and not grey[~mask].any()


def test_count_and_shrink():
    maps = data.touching_coins(3, count=(2, 2)).tensors[1]
    assert maps.amax((1, 2, 3)).tolist() == [2, 2, 2]
    large, small = (data.touching_coins(4, 256, shrink=s).tensors[1] for s in (2, 4))
    assert (large > 0).sum() > 2 * (small > 0).sum()


@pytest.mark.parametrize(
    "bad, answer",
    [
        (dict(count=(9, 5)), "largest count is 5; it must be a whole number, at le"),
        (dict(count=(0, 5)), "smallest count is 0; it must be a whole number, at l"),
        (dict(count=(2.5, 5)), "smallest count is 2.5; it must be a whole number"),
        (dict(shrink=0), "shrink is 0; it must be a whole number, 1 to 8"),
        (dict(shrink=99), "shrink is 99; it must be a whole number, 1 to 8"),
        (dict(shrink=1.5), "shrink is 1.5; it must be a whole number"),
        (dict(size=12), "no room for . touching coins in 12 x 12 px; take a larger"),
        (dict(size=40, count=(9, 9)), "no room for 9 touching coins in 40 x 40 px"),
    ],
)
def test_coins_that_cannot_be(bad, answer):
    with pytest.raises(ValueError, match=answer):
        data.touching_coins(1, **bad)


# --- textures and mosaics ---------------------------------------------------------


@pytest.mark.parametrize("make", [data.textures, data.mosaics])
def test_label_maps_of_three_textures(make):
    images, labels = make(40, 64).tensors
    side = 1 if make is data.textures else 64
    assert images.shape == (40, 3, 64, 64) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and images.isfinite().all()
    assert labels.shape == (40, 1, side, side) and labels.dtype == torch.int64
    share = torch.bincount(labels.flatten(), minlength=3) / labels.numel()
    assert len(share) == 3 and (share > 0.15).all()
    assert same(make(3), make(3)) and not same(make(3), make(3, seed=1))
    with pytest.raises(ValueError, match="'val'; choose from train, validation, test"):
        make(2, split="val")
    with pytest.raises(ValueError, match="n is 0; it must be a whole"):
        make(0)


@pytest.mark.parametrize("make", [data.textures, data.mosaics])
@pytest.mark.parametrize("split", data.SPLITS)
def test_textures_come_from_the_rows_of_their_split(make, split, monkeypatch):
    asked, original = set(), data._photograph
    monkeypatch.setattr(
        data, "_photograph", lambda *a: asked.add(a[1]) or original(*a)
    )
    make(5, split=split)
    assert asked == {split}


def test_grey_does_not_tell_the_texture():
    images, labels = data.mosaics(100).tensors
    images = images.mean(1, keepdim=True)
    images = images / images.mean((1, 2, 3), keepdim=True)
    means = [images[labels == k].mean().item() for k in range(3)]
    assert max(means) - min(means) < 0.02


def test_mosaics_have_as_many_cells_as_asked():
    _, labels = data.mosaics(20, cells=(1, 1)).tensors
    kinds = [len(one.unique()) for one in labels]
    assert max(kinds) == 2  # a cell, and the band across it
    with pytest.raises(ValueError, match="largest number of cells is 2; it must be"):
        data.mosaics(1, cells=(3, 2))
