"""The reader's own folders and MVTec AD: what is read, how split, what is refused.

Every test writes its own small tree of pictures; nothing is downloaded.
"""

import re
import shutil
import unicodedata
import warnings

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch.utils.data import DataLoader

from helpers import nifti
from helpers.folders import SPLITS, ImageMaskFolder, MVTecAD, in_memory
from helpers.masks import Binary, Classes, Mapping
from helpers.pairs import match
from tests.helpers.files import MASK, PHOTO, exif, must_say, palette, refusal, save


@pytest.fixture
def own(tmp_path):
    """images/ with a.png, b.png, c.png, and masks/ with their masks."""
    for name in "abc":
        save(tmp_path / "images" / f"{name}.png", PHOTO)
        save(tmp_path / "masks" / f"{name}.png", MASK)
    return tmp_path


def folder(own, **options):
    return ImageMaskFolder(own / "images", own / "masks", **options)


# --- What items are


def test_items_are_exact(own):
    data = folder(own)
    image, mask = data[0]
    assert len(data) == len(list(data)) == 3
    assert image.dtype == mask.dtype == torch.float32
    assert image.is_contiguous()
    assert np.array_equal(image.numpy(), PHOTO.transpose(2, 0, 1) / np.float32(255))
    assert np.array_equal(mask.numpy(), (MASK > 0)[None])
    images, masks = next(iter(DataLoader(data, batch_size=3)))
    assert images.shape == (3, 3, 12, 20) and masks.shape == (3, 1, 12, 20)


def test_order_is_that_of_the_names_and_suffixes_pair(tmp_path):
    for name in ("b.PNG", "c.Jpeg", "a.TIF", "d.bmp"):
        save(tmp_path / "images" / name, PHOTO)
    for name in ("d_mask.png", "a.bmp", "c_mask.PNG", "b.tiff"):
        save(tmp_path / "masks" / name, MASK)
    (tmp_path / "images" / "._a.png").write_bytes(b"what macOS leaves behind")
    names = [(image.name, mask.name) for image, mask in folder(tmp_path).pairs]
    assert names == [
        ("a.TIF", "a.bmp"),
        ("b.PNG", "b.tiff"),
        ("c.Jpeg", "c_mask.PNG"),
        ("d.bmp", "d_mask.png"),
    ]


def test_what_is_not_read_is_counted_and_named(own):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._a.png"):
        (own / "images" / name).write_bytes(b"what systems leave behind")
    (own / "masks" / ".ipynb_checkpoints").mkdir()
    (own / "masks" / "empty").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert folder(own).skipped == []
    notes = own / "masks" / "notes.txt"
    notes.write_text("not a picture")
    deeper = save(own / "images" / "more" / "d.png", PHOTO).parent
    with pytest.warns(UserWarning, match="2 files or folders are not read") as told:
        data = folder(own)
    assert data.skipped == [deeper, notes] and len(data) == 3
    must_say(str(told[0].message), deeper, notes)


def test_a_file_of_another_ending_is_named_where_a_partner_is_missing(own):
    (own / "masks" / "b.png").rename(own / "masks" / "b.psd")
    message = refusal(folder, ValueError, own)
    must_say(message, "image without mask", "not read: ", own / "masks" / "b.psd")
    must_say(message, ".png", ".webp", ".jp2")


def test_names_that_differ_in_the_spelling_of_accents_pair(tmp_path):
    save(tmp_path / "images" / unicodedata.normalize("NFD", "Zähne é.png"), PHOTO)
    name = unicodedata.normalize("NFC", "Zähne é_mask.png")
    save(tmp_path / "masks" / name, MASK)
    assert len(folder(tmp_path)) == 1
    save(tmp_path / "images" / unicodedata.normalize("NFC", "Zähne é.png"), PHOTO)
    must_say(refusal(folder, ValueError, tmp_path), "same stem")


