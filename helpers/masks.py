"""A mask file as a mask or a label map, by a reading that is stated.

    Binary()                      0/1 or 0/255, as a viewer shows it
    Binary(cut=128)               soft edges, JPEG: object from this value on
    Classes(5)                    class numbers 0 to 4, in grey, palette or 16 bits
    Mapping({0: 0, 100: 1})       these values are these classes
    Mapping({(255, 0, 0): 1})     these colours
    Instances()                   a number or colour for each object: all are object

Each has `read(path, page=None)`. A binary mask is float32 (1, H, W) of 0 and 1, a label
map int64 (1, H, W) of class numbers and IGNORE. One reading holds for all files of a
data set. What it does not cover raises a ValueError that lists the values of the file.
"""

from dataclasses import dataclass

import numpy as np
import torch

from helpers.metrics import IGNORE
from helpers.pictures import TOPS, Pixels, Refused, decode

WAYS_OUT = (
    "Binary(cut=128) for soft edges or JPEG (object from that value on, 1 for all above "
    "0), Classes(K) for class numbers, Mapping({value or colour: class}) for others, "
    "Instances() for a number for each object"
)


@dataclass
class Binary:
    """Object and background. Without `cut`, only 0/1 and 0/255 (16 bits: 0/65535).

    With `cut`, object is where the brightest channel reaches that value. Where only
    the transparency differs, object is what is opaque. A palette goes by what one sees,
    if that is grey, else by its numbers 0 and 1.
    """

    cut: float | None = None

    def __post_init__(self):
        if self.cut is not None and not self.cut > 0:
            raise ValueError(f"a cut at {self.cut} makes all object: take 1 or more")

    def read(self, path, page=None):
        """Mask float32 (1, H, W) of 0 and 1."""
        levels = brightness(path, decode(path, page), strict=self.cut is None)
        if levels.dtype == bool:
            levels = 255 * levels.astype(np.uint8)  # as one sees it
        if self.cut is not None:
            if 0 < levels.max() < self.cut:
                raise Refused(
                    f"{path} is not empty and nothing in it reaches the cut at "
                    f"{self.cut}, it holds {listed(levels)}: state a cut for all files"
                )
            return as_mask(levels >= self.cut)
        values = set(np.unique(levels).tolist())
        tops = (1, 255, 65535) if levels.dtype.itemsize > 1 else (1, 255)
        for top in tops:
            if values <= {0, top}:
                return as_mask(levels > 0)
        raise Refused(
            f"{path} is no mask of 0/1 or 0/255, it holds {listed(levels)}: take "
            f"{WAYS_OUT}"
        )


@dataclass
class Instances:
    """Masks with a number or colour for each object: object is what is not 0."""

    def read(self, path, page=None):
        """Mask float32 (1, H, W) of 0 and 1."""
        pixels = exact(path, decode(path, page))
        if pixels.values.ndim == 3:
            return as_mask(opaque_colours(path, pixels.values).any(axis=2))
        ids = whole_numbers(path, pixels.values)
        if ids.min() < 0:
            raise Refused(f"{path} holds {listed(ids)}: ids are 0 for none, and above")
        return as_mask(ids > 0)


@dataclass
class Classes:
    """Class numbers 0 to `count` - 1, and the value `ignore` (None: there is none)."""

    count: int
    ignore: int | None = IGNORE

    def __post_init__(self):
        if not 2 <= self.count <= IGNORE:
            raise ValueError(
                f"{self.count} classes: there are 2 to {IGNORE}, background included, "
                f"as the label {IGNORE} means: ignore"
            )

    def read(self, path, page=None):
        """Label map int64 (1, H, W)."""
        found = numbers(path, decode(path, page))
        known = (found >= 0) & (found < self.count)
        ignored = np.zeros_like(known) if self.ignore is None else found == self.ignore
        if not (known | ignored).all():
            raise Refused(
                f"{path} holds {listed(found)}, and {self.count} classes are numbered 0 "
                f"to {self.count - 1} (ignored: {self.ignore}): state more classes, or "
                "Mapping({value: class}) for all files"
            )
        if self.count == 2 and ignored.any() and not (found == 1).any():
            raise Refused(
                f"{path} holds {listed(found)}: is {self.ignore} the object, or to be "
                f"ignored? Take Binary(), or Mapping({{0: 0, 1: 1, {self.ignore}: "
                f"{IGNORE}}})"
            )
        return as_labels(np.where(ignored, IGNORE, found))


