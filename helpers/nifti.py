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
from torch.nn import functional as F
from torch.utils.data import Dataset

from helpers.masks import IGNORE, Binary
from helpers.pairs import left_out, match, tell_skipped
from helpers.pictures import finite

ENDINGS = (".nii.gz", ".nii")
SAME = 1e-3  # mm: affines that differ by less are the same


class Volumes(Dataset):
    """A folder of NIfTI images and one of their labels: a.nii.gz with a.nii.gz.

    Items are a volume float32 (1, D, H, W), of mean 0 and deviation 1, and what
    `reading` makes of its labels: `masks.Binary()` a mask float32 (1, D, H, W) of 0 and
    1, `masks.Classes(K)` a label map int64. Sides are padded at their end, to `size`,
    (D, H, W), or to multiples of `step`: with the least value of the volume, labels
    with IGNORE and masks with 0. `pairs[i]` are the paths of item i.

    Raises FileNotFoundError for a folder that is not there; ValueError for names that
    do not pair, for an image and labels of another shape, place or spacing, for labels
    that are no whole numbers, and for a volume larger than `size`.
    """

    def __init__(self, images, masks, reading=None, size=None, step=1):
        if size is not None and np.shape(size) != (3,):
            raise ValueError(f"size {size!r}: give (D, H, W) in voxels")
        self.reading, self.size, self.step = reading or Binary(), size, step
        images, masks = Path(images), Path(masks)
        self.pairs = match(images, masks, ENDINGS)
        tell_skipped(left_out(images, ENDINGS) + left_out(masks, ENDINGS))
        wrong = []
        for image, mask in self.pairs:
            try:
                same_place(image, mask)
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise ValueError("\n".join(wrong[:5]))

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        image, mask = self.pairs[index]
        volume, labels = read_volume(image), read_labels(mask, self.reading)
        try:
            room = room_for(volume.shape[1:], self.size, self.step)
        except ValueError as error:
            raise ValueError(f"{image}: {error}") from error
        void = IGNORE if labels.dtype == torch.int64 else 0
        volume = F.pad(volume, room, value=volume.min().item())
        return volume, F.pad(labels, room, value=void)


def read_volume(path):
    """float32 (1, D, H, W), less its mean and over its deviation (0 if it is flat)."""
    image = canonical(load(path))
    with told(path):
        values = image.get_fdata(dtype=np.float32)
    finite(path, values)
    volume = torch.from_numpy(values.transpose(2, 1, 0).copy())[None]
    return (volume - volume.mean()) / volume.std().clamp(min=1e-6)


def read_labels(path, reading):
    """What a reading makes of a label file: (1, D, H, W)."""
    image = canonical(load(path))
    with told(path):
        values = np.asanyarray(image.dataobj)
    whole = np.round(values)
    if not (np.abs(values - whole) < 0.01).all():  # NaN included
        raise ValueError(
            f"{path} holds labels that are no whole numbers, up to {values.max():.5g}: "
            "round them, or resample labels by the nearest neighbour"
        )
    return reading.of(path, whole.astype(np.int64).transpose(2, 1, 0))


def write_answer(found, like, path):
    """Write labels (1, D, H, W) that were found in the volume `like` as NIfTI, uint8.

    What was padded is cut off. The file has the axes, affine and units of `like`.
    """
    source = load(like)
    shape = canonical(source).shape[::-1]
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
    """The file as nibabel knows it, three axes; ValueError for what is none."""
    with told(path):
        image = nibabel.load(path)
        axes, kind = image.shape[3:], image.get_data_dtype()
    if kind.kind not in "iuf":  # colours, complex numbers
        raise ValueError(f"{path} holds {kind}: save one channel of plain numbers")
    if len(image.shape) < 3 or any(n != 1 for n in axes):
        raise ValueError(
            f"{path} is of shape {image.shape}: a volume has three axes; save one "
            "series or one slice stack alone"
        )
    return nibabel.funcs.squeeze_image(image) if axes else image


@contextmanager
def told(path):
    """Whatever goes wrong inside becomes one ValueError that names the file."""
    try:
        yield
    except Exception as error:  # nibabel raises errors of many kinds
        what = f"{path} cannot be read as NIfTI ({type(error).__name__}: {error})"
        raise ValueError(f"{what}: replace it by a whole .nii or .nii.gz") from error


def canonical(image):
    """The image with its axes turned to right, front, up; nothing is resampled."""
    return nibabel.as_closest_canonical(image)


def same_place(image, mask):
    """ValueError unless labels lie voxel on voxel on their image, in any axis order."""
    a, b = canonical(load(image)), canonical(load(mask))
    if a.shape != b.shape:
        what = f"{mask} is {b.shape} voxels, its image {image} {a.shape}"
        raise ValueError(f"{what}: resample the labels to the image")
    if np.allclose(a.affine, b.affine, atol=SAME):
        return
    spacing, others = a.header.get_zooms()[:3], b.header.get_zooms()[:3]
    if not np.allclose(spacing, others, atol=SAME):
        theirs, ours = in_mm(others), in_mm(spacing)
        what = f"{mask} has voxels of {theirs}, its image {image} of {ours}"
    elif not np.allclose(a.affine[:3, 3], b.affine[:3, 3], atol=SAME):
        theirs, ours = in_mm(b.affine[:3, 3]), in_mm(a.affine[:3, 3])
        what = f"{mask} begins at {theirs}, its image {image} at {ours}"
    else:
        what = f"{mask} is turned against its image {image}"
    raise ValueError(f"{what}: resample the labels to the image, or mend the header")


def in_mm(numbers):
    """Three numbers in words."""
    return " x ".join(f"{number:.5g}" for number in numbers) + " mm"


def room_for(shape, size, step):
    """What F.pad is to add at the end of each side, last side first."""
    room = []
    for k, side in enumerate(shape):
        wanted = size[k] if size else -(-side // step) * step
        if side > wanted:
            raise ValueError(f"{tuple(shape)} voxels (D, H, W) do not fit into {size}")
        room = [0, wanted - side, *room]
    return room
