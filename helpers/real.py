"""Six sets of real, annotated pictures, as the book's loop takes them.

`python -m helpers.app.real fetch NAME` puts a set in place, on the reader's order only;
nothing here fetches. `load(NAME)` reads it: pictures that train, validate and test,
divided by group, so that no solar module, examination, street, subject or picture that
was cut into tiles is on two sides. real.toml says where a set comes from and what it
holds, real_sums.txt what each pair of files contains: whatever else lies there is
refused by name.

Images are float32 (3, H, W) in 0..1, a mask of one thing float32 (1, H, W) of 0 and 1,
maps of several classes int64 (1, H, W) with IGNORE. A volume is float32 (1, D, H, W) of
mean 0 and deviation 1. All are kept as bytes and turned to floats when asked for.
"""

import functools
import gzip
import hashlib
import io
import tomllib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import Dataset

from helpers.data import Sets
from helpers.metrics import IGNORE
from helpers.training import main_map

BOOK = Path(__file__).resolve().parents[1]
ROOT = BOOK / "downloads" / "real"
FACTS = tomllib.loads((BOOK / "helpers" / "real.toml").read_text(encoding="utf-8"))
SUMS = BOOK / "helpers" / "real_sums.txt"
# The nuclei are tiles: a line names those that were one picture. How they were found:
# tests/helpers/tiles.py.
CUT = (BOOK / "helpers" / "real_tiles.txt").read_text(encoding="utf-8")
TILES = [line.split() for line in CUT.splitlines()]
AGAIN = "Take it again from its origin"
VOLUME = (48, 64, 48)  # voxels: holds every hippocampus, and divides by 16

# --- which picture is where -------------------------------------------------------

SHARES = dict(validation=0.15, test=0.2)  # of the groups; the rest is for training
STREETS = {
    "train/0001TP": "train",
    "train/0016E5": "train",
    "train/0006R0": "validation",
}
# Given to test and to validate, and yet they go on with a street that trains.
CONTINUED = {"test/0001TP": "test", "val/0016E5": "test"}
BLOCKS = {  # of slices, with a gap of one slice in between
    "slices 0-18": range(19),
    "slices 20-23": range(20, 24),
    "slices 25-29": range(25, 30),
}
PLACES = {  # of a group, a folder or both, where no lot decides
    ("camvid", "group"): STREETS | {"test/Seq05VD": "test"},
    ("camvid", "leaky"): STREETS | CONTINUED,
    ("isbi_em", "group"): dict(zip(BLOCKS, ("train", "validation", "test"))),
    ("pv_el_cells", "given"): dict(train="train", val="validation", testset="test"),
}


def divided(name, split="group"):
    """Names of the pairs of a set: {"train": [...], "validation": ..., "test": ...}.

    "group": no group is in two parts; where no rule of the set says more, the groups
    are put in an order that their names alone decide, and shared out. "given" (of
    pv_el_cells): as its authors divide, though modules are on both sides. "leaky" (of
    camvid): trains as "group" does, tests on frames that go on with a training street.
    """
    fact(name)
    places = PLACES.get((name, split)) or (split == "group" and shared_out(name))
    if not places:
        known = ["group"] + [way for of, way in PLACES if of == name and way != "group"]
        raise ValueError(f"{name} has no split {split!r}; take {' or '.join(known)}")
    parts = dict(train=[], validation=[], test=[])
    for pair in sums(name):
        own, folder = group(name, pair), pair.rpartition("/")[0]
        for key in (own, folder, f"{folder}/{own}"):
            if key in places:
                parts[places[key]].append(pair)
    return parts


def shared_out(name):
    """{group: part}: the groups by the SHA-256 of their names, then cut by SHARES."""
    groups = sorted({group(name, pair) for pair in sums(name)})
    groups.sort(key=lambda each: hashlib.sha256(f"{name} {each}".encode()).digest())
    places = dict.fromkeys(groups, "train")
    start = 0
    for part, share in SHARES.items():
        stop = start + max(1, round(share * len(groups)))
        places.update(dict.fromkeys(groups[start:stop], part))
        start = stop
    return places


