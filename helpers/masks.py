"""A mask file as a mask or a label map, by a reading that is stated.

    Binary()                      0/1 or 0/255, as a viewer shows it
    Binary(cut=128)               soft edges, JPEG: object from this value on
    Classes(5)                    class numbers 0 to 4, in grey, palette or 16 bits
    Mapping({0: 0, 100: 1})       these values are these classes
    Mapping({(255, 0, 0): 1})     these colours
    Instances()                   a number or colour for each object: all are object

Each has `read(path, page=None)`, and `of(path, values)` for numbers of any shape, such
as a volume's. A binary mask is float32 (1, H, W) of 0 and 1, a label
map int64 (1, H, W) of class numbers and IGNORE. One reading holds for all files of a
data set. What it does not cover raises a ValueError that lists the values of the file.
"""

from dataclasses import dataclass

import numpy as np
import torch

from helpers.levels import (
    as_colours,
    as_keys,
    brightness,
    colour_counts,
    colours,
    counts,
    exact,
    grey_of,
    middle,
    numbers,
    opaque_colours,
    told,
    ways_out,
    whole_numbers,
)
from helpers.metrics import IGNORE
from helpers.pictures import Refused, decode, finite, palette_of

FEW = 8  # values below the middle: more are a soft edge, not a few classes


@dataclass
class Binary:
    """Object and background. Without `cut`, only 0/1 and 0/255 (16 bits: 0/65535).

    With `cut`, object is where the brightest channel reaches that value. Where only
    the transparency differs, object is what is opaque. A palette goes by what one sees,
    if that is grey, else by its numbers 0 and 1.
    """

    cut: float | None = None

    def __post_init__(self):
        """Raise ValueError for a cut of 0 or less."""
        if self.cut is not None and not self.cut > 0:
            raise ValueError(f"a cut at {self.cut} makes all object: take more than 0")

    def read(self, path, page=None):
        """Mask float32 (1, H, W) of 0 and 1."""
        pixels = decode(path, page)
        levels = brightness(path, pixels, strict=self.cut is None)
        if pixels.doubt and levels.max() == 1:
            raise Refused(
                f"{path} holds only 0 and 1, and {pixels.doubt}: save the original as "
                "an 8-bit PNG"
            )
        return self.of(path, levels)

    def of(self, path, levels):
        """Mask of levels of any shape; `path` is for the error."""
        if levels.dtype == bool:
            levels = 255 * levels.astype(np.uint8)  # as one sees it
        finite(path, levels)
        if self.cut is not None:
            top = levels.max()
            low = self.cut < 1 < top or 1 < self.cut < top / 256
            faint = levels[(levels >= self.cut) & (levels < top / 2)]
            if levels.dtype.kind in "iu" and low and len(np.unique(faint)) > FEW:
                raise Refused(
                    f"{path} holds whole numbers up to {top}, and the cut at "
                    f"{self.cut} is at the foot of its soft edges: state "
                    f"Binary(cut={middle(top)}), or Binary(cut=1) for all above 0, in "
                    "all files"
                )
            if 0 < top < self.cut:
                raise Refused(
                    f"{path} is not empty and nothing in it reaches the cut at "
                    f"{self.cut}, it holds {told(counts(levels))}: state another"
                )
            return as_mask(levels >= self.cut)
        values = set(np.unique(levels).tolist())
        tops = (1, 255, 65535) if levels.dtype.itemsize > 1 else (1, 255)
        for top in tops:
            if values <= {0, top}:
                return as_mask(levels > 0)
        raise Refused(
            f"{path} is no mask of 0/1 or 0/255, it holds {told(counts(levels))}: take "
            f"{ways_out(levels)}"
        )


@dataclass
class Instances:
    """Masks with a number or colour for each object: object is what is not 0."""

    def read(self, path, page=None):
        """Mask float32 (1, H, W) of 0 and 1."""
        pixels = exact(path, decode(path, page))
        if pixels.values.ndim == 3:
            colour = whole_numbers(path, opaque_colours(path, pixels.values))
            return as_mask(colour.any(axis=2))
        return self.of(path, whole_numbers(path, pixels.values))

    def of(self, path, ids):
        """Mask of whole numbers of any shape; `path` is for the error."""
        if ids.min() < 0:
            raise Refused(
                f"{path} holds {told(counts(ids))}: ids are 0 for none, and above"
            )
        return as_mask(ids > 0)


