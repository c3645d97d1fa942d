"""A picture file as numbers: what Pillow reads, and TIFF and 16-bit colour exactly.

`read_image` gives what a network is trained on, `decode` what a file holds. Nothing is
guessed: values that have no range of their own are refused until one is stated.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import torch
from PIL import ExifTags, Image, ImageOps

ENDINGS = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".gif",
    ".webp", ".avif", ".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".jpx", ".tga",
    ".pcx", ".sgi", ".qoi",
)  # fmt: skip
TOPS = {"bool": 1, "uint8": 255, "uint16": 65535, "float16": 1, "float32": 1}
TOPS["float64"] = 1
TIFF_STARTS = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"


class Refused(ValueError):
    """A file that is not read, with the reason and the way out."""


@dataclass
class Pixels:
    """What a file holds: values (H, W), or (H, W, C) with C = 3, or 2 and 4 with alpha.

    `palette` (256, 4): the RGBA colours of the numbers. `doubt` says why the values may
    not be those that were once painted; empty where they are.
    """

    values: np.ndarray
    palette: np.ndarray | None = None
    doubt: str = ""


# --- pictures ---------------------------------------------------------------------


def read_image(path, page=None, span=None):
    """float32 (3, H, W) in 0..1, as a viewer shows it.

    Values go over the top of their range: 255, 65535, or 1 for floats. `span` (low,
    high) states another: these two values become 0 and 1, what lies beyond is clipped.
    Signed and 32-bit integers need it, and so do floats outside of 0..1. Grey and
    palette become RGB, what is transparent turns white, EXIF orientation is applied.
    `page` picks one of a stack. Raises ValueError for a file that it cannot read.
    """
    pixels = decode(path, page)
    values, opaque = pixels.values, 1
    if pixels.palette is not None:
        values = pixels.palette[values]
    if values.ndim == 3 and values.shape[2] in (2, 4):
        opaque = scaled(path, values[..., -1:], None)
        values = values[..., :-1]
    if values.ndim == 2:
        values = values[..., None]
    image = scaled(path, values, span) * opaque + (1 - opaque)  # on white paper
    image = np.broadcast_to(image, (*image.shape[:2], 3)).transpose(2, 0, 1)
    return torch.from_numpy(np.array(image, np.float32, order="C"))


def scaled(path, values, span):
    """Values as floats in 0..1, by a stated span or over the top of their type."""
    kind = values.dtype.name
    finite(path, values)
    low, high = span or (0, TOPS.get(kind))
    if span and not -np.inf < low < high < np.inf:
        rule = "two numbers, the first below the second, none of them endless"
        raise ValueError(f"span {span}: state {rule}")
    if span and kind in ("bool", "uint8", "uint16") and high > TOPS[kind]:
        raise Refused(
            f"{path} holds {kind}, up to {TOPS[kind]}, and its span is {span}: bring "
            "all pictures to one kind first"
        )
    beyond = kind.startswith("float") and (values.min() < 0 or values.max() > 1)
    if not span and (high is None or beyond):
        raise Refused(
            f"{path} holds {kind} from {values.min():.5g} to {values.max():.5g}, which "
            "has no range of its own: state which values are black and white for all "
            "pictures, as in span=(0, 4095)"
        )
    exact = np.float32 if kind in ("bool", "uint8", "uint16") else np.float64
    return np.clip((values.astype(exact) - exact(low)) / exact(high - low), 0, 1)


def finite(path, values):
    """Refuse values that are no numbers: NaN, and what is infinite."""
    if not np.isfinite(values).all():
        raise Refused(f"{path} holds values that are no numbers (NaN): mend them first")


def header_size(path):
    """(height, width) of a picture as it is to be seen, without decoding it."""
    with naming(path):
        if is_deep_tiff(path):
            with tifffile.TiffFile(path) as file:
                return file.pages[0].imagelength, file.pages[0].imagewidth
        with Image.open(path) as image:
            width, height = image.size
            # A PNG without EXIF, asked for it, would decode all of its pixels.
            exif = image.getexif() if "exif" in image.info else {}
    turned = exif.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)  # by 90 degrees
    return (width, height) if turned else (height, width)


def page_count(path):
    """How many pages (or frames) a file has; a phone's JPEG with extras counts as 1."""
    with naming(path):
        if is_deep_tiff(path):
            with tifffile.TiffFile(path) as file:
                hidden = (file.imagej_metadata or {}).get("images", 1)
                return max(len(file.pages), hidden)
        with Image.open(path) as image:
            return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def palette_of(path):
    """The colours (N, 3) of a file's palette, without decoding it, or None."""
    with naming(path):
        if is_deep_tiff(path):
            return None
        with Image.open(path) as image:
            # A GIF goes by its colours: it numbers them anew.
            if image.mode != "P" or image.format == "GIF":
                return None
            return np.reshape(image.getpalette("RGB"), (-1, 3))