def group(name, pair):
    """What a pair must not be parted from: its module, street, examination, block.

    A nucleus picture belongs to the larger one that it was cut from: its first tile.
    """
    stem = pair.rpartition("/")[2]
    if name == "dsb2018":
        return next((tiles[0] for tiles in TILES if stem in tiles), stem)
    if name == "pv_el_cells":
        return stem.rpartition("_")[0]  # EL100_33: cell 33 of module EL100
    if name in ("camvid", "hc18"):
        # 0001TP_006690: a frame of street 0001TP. 609_2HC: of examination 609.
        return stem.partition("_")[0]
    if name == "isbi_em":
        for block, slices in BLOCKS.items():
            if int(stem) in slices:
                return block
        return "gap"
    return pair


# --- what the loop takes ----------------------------------------------------------


@functools.lru_cache(1)
def load(name, split="group"):
    """The Sets of a set of pictures that is in place: three `Pictures`.

    Raises ValueError for an unknown name or split and for a file with other content,
    FileNotFoundError where the set, or a file of it, is not in place.
    """
    parts = divided(name, split)
    if not ready(name) and not DRAWN:
        order = f"python -m helpers.app.real fetch {name}"
        raise FileNotFoundError(f"{ROOT / name} is not there: `{order}` puts it there")
    return Sets(*(Pictures(name, pairs) for pairs in parts.values()))


def ready(name):
    """Whether a set is in place."""
    fact(name)
    return (ROOT / name).is_dir()


@contextmanager
def drawn(most):
    """Within this block a set holds `most` drawn pictures a part, of its own form.

    For checks that need no real picture, and must be quick: fingerprints. After it,
    what was before it counts again: such blocks may lie in one another.
    """
    before = dict(DRAWN)
    DRAWN.update(most=most, volume=(16, 16, 16))
    load.cache_clear()
    try:
        yield
    finally:
        DRAWN.clear()
        DRAWN.update(before)
        load.cache_clear()


DRAWN = {}  # what such a block sets


class Pictures(Dataset):
    """Pairs of a set, in memory: items (image, mask) as the module's docstring says.

    `names[i]` and `groups[i]` belong to item i. `labels[i]` is what the mask is made
    of: classes, or for dsb2018 the number of each nucleus (H, W), 0 between them.
    Pictures keep their sizes; those of hc18 differ by some pixels. `tops[i]` is the
    highest value in the file of image i.
    """

    def __init__(self, name, pairs):
        self.name, self.names = name, list(pairs)[: DRAWN.get("most")]
        self.groups, self.images, self.labels, self.tops = [], [], [], []
        for pair in self.names:
            image, label = noise(name, pair) if DRAWN else read(name, pair, ROOT / name)
            self.groups.append(group(name, pair))
            self.tops.append(float(image.max()))
            self.images.append(torch.tensor(as_image(image)))
            self.labels.append(torch.tensor(as_label(label, FACTS[name])))

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        """Image and mask, of the module's types."""
        image, label = self.images[index], self.labels[index][None]
        if image.dtype == torch.uint8:
            image = (image.float() / 255).expand(3, -1, -1)
        if FACTS[self.name]["kind"] == "classes":
            return image, label.long()
        return image, (label > 0).float()

    def shares(self):
        """Share of each class in all pixels, the ignored ones left out: a list."""
        counts = torch.zeros(256, dtype=torch.long)
        for index in range(len(self)):
            mask = self[index][1].long()
            counts += torch.bincount(mask.flatten(), minlength=256)
        counts = counts[: len(FACTS[self.name]["classes"])]
        return (counts / counts.sum()).tolist()


