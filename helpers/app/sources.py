"""From the settings to pictures: which are read, how, and which are for validation."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import ConcatDataset, Dataset

from helpers import data, folders, masks, nifti, probes
from helpers.app.settings import CROP, CROP_3D, DRAWN_SIDE, all_sides, table
from helpers.metrics import IGNORE
from helpers.pairs import listing, some, stem_of
from helpers.pictures import ENDINGS

DRAWN = dict(surfaces=data.surfaces, lattices=probes.lattices)
DRAWN["camouflage"] = probes.camouflage


@dataclass
class Reading:
    """How masks are read, in how many classes, and what these are called and look like.

    `count` is 1 for a mask of one object. `names` and `colours` have one entry a class
    (for a mask of one object, background and object).
    """

    how: object
    count: int
    names: list
    colours: list


@dataclass
class Source:
    """Pictures with their masks: `samples`, and what is known of each without decoding.

    `names` are those of the pictures, `groups` what each shows, `files` their paths
    (None for what is drawn). `train` and `validation` are indices. `size` is that of a
    crop, or what pictures are resized to (`resized`). `skipped`: what was not read.
    """

    samples: Dataset
    names: list
    groups: list
    files: list
    train: list
    validation: list
    size: tuple
    cropped: bool
    skipped: list


# --- how masks are read -----------------------------------------------------------


def reading(args):
    """The Reading that --classes, --colours, --instances and --cut state.

    Raises ValueError for two of them, and for a file or a number that is none.
    """
    how, stated = masks.Binary(args.cut), []  # or refuse the cut
    for name in ("colours", "instances", "cut"):
        if getattr(args, name):
            stated.append(f"--{name}")
    if len(stated) > 1 or (stated and (args.classes or 1) > 1):
        stated += ["--classes"] if args.classes else []
        raise ValueError(f"{' and '.join(stated)} read masks in two ways: take one")
    if args.colours:
        return from_colours(args.colours)
    if (args.classes or 1) > 1:
        names = [f"class {k}" for k in range(args.classes)]
        return Reading(masks.Classes(args.classes), args.classes, names, shades(names))
    if args.instances:
        how = masks.Instances()
    return Reading(how, 1, ["background", "object"], [(0, 0, 0), (255, 255, 255)])


def from_colours(path):
    """The Reading of a file that names classes: background = [0, 0, 0], crack = ...

    Classes are numbered in the order of the file, `ignore` is what does not count. A
    value is a colour (red, green, blue), a grey value or a number, or a list of such.
    Raises ValueError for any other file, for a value that comes twice, and for less
    than two classes or more than labels can tell.
    """
    content, mapping, names, colours = table(path), {}, [], []
    for name, value in content.items():
        label = IGNORE
        keys = keys_of(path, name, value)
        if name != "ignore":
            label = len(names)
            names.append(name)
            colours.append(keys[0])
        for key in keys:
            if key in mapping:
                raise ValueError(f"{path} names {key} twice, again as {name}")
            mapping[key] = label
    if not 2 <= len(names) <= IGNORE:
        rule = f"at least two are needed, and {IGNORE} is the most: label {IGNORE} "
        rule += "means ignore"
        raise ValueError(f"{path} names {len(names)} classes: {rule}")
    how = masks.Mapping(mapping)  # or refuse values beside colours
    if isinstance(colours[0], tuple):
        colours = of_8_bits(colours)
    else:
        colours = shades(names)
    return Reading(how, len(names), names, colours)


def of_8_bits(colours):
    """Colours as a PNG shows them: those of 16 bits are divided by 256."""
    if max(map(max, colours)) <= 255:
        return colours
    found = []
    for colour in colours:
        found.append(tuple(min(value >> 8, 255) for value in colour))
    return found


def keys_of(path, name, value):
    """Values or colours of one line of that file: a list of ints or of tuples.

    Raises ValueError for anything else.
    """
    nested = isinstance(value, list) and value and isinstance(value[0], list)
    several = value if nested else [value]
    keys = []
    for each in several:
        if isinstance(each, list):
            each = tuple(each)
        is_colour = isinstance(each, tuple)
        numbers = each if is_colour else (each,)
        right = all(type(n) is int for n in numbers)
        if is_colour and right:
            right = len(numbers) == 3 and min(numbers) >= 0
        if not right:
            raise ValueError(
                f"{path}: {name} is {value}; give a colour as in {name} = [255, 0, 0], "
                f"a value as in {name} = 100, or a list of colours"
            )
        keys.append(each)
    return keys


def shades(names):
    """A colour for each class: black, then Matplotlib's tab20, strong ones first."""
    from matplotlib import colormaps

    colours = [(0, 0, 0)]
    for k in range(len(names) - 1):
        number = 2 * k % 20 + k // 10 % 2
        red, green, blue = colormaps["tab20"](number, bytes=True)[:3]
        colours.append((int(red), int(green), int(blue)))
    return colours