@dataclass
class Mapping:
    """A stated class for each value, or for each colour (red, green, blue) 0..255.

    Palettes go by their numbers where the keys are values, else by their colours. The
    class IGNORE (255) leaves pixels out of loss and scores.
    """

    classes: dict

    def __post_init__(self):
        colours = [isinstance(key, tuple) for key in self.classes]
        if not colours or any(colours) != all(colours):
            raise ValueError("a mapping has values as its keys, or (r, g, b), not both")
        for key, label in self.classes.items():
            if isinstance(key, tuple) and len(key) != 3:
                raise ValueError(f"{key} is no colour: give (red, green, blue)")
            if not (isinstance(label, int) and 0 <= label <= IGNORE):
                raise ValueError(f"{key} is class {label!r}: take 0 to {IGNORE}")

    @property
    def count(self):
        """Number of classes: one more than the highest."""
        return 1 + max([0, *(k for k in self.classes.values() if k != IGNORE)])

    def read(self, path, page=None):
        """Label map int64 (1, H, W)."""
        pixels = exact(path, decode(path, page))
        if isinstance(next(iter(self.classes)), tuple):
            found = coded(colours(path, pixels))
            table = {int(coded(np.array(k))): c for k, c in self.classes.items()}
        else:
            found, table = numbers(path, pixels, shades=False), self.classes
        labels = np.full(found.shape, -1)
        for value, label in table.items():
            labels[found == value] = label
        if (labels < 0).any():
            unknown = counted(path, page, where=labels < 0)
            raise Refused(
                f"{path} holds what the mapping does not: {told_counts(unknown)}. Add "
                f"it, as class {IGNORE} if it is to be ignored"
            )
        return as_labels(labels)


def read_mask(path, reading=None, page=None):
    """A mask file by a reading, `Binary()` if none is stated."""
    return (reading or Binary()).read(path, page)


def counted(path, page=None, where=None):
    """{value: pixels} of a mask file, or {(r, g, b): pixels} of a coloured one.

    A palette counts by its numbers. `where` (H, W) picks pixels.
    """
    values = decode(path, page).values
    values = values[np.ones(values.shape[:2], bool) if where is None else where]
    if values.ndim == 1:
        found, counts = np.unique(values, return_counts=True)
        return dict(zip(found.tolist(), counts.tolist()))
    channels = 1 if values.shape[1] == 2 else 3
    found, counts = np.unique(values[:, :channels], axis=0, return_counts=True)
    if (found == found[:, :1]).all():
        return dict(zip(found[:, 0].tolist(), counts.tolist()))
    return dict(zip(map(tuple, found.tolist()), counts.tolist()))


# --- from pixels to numbers -------------------------------------------------------


def numbers(path, pixels, shades=True):
    """Class numbers (H, W) int64 of pixels; ValueError for colours and for blurred ones.

    With `shades`, a palette of greys is refused whose greys are other than its numbers.
    """
    pixels = exact(path, pixels)
    if pixels.palette is not None and shades:
        used = np.unique(pixels.values)
        grey = pixels.palette[used, :3]
        if (grey == grey[:, :1]).all() and (grey[:, 0] != used).any():
            pairs = ", ".join(f"{n} is grey {g}" for n, g in zip(used, grey[:, 0]))
            raise Refused(
                f"{path} has a palette of greys ({pairs}): state which counts, by "
                "Mapping({number: class}) or Mapping({(r, g, b): class})"
            )
    values = pixels.values
    if values.ndim == 3:
        values = grey_of(opaque_colours(path, values))
        if values is None:
            raise Refused(
                f"{path} is coloured, it holds {told_counts(counted(path))}: state "
                "Mapping({(r, g, b): class}) for all files, or Instances()"
            )
    return whole_numbers(path, values)


