"""Outlines drawn by hand, as label maps: LabelMe's JSON files, and COCO's one file.

Each has its own rule. LabelMe counts from the centre of the first pixel and takes in
the outline (skimage.draw); COCO counts from its corner, and its polygons and run
lengths are drawn by its own code, pycocotools. Later shapes cover earlier ones.
"""

import json
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
    for stem, labels in maps.items():
        paths.append(out / f"{stem}.png")
        Image.fromarray(labels).save(paths[-1])
    return paths


def labelme(path, names):
    """Label map uint8 (H, W) of a LabelMe file: polygons, rectangles and circles."""
    with laid_out(path, "LabelMe") as content:
        labels = np.zeros((content["imageHeight"], content["imageWidth"]), np.uint8)
        for shape in content["shapes"]:
            number = number_of(path, shape["label"], names)
            labels[inside(path, shape, labels.shape)] = number
    return labels


def inside(path, shape, size):
    """Pixels (rows, columns) of one LabelMe shape, cut at the picture's edge."""
    points = np.asarray(shape["points"], float)
    kind = shape.get("shape_type") or "polygon"
    if kind == "circle" and len(points) == 2:
        (x, y), radius = points[0], np.linalg.norm(points[1] - points[0])
        return draw.disk((y, x), radius + 0.5, shape=size)
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    elif kind not in ("polygon", "rectangle") or len(points) < 3:
        raise ValueError(
            f"{path} has a {kind} of {len(points)} points ({shape['label']}): "
            "polygons, rectangles and circles have an area to draw; redraw or delete it"
        )
    return draw.polygon(points[:, 1], points[:, 0], shape=size)


def coco(path, names):
    """{stem of the picture: label map uint8 (H, W)} of a COCO file, all pictures."""
    maps, pictures, categories = {}, {}, {}
    with laid_out(path, "COCO") as content:
        for category in content["categories"]:
            categories[category["id"]] = category["name"]
        for picture in content["images"]:
            stem = Path(picture["file_name"]).stem
            if stem in maps:
                raise ValueError(f"{path} has two pictures {stem}: rename one")
            maps[stem] = np.zeros((picture["height"], picture["width"]), np.uint8)
            pictures[picture["id"]] = stem
        for shape in content["annotations"]:
            image, category = shape["image_id"], shape["category_id"]
            if image not in pictures or category not in categories:
                raise ValueError(
                    f"{path}: annotation {shape.get('id')} names image {image} and "
                    f"category {category}, one of which is not there"
                )
            number = number_of(path, categories[category], names)
            paint(path, maps[pictures[image]], shape, number)
    return maps


def paint(path, labels, shape, number):
    """Give a COCO annotation's pixels a number: its polygons, or its run lengths."""
    parts = shape.get("segmentation")
    if not parts:
        raise ValueError(f"{path}: annotation {shape.get('id')} has no segmentation")
    if isinstance(parts, list) and min(len(part) for part in parts) < 6:
        # pycocotools would take four numbers for a box.
        what = f"{path}: annotation {shape.get('id')} has a polygon of less than"
        raise ValueError(f"{what} 3 points: mend or delete it")
    if isinstance(parts, dict) and tuple(parts["size"]) != labels.shape:
        raise ValueError(
            f"{path}: annotation {shape.get('id')} is of {tuple(parts['size'])} px "
            f"(height, width), its picture of {labels.shape}"
        )
    if isinstance(parts, list) or isinstance(parts["counts"], list):
        parts = coco_mask.frPyObjects(parts, *labels.shape)
    if isinstance(parts, list):
        parts = coco_mask.merge(parts)
    labels[coco_mask.decode(parts).astype(bool)] = number


@contextmanager
def laid_out(path, kind):
    """What a JSON file holds; ValueError if it is not laid out as its kind says."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error})") from error
    try:
        yield content
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        what = f"{path} is no {kind} file ({type(error).__name__}: {error})"
        raise ValueError(f"{what}: save it anew, or leave it out") from error


def number_of(path, name, names):
    """The number of a class by its name."""
    if name not in names:
        known = ", ".join(names)
        raise ValueError(
            f"{path} has the class {name!r}, which is not among {known}: add it, or "
            "mend the file"
        )
    return list(names).index(name) + 1
