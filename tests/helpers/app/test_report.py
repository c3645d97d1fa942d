"""The report of small trainings."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.app import models
from tests.helpers.lines import (
    DRAWN,
    FILES,
    VOLUMES,
    refused,
    run,
    with_,
    write_photos,
    write_volumes,
)

pytestmark = pytest.mark.usefixtures("folder")


def page(name="run/report.html"):
    return Path(name).read_text(encoding="utf-8")


def trained(classes=1, **options):
    write_photos(12, 40, 56, classes)
    options = dict(classes=str(classes), validation="0.4") | options
    assert run(with_(FILES, **options)) == 0


@pytest.mark.parametrize("classes", [1, 3])
def test_the_report_has_all_that_one_shows_a_colleague(capsys, classes):
    trained(classes)
    scores = json.loads(Path("run/scores.json").read_text())
    assert run("report run") == 0
    text = page()
    low, high = scores["interval"]
    assert f"{scores['iou']:.3f}, 95 % interval {low:.3f} to {high:.3f}" in text
    assert ", today " not in text  # the sum of all pixels is that of the training
    for title in ("Training", "Validation pictures", "the worst", "Data", "Settings"):
        assert title in text
    assert "Versions" in text and "torch" in text and "split-seed" in text
    assert text.count('class="row"') == 5  # all of five
    assert "IoU at each threshold" in text or classes > 1
    assert "Calibration: " in text
    for name in ["class 2", "not painted"] if classes == 3 else ["boundary F1"]:
        assert name in text
    assert "95 % interval (5 pictures)" in text
    assert not re.findall(r'(?:src|href)="(?!data:)|url\(|<script', text)
    order = [row["iou"] for row in scores["pictures"]]
    found = re.findall(r"answer, \w* ?\w*IoU ([\d.]+)", text)
    assert [float(value) for value in found] == sorted(
        round(value, 3) for value in order
    )


NEW = "report run --images new --masks new_masks"


def test_pictures_that_had_no_part_get_a_section(capsys):
    trained()
    write_photos(4, images="new", masks="new_masks")
    assert run(f"{NEW} --out other.html") == 0
    assert "Other pictures" in page("other.html")
    assert "other.html is there already" in refused(capsys, f"{NEW} --out other.html")
    scores = json.loads(Path("run/others.json").read_text())
    assert scores["threshold"] == models.load_model("run/model.pt")[1]["threshold"]


def test_what_another_model_scored_on_them_is_forgotten():
    trained()
    write_photos(4, images="new", masks="new_masks")
    assert run(NEW) == 0 and Path("run/others.json").exists()
    longer = dict(classes="1", validation="0.4", steps="8")
    assert run(f"{with_(FILES, **longer)} --resume") == 0
    assert not Path("run/others.json").exists()


def test_other_pictures_of_which_all_is_ignored_are_refused(capsys):
    write_photos(classes=3)
    assert run(with_(FILES, classes="3", validation="0.4")) == 0
    write_photos(4, 44, images="new", masks="new_masks", classes=3)
    for path in Path("new_masks").iterdir():
        Image.fromarray(np.full_like(np.asarray(Image.open(path)), 255)).save(path)
    assert "new_masks: all is ignored" in refused(capsys, NEW)
    assert not Path("run/others.json").exists()


def test_pictures_of_the_training_are_refused_under_any_name(capsys):
    trained()
    write_photos(4, images="new", masks="new_masks")
    Path("new/2.png").write_bytes(Path("photos/7.png").read_bytes())
    Path("new_masks/2_mask.png").write_bytes(Path("masks/7_mask.png").read_bytes())
    err = refused(capsys, NEW)
    assert "new/2.png had part in the training of run: leave out what" in err
    assert not Path("run/others.json").exists()


def test_new_pages_count_by_their_file_and_not_by_what_they_share(capsys):
    write_stacks(range(4))
    stacks = "--stacks --validation 0.5"
    assert run(f"{with_(FILES, masks='labels', images='stacks')} {stacks}") == 0
    write_stacks((1, 4), images="new", masks="new_masks")
    assert "new/s1.tif had part" in refused(capsys, NEW)
    Path("new/s1.tif").unlink()
    Path("new_masks/s1.tif").unlink()
    assert run(NEW) == 0  # its first page is that of all files


def write_stacks(numbers, images="stacks", masks="labels"):
    """Files of two pages each, the first of which is the same everywhere."""
    for folder in (images, masks):
        Path(folder).mkdir()
    for k in numbers:
        pages = np.zeros((2, 40, 48), np.uint8)
        pages[1, 5 + k : 20, 10:30] = 200
        tifffile.imwrite(f"{images}/s{k}.tif", pages, photometric="minisblack")
        tifffile.imwrite(f"{masks}/s{k}.tif", pages > 0, photometric="minisblack")


def test_new_pictures_have_a_group_of_their_own(capsys):
    write_photos(6)
    for k in range(6):
        Path(f"photos/{k}.png").rename(f"photos/site{k // 2}_{k}.png")
        Path(f"masks/{k}_mask.png").rename(f"masks/site{k // 2}_{k}.png")
    assert run(with_(FILES, group="site[0-9]")) == 0
    write_photos(4, 44, images="new", masks="new_masks")
    assert "--group needs a name that has 'site[0-9]'" in refused(capsys, NEW)
    assert run(f"{NEW} --group [0-9]") == 0
    assert "95 % interval (4 objects)" in page()
    assert "it goes with --images" in refused(capsys, "report run --group [0-9]")


def test_masks_and_classes_that_were_changed_are_refused(capsys):
    write_photos(8, classes=3)
    Path("kinds.toml").write_text("ground = 0\nscratch = 1\nstain = 2\n")
    assert run(with_(FILES, colours="kinds.toml")) == 0 and run("report run") == 0
    Path("kinds.toml").write_text("ground = 0\nstain = 2\nscratch = 1\n")
    err = refused(capsys, "report run")
    assert "classes of run are ground, stain, scratch and were ground, scratch" in err
    Path("kinds.toml").write_text("ground = 0\nscratch = 2\nstain = 1\n")
    err = refused(capsys, "report run")
    assert "run was trained with other masks of 0, 1, 2, 3, 4, and 3 more: put" in err


def test_pictures_that_were_changed_are_a_note(capsys):
    trained()
    Image.new("RGB", (56, 40), (9, 9, 9)).save("photos/3.png")
    assert run("report run") == 0
    assert "note: run: its pictures or masks are not quite" in capsys.readouterr().err
    assert ", today " in page()


@pytest.mark.parametrize("name", ["history", "scores"])
@pytest.mark.parametrize("content", ["{}", "[]"])
def test_a_damaged_file_is_named(capsys, name, content):
    trained()
    Path(f"run/{name}.json").write_text(content)
    assert f"run/{name}.json is damaged, it lacks " in refused(capsys, "report run")


def test_a_drawn_training_and_a_volume_have_a_report():
    assert run(DRAWN) == 0 and run("report run") == 0
    write_volumes(4)
    assert run(with_(VOLUMES, classes="3", out="vol")) == 0 and run("report vol") == 0
    assert ", today " not in page() + page("vol/report.html")
    assert page("vol/report.html").count('class="row"') == 1
    assert "1 picture: no interval below 3" in page("vol/report.html")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("report gone", "gone holds no model.pt: name the folder of a training"),
        ("report folds", "folds holds folds: name one, such as folds/fold1"),
        ("report run --images photos", "--images goes with --masks"),
        ("report run --out r.txt", "r.txt is no .html"),
        ("report run --out gone/r.html", "gone is not a folder: make it first"),
    ],
)
def test_it_refuses(capsys, line, answer):
    trained()
    Path("folds").mkdir()
    Path("folds/folds.json").write_text("{}")
    assert answer in refused(capsys, line)


def test_settings_that_lack_one_are_damaged(capsys):
    trained()
    history = json.loads(Path("run/history.json").read_text())
    whole = history["settings"]
    for name in ("validation", "split_seed"):
        settings = {key: value for key, value in whole.items() if key != name}
        Path("run/history.json").write_text(
            json.dumps(dict(history, settings=settings))
        )
        told = f"history.json is damaged, its settings lack '{name}'"
        assert told in refused(capsys, "report run")


def test_pictures_that_are_gone_are_said(capsys):
    trained()
    Path("photos/3.png").rename("photos/33.png")
    Path("masks/3_mask.png").rename("masks/33_mask.png")
    assert "the pictures of run have other names" in refused(capsys, "report run")
    assert not Path("run/report.html").exists()
