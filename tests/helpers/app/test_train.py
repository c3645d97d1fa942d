"""The command line: what it refuses, an interruption, a model trained and used."""

import json
import re
import subprocess
import sys
from pathlib import Path

import accelerate
import numpy as np
import pytest
import torch
from PIL import Image

from helpers import chapters, data, folders, metrics, training
from helpers.app import models, parallel, segment, train
from tests.helpers.toys import plain, same_weights

TINY = "--network 02_unet.small_unet --set widths=4,8,16 --steps 6 --every 2 --batch 4"
DRAWN = f"train {TINY} --drawn surfaces --pictures 8 --size 32 --out run"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder with five photographs and masks; no graphics card."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    rng = np.random.default_rng(0)
    for name in ("photos", "masks", "cut", "full"):
        Path(name).mkdir()
    for k in range(5):
        photo = rng.integers(0, 200, (40, 48, 3), dtype=np.uint8)
        mask = np.zeros((40, 48), np.uint8)
        mask[8:24, 4 * k : 4 * k + 16] = 255
        Image.fromarray(np.maximum(photo, mask[..., None])).save(f"photos/{k}.jpg")
        Image.fromarray(mask).save(f"masks/{k}_mask.png")
        Image.fromarray(mask[:30]).save(f"cut/{k}.png")
    Path("full/letter.txt").write_text("a letter")
    return tmp_path


def run(line):
    return train.main(line.split())


def with_(line, **options):
    """The command line with other options."""
    words = line.split()
    for name, value in options.items():
        if f"--{name}" in words:
            words[words.index(f"--{name}") + 1] = value
        else:
            words += [f"--{name}", *value.split()]
    return " ".join(words)


def history_of(name):
    return plain(json.loads(Path(name, "history.json").read_text())["history"])


# --- refused ----------------------------------------------------------------------

FILES = f"train {TINY} --out run --images photos --masks masks"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("", "required: train | predict"),
        ("teach", "invalid choice: 'teach'"),
        ("train --drawn surfaces --out run", "required: --network"),
        (f"train {TINY} --out run", "one of the arguments --images --mvtec --drawn is"),
        (with_(DRAWN, colour="red"), "unrecognized arguments: --colour red"),
        (with_(DRAWN, network="UNet"), "'UNet' is not CHAPTER.NAME, such as 02_unet."),
        (with_(DRAWN, network="02.UNet"), "no chapter '02'; there are: 00_seg"),
        (with_(DRAWN, network="02_unet.Unet"), "no network 'Unet', but .*UNet"),
        (with_(DRAWN, set="nrm=True"), r"nrm=True\) cannot.*: it takes share, .*norm"),
        (with_(DRAWN, set="widths=8"), r"widths=8\) cannot be made .*: it takes share"),
        (with_(DRAWN, set="norm"), "'norm' is not NAME=VALUE with"),
        (with_(DRAWN, set="widths=(4,"), r"'widths=\(4,' is not NAME=VALUE with"),
        (with_(DRAWN, set="widths={4,8}"), r"'widths=\{4,8\}' is not NAME=VALUE with"),
        (with_(DRAWN, set="in_channels=1"), r"\(N, 1, H, W\), got \(4, 3, 32, 32\)"),
        (with_(DRAWN, set="classes=2"), r"answers \(4, 2, 32, 32\).*classes=1"),
        (with_(DRAWN, size="30"), "cannot take 30 px.*28 and 32 work.*--size"),
        (with_(DRAWN, size="32 40"), "drawn pictures are square: --size 32"),
        (with_(FILES, size="32 40 8"), r"\[32, 40, 8\]: give an int or \(heig"),
        (with_(DRAWN, size="0"), r"size 0: give an int or \(height, w"),
        (with_(DRAWN, steps="4"), "--steps is 4; it must be at least 5"),
        (with_(DRAWN, batch="0"), "--batch is 0; it must be at least 1"),
        (with_(DRAWN, every="x"), "argument --every: invalid int value: 'x'"),
        (with_(DRAWN, pictures="0"), "--pictures is 0; it must be at least 1"),
        (with_(DRAWN, lr="nan"), "--lr is nan; it must be a number above 0"),
        (with_(DRAWN, loss="mse"), "--loss: invalid choice: 'mse'"),
        (with_(FILES, validation="1"), "--validation is 1.0, no share between 0 and 1"),
        (with_(DRAWN, seed="-1"), "--seed is -1; it must be at least 0"),
        (with_(DRAWN, images="photos"), "not allowed with argument"),
        (with_(FILES, images="nowhere"), "nowhere is not a folder: check the path"),
        (with_(FILES, masks="full"), "full holds no picture: put .png"),
        (with_(FILES, masks="cut"), "0.png is 30 x 48, its image .* is 40 x 48"),
        (with_(FILES, masks="photos"), "cannot hold images and masks"),
        (f"train {TINY} --out run --images photos", "--images goes with --masks"),
        (f"train {TINY} --out run --mvtec .", "--mvtec with --category"),
        (f"train {TINY} --out run --mvtec . --category nut", "no category 'nut'"),
        (with_(DRAWN, out="full"), "full holds something else: name a new --out"),
        (with_(DRAWN, out="full/letter.txt"), "letter.txt holds something else"),
    ],
)
def test_bad_arguments_are_refused_in_one_line_and_nothing_is_written(
    folder, capsys, line, answer
):
    before = sorted(folder.rglob("*"))
    assert run(line) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert re.search(answer, err), err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(("batch", "works"), [("6", "4 and 8"), ("2", "4 and 8")])
