"""Trials: trained side by side or one by one, and what their scores say."""

import copy
import os

import joblib
import numpy as np
import pytest
import torch

from helpers import metrics, page, training, trials
from tests.helpers.toys import same_run, same_weights, sets, small, squares

SETTINGS = dict(steps=6, every=3)
VARIANTS = dict(
    slow=dict(net=small, lr=0.001),
    fast=dict(net=small, lr=0.02, augment=training.flips),
)
SEEDS = (4, 2)


def cores(monkeypatch, n):
    monkeypatch.setattr(joblib, "cpu_count", lambda: n)


def quiet(done, of):
    pass


@pytest.fixture(scope="module")
def side_by_side():
    """A trial run by two workers, its table, and what was reported."""
    reports = []
    trial = trials.Trial(VARIANTS, sets(), SEEDS, **SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        cores(patch, 2)
        table = trial.run(lambda *counts: reports.append(counts))
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]
    return trial, table


# --- Trial ------------------------------------------------------------------------


def test_rows_and_runs_are_in_the_order_of_variants_and_seeds(side_by_side):
    trial, table = side_by_side
    rows = [("slow", 4), ("slow", 2), ("fast", 4), ("fast", 2)]
    assert table.index.tolist() == rows and table.index.names == ["variant", "seed"]
    assert [(n, run.seed) for n in trial.runs for run in trial.runs[n]] == rows
    assert table.iou["fast"].index.tolist() == list(SEEDS)
    assert table is trial.table


def test_a_row_is_what_evaluate_says_of_the_run(side_by_side):
    trial, table = side_by_side
    for name, runs in trial.runs.items():
        for run in runs:
            row = table.loc[name, run.seed].to_dict()
            assert row == trials.all_scores(run, sets().test)
            logits, masks = run.predict(sets().test)
            assert row["threshold"] == run.threshold
            assert row["iou"] == metrics.iou(logits.sigmoid() > run.threshold, masks)
            assert row["iou_at_half"] == metrics.iou(logits > 0, masks)
            tuned = metrics.best_threshold(*run.predict(sets().validation))
            assert run.threshold == tuned  # on validation data, not on the test's


def test_each_run_is_what_fit_alone_gives(side_by_side):
    trial, _ = side_by_side
    for name, runs in trial.runs.items():
        for run in runs:
            torch.manual_seed(run.seed)
            own = SETTINGS | VARIANTS[name]
            net = own.pop("net")()
            pictures = sets().train, sets().validation
            assert same_run(training.fit(net, *pictures, seed=run.seed, **own), run)


def test_one_worker_gives_the_same_and_leaves_the_random_numbers(
    monkeypatch, side_by_side
):
    there, table = side_by_side
    here = trials.Trial(VARIANTS, sets(), SEEDS, **SETTINGS)
    cores(monkeypatch, 1)
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    assert here.run(quiet).equals(table)
    assert torch.equal(torch.rand(2), expected)
    for name in VARIANTS:
        assert all(map(same_run, here.runs[name], there.runs[name]))


@pytest.mark.parametrize("n", [1, 2])
def test_networks_to_go_on_from_are_not_changed(monkeypatch, n):
    cores(monkeypatch, n)
    nets = []
    for seed in (5, 6):
        torch.manual_seed(seed)
        nets.append(small())
    before = copy.deepcopy(nets)
    trial = trials.Trial(dict(a=dict(net=nets)), sets(), (0, 1), **SETTINGS)
    trial.run(quiet)
    for net, old, run in zip(nets, before, trial.runs["a"], strict=True):
        assert same_weights(net, old) and not same_weights(net, run.net)
    alone = training.fit(before[1], sets().train, sets().validation, seed=1, **SETTINGS)
    assert same_weights(alone.net, trial.runs["a"][1].net)


@pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
def test_names_of_two_levels_and_sets_of_ones_own(monkeypatch):
    cores(monkeypatch, 1)
    other = sets()._replace(test=squares(3, size=16))
    variants = {
        (5, "plain"): dict(net=small),
        (5, "other"): dict(net=small, sets=other),
        (10, "plain"): dict(net=small, steps=10),
    }
    levels = ("blocks", "variant")
    trial = trials.Trial(variants, sets(), (0, 1), levels=levels, **SETTINGS)
    table = trial.run(quiet)
    assert table.index.names == ["blocks", "variant", "seed"]
    assert table.index.tolist()[1:3] == [(5, "plain", 1), (5, "other", 0)]
    run = trial.runs[5, "other"][0]
    iou = table.iou[5, "other"]
    assert iou[0] == metrics.iou(*run.segment(other.test))
    assert same_run(run, trial.runs[5, "plain"][0])  # the same training
    assert iou[0] != table.iou[5, "plain"][0]
    assert trial.runs[10, "plain"][0].history[-1]["step"] == 10
    told = trials.summary(table, ["iou"])
    assert told.index.tolist() == list(variants)
    assert told.iou[5, "other"] == trials.spread(table.iou[5, "other"])


def where(run, test):
    return dict(process=os.getpid(), threads=torch.get_num_threads(), n=len(test))


def test_it_is_scored_in_the_worker_on_one_thread(monkeypatch):
    cores(monkeypatch, 2)
    trial = trials.Trial(VARIANTS, sets(), (0,), evaluate=where, **SETTINGS)
    table = trial.run(quiet)
    assert list(table) == ["process", "threads", "n"]
    assert os.getpid() not in table.process.tolist()
    assert (table.threads == 1).all() and (table.n == 9).all()