@pytest.mark.parametrize(
    "names",
    [
        ["1", "2", "10", "11", "100"],
        ["scan.001", "scan.001.v1.2", "scan.001.v1.3"],
        [
            "img [1]",
            "img [2] (copy)",
            " lead space",
            "-dash",
            "100% #5 & more;",
            "it's",
        ],
        ["a", "a_b", "a_b_c", "a2", "A"],
        ["a", "a_mask"],
    ],
)
@pytest.mark.parametrize("suffix", ["", "_mask"])
def test_each_image_gets_its_own_mask(tmp_path, names, suffix):
    tree = tmp_path / "data [v1]"
    for k, name in enumerate(names):
        save(tree / "images" / f"{name}.png", PHOTO)
        save(tree / "masks" / f"{name}{suffix}.png", np.roll(MASK, k, axis=1))
    data = folder(tree)
    assert len(data) == len(names)
    for (image, _), (_, mask) in zip(data.pairs, data):
        k = names.index(image.stem)
        assert np.array_equal(mask[0], np.roll(MASK, k, axis=1) > 0)


def test_linked_files_and_folders_are_read_and_a_dead_link_is_named(own):
    (own / "linked").symlink_to(own / "images")
    (own / "images" / "d.png").symlink_to(own / "images" / "a.png")
    (own / "masks" / "d.png").symlink_to(own / "masks" / "a.png")
    assert len(ImageMaskFolder(own / "linked", own / "masks")) == 4
    (own / "masks" / "d.png").unlink()
    (own / "masks" / "d.png").symlink_to(own / "gone.png")
    message = refusal(folder, ValueError, own)
    must_say(message, own / "masks" / "d.png", "no such file")


def test_classes_are_resized_without_a_new_one(own):
    labels = np.zeros((12, 20), np.uint8)
    labels[2:9, 3:13], labels[4:7, 5:9] = 4, 7
    for name in "abc":
        save(own / "masks" / f"{name}.png", labels)
    for size in (None, 6, (31, 17)):
        _, found = folder(own, size=size, reading=Classes(8))[0]
        assert found.dtype == torch.int64
        assert found.unique().tolist() == [0, 4, 7]


def test_a_reading_holds_for_all_files(own):
    """Ranks by file would make class 2 of the second file class 1."""
    save(own / "masks" / "a.png", np.uint8(MASK > 0))
    save(own / "masks" / "b.png", 2 * np.uint8(MASK > 0))
    save(own / "masks" / "c.png", np.uint8(MASK > 0))
    data = folder(own, reading=Classes(3))
    assert [mask.max().item() for _, mask in data] == [1, 2, 1]


def test_palettes_that_number_their_colours_anew_are_refused(own):
    numbers = np.uint8(MASK > 0)
    black, red, green = (0, 0, 0), (200, 0, 0), (0, 200, 0)
    for name in "abc":
        save(own / "masks" / f"{name}.png", palette(numbers, [black, red]))
    for reading in (Binary(), Classes(2)):
        assert folder(own, reading=reading)[1][1].max() == 1
    save(own / "masks" / "b.png", palette(numbers, [black, green]))
    for reading in (None, Classes(3)):
        message = refusal(folder, ValueError, own, reading=reading)
        must_say(message, own / "masks" / "b.png", green, red, "number 1", "Mapping")
    data = folder(own, reading=Mapping({black: 0, red: 1, green: 2}))
    assert [mask.max().item() for _, mask in data] == [1, 2, 1]
    assert folder(own, reading=Mapping({0: 0, 1: 1}))[1][1].max() == 1


def test_json_and_nifti_have_their_own_way(own):
    for name, way_out in (
        ("a.json", "helpers.app draw"),
        ("a.nii.gz", "nifti.Volumes"),
    ):
        place = own / name.partition(".")[2]
        place.mkdir()
        (place / name).write_text("{}")
        message = refusal(ImageMaskFolder, ValueError, own / "images", place)
        must_say(message, place, way_out)
    file = own / "coco.json"
    message = refusal(ImageMaskFolder, FileNotFoundError, own / "images", file)
    must_say(message, file, "helpers.app draw")
    message = refusal(ImageMaskFolder, ValueError, own, own / "masks")
    must_say(message, "name one of its sub-folders", "images")


