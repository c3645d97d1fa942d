"""The training loop and the metrics: by hand, interrupted, damaged, in parallel."""

import os
import subprocess
import sys

import joblib
import numpy as np
import psutil
import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Subset, TensorDataset

from helpers import training
from helpers.training import (
    IGNORE,
    Run,
    batch_of,
    bce_dice,
    best_threshold,
    boundary_f1,
    class_iou,
    compare,
    confusion,
    crop_to,
    dice,
    evaluate,
    fit,
    flips,
    iou,
    mean_iou,
    predict,
    results,
    scores,
    start_at,
    tuned,
)


@pytest.fixture(autouse=True)
def one_thread_and_one_start():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(2)
    yield
    torch.set_num_threads(before)


def toy(n=12, size=12, seed=0, channels=1):
    """Grey squares in noise: images (n, 1, size, size) and their masks."""
    rng = torch.Generator().manual_seed(seed)
    masks = torch.zeros(n, channels, size, size)
    for mask in masks:
        top, left = torch.randint(0, size - 4, (2,), generator=rng)
        mask[0, top : top + 4, left : left + 4] = 1
    return TensorDataset(
        masks[:, :1] + 0.3 * torch.randn(n, 1, size, size, generator=rng), masks
    )


def small(padding="same"):
    """Batch norm and dropout: what a resumed training could get wrong."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=padding),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.Conv2d(4, 1, 3, padding=padding),
    )


class Given(nn.Module):
    """Answers the image itself: the logits are what the test says."""

    def forward(self, images):
        return images


def masks_of(*rows):
    """One mask (1, 1, H, W) from strings of '.' and '#'."""
    return torch.tensor([[c == "#" for c in row] for row in rows])[None, None]


def same_weights(a, b):
    return (
        all(torch.equal(x, b[name]) for name, x in a.items()) and a.keys() == b.keys()
    )


# --- iou and dice -----------------------------------------------------------------

LEFT = masks_of("##..", "##..")
TOP = masks_of("####", "....")
NONE = torch.zeros(1, 1, 2, 4, dtype=torch.bool)
FULL = ~NONE


@pytest.mark.parametrize(
    "a, b, expected",
    [
        (LEFT, TOP, 2 / 6),
        (LEFT, LEFT, 1),
        (LEFT, ~LEFT, 0),
        (LEFT, FULL, 1 / 2),
        (FULL, FULL, 1),
        (NONE, NONE, 1),
        (NONE, FULL, 0),
        (FULL, NONE, 0),
        (NONE, LEFT, 0),
    ],
)
def test_iou_and_dice_by_hand(a, b, expected):
    assert iou(a, b) == pytest.approx(expected)
    assert dice(a, b) == pytest.approx(2 * expected / (1 + expected))
    assert iou(b, a) == iou(a, b) and dice(b, a) == dice(a, b)
    assert isinstance(iou(a, b), float) and isinstance(dice(a, b), float)


def test_pooled_is_not_the_mean_over_images():
    found, masks = torch.cat([LEFT, NONE, FULL]), torch.cat([TOP, NONE, LEFT])
    assert iou(found, masks) == pytest.approx((2 + 0 + 4) / (6 + 0 + 8))
    assert dice(found, masks) == pytest.approx(2 * (2 + 4) / (4 + 4 + 8 + 4))
    assert iou(found, masks, each=True).tolist() == pytest.approx([1 / 3, 1, 1 / 2])
    assert dice(found, masks, each=True).tolist() == pytest.approx([1 / 2, 1, 2 / 3])


def test_masks_of_any_type_and_layout():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 1, 9, 7, generator=generator) > 0.5
    expected = iou(a, b), dice(a, b), boundary_f1(a, b)
    for change in (
        torch.Tensor.float,
        torch.Tensor.long,
        lambda m: m.to(torch.uint8),
        lambda m: m.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        x, y = change(a), change(b)
        assert (iou(x, y), dice(x, y), boundary_f1(x, y)) == expected
        assert (iou(x, b), dice(x, b), boundary_f1(x, b)) == expected


@pytest.mark.parametrize("metric", [iou, dice, boundary_f1])
@pytest.mark.parametrize("other", [LEFT[0], LEFT[..., :3], LEFT.expand(2, 1, 2, 4)])
def test_masks_of_different_shapes_are_not_broadcast(metric, other):
    with pytest.raises(ValueError, match=r"\(1, 1, 2, 4\).*must be \(N, 1, H, W\)"):
        metric(LEFT, other)


# --- boundary f1 ------------------------------------------------------------------


def square(top, left, side=5, size=20):
    mask = torch.zeros(1, 1, size, size)
    mask[..., top : top + side, left : left + side] = 1
    return mask


def test_boundary_f1_of_empty_and_full():
    empty, full, one = torch.zeros(1, 1, 20, 20), torch.ones(1, 1, 20, 20), square(5, 5)
    assert boundary_f1(empty, empty) == 1
    assert boundary_f1(full, full) == 1
    assert boundary_f1(one, one, tolerance=0) == 1
    for other in (full, one):
        assert boundary_f1(empty, other) == boundary_f1(other, empty) == 0
    mean = boundary_f1(torch.cat([one, empty, empty]), torch.cat([one, empty, one]))
    assert mean == pytest.approx(2 / 3)


def test_boundary_f1_tolerance():
    a = square(5, 5)
    assert boundary_f1(a, square(5, 7)) == 1  # 2 px aside
    assert boundary_f1(a, square(5, 8)) < 1
    assert boundary_f1(a, square(5, 8), tolerance=3) == 1
    assert boundary_f1(a, square(14, 14)) == 0
    assert boundary_f1(a, square(4, 4, 7)) == 1
    assert boundary_f1(a, square(4, 4, 7), tolerance=0) == 0
    # The outline is a pixel wide: a filled square and its frame are the same.
    frame = a - square(6, 6, 3)
    assert boundary_f1(a, frame, tolerance=0) == pytest.approx(2 * 16 / (16 + 16))


def test_boundary_f1_by_hand():
    """Two rows apart 1 px, tolerance 0; and precision and recall that differ."""
    a = masks_of("####", "....", "....", "....")
    b = masks_of("##..", "....", "....", "##..")
    assert boundary_f1(a, b, tolerance=0) == pytest.approx(1 / 2)  # 2 of 4, 2 of 4
    c = masks_of("#...", "....", "....", "....")
    # All of c is on a, one of a's four is on c: F1 = 2 * 1 * 1/4 / (1 + 1/4).
    assert boundary_f1(c, a, tolerance=0) == pytest.approx(0.4)
    assert boundary_f1(a, c, tolerance=0) == pytest.approx(0.4)
    assert boundary_f1(a, c, tolerance=1) == pytest.approx(2 / 3)  # 1 and 2/4


def test_the_edge_of_the_picture_is_an_outline():
    whole, all_but_frame = torch.ones(1, 1, 20, 20), square(1, 1, 18)
    assert boundary_f1(whole, all_but_frame) == 1
    assert boundary_f1(whole, all_but_frame, tolerance=0.5) == 0


# --- crop, predict, scores --------------------------------------------------------


def test_crop_to_takes_the_centre():
    masks = torch.arange(2 * 8 * 8).reshape(1, 2, 8, 8)
    assert torch.equal(crop_to(masks, torch.zeros(1, 1, 4, 6)), masks[..., 2:6, 1:7])
    assert torch.equal(crop_to(masks, torch.zeros(1, 1, 8, 8)), masks)
    # An odd difference: one pixel more goes at the bottom and on the right.
    assert torch.equal(crop_to(masks, torch.zeros(1, 1, 5, 7)), masks[..., 1:6, 0:7])


@pytest.mark.parametrize("h, w", [(9, 8), (8, 9), (16, 4)])
def test_logits_larger_than_the_masks(h, w):
    with pytest.raises(ValueError, match=f"answers {h} x {w} px for masks of 8 x 8"):
        crop_to(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, h, w))


def test_predict_goes_through_the_set_in_order_and_in_evaluation_mode():
    dataset = toy(40)
    net = small().train()
    logits, masks = predict(net, dataset)
    assert not net.training and not logits.requires_grad
    assert torch.equal(masks, dataset.tensors[1])
    assert torch.allclose(logits, net(dataset.tensors[0]), atol=1e-6)
    cut, masks = predict(small("valid"), dataset)
    assert cut.shape == masks.shape == (40, 1, 8, 8)
    assert torch.equal(masks, dataset.tensors[1][..., 2:-2, 2:-2])
    with pytest.raises(ValueError, match="images is 0; it must be at least 1"):
        predict(net, Subset(dataset, []))


def test_scores_are_the_metrics_at_the_threshold():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 1, 9, 9, generator=generator)
    masks = (torch.rand(3, 1, 9, 9, generator=generator) > 0.5).float()
    for threshold in (0.5, 0.7):
        found = logits.sigmoid() > threshold
        got = scores(logits, masks, threshold)
        assert got == dict(
            iou=iou(found, masks),
            dice=dice(found, masks),
            image_iou=iou(found, masks, each=True).mean().item(),
            boundary_f1=boundary_f1(found, masks),
            largest_logit=logits.max().item(),
        )
        assert evaluate(Given(), TensorDataset(logits, masks), threshold) == got
    assert scores(logits, masks) == scores(logits, masks, 0.5)


def test_best_threshold():
    """Foreground has 0.7 or 0.3, background 0.2: between 0.2 and 0.3 all is right."""
    masks = torch.tensor([1, 1, 1, 0, 0, 0, 0.0]).reshape(1, 1, 1, 7)
    chances = torch.tensor([0.7, 0.3, 0.3, 0.2, 0.2, 0.2, 0.1]).reshape(1, 1, 1, 7)
    threshold = best_threshold(chances.logit(), masks)
    assert isinstance(threshold, float) and 0.199 < threshold < 0.3
    assert iou(chances > threshold, masks) == 1
    masks[..., 1:3] = 0  # now 0.3 is background, too
    assert 0.299 < best_threshold(chances.logit(), masks) < 0.7


# --- small parts of the loop ------------------------------------------------------


def test_start_at_gives_the_share():
    layer = nn.Conv2d(3, 1, 1)
    nn.init.zeros_(layer.weight)
    for share in (0.04, 0.5, 0.9):
        start_at(layer, share)
        answer = layer(torch.rand(1, 3, 2, 2)).sigmoid().mean().item()
        assert answer == pytest.approx(share)


def test_batch_of():
    dataset = toy()
    images, masks = batch_of(dataset, [3, 0, 3])
    assert torch.equal(images, dataset.tensors[0][[3, 0, 3]])
    assert torch.equal(masks, dataset.tensors[1][[3, 0, 3]])


def test_flips_keep_image_and_mask_together():
    torch.manual_seed(0)
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    batch = torch.cat([image, image + 10])
    seen = set()
    for _ in range(120):
        images, masks = flips(batch, torch.cat([batch, -batch], 1))
        assert torch.equal(masks, torch.cat([images, -images], 1))
        assert torch.equal(images[1], images[0] + 10)
        seen.add(tuple(images[0].flatten().tolist()))
    assert len(seen) == 8  # all ways to turn a square over


# --- fit --------------------------------------------------------------------------


def plain(history):
    """A history without the seconds, which differ from run to run."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def test_fit_learns():
    reported = []
    run = fit(
        small(), toy(24), toy(8, seed=1), steps=60, every=20, lr=0.1, seed=7,
        report=lambda history: reported.append(plain(history)),
    )  # fmt: skip
    assert [row["step"] for row in run.history] == [20, 40, 60]
    assert run.history[-1]["loss"] < run.history[0]["loss"] / 2
    assert run.history[-1]["iou"] > 0.6
    assert run.seed == 7 and not run.net.training
    assert reported == [plain(run.history)[: i + 1] for i in range(3)]
    seconds = [row["seconds"] for row in run.history]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    best = max(row["iou"] for row in run.history)
    assert evaluate(run.net, toy(8, seed=1))["iou"] == best


