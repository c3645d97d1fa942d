"""Volumes from NIfTI files, through nibabel, and answers written in their place.

A file's axes run along the patient, in any order and direction. Here each volume is
turned to nibabel's canonical axes (x to the right, y to the front, z up) and is then
(D, H, W) = (z, y, x). What is written is turned back and has the input's affine.
"""

from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import torch
from nibabel import orientations
from nibabel.affines import voxel_sizes
from torch.utils.data import Dataset

from helpers.masks import Binary
from helpers.pairs import left_out, match, some, tell_skipped
from helpers.pictures import finite

ENDINGS = (".nii.gz", ".nii")
SAME = 1e-3  # mm: affines that differ by less are the same
NEAR = 0.01  # a label that is so near to a whole number is it
NONE = 1e-5  # but 0, background, only what is nearer still
ALIKE = 0.1  # of its size, by which a voxel of another scan may differ


class Volumes(Dataset):
    """A folder of NIfTI images and one of their labels: a.nii.gz with a.nii.gz.

    Items are a volume float32 (1, D, H, W), of mean 0 and deviation 1, and what
    `reading` makes of its labels: `masks.Binary()` a mask float32 (1, D, H, W) of 0 and
    1, `masks.Classes(K)` a label map int64. `pairs[i]` are the paths of item i,
    `skipped` those of what is not read.

    Raises FileNotFoundError for a folder that is not there; ValueError for names that
    do not pair, for an image and labels of another shape, place or spacing, and for
    labels that are no whole numbers.
    """

    def __init__(self, images, masks, reading=None):
        self.reading = reading or Binary()
        images, masks = Path(images), Path(masks)
        self.pairs = match(images, masks, ENDINGS)
        self.skipped = left_out(images, ENDINGS) + left_out(masks, ENDINGS)
        tell_skipped(self.skipped)
        wrong = []
        for image, mask in self.pairs:
            try:
                same_place(image, mask)
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise ValueError(some(wrong, "\n"))

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        """The volume and what `reading` makes of its labels: see the class."""
        image, mask = self.pairs[index]
        return read_volume(image), read_labels(mask, self.reading)


def read_volume(path):
    """float32 (1, D, H, W), less its mean and over its deviation (0 if it is flat).

    Raises ValueError for a file that cannot be read, and for values that are NaN.
    """
    image = canonical(path)
    with naming(path):
        values = image.get_fdata(dtype=np.float32)
    finite(path, values)
    volume = torch.from_numpy(values.transpose(2, 1, 0).copy())[None]
    if volume.min() == volume.max():  # whose float32 mean need not be that value
        return torch.zeros_like(volume)
    return (volume - volume.mean()) / volume.std().clamp(min=1e-6)


def read_labels(path, reading):
    """What a reading makes of a label file: (1, D, H, W).

    Raises ValueError for a file that cannot be read, for labels that are no whole
    numbers, and for what the reading refuses.
    """
    image = load(path)
    with naming(path):
        values = turned(image)
    whole = np.round(values)
    good = np.abs(values - whole) < NEAR  # NaN is not
    # No object may vanish: labels over 65,535 are nearly 0, all of them.
    lost = (whole == 0) & (np.abs(values) > NONE)
    if lost.any() or not good.all():
        raise ValueError(
            f"{path} holds labels that are no whole numbers, up to {values.max():.5g}: "
            "multiply them if they were divided, round them, or resample labels by the "
            "nearest neighbour"
        )
    return reading.of(path, np.ascontiguousarray(whole.astype(np.int64)))


def write_answer(found, like, path):
    """Write labels (1, D, H, W) that were found in the volume `like` as NIfTI, uint8.

    What was padded is cut off. The file has the axes, affine and units of `like`.
    Raises ValueError for an answer that is smaller than the volume.
    """
    source = load(like)
    shape = canonical(like).shape[::-1]
    if found.ndim != 4 or any(n < m for n, m in zip(found.shape[1:], shape)):
        raise ValueError(
            f"an answer of shape {tuple(found.shape)} for {like}, (1, D, H, W) = "
            f"{(1, *shape)}: it may be larger at the ends, never smaller"
        )
    depth, height, width = shape
    values = found[0, :depth, :height, :width].cpu().numpy().astype(np.uint8)
    values = values.transpose(2, 1, 0)
    axes = orientations.io_orientation(source.affine)
    there = orientations.axcodes2ornt("RAS")
    values = orientations.apply_orientation(
        values, orientations.ornt_transform(there, axes)
    )
    answer = nibabel.Nifti1Image(values, source.affine)
    answer.header.set_xyzt_units(*source.header.get_xyzt_units())
    answer.set_sform(*source.get_sform(coded=True))
    answer.set_qform(*source.get_qform(coded=True))
    nibabel.save(answer, path)