def test_a_stated_range_holds_for_all_pictures(own):
    for name in "abc":
        (own / "images" / f"{name}.png").unlink()
        values = np.linspace(-100, 300, 240).reshape(12, 20).astype(np.int16)
        tifffile.imwrite(own / "images" / f"{name}.tif", values)
    must_say(refusal(lambda: folder(own)[0]), "a.tif", "int16 from -100 to 300", "span")
    image, _ = folder(own, span=(-100, 300))[0]
    expected = (values.astype(float) + 100) / 400
    np.testing.assert_allclose(image[0], expected, atol=1e-6)


def test_an_empty_part_is_refused(own):
    must_say(
        refusal(in_memory, ValueError, folder(own), []), "this part has no picture"
    )


def test_a_photograph_may_be_called_mask(own):
    save(own / "images" / "gas_mask.png", PHOTO)
    save(own / "masks" / "gas_mask.png", MASK)
    assert [mask.name for _, mask in folder(own).pairs][-1] == "gas_mask.png"


def test_the_rule_is_told_in_the_endings_of_the_data(own):
    for name in ("images/case_0000.nii.gz", "masks/case.nii.gz"):
        (own / name).parent.mkdir(exist_ok=True)
        (own / name).write_bytes(b"")
    message = refusal(match, ValueError, own / "images", own / "masks", nifti.ENDINGS)
    must_say(message, "Each a.nii.gz in", "has one a.nii.gz or a_mask.nii.gz in")


def test_pictures_keep_their_sizes_unless_resized(own):
    save(own / "images" / "c.png", PHOTO[:8, :10])
    save(own / "masks" / "c.png", MASK[:8, :10])
    assert [image.shape[1:] for image, _ in folder(own)] == [(12, 20)] * 2 + [(8, 10)]
    for size, shape in ((16, (16, 16)), ((6, 9), (6, 9)), ([6, 9], (6, 9))):
        for image, mask in folder(own, size=size):
            assert image.shape == (3, *shape) and mask.shape == (1, *shape)
            assert image.is_contiguous()


def test_resized_masks_stay_zero_and_one_and_in_place(own):
    stripes = np.zeros((12, 20), np.uint8)
    stripes[:, ::3] = 255
    save(own / "masks" / "a.png", stripes)
    for size in (5, (7, 13), (31, 33)):
        _, mask = folder(own, size=size)[0]
        assert set(mask.unique().tolist()) == {0.0, 1.0}
    # Mirrored input, mirrored output: a shifted sampling grid would break this.
    # Odd factor: no pixel centre falls on a boundary between two source pixels.
    save(own / "images" / "b.png", PHOTO[:, ::-1].copy())
    save(own / "masks" / "b.png", MASK[:, ::-1].copy())
    save(own / "masks" / "a.png", MASK)
    data = folder(own, size=(36, 7))
    (image, mask), (flipped_image, flipped_mask) = data[0], data[1]
    assert torch.allclose(image, flipped_image.flip(2), atol=1e-6)
    assert torch.equal(mask, flipped_mask.flip(2))
    # Twice the size is each pixel four times.
    _, double = folder(own, size=(24, 40))[0]
    assert np.array_equal(double[0], np.kron(MASK > 0, np.ones((2, 2))))


def test_resized_images_are_antialiased(own):
    fine = np.zeros((12, 20), np.uint8)
    fine[:, ::2] = 255  # one-pixel stripes: a grey area from far away
    save(own / "images" / "a.png", fine)
    image, _ = folder(own, size=(4, 4))[0]  # every fifth pixel, alone: 1, 0, 1, 0
    assert (image - 0.5).abs().max() < 0.15  # without antialiasing: 0.5