def test_same_seed_same_training_other_seed_other_training():
    before = iter(range(50, 60))

    def train(seed):
        torch.manual_seed(0)
        net = small()
        torch.manual_seed(next(before))  # what was drawn before must not matter
        run = fit(net, toy(), toy(), steps=6, every=3, seed=seed, augment=flips)
        return plain(run.history), run.net.state_dict()

    (first, weights), (again, same), (other, _) = train(1), train(1), train(2)
    assert first == again and same_weights(weights, same)
    assert first != other


@pytest.mark.parametrize(
    "steps, every, expected",
    [(7, 3, [3, 6, 7]), (6, 3, [3, 6]), (5, 50, [5]), (5, 1, [1, 2, 3, 4, 5])],
)
def test_when_it_validates(steps, every, expected):
    losses = []

    def loss(logits, masks):
        value = F.binary_cross_entropy_with_logits(logits, masks)
        losses.append(value.item())
        return value

    run = fit(small(), toy(), toy(), steps=steps, every=every, loss=loss)
    assert [row["step"] for row in run.history] == expected
    for start, row in zip([0, *expected], run.history):
        assert row["loss"] == pytest.approx(np.mean(losses[start : row["step"]]))


@pytest.mark.parametrize("ious, kept", [([0.2, 0.9, 0.5], 1), ([0, 0, 0], 2)])
def test_the_best_weights_are_kept(monkeypatch, ious, kept):
    snapshots = []

    def spy(net, dataset):
        snapshots.append({k: v.clone() for k, v in net.state_dict().items()})
        return predict(net, dataset)

    monkeypatch.setattr(training, "predict", spy)
    monkeypatch.setattr(training, "iou", lambda *_: ious[len(snapshots) - 1])
    run = fit(small(), toy(), toy(), steps=6, every=2)
    assert same_weights(run.net.state_dict(), snapshots[kept])
    others = [i for i in range(3) if i != kept]
    assert not any(same_weights(snapshots[kept], snapshots[i]) for i in others)


