"""Pictures and masks from disk: the reader's own folders, and MVTec AD.

Items are `(image, mask)`: image float32 (3, H, W) in 0..1, mask float32 (1, H, W) of
0 and 1. Names, headers and sizes are checked when a data set is made; pixels are
decoded when an item is asked for. Nothing is ever downloaded or written.
"""

import random
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageOps
from torch.utils.data import Dataset, TensorDataset

from helpers.training import batch_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
SPLITS = ("train", "validation", "test")


class ImageMaskFolder(Dataset):
    """A folder of images and a folder of their masks, in the order of their names.

    A mask has its image's stem, or that and `_mask`: a.jpg with a.png or a_mask.png.
    `size`, an int or (height, width), resizes; without it pictures keep their sizes.
    `pairs[i]` are the paths of item i; `read_image`, `read_mask` say how pixels count.

    Raises FileNotFoundError for a folder that is not there; ValueError for an empty
    folder, names that do not pair one to one, a header that cannot be read, a mask of
    another size than its image, and, when an item is asked for, for bad pixels.
    """

    def __init__(self, images, masks, size=None):
        self.size = height_width(size)
        self.pairs = match(Path(images), Path(masks))
        check(self.pairs)

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return load(*self.pairs[index], self.size)


class MVTecAD(Dataset):
    """One category of MVTec AD as supervised data; `size`, `pairs`: ImageMaskFolder.

    In root/category/ are train/good, test/good, test/<defect> and, for its masks,
    ground_truth/<defect>/<stem>_mask.png. As train/ shows no defect, we divide test/:
    of the n images of each defect, and of test/good, max(1, n // 5) go to "validation",
    max(1, 3 * n // 10) to "test", the rest to "train" (all, if n < 3). To "train" we
    add as many images of train/good as it has defects (or all there are). Such scores
    are not those of the data's own, unsupervised benchmark. `seed` alone decides what
    goes where, on every machine. An image without defect has a mask of zeros, and None
    as its path. Raises as ImageMaskFolder does, for all splits at once; ValueError for
    an unknown category or split, and for a defect without ground truth.

    Bergmann, Fauser, Sattlegger, Steger: MVTec AD, CVPR 2019. CC BY-NC-SA 4.0.
    """

    def __init__(self, root, category, split="train", size=None, seed=0):
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is unknown: take one of {some(SPLITS)}.")
        self.size = height_width(size)
        kinds, spare = read_layout(Path(root), category)
        check(sum(kinds.values(), spare))
        self.pairs, defects = [], 0
        for kind, pairs in kinds.items():
            part = divide(pairs, kind, seed)[split]
            self.pairs += part
            defects += len(part) if kind != "good" else 0
        if split == "train":
            self.pairs += shuffled(spare, "train/good", seed)[:defects]

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return load(*self.pairs[index], self.size)


def in_memory(dataset, indices=None):
    """All items of a data set, or some, read (and so checked) once: a TensorDataset."""
    indices = range(len(dataset)) if indices is None else indices
    return TensorDataset(*batch_of(dataset, indices))


# --- From pixels to tensors


def load(image_path, mask_path, size):
    """Image (3, H, W) and mask (1, H, W); a mask path of None means: no foreground."""
    image = read_image(image_path)
    mask = read_mask(mask_path) if mask_path else torch.zeros_like(image[:1])
    if size:
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        # Nearest invents no value between 0 and 1. "nearest-exact" looks at pixel
        # centres, as bilinear does; plain "nearest" would shift the mask.
        mask = F.interpolate(mask[None], size, mode="nearest-exact")[0]
    return image.clamp(0, 1), mask


def read_image(path):
    """float32 (3, H, W) in 0..1: values over the top of their range (255 or 65535).

    Grey and palette become RGB, what is transparent turns white, and EXIF orientation
    is applied. Colour of 16 bits keeps its upper 8 (Pillow reads no more).
    """
    pixels, top = read_pixels(path, "white")
    image = torch.from_numpy(pixels.astype(np.float32) / top)
    return image.permute(2, 0, 1).contiguous()  # else it would pass for channels_last


