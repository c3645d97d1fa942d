"""Trainings by the command line: what they do, an interruption, and going on."""

import json
import multiprocessing
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from helpers import chapters, data, folders, metrics, training
from helpers.app import models, parallel, segment, sources, train
from helpers.app.cli import main
from tests.helpers.lines import DRAWN, FILES, TINY, refused, run, with_, write_photos
from tests.helpers.toys import plain, same_weights

pytestmark = pytest.mark.usefixtures("folder")
KEPT = ["checkpoint.pt", "history.json", "model.pt", "scores.json", "settings.json"]


def history_of(name):
    return plain(json.loads(Path(name, "history.json").read_text())["history"])


def scores_of(name):
    return json.loads(Path(name, "scores.json").read_text(encoding="utf-8"))


def about(name):
    return models.load_model(f"{name}/model.pt")[1]


# --- a training -------------------------------------------------------------------


def test_it_trains_what_fit_trains_and_says_how_it_goes(capsys):
    assert run(DRAWN) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"02_unet.small_unet, 7,\d{3} parameters: 8 to train on, 2 to validate, "
        r"32 x 32 px; 1 process on \w+",
        lines[0],
    )
    for number, line in zip((2, 4, 6), lines[1:4]):
        assert line.startswith(f"step {number} of 6: loss ") and line.endswith(" left")
    assert lines[4].startswith("run/model.pt: validation IoU ")
    assert sorted(path.name for path in Path("run").iterdir()) == KEPT

    torch.manual_seed(0)
    net = chapters.load("02_unet").small_unet(widths=(4, 8, 16))
    pictures = data.surfaces(8, 32)
    validation = data.surfaces(2, 32, split="validation")
    settings = dict(steps=6, every=2, batch=4, augment=training.flips)
    alone = training.fit(net, pictures, validation, **settings)
    assert history_of("run") == plain(alone.history)
    net, configuration = models.load_model("run/model.pt")
    assert same_weights(net, alone.net)
    assert configuration["threshold"] == alone.threshold
    assert configuration["tiling"] == list(segment.plan(net, (32, 32))[0])
    expected = metrics.scores(*alone.predict(validation), alone.threshold)
    assert scores_of("run")["iou"] == pytest.approx(expected["iou"])
    assert scores_of("run")["interval"] is None  # of two pictures
    facts = dict(size=[32, 32], resized=False, classes=1, exact=True, volumes=False)
    assert facts.items() <= configuration.items()


def test_crops_of_files_at_native_scale_by_default(capsys, monkeypatch):
    write_photos(6, 70, 90)
    seen = []
    step = training.train_step

    def look(net, images, masks, loss, optimizer):
        seen.append(images.shape)
        return step(net, images, masks, loss, optimizer)

    monkeypatch.setattr(parallel.Engine, "step", lambda self, *a: look(*a))
    assert run(with_(FILES, flips="none")) == 0
    assert set(seen) == {(4, 3, 32, 32)}
    said = capsys.readouterr().out.splitlines()[0]
    assert "5 to train on, 1 to validate, crops of 32 x 32 px" in said
    assert about("run")["resized"] is False and about("run")["cropped"] is True
    assert run(with_(FILES, crop=None, out="usual")) == 0
    assert "crops of 128 x 128 px" in capsys.readouterr().out


def test_small_pictures_are_continued_to_the_crop_and_that_is_said(capsys):
    write_photos()
    assert run(with_(FILES, crop="64x32")) == 0
    assert "5 pictures smaller than the crop, continued" in capsys.readouterr().err


def test_resized_on_request(capsys):
    write_photos()
    assert run(with_(FILES, crop=None, size="32x40", validation="0.4")) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "3 to train on, 2 to validate, resized to 32 x 40 px" in first
    assert about("run")["size"] == [32, 40] and about("run")["resized"] is True
    assert run("predict --model run/model.pt --image photos/0.png --out 0.png") == 0
    mask = Image.open("0.png")
    assert mask.size == (48, 40) and mask.mode == "L"