def test_every_image_is_seen_before_one_is_seen_again():
    images = torch.arange(12.0).reshape(12, 1, 1, 1).expand(12, 1, 4, 4)
    seen = []

    def augment(images, masks):
        seen.extend(images[:, 0, 0, 0].tolist())
        return images, masks

    dataset = TensorDataset(images, torch.zeros(12, 1, 4, 4))
    for seed in (0, 1):
        net = nn.Conv2d(1, 1, 1)
        fit(net, dataset, dataset, steps=6, batch=4, augment=augment, seed=seed)
    rounds = [seen[i : i + 12] for i in range(0, 48, 12)]
    assert all(sorted(one) == list(range(12)) for one in rounds)
    assert len(set(map(tuple, rounds))) == 4  # each in an order of its own


def test_a_batch_larger_than_the_data_set_repeats_images():
    sizes = []

    def augment(images, masks):
        sizes.append(len(images))
        return images, masks

    fit(small(), toy(3), toy(3), steps=5, batch=8, augment=augment)
    assert sizes == [8] * 5


def test_a_smaller_answer_meets_the_centre_of_the_mask():
    pairs = []

    def loss(logits, masks):
        pairs.append((logits.shape, masks.shape))
        return F.binary_cross_entropy_with_logits(logits, masks)

    run = fit(small("valid"), toy(24), toy(), steps=60, every=60, lr=0.1, loss=loss)
    assert set(pairs) == {((8, 1, 8, 8), (8, 1, 8, 8))}
    assert run.history[-1]["iou"] > 0.6


