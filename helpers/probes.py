"""A probe for each claim: lattices, hidden horses, mosaics, coins, spots, volumes.

Every function draws `n` pictures and their masks, always the same for the same
arguments, with shapes and splits as in helpers/data.py unless it says otherwise. Each
raises ValueError for what `data.generator` refuses, such as an unknown split.
"""

import functools
import itertools

import numpy as np
from scipy import ndimage
from skimage import data as photographs
from skimage import filters, measure, segmentation

from helpers.data import (
    PHOTOGRAPHS,
    blob,
    generator,
    light,
    lit,
    pattern,
    put,
    standard,
    tensors,
    whole_number,
)

SHRINK = 3  # photographed pixels to one of a coin's
VOXELS = 24  # of a volume's side


def lattices(n, size=64, seed=0, split="train", period=(8, 12)):
    """Lattices of dots with one dot missing; the mask is the dot that is not there.

    No pixel of the gap differs from background: only its surroundings tell. `period`
    is the range of distances between dots, in pixels. Shapes as in `surfaces`. Raises
    ValueError for a period outside 8 to `size` - 14.
    """
    rng = generator(seed, split, n=n, size=size)
    low, high = period
    # Closer, and neighbours would cover the gap; wider, and no dot need be inside.
    if not 8 <= low <= high <= size - 14:
        way_out = f": take images of {high + 14} px or more" if 8 <= low <= high else ""
        raise ValueError(
            f"period is {period}; images of {size} px need 8 <= shortest <= longest "
            f"<= {size - 14}{way_out}"
        )
    return tensors(n, _lattice, size, period, rng)


def around_a_gap(n, missing=(), turned=0, apart=0, period=16, size=48, seed=0):
    """Lattices with the gap in the middle, for asking which dots a network reads.

    `missing` lists the places of other dots that are not drawn, as (column, row) from
    the gap. The lattice is `turned` by an angle in degrees, against the clock; the dots
    of the gap's row stand `apart` px further from it. Shapes as in `surfaces`,
    always of the test split; the mask is the gap.
    """
    rng = generator(seed, "test", n=n, size=size, period=period)
    return tensors(n, _around, size, period, missing, turned, apart, rng)


def camouflage(n, size=64, seed=0, split="train"):
    """A horse in one photographed texture on another; the mask is the horse.

    Any two of brick, gravel and grass, brought to the same mean and spread, so that
    brightness does not tell the horse from its surroundings; its colour is off by a
    shade, and no colour or texture is always the horse's. The horse covers 40 to
    60 % of a picture, and is the smaller part as often as the larger, so that the mean
    colour or the area does not tell either: only the shape does. The silhouette, a
    heavy horse and one for all splits, is turned, scaled, bent and flipped anew in each
    picture. Shapes as in `surfaces`.
    """
    rng = generator(seed, split, n=n, size=size)
    return tensors(n, _hidden, size, split, rng)


def mosaics(n, size=128, seed=0, split="train", cells=(3, 6)):
    """Pictures put together from brick, gravel and grass, and exact label maps.

    As many cells as `cells` says, with wavy outlines, and across them a band of 6 to 12
    px. Each has a texture of its own. Returns a TensorDataset of images (n, 3, size,
    size), float32 in 0..1, and label maps (n, 1, size, size), int64: the index in
    PHOTOGRAPHS. Raises ValueError where `cells` is no range of whole numbers from 1 up.
    """
    rng = generator(seed, split, n=n, size=size)
    whole_number("the smallest number of cells", cells[0], 1)
    whole_number("the largest number of cells", cells[1], cells[0])
    return tensors(n, _mosaic, size, split, cells, rng)


def touching_coins(n, size=96, seed=0, split="train", count=(5, 9)):
    """Photographed coins, cut out and placed so that they touch.

    Returns a TensorDataset of images (n, 1, size, size), float32 in 0..1, and instance
    maps (n, 1, size, size), int64: 0 is background, 1, 2, ... are the coins, as many as
    `count` says. Each split has its own of the photograph's 24 coins. Raises ValueError
    where the coins find no room, and where `count` is no range of whole numbers from 1
    up.
    """
    rng = generator(seed, split, n=n, size=size)
    whole_number("the smallest count", count[0], 1)
    whole_number("the largest count", count[1], count[0])
    remainders = {"train": (0, 1), "validation": (2,), "test": (3,)}[split]
    coins = [coin for i, coin in enumerate(_coins()) if i % 4 in remainders]
    return tensors(n, _pile, size, count, coins, rng)


def spots(n, size=64, seed=0, split="train", share=0.02):
    """Soft grey spots, a bit brighter than a stony ground, that cover `share` of it.

    Spots have a radius of 1.5 to 4 px; only how many there are depends on `share`, and
    there is at least one. Images (n, 1, size, size), masks likewise. Raises ValueError
    for a share outside 0 to 0.2.
    """
    rng = generator(seed, split, n=n, size=size)
    if not 0 < share <= 0.2:
        raise ValueError(f"share is {share}; it must be above 0 and at most 0.2")
    return tensors(n, _spotted, size, share, rng)