def test_a_network_with_several_maps_and_the_other_loss(monkeypatch):
    monkeypatch.setattr(train, "plan", lambda *_: ((256, 64), False))  # takes seconds
    line = with_(DRAWN, network="06_u2net.small_u2net", loss="bce_dice", steps="5")
    assert run(with_(line, set="share=0.1", flips="none")) == 0
    noted = json.loads(Path("run/history.json").read_text())
    assert noted["settings"]["flips"] == "none" and noted["processes"] == 1
    # Each of seven maps: BCE and 1 - Dice, which is near 1 at the start.
    assert 7 < noted["history"][0]["loss"] < 14


@pytest.mark.parametrize("sides", ["--size 44", "--crop 44"])
def test_a_valid_network_answers_for_less_than_the_mask(sides):
    write_photos(5, 60, 60)
    line = with_(FILES, crop=None, steps="5").replace("--steps", f"{sides} --steps")
    assert run(f"{line} --set padding=valid") == 0
    assert run("predict --model run/model.pt --image photos/0.png --out 0.png") == 0
    assert Image.open("0.png").size == (60, 60)


def test_what_the_data_ask_for_is_set_unless_it_is_stated():
    write_photos(6, 64, 64, classes=3)
    line = "train --network 02_unet.UNet --set padding=zeros --set widths=4,8,16"
    more = "--images photos --masks masks --crop 32 --steps 5 --batch 2 --out run"
    assert run(f"{line} {more} --classes 3") == 0
    expected = dict(in_channels=3, classes=3, padding="zeros", widths=[4, 8, 16])
    assert about("run")["arguments"] == expected


def test_a_loss_that_is_not_finite_ends_with_status_1(monkeypatch, capsys):
    broken = dict(bce=lambda logits, masks: logits.mean() * torch.nan)
    monkeypatch.setattr(train, "LOSSES", broken)
    assert "the loss is nan at step 1" in refused(capsys, DRAWN, status=1)


# --- classes ----------------------------------------------------------------------


def test_several_classes_by_number(capsys):
    write_photos(8, 40, 48, classes=3)
    assert run(with_(FILES, classes="3", steps="40", every="40", lr="0.02")) == 0
    out = capsys.readouterr().out
    assert out.count("validation mean IoU 0.") == 2  # on the way, and at the end
    history = history_of("run")
    assert about("run")["classes"] == 3 and about("run")["threshold"] is None
    assert about("run")["loss"] == "cross_entropy"
    assert history[-1]["loss"] < 1 and history[-1]["threshold"] is None
    scores = scores_of("run")
    assert len(scores["classes"]) == 3 and scores["thresholds"] == []
    assert scores["classes"][0]["iou"] > 0.5


def test_classes_with_a_loss_for_rare_ones():
    write_photos(8, 40, 48, classes=3)
    assert run(with_(FILES, classes="3", steps="40", lr="0.02", loss="ce_dice")) == 0
    assert about("run")["loss"] == "ce_dice"
    assert scores_of("run")["classes"][0]["iou"] > 0.5


@pytest.mark.parametrize("classes", ["1", "2"])
def test_masks_of_0_and_1_train_with_one_map_and_with_two(classes):
    write_photos(5, classes=2)
    line = with_(FILES, classes=classes, steps="30", every="10", lr="0.02")
    assert run(line) == 0
    losses = [row["loss"] for row in history_of("run")]
    assert losses[-1] < losses[0] and about("run")["classes"] == int(classes)
    order = "predict --model run/model.pt --image photos/0.png --out 0.png"
    assert run(order) == 0
    image = Image.open("0.png")
    found = np.asarray(image)
    if classes == "2":  # seen by eye, read as class numbers
        assert image.mode == "P" and image.getpalette()[3:6] != [0, 0, 0]
        assert set(np.unique(found)) <= {0, 1}
    else:
        assert image.mode == "L" and set(np.unique(found)) <= {0, 255}


