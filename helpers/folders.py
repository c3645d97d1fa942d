"""Pictures and masks from disk: the reader's own folders, and MVTec AD.

Items are `(image, mask)`: image float32 (3, H, W) in 0..1, and what the stated reading
makes of the mask: float32 (1, H, W) of 0 and 1, or a label map int64 (1, H, W). Names,
headers and sizes are checked when a data set is made; pixels are decoded when an item
is asked for. Nothing is ever downloaded or written.
"""

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import Dataset, TensorDataset

from helpers.masks import Binary, read_mask, same_palettes
from helpers.pairs import check, files, left_out, listing, match, some, tell_skipped
from helpers.pictures import read_image
from helpers.training import batch_of

SPLITS = ("train", "validation", "test")


class ImageMaskFolder(Dataset):
    """A folder of images and a folder of their masks, in the order of their names.

    A mask has its image's stem, or that and `_mask`: a.jpg with a.png or a_mask.png.
    `size`, an int or (height, width), resizes; without it pictures keep their sizes.
    `reading` says what a mask's values mean, for all files alike: see helpers/masks.py.
    `span` (low, high): the values that are black and white, see `pictures.read_image`.
    With `stacks`, each page of a TIFF is a sample, else a file of pages is refused.
    `pairs[i]` are the paths of item i, `pages[i]` the page; `skipped` are the files and
    folders that were not read: a warning names them.

    Raises FileNotFoundError for a folder that is not there; ValueError for an empty
    folder, names that do not pair one to one, a header that cannot be read, a mask of
    another size than its image, and, when an item is asked for, for bad pixels.
    """

    def __init__(self, images, masks, size=None, reading=None, span=None, stacks=False):
        self.size, self.span = height_width(size), span
        self.reading = reading or Binary()
        images, masks = Path(images), Path(masks)
        pairs = match(images, masks)
        self.pairs, self.pages = check(pairs, stacks)
        same_palettes(pairs, self.reading)
        self.skipped = left_out(images) + left_out(masks)
        tell_skipped(self.skipped)

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        """Image float32 (3, H, W) and mask (1, H, W), as `reading` makes it."""
        (image_path, mask_path), page = self.pairs[index], self.pages[index]
        pair = read_pair(image_path, mask_path, page, self.span, self.reading)
        return fitted(*pair, self.size)


def read_pair(image_path, mask_path, page, span, reading):
    """Image (3, H, W) and mask (1, H, W) of a page; `page` is None where there is one.

    Raises ValueError for two sizes, and for what the files or the reading refuse.
    """
    image = read_image(image_path, page, span)
    mask = reading.read(mask_path, page)
    if image.shape[1:] != mask.shape[1:]:
        page = "" if page is None else f"page {page + 1} of "
        raise ValueError(
            f"{page}{mask_path} is {tuple(mask.shape[1:])} px, of {image_path} "
            f"{tuple(image.shape[1:])}: make them equal."
        )
    return image, mask


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
        """Image float32 (3, H, W) and mask float32 (1, H, W) of 0 and 1."""
        image, mask = self.pairs[index]
        image = read_image(image)
        mask = read_mask(mask) if mask else torch.zeros_like(image[:1])
        return fitted(image, mask, self.size)


def in_memory(dataset, indices=None):
    """All items of a data set, or some, read (and so checked) once: a TensorDataset.

    Raises ValueError where there is none, or where a file of one is refused.
    """
    indices = range(len(dataset)) if indices is None else indices
    if not len(indices):
        raise ValueError(
            "this part has no picture: give more (to MVTec AD, 3 of a kind)"
        )
    return TensorDataset(*batch_of(dataset, indices))


def fitted(image, mask, size):
    """Image (3, H, W) and mask or label map (1, H, W), resized to (height, width)."""
    if size:
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        # Nearest invents no value between two. "nearest-exact" looks at pixel centres,
        # as bilinear does; plain "nearest" would shift the mask.
        resized = F.interpolate(mask[None].float(), size, mode="nearest-exact")[0]
        mask = resized.to(mask.dtype)
    return image.clamp(0, 1), mask


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