def test_resized_images_stay_within_0_and_1(own):
    save(own / "images" / "a.png", np.full((12, 20), 255, np.uint8))
    for size in range(5, 40, 2):  # rounding alone goes beyond 1 in some of them
        image, _ = folder(own, size=size)[0]
        assert image.max() <= 1 and image.min() > 0.999


def test_in_memory_every_file_is_read_once_and_checked(own):
    data = folder(own)
    kept = in_memory(data, [2, 0])
    assert len(kept) == 2 and len(in_memory(data)) == 3
    for item, index in zip(kept, [2, 0], strict=True):
        assert torch.equal(item[0], data[index][0])
        assert torch.equal(item[1], data[index][1])
    bad = save(own / "masks" / "c.png", PHOTO)
    must_say(refusal(in_memory, ValueError, data), bad, "is no mask of 0/1 or 0/255")
    assert len(in_memory(data, [0, 1])) == 2


# --- Own folders: what is refused


def test_refuses_a_missing_folder(own):
    message = refusal(ImageMaskFolder, FileNotFoundError, own / "pics", own / "masks")
    must_say(message, own / "pics", "not a folder", "check the path")
    message = refusal(ImageMaskFolder, FileNotFoundError, own / "images", own / "m")
    must_say(message, own / "m", "not a folder")
    file = own / "images" / "a.png"
    must_say(refusal(ImageMaskFolder, FileNotFoundError, file, own / "masks"), file)


def test_refuses_an_empty_folder(own):
    (own / "empty").mkdir()
    (own / "empty" / "notes.txt").write_text("no picture")
    message = refusal(ImageMaskFolder, ValueError, own / "empty", own / "masks")
    must_say(message, own / "empty", "holds no picture", ".jpeg", ".bmp")


def test_refuses_one_folder_for_both(own):
    message = refusal(ImageMaskFolder, ValueError, own / "images", own / "images")
    must_say(message, own / "images", "a folder each")


def test_refuses_an_image_without_mask_and_a_mask_without_image(own):
    (own / "masks" / "b.png").unlink()
    save(own / "masks" / "x_mask.png", MASK)
    message = refusal(folder, ValueError, own)
    must_say(message, f"image without mask: {own / 'images' / 'b.png'};")
    must_say(message, f"mask without image: {own / 'masks' / 'x_mask.png'}.")
    must_say(message, "one a.png or a_mask.png", "add, rename or remove")


def test_names_five_and_counts_the_rest(own):
    for index in range(9):
        save(own / "images" / f"n{index}.png", PHOTO)
    message = refusal(folder, ValueError, own)
    must_say(message, "n0.png", "n4.png", "and 4 more")
    assert "n5.png" not in message and "mask without image" not in message


def test_refuses_two_masks_for_one_image(own):
    twin = save(own / "masks" / "b_mask.png", MASK)
    message = refusal(folder, ValueError, own)
    must_say(message, "masks of one image", twin, own / "masks" / "b.png")


def test_refuses_two_images_of_one_stem(own):
    twin = save(own / "images" / "b.jpg", PHOTO)
    message = refusal(folder, ValueError, own)
    must_say(message, "same stem", twin, own / "images" / "b.png", "Rename or remove")


def test_refuses_a_mask_of_another_size(own):
    mask = save(own / "masks" / "b.png", MASK.T.copy())
    message = refusal(folder, ValueError, own)
    must_say(message, f"{mask} is 20 x 12, its image {own / 'images' / 'b.png'}")
    must_say(message, "is 12 x 20 (height x width, after EXIF)", "make them equal")
    assert "a.png" not in message


def test_refuses_a_mask_painted_on_an_unturned_photograph(own):
    save(own / "images" / "b.png", PHOTO, exif=exif(6))
    must_say(refusal(folder, ValueError, own), "is 12 x 20", "is 20 x 12", "EXIF")


