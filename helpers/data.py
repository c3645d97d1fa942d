"""The book's data: surfaces with defects, their exact masks, and sets of pictures.

Every function is deterministic: the same arguments give the same bytes. All data of
the book is a map-style data set of `(image, mask)` pairs: image float32 (C, H, W) in
0..1, mask float32 (1, H, W) of 0 and 1, unless a function says otherwise (label and
instance maps are int64, volumes have one more axis). The train, validation and test
splits never share a pixel of a photograph.
"""

import functools
import math
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from skimage import data as photographs
from skimage import measure
from torch.utils.data import Dataset, TensorDataset

PHOTOGRAPHS = ("brick", "gravel", "grass")
PROCEDURAL = ("fabric", "metal", "stone")
DEFECTS = ("scratch", "crack", "stain")
DENSITY = 1.5  # the mean number of defects in 64 x 64 pixels
# Which rows of a 512 px photograph each split may use.
SPLITS = {
    "train": slice(0, 256),
    "validation": slice(256, 384),
    "test": slice(384, 512),
}
LIMIT = dict(most=math.inf, fill=False)  # how many pictures are drawn: see `first`
PATCH = 72  # side of the square in which one defect is drawn, in pixels


class Sets(NamedTuple):
    """The pictures of a task: to train on, to choose by, and to report."""

    train: Dataset
    validation: Dataset
    test: Dataset

    @property
    def share(self):
        """Share of foreground in the training masks (of their first channel)."""
        if isinstance(self.train, TensorDataset):
            return (self.train.tensors[1][:, 0] > 0).float().mean().item()
        return self.train.share  # pictures that are read one by one know it


def draw(make, sizes=(600, 150, 200), **settings):
    """Sets of `make(n, split=, **settings)`, such as `surfaces`: `sizes` pictures."""
    parts = []
    for split, n in zip(SPLITS, sizes):
        parts.append(make(n, split=split, **settings))
    return Sets(*parts)


@functools.lru_cache(2)
def common_task(seed=0):
    """The task that all chapters share: surfaces of 64 px, 600, 150 and 200 of them."""
    return draw(surfaces, seed=seed)


@functools.lru_cache(2)
def kinds_of_defects(seed=0):
    """For each kind of defect 150 test pictures that show no other: a dict."""
    sets = {}
    for kind in DEFECTS:
        sets[kind] = surfaces(150, seed=seed, split="test", defects=[kind])
    return sets


@contextmanager
def first(most, fill=False):
    """Within this block draw no more than the first `most` pictures of any set.

    They are those that the whole set begins with. With `fill` each is repeated, so that
    there are as many as were asked for. For checks that must be quick.
    """
    before = LIMIT.copy()
    LIMIT.update(most=most, fill=fill)
    forget()
    try:
        yield
    finally:
        LIMIT.update(before)
        forget()


def forget():
    """Forget the sets that were drawn."""
    common_task.cache_clear()
    kinds_of_defects.cache_clear()


def surfaces(
    n,
    size=64,
    seed=0,
    split="train",
    textures=PHOTOGRAPHS + PROCEDURAL,
    defects=DEFECTS,
    contrast=1.0,
):
    """Textured surfaces with defects, and the exact masks of the defects.

    Half of the textures are photographs (brick, gravel, grass), half are procedural
    (fabric, metal, stone). An image has 1.5 defects per 64 x 64 px on average, so that
    one small image in five has none, and some 4 % of all pixels are defects. `contrast`
    blends the defects into their ground: at 0.5 they stand out half as much, at 0 not
    at all; nothing else of the pictures changes, their masks neither.

    Returns a TensorDataset of images (n, 3, size, size) and masks (n, 1, size, size),
    float32. Raises ValueError for an unknown split, texture or defect, for sizes below
    8 and for a contrast below 0.
    """
    _check("texture", textures, PHOTOGRAPHS + PROCEDURAL)
    _check("defect", defects, DEFECTS)
    if not contrast >= 0:
        raise ValueError(f"contrast is {contrast}; it must be 0 or more")
    rng = generator(seed, split, n=n, size=size)
    return tensors(n, _any_surface, size, split, textures, defects, rng, contrast)


def scene(seed=0, size=512):
    """The book's large picture: a board of four surfaces with defects here and there.

    As many defects to an area as in `surfaces`. Brick, gravel, grass and fabric fill a
    band each, all of the test split. Returns image (3, size, size) and mask (1, size,
    size), float32. Raises ValueError for a size that is no multiple of 4, or below 8.
    """
    rng = generator(seed, "test", size=size)
    if size % 4:
        raise ValueError(f"size is {size}; four bands need a multiple of 4")
    images, masks = [], []
    for name in ("brick", "gravel", "grass", "fabric"):
        shape = size // 4, size
        image, mask = _surface(shape, "test", name, DEFECTS, rng)
        images.append(torch.from_numpy(image))
        masks.append(torch.from_numpy(mask))
    return torch.cat(images, -2), torch.cat(masks, -2)


