"""A labelled mask in any format is read back exactly, or refused."""

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.masks import Binary, Classes, Instances, Mapping, counted

KINDS = [{0, 1}, {0, 255}, {0, 2}, {0, 100, 200}, {0, 1, 2, 255}, {0, 3, 4, 7}]
KINDS += [{0, 128}, {1}, {255}, {2}, {0, 254}, {0, 1, 255}, set(range(40))]


def colours_of(seed):
    """A colour for each of 256 numbers, all different and none of them grey."""
    red = np.random.default_rng(seed).permutation(256)
    table = np.stack([red, red[::-1] // 2, red * 0 + 77], axis=1)
    table[:, 1] += table[:, 0] == table[:, 1]
    return table.astype(np.uint8)


def painted(labels, seed):
    return colours_of(seed)[labels]


def with_palette(labels, seed):
    image = Image.frombytes("P", labels.shape[::-1], labels.tobytes())
    image.putpalette(colours_of(seed).ravel().tolist())
    return image


def grey(labels, seed):
    return Image.fromarray(labels)


def deep(labels, seed):
    return Image.fromarray(labels.astype(np.uint16))


def rgb(labels, seed):
    return Image.fromarray(labels).convert("RGB")


def rgba(labels, seed):
    return Image.fromarray(labels).convert("RGBA")


def la(labels, seed):
    return Image.fromarray(labels).convert("LA")


def coloured(labels, seed):
    return Image.fromarray(painted(labels, seed))


def whole(labels, seed):
    return Image.fromarray(labels.astype(np.int32))


def floats(labels, seed):
    return Image.fromarray(labels.astype(np.float32))


GREY = [grey, rgb]
WRITERS = [("png", make) for make in (grey, deep, rgb, rgba, la)]
WRITERS += [("tif", make) for make in (grey, deep, rgb, rgba, whole, floats)]
for ending in ("bmp", "tga", "pcx", "sgi", "webp", "gif", "jp2", "jpg", "avif", "pgm"):
    WRITERS += [(ending, make) for make in GREY]
NUMBERED = [(ending, with_palette) for ending in ("png", "tif", "bmp", "tga", "pcx")]
COLOURED = [
    (ending, coloured) for ending in ("png", "tif", "bmp", "webp", "qoi", "tga")
]
COLOURED += [("gif", with_palette), *NUMBERED, ("jpg", coloured)]


def write(path, image):
    """Save as the format writes it, WebP without loss."""
    lossless = dict(lossless=True) if path.suffix == ".webp" else {}
    image.save(path, **lossless)
    return path


def read(reading, path):
    """What a reading makes of a file (H, W), or None where it refuses."""
    try:
        return reading.read(path)[0].numpy()
    except ValueError as error:
        assert str(path) in str(error)
        return None


maps = dict(
    values=st.sampled_from(KINDS), seed=st.integers(0, 10**6),
    height=st.integers(1, 9), width=st.integers(1, 9),
)  # fmt: skip
tries = settings(
    max_examples=8, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


def drawn(values, seed, height, width):
    random = np.random.default_rng(seed)
    return random.choice(sorted(values), (height, width)).astype(np.uint8)


@pytest.mark.parametrize(("ending", "make"), WRITERS + NUMBERED)
@given(**maps)
@tries
def test_class_numbers_and_ids(tmp_path, ending, make, values, seed, height, width):
    labels = drawn(values, seed, height, width)
    path = write(tmp_path / f"m.{ending}", make(labels, seed))
    found = read(Classes(200), path)
    if found is not None:
        assert np.array_equal(found, labels)
    found = read(Mapping({n: n % 7 for n in range(256)}), path)
    if found is not None:
        assert np.array_equal(found, labels.astype(int) % 7)
    found = read(Instances(), path)
    if found is not None:
        assert np.array_equal(found, labels > 0)
    found = read(Binary(), path)
    if found is not None and ending not in ("jpg", "avif", "jp2"):
        assert set(labels.flat) <= {0, 1} or set(labels.flat) <= {0, 255}
        assert np.array_equal(found, labels > 0)
    # No cheap way out.
    if ending in ("png", "tif", "bmp", "tga", "pcx", "sgi", "webp", "pgm"):
        assert max(labels.flat) >= 200 or read(Classes(200), path) is not None
        assert read(Instances(), path) is not None


@pytest.mark.parametrize(("ending", "make"), COLOURED)
@given(**maps)
@tries
def test_colours(tmp_path, ending, make, values, seed, height, width):
    labels = drawn(values, seed, height, width)
    path = write(tmp_path / f"m.{ending}", make(labels, seed))
    mapping = {}
    for number in sorted(values):
        mapping[tuple(colours_of(seed)[number].tolist())] = number
    found = read(Mapping(mapping), path)
    assert (found is None) == (ending == "jpg")
    if found is not None:
        assert np.array_equal(found, labels)
    if make is coloured:
        assert read(Classes(200), path) is None and read(Binary(), path) is None


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "<u2", ">u2", "i2", "u4", "i4", "f2", "f8"]
)
@pytest.mark.parametrize("packed", [None, "lzw", "deflate", "packbits"])
@given(seed=st.integers(0, 10**6), white=st.booleans())
@tries
def test_tiff_of_every_type(tmp_path, dtype, packed, seed, white):
    labels = drawn(range(100), seed, 7, 5)
    values = labels.astype(dtype)
    inverted = white and values.dtype.kind == "u"
    if inverted:
        values = np.iinfo(values.dtype).max - values
    kind = dict(photometric="miniswhite" if inverted else "minisblack")
    tifffile.imwrite(tmp_path / "m.tif", values, compression=packed, **kind)
    assert np.array_equal(read(Classes(100), tmp_path / "m.tif"), labels)


@pytest.mark.parametrize("reading", [Classes(9), Mapping({0: 0, 8: 1}), Instances()])
def test_what_a_format_blurs_or_stretches_is_refused(tmp_path, reading):
    labels = np.repeat(np.uint8([[0, 8]]), 8, axis=1).repeat(16, axis=0)
    Image.fromarray(labels).save(tmp_path / "a.jpg")
    Image.fromarray(labels).save(tmp_path / "a.webp", quality=80)
    Image.fromarray(labels).save(tmp_path / "a.tif", compression="jpeg")
    (tmp_path / "a.pgm").write_bytes(b"P5 16 16 8\n" + labels.tobytes())
    tifffile.imwrite(tmp_path / "4bits.tif", labels, bitspersample=4)
    Image.fromarray(labels).save(tmp_path / "whole.png")
    for name in ("a.jpg", "a.webp", "a.tif", "a.pgm", "4bits.tif"):
        assert read(reading, tmp_path / name) is None
    assert read(reading, tmp_path / "whole.png") is not None


def test_values_are_counted(tmp_path):
    labels = np.uint8([[0, 0, 0], [2, 2, 255]])
    path = write(tmp_path / "m.png", grey(labels, 0))
    assert counted(path) == {0: 3, 2: 2, 255: 1}
    assert counted(write(tmp_path / "p.png", with_palette(labels, 3))) == counted(path)
    found = counted(write(tmp_path / "c.png", coloured(labels, 3)))
    assert sorted(found.values()) == [1, 2, 3]
    assert found[tuple(colours_of(3)[2].tolist())] == 2
