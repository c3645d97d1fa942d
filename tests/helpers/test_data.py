"""The book's data: same seed same bytes, exact masks, splits that share nothing."""

import time

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import measure

from helpers import data, probes
from tests.helpers.toys import component_count, same_pictures

TEXTURES = data.PHOTOGRAPHS + data.PROCEDURAL
MAKERS = [
    data.surfaces, probes.lattices, probes.touching_coins, probes.camouflage,
    probes.nuclei,
]  # fmt: skip


# --- all makers -------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS)
def test_same_seed_same_bytes(make, drawn_from):
    first = make(3)
    np.random.seed(5)
    torch.manual_seed(5)
    assert same_pictures(first, make(3))
    assert same_pictures(
        first, getattr(drawn_from(), make.__name__)(3)
    )  # nothing cached
    assert not same_pictures(first, make(3, seed=1))
    pictures = [make(3, split=split).tensors[0] for split in data.SPLITS]
    assert not any(torch.equal(pictures[i], pictures[i - 1]) for i in range(3))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("size", [64, 65, 104, 128])
@pytest.mark.parametrize("split", data.SPLITS)
def test_shapes_types_and_range(make, size, split):
    images, masks = make(2, size, split=split).tensors
    channels, dtype = (1, torch.int64) if make is probes.touching_coins else (3, None)
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
    sets = data.draw(probes.lattices, (5, 3, 2), size=32, seed=4)
    for split, part, n in zip(data.SPLITS, sets, (5, 3, 2), strict=True):
        assert same_pictures(part, probes.lattices(n, 32, seed=4, split=split))
    assert sets.share == (sets.train.tensors[1] > 0).float().mean().item()
    weighted = torch.cat([sets.train.tensors[1], torch.ones(5, 1, 32, 32)], 1)
    train = torch.utils.data.TensorDataset(sets.train.tensors[0], weighted)
    assert sets._replace(train=train).share == sets.share


def test_the_common_task_and_its_kinds_of_defects():
    common = data.common_task()
    assert [len(part) for part in common] == [600, 150, 200]
    assert same_pictures(common.validation, data.surfaces(150, split="validation"))
    assert data.common_task() is common  # drawn once
    kinds = data.kinds_of_defects()
    assert tuple(kinds) == data.DEFECTS
    only = data.surfaces(150, split="test", defects=["crack"])
    assert same_pictures(kinds["crack"], only)


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
