"""Outlines drawn by hand, as label maps: LabelMe's JSON files, and COCO's one file.

Each has its own rule. LabelMe counts from the centre of the first pixel and takes in
the outline (skimage.draw); COCO counts from its corner, and its polygons and run
lengths are drawn by its own code, pycocotools. Later shapes cover earlier ones.
"""

import json
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from skimage import draw

MOST = 254  # 0 is background, and 255 means: ignore


def write_masks(source, out, names):
    """Draw a folder of LabelMe files, or a COCO file, as PNGs of class numbers.

    `names` are those of the classes 1, 2, ... in that order, for all files; 0 is
    background. A mask is named like its picture, a.png for a.jpg, and read by
    `masks.Classes(len(names) + 1)`. Returns the paths. Raises ValueError, before
    anything is written, for a folder `out` that holds something, for a name that is
    empty or comes twice, and for a file that cannot be drawn.
    """
    source, out = Path(source), Path(out)
    if not 1 <= len(names) <= MOST:
        raise ValueError(f"{len(names)} names of classes: give 1 to {MOST}")
    if "" in names or len(set(names)) < len(names):
        raise ValueError(f"names {', '.join(names)}: each must be there, and once")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} holds something already: name a new folder")
    if source.is_dir():
        maps = {}
        for path in sorted(source.glob("*.json")):
            if not path.name.startswith("."):
                maps[path.stem] = labelme(path, names)
    else:
        maps = coco(source, names)
    if not maps:
        raise ValueError(f"{source} holds no JSON file: name the folder that has them")
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


def labelme(path, names):
    """Label map uint8 (H, W) of a LabelMe file: polygons, rectangles and circles.

    Raises ValueError for a file that is none, and for a shape that has no area or no
    name among `names`. Warns of a shape that has no pixel of the picture.
    """
    with laid_out(path, "LabelMe") as content:
        labels = np.zeros((content["imageHeight"], content["imageWidth"]), np.uint8)
        for shape in content["shapes"]:
            number = number_of(shape["label"], names)
            pixels = inside(shape, labels.shape)
            if not len(pixels[0]):
                none_inside(path, f"the shape {shape['label']}", labels.shape)
            labels[pixels] = number
    return labels


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

    Raises ValueError for a file that is none, for a name or an id that comes twice, and
    for an annotation that cannot be drawn. Warns of one that has no pixel.
    """
    maps, pictures, categories = {}, {}, {}
    with laid_out(path, "COCO") as content:
        for category in content["categories"]:
            number, name = category["id"], category["name"]
            if categories.setdefault(number, name) != name:
                raise ValueError(f"two categories have the id {number}: mend one")
        for picture in content["images"]:
            stem = Path(picture["file_name"].replace("\\", "/")).stem  # of Windows, too
            if not stem or stem in maps:
                what = f"two pictures are called {stem}" if stem else "one has no name"
                raise ValueError(f"{what}: rename one")
            if picture["id"] in pictures:
                raise ValueError(f"two pictures have the id {picture['id']}: mend one")
            maps[stem] = np.zeros((picture["height"], picture["width"]), np.uint8)
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
    if isinstance(parts, list) and min(len(part) for part in parts) < 6:
        # pycocotools would take four numbers for a box.
        what = f"{name} has a polygon of less than 3 points"
        raise ValueError(f"{what}: mend or delete it")
    if isinstance(parts, list):
        for part in parts:
            drawable(part, name, size)
    if isinstance(parts, dict):
        counts = parts["counts"]
        if tuple(parts["size"]) != size:
            what = f"{name} is of {tuple(parts['size'])} px (height, width)"
            raise ValueError(f"{what}, its picture of {size}: mend or delete it")
        if isinstance(counts, list) and sum(counts) != size[0] * size[1]:
            what = f"{name} has run lengths of {sum(counts)} px in all"
            raise ValueError(f"{what}, its picture is of {size}: mend or delete it")
    if isinstance(parts, list) or isinstance(parts["counts"], list):
        parts = coco_mask.frPyObjects(parts, *size)
    if isinstance(parts, list):
        parts = coco_mask.merge(parts)
    return coco_mask.decode(parts).astype(bool)


def drawable(numbers, name, size):
    """ValueError for x, y, x, y ... that are no points, or none of this picture."""
    if len(numbers) % 2:
        raise ValueError(f"{name} has an x without its y: mend or delete it")
    for number in numbers:
        if not abs(number) < 10 * max(size):  # NaN, too: drawing it would not end
            what = f"{name} has a point at {number}, far outside of its {size} px"
            raise ValueError(f"{what} (height, width): mend or delete it")


@contextmanager
def laid_out(path, kind):
    """What a JSON file holds; whatever is wrong with it is a ValueError with its name.

    Wrong is also what is found within this block.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error})") from error
    try:
        yield content
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        what = f"{path} is no {kind} file ({type(error).__name__}: {error})"
        raise ValueError(f"{what}: save it anew, or leave it out") from error
    except (ValueError, MemoryError) as error:  # a size that no memory holds
        raise ValueError(f"{path}: {error}") from error


def number_of(name, names):
    """The number of a class by its name; ValueError for one that is not there."""
    if name not in names:
        known = ", ".join(names)
        what = f"it has the class {name!r}, which is not among {known}"
        raise ValueError(f"{what}: add it, or mend the file")
    return list(names).index(name) + 1
