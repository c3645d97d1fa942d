"""What `inspect` sees: kinds, classes, planted faults, twins across the split."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.app import settings
from tests.helpers.lines import (
    FILES,
    refused,
    run,
    with_,
    write_photos,
    write_volumes,
)

pytestmark = pytest.mark.usefixtures("folder")
LINE = "inspect --images photos --masks masks"


def test_what_is_fine_is_told_and_nothing_is_odd(capsys):
    write_photos(8, 40, 48)
    assert run(f"{LINE} --out sheet.html") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "8 pairs, 8 samples to train with",
        "sizes, height first: 40 x 48 (8)",
        "values: uint8 (8)",
    ]  # fmt: skip
    share = 16 * 16 / (40 * 48)
    assert lines[4] == f"object: {share:.2%} of the pixels, in 8 of 8"
    assert lines[5].startswith("split: 6 to train on, 2 to validate (8 objects")
    page = Path("sheet.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 8 and "Nothing odd was found." in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_planted_faults_are_all_found(capsys):
    write_photos(12, 40, 48)
    Path("masks/1_mask.png").unlink()
    Image.new("L", (48, 30)).save("masks/2_mask.png")
    Image.open("photos/3.png").save("masks/3_mask.png")
    Image.new("L", (48, 40), 255).save("masks/4_mask.png")
    Image.new("RGB", (48, 40), (7, 7, 7)).save("photos/5.png")
    Path("photos/6.png").write_text("<html>")
    Path("photos/notes.txt").write_text("x")
    assert run(f"{LINE} --out sheet.html") == 1
    said = capsys.readouterr().out
    for fault in (
        "odd: photos/1.png has no mask",
        "odd: masks/2_mask.png is 30 x 48, its image photos/2.png is 40 x 48",
        "odd: masks/3_mask.png is no mask of 0/1 or 0/255",
        "odd: nearly all is object where the median is 13%, is it inverted? 4 (100%)",
        "odd: of one colour all over: 5",
        "odd: photos/6.png cannot be read",
        "odd: not read: photos/notes.txt",
    ):
        assert fault in said
    page = Path("sheet.html").read_text(encoding="utf-8")
    assert "masks/3_mask.png is no mask" in page and page.count("<img ") == 8


def test_pages_of_two_sizes_are_odd_as_they_are_refused_in_training(capsys):
    for folder, second in (("photos", (24, 24)), ("masks", (40, 48))):
        Path(folder).mkdir()
        with tifffile.TiffWriter(f"{folder}/a.tif") as file:
            for shape in ((40, 48), second):
                file.write(np.zeros(shape, np.uint8), photometric="minisblack")
    assert run(f"{LINE} --stacks") == 1
    told = "page 2 of masks/a.tif is (40, 48) px, of photos/a.tif (24, 24): make them"
    assert told in capsys.readouterr().out


def test_volumes_take_no_option_of_pictures(capsys):
    write_volumes(2)
    line = "inspect --images scans --masks labels --classes 3"
    assert "volumes keep their scale: no --size" in refused(capsys, f"{line} --stacks")
    assert "no --size" in refused(capsys, f"{line} --span 0 9")


def test_the_same_picture_on_both_sides_of_the_split(capsys):
    write_photos(6, 80, 80)
    rng = np.random.default_rng(1)
    for k in range(6):
        coarse = rng.integers(0, 255, (10, 10, 3), dtype=np.uint8).repeat(8, 0)
        Image.fromarray(coarse.repeat(8, 1)).save(f"photos/{k}.png")
    assert run(f"{LINE} --split-seed 1") == 0
    write_photos(6, 80, 80, masks="masks", images="other")
    for k in range(6):  # each picture again, as a JPEG
        Image.open(f"photos/{k}.png").save(f"photos/{k}b.jpg", quality=60)
        Image.open(f"masks/{k}_mask.png").save(f"masks/{k}b.png")
    capsys.readouterr()
    assert run(LINE) == 1
    said = capsys.readouterr().out
    assert "nearly the same on both sides of the split: " in said
    pairs = re.search(r"split: (.*); keep them", said.split("odd: ")[1]).group(1)
    for pair in pairs.split(", "):
        first, second = pair.split(" and ")
        assert first.rstrip("b") == second.rstrip("b")
    assert run(f"{LINE} --group [0-9]") == 0


def test_classes_and_what_the_masks_hold_for_a_file_of_colours(capsys):
    write_photos(6, classes=4)
    assert run(f"{LINE} --classes 4") == 0
    assert "class 2: " in capsys.readouterr().out
    assert run(f"{LINE} --classes 5") == 1
    assert "odd: class 4 is in no mask" in capsys.readouterr().out
    assert run(LINE) == 1
    said = capsys.readouterr().out
    assert "take --cut 128" in said
    lines = [line.strip() for line in said.splitlines() if line.startswith("  class")]
    Path("found.toml").write_text("\n".join(lines))
    found = settings.table("found.toml")
    assert found == dict(class0=0, class1=1, class2=2, class3=3)
    assert run(f"{LINE} --colours found.toml") == 0
    assert run(with_(FILES, colours="found.toml")) == 0


@pytest.mark.parametrize("suffix", ["", "_mask"])
def test_a_picture_may_be_called_mask_and_its_mask_is_its_own(capsys, suffix):
    write_photos(4)
    for k, name in enumerate(("a", "a_mask", "b", "c")):
        Path(f"photos/{k}.png").rename(f"photos/{name}.png")
        Path(f"masks/{k}_mask.png").rename(f"masks/{name}{suffix}.png")
    assert run(LINE) == 0
    assert "odd" not in capsys.readouterr().out


def test_no_values_are_proposed_where_none_was_refused(capsys):
    write_photos(6, 40, 48)
    Image.new("L", (48, 30)).save("masks/2_mask.png")
    Path("masks/3_mask.png").write_text("<html>")
    Path("photos/4.png").write_text("<html>")
    assert run(LINE) == 1
    said = capsys.readouterr().out
    assert said.count("odd: ") >= 3 and "--colours" not in said


@pytest.mark.parametrize("void", [255, -1])
def test_what_is_to_be_ignored_is_proposed_so_and_can_be_read(capsys, void):
    write_photos(6, classes=3)
    for path in Path("masks").iterdir():
        mask = np.asarray(Image.open(path)).astype(np.int16)
        mask[0] = void
        path.unlink()
        tifffile.imwrite(path.with_suffix(".tif"), mask)
    assert run(LINE) == 1
    said = capsys.readouterr().out
    lines = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    Path("found.toml").write_text("\n".join(lines))
    found = settings.table("found.toml")
    assert found == dict(class0=0, class1=1, class2=2, ignore=void)
    Path("less.toml").write_text("a = 0\nb = 1\nc = 2")
    assert run(f"{LINE} --colours less.toml") == 1
    assert "Add it, as ignore if it is not to count" in capsys.readouterr().out
    assert run(f"{LINE} --colours found.toml") == 0
    assert run(with_(FILES, colours="found.toml")) == 0


def test_probabilities_have_a_cut_and_no_classes(capsys):
    write_photos(6)
    for path in Path("masks").iterdir():
        mask = np.where(np.asarray(Image.open(path)) > 0, 0.93, 0.04)
        path.unlink()
        tifffile.imwrite(path.with_suffix(".tif"), mask.astype(np.float32))
    assert run(LINE) == 1
    said = capsys.readouterr().out
    assert "take --cut 0.465 (object" in said and "class0" not in said
    assert run(f"{LINE} --cut 0.465") == 0
    assert run(with_(FILES, cut="0.465")) == 0


def test_a_value_that_only_the_last_masks_have_is_proposed(capsys):
    write_photos(40, 16, 40)
    Image.new("L", (40, 16), 3).save("masks/9_mask.png")  # the last by name
    assert run(LINE) == 1
    assert "  class1 = 3  # 640 px" in capsys.readouterr().out


def test_colours_are_proposed_too(capsys):
    write_photos(2)
    for k in range(2):
        mask = np.asarray(Image.open(f"masks/{k}_mask.png"))
        Image.fromarray(np.stack([mask, 0 * mask, mask], 2)).save(f"masks/{k}_mask.png")
    assert run(LINE) == 1
    assert "  class1 = [255, 0, 255]  # 512 px" in capsys.readouterr().out


def test_what_is_unusual_in_all_files_is_told_and_not_odd(capsys):
    write_photos(4)
    for k in range(4):
        photo = np.asarray(Image.open(f"photos/{k}.png").convert("L"))
        Path(f"photos/{k}.png").unlink()
        tifffile.imwrite(f"photos/{k}.tif", 16 * photo.astype(np.uint16))  # 12 bits
        mask = np.asarray(Image.open(f"masks/{k}_mask.png"))
        Image.fromarray(255 - mask).save(f"masks/{k}_mask.png")
    assert run(LINE) == 0
    said = capsys.readouterr().out
    assert f"of whose range {16 * 255 / 65535:.1%} is used: --span" in said
    assert "most is object: if it is background" in said
    assert run(f"{LINE} --span 0 4095") == 0
    assert "--span" not in capsys.readouterr().out


def test_16_bits_beside_8_are_a_hint_where_they_are_dark_and_never_odd(capsys):
    write_photos(6)
    for k in range(3):
        photo = np.asarray(Image.open(f"photos/{k}.png").convert("L")).astype(np.uint16)
        Image.fromarray(257 * photo).save(f"photos/{k}.png")
    assert run(LINE) == 0
    said = capsys.readouterr().out
    assert "values: uint16 (3), uint8 (3)" in said and "--span" not in said
    for k in range(3):
        photo = np.asarray(Image.open(f"photos/{k}.png"))
        Image.fromarray(photo // 16).save(f"photos/{k}.png")
    assert run(LINE) == 0
    said = capsys.readouterr().out
    assert "is used: --span states another, for 8 bits too: bring all" in said


def test_palettes_that_number_their_colours_in_two_ways(capsys):
    write_photos(6, classes=3)
    for k in range(6):
        mask = Image.open(f"masks/{k}_mask.png")
        red_first = [0, 0, 0, 255, 0, 0, 0, 255, 0]
        mask.putpalette(red_first if k % 2 else [0, 0, 0, 0, 255, 0, 255, 0, 0])
        mask.save(f"masks/{k}_mask.png")
    assert run(f"{LINE} --classes 3") == 1
    assert "odd: masks/1_mask.png calls (255, 0, 0) number 1" in capsys.readouterr().out


def test_one_pair_cannot_be_divided(capsys):
    write_photos(1)
    assert run(LINE) == 1
    assert "validation needs a second one" in capsys.readouterr().out


def test_volumes(capsys):
    write_volumes()
    line = "inspect --images scans --masks labels --classes 3 --out sheet.html"
    assert run(line) == 1  # of one kind and place: all alike
    said = capsys.readouterr().out
    assert "sizes, height first: 7 x 18 x 20 (3)" in said and "int16 (3)" in said
    assert "class 2: 1.79% of the pixels, in 3 of 3" in said
    assert Path("sheet.html").read_text(encoding="utf-8").count("<img ") == 3


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("inspect --images photos", "--images and --masks are needed"),
        (f"{LINE} --out sheet.txt", "sheet.txt is no .html"),
        (f"{LINE} --out old.html", "old.html is there already"),
        (f"{LINE} --out gone/sheet.html", "gone is not a folder"),
        (with_(LINE, masks="gone"), "gone is not a folder"),
        (with_(LINE, masks="photos"), "photos cannot hold images and masks: use a fo"),
        (f"{LINE} --classes 0", "--classes is 0; it must be at least 1"),
        (f"{LINE} --split-seed -5", "--split-seed is -5; it must be at least 0"),
        (f"{LINE} --validation nan", "--validation is nan, no share between 0 and 1"),
    ],
)
def test_it_refuses(capsys, line, answer):
    write_photos(2)
    Path("old.html").write_text("old")
    assert answer in refused(capsys, line)