def test_more_channels_reach_the_loss_and_only_the_first_is_scored():
    seen = []

    def weighted(logits, masks):
        seen.append(masks)
        target, weight = masks[:, :1], masks[:, 1:]
        return F.binary_cross_entropy_with_logits(logits, target, weight)

    images, masks = toy(24).tensors
    dataset = TensorDataset(images, torch.cat([masks, 1 + 2 * masks], 1))
    run = fit(small(), dataset, dataset, steps=60, every=60, lr=0.1, loss=weighted)
    assert all(part.shape[1] == 2 for part in seen)
    assert all(torch.equal(part[:, 1], 1 + 2 * part[:, 0]) for part in seen)
    assert run.history[-1]["iou"] > 0.6
    assert (
        run.history[-1]["iou"] == evaluate(run.net, TensorDataset(images, masks))["iou"]
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_training(bad):
    values = []

    def loss(logits, masks):
        values.append(F.binary_cross_entropy_with_logits(logits, masks))
        return values[-1] * (bad if len(values) == 4 else 1)

    with pytest.raises(FloatingPointError, match=f"loss is {bad} at step 3 .*lower lr"):
        fit(small(), toy(), toy(), steps=6, loss=loss)
    assert len(values) == 4


@pytest.mark.parametrize(
    "change, answer",
    [
        (dict(steps=0), "steps is 0; it must be at least 5"),
        (dict(steps=4), "steps is 4; it must be at least 5"),
        (dict(batch=0), "batch is 0; it must be at least 1"),
        (dict(every=0), "every is 0; it must be at least 1"),
        (dict(train=Subset(toy(), [])), "training images is 0; it must be at least 1"),
        (dict(validation=Subset(toy(), [])), "validation images is 0; it must be"),
    ],
)
def test_settings_that_make_no_sense(change, answer):
    with pytest.raises(ValueError, match=answer):
        fit(small(), **(dict(train=toy(), validation=toy(), steps=5) | change))


# --- checkpoints ------------------------------------------------------------------

STEPS = 12


class Interrupt(Exception):
    pass


def interruptible(stop=None, **options):
    """Train with dropout, batch norm and flips; break off before step `stop`."""
    step = iter(range(STEPS))

    def augment(images, masks):
        if stop is not None and next(step) == stop:
            raise Interrupt
        return flips(images, masks)

    settings = dict(steps=STEPS, batch=4, every=4, lr=0.02, seed=3) | options
    return fit(small(), toy(), toy(8, seed=1), augment=augment, **settings)


@pytest.fixture(scope="module")
def uninterrupted():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run = interruptible()
    torch.set_num_threads(before)
    return run


@pytest.mark.parametrize("stop", [2, 4, 6, 8, 11])
def test_an_interrupted_training_goes_on_to_the_same_result(
    uninterrupted, tmp_path, stop
):
    file = tmp_path / "run.pt"
    torch.manual_seed(0)
    with pytest.raises(Interrupt):
        interruptible(stop, checkpoint=file)
    assert file.exists() == (stop >= 4)  # at 4 and 8, right after a checkpoint
    torch.manual_seed(99 if file.exists() else 0)  # another network, to be replaced
    seen = []
    run = interruptible(checkpoint=file, report=lambda h: seen.append(h[-1]["step"]))
    assert seen == [step for step in (4, 8, 12) if step > stop // 4 * 4]
    assert plain(run.history) == plain(uninterrupted.history)
    assert same_weights(run.net.state_dict(), uninterrupted.net.state_dict())
    seconds = [row["seconds"] for row in run.history]
    assert seconds == sorted(seconds)


def test_a_break_in_the_report_comes_after_the_checkpoint(uninterrupted, tmp_path):
    def report(history):
        raise KeyboardInterrupt

    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        interruptible(checkpoint=tmp_path / "run.pt", report=report)
    run = interruptible(checkpoint=tmp_path / "run.pt")
    assert plain(run.history) == plain(uninterrupted.history)
    assert same_weights(run.net.state_dict(), uninterrupted.net.state_dict())


def test_a_finished_training_is_read_back(uninterrupted, tmp_path):
    torch.manual_seed(0)
    interruptible(checkpoint=tmp_path / "run.pt")
    run = interruptible(stop=0, checkpoint=tmp_path / "run.pt")  # no step is taken
    assert same_weights(run.net.state_dict(), uninterrupted.net.state_dict())
    assert plain(run.history) == plain(uninterrupted.history)
    assert not run.net.training and run.seed == 3


@pytest.mark.parametrize(
    "other", [dict(steps=14), dict(lr=0.01), dict(seed=4), dict(batch=5), dict(every=3)]
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, other):
    file = tmp_path / "run.pt"
    interruptible(checkpoint=file)
    content = file.read_bytes()
    name, value = next(iter(other.items()))
    with pytest.raises(ValueError, match=f"run.pt belongs.*this.*'{name}': {value}"):
        interruptible(checkpoint=file, **other)
    assert file.read_bytes() == content


def test_a_checkpoint_of_other_data_or_another_network_is_refused(tmp_path):
    file = tmp_path / "run.pt"
    fit(small(), toy(12), toy(8), steps=5, checkpoint=file)
    for net, train, validation in (
        (small(), toy(13), toy(8)),
        (small(), toy(12), toy(9)),
        (nn.Conv2d(1, 1, 3, padding=1), toy(12), toy(8)),
    ):
        with pytest.raises(ValueError, match=r"run.pt belongs to a training"):
            fit(net, train, validation, steps=5, checkpoint=file)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "list", "weights"])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    file = tmp_path / "run.pt"
    interruptible(checkpoint=file)
    whole = file.read_bytes()
    if damage == "list":
        torch.save([1, 2], file)
    elif damage == "weights":
        torch.save(small().state_dict(), file)
    else:
        content = dict(empty=b"", text=b"hello", cut=whole[: len(whole) // 2])
        file.write_bytes(content[damage])
    with pytest.raises(ValueError, match=r"run.pt is damaged or .*: delete the file"):
        interruptible(checkpoint=file)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_a_checkpoint_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(settings=Malicious()), "run.pt")
    with pytest.raises(ValueError, match=r"run.pt is damaged or is no checkpoint"):
        interruptible(checkpoint="run.pt")
    assert not (tmp_path / "harm").exists()


def test_a_kill_during_saving_leaves_the_old_file(uninterrupted, tmp_path, monkeypatch):
    file, save = tmp_path / "run.pt", torch.save

    def dies(state, path):
        if len(state["history"]) == 1:
            return save(state, path)
        with open(path, "wb") as half:
            half.write(b"half a file")
        raise Interrupt

    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", dies)
        with pytest.raises(Interrupt):
            interruptible(checkpoint=file)
    assert len(torch.load(file, weights_only=True)["history"]) == 1
    run = interruptible(checkpoint=file)
    assert plain(run.history) == plain(uninterrupted.history)
    assert same_weights(run.net.state_dict(), uninterrupted.net.state_dict())
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


# --- compare and results ----------------------------------------------------------

COMMON = dict(train=toy(), validation=toy(8, seed=1), steps=6, every=3, net=small)
VARIANTS = dict(slow=dict(lr=0.001), fast=dict(lr=0.02, augment=flips))


@pytest.fixture(scope="module")
def compared():
    """Runs of `compare` in two worker processes, and what was reported."""
    reports = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.joblib, "cpu_count", lambda: 2)
        runs = compare(
            VARIANTS, (4, 2), report=lambda *row: reports.append(row), **COMMON
        )
    return runs, reports


