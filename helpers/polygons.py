"""Outlines drawn by hand, as label maps: LabelMe's JSON files, and COCO's one file.

Each has its own rule. LabelMe counts from the centre of the first pixel and takes in
the outline (skimage.draw); COCO counts from its corner, and its polygons and run
lengths are drawn by its own code, pycocotools. Later shapes cover earlier ones.
"""

import json
import unicodedata
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from skimage import draw

from helpers.pairs import DRAW, files, left_out, some

MOST = 254  # 0 is background, and 255 means: ignore


def write_masks(source, out, names):
    """Draw a folder of LabelMe files, or a COCO file, as PNGs of class numbers.

    `names` are those of the classes 1, 2, ... in that order, for all files; 0 is
    background. A mask is named like its picture, a.png for a.jpg, and read by
    `masks.Classes(len(names) + 1)`. Returns the paths. Raises ValueError, before
    anything is written, for a folder `out` that holds something, for a name that is
    empty or comes twice, for a file that cannot be drawn, and for two pictures whose
    masks would be one file. Warns of what lies in the folder and is not drawn.
    """
    source, out = Path(source), Path(out)
    names = [plain(name) for name in names]
    if not 1 <= len(names) <= MOST:
        raise ValueError(f"{len(names)} names of classes: give 1 to {MOST}")
    if "" in names or len(set(names)) < len(names):
        raise ValueError(f"names {', '.join(names)}: each must be there, and once")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} holds something already: name a new folder")
    maps = folder(source, names) if source.is_dir() else coco(source, names)
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    try:
        for stem, labels in maps.items():
            paths.append(out / f"{stem}.png")
            Image.fromarray(labels).save(paths[-1])
    except BaseException:  # half a folder would be in the way of the next try
        for path in paths:
            path.unlink(missing_ok=True)
        raise
    return paths


def folder(source, names):
    """{stem of the picture: label map uint8 (H, W)} of a folder of LabelMe files.

    Raises ValueError for a folder without such files, and for what `labelme` refuses.
    Warns of all else that is there, sub-folders too, but for the files' own pictures.
    """
    maps, taken, skipped = {}, {}, []
    for stem, path in files(source, (".json",)).items():
        own_mask(stem, path, taken)
        maps[stem] = labelme(path, names)
    for path in left_out(source, (".json",)):
        if path.is_dir() or one_spelling(path.stem) not in taken:
            skipped.append(path)
    if skipped:
        warnings.warn(
            f"{len(skipped)} not drawn: {some(skipped)}; only JSON files directly in "
            f"{source} are",
            stacklevel=3,
        )
    return maps


def own_mask(stem, source, taken):
    """Note in `taken` whose mask is stem.png; ValueError where it is another's, too."""
    key = one_spelling(stem)
    if key in taken:
        raise ValueError(
            f"{taken[key]} and {source} would have one mask, {stem}.png (on macOS and "
            "Windows a and A are one name): rename one"
        )
    taken[key] = source


def one_spelling(stem):
    """What a name is on every disk: small letters, accents as one sign each."""
    return unicodedata.normalize("NFC", stem).lower()


def labelme(path, names):
    """Label map uint8 (H, W) of a LabelMe file: polygons, rectangles and circles.

    Raises ValueError for a file that is none, and for a shape that has no area or no
    name among `names`. Warns of a shape that has no pixel of the picture.
    """
    with json_of(path, "LabelMe") as content:
        labels = background(content["imageHeight"], content["imageWidth"])
        for shape in content["shapes"]:
            number = number_of(shape["label"], names)
            pixels = inside(shape, labels.shape)
            if not len(pixels[0]):
                none_inside(path, f"the shape {shape['label']}", labels.shape)
            labels[pixels] = number
    return labels


def background(height, width):
    """Zeros uint8 (height, width); ValueError for what is no size of a picture."""
    for side in (height, width):
        if not isinstance(side, int) or side < 1:
            raise ValueError(
                f"a picture is of {height} x {width} px (height, width), and each must "
                "be a whole number from 1 up: mend it, or export anew"
            )
    return np.zeros((height, width), np.uint8)