def nuclei(n, size=64, seed=0, split="train", radius=(1.5, 16)):
    """Drawn nuclei of widely varying size: they shine on black, or are stained dark.

    Half of the pictures are as of fluorescence, half as of stained tissue, whose ground
    is pale, pink and uneven. Each has two to eight nuclei, bright and faint ones.
    `radius` is the range of their radii in px: as many from 2 to 4 as from 4 to 8.
    Shapes as in `surfaces`. Raises ValueError for radii outside 1 to 16.
    """
    rng = generator(seed, split, n=n, size=size)
    low, high = radius
    if not 1 <= low <= high <= 16:
        raise ValueError(f"radius is {radius}; 1 <= smallest <= largest <= 16")
    return tensors(n, _nucleated, size, radius, rng)


def volumes(n, seed=0, split="train", noise=0.08):
    """Tubes and rows of balls, in noise; the mask is the tubes.

    Both run through all slices (the first spatial axis). Any single slice shows discs,
    and the discs of tubes and balls have the same distribution of radius, brightness
    and place: only from slice to slice a tube stays, and a ball swells, shrinks and
    makes room for the next. One object in three is a tube, so that, with the gaps
    between balls, about as many discs belong to tubes as to balls. `noise` is the
    noise's standard deviation.

    Returns a TensorDataset of images and masks (n, 1, 24, 24, 24).
    """
    rng = generator(seed, split, n=n, size=VOXELS)
    return tensors(n, _tubes, VOXELS, noise, rng)


# --- lattices --------------------------------------------------------------------


def _lattice(size, period, rng):
    """Image (3, size, size) of dots with one missing, and the mask (1, size, size)."""
    p, radius = rng.uniform(*period), rng.uniform(1.8, 2.6)
    y, x = np.mgrid[:size, :size] + 0.5
    rows = np.arange(-p / 2, size + p, p)  # beyond the edges: no gap but the one
    centres = np.stack(np.meshgrid(rows, rows), -1).reshape(-1, 2)
    centres += rng.uniform(-p / 2, p / 2, 2) + rng.normal(0, 0.3, centres.shape)
    inside = ((centres > 2 * radius) & (centres < size - 2 * radius)).all(1)
    missing = rng.choice(np.flatnonzero(inside))
    discs = [_disc(y - cy, x - cx, radius) for cy, cx in centres]
    mask = discs.pop(missing) > 0.5
    return _dotted(discs, rng), mask[None].astype(np.float32)


def _disc(y, x, radius):
    """A disc at the place that y and x count from, 0..1."""
    return (radius + 0.5 - np.hypot(y, x)).clip(0, 1)


def _dotted(discs, rng):
    """An image (3, H, W) of discs, brighter or darker than their ground."""
    sign = rng.choice([-1, 1])
    grey = rng.uniform(0.35, 0.65) + sign * 0.25 * np.max(discs, 0)
    image = grey + rng.normal(0, 0.03, (3, *grey.shape))
    return image.clip(0, 1).astype(np.float32)


def _around(size, period, missing, turned, apart, rng):
    """Image (3, size, size) of dots around a gap in the middle, and the gap."""
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    radius, turn, reach = rng.uniform(1.8, 2.6), np.deg2rad(turned), size // period + 1
    discs = []
    for column, row in itertools.product(range(-reach, reach + 1), repeat=2):
        if (column, row) not in {(0, 0), *missing}:
            right, down = period * column, period * row
            if row == 0:
                right += apart * np.sign(column)
            cx = right * np.cos(turn) + down * np.sin(turn)
            cy = down * np.cos(turn) - right * np.sin(turn)
            off_y, off_x = rng.normal(0, 0.3, 2)
            discs.append(_disc(y - cy - off_y, x - cx - off_x, radius))
    mask = _disc(y, x, radius) > 0.5
    return _dotted(discs, rng), mask[None].astype(np.float32)


# --- mosaics ----------------------------------------------------------------------


def _mosaic(size, split, cells, rng):
    """One picture (3, size, size) of several textures, and its label map."""
    part = _cells(size, rng.integers(*cells, endpoint=True), rng)
    relief, labels = np.zeros((size, size)), np.zeros((1, size, size), np.int64)
    for cell in range(part.max() + 1):
        here = part == cell
        label = rng.integers(len(PHOTOGRAPHS))
        labels[0, here] = label
        relief[here] = pattern(PHOTOGRAPHS[label], here.shape, split, rng)[here]
    return lit(relief, rng), labels