def test_compare_orders_by_variant_and_seed(compared):
    runs, reports = compared
    assert list(runs) == ["slow", "fast"]
    assert [[run.seed for run in runs[name]] for name in runs] == [[4, 2], [4, 2]]
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_compare_gives_what_fit_alone_gives(compared):
    for name, runs in compared[0].items():
        for run in runs:
            torch.manual_seed(run.seed)
            net = small()
            settings = {k: v for k, v in COMMON.items() if k != "net"}
            alone = fit(net, seed=run.seed, **settings, **VARIANTS[name])
            assert plain(alone.history) == plain(run.history)
            assert same_weights(alone.net.state_dict(), run.net.state_dict())


@pytest.mark.parametrize("cores", [1, 3])
def test_compare_does_not_depend_on_the_number_of_workers(monkeypatch, compared, cores):
    torch.set_num_threads(2)
    monkeypatch.setattr(training.joblib, "cpu_count", lambda: cores)
    runs = compare(VARIANTS, (4, 2), **COMMON)
    for name in runs:
        for here, there in zip(runs[name], compared[0][name], strict=True):
            assert plain(here.history) == plain(there.history)
            assert same_weights(here.net.state_dict(), there.net.state_dict())


def test_compare_leaves_no_worker_behind(monkeypatch):
    monkeypatch.setattr(training.joblib, "cpu_count", lambda: 2)
    compare(dict(a={}), (0, 1), **COMMON)
    children = [" ".join(p.cmdline()) for p in psutil.Process().children()]
    assert not [line for line in children if "popen_loky" in line]


