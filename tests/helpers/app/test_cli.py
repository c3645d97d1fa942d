"""The command line: what it refuses, its help, and settings from a file."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import accelerate
import pytest
import torch
from PIL import Image

from helpers.app import lines, parallel, settings
from tests.helpers.lines import DRAWN, FILES, TINY, refused, run, with_, write_photos


@pytest.fixture(autouse=True)
def photos(folder):
    write_photos()
    for name in ("cut", "full"):
        Path(name).mkdir()
    Path("full/letter.txt").write_text("a letter")
    for k in range(5):
        with Image.open(f"masks/{k}_mask.png") as mask:
            mask.crop((0, 0, 48, 30)).save(f"cut/{k}.png")
    return folder


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("", "Missing command"),
        ("teach", "No such command 'teach'"),
        ("train --drawn surfaces --out run", "Missing option '--network'"),
        (f"train {TINY} --out run", "one of --images, --mvtec and --drawn; here none"),
        (with_(DRAWN, colour="red"), "No such option: --colour"),
        (with_(DRAWN, network="UNet"), "'UNet' is not CHAPTER.NAME, such as 02_unet."),
        (with_(DRAWN, network="02.UNet"), "no chapter '02'; there are: 00_seg"),
        (with_(DRAWN, network="02_unet.Unet"), "no network 'Unet', but .*UNet"),
        (with_(DRAWN, set="nrm=True"), r"nrm=True.*\) cannot.*takes share, .*norm"),
        (with_(DRAWN, set="widths=8"), r"widths=8\) cannot be made .*: it takes share"),
        (with_(DRAWN, set="norm"), "'norm' is not NAME=VALUE with"),
        (with_(DRAWN, set="widths=(4,"), r"'widths=\(4,' is not NAME=VALUE with"),
        (with_(DRAWN, set="widths={4,8}"), r"'widths=\{4,8\}' is not NAME=VALUE with"),
        (with_(DRAWN, set="in_channels=1"), r"\(N, 1, H, W\), got \(4, 3, 32, 32\)"),
        (
            with_(DRAWN, set="classes=2"),
            r"answers \(4, 2, 32, 32\).*need one map: .*--set classes=1 says how",
        ),
        (with_(DRAWN, size="30"), "cannot take 30 px.*28 and 32 work.*--crop"),
        (with_(DRAWN, size="32x40"), "drawn pictures are square: --size 32"),
        (with_(FILES, crop="32x40x8"), "--crop is 32x40x8, and pictures have two"),
        (with_(FILES, crop="32x"), "--crop is '32x': give px of a side"),
        (with_(DRAWN, size="0"), "--size is '0': give px of a side"),
        (with_(FILES, size="32"), "--crop keeps the pictures' scale, --size resizes"),
        (with_(DRAWN, crop="32"), "drawn pictures have the side --size"),
        (with_(DRAWN, steps="4"), "--steps is 4; it must be at least 5"),
        (with_(DRAWN, batch="0"), "--batch is 0; it must be at least 1"),
        (with_(DRAWN, every="x"), "Invalid value for '--every': 'x' is not a valid i"),
        (with_(DRAWN, pictures="0"), "--pictures is 0; it must be at least 1"),
        (with_(DRAWN, patience="0"), "--patience is 0; it must be at least 1"),
        (with_(DRAWN, lr="nan"), "--lr is nan; it must be a number above 0"),
        (with_(DRAWN, loss="mse"), "Invalid value for '--loss': 'mse' is not one of"),
        (with_(DRAWN, flips="up"), "Invalid value for '--flips': 'up' is not one of"),
        (with_(FILES, loss="cross_entropy"), "cross_entropy takes class numbers"),
        (with_(FILES, loss="ce_dice"), "ce_dice takes class numbers"),
        (
            with_(FILES, classes="3", loss="bce"),
            "bce takes masks of one object.*or ce_",
        ),
        (with_(FILES, classes="3", cut="9"), "--cut and --classes read masks in two"),
        (with_(FILES, classes="3", cut="0"), "a cut at 0.0 makes all object"),
        (with_(FILES, classes="256"), "256 classes: there are 2 to 255"),
        (
            with_(FILES, classes="3"),
            "the train masks hold one class alone, and 255, wh",
        ),
        (with_(FILES, cut="0"), "a cut at 0.0 makes all object: take more than"),
        (with_(FILES, validation="1"), "--validation is 1.0, no share between 0 and 1"),
        (with_(FILES, group="site([0-9]"), "is no pattern"),
        (with_(FILES, group="site[0-9]"), "0, 1, 2, 3, 4: --group needs a name that"),
        (with_(FILES, group="none.csv"), "none.csv cannot be read"),
        (with_(FILES, folds="3", validation="0.3"), "leave out --validation"),
        (with_(FILES, folds="9"), "--folds 9 needs as many objects .*here 5"),
        (with_(DRAWN, folds="2"), "only --images takes --folds: MVTec AD and drawn"),
        (
            with_(f"{DRAWN} --stacks", span="0 99", classes="3", validation="0.3"),
            "only --images takes --span, --stacks, --validation, --classes: MVTec",
        ),
        (
            f"train {TINY} --out run --mvtec . --category nut --group cut --cut 9",
            "only --images takes --cut, --group: MVTec AD and drawn pictures",
        ),
        (with_(FILES, pictures="9"), "--pictures goes with --drawn: of files, all are"),
        (with_(DRAWN, seed="-1"), "--seed is -1; it must be at least 0"),
        (with_(DRAWN, images="photos"), "--images goes with --masks"),
        (with_(FILES, drawn="surfaces"), "take one of .*; here --images and --drawn"),
        (with_(FILES, images="nowhere"), "nowhere is not a folder: check the path"),
        (with_(FILES, masks="full"), "full holds no picture: put .png"),
        (with_(FILES, masks="cut"), "0.png is 30 x 48, its image .* is 40 x 48"),
        (with_(FILES, masks="photos"), "cannot hold images and masks"),
        (with_(FILES, masks=None), "--images goes with --masks"),
        (f"train {TINY} --out run --mvtec .", "--mvtec with --category"),
        (f"train {TINY} --out run --mvtec . --category nut", "no category 'nut'"),
        (with_(DRAWN, out="full"), "full holds something else: name a new --out"),
        (with_(FILES, out="full", folds="2"), "full holds something else"),
        (with_(DRAWN, out="full/letter.txt"), "letter.txt holds something else"),
        (f"{DRAWN} --resume", "run holds no training to resume"),
        (with_(DRAWN, weights="gone.pt"), "gone.pt is no file"),
        (with_(DRAWN, recipe="full/letter.txt"), "letter.txt cannot be read"),
    ],
)
def test_bad_arguments_are_refused_in_one_line_and_nothing_is_written(
    photos, capsys, line, answer
):
    before = sorted(photos.rglob("*"))
    err = refused(capsys, line)
    assert re.search(answer, err), err
    assert sorted(photos.rglob("*")) == before


@pytest.mark.parametrize(("batch", "works"), [("6", "4 and 8"), ("2", "4 and 8")])
def test_a_batch_that_the_processes_do_not_divide(monkeypatch, capsys, batch, works):
    monkeypatch.setenv("WORLD_SIZE", "4")
    expected = f"a batch of {batch} cannot be shared by 4 processes.*{works} work"
    assert re.search(expected, refused(capsys, with_(DRAWN, batch=batch)))
    assert not Path("run").exists()


def test_each_process_must_be_able_to_train_on_its_share(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "4")
    line = with_(DRAWN, network="06_u2net.small_u2net", set="classes=1")
    assert "a batch of 1 x 3 x 32 x 32 (one picture of 32" in refused(capsys, line)


class Alone:
    """Instead of an Accelerator: one that sees no other process."""

    num_processes, device, is_main_process = 1, torch.device("cpu"), True

    def __init__(self, cpu):
        pass


def test_processes_that_accelerate_does_not_see_are_refused(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(accelerate, "Accelerator", Alone)
    assert "2 processes were launched and Accelerate sees 1" in refused(capsys, DRAWN)
    assert not Path("run").exists()


def test_folds_and_processes_do_not_go_together(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "leave out torchrun" in refused(capsys, with_(FILES, folds="2"))


def test_a_message_of_the_readers_names_the_options(capsys):
    Image.open("photos/3.png").convert("L").save("masks/3_mask.png")
    err = refused(capsys, FILES)
    assert "3_mask.png is no mask" in err
    for option in ("--cut 128", "--classes K", "--colours FILE", "--instances"):
        assert option in err
    assert "Binary" not in err and not Path("run").exists()


def test_a_warning_is_one_line(capsys):
    Path("photos/notes.txt").write_text("x")
    assert run(with_(FILES, steps="5")) == 0
    err = capsys.readouterr().err
    assert err.startswith("note: 1 file or folder is not read: photos/notes.txt")
    assert err.count("\n") == 1


# --- the module -------------------------------------------------------------------


def module(*words):
    command = [sys.executable, "-m", "helpers.app", *words]
    output = dict(capture_output=True, text=True, timeout=60)
    return subprocess.run(command, cwd=parallel.BOOK, **output)


def test_the_module_runs_and_returns_its_status():
    done = module("train", "--steps", "x")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: Invalid value for '--steps': 'x' is not a")


def test_help_comes_without_torch_and_names_every_option():
    code = "import sys; from helpers.app.cli import main; main(['train', '--help']);"
    code += "print('torch' in sys.modules)"
    done = parallel.launch(1, "-c", code)
    for name in ("crop", "classes", "group", "folds", "patience", "recipe"):
        assert f"--{name}" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_each_command_has_help(capsys):
    for name in ("draw", "inspect", "train", "predict", "report", "export"):
        assert run(f"{name} --help") == 0
        assert f"helpers.app {name}" in capsys.readouterr().out
    assert run("--help") == 0
    assert "\n      python -m helpers.app report RUN\n" in capsys.readouterr().out


def test_outlines_are_drawn_as_masks_that_train_reads(capsys):
    Path("outlines").mkdir()
    for name, label in (("a", "crack"), ("b", "stain")):
        corners = [[1, 1], [9, 1], [9, 5]]
        outline = dict(label=label, points=corners, shape_type="polygon")
        content = dict(shapes=[outline], imageHeight=8, imageWidth=12)
        Path(f"outlines/{name}.json").write_text(json.dumps(content))
    line = "draw outlines --out drawn --names"
    answer = refused(capsys, f"{line} crack")
    assert "has the class 'stain', which is not among crack" in answer
    for names in ("crack,,stain", "crack,crack"):
        assert "each must be there, and once" in refused(capsys, f"{line} {names}")
    assert not Path("drawn").exists()
    assert run(f"{line} crack,stain") == 0
    assert "2 masks in drawn: --classes 3" in capsys.readouterr().out
    with Image.open("drawn/b.png") as mask:
        assert mask.size == (12, 8) and mask.getextrema() == (0, 2)


# --- settings ---------------------------------------------------------------------


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
    assert settings.setting(text) == (text.partition("=")[0], value)


def test_a_recipe_counts_where_the_line_says_nothing(capsys):
    Path("recipe.toml").write_text(
        'network = "02_unet.small_unet"\nset = ["widths=4,8,16"]\nsteps = 5\n'
        "batch = 4\nsplit-seed = 3\ncrop = 32\nspan = [0, 200]\n"
    )
    line = "train --recipe recipe.toml --images photos --masks masks --out"
    assert run(f"{line} a --steps 6") == 0
    kept = settings.table("a/settings.json")
    assert (kept["steps"], kept["split_seed"], kept["crop"]) == (6, 3, "32")
    assert kept["span"] == [0, 200] and kept["set"] == ["widths=4,8,16"]
    assert run("train --recipe a/settings.json --out b") == 0
    assert settings.table("b/settings.json") == kept
    scores = [settings.table(f"{name}/scores.json") for name in "ab"]
    assert scores[0] == scores[1]
    assert run("train --recipe a/settings.json --set padding=zeros --out c") == 0
    assert settings.table("c/settings.json")["set"] == [*kept["set"], "padding=zeros"]


def test_a_recipe_may_be_written_on_windows(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbfsteps = 5\r\nbatch = 4\r\n")
    assert settings.table(path) == dict(steps=5, batch=4)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("stpes = 5", "sets 'stpes', no setting; there: batch, "),
        ("steps = 'many'", "Invalid value for '--steps'"),
        ("steps 5", "recipe.toml cannot be read"),
        ("recipe = 'other.toml'", "sets 'recipe', no setting"),
        ("steps = 20.9", "sets steps to 20.9: it takes a whole number"),
        ("lr = true", "sets lr to True: it takes a number"),
        ("out = 5", "sets out to 5: it takes a path"),
        ("stacks = 1", "sets stacks to 1: it takes true or false"),
        ("span = 4095", "sets span to 4095: it takes two numbers, as in [0, 4095]"),
        ("set = 'norm=True'", "sets set to 'norm=True': it takes a list of texts"),
    ],
)
def test_a_bad_recipe_is_refused(capsys, text, answer):
    Path("recipe.toml").write_text(text)
    line = with_(DRAWN, steps=None, recipe="recipe.toml")
    assert answer in refused(capsys, line)


def test_the_recipe_of_one_fold_trains_all_folds(capsys):
    assert run(with_(FILES, folds="2", steps="5")) == 0
    assert run("train --recipe run/fold2/settings.json --out again") == 0
    names = sorted(path.name for path in Path("again").iterdir())
    assert names == ["fold1", "fold2", "folds.json"]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (MemoryError(), "MemoryError"),
        (RuntimeError("can't allocate memory: 9 GB"), "can't allocate memory: 9 GB"),
    ],
)
def test_memory_that_runs_out_is_said_in_one_line(monkeypatch, capsys, error, why):
    def fails(*_):
        raise error

    monkeypatch.setattr("helpers.app.train.train", fails)
    err = refused(capsys, DRAWN, status=1)
    assert f"there is not enough memory ({why}): take smaller pictures" in err


def test_other_errors_of_pytorch_keep_their_traceback(monkeypatch):
    def fails(*_):
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr("helpers.app.train.train", fails)
    with pytest.raises(RuntimeError, match="illegal"):
        run(DRAWN)


def test_a_full_disk_names_the_file_and_leaves_no_part(monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    def full_torch(*_):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_torch)
        err = refused(capsys, DRAWN)
        assert "run/checkpoint.pt cannot be written (PytorchStreamWriter" in err
        assert "is the disk full?" in err
    monkeypatch.setattr(Path, "write_text", full)
    err = refused(capsys, with_(DRAWN, out="other"))
    assert "No space left on device: 'other/settings.json'" in err
    assert not list(Path().rglob(".part-*"))


def test_names_that_are_no_utf_8(capsys):
    for folder, end in (("photos", ".png"), ("masks", "_mask.png")):
        os.rename(f"{folder}/0{end}", os.fsencode(folder) + b"/\xdf" + end.encode())
    assert run("inspect --images photos --masks masks --out sheet.html") == 0
    assert run(with_(FILES, validation="0.6")) == 0 and run("report run") == 0
    assert run("export run") == 0
    names = settings.table("run/scores.json")["data"]["names"]
    assert os.fsencode(names[-1]) == b"\xdf"
    assert "\\udcdf" in Path("run/report.html").read_text(encoding="utf-8")
    assert run("predict --model run/model.pt --image photos --out found") == 0
    assert "found/\\udcdf.png" in capsys.readouterr().out
    assert b"\xdf.png" in os.listdir(b"found")


def test_what_is_said_comes_once(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    lines.say("hello")
    assert capsys.readouterr().out == ""
