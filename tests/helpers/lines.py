"""What the tests of the command line share: an order, and small folders of pictures."""

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from helpers.app.cli import main

TINY = "--network 02_unet.small_unet --set widths=4,8,16 --steps 6 --every 2 --batch 4"
DRAWN = f"train {TINY} --drawn surfaces --pictures 8 --size 32 --out run"
FILES = f"train {TINY} --crop 32 --out run --images photos --masks masks"
AFFINE = np.diag([0.8, 0.8, 5, 1])
AFFINE[:3, 3] = -10, 12, -30
VOLUMES = (
    "train --network 03_vnet.VNet --set widths=2,4 --images scans --masks labels "
    "--steps 5 --every 5 --batch 2 --crop 8x16x16 --flips none --out run"
)


def run(line):
    """The exit status of a command line; words in quotes hold no blanks here."""
    return main(line.split())


def with_(line, **options):
    """The command line with other options; None leaves one out, "" is a flag."""
    words = line.split()
    for name, value in options.items():
        name = f"--{name.replace('_', '-')}"
        while name in words:
            place = words.index(name)
            del words[place : place + 2]
        if value is not None:
            words += [name, *value.split()]
    return " ".join(words)


def refused(capsys, line, status=2):
    """The one line that an order is refused with."""
    capsys.readouterr()
    assert run(line) == status
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    return err


def write_photos(n=5, height=40, width=48, classes=1, images="photos", masks="masks"):
    """Noise with a bright (or coloured) square, and a mask of it: n pairs."""
    rng = np.random.default_rng(0)
    Path(images).mkdir(exist_ok=True)
    Path(masks).mkdir(exist_ok=True)
    for k in range(n):
        photo = rng.integers(0, 160, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        mask[8:24, 4 * k % 20 : 4 * k % 20 + 16] = 255
        photo = np.maximum(photo, mask[..., None])
        if classes > 1:
            mask = (mask > 0) * np.uint8(1 + k % (classes - 1))
            photo[mask == 2, 1:] = 0  # red
        Image.fromarray(photo).save(f"{images}/{k}.png")
        Image.fromarray(mask).save(f"{masks}/{k}_mask.png")


def write_volumes(n=3):
    """Volumes of an odd depth (x, y, z), and labels 0, 1, 2."""
    rng = np.random.default_rng(0)
    for k in range(n):
        labels = np.zeros((20, 18, 7), np.uint8)
        labels[3:9, 4:10, 1:5], labels[12:15, 2:7, 3:6] = 1, 2
        values = (
            rng.integers(0, 50, labels.shape).astype(np.int16) + np.int16(400) * labels
        )
        for folder, content in dict(scans=values, labels=labels).items():
            Path(folder).mkdir(exist_ok=True)
            path = f"{folder}/case.{k}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(content, AFFINE), path)