def test_compare_works_on_one_thread_and_passes_errors_on(monkeypatch):
    def loss(logits, masks):
        raise RuntimeError(f"{torch.get_num_threads()} thread")

    torch.set_num_threads(2)
    monkeypatch.setattr(training.joblib, "cpu_count", lambda: 2)
    with pytest.raises(RuntimeError, match=r"^1 thread"):
        compare(dict(a=dict(loss=loss)), (0,), **COMMON)


def chances(foreground, background):
    """A data set whose `Given` network answers these two probabilities."""
    masks = torch.zeros(2, 1, 8, 8)
    masks[..., 2:5, 2:5] = 1
    answer = torch.where(masks > 0, foreground, background)
    answer[..., 0, 0] = foreground  # one false alarm in each image
    return TensorDataset(answer.logit(), masks)


def test_results_takes_its_thresholds_from_the_validation_data():
    validation, test = chances(0.4, 0.3), chances(0.6, 0.35)
    runs = dict(a=[Run(Given(), [], 5)], b=[Run(Given(), [], 1), Run(Given(), [], 2)])
    table = results(runs, validation, test)
    assert list(table) == [
        "variant", "seed", "iou", "dice", "image_iou", "boundary_f1", "largest_logit",
        "iou_at_half", "threshold",
    ]  # fmt: skip
    assert table.variant.tolist() == ["a", "b", "b"]
    assert table.seed.tolist() == [5, 1, 2]
    threshold = best_threshold(*predict(Given(), validation))
    assert 0.299 < threshold < 0.35 and (table.threshold == threshold).all()
    # On the test data this threshold takes all for foreground; a half would not.
    assert table.iou.tolist() == pytest.approx([9 / 64] * 3)
    assert table.iou_at_half.tolist() == pytest.approx([9 / 10] * 3)
    assert table.loc[0, "dice"] == evaluate(Given(), test, threshold)["dice"]


def test_tuned_takes_its_threshold_from_the_validation_data():
    validation, test = chances(0.4, 0.3), chances(0.6, 0.35)
    found, masks, threshold = tuned(Given(), validation, test)
    assert threshold == best_threshold(*predict(Given(), validation))
    assert found.dtype == torch.bool and found.all()
    assert torch.equal(masks, test.tensors[1])


# --- classes, several maps, volumes ------------------------------------------------


def test_confusion_by_hand():
    labels = torch.tensor([[0, 0, 1], [2, 2, IGNORE]])[None, None]
    found = torch.tensor([[0, 1, 1], [2, 0, 1]])[None, None]
    expected = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    assert confusion(found, labels, 3).equal(expected)
    torch.testing.assert_close(class_iou(expected), torch.tensor([1 / 3, 1 / 2, 1 / 2]))


def test_a_class_that_nowhere_occurs_scores_1():
    assert class_iou(torch.diag(torch.tensor([3, 0]))).tolist() == [1, 1]