def test_a_batch_that_the_processes_do_not_divide(monkeypatch, capsys, batch, works):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert run(with_(DRAWN, batch=batch)) == 2
    expected = f"a batch of {batch} cannot be shared by 4 processes.*{works} work"
    assert re.search(expected, capsys.readouterr().err)
    assert not Path("run").exists()


def test_each_process_must_be_able_to_train_on_its_share(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "4")
    line = with_(DRAWN, network="06_u2net.small_u2net", set="classes=1")
    assert run(line) == 2
    assert "a batch of 1 x 3 x 32 x 32 (one picture of 32" in capsys.readouterr().err


class Alone:
    """Instead of an Accelerator: one that sees no other process."""

    num_processes, device, is_main_process = 1, torch.device("cpu"), True

    def __init__(self, cpu):
        pass


def test_processes_that_accelerate_does_not_see_are_refused(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(accelerate, "Accelerator", Alone)
    assert run(DRAWN) == 2
    assert "2 processes were launched and Accelerate sees 1" in capsys.readouterr().err
    assert not Path("run").exists()


def test_one_picture_is_too_few(capsys):
    for k in range(1, 5):
        Path(f"photos/{k}.jpg").unlink()
        Path(f"masks/{k}_mask.png").unlink()
    assert run(FILES) == 2
    assert "1 picture with its mask: validation needs a" in capsys.readouterr().err


def test_a_photograph_as_a_mask_is_refused_before_training(capsys):
    Image.open("photos/3.jpg").save("masks/3_mask.png")
    assert run(FILES) == 2
    assert "3_mask.png is no mask" in capsys.readouterr().err
    assert not Path("run").exists()


def test_the_module_runs_and_returns_its_status():
    command = [sys.executable, "-m", "helpers.app", "train", "--steps", "x"]
    output = dict(capture_output=True, text=True, timeout=60)
    done = subprocess.run(command, cwd=parallel.BOOK, **output)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: argument --steps: invalid int value: 'x'")


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as end:
        run("train --help")
    assert end.value.code == 0
    assert "--split-seed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("norm=false", False),
        ("norm=True", True),
        ("x=none", None),
        ("padding=zeros", "zeros"),
        ("padding='zeros'", "zeros"),
        ("widths=8,16", (8, 16)),
        ("widths=(8,16)", (8, 16)),
        ("share=0.04", 0.04),
    ],
)
def test_settings_are_python_literals_or_words(text, value):
    assert train.setting(text) == (text.partition("=")[0], value)