# --- which pictures ---------------------------------------------------------------


def read(args, how, fold=None):
    """The Source that the settings name; headers are checked, no pixel is decoded.

    With --folds, `fold` (from 0) is the part that validates.
    """
    if args.drawn:
        return drawn(args)
    if args.mvtec:
        return of_mvtec(args)
    source = from_folders(args, how)
    if args.folds:
        split = folded(source.groups, args.folds, fold, args.split_seed)
    else:
        split = divided(source.groups, args.validation, args.split_seed)
    source.train, source.validation = split
    return source


def from_folders(args, how):
    """The Source of --images and --masks, not yet divided.

    Raises FileNotFoundError or ValueError for folders whose headers do not fit.
    """
    if holds_volumes(args.images):
        at_own_scale(args)
        samples = nifti.Volumes(args.images, args.masks, how.how)
        size = all_sides("crop", args.crop or (int(CROP_3D),), 3)
    else:
        size = all_sides("crop", args.crop or args.size or (int(CROP),), 2)
        samples = folders.ImageMaskFolder(
            args.images, args.masks, size if args.size else None, how.how,
            args.span and tuple(args.span), args.stacks,
        )  # fmt: skip
    names, files = names_of(samples)
    groups = grouped(names, files, args.group)
    cropped = not args.size
    return Source(samples, names, groups, files, [], [], size, cropped, samples.skipped)


def at_own_scale(args):
    """ValueError for options that volumes do not take."""
    if getattr(args, "size", None) or args.stacks or args.span:
        raise ValueError("volumes keep their scale: no --size, --stacks or --span")


def names_of(samples):
    """Names and files of the pictures (or volumes) of a folder, one for each sample."""
    names, files = [], []
    pages = getattr(samples, "pages", [None] * len(samples))
    for (image, _), page in zip(samples.pairs, pages):
        names.append(of_page(name_of(image), page))
        files.append(image)
    return names, files


def of_page(name, page):
    """What a page of a file is called, counted from 1; without pages, the file."""
    return name if page is None else f"{name}_page{page + 1}"


def of_mvtec(args):
    """The Source of a category of MVTec AD, divided as folders.MVTecAD divides it.

    Raises ValueError for so few pictures that none would validate.
    """
    root, category, seed = args.mvtec, args.category, args.split_seed
    size = all_sides("crop", args.crop or args.size or (int(CROP),), 2)
    resized = size if args.size else None
    first = folders.MVTecAD(root, category, "train", resized, seed)
    second = folders.MVTecAD(root, category, "validation", resized, seed)
    files, names = [], []
    for image, _ in first.pairs + second.pairs:
        files.append(image)
        place = image.relative_to(Path(root) / category)  # test/good/001
        names.append(place.with_suffix("").as_posix())
    both, n = ConcatDataset([first, second]), len(first)
    train, validation = list(range(n)), list(range(n, len(both)))
    if not validation:
        raise ValueError(
            f"{category} has less than 3 pictures of each kind: none validates"
        )
    return Source(both, names, names, files, train, validation, size, not args.size, [])