# --- what a file holds ------------------------------------------------------------


def decode(path, page=None):
    """The Pixels of a file, upright. Raises ValueError; a stack needs a `page`."""
    pages = page_count(path)
    if pages > 1 and page is None:
        raise Refused(
            f"{path} has {pages} pages: save the one that counts as a PNG, or train on "
            "all of them as samples with stacks=True"
        )
    with naming(path):
        if is_deep_tiff(path):
            return Pixels(deep_tiff(path, page or 0))
        with Image.open(path) as image:
            # Nameless, it is not memory-mapped: Pillow (seen in 13.0) then scrambles a
            # grey uncompressed TIFF that is stored turned.
            image.filename = ""
            if page:
                image.seek(page)
            doubt = doubts(path, image)
            if image.format == "JPEG2000":
                of_whole_bytes(path)
            if loses_bits(image):
                return Pixels(deep_colour(path, image), doubt=doubt)
            return by_pillow(image, doubt)


def by_pillow(image, doubt):
    """Pixels of an open picture of which Pillow loses nothing."""
    kind = image.format
    if "exif" in image.info:  # as in header_size; a TIFF, Pillow turns by itself
        image = ImageOps.exif_transpose(image)
    if image.mode == "P" and kind != "GIF":  # a GIF numbers its colours anew
        image.apply_transparency()
        colours = np.reshape(image.getpalette("RGBA"), (-1, 4)).astype(np.uint8)
        palette = np.full((256, 4), (0, 0, 0, 255), np.uint8)
        palette[: len(colours)] = colours
        return Pixels(np.array(image), palette, doubt)
    if image.has_transparency_data and image.mode not in ("LA", "I", "I;16"):
        image = image.convert("RGBA")
    elif image.mode not in ("1", "L", "LA", "I", "F") and image.mode[:4] != "I;16":
        image = image.convert("RGB")
    values = np.array(image)
    if kind == "PPM" and values.dtype == np.int32:
        values = values.astype(np.uint16)
    return Pixels(values.astype(values.dtype.newbyteorder("=")), doubt=doubt)


def doubts(path, image):
    """Why the values of an open picture may not be those that were painted, or ""."""
    lossy = image.format in ("JPEG", "MPO", "JPEG2000", "AVIF")
    if image.format == "WEBP":
        lossy = b"VP8 " in Path(path).read_bytes()
    if image.format == "TIFF":
        lossy = image.tag_v2.get(259) in (6, 7)  # compressed as JPEG
    if lossy:
        return f"{image.format} may change values a little"
    for tile in image.tile:
        raw = str(tile.args)
        if "L;2" in raw or "L;4" in raw:
            return "its 2 or 4 bits are stretched to 0..255"
        if tile.codec_name == "ppm" and not raw.endswith((", 255)", ", 65535)")):
            return "its values are stretched to 0..255"
    return ""


