"""The loop in several processes: the same batches and losses, and where they part.

One launch runs this file by torchrun, as two processes without a graphics card (gloo).
Each trains what `VARIANTS` names, tries what could go wrong, leaves what it has seen in
a file, and goes through the command line.
"""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch.nn import functional as F

from helpers import chapters, data, training
from helpers.app import models, parallel
from helpers.app.checkpoint import Checkpoint
from helpers.app.cli import main
from tests.helpers.lines import FILES, run, with_, write_photos
from tests.helpers.toys import plain, same_run, small, squares

VARIANTS = {
    "no norm, BCE": dict(norm=False),
    "no norm, BCE + Dice": dict(norm=False, loss=training.bce_dice),
    "batch norm, BCE": dict(norm=True),
}
LINE = (
    "train --network 02_unet.small_unet --set norm=False --set widths=4,8,16"
    " --drawn surfaces --pictures 24 --size 32 --steps 6 --every 1 --batch 8 --out"
)


def train(norm, augment=training.flips, file=None, **options):
    """A few steps of the small U-Net, validated after each."""
    torch.manual_seed(0)
    net = chapters.load("02_unet").small_unet(norm=norm, widths=(4, 8, 16))
    drawn = data.surfaces(24, 32), data.surfaces(6, 32, split="validation")
    settings = dict(steps=8, batch=8, every=1, augment=augment) | options
    checkpoint = Checkpoint(file, {}) if file else None
    return training.fit(net, *drawn, checkpoint=checkpoint, **settings)


KEPT = ["checkpoint.pt", "history.json", "model.pt", "scores.json", "settings.json"]


def losses(run):
    return torch.tensor([row["loss"] for row in run["history"]], dtype=torch.double)


def seen(run):
    """What of a run can be compared, and kept in a file."""
    return dict(history=plain(run.history), weights=run.net.state_dict())


# --- what each process does -------------------------------------------------------


def work(folder):
    """Train in this process, which is one of two; save what it sees."""
    engine = parallel.Engine()
    rank = int(os.environ["RANK"])
    fit = partial(train, engine=engine)
    found = dict(processes=engine.processes, is_main=engine.is_main, pid=os.getpid())
    found["runs"] = {name: seen(fit(**v)) for name, v in VARIANTS.items()}

    reported, shares = [], []

    def loss(logits, masks):
        shares.append(len(masks))
        return F.binary_cross_entropy_with_logits(logits, masks)

    file = folder / "run.pt"
    with pytest.raises(InterruptedError):
        fit(norm=True, file=file, augment=Breaks(5))
    engine.accelerator.wait_for_everyone()
    found["checkpoint"] = torch.load(file, weights_only=True)
    report = partial(note, reported)
    run = fit(norm=True, file=file, report=report, loss=loss)
    found |= dict(resumed=seen(run), reported=reported, shares=shares)

    found["refused"] = message(ValueError, fit, norm=False, batch=5)
    nan = partial(broken, rank == 1)  # in one process only
    found["broken"] = message(FloatingPointError, fit, norm=False, loss=nan)
    torch.save(found, folder / f"{rank}.pt")
    assert main([*LINE.split(), str(folder / "two")]) == 0  # ends the processes' tie


class Breaks:
    """Augmentation that breaks off at a step, in every process."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self, images, masks):
        self.left -= 1
        if self.left < 0:
            raise InterruptedError
        return training.flips(images, masks)


def note(reported, history):
    reported.append(history[-1]["step"])


def broken(here, logits, masks):
    value = F.binary_cross_entropy_with_logits(logits, masks)
    return value * torch.nan if here else value


def message(kind, function, **options):
    with pytest.raises(kind) as caught:
        function(**options)
    return str(caught.value)


def written(folder):
    """The history that a training of the command line left."""
    return json.loads((folder / "history.json").read_text())


# --- one process and two ----------------------------------------------------------


def test_two_processes_share_an_uneven_set_and_stop_early_together(folder):
    write_photos(6)  # five to train on, batches of four
    line = with_(FILES, set="norm=False", steps="40", every="1", lr="0.000001")
    line = with_(line, patience="1", out="two")
    words = []
    for word in line.split():
        here = word in ("photos", "masks", "two")
        words.append(str(folder / word) if here else word)
    done = parallel.launch(2, "-m", "helpers.app", *words, seconds=300)
    assert done.returncode == 0, done.stderr
    assert "no better validation since step" in done.stdout
    assert run(with_(line, out="one")) == 0
    one, two = [written(folder / name) for name in ("one", "two")]
    assert 2 <= len(two["history"]) < 40
    assert (losses(one) - losses(two)).abs().max() < 1e-6


@pytest.fixture(scope="module")
def one():
    return {name: seen(train(**variant)) for name, variant in VARIANTS.items()}


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The folder in which two processes left what they saw, and what they said."""
    folder = tmp_path_factory.mktemp("two")
    done = parallel.launch(2, __file__, str(folder))
    assert done.returncode == 0, done.stderr
    return folder, done.stdout.splitlines()