def test_classes_by_colour_with_their_names():
    write_photos(6, classes=3)
    for k in range(6):
        mask = np.asarray(Image.open(f"masks/{k}_mask.png"))
        colours = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
        Image.fromarray(colours[mask]).save(f"masks/{k}_mask.png")
    Path("names.toml").write_text(
        'ground = [0, 0, 0]\n"star crack" = [255, 0, 0]\nbusbar = [0, 0, 255]\n'
    )
    assert run(with_(FILES, colours="names.toml")) == 0
    assert about("run")["names"] == ["ground", "star crack", "busbar"]
    assert about("run")["colours"][2] == [0, 0, 255]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a = [0, 0, 0]", "names 1 classes: at least two"),
        ("a = [0, 0, 0]\nb = [1, 2]", "b is [1, 2]; give a colour as in b = [255"),
        ("a = 0\nb = 'red'", "b is red; give a colour"),
        ("a = 0\nb = 0", "names 0 twice, again as b"),
        ("a = 0\nb = [1, 1, 1]", "has values as its keys, or (r, g, b), not both"),
    ],
)
def test_a_bad_file_of_colours_is_refused(capsys, text, answer):
    write_photos()
    Path("names.toml").write_text(text)
    assert answer in refused(capsys, with_(FILES, colours="names.toml"))


def test_values_and_what_is_ignored_by_a_file(capsys):
    write_photos(4, classes=3)
    Path("names.json").write_text('{"all": [[0, 0, 0]], "a": 1}')
    assert "not both" in refused(capsys, with_(FILES, colours="names.json"))
    Path("names.json").write_text('{"none": 0, "both": 1, "ignore": 2}')
    assert run(with_(FILES, colours="names.json")) == 0
    assert about("run")["names"] == ["none", "both"]
    reading = sources.from_colours(Path("names.json")).how
    assert reading.of("m", np.array([[0, 1, 2]])).tolist() == [[[0, 1, 255]]]


def test_a_class_that_the_training_masks_lack_is_said(capsys):
    write_photos(6, classes=3)
    assert run(with_(FILES, classes="4")) == 0
    err = capsys.readouterr().err
    assert "note: nowhere in the train masks: class 3\n" in err


@pytest.mark.parametrize("value", [0, 255])
def test_masks_of_one_class_alone_are_refused(capsys, value):
    write_photos()
    for k in range(5):
        Image.new("L", (48, 40), value).save(f"masks/{k}_mask.png")
    assert "nothing can be learnt" in refused(capsys, FILES)


# --- which pictures validate ------------------------------------------------------


def split_of(name):
    facts = scores_of(name)["data"]
    parts = []
    for part in ("train", "validation"):
        parts.append([facts["names"][i] for i in facts[part]])
    return parts


def test_no_object_is_on_both_sides(capsys):
    for k in range(3):
        write_photos(3, images=f"p{k}", masks=f"m{k}")
    Path("photos").mkdir()
    Path("masks").mkdir()
    for k in range(3):
        for n in range(3):
            Path(f"p{k}/{n}.png").rename(f"photos/site{k}_{n}.png")
            Path(f"m{k}/{n}_mask.png").rename(f"masks/site{k}_{n}.png")
    assert run(with_(FILES, group="(site[0-9])_")) == 0
    train_names, validation = split_of("run")
    assert len(train_names) == 6 and len({name[:5] for name in validation}) == 1
    assert not {name[:5] for name in train_names} & {name[:5] for name in validation}
    rows = ["name,group"]
    for path in sorted(Path("photos").iterdir()):
        rows.append(f"{path.name},{path.stem[:5]}")
    Path("groups.csv").write_text("\n".join(rows))
    assert run(with_(FILES, group="groups.csv", out="table")) == 0
    assert split_of("table") == split_of("run")
    Path("groups.csv").write_text("\n".join(rows[:-1]))
    err = refused(capsys, with_(FILES, group="groups.csv", out="fewer"))
    assert "site2_2: --group needs a line in groups.csv for each picture" in err