@dataclass
class Classes:
    """Class numbers 0 to `count` - 1, and the value `ignore` (None: there is none)."""

    count: int
    ignore: int | None = IGNORE

    def __post_init__(self):
        """Raise ValueError for one class, or more than labels can tell."""
        if not 2 <= self.count <= IGNORE:
            raise ValueError(
                f"{self.count} classes: there are 2 to {IGNORE}, background included, "
                f"as the label {IGNORE} means: ignore"
            )

    def read(self, path, page=None):
        """Label map int64 (1, H, W)."""
        return self.of(path, numbers(path, decode(path, page)))

    def of(self, path, found):
        """Label map of whole numbers of any shape; `path` is for the error."""
        known = (found >= 0) & (found < self.count)
        ignored = np.zeros_like(known) if self.ignore is None else found == self.ignore
        if not (known | ignored).all():
            raise Refused(
                f"{path} holds {told(counts(found))}, and {self.count} classes are "
                f"numbered 0 to {self.count - 1} (ignored: {self.ignore}): state more "
                "classes, or Mapping({value: class}) for all files"
            )
        if self.count == 2 and ignored.any() and not (found == 1).any():
            raise Refused(
                f"{path} holds {told(counts(found))}: is {self.ignore} the object, or "
                "to be ignored? Take Binary(), or Mapping({0: 0, 1: 1, "
                f"{self.ignore}: {IGNORE}}})"
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
        """Raise ValueError for keys and labels that are none."""
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
            return self.of(path, as_keys(colours(path, pixels)))
        return self.of(path, numbers(path, pixels, shades=False))

    def of(self, path, found):
        """Label map of whole numbers (or keys of colours) of any shape."""
        labels = np.full(found.shape, -1)
        for key, label in self.classes.items():
            value = as_keys(np.array(key)) if isinstance(key, tuple) else key
            labels[found == value] = label
        if (labels < 0).any():
            unknown = counts(found[labels < 0])
            if isinstance(key, tuple):
                unknown = colour_counts(as_colours(found[labels < 0]))
            raise Refused(
                f"{path} holds what the mapping does not: {told(unknown)}. Add it, as "
                f"class {IGNORE} if it is to be ignored"
            )
        return as_labels(labels)


def read_mask(path, reading=None):
    """A mask file by a reading, `Binary()` if none is stated.

    Raises ValueError for a file that cannot be read or is not as the reading says.
    """
    return (reading or Binary()).read(path)


def same_palettes(pairs, reading):
    """ValueError if a reading goes by numbers and the palettes of two masks disagree.

    Programs that number the colours of each file anew make class 1 of another class.
    """
    by_colour = isinstance(reading, Mapping | Instances) or getattr(reading, "cut", 0)
    if by_colour:
        return
    first, known = None, np.zeros((0, 3))
    for _, path in pairs:
        palette = palette_of(path)
        if palette is None:
            continue
        shared = min(len(palette), len(known))
        differ = (palette[:shared] != known[:shared]).any(axis=1)
        if differ.any():
            number = int(differ.argmax())
            colour, other = palette[number].tolist(), known[number].tolist()
            raise Refused(
                f"{path} calls {tuple(colour)} number {number}, {first} calls so "
                f"{tuple(other)}: state colours, Mapping({{(r, g, b): class}}), or "
                "numbers, Mapping({number: class}), for all files"
            )
        if len(palette) > len(known):
            first, known = path, palette


def counted(path):
    """{value: pixels} of a mask file, or {(r, g, b): pixels} of a coloured one.

    A palette counts by its numbers; transparency does not count. Raises ValueError for
    a file that cannot be read.
    """
    values = decode(path).values
    if values.ndim == 3:
        colour = values[..., :1] if values.shape[2] == 2 else values[..., :3]
        values = grey_of(colour)
        if values is None:
            return colour_counts(colour)
    return counts(values)


def as_mask(found):
    """An array of any shape as a mask, float32, with a channel in front."""
    return torch.from_numpy(found.astype(np.float32))[None]


def as_labels(found):
    """An array of any shape as a label map, int64, with a channel in front."""
    return torch.from_numpy(found.astype(np.int64))[None]