@pytest.fixture(scope="module")
def two(launched):
    """What each of the two processes saw."""
    folder, _ = launched
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def apart(one, two, name):
    """The largest difference of two curves of losses."""
    return (losses(one[name]) - losses(two[0]["runs"][name])).abs().max().item()


def test_there_are_two_processes(two):
    assert [process["processes"] for process in two] == [2, 2]
    assert [process["is_main"] for process in two] == [True, False]
    assert two[0]["pid"] != two[1]["pid"]


def test_without_batch_norm_and_with_a_mean_over_pictures_nothing_differs(one, two):
    name = "no norm, BCE"
    assert apart(one, two, name) < 1e-6
    before, after = one[name]["weights"], two[0]["runs"][name]["weights"]
    for key in before:
        torch.testing.assert_close(after[key], before[key], atol=1e-4, rtol=0)
    scores = [[row["score"] for row in run["history"]] for run in (one[name], *
              (process["runs"][name] for process in two))]  # fmt: skip
    assert scores[1] == scores[2] == pytest.approx(scores[0], abs=1e-3)


@pytest.mark.parametrize("name", ["no norm, BCE + Dice", "batch norm, BCE"])
def test_what_looks_at_the_whole_batch_sees_half_of_it(one, two, name):
    assert apart(one, two, name) > 1e-4


@pytest.mark.parametrize("name", VARIANTS)
def test_both_processes_return_the_same_run(two, name):
    main, other = (process["runs"][name] for process in two)
    assert main["history"] == other["history"] and len(main["history"]) == 8
    assert main["weights"].keys() == other["weights"].keys()
    for key, value in main["weights"].items():
        assert torch.equal(value, other["weights"][key]), key
        assert not key.startswith("module.")


def test_an_interrupted_training_goes_on_in_two_processes(two):
    uninterrupted = two[0]["runs"]["batch norm, BCE"]
    for process in two:
        assert process["checkpoint"]["history"][-1]["step"] == 5
        assert process["resumed"]["history"] == uninterrupted["history"]
        for key, value in process["resumed"]["weights"].items():
            assert torch.equal(value, uninterrupted["weights"][key]), key
        assert process["shares"] == [4] * 3  # half of the batch, for steps 6 to 8
    assert [process["reported"] for process in two] == [[6, 7, 8], []]


def test_a_checkpoint_of_two_processes_serves_one(two, tmp_path):
    torch.save(two[0]["checkpoint"], tmp_path / "run.pt")
    run = train(norm=True, file=tmp_path / "run.pt")
    before = two[0]["runs"]["batch norm, BCE"]["history"]
    assert plain(run.history)[:5] == before[:5]
    assert run.history[-1]["loss"] == pytest.approx(before[-1]["loss"], rel=0.2)


def test_errors_reach_both_processes(two):
    for process in two:
        assert process["refused"] == (
            "a batch of 5 cannot be shared by 2 processes: they must divide it; "
            "4 and 6 work"
        )
        assert process["broken"].startswith("the loss is nan at step 1")


# --- the command line under torchrun ----------------------------------------------


@pytest.fixture(scope="module")
def both(launched):
    """The folder of one command line, run as one process and as two; the histories."""
    folder, _ = launched
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")  # as `launch` does
        assert main([*LINE.split(), str(folder / "one")]) == 0
    return folder, [written(folder / name) for name in ("one", "two")]


def test_the_command_line_says_how_many_processes_it_has(both, launched):
    (_, (one, two)), (_, lines) = both, launched
    assert (one["processes"], two["processes"]) == (1, 2)
    assert lines[0].endswith("; 2 processes on cpu")
    assert [line.split()[1] for line in lines[1:7]] == list("123456")
    assert len(lines) == 8  # one process speaks


def test_its_losses_are_those_of_one_process(both):
    _, (one, two) = both
    assert (losses(one) - losses(two)).abs().max() < 1e-6
    assert one["settings"] == two["settings"]


def test_its_model_is_unwrapped(both):
    folder, _ = both
    one, _ = models.load_model(folder / "one" / "model.pt")
    two, _ = models.load_model(folder / "two" / "model.pt")
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    names = sorted(path.name for path in (folder / "two").iterdir())
    assert names == KEPT


