"""From the pixels of a mask file to numbers, levels or colours, and what they are.

Each function takes the path for its error: a ValueError that says why these pixels
have no such meaning, and the way out.
"""

import numpy as np

from helpers.pictures import TOPS, Pixels, Refused, finite


def ways_out(values):
    """The readings to choose from, in words, with a cut that the values reach."""
    cut = f"Binary(cut={middle(values.max())})"
    cut += " for soft edges or JPEG (object from that value on, from 1: all above 0)"
    if values.dtype.kind == "f":
        cut = f"{halfway(values)} (object from that value on)"
    return (
        f"{cut}, Classes(K) for class numbers, Mapping({{value or colour: class}}), or "
        "Instances() for a number for each object"
    )


def middle(top):
    """Half of the range of whole numbers up to `top`: 128 of 8 bits, 32768 of 16."""
    return 128 if top <= 255 else 1 << (int(top).bit_length() - 1)


def halfway(values):
    """A cut at half of the highest of some floats, as one states it."""
    return f"Binary(cut={values.max() / 2:.3g})"


def numbers(path, pixels, shades=True):
    """Class numbers (H, W) int64 of pixels; ValueError for colours and blurred ones.

    With `shades`, a palette of greys is refused whose greys are not its numbers.
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
        coloured = opaque_colours(path, values)
        values = grey_of(coloured)
        if values is None:
            raise Refused(
                f"{path} is coloured, it holds {told(colour_counts(coloured))}: state "
                "Mapping({(r, g, b): class}) for all files, or Instances()"
            )
    return whole_numbers(path, values)


def brightness(path, pixels, strict):
    """The levels (H, W) of a binary mask: grey, brightest channel, or opacity."""
    values = pixels.values
    finite(path, values)
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
            f"{path} is no mask of 0/1 or 0/255, it holds "
            f"{told(colour_counts(values))}: take {ways_out(values)}"
        )
    return values.max(axis=2) if level is None else level


def opacity_or_level(path, values, strict):
    """Levels (H, W) of a mask with transparency, where either it or the colour counts.

    What is transparent is background. Where all that is opaque has one colour, object
    is what is opaque.
    """
    alpha, colour = values[..., -1], values[..., :-1]
    if (alpha == opaque_level(path, alpha)).all():
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
        values = np.stack([values] * 3, axis=2)
    values = whole_numbers(path, opaque_colours(path, values))
    return np.broadcast_to(values, (*values.shape[:2], 3))


def opaque_colours(path, values):
    """The colour channels (H, W, C); ValueError if some pixel is transparent."""
    if values.shape[2] == 3:
        return values
    if (values[..., -1] != opaque_level(path, values)).any():
        raise Refused(
            f"{path} has transparent pixels, whose class is not stated: save it without"
        )
    return values[..., :-1]


def opaque_level(path, values):
    """The number that means opaque; ValueError for a type that has none."""
    kind = values.dtype.name
    if kind not in TOPS:
        raise Refused(f"{path} has transparency of {kind}: save it as an 8-bit PNG")
    return TOPS[kind]


def grey_of(colour):
    """The one channel (H, W) of colours (H, W, C) whose channels agree, else None."""
    return colour[..., 0] if (colour == colour[..., :1]).all() else None


def whole_numbers(path, values):
    """Values of any shape as int64; ValueError if some is no whole number."""
    finite(path, values)
    if values.dtype.kind == "f" and not (values == np.round(values)).all():
        raise Refused(
            f"{path} holds {told(counts(values))}, which are no whole numbers: for one "
            f"object take {halfway(values)}"
        )
    return values.astype(np.int64)


def as_keys(colour):
    """One number for each colour (..., 3)."""
    colour = colour.astype(np.int64)
    return (colour[..., 0] << 32) + (colour[..., 1] << 16) + colour[..., 2]


def as_colours(keys):
    """The colours (N, 3) of such numbers."""
    return np.stack([keys >> 32, keys >> 16 & 65535, keys & 65535], axis=1)


# --- what is there ----------------------------------------------------------------


def counts(values):
    """{value: pixels} of numbers of any shape."""
    found, many = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), many.tolist()))


def colour_counts(colour):
    """{(r, g, b): pixels} of colours (..., 3)."""
    found, many = np.unique(colour.reshape(-1, 3), axis=0, return_counts=True)
    return dict(zip(map(tuple, found.tolist()), many.tolist()))


def told(counted, most=6):
    """{value: pixels} in words, the commonest of them."""
    parts = []
    for value in sorted(counted, key=counted.get, reverse=True)[:most]:
        parts.append(f"{value} ({counted[value]} px)")
    rest = f" and {len(counted) - most} more" if len(counted) > most else ""
    noun = "value" if len(counted) == 1 else "values"
    return f"{len(counted)} {noun}: {', '.join(parts)}{rest}"
