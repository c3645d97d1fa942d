"""Trials: variants trained side by side, live and on record."""

import os

import joblib
import numpy as np
import pandas
import pytest
import torch

from helpers import data, fingerprint, metrics, training, trials
from tests.helpers.toys import same_run, same_weights, sets, small, squares

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
SETTINGS = dict(steps=6, every=3)
VARIANTS = dict(
    slow=dict(net=small, lr=0.001),
    fast=dict(net=small, lr=0.02, augment=training.flips),
)
SEEDS = (4, 2)


def drawn(seed):
    """Sets whose training pictures are the seed's own."""
    return sets()._replace(train=squares(seed=10 + seed))


def cores(monkeypatch, n):
    monkeypatch.setattr(joblib, "cpu_count", lambda: n)


def quiet(done, of):
    pass


def make(variants=VARIANTS, seeds=SEEDS, draw=drawn, **settings):
    """A trial that nothing is recorded of."""
    return trials.Trial("toys/a", variants, draw, seeds=seeds, **(SETTINGS | settings))


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    """An empty folder for records."""
    monkeypatch.setattr(trials, "RECORDS", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def side_by_side():
    """A trial run by two workers, its table, and what was reported."""
    reports = []
    trial = make()
    with pytest.MonkeyPatch.context() as patch:
        cores(patch, 2)
        table = trial.run(report=lambda *counts: reports.append(counts))
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]
    return trial, table


# --- run --------------------------------------------------------------------------


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
            assert row.items() >= trials.all_scores(run, sets().test).items()
            logits, masks = run.predict(sets().test)
            assert row["threshold"] == run.threshold
            assert row["iou"] == metrics.iou(logits.sigmoid() > run.threshold, masks)
            assert row["constant"] == metrics.iou(torch.ones_like(masks), masks)
            assert row["validation"] == training.best_row(run.history)["score"]
            assert row["lr"] == VARIANTS[name]["lr"]


def test_each_run_is_what_fit_alone_gives_on_the_pictures_of_its_seed(side_by_side):
    trial, _ = side_by_side
    for name, runs in trial.runs.items():
        for run in runs:
            torch.manual_seed(run.seed)
            own = SETTINGS | VARIANTS[name]
            net = own.pop("net")()
            train, validation, _ = drawn(run.seed)
            alone = training.fit(net, train, validation, seed=run.seed, **own)
            assert same_run(alone, run)
            assert same_run(trial.one(name, run.seed, 6)[0], run)


def test_one_worker_gives_the_same_and_leaves_the_random_numbers(
    monkeypatch, side_by_side
):
    there, table = side_by_side
    here = make()
    cores(monkeypatch, 1)
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    scores = here.run(report=quiet).drop(columns="seconds")
    assert scores.equals(table.drop(columns="seconds"))
    assert torch.equal(torch.rand(2), expected)
    for name in VARIANTS:
        assert all(map(same_run, here.runs[name], there.runs[name]))


@pytest.mark.parametrize("n", [1, 2])
def test_a_variant_goes_on_from_what_another_trial_made(monkeypatch, n):
    cores(monkeypatch, n)
    first = make(dict(start=dict(net=small)), steps=10)
    on = dict(again=dict(net=same, after=(first, "start")))
    trial = make(on)
    trial.run(report=quiet)
    for before, run in zip(first.runs["start"], trial.runs["again"], strict=True):
        made, _ = first.one("start", run.seed, 10)
        assert same_weights(made.net, before.net)  # not changed by what came after
        train, validation, _ = drawn(run.seed)
        alone = training.fit(made.net, train, validation, seed=run.seed, **SETTINGS)
        assert same_weights(alone.net, run.net)
        assert same_weights(trial.one("again", run.seed, 6)[0].net, run.net)


def same(net):
    """Goes on with the network as it is."""
    return net


def of_share(share):
    """A network that tells the share of foreground it was made for."""
    net = small()
    training.start_at(net[-1], share)
    return net


