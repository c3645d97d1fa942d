"""Picture files of many kinds: what is read, and what is refused."""

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from helpers import pictures
from helpers.folders import ImageMaskFolder
from helpers.pictures import header_size, page_count, read_image
from tests.helpers.files import MASK, PHOTO, exif, must_say, refusal, save

# Levels as a microscope gives them: background 400, object 3000 of 65535.
DEEP = np.where(MASK > 0, 3000, 400).astype(np.uint16)
DEEP_COLOUR = np.stack([4 * DEEP, 2 * DEEP, DEEP], axis=2)


def test_grey_palette_transparent_and_cmyk_become_rgb(tmp_path):
    grey = PHOTO[..., 0]
    for mode in ("L", "LA", "RGB", "RGBA"):
        image = read_image(save(tmp_path / f"{mode}.png", grey, mode))
        assert image.shape == (3, 12, 20)
        assert np.array_equal(image, np.stack([grey] * 3) / np.float32(255)), mode
    assert read_image(save(tmp_path / "k.jpg", PHOTO, "CMYK")).shape == (3, 12, 20)
    palette = Image.fromarray((grey > 128).astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 255, 255, 127, 0])
    image = read_image(save(tmp_path / "p.png", palette))
    assert set(image[0].unique().tolist()) == {0, 1}
    assert image[:, grey > 128].unique(dim=1).squeeze().tolist() == pytest.approx(
        [1, 127 / 255, 0]
    )


def test_transparent_parts_of_an_image_turn_white(tmp_path):
    rgba = np.dstack([PHOTO, MASK])
    image = read_image(save(tmp_path / "cut_out.png", rgba))
    assert (image[:, MASK == 0] == 1).all()
    there = PHOTO.transpose(2, 0, 1)[:, MASK > 0] / np.float32(255)
    assert np.array_equal(image[:, MASK > 0], there)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bits_are_scaled_by_their_range(tmp_path, ending):
    deep = np.linspace(0, 65535, 240).astype(np.uint16).reshape(12, 20)
    image = read_image(save(tmp_path / f"deep.{ending}", deep))
    assert np.array_equal(image, np.stack([deep] * 3) / np.float32(65535))


def test_a_transparent_value_of_16_bits_is_a_value(tmp_path):
    deep = np.linspace(0, 4095, 240).astype(np.uint16).reshape(12, 20)
    path = tmp_path / "a.png"
    Image.fromarray(deep).save(path, transparency=0)
    assert np.array_equal(read_image(path)[0], deep / np.float32(65535))


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_exif_orientation_counts(tmp_path, ending):
    """6: the camera was turned; viewers show these 12 x 20 pixels as 20 x 12."""
    half = np.zeros((12, 20), np.uint8)
    half[:, :10] = 255  # left as stored is top as shown
    save(tmp_path / "images" / f"a.{ending}", half, exif=exif(6))
    upright = np.rot90(half, -1).copy()
    save(tmp_path / "masks" / "a.png", upright)  # painted on what a viewer shows
    image, mask = ImageMaskFolder(tmp_path / "images", tmp_path / "masks")[0]
    assert image.shape == (3, 20, 12) and mask.shape == (1, 20, 12)
    assert torch.equal((image[:1] > 0.5).float(), mask)
    assert mask[0, :10].all() and not mask[0, 10:].any()
    # A mask with the tag of its photograph is turned with it.
    save(tmp_path / "masks" / "a.png", half, exif=exif(6))
    assert torch.equal(
        ImageMaskFolder(tmp_path / "images", tmp_path / "masks")[0][1], mask
    )


def test_orientation_outside_of_exif_is_ignored(tmp_path):
    """Or else the header's size and the decoded size would disagree."""
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    path = save(tmp_path / "a.jpg", PHOTO, xmp=xmp)
    assert header_size(path) == read_image(path).shape[1:] == (12, 20)


@pytest.mark.parametrize(
    "ending",
    "png jpg jpe jfif tif bmp dib gif webp avif ppm jp2 tga pcx sgi qoi".split(),
)
def test_the_endings_that_pillow_reads(tmp_path, ending):
    path = save(tmp_path / f"a.{ending}", PHOTO)
    assert path.suffix in pictures.ENDINGS
    image = read_image(path)
    assert image.shape == (3, 12, 20) and header_size(path) == (12, 20)
    loss = 0.15 if ending in ("jpg", "jpe", "jfif", "gif", "webp", "avif") else 1e-6
    expected = PHOTO.transpose(2, 0, 1) / np.float32(255)
    assert np.abs(image.numpy() - expected).mean() <= loss