def test_mean_iou_takes_the_largest_logit_and_leaves_out_the_ignored():
    labels = torch.randint(0, 3, (2, 1, 6, 6))
    logits = F.one_hot(labels[:, 0], 3).movedim(-1, 1).float()
    assert mean_iou(logits, labels) == 1
    labels[0, 0, 0, 0] = (labels[0, 0, 0, 0] + 1) % 3
    assert mean_iou(logits, labels) < 1
    labels[0, 0, 0, 0] = IGNORE
    assert mean_iou(logits, labels) == 1


@pytest.mark.parametrize(
    ("found", "labels", "message"),
    [
        (torch.zeros(1, 4, 4), torch.zeros(1, 1, 4, 4), "keepdim=True"),
        (torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 3), "3 classes.*0 to 2"),
        (torch.full((1, 1, 4, 4), -1), torch.zeros(1, 1, 4, 4), "run from -1"),
    ],
)
def test_confusion_refuses_what_is_no_label_map(found, labels, message):
    with pytest.raises(ValueError, match=message):
        confusion(found, labels, 3)


def test_the_ignored_pixels_carry_no_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    training.cross_entropy(logits, torch.tensor([[[[0, IGNORE], [2, 1]]]])).backward()
    assert not logits.grad[0, :, 0, 1].any()
    assert logits.grad[0, :, 1, 1].all()


def test_fit_learns_classes():
    grey, masks = toy(n=16).tensors
    labels = TensorDataset(grey, masks.long())
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    run = fit(
        net, labels, labels, steps=60, lr=0.02,
        loss=training.cross_entropy, score=mean_iou,
    )  # fmt: skip
    assert run.history[-1]["iou"] == mean_iou(*predict(run.net, labels)) > 0.7


class Several(nn.Module):
    """Answers with three maps, the first of which counts."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(x).split(1, dim=1)


def test_of_several_maps_the_loss_gets_all_and_the_first_is_the_answer():
    maps = []

    def loss(answer, masks):
        maps.append(len(answer))
        pairs = (F.binary_cross_entropy_with_logits(a, masks) for a in answer)
        return sum(pairs)

    run = fit(Several(), toy(), toy(), steps=5, loss=loss)
    assert maps == [3] * 5
    logits, _ = predict(run.net, toy())
    assert logits.equal(run.net(toy().tensors[0])[0])


def test_volumes_are_trained_on_and_scored():
    masks = torch.zeros(4, 1, 6, 6, 6)
    masks[..., 2:4, 2:4, 2:4] = 1
    volumes = TensorDataset(masks + 0.1 * torch.randn(masks.shape), masks)
    run = fit(nn.Conv3d(1, 1, 1), volumes, volumes, steps=60, lr=0.3, augment=flips)
    answer = scores(*predict(run.net, volumes))
    assert answer["iou"] > 0.9 and answer["boundary_f1"] > 0.9
    assert iou(masks, masks, each=True).tolist() == [1] * 4


# --- the loss of the bench --------------------------------------------------------


def test_bce_dice_by_hand():
    logits = torch.tensor([0.0, 0.0, 40.0, -40.0]).reshape(1, 1, 2, 2)
    masks = torch.tensor([1.0, 0.0, 1.0, 0.0]).reshape(1, 1, 2, 2)
    # p = 1/2, 1/2, 1, 0: overlap 1.5, squares 1.5 and 2, one pixel of smoothing.
    bce = 2 * np.log(2) / 4
    expected = bce + 1 - (2 * 1.5 + 1) / (1.5 + 2 + 1)
    assert bce_dice(logits, masks).item() == pytest.approx(expected)
    sure = 40 * (2 * masks - 1)
    assert bce_dice(sure, masks).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(3, 1, 5, 7), (2, 1, 4, 5, 6)])
def test_bce_dice_is_pooled_over_the_batch(shape):
    logits, masks = torch.randn(shape), (torch.rand(shape) > 0.7).float()
    masks[0] = 0  # an empty image among others
    one = bce_dice(logits, masks)
    assert one.ndim == 0 and torch.isfinite(one)
    flat = logits.reshape(1, 1, -1, 1), masks.reshape(1, 1, -1, 1)
    assert bce_dice(*flat).item() == pytest.approx(one.item(), rel=1e-5)


def test_bce_dice_of_an_empty_batch():
    empty = torch.zeros(2, 1, 8, 8)
    for level in (-200.0, -5.0, 0.0, 200.0):
        logits = torch.full_like(empty, level).requires_grad_()
        value = bce_dice(logits, empty)
        value.backward()
        assert value.isfinite() and logits.grad.isfinite().all()
    assert bce_dice(empty - 200, empty).item() == pytest.approx(0, abs=1e-6)


def test_bce_dice_points_the_right_way():
    logits = torch.randn(2, 1, 8, 8, dtype=torch.double, requires_grad=True)
    masks = torch.zeros(2, 1, 8, 8, dtype=torch.double)
    masks[..., 2:5, 2:5] = 1
    assert torch.autograd.gradcheck(lambda z: bce_dice(z, masks), logits)
    flat = torch.zeros_like(masks).requires_grad_()
    bce_dice(flat, masks).backward()
    assert (flat.grad[masks == 1] < 0).all() and (flat.grad[masks == 0] > 0).all()


@pytest.mark.parametrize("shape", [(2, 1, 8, 7), (2, 8, 8), (1, 1, 8, 8)])
def test_bce_dice_does_not_broadcast(shape):
    with pytest.raises(ValueError, match=r"\(2, 1, 8, 8\).*the same shape"):
        bce_dice(torch.zeros(2, 1, 8, 8), torch.zeros(shape))


def test_bce_dice_trains():
    run = fit(small(), toy(24), toy(), steps=60, every=60, lr=0.1, loss=bce_dice)
    assert run.history[-1]["iou"] > 0.6


def test_side_by_side_keeps_the_order():
    seen = []
    calls = [joblib.delayed(divmod)(n, 3) for n in range(5)]
    results = training.side_by_side(calls, lambda *counts: seen.append(counts))
    assert results == [divmod(n, 3) for n in range(5)]
    assert seen == [(n, 5) for n in range(1, 6)]


# --- with an accelerator ----------------------------------------------------------


@pytest.fixture
def fresh():
    """Accelerate keeps its state for the whole process: begin and end without one."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def accelerated(accelerator, **options):
    torch.manual_seed(0)
    return interruptible(accelerator=accelerator, **options)