def loses_bits(image):
    """Whether Pillow would keep only 8 bits of an open picture's 16."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if image.format == "JPEG2000":
        return True  # its header would tell: deep_colour looks
    for tile in image.tile:
        deep = isinstance(tile.args, tuple) and tile.args[-1] == 65535
        if ";16" in str(tile.args) or deep:
            return True
    return False


def deep_colour(path, image):
    """Values (H, W, C) of a PNG or JPEG 2000 whose colours may have 16 bits."""
    exif = image.getexif() if "exif" in image.info else {}
    if exif.get(ExifTags.Base.Orientation, 1) != 1:
        raise Refused(f"{path} has 16-bit colours and lies turned: save it upright")
    content = Path(path).read_bytes()
    if image.format == "PNG":
        return imagecodecs.png_decode(content)
    if image.format == "JPEG2000":
        values = imagecodecs.jpeg2k_decode(content)
        return values if values.dtype == np.uint16 else np.array(image)
    raise Refused(f"{path} is a {image.format} of 16-bit colours: save it as a PNG")


def of_whole_bytes(path):
    """Refuse a JPEG 2000 of 12 bits, say: readers take it for 8 or 16."""
    content = Path(path).read_bytes()
    size = content.index(b"\xff\x4f\xff\x51") + 2  # the marker of its sizes
    bits = (content[size + 40] & 127) + 1  # of the first channel
    if bits not in (8, 16):
        raise Refused(f"{path} has {bits} bits a channel: save a PNG of 8 or 16")


def is_deep_tiff(path):
    """Whether a file is a TIFF that Pillow does not read, or not all of it.

    So are signed, floating and more than 8-bit values, and channels without a meaning.
    """
    with open(path, "rb") as file:
        if file.read(4) not in TIFF_STARTS:
            return False
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        unnamed = 0 in page.extrasamples
        if page.samplesperpixel == 2 and not page.extrasamples:
            unnamed = True
        deep = page.bitspersample > 8 or page.sampleformat not in (1, None)
        return deep or unnamed


def deep_tiff(path, page):
    """Values (H, W) or (H, W, C) of a page of such a TIFF."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[page]
        values = page.asarray()
    if page.planarconfig == 2 and values.ndim == 3:  # a plane for each channel
        values = np.moveaxis(values, 0, -1)
    channels = values.shape[2] if values.ndim == 3 else 1
    extra = tuple(page.extrasamples)[:1] if channels == 4 else ()
    if extra == (1,):  # colours that were multiplied by it already
        raise Refused(f"{path} has associated alpha: save it with plain transparency")
    alpha = extra == (2,)
    if values.ndim > 3 or (channels not in (1, 3) and not alpha):
        raise Refused(f"{path} has {channels} channels: save the one or three to use")
    if "Orientation" in page.tags and page.tags["Orientation"].value != 1:
        raise Refused(f"{path} has deep pixels and lies turned: save it upright")
    if values.dtype.kind == "c":
        raise Refused(f"{path} holds complex numbers: save their size or phase alone")
    if page.photometric not in (0, 1, 2):  # a palette, CIELAB ...
        what = f"{path} holds deep pixels as {page.photometric.name}"
        raise Refused(f"{what}: save it as grey or RGB")
    if page.photometric == 0:  # white is 0
        if values.dtype.kind != "u":
            raise Refused(f"{path} calls 0 white, with signed values: save it anew")
        values = np.iinfo(values.dtype).max - values
    return values.astype(values.dtype.newbyteorder("="))


@contextmanager
def naming(path):
    """Whatever goes wrong inside becomes one ValueError that names the file."""
    try:
        yield
    except Refused:
        raise
    except FileNotFoundError as error:
        raise Refused(f"{path} cannot be read: there is no such file") from error
    except PermissionError as error:
        raise Refused(f"{path} cannot be read: change its permissions") from error
    except IsADirectoryError as error:
        raise Refused(f"{path} cannot be read: it is a folder") from error
    except Image.DecompressionBombError as error:
        most = 2 * Image.MAX_IMAGE_PIXELS
        raise Refused(
            f"{path} has more than {most:,} pixels, where Pillow suspects a trap: cut "
            "it into tiles or, if you trust it, set PIL.Image.MAX_IMAGE_PIXELS = None"
        ) from error
    except Exception as error:  # Pillow and tifffile raise errors of many kinds
        what = f"{path} cannot be read ({type(error).__name__}: {error})"
        way_out = "replace it by a whole 8-bit PNG, or remove it and its partner"
        raise Refused(f"{what}: {way_out}.") from error