class Crops(Dataset):
    """`n` square crops of `size` px from a data set of (image, mask), native scale.

    Picture and place of crop i depend on seed and i alone; all pictures, and all places
    in one, are equally likely; with a size of None it is the whole picture. `change`
    makes of a mask what is to be learned. Raises ValueError for too small a picture.
    """

    def __init__(self, pictures, n, size, seed=0, change=None):
        self.pictures, self.n, self.size, self.seed = pictures, n, size, seed
        self.change = change

    def __len__(self):
        return self.n

    @functools.cached_property
    def share(self):
        """Share of foreground in the first 100 crops (of the masks' first channel)."""
        masks = [self[i][1][0] for i in range(min(100, self.n))]
        return (torch.stack(masks) > 0).float().mean().item()

    def __getitem__(self, index):
        """Image and mask of a crop; IndexError outside 0 to n - 1."""
        if not 0 <= index < self.n:
            raise IndexError(f"crop {index} of {self.n}")
        rng = np.random.default_rng([self.seed, index])
        image, mask = self.pictures[int(rng.integers(len(self.pictures)))]
        if self.change:
            mask = self.change(mask)
        height, width = image.shape[-2:]
        if self.size is None:
            return image, mask
        if min(height, width) < self.size:
            raise ValueError(
                f"a crop of {self.size} px does not fit into a picture of {height} x "
                f"{width} px: take a smaller size"
            )
        top = rng.integers(height - self.size + 1)
        left = rng.integers(width - self.size + 1)
        window = (..., slice(top, top + self.size), slice(left, left + self.size))
        return image[window], mask[window]


def answer(net, image, step=32):
    """Logits (K, H, W) of a whole picture (3, H, W) of any size, by a padded network.

    The picture is mirrored to the right and below until `step` divides its sides.
    A volume (1, D, H, W) is taken as it is: `load` has padded it. The network may be on
    a GPU; what it answers comes back.
    """
    height, width = image.shape[-2:]
    pads = [0, -width % step, 0, -height % step]
    image = image.to(next(net.parameters(), image))  # a GPU's, or in double precision
    if image.ndim == 3:
        image = F.pad(image, pads, mode="reflect")
    with torch.no_grad():
        logits = main_map(net.eval()(image[None]))
    return logits[0, ..., :height, :width].cpu()


def as_image(pixels):
    """uint8 (1 or 3, H, W) of a picture; of a volume float32 (1, *VOLUME)."""
    if pixels.ndim == 3 and pixels.shape[2] > 3:
        return padded(normalised(pixels))[None]
    if pixels.ndim == 2:
        return pixels[None]
    grey = (pixels == pixels[..., :1]).all()
    return np.ascontiguousarray(pixels[..., : 1 if grey else 3].transpose(2, 0, 1))


def as_label(pixels, facts):
    """Classes, uint8, or the numbers of instances, int16: (H, W), or *VOLUME."""
    if facts["kind"] == "instances":
        return pixels.astype(np.int16)
    if facts["kind"] == "mask":
        return (pixels == facts["foreground"]).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 3:  # a grey map, saved as RGB
        pixels = pixels[..., 0]
    elif pixels.ndim == 3:
        pixels = padded(pixels)  # with background
    labels = pixels.astype(np.uint8)
    labels[pixels == facts.get("ignore", IGNORE)] = IGNORE
    return labels


def normalised(volume):
    """float32 of mean 0 and deviation 1: scanners have no common unit of brightness."""
    volume = volume.astype(np.float64)
    return ((volume - volume.mean()) / volume.std()).astype(np.float32)