def broken(logits, masks):
    raise RuntimeError("no such loss")


def test_errors_come_through(monkeypatch):
    cores(monkeypatch, 2)
    variants = dict(a=dict(net=small, loss=broken))
    with pytest.raises(RuntimeError, match="no such loss"):
        trials.Trial(variants, sets(), (0,), **SETTINGS).run(quiet)


def test_side_by_side_keeps_the_order():
    seen = []
    calls = [joblib.delayed(divmod)(n, 3) for n in range(5)]
    results = trials.side_by_side(calls, lambda *counts: seen.append(counts))
    assert results == [divmod(n, 3) for n in range(5)]
    assert seen == [(n, 5) for n in range(1, 6)]


# --- what the scores say ----------------------------------------------------------


def test_spread():
    assert trials.spread([0.6, 0.7, 0.8]) == "0.70 ± 0.10"
    assert trials.spread(np.array([1, 3]), digits=3) == "2.000 ± 1.414"


def test_separation():
    # Variances 1 and 4 (of the sample): pooled sqrt(2.5).
    assert trials.separation([5, 6, 7], [0, 2, 4]) == pytest.approx(4 / 2.5**0.5)
    assert trials.separation([0, 2, 4], [5, 6, 7]) == pytest.approx(-4 / 2.5**0.5)
    assert trials.separation([1, 2], [1, 2]) == 0
    assert trials.separation([2, 2], [1, 1]) > 1e6  # no spread at all


HOLDS, FAILS, NONE = "holds", "does not hold here", "no difference seen here"


@pytest.mark.parametrize(
    "one, other, forth, back",
    [
        ([0.70, 0.72, 0.71], [0.60, 0.62, 0.61], HOLDS, FAILS),
        # All pairs agree, but by less than two standard deviations.
        ([0.60, 0.70, 0.80], [0.59, 0.69, 0.79], NONE, NONE),
        # Far apart on average, but one pair of eight does not agree.
        ([5] * 8, [1] * 7 + [5.1], NONE, NONE),
        # A tie is not ahead, and not behind.
        ([5] * 8, [1] * 7 + [5], NONE, NONE),
        ([1, 2, 3], [1, 2, 3], NONE, NONE),
        # The same scores, paired in two ways.
        ([1.0] + [5] * 7, [0.9, 2] + [1] * 6, HOLDS, FAILS),
        ([1.0] + [5] * 7, [1] * 6 + [2, 0.9], NONE, NONE),
    ],
)
def test_judge(one, other, forth, back):
    assert trials.judge(one, other) == forth
    assert trials.judge(np.array(other), np.array(one)) == back
    assert {forth, back} <= set(page.WORDS)


@pytest.mark.parametrize(
    "words, expected",
    [
        ((HOLDS, HOLDS, HOLDS), "holds"),
        ((HOLDS, NONE, FAILS), "holds only when a"),
        ((HOLDS, NONE, HOLDS), "holds only when a or c"),
        ((FAILS, FAILS, FAILS), "does not hold here"),
        ((FAILS, NONE, FAILS), "no difference seen here"),
        ((NONE, NONE, NONE), "no difference seen here"),
    ],
)
def test_only_when(words, expected):
    assert trials.only_when(dict(zip("abc", words))) == expected


def test_only_when_says_once_what_conditions_share():
    words = {"n is 10": HOLDS, "n is 30": NONE, "n is 99": HOLDS}
    assert trials.only_when(words) == "holds only when n is 10 or 99"
    words = {"the step is A to B": HOLDS, "it is C": HOLDS, "no": NONE}
    assert trials.only_when(words) == "holds only when the step is A to B or it is C"


def test_decide_shows_the_verdict_of_the_first_two(monkeypatch):
    shown = []
    monkeypatch.setattr(page, "verdict", lambda *what: shown.append(what))
    scores = dict(A=[0.7, 0.72], B=[0.6, 0.62], C=[0.9, 0.9])
    assert trials.decide("slug", "A beats B.", scores) == "holds"
    numbers = "Test IoU: A 0.71 ± 0.01, B 0.61 ± 0.01, C 0.90 ± 0.00; 2 seeds."
    assert shown == [("slug", "A beats B.", "holds", numbers)]
    more = trials.decide("slug", "claim", scores, what="Dice", more="Yes.")
    assert more == "holds" and shown[1][3].startswith("Dice: A 0.71 ± ")
    assert shown[1][3].endswith("; 2 seeds. Yes.")


@pytest.mark.parametrize(
    "gap, expected",
    [
        ([0.10, 0.11, 0.12, 0.10, 0.11], "better"),
        ([-0.10, -0.11, -0.12, -0.10, -0.11], "worse"),
        ([0.01, -0.01, 0.00, 0.01, -0.01], "equal"),
        ([0.20, -0.20, 0.10, -0.10, 0.05], "undecided"),
        ([0, 0, 0, 0, 0], "equal"),
    ],
)
def test_margin_test(gap, expected):
    base = np.array([0.5, 0.52, 0.48, 0.51, 0.49])
    assert trials.margin_test(base + gap, base, margin=0.03) == expected


def test_margin_decides_what_is_equal():
    gap, base = np.array([0.01, -0.01, 0.00, 0.01, -0.01]), np.full(5, 0.5)
    assert trials.margin_test(base + gap, base, margin=0.005) == "undecided"
