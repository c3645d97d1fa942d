"""The command line: what it refuses, an interruption, a model saved and used again."""

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
from torch.nn import functional as F

from helpers import chapters, cli, data, training

ROOT = Path(cli.__file__).resolve().parents[1]
TINY = "--network 02_unet.small_unet --set widths=4,8,16 --steps 6 --every 2 --batch 4"
DRAWN = f"train {TINY} --drawn surfaces --pictures 8 --size 32 --out run"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder with five photographs and masks; one thread, no graphics card."""
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
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(before)


def run(line):
    return cli.main(line.split())


def with_(line, **options):
    """The command line with other options."""
    words = line.split()
    for name, value in options.items():
        if f"--{name}" in words:
            words[words.index(f"--{name}") + 1] = value
        else:
            words += [f"--{name}", *value.split()]
    return " ".join(words)


def plain(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def history_of(name):
    return plain(json.loads(Path(name, "history.json").read_text())["history"])


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


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
        (
            with_(DRAWN, network="02_unet.Unet"),
            "no 'Unet': the networks of 02_",
        ),
        (
            with_(DRAWN, network="02_unet.math"),
            "has no 'math': the networks of",
        ),
        (
            with_(DRAWN, network="02_unet.check"),
            "be made .*: the networks of 02_",
        ),
        (with_(DRAWN, set="nrm=True"), "nrm=True.*: it takes share, .*norm, widths"),
        (with_(DRAWN, set="widths=8"), "widths=8 .*: it takes share, "),
        (with_(DRAWN, set="norm"), "'norm' is not NAME=VALUE with"),
        (with_(DRAWN, set="widths=(4,"), r"'widths=\(4,' is not NAME=VALUE with"),
        (with_(DRAWN, set="widths={4,8}"), r"'widths=\{4,8\}' is not NAME=VALUE with"),
        (with_(DRAWN, set="in_channels=1"), r"\(N, 1, H, W\), got \(4, 3, 32, 32\)"),
        (with_(DRAWN, set="classes=2"), r"answers \(4, 2, 32, 32\).*classes=1"),
        (with_(DRAWN, size="30"), "cannot take 30 px.*28 and 32 work.*--size"),
        (with_(DRAWN, size="32 40"), "drawn pictures are square: --size 32"),
        (with_(FILES, size="32 40 8"), "--size 32 40 8: one number or two"),
        (with_(DRAWN, size="0"), "--size: '0' is not a whole number from 1 up"),
        (with_(DRAWN, steps="4"), "--steps: '4' is not a whole number from 5 up"),
        (with_(DRAWN, batch="0"), "--batch: '0' is not a whole number from 1 up"),
        (with_(DRAWN, every="x"), "--every: 'x' is not a whole number from 1 up"),
        (with_(DRAWN, pictures="0"), "--pictures: '0' is not a whole number from 1"),
        (with_(DRAWN, lr="nan"), "--lr: 'nan' is not a number above 0"),
        (with_(DRAWN, loss="mse"), "--loss: invalid choice: 'mse'"),
        (with_(FILES, validation="1"), "'1' is not a share between 0 and 1"),
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


def test_processes_that_accelerate_does_not_see_are_refused(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(accelerate, "Accelerator", lambda cpu: training.OneProcess())
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
    command = [sys.executable, "-m", "helpers.cli", "train", "--steps", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: argument --steps: '4' is not a whole number")


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
    assert cli.setting(text) == (text.partition("=")[0], value)


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
    drawn = data.surfaces(8, 32), data.surfaces(2, 32, split="validation")
    alone = training.fit(net, *drawn, steps=6, every=2, batch=4, augment=training.flips)
    assert history_of("run") == plain(alone.history)
    net, configuration = cli.load_model("run/model.pt")
    assert same(net.state_dict(), alone.net.state_dict())
    threshold = training.best_threshold(*training.predict(net, drawn[1]))
    assert configuration["threshold"] == threshold
    assert configuration["validation"] == training.evaluate(net, drawn[1], threshold)
    assert configuration["network"] == "02_unet.small_unet"
    assert configuration["arguments"] == {"widths": [4, 8, 16]}
    assert configuration["size"] == [32, 32] and not configuration["resized"]
    assert configuration["loss"] == "bce"
    assert {"python", "torch"} < set(configuration["versions"])


def test_a_network_with_several_maps_and_the_other_loss():
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
        patch.setattr(cli, "progress", ctrl_c)
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
    models = [cli.load_model(f"{name}/model.pt") for name in ("run", "whole")]
    (net, here), (other, there) = models
    assert same(net.state_dict(), other.state_dict()) and here == there
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
    monkeypatch.setattr(cli, "LOSSES", broken)
    assert run(DRAWN) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: the loss is nan at step 0") and err.count("\n") == 1


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
    # As in training: the picture resized, one pass, the answer stretched back.
    net, configuration = cli.load_model("run/model.pt")
    image = cli.folders.read_image("photos/0.jpg")
    small = F.interpolate(image[None], (32, 40), mode="bilinear", antialias=True)
    with torch.no_grad():
        logits = F.interpolate(net(small.clamp(0, 1)), (40, 48), mode="bilinear")
    found = logits.sigmoid() > configuration["threshold"]
    assert np.array_equal(pixels > 0, found[0, 0].numpy())


def test_the_split_of_a_folder_depends_on_its_seed_alone():
    numbers = list(range(10))
    train, validation = cli.divided(numbers, 0.2, seed=1)
    assert sorted([*train, *validation]) == numbers and len(validation) == 2
    assert list(cli.divided(numbers, 0.2, seed=1)[1]) == list(validation)
    others = [list(cli.divided(numbers, 0.2, seed)[1]) for seed in (2, 3)]
    assert any(other != list(validation) for other in others)
    assert len(cli.divided([1, 2], 0.9, seed=0)[0]) == 1


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


# --- a model saved and used -------------------------------------------------------

NAME, ARGUMENTS = "02_unet.small_unet", dict(widths=(4, 8, 16))
FACTS = dict(threshold=0.5, size=(32, 32), resized=False)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return cli.build_network(NAME, ARGUMENTS).eval()


def test_a_model_is_read_back(net):
    cli.save_model("a.pt", net, NAME, ARGUMENTS, **FACTS, best=np.float64(0.25))
    again, configuration = cli.load_model("a.pt")
    assert same(again.state_dict(), net.state_dict()) and not again.training
    assert configuration["best"] == 0.25 and configuration["threshold"] == 0.5


def test_a_save_that_fails_leaves_what_was_there(net, monkeypatch):
    cli.save_model("a.pt", net, NAME, ARGUMENTS, **FACTS)
    content = Path("a.pt").read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        cli.save_model("a.pt", net, NAME, ARGUMENTS, **FACTS, loss=net)

    def dies(content, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(OSError, match="disk full"):
        cli.save_model("a.pt", net, NAME, ARGUMENTS, **FACTS)
    assert Path("a.pt").read_bytes() == content
    assert not list(Path().glob("*.part"))


def test_what_is_no_model_is_refused(net, capsys):
    cli.save_model("a.pt", net, NAME, ARGUMENTS, **FACTS)
    content = torch.load("a.pt", weights_only=True)
    content["configuration"]["arguments"] = {"widths": [4, 8]}
    torch.save(content, "other.pt")
    torch.save(net.state_dict(), "weights.pt")
    torch.save(net, "pickled.pt")
    Path("cut.pt").write_bytes(Path("a.pt").read_bytes()[:2000])
    for name, answer in {
        "other.pt": "does not fit 02_unet.small_unet as it is now: train it again",
        "weights.pt": "is damaged or is no model of this book",
        "pickled.pt": "is damaged or is no model of this book",
        "cut.pt": "is damaged or is no model of this book",
        "gone.pt": "is no file: name a model.pt",
    }.items():
        assert run(f"predict --model {name} --image photos/0.jpg --out m.png") == 2
        assert capsys.readouterr().err.startswith(f"error: {name} {answer}")
    assert not Path("m.png").exists()


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (dict(image="full/letter.txt"), "full/letter.txt cannot be read"),
        (dict(image="gone.jpg"), "gone.jpg cannot be read"),
        (dict(out="photos/0.jpg"), "photos/0.jpg is no PNG"),
        (dict(out="masks/0_mask.png"), "masks/0_mask.png is there already: name"),
        (dict(out="nowhere/m.png"), "nowhere is not a folder: make it first"),
    ],
)
def test_predict_refuses(net, capsys, change, answer):
    cli.save_model("a.pt", net, NAME, ARGUMENTS, **FACTS)
    line = with_("predict --model a.pt --image photos/0.jpg --out m.png", **change)
    assert run(line) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {answer}") and err.count("\n") == 1 and out == ""
    assert not Path("m.png").exists()


def answer(net, image, size=(32, 32)):
    with torch.no_grad():
        return cli.answer_all(net, image, size)


def test_a_picture_of_the_trainings_size_is_answered_in_one_go(net):
    image = torch.rand(3, 32, 32)
    with torch.no_grad():
        assert torch.equal(answer(net, image), net(image[None])[0])


def test_a_large_picture_is_answered_as_in_one_piece(net):
    image = torch.rand(3, 328, 296)  # two tiles by two, and multiples of 4
    with torch.no_grad():
        one = net(image[None])[0]
    inside = (slice(None), slice(64, -64), slice(64, -64))
    torch.testing.assert_close(
        answer(net, image)[inside], one[inside], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("size", [(33, 70), (200, 90), (40, 41), (20, 20)])
def test_every_pixel_of_a_picture_of_any_size_is_answered(net, size):
    found = cli.segment(net, torch.rand(3, *size), FACTS)
    assert found.shape == (1, *size) and found.dtype == torch.bool


def test_a_valid_network_answers_as_for_the_mirrored_picture():
    torch.manual_seed(0)
    net = cli.build_network(NAME, ARGUMENTS | dict(padding="valid")).eval()
    image = torch.rand(3, 100, 124)
    with torch.no_grad():  # 44 px in, 4 px out: 20 px are lost on each side
        whole = net(F.pad(image[None], (20, 20, 20, 20), mode="reflect"))[0]
    torch.testing.assert_close(answer(net, image, (44, 44)), whole)
    with pytest.raises(ValueError, match=r"16 x 300 px is too small .* 20 px around"):
        answer(net, torch.rand(3, 16, 300), (44, 44))
