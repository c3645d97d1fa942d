"""Putting a claim on trial: variants trained side by side, one table, one rule.

A `Trial` trains each variant with the same seeds on the same pictures. Its table has a
row for each variant and seed: `table.iou["U-Net"]` are the scores of one variant in the
order of the seeds. `judge` says what two sets of scores show, `only_when` makes one
word of several, `decide` shows the verdict.
"""

import copy
import os
import warnings

import joblib
import numpy as np
import pandas
import torch
from scipy import stats

from helpers import data, metrics, page, training

# A table is small, and its rows stay in the order of its variants, not of their names.
warnings.simplefilter("ignore", pandas.errors.PerformanceWarning)


def all_scores(run, test):
    """All scores of a run on a test set, at the threshold tuned on validation data."""
    logits, masks = run.predict(test)
    row = metrics.scores(logits, masks, run.threshold)
    return row | dict(threshold=run.threshold)


def scores_by_kind(run, test):
    """All scores on the common task, and the IoU on each kind of defect alone."""
    row = all_scores(run, test)
    for kind, pictures in data.kinds_of_defects().items():
        row[kind] = metrics.iou(*run.segment(pictures))
    return row


class Trial:
    """Variants of one training, each with every seed; `run` trains and scores them.

    `variants` maps a name (or a tuple of names, one for each of `levels`) to what is
    its own: arguments of `training.fit`, `sets`, and `net`, a function that makes a
    fresh network and is called after the seed is set, or a list of networks to go on
    from, one for each seed. `sets` (a `data.Sets`) and `settings` are what all variants
    share. `evaluate(run, test)` returns one row of the table, a dict of numbers.
    """

    def __init__(
        self, variants, sets=None, seeds=(0, 1, 2), evaluate=all_scores,
        levels=("variant",), **settings,
    ):  # fmt: skip
        self.variants, self.sets, self.seeds = variants, sets, seeds
        self.evaluate, self.levels, self.settings = evaluate, levels, settings
        self.runs, self.table = {}, None

    def run(self, report=None):
        """Train all, as many at a time as there are cores; return the table.

        Every training runs on one thread, so that its result does not depend on the
        machine's number of cores. The networks are kept: `runs[name]` lists the Runs
        in the order of the seeds. `report(done, of)` is called as they finish.
        """
        jobs, calls = [], []
        for name, own in self.variants.items():
            arguments = dict(sets=self.sets, evaluate=self.evaluate)
            arguments |= self.settings | own
            for number, seed in enumerate(self.seeds):
                jobs.append((name, seed))
                call = joblib.delayed(train_and_test)(seed, number, **arguments)
                calls.append(call)
        done = side_by_side(calls, report or page.Progress().runs)
        self.runs = {name: [] for name in self.variants}
        keys, rows = [], []
        for (name, seed), (run, row) in zip(jobs, done):
            self.runs[name].append(run)
            keys.append((*name, seed) if isinstance(name, tuple) else (name, seed))
            rows.append(row)
        index = pandas.MultiIndex.from_tuples(keys, names=[*self.levels, "seed"])
        self.table = pandas.DataFrame(rows, index)
        return self.table


def train_and_test(seed, number, net, sets, evaluate, **arguments):
    """One training of a trial, and its scores: (Run, row of the table)."""
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):  # the notebook's own numbers stay theirs
        torch.manual_seed(seed)
        net = copy.deepcopy(net[number]) if isinstance(net, list) else net()
        run = training.fit(net, sets.train, sets.validation, seed=seed, **arguments)
        return run, evaluate(run, sets.test)


def side_by_side(calls, report=None):
    """Do all `calls`, as many at a time as there are cores; list what they return.

    A call is `joblib.delayed(function)(arguments)` and runs in a process of its own.
    `report(done, of)` is called as they finish.
    """
    workers = joblib.Parallel(min(joblib.cpu_count(), 8), return_as="generator")
    results = []
    for result in workers(calls):
        results.append(result)
        if report:
            report(len(results), len(calls))
    return results


# --- what the scores say ----------------------------------------------------------


def spread(values, digits=2):
    """Mean and sample standard deviation as text: '0.68 ± 0.01'."""
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def summary(table, columns):
    """Mean and spread of some columns, a row for each variant: a table of texts."""
    levels = list(table.index.names[:-1])
    return table.groupby(level=levels, sort=False)[columns].agg(spread)


def separation(better, worse):
    """How far apart two sets of scores are, in pooled standard deviations.

    `better` and `worse` are paired by seed. Positive when `better` is ahead on average.
    """
    pooled = np.sqrt((np.var(better, ddof=1) + np.var(worse, ddof=1)) / 2)
    return (np.mean(better) - np.mean(worse)) / max(pooled, 1e-12)


def judge(better, worse):
    """The verdict on "better beats worse": a word that the scores decide.

    "holds" needs every pair of seeds to agree and two pooled standard deviations; the
    same the other way round is "does not hold here"; all else is "no difference seen
    here".
    """
    gain = np.asarray(better) - np.asarray(worse)
    distance = separation(better, worse)
    if (gain > 0).all() and distance >= 2:
        return "holds"
    if (gain < 0).all() and distance <= -2:
        return "does not hold here"
    return "no difference seen here"


def margin_test(mine, base, margin):
    """Whether two arms differ, or are equal within a margin stated beforehand.

    "better" or "worse" where `judge` sees a difference; "equal" where the 90 % interval
    of the paired difference lies inside +-margin (two one-sided tests at 5 %); else
    "undecided".
    """
    word = judge(mine, base)
    if word == "holds":
        return "better"
    if word == "does not hold here":
        return "worse"
    gap = np.asarray(mine) - np.asarray(base)
    error = gap.std(ddof=1) / np.sqrt(len(gap))
    reach = stats.t.ppf(0.95, len(gap) - 1) * error
    return "equal" if abs(gap.mean()) + reach < margin else "undecided"


def only_when(words):
    """One verdict from those of several conditions, a dict from condition to word.

    "holds" where all hold, "holds only when ..." with the conditions that do where
    some hold (what they begin with is said once), "does not hold here" where none of
    them does, else "no difference seen here".
    """
    held = [condition for condition, word in words.items() if word == "holds"]
    if len(held) == len(words):
        return "holds"
    if held:
        shared = os.path.commonprefix(held)  # noqa: RUF071 (letters; then whole words)
        shared = shared.rpartition(" ")[0]
        for place in range(1, len(held)):
            held[place] = held[place].removeprefix(shared).strip()
        return f"holds only when {' or '.join(held)}"
    if set(words.values()) == {"does not hold here"}:
        return "does not hold here"
    return "no difference seen here"


def decide(slug, claim, scores, what="Test IoU", more=""):
    """Judge "the first beats the second", show the verdict, and return its word.

    `scores` is a dict from a name to scores in the order of the seeds; the first two
    decide, any others are only told. `what` they are, `more` is said behind them.
    """
    first, second = list(scores.values())[:2]
    word = judge(first, second)
    told = [f"{name} {spread(values)}" for name, values in scores.items()]
    numbers = f"{what}: {', '.join(told)}; {len(first)} seeds.{' ' * bool(more)}{more}"
    page.verdict(slug, claim, word, numbers)
    return word