# --- checks -----------------------------------------------------------------------


def load(path):
    """The file as nibabel knows it, with three axes.

    Raises ValueError for what is none, for colours and complex numbers, for an axis
    without a voxel, and for an affine that gives voxels no place or no volume.
    """
    with naming(path):
        image = nibabel.load(path)
        axes, kind = image.shape[3:], image.get_data_dtype()
    if kind.kind not in "iuf":  # colours, complex numbers
        raise ValueError(f"{path} holds {kind}: save one channel of plain numbers")
    if len(image.shape) < 3 or any(n != 1 for n in axes):
        raise ValueError(
            f"{path} is of shape {image.shape}: a volume has three axes; save one "
            "series or one slice stack alone"
        )
    if 0 in image.shape:
        raise ValueError(f"{path} is of shape {image.shape}, no voxel: save it anew")
    place = image.affine
    if not np.isfinite(place).all() or np.linalg.matrix_rank(place[:3, :3]) < 3:
        what = f"{path} has an affine that puts voxels nowhere, {place[:3].tolist()}"
        raise ValueError(f"{what}: mend its sform or qform")
    return nibabel.funcs.squeeze_image(image) if axes else image


@contextmanager
def naming(path):
    """Whatever goes wrong inside becomes one ValueError that names the file."""
    try:
        yield
    except Exception as error:  # nibabel raises errors of many kinds
        what = f"{path} cannot be read as NIfTI ({type(error).__name__}: {error})"
        raise ValueError(f"{what}: replace it by a whole .nii or .nii.gz") from error


def canonical(path):
    """The file's image, its axes turned to right, front, up; nothing is resampled.

    Raises ValueError for a file that cannot be read or `load` refuses.
    """
    image = load(path)
    with naming(path):  # to turn it is to read its values
        return nibabel.as_closest_canonical(image)


def turned(image):
    """The values (D, H, W) of an image of nibabel's, of the type in its file."""
    return np.asanyarray(nibabel.as_closest_canonical(image).dataobj).transpose(2, 1, 0)


def same_place(image, mask):
    """ValueError unless labels lie voxel on voxel on their image, in any axis order."""
    a, b = canonical(image), canonical(mask)
    if a.shape != b.shape:
        what = f"{mask} is {b.shape} voxels, its image {image} {a.shape}"
        raise ValueError(f"{what}: resample the labels to the image")
    if np.allclose(a.affine, b.affine, atol=SAME):
        return
    spacing, others = voxel_sizes(a.affine), voxel_sizes(b.affine)
    if not np.allclose(spacing, others, atol=SAME):
        theirs, ours = in_mm(others), in_mm(spacing)
        what = f"{mask} has voxels of {theirs}, its image {image} of {ours}"
    elif not np.allclose(a.affine[:3, 3], b.affine[:3, 3], atol=SAME):
        theirs, ours = in_mm(b.affine[:3, 3]), in_mm(a.affine[:3, 3])
        what = f"{mask} begins at {theirs}, its image {image} at {ours}"
    else:
        what = f"{mask} is turned against its image {image}"
    raise ValueError(f"{what}: resample the labels to the image, or mend the header")


def voxel_mm3(image):
    """The volume of a voxel in mm3, by the affine and the header's unit (none: mm).

    The header's own spacing (pixdim) may be another: the affine is what places voxels.
    """
    unit = dict(meter=1e3, micron=1e-3).get(image.header.get_xyzt_units()[0], 1)
    return float(abs(np.linalg.det(image.affine[:3, :3]))) * unit**3


def spacing(path):
    """The sizes of a file's voxels along right, front and up, as its network sees it.

    Numbers in the unit of the header (none: mm), with four digits.
    """
    affine = load(path).affine
    order = np.argsort(orientations.io_orientation(affine)[:, 0])
    return [float(f"{size:.4g}") for size in voxel_sizes(affine)[order]]


def in_mm(numbers):
    """Three numbers in words."""
    return " x ".join(f"{number:.5g}" for number in numbers) + " mm"