def test_the_split_depends_on_its_seed_alone():
    write_photos(10)
    for name, seed in dict(a="1", b="1", c="2").items():
        assert run(with_(FILES, split_seed=seed, out=name, steps="5")) == 0
    assert split_of("a") == split_of("b") != split_of("c")
    assert sorted(split_of("a")[0] + split_of("a")[1]) == [str(k) for k in range(10)]
    assert len(split_of("a")[1]) == 2


@pytest.mark.parametrize(("n", "few"), [(5, 1), (2, 1)])
def test_a_tiny_share_still_validates(n, few):
    write_photos(n)
    assert run(with_(FILES, validation="0.1", steps="5")) == 0
    assert len(split_of("run")[1]) == few


def test_one_picture_is_too_few(capsys):
    write_photos(1)
    assert "with its mask: validation needs a second one" in refused(capsys, FILES)


def test_a_table_of_groups_with_one_name_twice_and_with_files_of_pages(capsys):
    write_photos()
    names = "0.png,a\n1,a\n2,b\n3,b\n4,b\n"
    Path("groups.csv").write_text(f"name,group\n{names}4.png,b\n")
    assert run(with_(FILES, group="groups.csv")) == 0
    Path("groups.csv").write_text(f"name,group\n{names}4.png,a\n")
    err = refused(capsys, with_(FILES, group="groups.csv", out="twice"))
    assert "groups.csv puts 4 in two groups, b and a: keep one" in err
    Path("groups.csv").write_text("name,group\ns0.tif,a\ns1,b\n")
    names, files = ["s0_page1", "s0_page2", "s1"], [Path("s0.tif")] * 2 + [Path("s1")]
    assert sources.grouped(names, files, "groups.csv") == ["a", "a", "b"]


def test_accents_in_a_table_of_groups_may_be_spelt_in_two_ways():
    Path("groups.csv").write_text("name,group\nm\u00e4dchen,a\n", encoding="utf-8")
    file = Path("ma\u0308dchen.png")
    assert sources.grouped([sources.name_of(file)], [file], "groups.csv") == ["a"]


def test_other_groups_are_another_training(capsys):
    write_photos()
    rows = [f"{k},{'aabbc'[k]}" for k in range(5)]
    Path("groups.csv").write_text("\n".join(["name,group", *rows]))
    line = with_(FILES, group="groups.csv", validation="0.3")
    assert run(line) == 0 and run("report run") == 0
    turned = [f"{k},{'cbbaa'[k]}" for k in range(5)]
    Path("groups.csv").write_text("\n".join(["name,group", *turned]))
    err = refused(capsys, f"{with_(line, steps='8')} --resume")
    assert "run/checkpoint.pt belongs to another training (steps 6, not 8; split" in err
    err = refused(capsys, "report run")
    assert "other pictures validate in run than when it was trained" in err


def test_no_object_is_on_both_sides_of_a_fold():
    groups, held = list("aabbcc"), []
    for fold in range(3):
        train_on, validation = sources.folded(groups, 3, fold, 0)
        assert not {groups[i] for i in train_on} & {groups[i] for i in validation}
        assert sorted([*train_on, *validation]) == list(range(6))
        held += validation
    assert sorted(held) == list(range(6))


