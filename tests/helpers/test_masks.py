"""The readings: what becomes of a mask's values, and what is refused."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from helpers.masks import IGNORE, Binary, Classes, Instances, Mapping, read_mask
from tests.helpers.files import MASK, PHOTO, must_say, palette, refusal, save


def coded(low, high, dtype=np.uint8):
    return np.where(MASK > 0, high, low).astype(dtype)


FLOATS = Image.fromarray(coded(0, 1, np.float32))
BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (200, 0, 0)
NUMBERS = coded(0, 1)
MASKS = {  # name: ending, pixels
    "0/255": ("png", coded(0, 255)),
    "0/1": ("png", coded(0, 1)),
    "one bit": ("png", Image.fromarray(MASK).convert("1")),
    "one bit BMP": ("bmp", Image.fromarray(MASK).convert("1")),
    "16 bit": ("png", coded(0, 65535, np.uint16)),
    "16 bit, 0/1": ("png", coded(0, 1, np.uint16)),
    "16 bit, 0/255": ("png", coded(0, 255, np.uint16)),
    "float, 0/1": ("tif", FLOATS),
    "float, 0/255": ("tif", Image.fromarray(coded(0, 255, np.float32))),
    "RGB": ("png", Image.fromarray(MASK).convert("RGB")),
    "RGBA": ("png", Image.fromarray(MASK).convert("RGBA")),
    "LA": ("png", Image.fromarray(MASK).convert("LA")),
    "white where opaque": ("png", np.dstack([np.full_like(PHOTO, 255), MASK])),
    "black where opaque": ("png", np.dstack([0 * PHOTO, MASK])),
    "red on transparent": ("png", np.dstack([MASK, 0 * MASK, 0 * MASK, MASK])),
    "palette, black and white": ("png", palette(NUMBERS, [BLACK, WHITE])),
    "palette, white first": ("png", palette(1 - NUMBERS, [WHITE, BLACK])),
    "palette, black and red": ("png", palette(NUMBERS, [BLACK, RED])),
    "GIF": ("gif", MASK),
    "GIF, white first": ("gif", palette(1 - NUMBERS, [WHITE, BLACK])),
    "lossless WebP": ("webp", MASK),
    "PGM": ("pgm", MASK),
    "TGA": ("tga", MASK),
    "JPEG 2000": ("jp2", MASK),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_many_kinds_are_one_mask(tmp_path, kind):
    ending, pixels = MASKS[kind]
    options = dict(lossless=True) if ending == "webp" else {}
    mask = read_mask(save(tmp_path / f"m.{ending}", pixels, **options))
    assert mask.shape == (1, 12, 20) and mask.dtype == torch.float32
    assert np.array_equal(mask[0], MASK > 0)


@pytest.mark.parametrize("white", [0, 1])
@pytest.mark.parametrize("compression", ["raw", "group4"])
def test_one_bit_tiff_may_store_white_as_0(tmp_path, white, compression):
    image = Image.fromarray(MASK).convert("1")
    path = tmp_path / "m.tif"
    image.save(path, compression=compression, tiffinfo={262: white})
    assert np.array_equal(read_mask(path)[0], MASK > 0)


def test_empty_and_full_masks(tmp_path):
    for value, want in ((0, 0), (1, 1), (255, 1)):
        path = save(tmp_path / f"{value}.png", np.full((4, 6), value, np.uint8))
        assert (read_mask(path) == want).all()
    nothing = np.zeros((4, 6, 4), np.uint8)
    assert not read_mask(save(tmp_path / "clear.png", nothing)).any()
    nothing[..., 3] = 255
    assert not read_mask(save(tmp_path / "black.png", nothing)).any()


MIXED = np.dstack([MASK, MASK, MASK, np.roll(MASK, 3)])


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (coded(0, 2), "2 values: 0 (205 px), 2 (35 px)"),
        (coded(0, 254), "254 (35 px)"),
        (coded(3, 255), "3 (205 px)"),
        (coded(0, 2, np.uint16), "2 (35 px)"),
        (PHOTO, "240 values: "),
        (np.dstack([MASK, 0 * MASK, 0 * MASK]), "(255, 0, 0) (35 px)"),
        (palette(2 * NUMBERS, [BLACK, WHITE, RED]), "(200, 0, 0) (35 px)"),
        (palette(NUMBERS, [RED, BLACK]), "(200, 0, 0) (205 px)"),
    ],
)
def test_other_values_are_no_mask_but_listed_with_the_ways_out(tmp_path, pixels, told):
    path = save(tmp_path / "m.png", pixels)
    message = refusal(read_mask, ValueError, path)
    must_say(message, f"{path} is no mask of 0/1 or 0/255, it holds", told)
    must_say(message, "Binary(cut=128)", "Classes(K)", "Mapping(", "Instances()")


def test_colour_and_transparency_that_both_differ_are_refused(tmp_path):
    path = save(tmp_path / "m.png", MIXED)
    must_say(refusal(read_mask, ValueError, path), path, "both in colour and in")
    hidden = MIXED.copy()
    hidden[..., 3] = 0  # what is hidden under full transparency is no empty mask
    path = save(tmp_path / "m.png", hidden)
    must_say(refusal(read_mask, ValueError, path), path, "both in colour and in")


@pytest.mark.parametrize("high", [1, 128, 200, 254, 255])
def test_a_cut_at_1_takes_all_above_0(tmp_path, high):
    path = save(tmp_path / "m.png", coded(0, high))
    assert np.array_equal(Binary(cut=1).read(path)[0], MASK > 0)


def test_from_the_cut_on_is_object(tmp_path):
    edge = coded(0, 255)
    edge[0, :2] = 127, 128
    mask = Binary(cut=128).read(save(tmp_path / "edge.png", edge))
    assert mask[0, 0, :2].tolist() == [0, 1]
    colours = np.dstack([edge, edge // 2, edge // 3])
    assert Binary(cut=128).read(save(tmp_path / "c.png", colours)).equal(mask)
    one_bit = save(tmp_path / "b.png", Image.fromarray(MASK).convert("1"))
    assert np.array_equal(Binary(cut=128).read(one_bit)[0], MASK > 0)


def test_a_cut_that_nothing_reaches_is_refused(tmp_path):
    path = save(tmp_path / "m.png", coded(0, 1))
    message = refusal(Binary(cut=128).read, ValueError, path)
    must_say(message, path, "nothing in it reaches the cut at 128", "1 (35 px)")
    empty = save(tmp_path / "e.png", coded(0, 0))
    assert not Binary(cut=128).read(empty).any()
    must_say(refusal(Binary, cut=0), "a cut at 0 makes all object")


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_one_step_is_lost_in_what_changes_values(tmp_path, ending):
    """Of 200 pixels of 1, a JPEG keeps 176."""
    big = np.zeros((40, 60), np.uint8)
    big[5:15, 7:27] = 1
    path = save(tmp_path / f"m.{ending}", big, quality=75)
    assert np.asarray(Image.open(path).convert("L")).max() == 1
    for reading in (Binary(), Binary(cut=1)):
        message = refusal(reading.read, ValueError, path)
        must_say(message, path, "may change values a little", "8-bit PNG")


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path, odd):
    values = coded(0, 1, np.float32)
    values[0, 0] = odd
    path = save(tmp_path / "m.tif", Image.fromarray(values))
    for reading in (Binary(), Binary(cut=0.5), Binary(cut=128), Classes(2)):
        must_say(refusal(reading.read, ValueError, path), path, "no numbers (NaN)")


def test_the_way_out_for_probabilities_is_a_cut_that_they_reach(tmp_path):
    values = np.where(MASK > 0, 0.93, 0.04).astype(np.float32)
    path = save(tmp_path / "m.tif", Image.fromarray(values))
    for reading in (Binary(), Classes(2)):
        must_say(refusal(reading.read, ValueError, path), path, "Binary(cut=0.465)")
    assert np.array_equal(Binary(cut=0.465).read(path)[0], MASK > 0)


@pytest.mark.parametrize(
    ("ending", "mode"), [("jpg", "L"), ("jpg", "RGB"), ("webp", "L")]
)
def test_noise_at_the_edges_needs_a_cut(tmp_path, ending, mode):
    big = np.kron(MASK, np.ones((6, 6), np.uint8))
    path = save(tmp_path / f"m.{ending}", big, mode, quality=50)
    must_say(refusal(read_mask, ValueError, path), path, "values: ", "Binary(cut=128)")
    assert np.array_equal(Binary(cut=128).read(path)[0], big > 0)
    for reading in (Classes(200), Mapping({0: 0, 255: 1}), Instances()):
        message = refusal(reading.read, ValueError, path)
        must_say(message, path, "may change values a little")


# --- classes ----------------------------------------------------------------------

LABELS = coded(0, 1)
LABELS[4:6, 6:9], LABELS[0] = 2, 255
VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0)] + [(224, 224, 192)] * 253
AS_IT_IS = np.where(LABELS == 255, IGNORE, LABELS)


@pytest.mark.parametrize(
    "pixels",
    [LABELS, LABELS.astype(np.uint16), palette(LABELS, VOC), np.dstack([LABELS] * 3)],
)
def test_class_numbers_of_grey_palette_and_16_bits(tmp_path, pixels):
    found = Classes(3).read(save(tmp_path / "m.png", pixels))
    assert found.dtype == torch.int64 and found.shape == (1, 12, 20)
    assert np.array_equal(found[0], AS_IT_IS)


def test_the_ignored_value_is_stated(tmp_path):
    labels = np.uint8([[0, 1, 2, 11]])
    path = save(tmp_path / "m.png", labels)
    assert Classes(3, ignore=11).read(path).tolist() == [[[0, 1, 2, IGNORE]]]
    assert Classes(12, ignore=None).read(path).tolist() == [[[0, 1, 2, 11]]]
    assert Classes(12, ignore=0).read(path).tolist() == [[[IGNORE, 1, 2, 11]]]
    void = save(tmp_path / "v.png", np.uint16([[0, 1, 65535]]))
    assert Classes(2, ignore=65535).read(void).tolist() == [[[0, 1, IGNORE]]]


def test_numbers_beyond_the_classes_are_listed(tmp_path):
    path = save(tmp_path / "m.png", np.uint8([[0, 0, 0, 100, 200]]))
    message = refusal(Classes(3).read, ValueError, path)
    must_say(message, path, "3 values: 0 (3 px), 100 (1 px), 200 (1 px)", "0 to 2")
    found = Mapping({0: 0, 100: 1, 200: 2}).read(path)
    assert found.tolist() == [[[0, 0, 0, 1, 2]]]
    must_say(refusal(Mapping({0: 0, 100: 1}).read, ValueError, path), "200 (1 px)")


def test_a_mask_of_0_and_255_is_no_two_classes(tmp_path):
    path = save(tmp_path / "m.png", MASK)
    message = refusal(Classes(2).read, ValueError, path)
    must_say(message, path, "is 255 the object", "Binary()")
    assert Mapping({0: 0, 255: 1}).read(path).sum() == 35


def test_colours_by_a_mapping(tmp_path):
    colours = np.uint8([[(0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 0, 0)]])
    mapping = Mapping({(0, 0, 0): 0, (255, 0, 0): 1, (0, 255, 0): 2})
    for name, mode in (("a.png", "RGB"), ("b.png", "RGBA"), ("c.png", "P")):
        path = save(tmp_path / name, colours, mode)
        assert mapping.read(path).tolist() == [[[0, 1, 2, 1]]]
    assert mapping.count == 3
    message = refusal(Classes(3).read, ValueError, save(tmp_path / "d.png", colours))
    must_say(message, "(255, 0, 0) (2 px)", "Mapping({(r, g, b): class})")
    message = refusal(Mapping({(0, 0, 0): 0}).read, ValueError, path)
    must_say(message, path, "(255, 0, 0) (2 px)", "class 255 if it is to be ignored")


def test_a_class_number_in_the_red_channel_is_a_colour(tmp_path):
    """As grey, class 1 would vanish and class 2 become 1."""
    labels = np.uint8([[0, 1, 2, 3]])
    path = save(tmp_path / "m.png", np.dstack([labels, 0 * labels, 0 * labels]))
    must_say(refusal(Classes(4).read, ValueError, path), "(3, 0, 0) (1 px)")
    found = Mapping({(k, 0, 0): k for k in range(4)}).read(path)
    assert found.tolist() == [[[0, 1, 2, 3]]]


def test_a_palette_of_greys_may_mean_its_numbers_or_its_greys(tmp_path):
    image = palette(np.uint8([[0, 1, 2]]), [(0, 0, 0), (100,) * 3, (200,) * 3])
    path = save(tmp_path / "m.png", image)
    must_say(refusal(Classes(3).read, ValueError, path), path, "1 is grey 100")
    assert Mapping({0: 0, 1: 2, 2: 1}).read(path).tolist() == [[[0, 2, 1]]]
    greys = Mapping({(0, 0, 0): 0, (100,) * 3: 1, (200,) * 3: 2})
    assert greys.read(path).tolist() == [[[0, 1, 2]]]


def test_transparent_pixels_have_no_class(tmp_path):
    path = save(tmp_path / "m.png", np.dstack([PHOTO, MASK]))
    for reading in (Classes(9), Mapping({(0, 0, 0): 0}), Instances()):
        must_say(refusal(reading.read, ValueError, path), path, "transparent pixels")


def test_labels_that_are_no_whole_numbers_are_refused(tmp_path):
    path = save(tmp_path / "m.tif", Image.fromarray(np.float32([[0, 0.5, 1]])))
    for reading in (Classes(2), Mapping({0: 0, 1: 1}), Instances()):
        must_say(refusal(reading.read, ValueError, path), path, "0.5 (1 px)", "whole")


def test_colours_that_are_no_whole_numbers_are_refused(tmp_path):
    for odd, told in ((0.9, "no whole numbers"), (np.nan, "NaN")):
        path, values = tmp_path / "m.tif", np.zeros((4, 4, 3), np.float32)
        values[0, 0, 0] = odd
        tifffile.imwrite(path, values, photometric="rgb")
        for reading in (Mapping({(0, 0, 0): 0, (1, 0, 0): 1}), Instances()):
            must_say(refusal(reading.read, ValueError, path), path, told)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_instances_are_all_that_is_not_0(tmp_path, dtype):
    ids = np.arange(200).reshape(10, 20).astype(dtype)
    path = save(tmp_path / "m.png", ids)
    assert np.array_equal(Instances().read(path)[0], ids > 0)
    must_say(refusal(read_mask, ValueError, path), path, "200 values", "Instances()")
    colours = np.dstack([ids % 7, ids % 3, ids]).astype(np.uint8)
    path = save(tmp_path / "c.png", colours)
    assert np.array_equal(Instances().read(path)[0], ids > 0)


@pytest.mark.parametrize(
    ("make", "argument", "told"),
    [
        (Classes, 1, "2 to 255"),
        (Classes, 256, "2 to 255"),
        (Mapping, {}, "values as its keys"),
        (Mapping, {0: 0, (1, 2, 3): 1}, "not both"),
        (Mapping, {(1, 2): 0}, "no colour"),
        (Mapping, {0: 300}, "class 300"),
        (Mapping, {0: -1}, "class -1"),
    ],
)
def test_a_reading_that_makes_no_sense_is_refused(make, argument, told):
    must_say(refusal(make, ValueError, argument), told)