def read_mask(path):
    """float32 (1, H, W) of 0 and 1, by the brightest channel of each pixel.

    Foreground is what lies above half of the range: 0/255 masks, soft edges and JPEG
    noise all work. Where the highest value is 1, 1 is foreground (a 0/1 mask, common
    with OpenCV, looks black in a viewer). Transparent is background. Raises ValueError
    if the highest value is from 2 to half of the range, if most pixels lie between 10
    and 90 % of it, or if all paint is black.
    """
    pixels, top = read_pixels(path, "black")
    levels = pixels.max(axis=2)
    highest = levels.max()
    problem = None
    if 1 < highest <= top / 2:
        problem = f"its highest value is {highest} (a map of several classes?)"
    elif ((levels > 0.1 * top) & (levels < 0.9 * top)).mean() > 0.5:
        problem = "most of it is grey (a photograph?)"
    elif highest == 0 and np.ptp(read_pixels(path, "white")[0]) > 0:
        problem = "it is black paint on transparent ground"
    if problem:
        way_out = f"Save it with 0 for background and {top} for what is to be found."
        raise ValueError(f"{path} is no mask of 0/1 or 0/{top}: {problem}. {way_out}")
    foreground = levels == 1 if highest == 1 else levels > top / 2
    return torch.from_numpy(foreground.astype(np.float32))[None]


def read_pixels(path, ground):
    """Integers (H, W, 3), upright, on a ground of a colour; the top of their range."""
    with opened(path) as image:
        if "exif" in image.info:  # as in header_size; a TIFF, Pillow turns by itself
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            return np.stack([np.asarray(image)] * 3, axis=2), 65535
        if image.has_transparency_data:
            image = image.convert("RGBA")
            paper = Image.new("RGBA", image.size, ground)
            image = Image.alpha_composite(paper, image)
        return np.asarray(image.convert("RGB")), 255


@contextmanager
def opened(path):
    """The open picture; whatever goes wrong inside becomes one ValueError."""
    try:
        with Image.open(path) as image:
            # Nameless, it is not memory-mapped: Pillow (seen in 13.0) then scrambles a
            # grey uncompressed TIFF that is stored turned.
            image.filename = ""
            yield image
    except Exception as error:  # Pillow raises errors of many kinds
        what = f"{path} cannot be read ({type(error).__name__}: {error})"
        way_out = "replace it by a whole 8-bit PNG, or remove it and its partner"
        raise ValueError(f"{what}: {way_out}.") from error


# --- Checks before anything is decoded


def check(pairs):
    """Refuse, in one ValueError, what the headers of (image, mask) already show."""
    wrong = []
    for image, mask in pairs:
        try:
            height, width = header_size(image)
            h, w = header_size(mask) if mask else (height, width)
        except ValueError as error:
            wrong.append(str(error))
            continue
        if (h, w) != (height, width):
            what = f"{mask} is {h} x {w}, its image {image} is {height} x {width}"
            wrong.append(f"{what} (height x width, after EXIF): make them equal.")
    if wrong:
        raise ValueError(some(wrong, "\n"))


def header_size(path):
    """(height, width) of a picture as it is to be seen, without decoding it."""
    with opened(path) as image:
        mode, (width, height) = image.mode, image.size
        pages = image.n_frames if image.format == "TIFF" else 1
        # A PNG without EXIF, asked for it, would decode all of its pixels.
        exif = image.getexif() if "exif" in image.info else {}
        turned = exif.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)  # by 90 degrees
    if mode in ("I", "F") or pages > 1:
        what = f"{pages} pages" if pages > 1 else "32 bits a value"
        raise ValueError(f"{path} has {what}: save one page of 8 or 16 bits (PNG).")
    return (width, height) if turned else (height, width)