def test_a_network_may_ask_for_the_share_of_foreground():
    made = trials.start(of_share, drawn(0))
    assert made[-1].bias.sigmoid().item() == pytest.approx(drawn(0).share)
    assert trials.start(small, drawn(0))[0].padding == "same"  # needs no argument


def test_names_of_two_levels_sets_of_ones_own_and_steps_in_proportion(monkeypatch):
    cores(monkeypatch, 1)
    variants = {
        (5, "plain"): dict(net=small),
        (5, "other"): dict(net=small, sets=lambda seed: drawn(seed + 1)),
        (10, "plain"): dict(net=small, steps=10),
    }
    trial = make(variants, (0, 1), levels=("blocks", "variant"))
    table = trial.run(report=quiet)
    assert table.index.names == ["blocks", "variant", "seed"]
    assert table.index.tolist()[1:3] == [(5, "plain", 1), (5, "other", 0)]
    assert not same_run(trial.runs[5, "other"][0], trial.runs[5, "plain"][0])
    assert trial.runs[10, "plain"][0].history[-1]["step"] == 10
    assert trial.one((10, "plain"), 0, 18)[0].history[-1]["step"] == 30
    told = trials.summary(table, ["iou"])
    assert told.index.tolist() == list(variants)
    assert told["IoU"][5, "other"] == trials.spread(table.iou[5, "other"])


def where(run, test):
    return dict(process=os.getpid(), threads=torch.get_num_threads(), n=len(test))


def test_it_is_scored_in_the_worker_on_one_thread(monkeypatch):
    cores(monkeypatch, 2)
    table = make(seeds=(0,), evaluate=where).run(report=quiet)
    assert os.getpid() not in table.process.tolist()
    assert (table.threads == 1).all() and (table.n == 9).all()


def broken(logits, masks):
    raise RuntimeError("no such loss")


def test_errors_come_through(monkeypatch):
    cores(monkeypatch, 2)
    trial = make(dict(a=dict(net=small, loss=broken)), (0,))
    with pytest.raises(RuntimeError, match="no such loss"):
        trial.run(report=quiet)


def test_side_by_side_keeps_the_order():
    seen = []
    calls = [joblib.delayed(divmod)(n, 3) for n in range(5)]
    results = trials.side_by_side(calls, lambda *counts: seen.append(counts))
    assert results == [divmod(n, 3) for n in range(5)]
    assert seen == [(n, 5) for n in range(1, 6)]


# --- rates ------------------------------------------------------------------------


def rates(folder):
    rows = []
    for kind, best in (("short", 0.02), ("long", 0.001)):
        for lr in (0.001, 0.005, 0.02):
            for seed in (0, 1):  # the best single run is not that of the best rate
                score = 0.8 if lr == best else 0.7 + 0.2 * (seed == 1 and lr == 0.005)
                score -= 0.4 * (seed == 0 and lr == 0.005)
                row = dict(network="slow", budget=kind, lr=lr, seed=seed)
                rows.append(row | dict(validation=score))
    pandas.DataFrame(rows).to_csv(folder / "rates.csv", index=False)


def test_a_rate_is_the_best_on_average_for_so_many_steps(records):
    rates(records)
    rate = trials.rate("slow")
    assert [rate(300), rate(301)] == [0.02, 0.001]
    with pytest.raises(KeyError, match="no short learning rate of 'fast'"):
        trials.rate("fast")(300)
    tuned = make(dict(slow=dict(net=small)), tune=True, budgets=(6, 600))
    assert tuned.settings_of("slow", 6)["lr"] == 0.02
    assert tuned.settings_of("slow", 600)["lr"] == 0.001
    assert tuned.settings_of("slow", 6, lr=0.1)["lr"] == 0.1
    asking = make(dict(x=dict(net=small, lr=rate)))
    assert asking.settings_of("x", 600)["lr"] == 0.001


# --- the record -------------------------------------------------------------------


def record(folder, table, steps=6, canary=None, name="a", **changes):
    """Write a live table as a record, rounded as bench rounds."""
    rows = table.round(5).reset_index().assign(steps=steps, trial=name)
    rows = rows.assign(canary=canary or fingerprint.canary(), **changes)
    path = folder / "toys.csv"
    rows = pandas.concat([trials.read("toys"), rows]).sort_values(trials.KEYS)
    path.write_text('# {"claims": {}}\n' + rows.to_csv(index=False))