def _cells(size, count, rng):
    """A number for each pixel: the nearest of `count` points, or the band's own."""
    grid = np.mgrid[:size, :size] + 0.5
    for axis, noise in enumerate(rng.normal(size=grid.shape)):
        wave = ndimage.gaussian_filter(noise, 6)
        grid[axis] += 4 * (wave / wave.std())
    points = rng.uniform(0, size, (count, 2, 1, 1))
    nearest = ((grid - points) ** 2).sum(1).argmin(0)
    through, angle = rng.uniform(size / 4, 3 * size / 4, 2), rng.uniform(0, np.pi)
    y, x = grid - through[:, None, None]
    across = abs(x * np.sin(angle) - y * np.cos(angle))
    return np.where(across < rng.uniform(3, 6), count, nearest)


# --- coins ------------------------------------------------------------------------


@functools.cache
def _coins():
    """The 24 coins of the photograph, each cut out: grey (h, w) and mask (h, w)."""
    grey = photographs.coins()
    seeds = np.select([grey < 30, grey > 150], [1, 2])
    filled = segmentation.watershed(filters.sobel(grey), seeds) == 2
    solid = ndimage.binary_opening(ndimage.binary_fill_holes(filled), iterations=2)
    coins = measure.regionprops(measure.label(solid), grey / 255)
    coins.sort(key=lambda coin: coin.area)
    cut_out = []
    for coin in coins:
        grey = measure.block_reduce(coin.image_intensity, SHRINK, np.mean)
        mask = measure.block_reduce(coin.image, SHRINK, np.mean) > 0.5
        cut_out.append((grey, mask))
    return cut_out


def _pile(size, count, coins, rng):
    """Grey image and instance map, both (1, size, size), of coins that touch."""
    shape = (size, size)
    image = rng.uniform(0.1, 0.3) * light(shape, rng)
    instances = np.zeros(shape, np.int64)
    centres = [np.array([size / 2, size / 2]) + rng.uniform(-size / 8, size / 8, 2)]
    count = rng.integers(count[0], count[1], endpoint=True)
    for _ in range(3000):
        if instances.max() == count:
            break
        coin = coins[rng.integers(len(coins))]
        turns = rng.integers(4)
        grey, mask = np.rot90(coin[0], turns), np.rot90(coin[1], turns)
        start, angle = centres[rng.integers(len(centres))], rng.uniform(0, 2 * np.pi)
        for distance in range(size):  # away from a placed coin until there is room
            centre = start + distance * np.array([np.sin(angle), np.cos(angle)])
            top, left = (centre - np.array(mask.shape) / 2).round().astype(int)
            place = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
            if min(top, left) < 0 or instances[place].shape != mask.shape:
                break  # over the edge: try another coin, another direction
            if not instances[place][mask].any():
                instances[place][mask] = instances.max() + 1
                image[place][mask] = grey[mask]
                centres.append(centre)
                break
    else:
        raise ValueError(
            f"no room for {count} touching coins in {size} x {size} px; take a larger "
            "size or a smaller count"
        )
    image = image + rng.normal(0, 0.03, shape)
    return image.clip(0, 1).astype(np.float32)[None], instances[None]


# --- camouflage -------------------------------------------------------------------


@functools.cache
def _horse():
    """Coverage (h, w) of a heavy horse seen from the side, cut out of its picture."""
    horse = np.pad(~photographs.horse(), 20)
    heavy = ndimage.distance_transform_edt(~horse) <= 15  # px, of 370 in length
    (box,) = ndimage.find_objects(heavy.astype(int))
    return measure.block_reduce(heavy[box].astype(float), 3, np.mean)


def _hidden(size, split, rng):
    """One picture (3, size, size) with a horse in it, and the mask (1, size, size)."""
    least = rng.choice([0.4, 0.5])  # the smaller part or the larger, by a coin
    cover = _silhouette(size, rng)
    while not least < (cover > 0.5).mean() < least + 0.1:
        cover = _silhouette(size, rng)
    mask = cover > 0.5
    first, second = rng.choice(PHOTOGRAPHS, 2, replace=False)
    inner = pattern(first, mask.shape, split, rng)
    outer = pattern(second, mask.shape, split, rng)
    inner = (inner - inner[mask].mean()) / inner[mask].std()
    outer = (outer - outer[~mask].mean()) / outer[~mask].std()
    relief = cover * inner + (1 - cover) * outer
    colour = rng.uniform(0.35, 0.6) + rng.uniform(-0.08, 0.08, (3, 1, 1))
    shade = standard(rng.normal(size=(3, 1, 1)))  # no brighter, no darker
    image = colour + 0.07 * shade * (cover - 0.5)
    image = image * (1 + rng.uniform(0.12, 0.22) * relief) * light(mask.shape, rng)
    image += rng.normal(0, 0.02, image.shape)
    return image.clip(0, 1).astype(np.float32), mask[None].astype(np.float32)