def write_deep(path, values, **options):
    """Write 16-bit values as the ending says; Pillow cannot, where they are colours."""
    if path.suffix == ".tif":
        tifffile.imwrite(path, values, **options)
    else:
        encode = dict(png=imagecodecs.png_encode, jp2=imagecodecs.jpeg2k_encode)
        exactly = dict(level=0, reversible=True) if path.suffix == ".jp2" else {}
        path.write_bytes(encode[path.suffix[1:]](values, **exactly))
    return path


@pytest.mark.parametrize("ending", ["png", "tif", "jp2"])
def test_colours_of_16_bits_keep_them_all(tmp_path, ending):
    """Pillow alone keeps the upper 8: 5 levels are left of these."""
    options = dict(photometric="rgb") if ending == "tif" else {}
    path = write_deep(tmp_path / f"a.{ending}", DEEP_COLOUR, **options)
    expected = DEEP_COLOUR.transpose(2, 0, 1) / np.float32(65535)
    assert np.array_equal(read_image(path), expected)
    assert header_size(path) == (12, 20) and page_count(path) == 1


@pytest.mark.parametrize(
    "options",
    [dict(compression="lzw"), dict(byteorder=">"), dict(planarconfig="separate")],
)
def test_colours_of_16_bits_in_any_layout_of_tiff(tmp_path, options):
    separate = "planarconfig" in options
    values = np.moveaxis(DEEP_COLOUR, 2, 0).copy() if separate else DEEP_COLOUR
    path = write_deep(tmp_path / "a.tif", values, photometric="rgb", **options)
    expected = DEEP_COLOUR.transpose(2, 0, 1) / np.float32(65535)
    assert np.array_equal(read_image(path), expected)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_floats_are_0_to_1_or_have_a_stated_range(tmp_path, dtype):
    values = np.linspace(0, 1, 240).reshape(12, 20).astype(dtype)
    path = write_deep(tmp_path / "a.tif", values)
    np.testing.assert_allclose(read_image(path)[1], values, atol=1e-6)
    path = write_deep(tmp_path / "b.tif", 200 * values)
    must_say(refusal(read_image, ValueError, path), path, "from 0 to 200", "span=")
    image = read_image(path, span=(0, 200))
    np.testing.assert_allclose(image[2], values, atol=2e-3)
    path = write_deep(tmp_path / "n.tif", values - values.dtype.type(0.5))
    must_say(refusal(read_image, ValueError, path), path, "from -0.5 to 0.5", "span=")
    path = write_deep(tmp_path / "c.tif", np.where(values > 0.5, np.nan, values))
    must_say(refusal(read_image, ValueError, path, span=(0, 1)), path, "NaN")


@pytest.mark.parametrize("dtype", ["i1", "i2", "u4", "i4"])
def test_other_integers_need_a_range(tmp_path, dtype):
    values = np.arange(120).reshape(12, 10).astype(dtype)
    path = write_deep(tmp_path / "a.tif", values)
    must_say(refusal(read_image, ValueError, path), path, "from 0 to 119", "span=")
    image = read_image(path, span=(20, 100))
    np.testing.assert_allclose(image[0], ((values - 20.0) / 80).clip(0, 1), atol=1e-6)


def test_a_range_is_stated_in_the_values_of_the_file(tmp_path):
    """12 bits of a camera in a file of 16."""
    path = write_deep(tmp_path / "a.png", np.uint16([[0, 1024, 4096]]))
    assert read_image(path, span=(0, 4096))[0].tolist() == [[0, 0.25, 1]]
    path = save(tmp_path / "b.png", np.uint8([[0, 51, 255]]))
    assert read_image(path, span=(0, 102))[0].tolist() == [[0, 0.5, 1]]
    must_say(refusal(read_image, ValueError, path, span=(9, 9)), "span (9, 9)", "below")
    refused = refusal(read_image, ValueError, path, span=(0, 4095))
    must_say(refused, path, "uint8, up to 255", "span is (0, 4095)", "one kind first")