def brightness(path, pixels, strict):
    """The levels (H, W) of a binary mask: grey, brightest channel, or opacity."""
    values = pixels.values
    if pixels.palette is not None:
        used = np.unique(values)
        seen = pixels.palette[used]
        grey = (seen[:, :3] == seen[:, :1]).all() and (seen[:, 3] == 255).all()
        dark_first = seen[0, :3].max() < seen[-1, :3].max() or seen[0, 3] == 0
        if (
            strict
            and not grey
            and set(used) <= {0, 1}
            and (dark_first or len(used) < 2)
        ):
            return values
        values = pixels.palette[values]
    if values.ndim == 2:
        return values
    if values.shape[2] in (2, 4):
        return opacity_or_level(path, values, strict)
    level = grey_of(values)
    if level is None and strict:
        raise Refused(
            f"{path} is coloured, it holds {told_counts(counted(path))}: take {WAYS_OUT}"
        )
    return values.max(axis=2) if level is None else level


def opacity_or_level(path, values, strict):
    """Levels (H, W) of a mask with transparency, where either it or the colour counts.

    What is transparent is background. Where all that is opaque has one colour, object
    is what is opaque.
    """
    alpha, colour = values[..., -1], values[..., :-1]
    if (alpha == TOPS[alpha.dtype.name]).all():
        return brightness(path, Pixels(colour), strict)
    shown = colour[alpha > 0]
    if len(shown) and (shown == shown[0]).all():
        return alpha
    if not len(shown) and (colour == colour[0, 0]).all():
        return alpha
    raise Refused(
        f"{path} differs both in colour and in transparency: save it without "
        "transparency, 0 for background and 255 for the object"
    )


def exact(path, pixels):
    """The pixels; ValueError where a lossy format may have changed the numbers."""
    if pixels.doubt:
        raise Refused(
            f"{path} cannot hold numbers of classes or objects ({pixels.doubt}): save "
            "the original as an 8-bit PNG. A mask of one object: Binary(cut=128)"
        )
    return pixels


def colours(path, pixels):
    """Colours (H, W, 3) of a mask as one sees them; grey has three equal ones."""
    values = pixels.values
    if pixels.palette is not None:
        values = pixels.palette[values]
    if values.ndim == 2:
        values = np.stack([whole_numbers(path, values)] * 3, axis=2)
    values = opaque_colours(path, values)
    return np.broadcast_to(values, (*values.shape[:2], 3))


def opaque_colours(path, values):
    """The colour channels (H, W, C); ValueError if some pixel is transparent."""
    if values.shape[2] == 3:
        return values
    if (values[..., -1] != TOPS[values.dtype.name]).any():
        raise Refused(
            f"{path} has transparent pixels, whose class is not stated: save it without"
        )
    return values[..., :-1]


def grey_of(colour):
    """The one channel (H, W) of colours (H, W, C) whose channels agree, else None."""
    return colour[..., 0] if (colour == colour[..., :1]).all() else None


def whole_numbers(path, values):
    """Values (H, W) as int64; ValueError if some is no whole number."""
    if values.dtype.kind == "f" and not (values == np.round(values)).all():
        raise Refused(
            f"{path} holds {listed(values)}, which are no whole numbers: for one object "
            "take Binary(cut=...)"
        )
    return values.astype(np.int64)


def coded(colour):
    """One number for each colour (..., 3)."""
    colour = colour.astype(np.int64)
    return (colour[..., 0] << 32) + (colour[..., 1] << 16) + colour[..., 2]


def as_mask(found):
    return torch.from_numpy(found.astype(np.float32))[None]


def as_labels(found):
    return torch.from_numpy(found.astype(np.int64))[None]


# --- sentences --------------------------------------------------------------------


def listed(levels):
    """The values of an array and how many pixels have each, in words."""
    values, counts = np.unique(levels, return_counts=True)
    return told_counts(dict(zip(values.tolist(), counts.tolist())))


def told_counts(counts, most=6):
    """{value: pixels} in words, the first few of them."""
    parts = []
    for value in list(counts)[:most]:
        parts.append(f"{value} ({counts[value]} px)")
    rest = f" and {len(counts) - most} more" if len(counts) > most else ""
    noun = "value" if len(counts) == 1 else "values"
    return f"{len(counts)} {noun}: {', '.join(parts)}{rest}"
