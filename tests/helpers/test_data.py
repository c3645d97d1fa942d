"""The book's data: same seed same bytes, exact masks, splits that share nothing."""

import functools
import importlib.util
import time

import numpy as np
import pytest
import skimage.data
import torch
from scipy import ndimage
from skimage import measure

from helpers import data

TEXTURES = data.PHOTOGRAPHS + data.PROCEDURAL
MAKERS = [
    data.surfaces, data.lattices, data.touching_coins, data.camouflage, data.nuclei,
]  # fmt: skip


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.tensors, b.tensors, strict=True))


def component_count(mask, connectivity=2):
    return measure.label(mask, connectivity=connectivity).max()


@pytest.fixture
def drawn_from(monkeypatch):
    """The module anew, with other photographs: a function of an array (512, 512)."""

    def load(**photographs):
        for name in data.PHOTOGRAPHS:
            picture = photographs.get(name, photographs.get("all"))
            if picture is not None:
                monkeypatch.setattr(skimage.data, name, lambda p=picture: p)
        spec = importlib.util.spec_from_file_location("data_anew", data.__file__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


# --- all makers -------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS)
def test_same_seed_same_bytes(make, drawn_from):
    first = make(3)
    np.random.seed(5)
    torch.manual_seed(5)
    assert same(first, make(3))
    assert same(first, getattr(drawn_from(), make.__name__)(3))  # nothing cached
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


@pytest.mark.parametrize("split", data.SPLITS)
def test_splits_share_no_pixel_of_a_photograph(split, drawn_from):
    """All rows but the split's own are lost: no picture of the split knows it."""
    photograph = np.full((512, 512), np.nan)
    rows = photograph[data.SPLITS[split]]
    rows[:] = np.random.default_rng(0).uniform(0, 255, rows.shape)
    anew = drawn_from(all=photograph)
    for make in (anew.surfaces, anew.camouflage, anew.textures, anew.mosaics):
        assert make(12, split=split).tensors[0].isfinite().all()
        for other in set(data.SPLITS) - {split}:
            assert make(12, split=other).tensors[0].isnan().any()
    if split == "test":
        assert anew.scene()[0].isfinite().all()


def test_the_rows_of_the_splits_are_all_rows_once():
    rows = [set(range(512)[part]) for part in data.SPLITS.values()]
    assert sum(map(len, rows)) == len(set.union(*rows)) == 512


# --- sets -------------------------------------------------------------------------


def test_sets_of_a_task():
    sets = data.draw(data.lattices, (5, 3, 2), size=32, seed=4)
    for split, part, n in zip(data.SPLITS, sets, (5, 3, 2), strict=True):
        assert same(part, data.lattices(n, 32, seed=4, split=split))
    assert sets.share == (sets.train.tensors[1] > 0).float().mean().item()
    weighted = torch.cat([sets.train.tensors[1], torch.ones(5, 1, 32, 32)], 1)
    train = torch.utils.data.TensorDataset(sets.train.tensors[0], weighted)
    assert sets._replace(train=train).share == sets.share


def test_the_common_task_and_its_kinds_of_defects():
    common = data.common_task()
    assert [len(part) for part in common] == [600, 150, 200]
    assert same(common.validation, data.surfaces(150, split="validation"))
    assert data.common_task() is common  # drawn once
    kinds = data.kinds_of_defects()
    assert tuple(kinds) == data.DEFECTS
    only = data.surfaces(150, split="test", defects=["crack"])
    assert same(kinds["crack"], only)


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
def test_every_texture_and_defect_works_alone(texture, defect):
    pictures = data.surfaces(8, textures=[texture], defects=[defect])
    images, masks = pictures.tensors
    assert images.isfinite().all() and 0 < masks.mean() < 0.25
    others = [name for name in TEXTURES if name != texture]
    other = data.surfaces(8, textures=others[:1], defects=[defect])
    assert not torch.equal(images, other.tensors[0])


def test_only_the_textures_asked_for_are_shown(drawn_from):
    lost = np.full((512, 512), np.nan)
    anew = drawn_from(brick=lost, gravel=lost)
    pictures = anew.surfaces(20, textures=["grass", *data.PROCEDURAL])
    assert pictures.tensors[0].isfinite().all()
    images = anew.surfaces(20, textures=["brick", "gravel"]).tensors[0]
    assert images.isnan().any()


def test_unknown_names_are_refused_with_the_choices():
    with pytest.raises(ValueError, match="texture 'wood'; choose from brick, gra"):
        data.surfaces(2, textures=["brick", "wood"])
    with pytest.raises(ValueError, match="defect 'dent'; choose from scratch, cr"):
        data.surfaces(2, defects=["dent"])
    with pytest.raises(ValueError, match="no defect given; choose from scratch"):
        data.surfaces(2, defects=[])
    with pytest.raises(ValueError, match="no texture given; choose from brick"):
        data.surfaces(2, textures=[])


def flat():
    """A photograph of one grey, but for one pixel of each split."""
    photograph = np.zeros((512, 512))
    for rows in data.SPLITS.values():
        photograph[rows.start, 0] = 1
    return photograph


def changes(images, masks):
    """What was added to flat surfaces (n, H, W), mean of the channels.

    The light falls off linearly: a plane through what lies far from all defects.
    """
    y, x = np.mgrid[: images.shape[2], : images.shape[3]]
    plane = np.stack([y, x, np.ones_like(y)], -1).reshape(-1, 3)
    found = []
    for image, (mask,) in zip(images, masks):
        far = ~ndimage.binary_dilation(mask, iterations=3).ravel()
        grey = image.mean(0)
        light = np.linalg.lstsq(plane[far], grey.ravel()[far])[0]
        found.append(grey - (plane @ light).reshape(grey.shape))
    return np.array(found)


@pytest.mark.parametrize("defect", data.DEFECTS)
def test_masks_are_exact(defect, drawn_from):
    """On a flat surface the defect shows alone, and the mask is where it covers half.

    A picture is (grey + cover * added) * light + noise of 0.02 in each channel.
    """
    pictures = drawn_from(all=flat()).surfaces(
        150, textures=data.PHOTOGRAPHS, defects=[defect]
    )
    images, masks = (part.numpy() for part in pictures.tensors)
    added = changes(images, masks)
    near = ndimage.binary_dilation(masks, np.ones((1, 1, 3, 3)))[:, 0]
    near[:, [0, -1]] = near[:, :, [0, -1]] = True  # the defect may lie beyond
    assert (abs(added[~near]) < 0.07).all()
    inside = ndimage.binary_erosion(masks, np.ones((1, 1, 3, 3)))[:, 0]
    middle = added[inside]
    assert (abs(middle) > 0.1).mean() > 0.97
    assert (middle.min() < 0, middle.max() > 0) == dict(
        scratch=(False, True), crack=(True, False), stain=(True, True)
    )[defect]
    right = total = n = covered = 0
    for change, (mask,) in zip(abs(added), masks > 0):
        if component_count(mask) == 1 and mask.sum() > 20:
            full = np.quantile(change[mask], 0.9)
            sure = abs(change / full - 0.5) > 0.2  # not a matter of noise
            right += ((change > full / 2) == mask)[sure].sum()
            total += sure.sum()
            covered += (change / full)[ndimage.binary_dilation(mask)].sum() / mask.sum()
            n += 1
    assert total > 50_000 and right / total > 0.998
    assert 0.9 < covered / n < 0.98  # a mask has the area that is covered, less noise


def test_a_scratch_is_as_wide_and_a_stain_as_large_as_they_should_be():
    widths, areas = [], []
    for mask in data.surfaces(200, defects=["scratch"]).tensors[1][:, 0].numpy():
        distance = ndimage.distance_transform_edt(np.pad(mask, 1))
        widths += list(2 * distance[distance > 0.9 * distance.max()] - 1)[:1]
    assert 2 <= np.mean(widths) <= 4
    for mask in data.surfaces(200, defects=["stain"]).tensors[1][:, 0].numpy():
        for blob in measure.regionprops(measure.label(mask)):
            top, left, bottom, right = blob.bbox
            if min(top, left) > 0 and max(bottom, right) < 64 and blob.solidity > 0.9:
                areas.append(blob.area)
    assert len(areas) > 50
    assert np.pi * 4**2 < min(areas) and np.median(areas) < np.pi * 10**2


def test_light_falls_off_to_one_side_and_has_mean_one(drawn_from):
    """Its slope goes into either direction, as often as not."""
    images, masks = drawn_from(all=flat()).surfaces(
        100, textures=["brick"]
    ).tensors  # fmt: skip
    clean = images[masks.amax((1, 2, 3)) == 0].mean(1)
    slopes = (clean[:, :, 32:].mean((1, 2)) / clean[:, :, :32].mean((1, 2))).log()
    assert len(slopes) > 10 and slopes.min() < -0.03 and slopes.max() > 0.03
    # 0.02 of noise is left when the plane is gone, and nothing else.
    twice = clean.diff(n=2, dim=1).std() / 6**0.5
    assert twice.item() == pytest.approx(0.02 / 3**0.5, rel=0.05)


# --- the scene --------------------------------------------------------------------


def test_scene_is_four_bands_of_brick_gravel_grass_and_fabric(drawn_from):
    """Brick is striped from top to bottom, gravel from side to side, grass is flat."""
    stripes = np.tile([0.0, 0, 255, 255], (512, 128))
    anew = drawn_from(brick=stripes, gravel=stripes.T, grass=flat())
    image, mask = anew.scene()
    assert image.shape == (3, 512, 512) and mask.shape == (1, 512, 512)
    assert image.dtype == mask.dtype == torch.float32
    assert 0 < mask.mean() < 0.07 and component_count(mask[0].numpy()) > 5
    strong = []
    for band in image.mean(0).split(128):
        down, across = band.diff(dim=0).abs().mean(), band.diff(dim=1).abs().mean()
        strong.append((bool(down > 0.025), bool(across > 0.025)))
    assert strong[:3] == [(False, True), (True, False), (False, False)]
    assert any(strong[3])


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
    assert 0.4 < share.min() and share.max() < 0.6
    assert masks.flatten(1).unique(dim=0).shape[0] == 60
    biggest = [max(np.bincount(ndimage.label(m[0])[0].ravel())[1:]) for m in masks]
    assert (torch.tensor(biggest) > 0.8 * masks.sum((1, 2, 3))).all()


def test_neither_area_nor_the_mean_colour_tells_the_horse():
    """Not even whoever knows both colours: the rarer one is the ground's as often.

    Of 300 coins 123 to 177 fall one way, but for one time in 500.
    """
    images, masks = data.camouflage(300).tensors
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
    images, masks = data.camouflage(200).tensors
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


def test_the_photograph_has_24_whole_coins_and_splits_their_own():
    """One coin a picture, in full resolution: its outline tells which one it is."""
    known = {}
    for split, n in zip(data.SPLITS, (12, 6, 6), strict=True):
        draw = functools.partial(data.touching_coins, split=split, shrink=1)
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


# --- nuclei -----------------------------------------------------------------------


def test_nuclei_have_the_radius_that_was_asked_for_and_shine_or_are_dark():
    small = data.nuclei(40, radius=(1.5, 3)).tensors[1]
    large = data.nuclei(40, radius=(8, 16)).tensors[1]
    assert 0.005 < small.mean() < 0.04 and 0.2 < large.mean() < 0.5
    images, masks = data.nuclei(40).tensors
    signs = set()
    for image, mask in zip(images, masks):
        inside, outside = image[:, mask[0] > 0].mean(), image[:, mask[0] == 0].mean()
        signs.add(bool(inside > outside))
        assert (inside > outside) == (outside < 0.4)
    assert signs == {True, False}


@pytest.mark.parametrize("radius", [(0.5, 3), (5, 3), (2, 17)])
def test_radii_of_nuclei_out_of_range(radius):
    with pytest.raises(ValueError, match="1 <= smallest <= largest <= 16"):
        data.nuclei(2, radius=radius)