def _silhouette(size, rng):
    """Coverage (size, size) of the horse, turned, scaled, bent, perhaps flipped."""
    horse = _horse()
    arrows = rng.normal(0, 0.04, (2, 4, 4))  # all lengths in shares of the side
    smooth = dict(order=3, grid_mode=True, mode="nearest")
    bend = [ndimage.zoom(a, size / 4, **smooth) for a in arrows]
    line = (np.arange(size) + 0.5) / size - 0.5
    shift = rng.uniform(-0.15, 0.15, 2)
    y, x = (np.meshgrid(line, line, indexing="ij") - shift[:, None, None]) + bend
    turn = np.exp(1j * rng.uniform(-0.4, 0.4)) * horse.shape[1]
    place = (x + 1j * y) * turn / rng.uniform(1, 1.4)  # in the horse's pixels
    rows = place.imag + (horse.shape[0] - 1) / 2
    columns = place.real * rng.choice([-1, 1]) + (horse.shape[1] - 1) / 2
    return ndimage.map_coordinates(horse, [rows, columns], order=1)


# --- spots and volumes ------------------------------------------------------------


def _spotted(size, share, rng):
    """Grey image and mask, both (1, size, size)."""
    shape = (size, size)
    image = 0.4 * (1 + 0.15 * pattern("stone", shape, "train", rng))
    y, x = np.mgrid[:size, :size] + 0.5
    mask = np.zeros(shape, bool)
    for _ in range(max(1, round(share * size**2 / 26))):  # a spot has some 26 px
        centre, radius = rng.uniform(0, size, 2), rng.uniform(1.5, 4)
        away = np.hypot(y - centre[0], x - centre[1]) - radius
        image += rng.uniform(0.1, 0.3) * (0.5 - away / 2).clip(0, 1)
        mask |= away < 0
    image += rng.normal(0, 0.03, shape)
    return image.clip(0, 1).astype(np.float32)[None], mask[None].astype(np.float32)


# Red, green and blue of the ground, and what a nucleus adds at most.
STAINS = np.array([
    [[0.06, 0.07, 0.12], [0.4, 0.45, 0.7]],  # fluorescence
    [[0.85, 0.7, 0.8], [-0.5, -0.5, -0.3]],  # stained tissue
])  # fmt: skip


def _nucleated(size, radius, rng):
    """One picture (3, size, size) of nuclei, and the mask (1, size, size)."""
    shape = (size, size)
    ground, added = rng.choice(STAINS)[..., None, None]
    image = ground * (1 + 0.12 * pattern("stone", shape, "train", rng))
    mask = np.zeros(shape, bool)
    for _ in range(rng.integers(2, 9)):
        own = np.exp(rng.uniform(*np.log(radius)))
        cover = put(blob(rng, (own, own)), shape, rng)
        image += cover * added * rng.uniform(0.25, 1)
        mask |= cover > 0.5
    image = image * light(shape, rng) + rng.normal(0, 0.03, image.shape)
    return image.clip(0, 1).astype(np.float32), mask[None].astype(np.float32)


def _tubes(size, noise, rng):
    """Grey volume and mask, both (1, size, size, size)."""
    z = np.arange(size) + 0.5
    y, x = np.mgrid[:size, :size] + 0.5
    image, mask = np.full((size,) * 3, 0.35), np.zeros((size,) * 3, bool)
    placed = []  # of each object: its centre in each slice, and its largest radius
    for _ in range(size**2 // 10):  # trials: as many as find room, up to the limit
        radius, lean = rng.uniform(2.2, 3.8), rng.uniform(-0.12, 0.12, 2)
        centre = rng.uniform(2, size - 2, 2)[:, None] + np.outer(lean, z - size / 2)
        room = [np.hypot(*(centre - c)).min() - radius - r for c, r in placed]
        if len(placed) == size**2 // 96 or min(room, default=9) < 1.5:
            continue
        placed.append((centre, radius))
        tube = rng.random() < 1 / 3
        # Height over the ball's centre, in radii: drawn once for a tube, while it moves
        # on for a row of balls. Above 0.8 is the gap before the next ball.
        height = np.full(size, rng.uniform(-0.8, 0.8))
        if not tube:
            height = (rng.uniform(0, 3.2) + z / radius) % 3.2 - 0.8
        radii = radius * np.sqrt((1 - height**2).clip(0))
        down, across = centre[:, :, None, None]  # (slices, 1, 1) each
        away = np.hypot(y - down, x - across)
        away -= np.where(height < 0.8, radii, -1)[:, None, None]
        image += rng.uniform(0.15, 0.35) * (0.5 - away).clip(0, 1)
        mask |= tube & (away < 0)
    image += rng.normal(0, noise, image.shape)
    return image.clip(0, 1).astype(np.float32)[None], mask[None].astype(np.float32)