def test_bad_arguments_end_both_processes(tmp_path):
    line = LINE.replace("--batch 8", "--batch 5")
    done = parallel.launch(2, "-m", "helpers.app", *line.split(), str(tmp_path / "run"))
    assert done.returncode != 0 and not (tmp_path / "run").exists()
    assert "error: a batch of 5 cannot be shared by 2 processes" in done.stderr


def launch_until(monkeypatch, processes, script):
    """Launch a script whose time is up once all its processes run; what was raised."""
    script.write_text(
        "import os, pathlib, time\n"
        "pathlib.Path(__file__ + os.environ.get('RANK', '0')).touch()\n"
        "time.sleep(600)"
    )
    wait = subprocess.Popen.wait

    def late(running, seconds=None):
        if seconds is None:
            return wait(running)
        files = [Path(f"{script}{rank}") for rank in range(processes)]
        for _ in range(10 * seconds):
            if all(file.exists() for file in files):
                raise subprocess.TimeoutExpired(running.args, seconds)
            time.sleep(0.1)
        raise AssertionError("not all processes have started")

    with monkeypatch.context() as patch, pytest.raises(subprocess.TimeoutExpired) as up:
        patch.setattr(subprocess.Popen, "wait", late)
        parallel.launch(processes, str(script))
    running = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not [words for words in running if str(script) in (words or [])]
    return up.value


def test_what_takes_too_long_is_ended(monkeypatch, tmp_path):
    """With all its processes, wherever they belong; they say where they were."""
    late = launch_until(monkeypatch, 2, tmp_path / "sleeps_too_long.py")
    assert late.__notes__[0].count("Fatal Python error: ") == 3


def test_it_is_ended_where_there_is_no_signal_to_abort(monkeypatch, tmp_path):
    """As on Windows, which knows no SIGABRT."""

    def refuse(process, signal):
        raise ValueError(f"unsupported signal {signal}")

    monkeypatch.setattr(psutil.Process, "send_signal", refuse)
    launch_until(monkeypatch, 1, tmp_path / "sleeps_too_long.py")


def test_a_process_left_behind_keeps_nobody_waiting():
    """It holds the outputs open; its parent's end is the end."""
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
    left = psutil.Process(int(parallel.launch(1, "-c", code).stdout))
    assert left.name() == "sleep"  # and has not ended
    left.kill()


# --- one process with an engine, and one of three that are not there ---------------


@pytest.fixture
def fresh(monkeypatch):
    """Accelerate keeps its state for the whole process: begin and end without one."""
    from accelerate.state import AcceleratorState

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def train_small(engine=None):
    torch.manual_seed(0)
    settings = dict(steps=9, every=3, lr=0.02, augment=training.flips)
    return training.fit(small(), squares(), squares(), engine=engine, **settings)


def test_an_engine_in_one_process_changes_nothing(fresh):
    assert same_run(train_small(parallel.Engine()), train_small())


def test_mixed_precision_is_picked_up_and_left_behind(fresh, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    engine, alone = parallel.Engine(), train_small()
    run = train_small(engine)
    assert plain(run.history) != plain(alone.history)
    loss = alone.history[0]["loss"]
    assert run.history[0]["loss"] == pytest.approx(loss, rel=0.05)
    engine.finish()
    again = small().eval()  # the same weights in a network of full precision
    again.load_state_dict(run.net.state_dict())
    assert {v.dtype for v in again.parameters()} == {torch.float32}
    images = squares().tensors[0]
    assert torch.equal(run.net(images), again(images))


def one_of_three(number):
    engine = parallel.Engine()
    engine.processes, engine.accelerator = 3, SimpleNamespace(process_index=number)
    return engine


def test_each_process_takes_its_share_of_the_batch(fresh):
    batch = torch.rand(6, 1, 4, 4)
    shares = [one_of_three(number).share(batch) for number in range(3)]
    assert [len(share) for share in shares] == [2, 2, 2]
    assert torch.equal(torch.cat(shares), batch)


@pytest.mark.parametrize(
    "batch, processes, works", [(5, 2, "4 and 6"), (1, 2, "2 and 4"), (8, 3, "6 and 9")]
)
def test_a_batch_that_the_processes_do_not_divide(batch, processes, works):
    with pytest.raises(ValueError, match=f"batch of {batch} .* {processes}.*{works}"):
        parallel.share_size(batch, processes)
    assert parallel.share_size(processes * batch, processes) == batch


def test_only_an_engine_needs_accelerate():
    code = "import sys, helpers.app.train; print('accelerate' in sys.modules)"
    assert parallel.launch(1, "-c", code).stdout.strip() == "False"


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(Path(sys.argv[1]))