def match(images, masks):
    """[(image path, mask path)] of two folders, in the order of the images' names."""
    if images.resolve() == masks.resolve():
        raise ValueError(f"{images} cannot hold images and masks: use a folder each.")
    pictures, owned = files(images), {}
    for stem, path in files(masks).items():
        # A photograph may itself be called gas_mask.jpg: its full name goes first.
        owner = stem if stem in pictures else stem.removesuffix("_mask")
        owned.setdefault(owner, []).append(path)
    alone, unknown, several, pairs = [], [], [], []
    for stem, path in pictures.items():
        if stem in owned:
            pairs.append((path, owned[stem][0]))
        else:
            alone.append(path)
    for stem, paths in owned.items():
        if stem not in pictures:
            unknown += paths
        if len(paths) > 1:
            several += paths
    found = []
    for what, paths in (
        ("image without mask", alone),
        ("mask without image", unknown),
        ("masks of one image", several),
    ):
        if paths:
            found.append(f"{what}: {some(paths)}")
    if found:
        rule = f"Each a.jpg in {images} has one a.png or a_mask.png in {masks}"
        odd = "; ".join(found)
        raise ValueError(f"{odd}. {rule}: add, rename or remove files.")
    return pairs


def files(folder):
    """{stem: path} of the pictures in a folder, in the order of their names."""
    if not folder.is_dir():
        way_out = "check the path, or unpack the data again"
        raise FileNotFoundError(f"{folder} is not a folder: {way_out}.")
    found, twins = {}, []
    for path in listing(folder):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in found:
            twins += [found[path.stem], path]
        found[path.stem] = path
    if twins:
        rule = "two pictures in a folder must differ in more than their ending"
        names = some(list(dict.fromkeys(twins)))
        raise ValueError(f"same stem: {names}: {rule}. Rename or remove one.")
    if not found:
        raise ValueError(f"{folder} holds no picture: put {some(SUFFIXES, n=9)} there.")
    return found


def read_layout(root, category):
    """({kind: pairs} of test/, pairs of train/good) of a category of MVTec AD."""
    if not root.is_dir():
        page = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
        way_out = f"unpack MVTec AD there ({page}), or correct root"
        raise FileNotFoundError(f"{root} is not a folder: {way_out}.")
    known = []
    for path in listing(root):
        if (path / "test").is_dir():
            known.append(path.name)
    if category not in known:
        there = some(known, n=20) or "none; root is the folder above the category's own"
        raise ValueError(f"{root} has no category {category!r}. There: {there}.")
    tests, truths = root / category / "test", root / category / "ground_truth"
    kinds, unmarked = {}, []
    for path in listing(tests):
        if not path.is_dir() or path.name == "good":
            continue
        if (truths / path.name).is_dir():
            kinds[path.name] = match(path, truths / path.name)
        else:
            unmarked.append(path)
    if unmarked or not kinds:
        lack = f"no ground truth for {some(unmarked)}" if unmarked else "no defect"
        rule = f"each {tests}/<defect> has its masks in {truths}/<defect>"
        raise ValueError(f"{lack}: {rule}. Unpack the data again.")
    kinds["good"] = without_mask(tests / "good")
    return kinds, without_mask(root / category / "train" / "good")


def without_mask(folder):
    """[(image path, None)] of a folder of pictures that show no defect."""
    return [(path, None) for path in files(folder).values()]


# --- Small tools


def listing(folder):
    """What is in a folder, by name; a leading dot marks the system's own files."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(paths, key=lambda path: path.name)


def shuffled(items, key, seed):
    """The items in an order that depends on key and seed alone, on any machine."""
    return random.Random(f"{key} {seed}").sample(items, len(items))


def divide(items, key, seed):
    """{split: items}: a fifth validation, three tenths test, from 3 on one of each."""
    n, items = len(items), shuffled(items, key, seed)
    a, b = (max(1, n // 5), max(1, 3 * n // 10)) if n >= 3 else (0, 0)
    return {"validation": items[:a], "test": items[a : a + b], "train": items[a + b :]}


def height_width(size):
    """(height, width) from None, an int or a pair; ValueError for anything else."""
    pair = size if isinstance(size, (tuple, list)) else (size, size)
    if size is None:
        return None
    good = [n for n in pair if isinstance(n, int) and n > 0]
    if len(pair) != 2 or len(good) != 2:
        raise ValueError(f"size {size!r}: give an int or (height, width), from 1 up.")
    return tuple(pair)


def some(names, between=", ", n=5):
    """The first n names, then how many more: long lists make poor errors."""
    shown = between.join(str(name) for name in names[:n])
    return shown + (f"{between}and {len(names) - n} more" if len(names) > n else "")