def textures(n, size=96, seed=0, split="train"):
    """Crops of brick, gravel or grass: a class for each picture, and no mask.

    Returns a TensorDataset of images (n, 3, size, size), float32 in 0..1, and classes
    (n, 1, 1, 1), int64: the index in PHOTOGRAPHS. Colour, contrast and light differ
    from picture to picture and do not tell the class. Raises ValueError as `generator`
    does.
    """
    rng = generator(seed, split, n=n, size=size)
    classes = rng.integers(len(PHOTOGRAPHS), size=(n, 1, 1, 1))
    images = []
    for k in classes.flat:
        if len(images) == LIMIT["most"]:
            break
        relief = pattern(PHOTOGRAPHS[k], (size, size), split, rng)
        images.append(torch.from_numpy(lit(relief, rng)))
    classes = torch.from_numpy(classes[: len(images)])
    return _filled(n, torch.stack(images), classes)


# --- surfaces ---------------------------------------------------------------------


def _any_surface(size, split, textures, defects, rng, contrast):
    texture = rng.choice(textures)
    return _surface((size, size), split, texture, defects, rng, contrast=contrast)


def _surface(shape, split, texture, defects, rng, contrast=1.0):
    """One coloured, lit, noisy surface (3, H, W) and its mask (1, H, W).

    `contrast` scales what the defects add to the surface.
    """
    relief = pattern(texture, shape, split, rng)
    colour = rng.uniform(0.3, 0.7) + rng.uniform(-0.08, 0.08, (3, 1, 1))
    image = colour * (1 + rng.uniform(0.06, 0.16) * relief)
    mask = np.zeros(shape, bool)
    for _ in range(rng.poisson(DENSITY * shape[0] * shape[1] / 64**2)):
        cover, added = _defect(rng.choice(defects), rng)
        cover = put(cover, shape, rng)
        image += cover * (contrast * added)
        mask |= cover > 0.5
    image *= light(shape, rng)
    image += rng.normal(0, 0.02, image.shape)
    return image.clip(0, 1).astype(np.float32), mask[None].astype(np.float32)


def light(shape, rng):
    """Light that falls off to one side: (H, W), 1 in the middle."""
    down = rng.uniform(-0.15, 0.15) * np.linspace(-1, 1, shape[0])
    across = rng.uniform(-0.15, 0.15) * np.linspace(-1, 1, shape[1])
    return 1 + np.add.outer(down, across)


def pattern(name, shape, split, rng):
    """A relief (H, W) of mean about 0 and standard deviation about 1."""
    if name in PHOTOGRAPHS:
        zoom = 1 if max(shape) > 128 else int(rng.integers(1, 3))
        return _crop(photograph(name, split, zoom), shape, rng)
    y, x = np.mgrid[: shape[0], : shape[1]] + rng.uniform(0, 20, (2, 1, 1))
    noise = rng.normal(size=shape)
    if name == "fabric":
        warp, weft = 2 * np.pi / rng.uniform(4, 7, 2)
        over = np.sin(weft * y) > 0
        return np.sin(warp * x) * over + np.sin(weft * y) + 0.3 * noise
    if name == "metal":
        grain = (0.6, rng.uniform(8, 16))[:: rng.choice([-1, 1])]
        return standard(ndimage.gaussian_filter(noise, grain))
    stone = 0
    for sigma in (1, 2.5, 6):
        stone = stone + standard(ndimage.gaussian_filter(noise, sigma))
    return standard(stone)


@functools.cache
def photograph(name, split, zoom):
    """The split's rows of a photograph, standardised, at 1/zoom of its resolution."""
    grey = getattr(photographs, name)()[SPLITS[split]].astype(float)
    return standard(measure.block_reduce(grey, zoom, np.mean))


def _crop(picture, shape, rng):
    """A random crop, mirrored where the picture is too small, perhaps turned over."""
    below = max(0, shape[0] - picture.shape[0])
    beside = max(0, shape[1] - picture.shape[1])
    picture = np.pad(picture, [(0, below), (0, beside)], mode="reflect")
    top = rng.integers(picture.shape[0] - shape[0] + 1)
    left = rng.integers(picture.shape[1] - shape[1] + 1)
    crop = picture[top : top + shape[0], left : left + shape[1]]
    return crop[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]


