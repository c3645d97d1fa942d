"""The report of small trainings."""

import json
import re
from pathlib import Path

import pytest

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


def test_pictures_that_had_no_part_get_a_section():
    trained()
    write_photos(4, images="new", masks="new_masks")
    assert run("report run --images new --masks new_masks --out other.html") == 0
    assert "Other pictures" in page("other.html")
    scores = json.loads(Path("run/others.json").read_text())
    assert scores["threshold"] == models.load_model("run/model.pt")[1]["threshold"]


def test_a_drawn_training_and_a_volume_have_a_report():
    assert run(DRAWN) == 0 and run("report run") == 0
    write_volumes(4)
    assert run(with_(VOLUMES, classes="3", out="vol")) == 0 and run("report vol") == 0
    assert page("vol/report.html").count('class="row"') == 1
    assert "1 picture: no interval below 3" in page("vol/report.html")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("report gone", "gone holds no model.pt: name the folder of a training"),
        ("report folds", "folds holds folds: name one, such as folds/fold1"),
        ("report run --images photos", "--images goes with --masks"),
        ("report run --out r.txt", "r.txt is no .html"),
    ],
)
def test_it_refuses(capsys, line, answer):
    trained()
    Path("folds").mkdir()
    Path("folds/folds.json").write_text("{}")
    assert answer in refused(capsys, line)


def test_pictures_that_are_gone_are_said(capsys):
    trained()
    Path("photos/3.png").rename("photos/33.png")
    Path("masks/3_mask.png").rename("masks/33_mask.png")
    assert "the pictures of run have other names" in refused(capsys, "report run")
    assert not Path("run/report.html").exists()
