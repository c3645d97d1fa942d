"""From the files of an origin to the files that helpers/real.py reads.

Three sets are kept as given. Three are made smaller, or merged, by one function each,
which takes the folder of the origin and the name of a pair, and returns image and label
as arrays.
"""

import shutil

import numpy as np
from PIL import Image

from helpers import real


def prepare(name, source, out, made):
    """Write the files of a set below `out`; each pair is checked against real_sums.txt.

    `source` is the set's folder in its origin, or with `made` false a folder in which
    all of this has been done before. Raises FileNotFoundError or ValueError, with the
    file, for one that is missing, damaged, or has another size or content.
    """
    make = MADE.get(name) if made else None
    for pair in real.sums(name):
        files = real.paths(name, pair, out)
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
        if not make:
            real.read(name, pair, source)
            for given, file in zip(real.paths(name, pair, source), files):
                shutil.copyfile(given, file)
            continue
        for file, pixels in zip(files, make(source, pair)):
            Image.fromarray(pixels).save(file)
        try:
            real.read(name, pair, out)
        except ValueError as error:
            raise ValueError(f"{pair} of {source}: {error}") from error


def nuclei(source, pair):
    """dsb2018: RGB (H, W, 3), and uint16 (H, W), 0 or the number of a nucleus.

    Nuclei are counted from 1 in the order of their files' names. Raises
    FileNotFoundError or ValueError for a folder that is not as the origin's.
    """
    folders = sorted(source.glob(f"{pair}*"))
    if len(folders) != 1:
        raise ValueError(
            f"{source} has {len(folders)} folders {pair}...: one is needed"
        )
    picture = pixels(folders[0] / "images" / f"{folders[0].name}.png")[..., :3]
    numbers = np.zeros(picture.shape[:2], np.uint16)
    masks = sorted((folders[0] / "masks").glob("*.png"))
    if not masks:
        raise FileNotFoundError(f"{folders[0] / 'masks'} holds no mask of a nucleus")
    for number, path in enumerate(masks, 1):
        mask = pixels(path)
        same_size(path, mask, picture)
        numbers[mask > 0] = number
    return picture, numbers


def head(source, pair):
    """hc18: means of 4 x 4 px, and 255 where half of them or more are head, else 0."""
    path = source / f"{pair}_Annotation.png"
    picture, label = pixels(source / f"{pair}.png"), pixels(path)
    same_size(path, label, picture)
    label = label if label.ndim == 2 else label.max(axis=2)
    known(path, label, (0, 255))
    inside = block_means(label == 255, 4) >= 0.5
    return rounded(block_means(picture, 4)), inside.astype(np.uint8) * 255


def street(source, pair):
    """camvid: means of 2 x 2 px, and the label of every second pixel."""
    image, path = real.paths("camvid", pair, source)
    picture, label = pixels(image), pixels(path)
    same_size(path, label, picture)
    known(path, label, real.FACTS["camvid"]["values"])
    return rounded(block_means(picture, 2)), label[::2, ::2]


MADE = dict(dsb2018=nuclei, hc18=head, camvid=street)


def block_means(pixels, side):
    """Means of side x side px, float64; what is left over at the far edges is cut."""
    height, width = pixels.shape[0] // side, pixels.shape[1] // side
    pixels = pixels[: height * side, : width * side].astype(np.float64)
    blocks = pixels.reshape(height, side, width, side, *pixels.shape[2:])
    return blocks.mean(axis=(1, 3))


def rounded(values):
    """uint8; halves go to the even number, as NumPy rounds."""
    return np.round(values).astype(np.uint8)


# --- what a file must be ----------------------------------------------------------


def pixels(path):
    """The array of a picture; an error that names its file."""
    return real.decode(path)[0]


def same_size(path, label, picture):
    """ValueError unless a label is as large as its picture."""
    if label.shape[:2] != picture.shape[:2]:
        raise ValueError(
            f"{path} is {label.shape[0]} x {label.shape[1]} px, its picture "
            f"{picture.shape[0]} x {picture.shape[1]}: take the origin's tree again"
        )


def known(path, label, values):
    """ValueError for a label that is none of some values."""
    if not np.isin(label, values).all():
        other = label[~np.isin(label, values)].flat[0]
        raise ValueError(f"{path} has the label {other}; there are {list(values)}")