def none_inside(path, what, size):
    """Warn of a shape that marks no pixel, as those of another scale do."""
    warnings.warn(
        f"{path}: {what} has no pixel within {size[0]} x {size[1]} px (height, width): "
        "is it of another scale?",
        stacklevel=3,
    )


def inside(shape, size):
    """Pixels (rows, columns) of one LabelMe shape, cut at the picture's edge.

    Raises ValueError for a shape that has no area, or a point that is no number.
    """
    points = np.asarray(shape["points"], float)
    if not np.isfinite(points).all():
        raise ValueError(f"a point of {shape['label']} is no number: mend or delete it")
    kind = shape.get("shape_type") or "polygon"
    if kind == "circle" and len(points) == 2:
        (x, y), radius = points[0], np.linalg.norm(points[1] - points[0])
        return draw.disk((y, x), radius + 0.5, shape=size)
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    elif kind not in ("polygon", "rectangle") or len(points) < 3:
        raise ValueError(
            f"it has a {kind} of {len(points)} points ({shape['label']}): polygons, "
            "rectangles and circles have an area to draw; redraw or delete it"
        )
    return draw.polygon(points[:, 1], points[:, 0], shape=size)


def coco(path, names):
    """{stem of the picture: label map uint8 (H, W)} of a COCO file, all pictures.

    Raises ValueError for a file that is none or has no picture, for a name or an id
    that comes twice, and for an annotation that cannot be drawn. Warns of one that has
    no pixel.
    """
    maps, taken, pictures, categories = {}, {}, {}, {}
    with json_of(path, "COCO") as content:
        for category in content["categories"]:
            number, name = category["id"], category["name"]
            if categories.setdefault(number, name) != name:
                raise ValueError(f"two categories have the id {number}: mend one")
        if not content["images"]:
            raise ValueError("its list of images is empty: export it with its pictures")
        for picture in content["images"]:
            name = picture["file_name"]
            stem = Path(name.replace("\\", "/")).stem  # of Windows, too
            if not stem:
                what = f"the picture of id {picture['id']} has no name"
                raise ValueError(f"{what}: write its file_name")
            own_mask(stem, name, taken)
            if picture["id"] in pictures:
                raise ValueError(f"two pictures have the id {picture['id']}: mend one")
            maps[stem] = background(picture["height"], picture["width"])
            pictures[picture["id"]] = stem
        for shape in content["annotations"]:
            image, category = shape["image_id"], shape["category_id"]
            if image not in pictures or category not in categories:
                raise ValueError(
                    f"annotation {shape.get('id')} names image {image} and category "
                    f"{category}, one of which is not there: mend or delete it"
                )
            labels = maps[pictures[image]]
            number = number_of(categories[category], names)
            marked = pixels_of(shape, labels.shape)
            if not marked.any():
                none_inside(path, f"annotation {shape.get('id')}", labels.shape)
            labels[marked] = number
    return maps


def pixels_of(shape, size):
    """The pixels of a COCO annotation, its polygons or its run lengths: bool (H, W).

    Raises ValueError for polygons of less than 3 points or far outside of the picture,
    and for run lengths that do not fill it.
    """
    parts, name = shape.get("segmentation"), f"annotation {shape.get('id')}"
    if not parts:
        raise ValueError(f"{name} has no segmentation: draw or delete it")
    if isinstance(parts, list):
        for part in parts:
            drawable(part, name, size)
    else:
        if tuple(parts["size"]) != size:
            what = f"{name} is of {tuple(parts['size'])} px (height, width)"
            raise ValueError(f"{what}, its picture of {size}: mend or delete it")
        parts = dict(size=size, counts=run_lengths(parts["counts"], name, size))
    parts = coco_mask.frPyObjects(parts, *size)
    if isinstance(parts, list):
        parts = coco_mask.merge(parts)
    return coco_mask.decode(parts).astype(bool)