def test_white_may_be_zero_in_a_tiff(tmp_path):
    for values in (PHOTO[..., 0], DEEP):
        top = np.iinfo(values.dtype).max
        path = tmp_path / f"{top}.tif"
        tifffile.imwrite(path, top - values, photometric="miniswhite")
        assert np.array_equal(read_image(path)[0], values / np.float32(top))


@pytest.mark.parametrize("ending", ["tif", "gif", "webp", "png"])
def test_pages_and_frames_are_counted_and_refused(tmp_path, ending):
    frames = [Image.fromarray(np.roll(PHOTO, k, axis=0)) for k in range(3)]
    path = tmp_path / f"a.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert page_count(path) == 3
    must_say(refusal(read_image, ValueError, path), path, "has 3 pages", "stacks=True")
    second = np.roll(PHOTO, 1, axis=0).transpose(2, 0, 1) / np.float32(255)
    difference = np.abs(read_image(path, page=1).numpy() - second).mean()
    assert difference < (0.1 if ending == "gif" else 1e-6)


def test_the_extra_pictures_of_a_phone_do_not_count(tmp_path):
    frames = [Image.fromarray(PHOTO), Image.fromarray(PHOTO[::2, ::2].copy())]
    path = tmp_path / "phone.jpg"
    frames[0].save(path, "MPO", save_all=True, append_images=frames[1:])
    assert page_count(path) == 1 and read_image(path).shape == (3, 12, 20)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("channels", "photometric"),
    [(2, "minisblack"), (4, "rgb"), (4, "minisblack"), (5, "minisblack"), (5, "rgb")],
)
def test_channels_without_a_meaning_are_refused(tmp_path, channels, photometric, dtype):
    path = tmp_path / "a.tif"
    values = np.zeros((12, 20, channels), dtype)
    spare = ["unspecified"] * (channels - (3 if photometric == "rgb" else 1))
    options = dict(photometric=photometric, planarconfig="contig", extrasamples=spare)
    tifffile.imwrite(path, values, **options)
    must_say(refusal(read_image, ValueError, path), path, f"has {channels} channels")
    assert header_size(path) == (12, 20) and page_count(path) == 1


def test_colours_of_16_bits_that_were_multiplied_by_alpha_are_refused(tmp_path):
    path, values = tmp_path / "a.tif", np.zeros((12, 20, 4), np.uint16)
    for kind, told in (("unassalpha", None), ("assocalpha", "associated alpha")):
        tifffile.imwrite(path, values, photometric="rgb", extrasamples=[kind])
        if told:
            must_say(refusal(read_image, ValueError, path), path, told)
        else:
            assert (read_image(path) == 1).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA", "CMYK", "PA", "LAB", "YCbCr"])
def test_channels_of_a_tiff_that_have_one_are_read(tmp_path, mode):
    path = tmp_path / "a.tif"
    Image.new(mode, (20, 12)).save(path)
    assert read_image(path).shape == (3, 12, 20)


def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path, monkeypatch):
    gone = tmp_path / "gone.png"
    must_say(refusal(read_image, ValueError, gone), gone, "there is no such file")
    must_say(refusal(read_image, ValueError, tmp_path), tmp_path, "it is a folder")
    five = write_deep(tmp_path / "five.tif", np.zeros((12, 20, 5), np.uint16))
    must_say(refusal(read_image, ValueError, five), five)
    turned = save(tmp_path / "t.tif", DEEP.astype(np.float32), exif=exif(6))
    must_say(refusal(read_image, ValueError, turned), turned, "save it upright")
    deep = tmp_path / "deep.ppm"
    deep.write_bytes(b"P6 20 12 65535\n" + DEEP_COLOUR.astype(">u2").tobytes())
    must_say(refusal(read_image, ValueError, deep), deep, "16-bit colours", "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    large = save(tmp_path / "large.png", PHOTO)
    message = refusal(read_image, ValueError, large)
    must_say(message, large, "more than 200 pixels", "MAX_IMAGE_PIXELS = None")


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (1, 500), (400, 3)])
def test_very_small_pictures_are_pictures(tmp_path, shape):
    image = read_image(save(tmp_path / "a.png", np.zeros(shape, np.uint8)))
    assert image.shape == (3, *shape)
    image += 1  # a tensor of its own
