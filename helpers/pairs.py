"""Which mask belongs to which picture, by names and headers: nothing is decoded."""

import unicodedata
import warnings

from helpers.pictures import ENDINGS, header_size, page_count

DRAW = "python -m helpers.app draw"  # outlines as masks
CLUTTER = ("thumbs.db", "desktop.ini")  # what systems leave behind


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
        way_out = "save one page of each, or a mask for each page"
        if others > 1 and count == 1:
            way_out += "; pages that are classes become one page of class numbers"
        raise ValueError(f"{what}: {way_out}.")
    if count > 1 and not stacks:
        raise ValueError(
            f"{image} has {count} pages: save one page of 8 or 16 bits (PNG), or take "
            "each page as a sample (stacks=True)."
        )
    return count


def pages_of(count):
    """So many pages, in words."""
    return f"{count} page" if count == 1 else f"{count} pages"


def match(images, masks, endings=ENDINGS):
    """[(image path, mask path)] of two folders, in the order of the images' names.

    Accents may be spelt as one sign or as two (NFC, NFD): macOS and others differ.
    """
    if images.resolve() == masks.resolve():
        raise ValueError(f"{images} cannot hold images and masks: use a folder each.")
    pictures = files(images, endings)
    owned = by_owner(pictures, files(masks, endings))
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
        a, b = (".jpg", ".png") if endings == ENDINGS else endings[:1] * 2
        rule = f"Each a{a} in {images} has one a{b} or a_mask{b} in {masks}"
        left = left_out(images, endings) + left_out(masks, endings)
        if left:
            found.append(f"not read: {some(left)} (read are {some(endings, n=99)})")
        odd = "; ".join(found)
        raise ValueError(f"{odd}. {rule}: add, rename or remove files.")
    return pairs


def by_owner(pictures, masks):
    """{stem of a picture: paths of its masks}, of two {stem: path}.

    A mask without a picture stays under a stem that no picture has.
    """
    owned = {}
    shorter = [stem.removesuffix("_mask") for stem in masks]
    all_end_so = sorted(shorter) == sorted(pictures)
    for stem, path in masks.items():
        # A photograph may itself be called gas_mask.jpg: its full name goes first.
        alike = stem in pictures and not all_end_so
        owner = stem if alike else stem.removesuffix("_mask")
        owned.setdefault(owner, []).append(path)
    return owned


def files(folder, endings=ENDINGS):
    """{stem: path} of the files with some endings, in the order of their names."""
    if not folder.is_dir():
        way_out = "check the path, or unpack the data again"
        if folder.suffix == ".json":
            way_out = f"draw its polygons as masks first: {DRAW}"
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
    """A name without its ending, if it has one; the accents spelt as one sign each."""
    name = unicodedata.normalize("NFC", path.name)
    for ending in endings:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def instead(folder, endings):
    """What an unhappy folder holds, and what to do."""
    inside = []
    for path in listing(folder):
        name = path.name.lower()
        if name.endswith(".json"):
            return f"draw its JSON polygons as masks first: {DRAW}"
        if name.endswith((".nii", ".nii.gz")) and endings == ENDINGS:
            return "its .nii or .nii.gz (nifti.Volumes) go with such in both folders"
        if path.is_dir():
            inside.append(path.name)
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
    for path in sorted(folder.glob(".*")):  # ._a.png is macOS's, .5mm.png a picture
        if path.name.lower().endswith(endings) and not path.name.startswith("._"):
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


def listing(folder):
    """What is in a folder, by name; a leading dot marks the system's own files."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(paths, key=lambda path: path.name)


def some(names, between=", ", n=5):
    """The first n names, then how many more: long lists make poor errors."""
    shown = between.join(str(name) for name in names[:n])
    return shown + (f"{between}and {len(names) - n} more" if len(names) > n else "")
