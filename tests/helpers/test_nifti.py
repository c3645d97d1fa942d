"""NIfTI volumes: in which order, in which place, what is refused, what is written."""

import gzip

import nibabel
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from helpers.masks import Binary, Classes, Instances
from helpers.nifti import Volumes, read_volume, same_place, voxel_mm3, write_answer
from tests.helpers.files import must_say, refusal

AFFINE = np.diag([0.8, 0.8, 5, 1])
AFFINE[:3, 3] = -10, 12, -30
# x, y, z: a bright block that is class 1, and a dim one that is class 2.
IMAGE = np.random.default_rng(0).integers(0, 50, (20, 18, 7)).astype(np.int16)
LABELS = np.zeros((20, 18, 7), np.uint8)
LABELS[3:9, 4:10, 1:5], LABELS[12:15, 2:7, 3:6] = 1, 2
IMAGE[LABELS == 1] += 900
IMAGE[LABELS == 2] += 500


def save(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


@pytest.fixture
def tree(tmp_path):
    save(tmp_path / "images" / "case.1.nii.gz", IMAGE)
    save(tmp_path / "masks" / "case.1.nii.gz", LABELS)
    return tmp_path


def volumes(tree, reading=None):
    return Volumes(tree / "images", tree / "masks", reading or Classes(3))


def test_an_item_is_a_normalised_volume_and_its_labels(tree):
    volume, labels = volumes(tree)[0]
    assert volume.shape == labels.shape == (1, 7, 18, 20)
    assert volume.dtype == torch.float32 and labels.dtype == torch.int64
    assert abs(volume.mean()) < 1e-5 and volume.std().item() == pytest.approx(1)
    assert np.array_equal(labels[0], LABELS.transpose(2, 1, 0))
    bright = volume > (800 - IMAGE.mean()) / IMAGE.std(ddof=1)
    assert torch.equal(bright, labels == 1)


def test_one_object_is_a_mask_of_0_and_1(tree):
    must_say(refusal(lambda: volumes(tree, Binary())[0]), "case.1.nii.gz", "2 (45 px)")
    _, mask = volumes(tree, Instances())[0]
    assert mask.dtype == torch.float32 and mask.sum() == 144 + 45


@pytest.mark.parametrize("axes", ["LAS", "RPI", "ASR", "SPL"])
@pytest.mark.parametrize("which", ["images", "masks"])
def test_files_in_another_axis_order_lie_in_the_same_place(tree, axes, which):
    path = tree / which / "case.1.nii.gz"
    source = nibabel.load(path)
    there = nibabel.orientations.axcodes2ornt(axes)
    turned = source.as_reoriented(
        nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt("RAS"), there
        )
    )
    expected = volumes(tree)[0]
    values = np.asarray(turned.dataobj)
    affine = turned.affine
    path.unlink()
    save(path, values, affine)
    assert nibabel.aff2axcodes(affine) == tuple(axes)
    volume, labels = volumes(tree)[0]
    torch.testing.assert_close(volume, expected[0])
    assert torch.equal(labels, expected[1]) and labels.is_contiguous()
    # The answer lies as the image does, in the file and in the body.
    image = nibabel.load(tree / "images" / "case.1.nii.gz")
    write_answer(labels, tree / "images" / "case.1.nii.gz", tree / "answer.nii.gz")
    answer = nibabel.load(tree / "answer.nii.gz")
    assert answer.shape == image.shape and np.array_equal(answer.affine, image.affine)
    found, bright = np.asarray(answer.dataobj), np.asarray(image.dataobj) > 800
    assert np.array_equal(found == 1, bright) and (found == 2).sum() == 45


def test_an_answer_for_padded_sides_is_cut_off(tree):
    image = tree / "images" / "case.1.nii.gz"
    found = F.pad(volumes(tree)[0][1], [0, 4, 0, 6, 0, 1])
    write_answer(found, image, tree / "answer.nii")
    answer = nibabel.load(tree / "answer.nii")
    assert answer.header.get_zooms() == pytest.approx((0.8, 0.8, 5))
    assert np.array_equal(np.asarray(answer.dataobj), LABELS)
    message = refusal(write_answer, ValueError, found[:, :6], image, "x.nii")
    must_say(message, "(1, 6, 24, 24)", "(1, 7, 18, 20)")


