"""The ONNX file and the model card of small trainings."""

import contextlib
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from helpers.app import export, models
from tests.helpers.lines import (
    FILES,
    VOLUMES,
    refused,
    run,
    with_,
    write_photos,
    write_volumes,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with three trainings that were exported, and others to be scored."""
    folder = tmp_path_factory.mktemp("exported")
    with contextlib.chdir(folder):
        write_photos(12, 60, 60)
        valid = with_(FILES, crop="44", validation="0.4")
        assert run(f"{valid} --set padding=valid") == 0
        write_photos(4, 61, 60, images="new", masks="new_masks")
        assert run("report run --images new --masks new_masks") == 0
        assert run("export run --licence MIT") == 0
        write_photos(12, 40, 56, classes=3, images="p3", masks="m3")
        line = with_(FILES, images="p3", masks="m3", classes="3", out="classes")
        assert run(with_(line, crop="24x40")) == 0 and run("export classes") == 0
        write_volumes(3)
        assert run(with_(VOLUMES, classes="3", out="volumes")) == 0
        assert run("export volumes") == 0
    return folder


@pytest.fixture
def there(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("run", [(1, 3, 52, 60), (3, 3, 44, 72)]),
        ("classes", [(1, 3, 48, 64), (3, 3, 36, 20)]),
        ("volumes", [(1, 1, 12, 16, 20), (2, 1, 8, 6, 16)]),
    ],
)
def test_the_file_takes_other_sizes_and_batches(there, name, shapes):
    net, _ = models.load_model(f"{name}/model.pt")
    session = onnxruntime.InferenceSession(f"{name}/model.onnx")
    for shape in shapes:
        image = torch.rand(shape)
        found = session.run(None, {"image": image.numpy()})[0]
        with torch.no_grad():
            assert np.abs(found - net(image).numpy()).max() < 1e-3


def facts(name):
    return {p.key: p.value for p in onnx.load(f"{name}/model.onnx").metadata_props}


def test_the_file_knows_its_use(there):
    _, about = models.load_model("run/model.pt")
    own = facts("run")
    assert float(own["threshold"]) == about["threshold"] and own["classes"] == "1"
    assert own["sizes"] == "height width: multiples of 4 plus [0, 0]"
    assert own["scale"].startswith("values over 255 (8 bits) or 65535 (16 bits), RGB")
    assert "sigmoid" in own["answer"]
    assert facts("classes")["answer"] == "the class with the largest logit"
    assert facts("volumes")["axes"] == "batch channel depth height width"


def test_the_card_says_how_good_the_model_is_and_what_is_open(there):
    card = Path("run/card.md").read_text(encoding="utf-8")
    assert card.startswith("# 02_unet.small_unet, trained as run\n")
    for part in ("## Data", "## Scores", "## Limits", "## Licence", "## How to use it"):
        assert part in card
    assert "| validation (5) | 0." in card and "| others (4) | 0." in card
    assert "predict --model run/model.pt --image" in card
    assert "\nMIT\n" in card and "no others were tried" not in card
    card = Path("classes/card.md").read_text(encoding="utf-8")
    assert "no others were tried" in card and "if several show one object" in card
    assert "| class 2 | " in card and "**Fill in:** the licence" in card


def test_a_card_that_was_filled_in_is_kept(there, capsys, monkeypatch):
    written = []  # in the place of model.onnx, which takes ten seconds
    monkeypatch.setattr(export, "to_onnx", lambda *_: written.append(1) or 0)
    Path("kept").mkdir()
    assert run("export run --out kept") == run("export run --out kept") == 0
    card = Path("kept/card.md")
    text = card.read_text(encoding="utf-8")
    open_line = next(line for line in text.splitlines() if "pictures are from" in line)
    for own in ("From the bridge.", f"{open_line}\nFrom the bridge."):
        card.write_text(text.replace(open_line, own), encoding="utf-8")
        before = card.read_bytes()
        err = refused(capsys, "export run --out kept")
        assert "kept/card.md was filled in, and a new card would lack what it" in err
        assert card.read_bytes() == before and len(written) == 2


def test_damaged_scores_are_named(there, capsys):
    shutil.copytree("run", "damaged")
    Path("damaged/scores.json").write_text("{}")
    err = refused(capsys, "export damaged")
    assert "damaged/scores.json is damaged, it lacks 'data': train it again" in err


def test_what_onnx_cannot_hold_is_said_in_one_line(there, capsys, monkeypatch):
    def fails(*_, **__):
        try:
            raise TypeError("Failed. message: no complex numbers\n  at line 3")
        except TypeError as error:
            raise RuntimeError("a long story") from error

    monkeypatch.setattr(torch.onnx, "export", fails)
    Path("other").mkdir()
    err = refused(capsys, "export run --out other")
    assert "this network cannot be exported (no complex numbers)" in err
    assert list(Path("other").iterdir()) == []
    Path("other").rmdir()


def test_what_is_not_what_pytorch_computes_is_not_written(there, capsys, monkeypatch):
    monkeypatch.setattr(export, "difference", lambda *_: 0.5)
    Path("off").mkdir()
    assert "0.5 of a logit off" in refused(capsys, "export classes --out off")
    assert list(Path("off").iterdir()) == []


@pytest.mark.parametrize("line", ["export gone", "export run --out gone"])
def test_it_refuses(there, capsys, line):
    assert "gone is not a folder" in refused(capsys, line)