def drawn(args):
    """The Source of pictures that the book draws; ValueError for uneven sides."""
    side, *others = args.size or (int(DRAWN_SIDE),)
    if others and others != [side]:
        raise ValueError(f"drawn pictures are square: --size {side}")
    draw, seed = DRAWN[args.drawn], args.split_seed
    n, few = args.pictures, max(1, args.pictures // 4)
    first = draw(n, size=side, seed=seed)
    second = draw(few, size=side, seed=seed, split="validation")
    names = [f"drawn {k}" for k in range(n + few)]
    train, validation = list(range(n)), list(range(n, n + few))
    both = ConcatDataset([first, second])
    files = [None] * len(both)
    return Source(both, names, names, files, train, validation, (side,) * 2, False, [])


def holds_volumes(folder):
    """Whether a folder holds NIfTI files and no picture; both is refused."""
    folder = Path(folder)
    if not folder.is_dir():
        return False  # who reads it says so
    names = [path.name.lower() for path in listing(folder) if path.is_file()]
    volumes = any(name.endswith(nifti.ENDINGS) for name in names)
    if volumes and any(name.endswith(ENDINGS) for name in names):
        raise ValueError(f"{folder} holds NIfTI volumes and pictures: part them")
    return volumes


def name_of(path):
    """The name of a picture or a volume without its ending, which may be .nii.gz."""
    return stem_of(path, ENDINGS + nifti.ENDINGS)


# --- which validate ---------------------------------------------------------------


def grouped(names, files, group):
    """What each picture shows: by a pattern of its name, or a table (name, group).

    Without `group` each file is by itself; its pages stay together. Raises ValueError
    for what is no pattern or no table, and for pictures that it says nothing of.
    """
    if group is None:
        return [file.name for file in files]
    if group.lower().endswith(".csv"):
        known = group_table(group)
        groups, rule = [], f"a line in {group}"
        for name, file in zip(names, files):  # a page goes with its file
            groups.append(known.get(name) or known.get(name_of(file)))
    else:
        try:
            pattern = re.compile(group)
        except re.error as error:
            raise ValueError(f"--group {group!r} is no pattern ({error})") from error
        if pattern.groups > 1:
            raise ValueError(
                f"--group {group!r} has {pattern.groups} pairs of brackets: keep the "
                "one that counts, and write (?:...) for the others"
            )
        groups, rule = [], f"a name that has {group!r} in it"
        for name in names:
            match = pattern.search(name)
            # Without brackets, the whole of what was found.
            groups.append(match and match.group(1 if pattern.groups else 0))
    lost = []
    for name, found in zip(names, groups):
        if not found:
            lost.append(name)
    if lost:
        raise ValueError(f"{some(lost)}: --group needs {rule} for each picture")
    return groups


def group_table(path):
    """{name of a picture: group} of a CSV file with the columns name and group.

    Names may have an ending or none. Raises ValueError for what is no such table, and
    for a name that it puts in two groups.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    if not rows or not {"name", "group"} <= rows[0].keys():
        raise ValueError(f"{path} needs a first line with the columns name and group")
    known = {}
    for row in rows:
        # Spreadsheets leave blanks behind, which would make another object.
        name, group = (row["name"] or "").strip(), (row["group"] or "").strip()
        name = name_of(Path(name))
        if known.setdefault(name, group) != group:
            two = f"{known[name]} and {group}"
            raise ValueError(f"{path} puts {name} in two groups, {two}: keep one")
    return known


def divided(groups, share, seed):
    """Indices in two lists: to train on, and a share of the groups to validate.

    Raises ValueError where there are less than two groups.
    """
    order = in_random_order(groups, seed)
    if len(order) < 2:
        one = "1 object (or picture) with its mask"
        raise ValueError(f"{one}: validation needs a second one")
    few = min(max(1, round(share * len(order))), len(order) - 1)
    return parted(groups, order[:few])


def folded(groups, folds, fold, seed):
    """Indices to train on, and those of one of the folds; no group is in two folds.

    Raises ValueError where there are fewer groups than folds.
    """
    order = in_random_order(groups, seed)
    if len(order) < folds:
        raise ValueError(
            f"--folds {folds} needs as many objects (or pictures), here {len(order)}"
        )
    return parted(groups, order[fold::folds])


def in_random_order(groups, seed):
    """The different groups in an order that their names and the seed decide."""
    return folders.shuffled(sorted(set(groups)), "validation", seed)


def parted(groups, few):
    """Indices of all other groups, and of those few."""
    train, validation, few = [], [], set(few)
    for index, group in enumerate(groups):
        if group in few:
            validation.append(index)
        else:
            train.append(index)
    return train, validation
