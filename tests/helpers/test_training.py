"""The training loop: by hand, in every order, with every sort of data."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Subset, TensorDataset

from helpers import metrics, training
from helpers.training import bce_dice, crop_to, fit, flips, predict
from tests.helpers.toys import plain, same_run, same_weights, small, squares


@pytest.fixture(autouse=True)
def one_start():
    torch.manual_seed(2)


# --- small parts of the loop ------------------------------------------------------


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
    dataset = squares(40)
    net = small().train()
    logits, masks = predict(net, dataset)
    assert not net.training and not logits.requires_grad
    assert torch.equal(masks, dataset.tensors[1])
    assert torch.allclose(logits, net(dataset.tensors[0]), atol=1e-6)
    cut, masks = predict(small("valid"), dataset)
    assert cut.shape == masks.shape == (40, 1, 8, 8)
    assert torch.equal(masks, dataset.tensors[1][..., 2:-2, 2:-2])
    with pytest.raises(ValueError, match=r"the data set is empty: .* at least 1"):
        predict(net, Subset(dataset, []))


def test_predict_takes_the_pictures_where_the_network_is():
    """No graphics card here: `meta` stands for one until the answer is to come back."""
    with pytest.raises(NotImplementedError, match="out of meta tensor"):
        predict(small().to("meta"), squares())


def test_start_at_gives_the_share():
    layer = nn.Conv2d(3, 1, 1)
    nn.init.zeros_(layer.weight)
    for share in (0.04, 0.5, 0.9):
        training.start_at(layer, share)
        answer = layer(torch.rand(1, 3, 2, 2)).sigmoid().mean().item()
        assert answer == pytest.approx(share)
    for share in (0, 1, -0.1, 1.2, float("nan")):
        with pytest.raises(ValueError, match=f"share is {share}; .* between 0 and 1"):
            training.start_at(layer, share)


def test_batch_of():
    dataset = squares()
    images, masks = training.batch_of(dataset, [3, 0, 3])
    assert torch.equal(images, dataset.tensors[0][[3, 0, 3]])
    assert torch.equal(masks, dataset.tensors[1][[3, 0, 3]])


def test_flips_keep_image_and_mask_together():
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


def test_fit_learns():
    reported = []
    validation = squares(8, seed=1)
    run = fit(
        small(), squares(24), validation, steps=60, every=20, lr=0.1, seed=7,
        report=lambda history: reported.append(plain(history)),
    )  # fmt: skip
    assert [row["step"] for row in run.history] == [20, 40, 60]
    assert run.history[-1]["loss"] < run.history[0]["loss"] / 2
    assert run.history[-1]["score"] > 0.6
    assert run.seed == 7 and not run.net.training
    assert reported == [plain(run.history)[: i + 1] for i in range(3)]
    seconds = [row["seconds"] for row in run.history]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    best = max(row["score"] for row in run.history)
    assert metrics.iou_at_best(*run.predict(validation)) == best


def test_it_is_the_loop_by_hand_with_the_plain_optimizer():
    """Fused AdamW does the same sums in another order."""
    convolutions = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)
    net = nn.Sequential(convolutions[0], nn.Tanh(), nn.Dropout2d(0.2), convolutions[1])
    by_hand, train = copy.deepcopy(net), squares()
    run = fit(net, train, squares(), steps=20, every=20, seed=3)
    torch.manual_seed(3)
    optimizer = torch.optim.AdamW(by_hand.parameters(), 5e-3, fused=False)
    schedule = training.one_cycle(optimizer, 5e-3, 20)
    for batch in training.draw_batches(train, 20, 8, seed=3):
        images, masks = training.batch_of(train, batch)
        loss = F.binary_cross_entropy_with_logits(by_hand(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    by_hand.eval()
    for name, value in run.net.state_dict().items():
        torch.testing.assert_close(by_hand.state_dict()[name], value)


def test_same_seed_same_training_other_seed_other_training():
    before = iter(range(50, 60))

    def train(seed):
        torch.manual_seed(0)
        net = small()
        torch.manual_seed(next(before))  # what was drawn before must not matter
        settings = dict(steps=6, every=3, seed=seed, augment=flips)
        return fit(net, squares(), squares(), **settings)

    first = train(1)
    assert same_run(first, train(1))
    assert plain(first.history) != plain(train(2).history)


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

    run = fit(small(), squares(), squares(), steps=steps, every=every, loss=loss)
    assert [row["step"] for row in run.history] == expected
    for start, row in zip([0, *expected], run.history):
        since = losses[start : row["step"]]
        assert row["loss"] == pytest.approx(sum(since) / len(since))


@pytest.mark.parametrize(
    "scores, kept", [([0.2, 0.9, 0.5], 1), ([0, 0, 0], 2), ([-3, -1, -2], 1)]
)
def test_the_best_weights_are_kept_and_the_threshold_is_theirs(scores, kept):
    """Of equal scores the latest; below 0, such as a negative loss, as above."""
    left, snapshots, validation = iter(scores), [], squares(8, seed=1)

    def score(logits, masks):
        snapshots.append(logits)
        return next(left)

    settings = dict(steps=30, every=10, lr=0.1, score=score)
    run = fit(small(), squares(), validation, **settings)
    logits, masks = run.predict(validation)
    same = [torch.equal(logits, snapshot) for snapshot in snapshots]
    assert same == [number == kept for number in range(3)]
    assert run.threshold == metrics.best_threshold(logits, masks)
    found, masks = run.segment(validation)
    assert torch.equal(found, logits.sigmoid() > run.threshold)
    assert torch.equal(masks, validation.tensors[1])


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
    rounds = [tuple(seen[i : i + 12]) for i in range(0, 48, 12)]
    assert all(sorted(one) == list(range(12)) for one in rounds)
    assert len(set(rounds)) == 4  # each in an order of its own


def test_a_batch_larger_than_the_data_set_repeats_images():
    sizes = []

    def augment(images, masks):
        sizes.append(len(images))
        return images, masks

    fit(small(), squares(3), squares(3), steps=5, batch=8, augment=augment)
    assert sizes == [8] * 5


def test_a_smaller_answer_meets_the_centre_of_the_mask():
    pairs = []

    def loss(logits, masks):
        pairs.append((logits.shape, masks.shape))
        return F.binary_cross_entropy_with_logits(logits, masks)

    settings = dict(steps=60, every=60, lr=0.1, loss=loss)
    run = fit(small("valid"), squares(24), squares(), **settings)
    assert set(pairs) == {((8, 1, 8, 8), (8, 1, 8, 8))}
    assert run.history[-1]["score"] > 0.6


def test_more_channels_reach_the_loss_and_only_the_first_is_scored():
    seen = []

    def weighted(logits, masks):
        seen.append(masks)
        target, weight = masks[:, :1], masks[:, 1:]
        return F.binary_cross_entropy_with_logits(logits, target, weight)

    images, masks = squares(24).tensors
    dataset = TensorDataset(images, torch.cat([masks, 1 + 2 * masks], 1))
    run = fit(small(), dataset, dataset, steps=60, every=60, lr=0.1, loss=weighted)
    assert all(torch.equal(part[:, 1], 1 + 2 * part[:, 0]) for part in seen)
    score = metrics.iou_at_best(*run.predict(TensorDataset(images, masks)))
    assert run.history[-1]["score"] == score > 0.6


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_training(bad):
    values = []

    def loss(logits, masks):
        values.append(F.binary_cross_entropy_with_logits(logits, masks))
        return values[-1] * (bad if len(values) == 4 else 1)

    with pytest.raises(FloatingPointError, match=f"loss is {bad} at step 4 .*lower lr"):
        fit(small(), squares(), squares(), steps=6, loss=loss)
    assert len(values) == 4


@pytest.mark.parametrize(
    "change, answer",
    [
        (dict(steps=0), "steps is 0; it must be at least 5"),
        (dict(steps=4), "steps is 4; it must be at least 5"),
        (dict(batch=0), "batch is 0; it must be at least 1"),
        (dict(every=0), "every is 0; it must be at least 1"),
        (dict(train=Subset(squares(), [])), "training images is 0; it must be at le"),
        (dict(validation=Subset(squares(), [])), "validation images is 0; it must be"),
    ],
)
def test_settings_that_make_no_sense(change, answer):
    with pytest.raises(ValueError, match=answer):
        fit(small(), **(dict(train=squares(), validation=squares(), steps=5) | change))


class Noted:
    """A checkpoint and an engine that write down when they are called."""

    is_main = True

    def __init__(self):
        self.calls = []

    def load(self, settings, *parts):
        self.calls.append(("load", settings["steps"]))
        return [], None

    def save(self, settings, net, optimizer, schedule, history, best):
        assert same_weights(net.state_dict(), best)
        self.calls.append(("save", history[-1]["step"]))

    def prepare(self, net, optimizer):
        self.calls.append(("prepare", None))
        return self.step

    def step(self, *arguments):
        self.calls.append(("step", None))
        return training.train_step(*arguments)

    def from_main(self, history, best):
        self.calls.append(("from_main", len(history)))
        return history, best


def test_when_a_checkpoint_and_an_engine_are_called():
    noted = Noted()
    settings = dict(steps=6, every=3, checkpoint=noted, engine=noted)
    torch.manual_seed(0)
    run = fit(small(), squares(), squares(), score=lambda *_: 0.5, **settings)
    third = [("step", None)] * 3
    assert noted.calls == [
        ("prepare", None), ("load", 6),
        *third, ("save", 3), ("from_main", 1), *third, ("save", 6), ("from_main", 2),
    ]  # fmt: skip
    torch.manual_seed(0)
    alone = fit(small(), squares(), squares(), steps=6, every=3, score=lambda *_: 0.5)
    assert same_run(run, alone)


# --- classes, several maps, volumes ------------------------------------------------


def test_the_ignored_pixels_carry_no_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    labels = torch.tensor([[[[0, metrics.IGNORE], [2, 1]]]])
    training.cross_entropy(logits, labels).backward()
    assert not logits.grad[0, :, 0, 1].any()
    assert logits.grad[0, :, 1, 1].all()


def test_fit_learns_classes():
    grey, masks = squares(n=16).tensors
    labels = TensorDataset(grey, masks.long())
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    settings = dict(loss=training.cross_entropy, score=metrics.mean_iou)
    run = fit(net, labels, labels, steps=60, lr=0.02, **settings)
    assert run.history[-1]["score"] == metrics.mean_iou(*run.predict(labels)) > 0.7
    assert run.threshold is None


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
        return sum(F.binary_cross_entropy_with_logits(a, masks) for a in answer)

    run = fit(Several(), squares(), squares(), steps=5, loss=loss)
    assert maps == [3] * 5
    logits, _ = run.predict(squares())
    assert logits.equal(run.net(squares().tensors[0])[0])


def test_volumes_are_trained_on_and_scored():
    masks = torch.zeros(4, 1, 6, 6, 6)
    masks[..., 2:4, 2:4, 2:4] = 1
    volumes = TensorDataset(masks + 0.1 * torch.randn(masks.shape), masks)
    run = fit(nn.Conv3d(1, 1, 1), volumes, volumes, steps=60, lr=0.3, augment=flips)
    answer = metrics.scores(*run.predict(volumes))
    assert answer["iou"] > 0.9 and answer["boundary_f1"] > 0.9


# --- BCE and Dice -----------------------------------------------------------------


def test_bce_dice_by_hand():
    logits = torch.tensor([0.0, 0.0, 40.0, -40.0]).reshape(1, 1, 2, 2)
    masks = torch.tensor([1.0, 0.0, 1.0, 0.0]).reshape(1, 1, 2, 2)
    # p = 1/2, 1/2, 1, 0: overlap 1.5, squares 1.5 and 2, one pixel of smoothing.
    bce = 2 * math.log(2) / 4
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_bce_dice_in_half_precision_keeps_dice(dtype):
    """512 x 512 pixels of 1 are more than float16 can count: 65504."""
    masks = torch.ones(1, 1, 512, 512)
    right = torch.full_like(masks, 20)
    for truth in (masks, masks.to(dtype)):
        assert bce_dice(right.to(dtype), truth).item() == pytest.approx(0, abs=1e-3)
        wrong = bce_dice(-right.to(dtype), truth).item()
        assert wrong == pytest.approx(bce_dice(-right, masks).item(), rel=1e-3)


@pytest.mark.parametrize("loss", [training.bce, bce_dice])
@pytest.mark.parametrize("shape", [(2, 1, 8, 7), (2, 8, 8), (1, 1, 8, 8)])
def test_losses_of_one_object_do_not_broadcast(loss, shape):
    with pytest.raises(ValueError, match=r"\(2, 1, 8, 8\).*the same shape"):
        loss(torch.zeros(2, 1, 8, 8), torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("loss", [training.bce, bce_dice])
def test_losses_of_one_object_take_floats(loss, dtype):
    masks = torch.zeros(2, 1, 8, 8, dtype=dtype)
    with pytest.raises(ValueError, match=f"{dtype}.*masks.float().*cross_entropy"):
        loss(torch.zeros(2, 1, 8, 8), masks)


def test_the_loss_that_is_the_default_refuses_classes():
    images, masks = squares().tensors
    labels = TensorDataset(images, masks.long())
    with pytest.raises(ValueError, match=r"int64.*takes floats"):
        fit(small(), labels, labels, steps=5)
    two = nn.Conv2d(1, 2, 1)
    with pytest.raises(ValueError, match=r"\(8, 2, \d+, \d+\) and masks of \(8, 1,"):
        fit(two, squares(), squares(), steps=5)


def test_bce_dice_trains():
    settings = dict(steps=60, every=60, lr=0.1, loss=bce_dice)
    run = fit(small(), squares(24), squares(), **settings)
    assert run.history[-1]["score"] > 0.6


# --- cross-entropy ----------------------------------------------------------------


def test_cross_entropy_leaves_out_the_ignored_and_is_0_where_all_is():
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    labels = torch.randint(0, 3, (2, 1, 4, 5))
    labels[0] = metrics.IGNORE
    alone = F.cross_entropy(logits[1:], labels[1:, 0])
    torch.testing.assert_close(training.cross_entropy(logits, labels), alone)
    labels[:] = metrics.IGNORE
    loss = training.cross_entropy(logits, labels)
    loss.backward()
    assert loss == 0 and not logits.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cross_entropy_in_half_precision(dtype):
    """512 x 512 pixels are more than float16 can add up: 65504."""
    labels = torch.randint(0, 3, (1, 1, 512, 512))
    logits = torch.ones(1, 3, 512, 512, dtype=dtype, requires_grad=True)
    loss = training.cross_entropy(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3)) and logits.grad.isfinite().all()
    labels[:] = metrics.IGNORE
    assert training.cross_entropy(logits, labels) == 0


@pytest.mark.parametrize(
    ("classes", "labels", "told"),
    [
        (1, torch.zeros(1, 1, 4, 4).long(), "one map, where cross-entropy is always 0"),
        (
            2,
            torch.zeros(1, 1, 4, 4),
            "torch.float32: cross-entropy takes class numbers",
        ),
        (3, torch.full((1, 1, 4, 4), 200), "from 200 to 200; 3 classes have"),
        (3, torch.full((1, 1, 4, 4), -1), "from -1 to -1; 3 classes have"),
    ],
)
def test_cross_entropy_refuses_what_are_no_labels(classes, labels, told):
    with pytest.raises(ValueError, match=told):
        training.cross_entropy(torch.zeros(1, classes, 4, 4), labels)


def test_ce_dice_by_hand():
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    sure = torch.tensor([[0.0, 40.0], [40.0, 0.0]])
    logits = logits + torch.stack([sure, 0 * sure, 0 * sure])
    labels = torch.tensor([[1, 0], [0, metrics.IGNORE]]).reshape(1, 1, 2, 2)
    # Three pixels count: p = 1/3 each, where the label is 1; twice sure of class 0.
    # Overlaps 2, 1/3, 0; squares and areas 37/9, 10/9, 1/9; one pixel of smoothing.
    dice = [(4 + 1) / (37 / 9 + 1), (2 / 3 + 1) / (10 / 9 + 1), 1 / (1 / 9 + 1)]
    expected = math.log(3) / 3 + 1 - sum(dice) / 3
    assert training.ce_dice(logits, labels).item() == pytest.approx(expected)
    volume = logits.reshape(1, 3, 2, 2, 1), labels.reshape(1, 1, 2, 2, 1)
    assert training.ce_dice(*volume).item() == pytest.approx(expected)
    half = training.ce_dice(logits.half(), labels).item()
    assert half == pytest.approx(expected, rel=1e-3)
    assert training.ce_dice(logits, labels * 0 + metrics.IGNORE) == 0
    with pytest.raises(ValueError, match="from 3 to 3; 3 classes have"):
        training.ce_dice(logits, labels * 0 + 3)


def test_a_rare_class_weighs_more_in_ce_dice():
    """One pixel of 64 is of class 1: how hard is it pulled, against all others?"""
    labels, pulls = torch.zeros(1, 1, 8, 8).long(), []
    labels[..., 3, 3] = 1
    for loss in (training.cross_entropy, training.ce_dice):
        logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
        loss(logits, labels).backward()
        rare = logits.grad[0, 1, 3, 3]
        pulls.append((rare / (logits.grad[0, 1].sum() - rare)).item())
    assert pulls[1] < pulls[0] < 0
