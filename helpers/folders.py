"""Pictures and masks from disk: the reader's own folders, and MVTec AD.

Items are `(image, mask)`: image float32 (3, H, W) in 0..1, and what the stated reading
makes of the mask: float32 (1, H, W) of 0 and 1, or a label map int64 (1, H, W). Names,
headers and sizes are checked when a data set is made; pixels are decoded when an item
is asked for. Nothing is ever downloaded or written.
"""

import random
import unicodedata
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import Dataset, TensorDataset

from helpers.masks import Binary, read_mask, same_palettes
from helpers.pictures import ENDINGS, header_size, page_count, read_image
from helpers.training import batch_of

SPLITS = ("train", "validation", "test")
CLUTTER = ("thumbs.db", "desktop.ini")  # what systems leave behind


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
        same_palettes([mask for _, mask in pairs], self.reading)
        self.skipped = left_out(images) + left_out(masks)
        tell_skipped(self.skipped)

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        (image_path, mask_path), page = self.pairs[index], self.pages[index]
        image = read_image(image_path, page, self.span)
        mask = self.reading.read(mask_path, page)
        if image.shape[1:] != mask.shape[1:]:
            raise ValueError(
                f"page {page + 1} of {mask_path} is {tuple(mask.shape[1:])} px, of "
                f"{image_path} {tuple(image.shape[1:])}: make them equal."
            )
        return fitted(image, mask, self.size)


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
        image, mask = self.pairs[index]
        image = read_image(image)
        mask = read_mask(mask) if mask else torch.zeros_like(image[:1])
        return fitted(image, mask, self.size)


def in_memory(dataset, indices=None):
    """All items of a data set, or some, read (and so checked) once: a TensorDataset."""
    indices = range(len(dataset)) if indices is None else indices
    if not len(indices):
        raise ValueError("no picture is left in this part: give more, 3 of each kind")
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


# --- Checks before anything is decoded


def check(pairs, stacks=False):
    """(pairs, pages) of the samples in (image, mask) files, or one ValueError.

    It tells at once of all files what their headers show: broken, of other sizes, of
    several pages. With `stacks`, a pair of n pages each is n samples.
    """
    wrong, samples, pages = [], [], []
    for image, mask in pairs:
        try:
            count = same_header(image, mask, stacks)
        except ValueError as error:
            wrong.append(str(error))
            continue
        samples += [(image, mask)] * count
        pages += range(count) if count > 1 else [None]
    if wrong:
        raise ValueError(some(wrong, "\n"))
    return samples, pages


def same_header(image, mask, stacks):
    """How many pages an image and its mask have; ValueError where they do not fit."""
    height, width = header_size(image)
    h, w = header_size(mask) if mask else (height, width)
    if (h, w) != (height, width):
        what = f"{mask} is {h} x {w}, its image {image} is {height} x {width}"
        raise ValueError(f"{what} (height x width, after EXIF): make them equal.")
    count = page_count(image)
    others = page_count(mask) if mask else count
    if count != others:
        what = f"{image} has {pages_of(count)}, its mask {mask} {pages_of(others)}"
        raise ValueError(f"{what}: save one page of each, or a mask for each page.")
    if count > 1 and not stacks:
        raise ValueError(
            f"{image} has {count} pages: save one page of 8 or 16 bits (PNG), or take "
            "each page as a sample (stacks=True)."
        )
    return count


def pages_of(count):
    return f"{count} page" if count == 1 else f"{count} pages"


def match(images, masks, endings=ENDINGS):
    """[(image path, mask path)] of two folders, in the order of the images' names.

    Accents may be spelt as one sign or as two (NFC, NFD): macOS and others differ.
    """
    if images.resolve() == masks.resolve():
        raise ValueError(f"{images} cannot hold images and masks: use a folder each.")
    pictures, owned = files(images, endings), {}
    marked = files(masks, endings)
    cut = {stem.removesuffix("_mask") for stem in marked}
    all_end_so = cut == set(pictures) and len(cut) == len(marked)
    for stem, path in marked.items():
        # A photograph may itself be called gas_mask.jpg: its full name goes first.
        alike = stem in pictures and not all_end_so
        owner = stem if alike else stem.removesuffix("_mask")
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
        left = left_out(images, endings) + left_out(masks, endings)
        if left:
            found.append(f"not read: {some(left)} (read are {some(endings, n=99)})")
        odd = "; ".join(found)
        raise ValueError(f"{odd}. {rule}: add, rename or remove files.")
    return pairs


def files(folder, endings=ENDINGS):
    """{stem: path} of the files with some endings, in the order of their names."""
    if not folder.is_dir():
        way_out = "check the path, or unpack the data again"
        if folder.suffix == ".json":
            way_out = "draw its polygons as masks first, with polygons.write_masks"
        raise FileNotFoundError(f"{folder} is not a folder: {way_out}.")
    found, twins = {}, []
    for path in listing(folder):
        if not path.name.lower().endswith(endings) or path.is_dir():
            continue
        stem = stem_of(path, endings)
        if stem in found:
            twins += [found[stem], path]
        found[stem] = path
    if twins:
        rule = "two pictures in a folder must differ in more than their ending"
        names = some(list(dict.fromkeys(twins)))
        raise ValueError(f"same stem: {names}: {rule}. Rename or remove one.")
    if not found:
        what = "picture" if endings == ENDINGS else f"{endings[0]} file"
        raise ValueError(f"{folder} holds no {what}: {instead(folder, endings)}.")
    return found


def stem_of(path, endings):
    """A name without its ending, the accents spelt as one sign each."""
    for ending in endings:
        if path.name.lower().endswith(ending):
            return unicodedata.normalize("NFC", path.name[: -len(ending)])


def instead(folder, endings):
    """What an unhappy folder holds, and what to do."""
    names = [path.name.lower() for path in listing(folder)]
    if any(name.endswith(".json") for name in names):
        return "draw its JSON polygons as masks first, with polygons.write_masks"
    if endings == ENDINGS and any(n.endswith((".nii", ".nii.gz")) for n in names):
        return "its NIfTI volumes (.nii, .nii.gz) are read by nifti.Volumes"
    inside = [path.name for path in listing(folder) if path.is_dir()]
    if inside:
        return f"name one of its sub-folders: {some(inside)}"
    return f"put {some(endings, n=99)} there"


def left_out(folder, endings=ENDINGS):
    """Files and sub-folders of a folder that are not read, but for system clutter."""
    skipped = []
    for path in listing(folder):
        is_picture = path.name.lower().endswith(endings) and not path.is_dir()
        is_empty = path.is_dir() and not listing(path)
        if not is_picture and not is_empty and path.name.lower() not in CLUTTER:
            skipped.append(path)
    return skipped


def tell_skipped(paths):
    """Warn of what is not read: how many, and their names."""
    if paths:
        told = "file or folder is" if len(paths) == 1 else "files or folders are"
        rule = "only pictures directly in the two folders are"
        warnings.warn(
            f"{len(paths)} {told} not read: {some(paths)}; {rule}", stacklevel=3
        )


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