def test_a_record_is_read_in_the_order_of_the_variants(records, side_by_side):
    _, table = side_by_side
    trial = make()
    assert not len(trial.recorded()) and not len(trial.recorded(6))
    assert not len(trial.results())
    record(records, table)
    record(records, table + 1, steps=24)
    record(records, table, name="another")
    found = trial.recorded()
    assert found.index.names == ["steps", "variant", "seed"]
    order = [("slow", 2), ("slow", 4), ("fast", 2), ("fast", 4)]
    assert found.index.tolist() == [(n, *key) for n in (6, 24) for key in order]
    live = trial.recorded(24)
    assert live.index.tolist() == order
    assert np.allclose(live.iou, table.iou[order] + 1, atol=1e-5)


def test_results_are_the_record_and_what_it_lacks(records, side_by_side):
    _, table = side_by_side
    trial = make()
    trial.table = table
    assert trial.results().loc[6].equals(table)
    record(records, table.loc[["slow"]] + 2)
    found = trial.results()
    assert len(found) == 4
    assert (found.iou[6, "slow"] > 1).all()
    assert found.iou[6, "fast"].equals(table.iou["fast"])


def test_where_all_is_on_record_the_page_trains_what_it_opens(records, monkeypatch):
    cores(monkeypatch, 1)
    rows = make(seeds=None).run(report=quiet)
    assert len(rows) == len(VARIANTS) * len(trials.LIVE)
    rows.loc["fast", "its own"] = 1.0  # a score that the other one has not
    record(records, rows.drop(("fast", 102)))
    assert not make(seeds=None).on_record()  # one row is missing
    record(records, rows.loc[[("fast", 102)]])
    for opened, trained in ((), ["slow"]), (("fast",), ["fast"]):
        trial = make(seeds=None)
        table = trial.run(*opened, report=quiet)
        assert table.index.tolist() == rows.index.tolist()
        assert np.allclose(table.iou, rows.iou, atol=1e-5)
        assert (table["its own"]["fast"].dropna() == 1).all()
        assert "canary" not in table and table["its own"].notna().any()
        assert list(trial.runs) == trained
        assert [len(trial.runs[name]) for name in trained] == [1] * len(trained)


def test_seeds_that_are_stated_are_trained_whatever_is_on_record(records, monkeypatch):
    cores(monkeypatch, 1)
    record(records, make(seeds=None).run(report=quiet))
    for seeds in (trials.LIVE, list(trials.LIVE)):
        trial = make(seeds=seeds)
        trial.run(report=quiet)
        assert [len(runs) for runs in trial.runs.values()] == [3, 3]


def test_a_name_that_is_no_variant_is_refused():
    with pytest.raises(ValueError, match="toys/a has no variant 'fat', but: slow, fa"):
        make().run("fat")
    with pytest.raises(ValueError, match="toys/a has no variant 'fat', but: slow, fa"):
        make().trained("slow", "fat")


def test_more_networks_of_a_variant_are_trained_when_asked_for(
    side_by_side, monkeypatch
):
    cores(monkeypatch, 1)
    there, _ = side_by_side
    trial = make(seeds=(4,))
    trial.run(report=quiet)
    first = trial.runs["slow"][0]
    runs = trial.trained("slow", seeds=SEEDS)
    assert runs[0] is first and all(map(same_run, runs, there.runs["slow"]))
    assert trial.trained("slow", seeds=SEEDS)[1] is runs[1]  # not once more
    assert len(trial.runs["fast"]) == 1 and len(trial.table) == 2
    both = trial.trained("fast", "slow", seeds=SEEDS)
    assert both == trial.runs["fast"] + runs


