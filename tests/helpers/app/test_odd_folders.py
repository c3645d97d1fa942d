"""Folders as people bring them, which were once read otherwise than they were meant."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.app import predict, sources
from tests.helpers.lines import (
    VOLUMES,
    refused,
    run,
    write_photos,
    write_volumes,
)

pytestmark = pytest.mark.usefixtures("folder")
BOTH = "--images photos --masks masks"
TRAIN = (
    f"train {BOTH} --network 02_unet.small_unet --set widths=4,8 --crop 16 --steps 5"
)
TRAIN += " --every 5 --batch 2 --out a"


def without_object(names):
    for name in names:
        Image.new("L", (48, 40)).save(f"masks/{name}_mask.png")


def test_no_object_among_the_validation_masks_is_said_wherever_a_score_is(capsys):
    write_photos(8, 40, 48)
    without_object(range(8))
    assert run(TRAIN) == 2  # nothing to learn
    write_photos(8, 40, 48)
    without_object(range(1, 8))  # of which two validate
    seed = next(k for k in range(9) if 0 in sources.divided(list(range(8)), 0.2, k)[0])
    assert run(f"inspect {BOTH} --split-seed {seed}") == 1
    assert "object is in no validation mask" in capsys.readouterr().out
    assert run(f"{TRAIN} --split-seed {seed}") == 0
    assert run("report a") == run("export a") == 0
    told = "No validation mask shows object: score and threshold say nothing."
    for page in ("a/report.html", "a/card.md"):
        assert told in Path(page).read_text(encoding="utf-8")


def test_blanks_in_a_table_of_groups_make_no_other_object():
    Path("g.csv").write_text("name,group\nleft_0,patient0\nright_0 , patient0 \n")
    names = ["left_0", "right_0"]
    files = [Path(f"{name}.png") for name in names]
    assert sources.grouped(names, files, "g.csv") == ["patient0"] * 2


def test_a_pattern_of_groups_has_one_pair_of_brackets():
    files = [Path("left_0.png")]
    with pytest.raises(ValueError, match=r"has 2 pairs of brackets.*\(\?:"):
        sources.grouped(["left_0"], files, "(left|right)_([0-9])")
    assert sources.grouped(["left_0"], files, "(?:left|right)_([0-9])") == ["0"]


def test_what_is_trained_resized_is_used_resized_whatever_size_the_files_have():
    write_photos(4, 16, 16)
    assert run(TRAIN.replace("--crop 16", "--size 16")) == 0
    assert predict.opened(Path("a/model.pt"))[1]["resized"]


@pytest.mark.parametrize("cut, top, answer", [
    (128, 65535, "--cut 32768, or --cut 1"),
    (0.5, 255, "--cut 128, or --cut 1"),
])  # fmt: skip
def test_a_cut_near_nothing_is_refused(capsys, cut, top, answer):
    write_photos(4, 16, 16)
    kind = np.uint16 if top > 255 else np.uint8
    soft = np.linspace(0, top, 256).astype(kind).reshape(16, 16)
    for path in Path("masks").iterdir():
        path.unlink()
    for k in range(4):
        tifffile.imwrite(f"masks/{k}.tif", soft)
    assert run(f"inspect {BOTH} --cut {cut}") == 1
    assert answer in capsys.readouterr().out
    half = answer.split()[1].strip(",")
    assert run(f"inspect {BOTH} --cut {half}") == run(f"inspect {BOTH} --cut 1") == 0
    assert run(f"inspect {BOTH}") == 1
    assert f"take --cut {half}" in capsys.readouterr().out


def test_a_hidden_picture_is_named_and_what_macos_leaves_is_not(capsys):
    write_photos(4, 16, 16)
    Image.new("L", (16, 16)).save("photos/.5mm.png")
    Path("photos/._1.png").write_bytes(b"x")
    assert run(f"inspect {BOTH}") == 1
    said = capsys.readouterr().out
    assert "odd: not read: photos/.5mm.png" in said and "._1" not in said


def test_an_option_that_is_named_twice_is_refused(capsys):
    assert "--images is named twice" in refused(
        capsys, f"inspect {BOTH} --images others"
    )
    write_photos(4, 16, 16)
    assert run(TRAIN + " --set widths=4,8,16") == 0  # several of these


def test_a_training_that_is_done_says_when_its_pictures_changed_since(capsys):
    write_photos(4, 16, 16)
    assert run(TRAIN) == run(TRAIN) == 0
    assert "changed" not in capsys.readouterr().err
    late = Path("a/model.pt").stat().st_mtime + 9
    os.utime("masks/1_mask.png", (late, late))
    assert run(TRAIN) == 0
    assert "note: 1 file that it reads changed after that" in capsys.readouterr().err


def test_a_training_that_is_done_needs_its_pictures_no_more(capsys):
    write_photos(6, 16, 16)
    assert run(TRAIN) == 0
    Path("photos/1.png").unlink()
    Path("masks/Thumbs.db").write_text("x")
    assert run(TRAIN) == 0
    said = capsys.readouterr().err
    assert "trained on 6 pictures, there are 5" in said and "changed" not in said
    Path("photos").rename("gone")
    assert run(TRAIN) == 0
    Path("photos").mkdir()
    assert run(TRAIN) == 0


def test_a_low_cut_may_be_meant(capsys):
    write_photos(4, 16, 16)
    assert run(f"inspect {BOTH} --cut 0.5") == 0  # 0 and 255, nothing between
    faint = np.random.default_rng(0).integers(80, 120, (16, 16)).astype(np.uint16)
    faint[4:8] = 60000
    for k in range(4):
        Path(f"masks/{k}_mask.png").unlink()
        tifffile.imwrite(f"masks/{k}.tif", faint)
    assert run(f"inspect {BOTH} --cut 200") == 0
    assert "object: 25.00%" in capsys.readouterr().out


def test_12_bits_in_16_are_cut_at_their_own_middle(capsys):
    write_photos(4, 16, 16)
    soft = np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)
    for k in range(4):
        Path(f"masks/{k}_mask.png").unlink()
        tifffile.imwrite(f"masks/{k}.tif", soft)
    assert run(f"inspect {BOTH}") == 1
    assert "take --cut 2048" in capsys.readouterr().out
    assert run(f"inspect {BOTH} --cut 2048") == 0


def test_a_training_that_is_damaged_says_what_to_delete(capsys):
    write_photos(4, 16, 16)
    assert run(TRAIN) == 0
    Path("a/scores.json").write_text("{")
    told = refused(capsys, TRAIN)
    assert "a is damaged" in told and "delete a, or name a new --out" in told


def test_values_near_255_are_no_sign_to_ignore(capsys):
    write_photos(4, 16, 16)
    values = np.array([0, 1, 254, 255], np.uint8).repeat(64).reshape(16, 16)
    for k in range(4):
        Image.fromarray(values).save(f"masks/{k}_mask.png")
    assert run(f"inspect {BOTH}") == 1
    assert "class3 = 255" in capsys.readouterr().out


def test_more_classes_than_labels_are_refused():
    lines = "\n".join(f"c{k} = {k}" for k in range(256))
    Path("k.toml").write_text(lines)
    with pytest.raises(ValueError, match=r"names 256 classes: .* 255 is the most"):
        sources.from_colours(Path("k.toml"))


def test_half_of_the_masks_inverted(capsys):
    write_photos(8, 40, 48)
    for k in range(4):
        mask = Image.open(f"masks/{k}_mask.png")
        Image.eval(mask, lambda value: 255 - value).save(f"masks/{k}_mask.png")
    assert run(f"inspect {BOTH}") == 1
    assert "4 of 8 masks are nearly all object" in capsys.readouterr().out


def rewritten(change):
    """Two volumes with labels, the first of them as `change(image)` makes it."""
    write_volumes(2)
    path = sorted(Path("scans").iterdir())[0]
    for name in (path, Path("labels", path.name)):
        values, affine = change(nibabel.load(name))
        nibabel.save(nibabel.Nifti1Image(values, affine), name)
    return run("inspect --images scans --masks labels --instances")


def test_volumes_of_several_voxel_sizes_are_odd(capsys):
    def thinner(image):
        return np.asarray(image.dataobj), np.diag([1, 2, 3, 1.0])

    assert rewritten(thinner) == 1
    assert "odd: voxels of several sizes, 0.8 x 0.8 x 3" in capsys.readouterr().out


def test_voxels_are_compared_as_the_network_sees_them(capsys):
    def lying(image):  # the same, in another order of axes
        values = np.asarray(image.dataobj).transpose(2, 0, 1)
        return values, image.affine[:, [2, 0, 1, 3]]

    rewritten(lying)
    assert "several sizes" not in capsys.readouterr().out


def test_a_volume_of_other_voxels_than_the_trainings_is_told(capsys):
    write_volumes(4)
    assert run(f"{VOLUMES} --classes 3") == 0
    path = sorted(Path("scans").iterdir())[0]
    assert run(f"predict --model run/model.pt --image {path} --out same.nii.gz") == 0
    assert "its voxels" not in capsys.readouterr().out
    values = np.asarray(nibabel.load(path).dataobj)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2, 2, 2, 1.0])), "x.nii.gz")
    assert run("predict --model run/model.pt --image x.nii.gz --out y.nii.gz") == 0
    assert "its voxels are 2 x 2 x 2 mm" in capsys.readouterr().out


def test_an_answer_for_a_picture_that_is_all_but_black_says_so(capsys):
    write_photos(4, 16, 16)
    assert run(TRAIN) == 0
    dark = np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(dark).save("dark.png")
    Image.new("L", (16, 16), 9).save("flat.png")
    for name, told in (("dark", "nearly black"), ("flat", "one colour all over")):
        assert (
            run(f"predict --model a/model.pt --image {name}.png --out {name}_.png") == 0
        )
        assert told in capsys.readouterr().out


def test_a_folder_that_is_stopped_says_how_far_it_came(capsys, monkeypatch):
    write_photos(4, 16, 16)
    assert run(TRAIN) == 0
    as_ever, calls = predict.one, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return as_ever(*given)

    monkeypatch.setattr(predict, "one", stopping)
    assert run("predict --model a/model.pt --image photos --out found") == 130
    assert "stopped; 2 of 4 answers are in found" in capsys.readouterr().err


def test_the_longest_name_that_a_system_takes(capsys):
    write_photos(4, 16, 16)
    assert run(TRAIN) == 0
    name = f"{'b' * 251}.bmp"
    Image.new("L", (16, 16)).save(f"photos/{name}")
    assert run("predict --model a/model.pt --image photos --out found") == 0
    assert len(list(Path("found").iterdir())) == 5


def test_folds_are_named_by_export_too(capsys):
    Path("a").mkdir()
    Path("a/folds.json").write_text("{}")
    assert "a holds folds: name one, such as a/fold1" in refused(capsys, "export a")
    assert "a holds folds" in refused(capsys, "export a --page p.html")
    told = "gone is not a folder: name that of a training"
    assert told in refused(capsys, "export gone")