def test_a_range_counts_in_training_and_in_use():
    """Of 12 bits in files of 16: all is as with the same pictures of 8 bits."""
    write_photos()
    Path("deep").mkdir()
    for path in Path("photos").iterdir():
        values = np.asarray(Image.open(path)).astype(np.uint16) * 16
        tifffile.imwrite(f"deep/{path.stem}.tif", values, photometric="rgb")
    assert run(with_(FILES, out="a")) == 0
    assert run(with_(FILES, images="deep", span="0 4080", out="b")) == 0
    for a, b in zip(history_of("a"), history_of("b"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
    found = []
    for name, picture in (("a", "photos/0.png"), ("b", "deep/0.tif")):
        line = f"predict --model {name}/model.pt --image {picture} --out {name}.png"
        assert run(line) == 0
        found.append(np.asarray(Image.open(f"{name}.png")))
    assert (found[0] == found[1]).mean() > 0.99


def test_the_seed_counts():
    assert run(with_(DRAWN, out="a")) == 0
    assert run(with_(DRAWN, seed="1", out="b")) == 0
    assert [r["loss"] for r in history_of("a")] != [r["loss"] for r in history_of("b")]


def test_sides_are_turned_alike_and_none_are_none():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    seen = set()
    for _ in range(40):
        images, masks = train.FLIPS["sides"](image, -image)
        assert torch.equal(masks, -images)
        seen.add(tuple(images.flatten().tolist()))
    both = image, image.flip(-1)
    assert seen == {tuple(one.flatten().tolist()) for one in both}
    assert train.FLIPS["none"] is None and train.FLIPS["all"] is training.flips


def test_folds_hold_out_each_picture_once(capsys):
    write_photos(5)
    Path("run").mkdir()  # an empty one does no harm
    line = with_(FILES, folds="3", steps="5", every="5")
    assert run(line) == 0
    held_out = []
    for k in (1, 2, 3):
        held_out += split_of(f"run/fold{k}")[1]
    assert sorted(held_out) == ["0", "1", "2", "3", "4"]
    assert "run: IoU of the folds 0." in capsys.readouterr().out
    noted = json.loads(Path("run/folds.json").read_text())
    assert noted["mean"] == pytest.approx(np.mean(noted["iou"]))
    assert run(line) == 0  # nothing is trained again
    assert "run/fold3 is done" in capsys.readouterr().out


# --- interrupted, longer, from given weights --------------------------------------


def stop_after(monkeypatch, step):
    """A Ctrl-C after the validation of a step."""
    said = train.progress

    def ctrl_c(steps, score, history):
        said(steps, score, history)
        if history[-1]["step"] == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "progress", ctrl_c)


@pytest.mark.parametrize("line", [DRAWN, FILES])
def test_ctrl_c_leaves_a_checkpoint_from_which_the_same_command_goes_on(
    monkeypatch, capsys, line
):
    write_photos(5, 40, 70)
    assert run(with_(line, out="whole")) == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        capsys.readouterr()
        assert run(line) == 130
    goes_on = "stopped; the same command goes on from run/checkpoint.pt"
    assert goes_on in capsys.readouterr().err
    err = refused(capsys, with_(line, lr="0.1"))
    assert "run holds another training (lr 0.005, not 0.1): name a new --out" in err
    assert run(line) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "going on from run/checkpoint.pt"
    assert lines[2].startswith("step 4 of 6")
    assert history_of("run") == history_of("whole")
    net, here = models.load_model("run/model.pt")
    other, there = models.load_model("whole/model.pt")
    assert same_weights(net, other) and here == there
    content = Path("run/model.pt").read_bytes()
    assert run(line) == 0
    assert capsys.readouterr().out == "run is done: run/model.pt\n"
    assert Path("run/model.pt").read_bytes() == content


def test_ctrl_c_before_the_first_validation(monkeypatch, capsys):
    def ctrl_c(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(train.FLIPS, "all", ctrl_c)
    assert run(DRAWN) == 130
    assert capsys.readouterr().err == "stopped; the same command begins again\n"
    assert [path.name for path in Path("run").iterdir()] == ["settings.json"]


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (dict(loss="bce_dice"), "loss bce, not bce_dice"),
        (dict(flips="none"), "flips all, not none"),
    ],
)
def test_another_loss_or_augmentation_is_not_gone_on_with(
    monkeypatch, capsys, change, answer
):
    write_photos()
    stop_after(monkeypatch, 2)
    assert run(FILES) == 130
    assert answer in refused(capsys, with_(FILES, **change))


