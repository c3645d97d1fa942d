"""What the tests of pictures, masks and folders share: files, and what errors say."""

import numpy as np
import pytest
from PIL import Image

PHOTO = np.random.default_rng(0).integers(60, 200, (12, 20, 3), dtype=np.uint8)
MASK = np.zeros((12, 20), np.uint8)
MASK[3:8, 5:12] = 255


def save(path, pixels, mode=None, **options):
    """Write an array (or an image of PIL) as a picture, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(pixels, Image.Image):
        pixels = Image.fromarray(pixels)
    (pixels.convert(mode) if mode else pixels).save(path, **options)
    return path


def exif(orientation):
    """A picture's note that it is to be turned."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def palette(numbers, colours):
    """A picture of numbers (H, W) uint8 with the colours of the first of them."""
    image = Image.frombytes("P", numbers.shape[::-1], numbers.tobytes())
    image.putpalette(np.ravel(colours).tolist())
    return image


def refusal(make, error=ValueError, *args, **options):
    """The message of the error that making (or reading) something must raise."""
    with pytest.raises(error) as caught:
        make(*args, **options)
    return str(caught.value)


def must_say(message, *parts):
    for part in parts:
        assert str(part) in message, f"{part!r} is not in: {message}"