def test_all_bad_files_are_in_one_error(own):
    for name in "ab":
        save(own / "masks" / f"{name}.png", MASK[:6])
    (own / "images" / "c.png").write_bytes(b"")
    message = refusal(folder, ValueError, own)
    must_say(message, *[own / "masks" / f"{name}.png" for name in "ab"])
    must_say(message, own / "images" / "c.png")
    assert len(message.splitlines()) == 3


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n"])
def test_refuses_an_unreadable_header_at_once(own, content):
    path = own / "images" / "b.png"
    path.write_bytes(content)
    must_say(refusal(folder, ValueError, own), path, "cannot be read", "replace it")


@pytest.mark.parametrize("which", ["images", "masks"])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_refuses_a_truncated_picture_when_it_is_read(own, which, ending):
    (own / which / "b.png").unlink()
    noise = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    path = save(own / which / f"b.{ending}", noise)
    path.write_bytes(path.read_bytes()[:-100])
    data = folder(own)  # the header is whole
    message = refusal(lambda: data[1])
    must_say(message, path, "cannot be read", "replace it by a whole 8-bit PNG")


def test_refuses_a_stack_of_pages_until_each_is_to_be_a_sample(own):
    pages, masks = stack(own, 3)
    message = refusal(folder, ValueError, own)
    must_say(message, own / "images" / "b.tif", "has 3 pages", "stacks=True")
    data = folder(own, stacks=True)
    assert len(data) == 5 and data.pages == [None, 0, 1, 2, None]
    for k in range(3):
        image, mask = data[1 + k]
        assert np.array_equal(image[0], pages[k] / np.float32(255))
        assert np.array_equal(mask[0], masks[k] > 0)


def test_refuses_an_image_and_a_mask_of_other_numbers_of_pages(own):
    stack(own, 3)
    (own / "masks" / "b.tif").unlink()
    save(own / "masks" / "b.png", MASK)
    for stacks in (False, True):
        message = refusal(folder, ValueError, own, stacks=stacks)
        must_say(message, "b.tif has 3 pages, its mask", "b.png 1 page:")
    (own / "images" / "b.tif").rename(own / "masks" / "b.tif")
    (own / "masks" / "b.png").rename(own / "images" / "b.png")
    message = refusal(folder, ValueError, own)
    must_say(message, "its mask", "3 pages: ", "pages that are classes become one page")


def stack(own, count):
    """Give b three pages: grey pictures and masks, each another one."""
    pages = [PHOTO[..., 0] + k for k in range(count)]
    masks = [np.roll(MASK, k, axis=0) for k in range(count)]
    for name, parts in dict(images=pages, masks=masks).items():
        (own / name / "b.png").unlink()
        images = [Image.fromarray(part.astype(np.uint8)) for part in parts]
        path = own / name / "b.tif"
        images[0].save(path, save_all=True, append_images=images[1:])
    return pages, masks


@pytest.mark.parametrize("size", [0, -4, 2.5, "64", (8,), (8, 0), (8, 8, 3)])
def test_refuses_a_bad_size(own, size):
    must_say(refusal(folder, ValueError, own, size=size), repr(size), "(height, width)")


# --- MVTec AD


COUNTS = {"crack": 10, "hole": 3, "rust": 2, "good": 7}  # of test/
SHARES = {  # train, validation, test
    "crack": (5, 2, 3),
    "hole": (1, 1, 1),
    "rust": (2, 0, 0),
    "good": (4, 1, 2),
}
NEGATIVES = 5 + 1 + 2  # from train/good, as many as train has defects


def write_category(root, category, mode="RGB"):
    """A category in the layout of MVTec AD; every image is told by its first pixel."""
    code = 0
    for kind, count in COUNTS.items():
        for index in range(count):
            code += 1
            photo = PHOTO.copy()
            photo[0, 0] = code
            save(root / category / "test" / kind / f"{index:03}.png", photo, mode)
            if kind != "good":
                truth = root / category / "ground_truth" / kind
                save(truth / f"{index:03}_mask.png", np.roll(MASK, code % 7, axis=1))
    for index in range(12):  # more than are taken
        save(root / category / "train" / "good" / f"{index:03}.png", PHOTO, mode)