def test_what_runs_live_must_be_what_is_on_record(records, side_by_side, monkeypatch):
    _, table = side_by_side
    cores(monkeypatch, 1)
    record(records, table)
    assert trials.agree(table, make().recorded(6)) == 4
    make(seeds=(4,)).run(report=quiet)
    record(records, table + 1, steps=24)  # another budget says nothing of this one
    make(seeds=(4,)).run(report=quiet)
    (records / "toys.csv").unlink()
    record(records, table.assign(iou=table.iou + 2e-4))
    with pytest.raises(AssertionError, match=r"make bench.*iou"):
        make(seeds=(4,)).run(report=quiet)


@pytest.mark.parametrize("column", ["iou", "lr"])
def test_on_this_machine_it_agrees_to_the_fourth_digit(records, side_by_side, column):
    _, table = side_by_side
    record(records, table)
    then = make().recorded(6)
    for change, agrees in ((5e-5, True), (2e-4, False), (np.nan, False)):
        now = table.copy()
        now.loc[("fast", 2), column] += change
        if agrees:
            assert trials.agree(now, then) == 4
        else:
            with pytest.raises(AssertionError, match=column):
                trials.agree(now, then)
    assert trials.agree(table.assign(seconds=99), then) == 4


def test_on_another_machine_the_means_are_near(records):
    random = np.random.default_rng(0)
    names = [("a", seed) for seed in range(5)] + [("b", seed) for seed in range(5)]
    index = pandas.MultiIndex.from_tuples(names, names=["variant", "seed"])
    table = pandas.DataFrame(dict(iou=0.5 + 0.01 * random.normal(size=10)), index)
    record(records, table, canary="another")
    then = trials.Trial("toys/a", dict(a={}, b={}), steps=6).recorded(6)
    apart = 4 * ((table.iou.groupby("variant").std() ** 2).mean() ** 0.5) + 0.03
    for move, agrees in ((0.9 * apart, True), (1.1 * apart, False)):
        now = table.copy()
        now.loc["b"] += move
        if agrees:
            assert trials.agree(now, then) == 10
        else:
            with pytest.raises(AssertionError, match="not the recorded ones"):
                trials.agree(now, then)


# --- the fingerprint --------------------------------------------------------------


def surface_sets(seed):
    return data.draw(data.surfaces, (40, 20, 20), size=16, seed=seed)


def net3(share=None):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 1)
    )


def net4(share=None):
    return torch.nn.Sequential(*net3(), torch.nn.Tanh())


def other_sets(seed):
    return data.draw(data.surfaces, (40, 20, 20), size=16, seed=seed + 1)


def at_half(run, test):
    return dict(iou=metrics.iou_at_half(*run.predict(test)))


def marks(nudge=0, **changes):
    trial = trials.Trial("toys/a", dict(a=dict(net=net3) | changes), surface_sets)
    return trial.marks("a", nudge)


def test_a_fingerprint_is_of_what_is_computed():
    was = marks()
    assert marks() == was == marks(nudge=1e-14)
    assert marks(lr=0.02) == was  # the table has it
    assert {"parameters", "macs", "loss_5", "validation", "iou"} <= was.keys()
    first = trials.Trial("toys/a", dict(a=dict(net=net3)), surface_sets)
    for change in (
        dict(net=net4), dict(sets=other_sets), dict(loss=training.bce_dice),
        dict(evaluate=at_half), dict(steps=500), dict(batch=4), dict(nudge=1e-3),
        dict(augment=training.flips), dict(net=same, after=(first, "a")),
    ):  # fmt: skip
        assert marks(**change) != was, change


def test_it_leaves_everything_as_it_was():
    expected, usual = surface_sets(0).train.tensors[0], torch.get_default_dtype()
    common = data.common_task()
    torch.manual_seed(7)
    random = torch.rand(2)
    torch.manual_seed(7)
    marks()
    assert torch.equal(surface_sets(0).train.tensors[0], expected)
    assert torch.get_default_dtype() == usual and torch.equal(torch.rand(2), random)
    assert len(data.common_task().train) == len(common.train) == 600


# --- in words ---------------------------------------------------------------------


def test_spread():
    assert trials.spread([0.6, 0.7, 0.8]) == "0.70 ± 0.10"
    assert trials.spread(np.array([1, 3]), digits=3) == "2.000 ± 1.414"