def _defect(kind, rng):
    """Coverage (PATCH, PATCH) in 0..1 of one defect, and what it adds to the image."""
    strength = rng.uniform(0.25, 0.45)
    if kind == "scratch":
        return _stroke(_bent_line(rng), rng.uniform(2, 3.5)), strength
    if kind == "crack":
        return _stroke(_jagged_line(rng), rng.uniform(2, 3.5)), -strength
    return blob(rng), 0.7 * strength * rng.choice([-1, 1])


# Points of the plane are complex numbers, x + iy, with the patch's centre at 0.
_x = np.arange(PATCH, dtype=np.float32) + 0.5 - PATCH / 2
PLANE = _x[None, :] + 1j * _x[:, None]


def _bent_line(rng):
    """Nine points of a gently bent line through 0."""
    t = np.linspace(-1, 1, 9)
    bend = rng.uniform(-8, 8) * (t**2 - 0.5)
    return (t * rng.uniform(12, 30) + 1j * bend) * np.exp(1j * rng.uniform(0, np.pi))


def _jagged_line(rng):
    """Ten points of a walk about 0 whose direction jumps at every step."""
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.6, 10))
    points = np.cumsum(np.exp(1j * angles) * rng.uniform(3, 5))
    return points - points.mean()


def _stroke(points, width):
    """Coverage of a line of this width (px) through the points, by exact distances."""
    distance = np.full(PLANE.shape, np.inf, np.float32)
    for start, step in zip(points[:-1], np.diff(points)):
        along = (PLANE - start) / step  # real part: 0 at the start, 1 at the end
        nearest = along.real.clip(0, 1)
        distance = np.minimum(distance, abs(along - nearest) * abs(step))
    return (width / 2 + 0.5 - distance).clip(0, 1)


def blob(rng, radius=(5, 10)):
    """Coverage of a round stain with a wavy outline; `radius` is a range in px."""
    angle = np.angle(PLANE)
    waves = sum(
        rng.uniform(-0.5, 0.5) / k * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
        for k in (2, 3, 4, 5)
    )
    return (rng.uniform(*radius) * (1 + waves) + 0.5 - abs(PLANE)).clip(0, 1)


def put(patch, shape, rng):
    """The patch somewhere on an empty sheet (H, W), its centre inside."""
    sheet = np.zeros((shape[0] + PATCH, shape[1] + PATCH), np.float32)
    top, left = rng.integers(shape[0]), rng.integers(shape[1])
    sheet[top : top + PATCH, left : left + PATCH] = patch
    half = PATCH // 2
    return sheet[half:-half, half:-half]


def lit(relief, rng):
    """A picture (3, H, W) of a relief (H, W): colour, contrast, light and noise."""
    colour = rng.uniform(0.3, 0.7) + rng.uniform(-0.08, 0.08, (3, 1, 1))
    image = colour * (1 + rng.uniform(0.12, 0.25) * relief) * light(relief.shape, rng)
    image += rng.normal(0, 0.02, image.shape)
    return image.clip(0, 1).astype(np.float32)


# --- small things -----------------------------------------------------------------


def generator(seed, split, **sizes):
    """The random numbers of a set of pictures: others for each seed, split and size.

    Raises ValueError for an unknown split, and for what is no whole number: a seed from
    0 up, a size from 8 up, any other from 1 up.
    """
    _check("split", [split], tuple(SPLITS))
    whole_number("seed", seed, 0)
    for name, value in sizes.items():
        whole_number(name, value, 8 if name == "size" else 1)
    return np.random.default_rng([seed, list(SPLITS).index(split), *sizes.values()])


def whole_number(name, value, least):
    """Raise ValueError unless a value is a whole number of at least `least`."""
    if not isinstance(value, int | np.integer) or value < least:
        rule = f"at least {least}"
        raise ValueError(f"{name} is {value!r}; it must be a whole number, {rule}")


def _check(what, names, known):
    if not len(names):
        raise ValueError(f"no {what} given; choose from {', '.join(known)}")
    for name in names:
        if name not in known:
            way_out = f"choose from {', '.join(known)}"
            raise ValueError(f"unknown {what} {name!r}; {way_out}")


def standard(a):
    """The array with mean 0 and standard deviation 1."""
    return (a - a.mean()) / a.std()


def tensors(n, make, *arguments):
    """A TensorDataset of n pairs of image and mask, each from `make(*arguments)`."""
    images, masks = [], []
    for _ in range(min(n, LIMIT["most"])):
        image, mask = make(*arguments)
        images.append(torch.from_numpy(image))
        masks.append(torch.from_numpy(mask))
    return _filled(n, torch.stack(images), torch.stack(masks))


def _filled(n, images, masks):
    """A TensorDataset; of n pictures, by repetition, where `first` asked for that."""
    if LIMIT["fill"] and len(images) < n:
        again = torch.arange(n) * len(images) // n
        images, masks = images[again], masks[again]
    return TensorDataset(images, masks)