@pytest.fixture
def mvtec(tmp_path):
    write_category(tmp_path, "tile")
    return tmp_path


def names(root, split, **options):
    """The images of a split, as paths below the category."""
    data = MVTecAD(root, "tile", split, **options)
    return [image.relative_to(root / "tile").as_posix() for image, _ in data.pairs]


def test_split_is_stratified_disjoint_and_complete(mvtec):
    found = {split: names(mvtec, split) for split in SPLITS}
    for kind, shares in SHARES.items():
        counts = [sum(n.startswith(f"test/{kind}/") for n in found[s]) for s in SPLITS]
        assert tuple(counts) == shares, kind
    spare = [n for n in found["train"] if n.startswith("train/good/")]
    assert len(spare) == NEGATIVES
    everything = [name for split in SPLITS for name in found[split]]
    assert len(everything) == len(set(everything)) == sum(COUNTS.values()) + NEGATIVES


def test_train_takes_all_negatives_where_there_are_few(mvtec):
    for path in sorted((mvtec / "tile" / "train" / "good").iterdir())[3:]:
        path.unlink()
    assert sum(n.startswith("train/") for n in names(mvtec, "train")) == 3


def test_same_seed_same_split_whatever_order_the_folder_has(mvtec, monkeypatch):
    first = {split: names(mvtec, split, seed=5) for split in SPLITS}
    listed = type(mvtec).iterdir
    monkeypatch.setattr(
        type(mvtec), "iterdir", lambda path: reversed(sorted(listed(path)))
    )
    assert {split: names(mvtec, split, seed=5) for split in SPLITS} == first
    assert {split: names(mvtec, split, seed=6) for split in SPLITS} != first


def test_split_is_the_same_on_every_machine(mvtec):
    """Written down once: a change here changes every result on MVTec AD."""
    crack = ["test/crack/001.png", "test/crack/008.png", "test/crack/004.png"]
    good = ["test/good/001.png", "test/good/003.png"]
    assert names(mvtec, "test") == [*crack, "test/hole/002.png", *good]
    spare = ["train/good/001.png", "train/good/008.png", "train/good/003.png"]
    assert names(mvtec, "train")[-3:] == spare


def test_another_defect_type_moves_no_image_of_the_others(mvtec):
    before = names(mvtec, "test")
    for part in ("test", "ground_truth"):
        shutil.copytree(mvtec / "tile" / part / "hole", mvtec / "tile" / part / "bend")
    after = [name for name in names(mvtec, "test") if "/bend/" not in name]
    assert after == before


def test_masks_belong_to_their_images(mvtec):
    codes = {"crack": 0, "hole": 10, "rust": 13}
    for split in SPLITS:
        data = MVTecAD(mvtec, "tile", split)
        for (path, _), (image, mask) in zip(data.pairs, data, strict=True):
            assert image.shape == (3, 12, 20) and mask.shape == (1, 12, 20)
            assert image.dtype == mask.dtype == torch.float32
            kind = path.parent.name
            if kind == "good":
                assert not mask.any()
                continue
            code = codes[kind] + int(path.stem) + 1
            assert torch.equal(image[:, 0, 0], torch.full((3,), code / 255))
            assert np.array_equal(mask[0], np.roll(MASK, code % 7, axis=1) > 0)


def test_grey_categories_become_rgb(tmp_path):
    write_category(tmp_path, "grid", mode="L")
    image, _ = MVTecAD(tmp_path, "grid")[0]
    assert image.shape == (3, 12, 20)
    assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])


