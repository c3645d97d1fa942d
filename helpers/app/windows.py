"""Pieces of pictures and volumes at their own scale: random ones, and fixed ones.

A data set's items are image (C, ...) and mask (1, ...), with two axes for pictures and
three for volumes. What is smaller than a piece is continued: a picture mirrored, a
volume with its least value and without a label.
"""

import hashlib
import itertools
import random

import numpy as np
import torch
from torch.utils.data import Dataset

from helpers.app.lines import say
from helpers.metrics import IGNORE

ROOM = 2**30  # bytes of pictures that are kept in memory
LOGITS = 2**25  # numbers of a validation: 128 MiB
MANY = 100  # files whose reading takes a while


class Kept(Dataset):
    """A data set whose items are read once and kept, as bytes where that is exact.

    Those that find no room in memory are read again whenever they are asked for.
    """

    def __init__(self, samples):
        self.samples, self.room, self.items = samples, ROOM, {}

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        """Image and mask, equal to those of the samples."""
        if index in self.items:
            image, mask, kind = self.items[index]
            image = image.float() / 255 if image.dtype == torch.uint8 else image
            return image, mask.to(kind)
        image, mask = self.samples[index]
        small = (255 * image).round().byte()
        packed = small if torch.equal(small.float() / 255, image) else image
        labels = mask.byte()
        size = packed.nbytes + labels.nbytes
        if size <= self.room and torch.equal(labels.to(mask.dtype), mask):
            self.room -= size
            self.items[index] = packed, labels, mask.dtype
        return image, mask


class Crops(Dataset):
    """A random piece of `size` of each of some items, another one at each call.

    It is drawn with torch's random numbers, which a checkpoint keeps.
    """

    def __init__(self, samples, indices, size):
        self.samples, self.indices, self.size = samples, list(indices), tuple(size)

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        """Image (C, *size) and mask (1, *size), drawn anew."""
        image, mask = filled(*self.samples[self.indices[index]], self.size)
        corner = []
        for have, want in zip(image.shape[1:], self.size):
            corner.append(int(torch.randint(have - want + 1, ())))
        return piece(image, corner, self.size), piece(mask, corner, self.size)


class Windows(Dataset):
    """Fixed pieces of `size` that cover some items, or as many as there is room for.

    `maps` is how many numbers a network answers to a pixel. Where all pieces would be
    too many numbers, a lot decides, by `seed`: `all` is how many there were.
    """

    def __init__(self, samples, indices, size, maps, seed):
        self.samples, self.size = samples, tuple(size)
        places = []
        for index in indices:
            image = filled(*samples[index], self.size)[0]
            for corner in corners(image.shape[1:], self.size):
                places.append((index, corner))
        self.all = len(places)
        most = max(1, LOGITS // (maps * int(np.prod(self.size))))
        if most < len(places):
            places = sorted(random.Random(f"windows {seed}").sample(places, most))
        self.places = places

    def __len__(self):
        return len(self.places)

    def __getitem__(self, index):
        """Image (C, *size) and mask (1, *size)."""
        number, corner = self.places[index]
        image, mask = filled(*self.samples[number], self.size)
        return piece(image, corner, self.size), piece(mask, corner, self.size)


def corners(sides, size):
    """First pixels of pieces that cover all; where need be, they overlap."""
    starts = []
    for side, want in zip(sides, size):
        count = -(-side // want)
        starts.append(np.linspace(0, side - want, count).round().astype(int).tolist())
    return list(itertools.product(*starts))


def piece(values, corner, size):
    """A piece of (C, ...), from a corner on."""
    cut = [slice(None)]
    for start, side in zip(corner, size):
        cut.append(slice(start, start + side))
    return values[tuple(cut)]


def filled(image, mask, size):
    """Image and mask, continued at their ends where they are smaller than `size`."""
    pads = [(0, 0)]
    for have, want in zip(image.shape[1:], size):
        pads.append((0, max(0, want - have)))
    if not np.any(pads):
        return image, mask
    if image.ndim == 3:
        return mirrored(image, pads), mirrored(mask, pads)
    void = IGNORE if mask.dtype == torch.int64 else 0
    more = np.pad(image.numpy(), pads, constant_values=image.min().item())
    labels = np.pad(mask.numpy(), pads, constant_values=void)
    return torch.from_numpy(more), torch.from_numpy(labels)


def mirrored(values, pads):
    """The tensor, mirrored at its ends by `pads`: (before, after) of each axis."""
    # NumPy mirrors as often as it takes; torch refuses what is beyond one picture.
    return torch.from_numpy(np.pad(values.numpy(), pads, mode="reflect"))


# --- what is there ----------------------------------------------------------------


def survey(samples, classes):
    """Read all items once: their pixels by class, sizes, and a sum of their contents.

    Returns (counts (N, classes) int64, sizes, sum). `classes` is 1 for masks: counts
    are then those of background and object. What is IGNORE is not counted.
    """
    if len(samples) > MANY:
        say(f"reading {len(samples)} files, once")
    counts, sizes, total = [], [], hashlib.sha256()
    for index in range(len(samples)):
        image, mask = samples[index]
        total.update(np.ascontiguousarray(image.numpy()))
        total.update(mask.byte().numpy())
        labels = mask[mask != IGNORE].long().flatten()
        counts.append(torch.bincount(labels, minlength=max(2, classes)))
        sizes.append(tuple(image.shape[1:]))
    return torch.stack(counts), sizes, total.hexdigest()[:16]


def shares(counts):
    """The share of each class in each picture, of counts (N, classes)."""
    return counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