def padded(volume):
    """The volume in the middle of a larger one, zeros around it."""
    pads, room = [], DRAWN.get("volume", VOLUME)
    for size, full in zip(volume.shape, room):
        if size > full:
            raise ValueError(f"a volume of {volume.shape} voxels exceeds {room}")
        pads.append(((full - size) // 2, (full - size + 1) // 2))
    return np.pad(volume, pads)


# --- files, and whether they hold what they should --------------------------------


def fact(name):
    """What real.toml says of a set: a dict. ValueError for an unknown name."""
    if name not in FACTS:
        raise ValueError(f"there is no set {name!r}; there are {', '.join(FACTS)}")
    return FACTS[name]


@functools.cache
def sums(name):
    """{pair: sum} of a set: the first 16 digits of a SHA-256, see `read`."""
    fact(name)
    found = {}
    for line in SUMS.read_text(encoding="utf-8").splitlines():
        path, _, value = line.rpartition(" ")
        folder, _, pair = path.partition("/")
        if folder == name:
            found[pair] = value
    return found


def checksum(name):
    """12 digits for the content of a whole set by its sums, and for its tiles."""
    lines = "\n".join(f"{pair} {value}" for pair, value in sums(name).items())
    if name == "dsb2018":
        lines += CUT
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def paths(name, pair, folder):
    """The files of a pair: image and label."""
    place, _, stem = pair.rpartition("/")
    found = []
    for kind in ("image", "label"):
        found.append(folder / FACTS[name][kind].format(folder=place, stem=stem))
    return found


def read(name, pair, folder):
    """Pixels of image and label, as they are in the files of a folder.

    The sum of a pair is made of the pixels of PNG files, which any program may pack
    anew, and of the bytes of others. Raises FileNotFoundError or ValueError, with the
    file and what is wrong with it.
    """
    total, arrays = hashlib.sha256(), []
    for path in paths(name, pair, folder):
        pixels, content = decode(path)
        arrays.append(pixels)
        total.update(content)
    if total.hexdigest()[:16] != sums(name)[pair]:
        what = difference(fact(name), *arrays)
        files = " or ".join(str(path) for path in paths(name, pair, folder))
        raise ValueError(f"{files} is not what {name} holds: {what}. {AGAIN}")
    return arrays


def decode(path):
    """The pixels of a file, and the bytes that its sum is made of."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. {AGAIN}")
    content = path.read_bytes()
    try:
        if path.name.endswith(".nii.gz"):
            return voxels(content), content
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image)
    except Exception as error:  # Pillow, gzip and nibabel raise errors of many kinds
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged ({reason}). {AGAIN}") from error
    if path.suffix == ".png":
        content = f"{pixels.shape} {pixels.dtype}".encode() + pixels.tobytes()
    return pixels, content


def voxels(content):
    """The array (D, H, W) of a .nii.gz file's bytes, of the type in the file."""
    import nibabel  # here: only this set needs it

    from helpers import nifti

    return nifti.turned(nibabel.Nifti1Image.from_bytes(gzip.decompress(content)))


def noise(name, pair):
    """Random pixels and labels in the form that `read` returns; the same for a pair."""
    facts = fact(name)
    digest = hashlib.sha256(f"{name}/{pair}".encode()).digest()
    rng = np.random.default_rng(list(digest[:8]))
    volume = facts["image"].endswith(".nii.gz")
    blocks = (2, 2, 1) if volume else (16, 16)
    values = facts.get("values", range(5))  # without them: instances
    label, pixels = rng.choice(values, blocks).astype(np.uint8), rng.random(blocks)
    for axis in range(len(blocks)):
        label, pixels = label.repeat(8, axis), pixels.repeat(8, axis)
    pixels = (127 * (pixels + rng.random(pixels.shape))).astype(np.uint8)
    return pixels, label


def difference(facts, image, label):
    """What is wrong with a pair, in words, the most telling first."""
    axes = 3 if facts["image"].endswith(".nii.gz") else 2
    size = list(image.shape[:axes])
    if size != list(label.shape[:axes]):
        return f"the image has {size} px, its label {list(label.shape[:axes])}"
    if size != facts.get("size", size):
        return f"it has {size} px, height first, and not {facts['size']}"
    values = facts.get("values")
    if values and not np.isin(label, values).all():
        other = label[~np.isin(label, values)].flat[0]
        return f"a label is {other}; there are {values}"
    return "the content is another"