def test_an_accelerator_in_one_process_changes_nothing(uninterrupted, fresh, tmp_path):
    run = accelerated(Accelerator(cpu=True), checkpoint=tmp_path / "run.pt")
    assert plain(run.history) == plain(uninterrupted.history)
    assert same_weights(run.net.state_dict(), uninterrupted.net.state_dict())
    again = accelerated(None, checkpoint=tmp_path / "run.pt", stop=0)  # read back
    assert same_weights(again.net.state_dict(), uninterrupted.net.state_dict())


def test_mixed_precision_is_picked_up_and_left_behind(uninterrupted, fresh):
    run = accelerated(Accelerator(cpu=True, mixed_precision="bf16"))
    assert plain(run.history) != plain(uninterrupted.history)
    assert run.history[0]["loss"] == pytest.approx(
        uninterrupted.history[0]["loss"], rel=0.05
    )
    weights = run.net.state_dict()
    assert all(v.dtype != torch.bfloat16 for v in weights.values())
    plain_net = small().eval()  # the same weights in a network of full precision
    plain_net.load_state_dict(weights)
    images = toy().tensors[0]
    assert torch.equal(run.net(images), plain_net(images))


def test_the_default_does_not_need_accelerate():
    code = "import sys, helpers.training; print('accelerate' in sys.modules)"
    root = os.path.dirname(os.path.dirname(training.__file__))
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


class Pretends(training.OneProcess):
    """One of three processes, which is not there."""

    num_processes, device = 3, torch.device("cpu")

    def __init__(self, process_index):
        self.process_index = process_index


def test_each_process_takes_its_share_of_the_batch():
    images, masks = batch_of(toy(), range(6))
    shares = [training.own_share(Pretends(k), images, masks) for k in range(3)]
    assert [len(part) for share in shares for part in share] == [2] * 6
    assert torch.equal(torch.cat([share[0] for share in shares]), images)
    assert torch.equal(torch.cat([share[1] for share in shares]), masks)


@pytest.mark.parametrize(
    "batch, processes, works", [(5, 2, "4 and 6"), (1, 2, "2 and 4"), (8, 3, "6 and 9")]
)
def test_a_batch_that_the_processes_do_not_divide(batch, processes, works):
    with pytest.raises(ValueError, match=f"batch of {batch} .* {processes}.*{works}"):
        training.share_size(batch, processes)
    with pytest.raises(ValueError, match=r"batch of 4 .* by 3 processes.*3 and 6 work"):
        fit(small(), toy(), toy(), steps=5, batch=4, accelerator=Pretends(0))
    assert training.share_size(6, 3) == 2


def test_predict_takes_the_pictures_where_the_network_is():
    """No graphics card here: `meta` stands for one until the answer is to come back."""
    with pytest.raises(NotImplementedError, match="out of meta tensor"):
        predict(small().to("meta"), toy())
