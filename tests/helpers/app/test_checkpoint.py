"""A training that is interrupted, at any time, goes on to the same result."""

import os
import re

import pytest
import torch
from torch import nn

from helpers import training
from helpers.app.checkpoint import Checkpoint, walk
from helpers.app.files import whole
from tests.helpers.toys import same_run, small, squares

STEPS = 12


class Interrupt(Exception):
    pass


def train(file=None, stop=None, net=None, **options):
    """Train with dropout, batch norm and flips; break off before step `stop`."""
    left = iter(range(STEPS))

    def augment(images, masks):
        if stop is not None and next(left) == stop:
            raise Interrupt
        return training.flips(images, masks)

    settings = dict(train=squares(), validation=squares(8, seed=1), steps=STEPS)
    settings |= dict(batch=4, every=4, lr=0.02, seed=3, augment=augment)
    checkpoint = Checkpoint(file, dict(loss="bce")) if file else None
    net = net or small()
    return training.fit(net, checkpoint=checkpoint, **(settings | options))


@pytest.fixture(scope="module")
def uninterrupted():
    torch.manual_seed(0)
    return train()


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    return tmp_path / "run.pt"


@pytest.mark.parametrize("stop", [2, 4, 6, 8, 11])
def test_it_goes_on_to_the_same_result(uninterrupted, file, stop):
    with pytest.raises(Interrupt):
        train(file, stop)
    assert file.exists() == (stop >= 4)  # at 4 and 8, right after a checkpoint
    torch.manual_seed(99 if file.exists() else 0)  # another network, to be replaced
    seen = []
    run = train(file, report=lambda history: seen.append(history[-1]["step"]))
    assert seen == [step for step in (4, 8, 12) if step > stop // 4 * 4]
    assert same_run(run, uninterrupted) and run.threshold == uninterrupted.threshold
    seconds = [row["seconds"] for row in run.history]
    assert seconds == sorted(seconds)


def test_a_break_in_the_report_comes_after_the_checkpoint(uninterrupted, file):
    def report(history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(file, report=report)
    assert same_run(train(file), uninterrupted)


def test_a_finished_training_is_read_back(uninterrupted, file):
    train(file)
    run = train(file, stop=0)  # no step is taken
    assert same_run(run, uninterrupted)
    assert not run.net.training and run.seed == 3


@pytest.mark.parametrize(
    "other",
    [
        dict(steps=14),
        dict(lr=0.01),
        dict(seed=4),
        dict(batch=5),
        dict(every=3),
        dict(train=squares(13)),
        dict(validation=squares(9)),
        dict(net=nn.Conv2d(1, 1, 3, padding=1)),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(file, other):
    train(file)
    content = file.read_bytes()
    with pytest.raises(ValueError, match=r"run.pt belongs .*: delete the f") as caught:
        train(file, **other)
    name, value = next(iter(other.items()))
    if isinstance(value, int | float):
        assert re.search(rf"\({name} [\d.]+, not {value}\)", str(caught.value))
    assert file.read_bytes() == content


def test_a_new_schedule_goes_on_where_the_old_one_was():
    rates = []
    for steps in (1, 6):
        optimizer = torch.optim.AdamW(small().parameters(), 0.02)
        schedule = training.one_cycle(optimizer, 0.02, 10)
        walk(schedule, steps)
        for _ in range(6 - steps):
            optimizer.step()
            schedule.step()
        rates.append(schedule.get_last_lr())
    assert rates[0] == rates[1] and rates[0] != [0.02]


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "list", "weights"])
def test_a_damaged_checkpoint_is_named(file, damage):
    train(file)
    content = file.read_bytes()
    if damage == "list":
        torch.save([1, 2], file)
    elif damage == "weights":
        torch.save(small().state_dict(), file)
    else:
        damaged = dict(empty=b"", text=b"hello", cut=content[: len(content) // 2])
        file.write_bytes(damaged[damage])
    with pytest.raises(ValueError, match=r"run.pt is damaged or .*: delete the file"):
        train(file)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_a_checkpoint_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(settings=Malicious()), "run.pt")
    with pytest.raises(ValueError, match=r"run.pt is damaged or is no checkpoint"):
        train("run.pt")
    assert not (tmp_path / "harm").exists()


def test_a_break_during_saving_leaves_the_old_file(uninterrupted, file, monkeypatch):
    save = torch.save

    def dies(state, path):
        if len(state["history"]) == 1:
            return save(state, path)
        path.write_bytes(b"half a file")
        raise Interrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", dies)
        with pytest.raises(Interrupt):
            train(file)
    assert len(torch.load(file, weights_only=True)["history"]) == 1
    assert [path.name for path in file.parent.iterdir()] == ["run.pt"]
    assert same_run(train(file), uninterrupted)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.txt"
    with whole(file) as part:
        part.write_text("one")
    with pytest.raises(Interrupt), whole(file) as part:
        part.write_text("tw")
        raise Interrupt
    assert file.read_text() == "one" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["a.nii.gz", 248 * "a" + ".nii.gz"])
def test_what_is_being_written_has_a_name_of_its_own(tmp_path, name):
    """It ends as the file does, is no longer, and is no file of the reader's."""
    file, own = tmp_path / name, tmp_path / "a.nii.gz.part"
    own.write_text("own")
    with whole(file) as part, whole(file) as other:
        assert part.suffixes == file.suffixes and part != other
        part.write_text("one")
        other.write_text("two")
    assert file.read_text() == "one" and own.read_text() == "own"
    assert sorted(tmp_path.iterdir()) == sorted([file, own])


def test_what_cannot_be_written_is_told_by_its_own_name(tmp_path):
    file = tmp_path / "none" / "a.txt"
    with pytest.raises(FileNotFoundError) as missing, whole(file) as part:
        part.write_text("one")
    assert missing.value.filename == str(file)
    with pytest.raises(OSError) as folder, whole(tmp_path) as part:
        part.write_text("one")
    assert folder.value.filename == str(tmp_path)