def test_other_pictures_of_the_same_number_are_not_gone_on_with(monkeypatch, capsys):
    write_photos()
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        assert run(FILES) == 130
    Image.new("RGB", (48, 40), (9, 9, 9)).save("photos/3.png")
    capsys.readouterr()
    assert run(FILES) == 2
    err = capsys.readouterr().err
    assert re.search(r"belongs to another training \(pictures \w+, not \w+\)", err)


def test_a_finished_training_goes_on_to_more_steps(capsys):
    assert run(DRAWN) == 0
    longer = with_(DRAWN, steps="10")
    assert "or go on with --resume" in refused(capsys, longer)
    assert run(f"{longer} --resume") == 0
    out = capsys.readouterr().out
    assert "step 8 of 10" in out and "step 6 of" not in out
    assert [row["step"] for row in history_of("run")] == [2, 4, 6, 8, 10]
    assert run(longer) == 0
    Path("run/checkpoint.pt").unlink()
    err = refused(capsys, f"{with_(longer, steps='12')} --resume")
    assert "no checkpoint.pt to resume from" in err and "--weights run/model.pt" in err


def test_going_on_may_be_interrupted_too(monkeypatch, capsys):
    assert run(DRAWN) == 0
    longer = f"{with_(DRAWN, steps='10')} --resume"
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        assert run(longer) == 130
    assert run(longer) == 0
    assert "is done" not in capsys.readouterr().out
    assert [row["step"] for row in history_of("run")] == [2, 4, 6, 8, 10]


def test_a_training_is_done_when_its_model_is_written(monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "run/model.pt")

    assert run(DRAWN) == 0
    longer, before = f"{with_(DRAWN, steps='10')} --resume", Path("run/model.pt").stat()
    with monkeypatch.context() as patch:
        patch.setattr(models, "save_model", full)
        assert "run/model.pt" in refused(capsys, longer)
    assert run(longer) == 0 and "is done" not in capsys.readouterr().out
    assert Path("run/model.pt").stat().st_mtime > before.st_mtime


def test_it_ends_where_nothing_gets_better(capsys):
    line = with_(DRAWN, steps="40", lr="0.000001", patience="2")
    line = with_(line, every="1")
    assert run(line) == 0
    rows = history_of("run")
    best = train.first_best(rows)
    assert len(rows) == best + 3 < 40
    assert f"no better validation since step {rows[best]['step']}" in (
        capsys.readouterr().out
    )


def test_equal_scores_are_no_better():
    rows = [dict(score=score, step=k) for k, score in enumerate([0.1, 0.5, 0.5, 0.4])]
    train.enough(3, rows, None)
    with pytest.raises(train.Enough):
        train.enough(2, rows, None)


def test_a_training_that_had_ended_ends_again(monkeypatch, capsys):
    """Where it was interrupted between its last validation and its model."""
    line = with_(DRAWN, steps="40", lr="0.000001", patience="2", every="1")

    def full(*_, **__):
        raise OSError(28, "No space left on device", "run/model.pt")

    with monkeypatch.context() as patch:
        patch.setattr(models, "save_model", full)
        assert "run/model.pt" in refused(capsys, line)
    assert run(line) == 0
    rows = history_of("run")
    assert len(rows) == train.first_best(rows) + 3 < 40
    assert run(f"{with_(line, steps='60')} --resume") == 0  # who asks for more gets it
    assert len(history_of("run")) > len(rows)


