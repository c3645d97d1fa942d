"""Small trees in the layout of the six real sets, as their origins have them.

`origin(name, folder)` writes one, `write(name, folder)` what is made of it. Both need
`few(monkeypatch, folder)` before, after which the sets have only the pairs of PAIRS.
"""

import hashlib

import nibabel
import numpy as np
from PIL import Image

from helpers import real

PAIRS = dict(
    pv_el_cells=["train/EL1_2", "train/EL2_7", "testset/EL1_3", "val/EL3_1"],
    dsb2018=["0a", "0b", "0c", "0d"],
    hc18=["001_HC", "001_2HC", "002_HC", "003_HC"],
    camvid=["train/0001TP_1", "train/0006R0_1", "test/Seq05VD_1", "test/0001TP_2"],
    hippocampus=["h_001", "h_003", "h_004"],
    isbi_em=["0", "19", "20", "29"],
)
rng = np.random.default_rng(0)


def few(patch, folder):
    """Sets of some pairs, below a folder; their sums are written as they are made."""
    sums = folder / "sums.txt"
    sums.write_text("")
    patch.setattr(real, "SUMS", sums)
    patch.setattr(real, "ROOT", folder / "downloads" / "real")
    smaller = {}
    for name, facts in real.FACTS.items():
        smaller[name] = facts | dict(pairs=len(PAIRS[name]))
        if "size" in facts:
            smaller[name]["size"] = [4, 6]
    patch.setattr(real, "FACTS", smaller)
    real.sums.cache_clear()
    real.load.cache_clear()


def picture(shape=(4, 6, 3)):
    return rng.integers(0, 256, shape, dtype=np.uint8)


def labels(values, shape=(4, 6)):
    """A map in which each value occurs."""
    flat = np.resize(np.array(values, np.uint8), shape)
    return np.ascontiguousarray(flat)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".nii.gz"):
        # In the file x comes first, and runs to the left.
        axes = np.diag([-1, 1, 1, 1])
        nibabel.save(nibabel.Nifti1Image(pixels.T[::-1], axes), path)
    else:
        Image.fromarray(pixels).save(path)
    return path


def volume():
    return rng.integers(0, 1000, (3, 5, 4)).astype(np.float32)


def contents(name):
    """{pair: (image, label)}, as a set in place has them."""
    found = {}
    for pair in PAIRS[name]:
        grey, colour = picture((4, 6)), picture()
        even = np.full((4, 6, 3), 128, np.uint8)  # the grey that JPEG keeps exactly
        found[pair] = {
            "pv_el_cells": (even, np.stack([labels(range(5))] * 3, 2)),
            "dsb2018": (colour, labels([0, 1, 2, 0]).astype(np.uint16)),
            "hc18": (grey, labels([0, 255, 255])),
            "camvid": (colour, labels(range(12))),
            "hippocampus": (volume(), labels([0, 1, 2], (3, 5, 4))),
            "isbi_em": (grey, labels([255, 255, 255, 0])),
        }[name]
    return found


def write(name, folder):
    """A set as it lies in place, with its sums; its contents."""
    found = contents(name)
    for pair, both in found.items():
        for path, pixels in zip(real.paths(name, pair, folder), both):
            save(path, pixels)
        note(name, pair, folder)
    return found


def note(name, pair, folder):
    """Add the sum of a pair: of the pixels of PNG files, of the bytes of others."""
    total = hashlib.sha256()
    for path in real.paths(name, pair, folder):
        if path.suffix == ".png":
            pixels = np.array(Image.open(path))
            total.update(f"{pixels.shape} {pixels.dtype}".encode() + pixels.tobytes())
        else:
            total.update(path.read_bytes())
    with real.SUMS.open("a") as file:
        file.write(f"{name}/{pair} {total.hexdigest()[:16]}\n")
    real.sums.cache_clear()


def origin(name, folder):
    """The set as its origin has it, below a folder; the contents, once prepared."""
    made = {"dsb2018": nuclei, "hc18": heads, "camvid": streets}.get(name)
    root = folder / real.FACTS[name]["folder"]
    if not made:
        return write(name, root)
    found = write(name, folder / "prepared")
    for pair, (image, label) in found.items():
        made(root, pair, image, label)
    return found


def nuclei(root, pair, image, numbers):
    """One PNG a nucleus, and the picture with an alpha channel."""
    whole = f"{pair}ffff"
    opaque = np.full((4, 6, 1), 255, np.uint8)
    save(root / whole / "images" / f"{whole}.png", np.concatenate([image, opaque], 2))
    for number in (1, 2):
        mask = np.where(numbers == number, 255, 0).astype(np.uint8)
        save(root / whole / "masks" / f"m{number}.png", mask)


def heads(root, pair, image, label):
    """Four times as large, the label in RGB."""
    large = np.repeat(np.repeat(label, 4, 0), 4, 1)
    save(root / f"{pair}.png", np.repeat(np.repeat(image, 4, 0), 4, 1))
    save(root / f"{pair}_Annotation.png", np.stack([large] * 3, 2))


def streets(root, pair, image, label):
    """Twice as large."""
    first, second = real.paths("camvid", pair, root)
    save(first, np.repeat(np.repeat(image, 2, 0), 2, 1))
    save(second, np.repeat(np.repeat(label, 2, 0), 2, 1))