def run_lengths(counts, name, size):
    """Run lengths, a list or a string of them, as numbers: they fill the picture.

    pycocotools would not ask: what they do not fill, it leaves as memory happens to be.
    Raises ValueError for a number below 0, a broken one, and for another sum.
    """
    if isinstance(counts, str):
        counts = unpacked(counts, name)
    for number in counts:
        if not (number >= 0 and number % 1 == 0):  # NaN and what is infinite, too
            what = f"{name} has a run length of {number}"
            raise ValueError(f"{what}, no whole number from 0 up: mend or delete it")
    if sum(counts) != size[0] * size[1]:
        what = f"{name} has run lengths of {sum(counts)} px in all"
        raise ValueError(f"{what}, its picture is of {size}: mend or delete it")
    return counts


def unpacked(text, name):
    """The run lengths in a string of COCO's, which pycocotools does not hand out.

    Each sign holds five bits, the lowest first, a sixth if the number goes on, and in
    the last the fifth if it is negative. From the fourth on, numbers are differences to
    the last but one. Raises ValueError for other signs, and for a number without end.
    """
    counts, number, shift = [], 0, 0
    for sign in text:
        bits = ord(sign) - 48
        if not 0 <= bits < 64:
            what = f"{name} has run lengths with the sign {sign!r}"
            raise ValueError(f"{what}, which is none of COCO's: mend or delete it")
        number += (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        if len(counts) > 2:
            number += counts[-2]
        counts.append(number)
        number, shift = 0, 0
    if shift:
        raise ValueError(f"{name} has run lengths that are cut off: mend or delete it")
    return counts


def drawable(numbers, name, size):
    """ValueError for x, y, x, y ... that are no polygon, or none of this picture."""
    if len(numbers) < 6:  # pycocotools would take four for a box
        what = f"{name} has a polygon of less than 3 points"
        raise ValueError(f"{what}: mend or delete it")
    if len(numbers) % 2:
        raise ValueError(f"{name} has an x without its y: mend or delete it")
    for number in numbers:
        if not abs(number) < 10 * max(size):  # NaN, too: drawing it would not end
            what = f"{name} has a point at {number}, far outside of its {size} px"
            raise ValueError(f"{what} (height, width): mend or delete it")


@contextmanager
def json_of(path, kind):
    """What a JSON file holds; whatever is wrong with it is a ValueError with its name.

    Wrong is also a file of another `kind`, LabelMe or COCO, and what is found within
    this block.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        what = f"{path} cannot be read as JSON ({error})"
        raise ValueError(f"{what}: export it anew, or check the path") from error
    of_labelme = isinstance(content, dict) and "shapes" in content
    of_coco = isinstance(content, dict) and "images" in content
    if of_labelme and kind != "LabelMe":
        way_out = f"name the folder that has it, `{DRAW} {path.parent} ...`"
        raise ValueError(f"{path} is a LabelMe file: {way_out}")
    if of_coco and kind != "COCO":
        way_out = f"name the file, not its folder, `{DRAW} {path} ...`"
        raise ValueError(f"{path} is a COCO file: {way_out}")
    if not of_labelme and not of_coco:
        raise ValueError(
            f"{path} is no LabelMe file (which has shapes) and none of COCO (which has "
            "images): export as COCO from the program that wrote it, or leave it out"
        )
    try:
        yield content
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        what = f"{path} is no {kind} file ({type(error).__name__}: {error})"
        raise ValueError(f"{what}: save it anew, or leave it out") from error
    except (ValueError, MemoryError) as error:  # a size that no memory holds
        raise ValueError(f"{path}: {error}") from error


def number_of(name, names):
    """The number of a class by its name; ValueError for one that is not there.

    Blanks around a name do not count, nor how its accents are spelt.
    """
    if not isinstance(name, str):
        raise ValueError(f'it has the class {name!r}, which is no text: put it in ""')
    known = [plain(each) for each in names]
    if plain(name) not in known:
        what = f"it has the class {name!r}, which is not among {', '.join(known)}"
        raise ValueError(f"{what}: add it, or mend the file")
    return known.index(plain(name)) + 1


def plain(name):
    """A name as it is compared: without blanks around it, accents as one sign each."""
    return unicodedata.normalize("NFC", name).strip()