def test_from_the_weights_of_another_training(capsys):
    assert run(DRAWN) == 0
    line = with_(DRAWN, out="more", lr="0.0000001", flips="none")
    assert run(f"{line} --weights run/model.pt") == 0
    before, _ = models.load_model("run/model.pt")
    after, _ = models.load_model("more/model.pt")
    for a, b in zip(before.parameters(), after.parameters()):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    wider = f"{with_(line, out='wide')} --set widths=4,8,17 --weights run/model.pt"
    assert "in the file and (17, 8, 3, 3) in the network" in refused(capsys, wider)


def test_a_damaged_folder_is_named(capsys):
    assert run(DRAWN) == 0
    Path("run/model.pt").unlink()
    Path("run/checkpoint.pt").write_text("no weights")
    capsys.readouterr()
    assert run(DRAWN) == 2
    assert "run/checkpoint.pt is damaged" in capsys.readouterr().err
    for damaged in ("{", "3"):
        Path("run/settings.json").write_text(damaged)
        assert "run/settings.json is damaged: delete run" in refused(capsys, DRAWN)


def test_a_damaged_history_is_named(capsys):
    assert run(DRAWN) == 0
    Path("run/history.json").write_text("{}")
    assert "run/history.json is damaged, it lacks 'settings'" in refused(capsys, DRAWN)


# --- where it runs ----------------------------------------------------------------


def test_folders_with_brackets_blanks_and_accents(folder):
    write_photos(images="é [1] photos", masks="ü mäsks (2)")
    words = [*with_(FILES, images=None, masks=None, out=None).split()]
    words += ["--images", "é [1] photos", "--masks", "ü mäsks (2)"]
    assert main([*words, "--out", "rün [a]"]) == 0
    order = ["predict", "--model", "rün [a]/model.pt", "--image", "é [1] photos"]
    assert main([*order, "--out", "answers [é]"]) == 0
    assert len(list(Path("answers [é]").iterdir())) == 5


def test_a_process_that_was_spawned_as_on_windows():
    write_photos()
    line = with_(FILES, steps="5").split()
    process = multiprocessing.get_context("spawn").Process(target=main, args=(line,))
    process.start()
    process.join(120)
    assert process.exitcode == 0 and Path("run/model.pt").exists()


def test_mvtec_ad(capsys):
    write_photos()
    root = Path("mvtec/nut")
    for kind, count in dict(good=3, crack=5).items():
        for k in range(count):
            for part in ("test", "ground_truth"):
                (root / part / kind).mkdir(parents=True, exist_ok=True)
            Image.open("photos/1.png").save(root / "test" / kind / f"{k}.png")
            if kind == "crack":
                mask = Image.open("masks/1_mask.png")
                mask.save(root / "ground_truth" / kind / f"{k}_mask.png")
    (root / "train" / "good").mkdir(parents=True)
    Image.open("photos/2.png").save(root / "train" / "good" / "0.png")
    assert run(f"train {TINY} --mvtec mvtec --category nut --size 32 --out run") == 0
    assert "resized to 32 x 32 px" in capsys.readouterr().out
    names = scores_of("run")["data"]["names"]
    assert len(names) == len(set(names)) and "train/good/0" in names
    for k in range(2, 5):
        (root / "test" / "crack" / f"{k}.png").unlink()
        (root / "ground_truth" / "crack" / f"{k}_mask.png").unlink()
    for path in (root / "test" / "good").iterdir():
        path.unlink()
    (root / "test" / "good" / "0.png").write_bytes(Path("photos/1.png").read_bytes())
    line = f"train {TINY} --mvtec mvtec --category nut --size 32 --out few"
    assert "less than 3 pictures of each kind" in refused(capsys, line)


def test_the_readers_files_agree_with_the_model():
    write_photos()
    assert run(FILES) == 0
    assert run("predict --model run/model.pt --image photos/0.png --out 0.png") == 0
    net, configuration = models.load_model("run/model.pt")
    found = segment.segment(net, folders.read_image("photos/0.png"), configuration)
    assert np.array_equal(np.asarray(Image.open("0.png")) > 0, found[0].numpy())