@pytest.mark.parametrize(
    "affine", [np.zeros((4, 4)), np.diag([1, 1, 0, 1.0]), np.full((4, 4), np.nan)]
)
def test_an_affine_that_puts_voxels_nowhere_is_refused(tree, affine):
    path = tree / "images" / "case.1.nii.gz"
    image = nibabel.Nifti1Image(IMAGE, AFFINE)
    image.header.set_sform(affine, code=1)
    image.header["qform_code"] = 0
    path.write_bytes(gzip.compress(image.header.binaryblock + bytes(4)))
    message = refusal(volumes, ValueError, tree)
    must_say(message, path, "an affine that puts voxels nowhere", "mend its sform")


def test_an_oblique_or_sheared_affine_is_taken(tree):
    affine = np.eye(4)
    affine[:3, :3] = [[0.7, -0.7, 0], [0.7, 0.7, 0.2], [0, 0, 3]]
    save(tree / "images" / "case.1.nii.gz", IMAGE, affine)
    save(tree / "masks" / "case.1.nii.gz", LABELS, affine)
    assert volumes(tree)[0][0].shape == (1, 7, 18, 20)


@pytest.mark.parametrize(
    ("unit", "mm3"), [("mm", 3.2), ("micron", 3.2e-9), ("meter", 3.2e9), (None, 3.2)]
)
def test_a_voxel_is_measured_in_the_unit_of_its_header(unit, mm3):
    image = nibabel.Nifti1Image(IMAGE, AFFINE)
    image.header.set_xyzt_units(unit)
    assert voxel_mm3(image) == pytest.approx(mm3)


def with_spacing(path, values, spacing):
    """A file whose header states another spacing (pixdim) than its affine."""
    image = nibabel.Nifti1Image(values, AFFINE)
    image.header.set_sform(AFFINE, code=1)
    image.header["qform_code"] = 0
    image.header["pixdim"][1:4] = spacing
    path.write_bytes(image.header.binaryblock + bytes(4) + values.tobytes(order="F"))
    return path


def test_the_affine_says_how_large_a_voxel_is(tmp_path):
    image = with_spacing(tmp_path / "a.nii", IMAGE, 1)
    assert nibabel.load(image).header.get_zooms() == (1, 1, 1)
    assert voxel_mm3(nibabel.load(image)) == pytest.approx(3.2)
    moved = AFFINE.copy()
    moved[0, 3] += 3
    labels = save(tmp_path / "b.nii", LABELS, moved)
    must_say(refusal(same_place, ValueError, image, labels), "begins at -7 x 12 x -30")


def test_labels_near_whole_numbers_are_rounded_others_refused(tree):
    path = tree / "masks" / "case.1.nii.gz"
    save(path, LABELS * np.float32(0.999999))
    assert (volumes(tree)[0][1] == 1).sum() == 144
    for values in (
        LABELS * np.float32(0.7),
        LABELS / 255,  # all of them near to 0
        LABELS / 65535,
        LABELS + 0.005,
        np.where(LABELS, np.nan, 0),
    ):
        save(path, values.astype(np.float32))
        must_say(refusal(lambda: volumes(tree)[0]), path, "no whole numbers")


def test_a_last_axis_of_one_is_dropped_another_refused(tree):
    path = tree / "images" / "case.1.nii.gz"
    expected = volumes(tree)[0][0]
    save(path, IMAGE[..., None])
    torch.testing.assert_close(volumes(tree)[0][0], expected)
    save(path, np.stack([IMAGE, IMAGE], axis=3))
    must_say(refusal(volumes, ValueError, tree), path, "(20, 18, 7, 2)", "three axes")