def test_mvtec_resizes(mvtec):
    data = MVTecAD(mvtec, "tile", "train", size=(6, 8))
    image, mask = next(item for item in data if item[1].any())
    assert image.shape == (3, 6, 8) and mask.shape == (1, 6, 8)
    assert set(mask.unique().tolist()) == {0, 1}
    assert data[len(data) - 1][1].shape == (1, 6, 8)  # a negative, without a file


def test_mvtec_refuses_an_unknown_root(tmp_path):
    message = refusal(MVTecAD, FileNotFoundError, tmp_path / "mvtec", "tile")
    must_say(message, tmp_path / "mvtec", "not a folder", "https://www.mvtec.com")


def test_mvtec_refuses_an_unknown_category(mvtec):
    write_category(mvtec, "wood")
    message = refusal(MVTecAD, ValueError, mvtec, "Tile")
    must_say(message, mvtec, "no category 'Tile'", "There: tile, wood.")
    for category in ("", ".", "..", "tile/test"):
        must_say(refusal(MVTecAD, ValueError, mvtec, category), repr(category))


def test_mvtec_says_when_root_is_a_category(mvtec):
    message = refusal(MVTecAD, ValueError, mvtec / "tile", "tile")
    must_say(message, mvtec / "tile", "There: none", "the folder above")


def test_mvtec_refuses_an_unknown_split(mvtec):
    message = refusal(MVTecAD, ValueError, mvtec, "tile", "val")
    must_say(message, "'val' is unknown", "train, validation, test")


def test_mvtec_refuses_a_defect_without_ground_truth(mvtec):
    shutil.rmtree(mvtec / "tile" / "ground_truth" / "hole")
    message = refusal(MVTecAD, ValueError, mvtec, "tile")
    must_say(message, f"no ground truth for {mvtec / 'tile' / 'test' / 'hole'}:")
    must_say(message, mvtec / "tile" / "ground_truth", "Unpack")


def test_mvtec_refuses_a_test_folder_without_defects(mvtec):
    for kind in ("crack", "hole", "rust"):
        shutil.rmtree(mvtec / "tile" / "test" / kind)
    message = refusal(MVTecAD, ValueError, mvtec, "tile")
    must_say(message, "no defect: each", mvtec / "tile" / "test", "Unpack")


@pytest.mark.parametrize("part", ["train", "test/good"])
def test_mvtec_refuses_a_missing_folder_of_good_ones(mvtec, part):
    shutil.rmtree(mvtec / "tile" / part)
    message = refusal(MVTecAD, FileNotFoundError, mvtec, "tile")
    must_say(message, mvtec / "tile" / part, "not a folder", "unpack the data again")


def test_mvtec_refuses_what_does_not_pair(mvtec):
    gone = mvtec / "tile" / "ground_truth" / "crack" / "004_mask.png"
    gone.unlink()
    message = refusal(MVTecAD, ValueError, mvtec, "tile")
    must_say(message, "image without mask", mvtec / "tile/test/crack/004.png")


@pytest.mark.parametrize("split", SPLITS)
def test_mvtec_checks_all_splits_at_once(mvtec, split):
    bad = save(mvtec / "tile/ground_truth/crack/004_mask.png", MASK[:5])
    empty = mvtec / "tile/train/good/003.png"
    empty.write_bytes(b"")
    message = refusal(MVTecAD, ValueError, mvtec, "tile", split)
    must_say(message, f"{bad} is 5 x 20", f"{empty} cannot be read")


def test_nothing_is_written(mvtec):
    before = sorted((p, p.stat().st_mtime_ns) for p in mvtec.rglob("*"))
    list(MVTecAD(mvtec, "tile"))
    assert sorted((p, p.stat().st_mtime_ns) for p in mvtec.rglob("*")) == before


def test_one_line_of_message_each(mvtec):
    """A refusal is a sentence, not a page."""
    message = refusal(MVTecAD, ValueError, mvtec, "wool")
    assert re.fullmatch(r"[^\n]{1,300}", message)