# --- a training -------------------------------------------------------------------


def test_it_trains_what_fit_trains_and_says_how_it_goes(capsys):
    assert run(DRAWN) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"02_unet.small_unet, 7,\d{3} parameters: 8 pictures to train on, 2 to "
        r"validate, 32 x 32 px; 1 process on \w+",
        lines[0],
    )
    assert [line.split(":")[0] for line in lines[1:4]] == [
        "step 2 of 6", "step 4 of 6", "step 6 of 6",
    ]  # fmt: skip
    assert lines[4].startswith("run/model.pt: validation IoU ")
    assert sorted(path.name for path in Path("run").iterdir()) == [
        "history.json", "model.pt", "settings.json",
    ]  # fmt: skip

    torch.manual_seed(0)
    net = chapters.load("02_unet").small_unet(widths=(4, 8, 16))
    pictures = data.surfaces(8, 32)
    validation = data.surfaces(2, 32, split="validation")
    settings = dict(steps=6, every=2, batch=4, augment=training.flips)
    alone = training.fit(net, pictures, validation, **settings)
    assert history_of("run") == plain(alone.history)
    net, configuration = models.load_model("run/model.pt")
    assert same_weights(net, alone.net)
    score = metrics.scores(*alone.predict(validation), alone.threshold)
    expected = dict(
        threshold=alone.threshold, validation=score, network="02_unet.small_unet",
        arguments={"widths": [4, 8, 16]}, size=[32, 32], resized=False, loss="bce",
        tiling=list(segment.tiling(net, (32, 32))), versions=models.versions(),
    )  # fmt: skip
    assert configuration == expected


def test_a_network_with_several_maps_and_the_other_loss(monkeypatch):
    monkeypatch.setattr(train, "tiling", lambda net, size: (256, 64))  # takes seconds
    line = with_(DRAWN, network="06_u2net.small_u2net", loss="bce_dice", steps="5")
    assert run(line.replace("widths=4,8,16", "share=0.1") + " --no-flips") == 0
    about = json.loads(Path("run/history.json").read_text())
    assert about["settings"]["flips"] is False and about["processes"] == 1
    # Each of seven maps: BCE and 1 - Dice, which is near 1 at the start.
    assert 7 < about["history"][0]["loss"] < 14


def test_a_valid_network_answers_for_less_than_the_mask():
    line = with_(DRAWN, set="padding=valid", size="44")
    assert run(line.replace("--steps", "widths=4,8,16 --steps")) == 0


def test_ctrl_c_leaves_a_checkpoint_from_which_the_same_command_goes_on(
    monkeypatch, capsys
):
    assert run(with_(DRAWN, out="whole")) == 0
    capsys.readouterr()
    rows = []

    def ctrl_c(steps, history):
        rows.append(history[-1]["step"])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "progress", ctrl_c)
        assert run(DRAWN) == 130
    assert rows == [2]
    goes_on = "stopped; the same command goes on from run/checkpoint.pt\n"
    assert capsys.readouterr().err == goes_on
    assert run(with_(DRAWN, lr="0.1")) == 2
    answer = "error: run holds another training (lr 0.005, not 0.1): name a new --out"
    assert capsys.readouterr().err.startswith(answer)
    assert run(DRAWN) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "going on from run/checkpoint.pt"
    assert lines[2].startswith("step 4 of 6")
    assert history_of("run") == history_of("whole")
    net, here = models.load_model("run/model.pt")
    other, there = models.load_model("whole/model.pt")
    assert same_weights(net, other) and here == there
    content = Path("run/model.pt").read_bytes()
    assert run(DRAWN) == 0
    assert capsys.readouterr().out == "run is done: run/model.pt\n"
    assert Path("run/model.pt").read_bytes() == content


def test_ctrl_c_before_the_first_validation(monkeypatch, capsys):
    def ctrl_c(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "flips", ctrl_c)
    assert run(DRAWN) == 130
    assert capsys.readouterr().err == "stopped; the same command begins again\n"
    assert [path.name for path in Path("run").iterdir()] == ["settings.json"]