@pytest.mark.parametrize("which", ["images", "masks"])
def test_a_volume_without_a_voxel_is_refused(tree, which):
    path = save(tree / which / "case.1.nii.gz", IMAGE[:, :0])
    must_say(refusal(volumes, ValueError, tree), path, "of shape (20, 0, 7), no voxel")
    must_say(refusal(read_volume, ValueError, path), path, "save it anew")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(origin=3), ("begins at -7 x 15 x -27 mm", "at -10 x 12 x -30 mm")),
        (dict(spacing=4), ("voxels of 0.8 x 0.8 x 4 mm", "of 0.8 x 0.8 x 5 mm")),
        (dict(slices=6), ("is (20, 18, 6) voxels", "(20, 18, 7)")),
        (dict(turn=0.1), ("is turned against",)),
    ],
)
def test_labels_in_another_place_are_refused(tree, change, told):
    affine = AFFINE.copy()
    affine[:3, 3] += change.get("origin", 0)
    affine[2, 2] = change.get("spacing", 5)
    c, s = np.cos(change.get("turn", 0)), np.sin(change.get("turn", 0))
    affine[:2, :2] = np.array([[c, -s], [s, c]]) @ affine[:2, :2]
    labels = LABELS[..., : change.get("slices", 7)]
    path = save(tree / "masks" / "case.1.nii.gz", labels, affine)
    must_say(refusal(volumes, ValueError, tree), path, *told)


def test_what_is_no_volume_is_named(tree):
    path = tree / "images" / "case.1.nii.gz"
    path.write_bytes(path.read_bytes()[:200])
    must_say(refusal(lambda: volumes(tree)[0]), path, "cannot be read")
    path.write_text("no volume")
    must_say(refusal(volumes, ValueError, tree), path, "cannot be read as NIfTI")
    path.unlink()
    must_say(refusal(volumes, ValueError, tree), "holds no .nii.gz file", "put .nii")
    save(tree / "images" / "other.nii", IMAGE)
    must_say(refusal(volumes, ValueError, tree), "image without mask", "other.nii")


@pytest.mark.parametrize("which", ["images", "masks"])
def test_a_download_that_stopped_is_named(tree, which):
    path = tree / which / "case.1.nii.gz"
    noise = np.random.default_rng(0).integers(0, 255, (20, 18, 7)).astype(np.uint8)
    for turn in (1, -1):  # -1: x runs to the left, and turning it reads the values
        affine = AFFINE @ np.diag([turn, 1, 1, 1])
        save(path, noise, affine)  # not compressible: the header alone is left
        path.write_bytes(path.read_bytes()[:1500])
        message = refusal(lambda: volumes(tree)[0])
        must_say(message, path, "cannot be read as NIfTI (EOFError")


def test_colours_and_complex_numbers_are_refused(tree):
    colours = np.zeros((20, 18, 7), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for values in (colours, IMAGE.astype(np.complex64)):
        for which in ("images", "masks"):
            path = tree / which / "case.1.nii.gz"
            good = path.read_bytes()
            save(path, values)
            must_say(refusal(volumes, ValueError, tree), path, "one channel of plain")
            path.write_bytes(good)


def test_a_flat_volume_is_zero_and_one_with_nan_is_refused(tree):
    for number, dtype in ((7, np.int16), (1000.1, np.float32)):
        path = save(tree / "flat.nii.gz", np.full((48, 48, 48), number, dtype))
        assert not read_volume(path).any()
    path = save(tree / "nan.nii.gz", np.full((4, 3, 2), np.nan, np.float32))
    must_say(refusal(read_volume, ValueError, path), path, "NaN")


def test_no_odd_numbers_in_the_answers_of_a_scaled_image(tree):
    """A file's slope and intercept are applied to the image, not to the answer."""
    image = nibabel.Nifti1Image(IMAGE, AFFINE)
    image.header.set_slope_inter(2, -100)
    path = tree / "images" / "case.1.nii.gz"
    nibabel.save(image, path)
    _, labels = volumes(tree)[0]
    write_answer(labels, path, tree / "a.nii.gz")
    assert np.array_equal(np.asarray(nibabel.load(tree / "a.nii.gz").dataobj), LABELS)