def test_a_damaged_folder_is_named(capsys):
    assert run(DRAWN) == 0
    Path("run/model.pt").unlink()
    Path("run/checkpoint.pt").write_text("no weights")
    assert run(DRAWN) == 2
    assert "run/checkpoint.pt is damaged" in capsys.readouterr().err
    Path("run/settings.json").write_text("{")
    assert run(DRAWN) == 2
    assert "run/settings.json is damaged: delete run" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_with_status_1(monkeypatch, capsys):
    broken = dict(bce=lambda logits, masks: logits.mean() * torch.nan)
    monkeypatch.setattr(train, "LOSSES", broken)
    assert run(DRAWN) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: the loss is nan at step 1") and err.count("\n") == 1


def test_the_readers_own_folder(capsys):
    assert run(with_(FILES, size="32 40", validation="0.4")) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "3 pictures to train on, 2 to validate, resized to 32 x 40 px" in first
    assert run("predict --model run/model.pt --image photos/0.jpg --out 0.png") == 0
    said = capsys.readouterr().out
    mask = Image.open("0.png")
    assert mask.size == (48, 40) and mask.mode == "L"
    pixels = np.asarray(mask)
    assert set(np.unique(pixels)) <= {0, 255}
    assert said.startswith(f"0.png: {(pixels > 0).mean():.1%} of the pixels")
    net, configuration = models.load_model("run/model.pt")
    found = segment.segment(net, folders.read_image("photos/0.jpg"), configuration)
    assert np.array_equal(pixels > 0, found[0].numpy())


def test_the_split_of_a_folder_depends_on_its_seed_alone():
    pictures, validation = train.divided(10, 0.2, seed=1)
    assert sorted([*pictures, *validation]) == list(range(10))
    assert len(validation) == 2
    assert train.divided(10, 0.2, seed=1) == (pictures, validation)
    others = [train.divided(10, 0.2, seed)[1] for seed in (2, 3)]
    assert others != [validation, validation]
    assert len(train.divided(2, 0.9, seed=0)[0]) == 1


def test_mvtec_ad(capsys):
    root = Path("mvtec/nut")
    for kind, count in dict(good=3, crack=5).items():
        for k in range(count):
            for part in ("test", "ground_truth"):
                (root / part / kind).mkdir(parents=True, exist_ok=True)
            Image.open("photos/1.jpg").save(root / "test" / kind / f"{k}.png")
            if kind == "crack":
                mask = Image.open("masks/1_mask.png")
                mask.save(root / "ground_truth" / kind / f"{k}_mask.png")
    (root / "train" / "good").mkdir(parents=True)
    Image.open("photos/2.jpg").save(root / "train" / "good" / "0.png")
    assert run(f"train {TINY} --mvtec mvtec --category nut --size 32 --out run") == 0
    assert "resized to 32 x 32 px" in capsys.readouterr().out


# --- predict ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (dict(image="full/letter.txt"), "full/letter.txt cannot be read"),
        (dict(image="gone.jpg"), "gone.jpg cannot be read"),
        (dict(model="gone.pt"), "gone.pt is no file: name a model.pt"),
        (dict(model="full/letter.txt"), "full/letter.txt is damaged or is no model"),
        (dict(out="photos/0.jpg"), "photos/0.jpg is no PNG"),
        (dict(out="masks/0_mask.png"), "masks/0_mask.png is there already: name"),
        (dict(out="nowhere/m.png"), "nowhere is not a folder: make it first"),
    ],
)
def test_predict_refuses(capsys, change, answer):
    net = models.build("00_segmentation.ThreeLayers", {})
    facts = dict(threshold=0.5, size=(32, 32), resized=False, tiling=(256, 32))
    models.save_model("a.pt", net, "00_segmentation.ThreeLayers", {}, **facts)
    line = with_("predict --model a.pt --image photos/0.jpg --out m.png", **change)
    assert run(line) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {answer}") and err.count("\n") == 1 and out == ""
    assert not Path("m.png").exists()
