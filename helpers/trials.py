"""Putting a claim on trial: variants trained side by side, live and on record.

A `Trial` trains each variant with the same seeds on the same pictures. Its table has a
row for each variant and seed: `table.iou["U-Net"]` are the scores of one variant in the
order of the seeds. What needs more seeds or steps than a page has time for is recorded:
`make bench` writes a table beside the chapter, and every page repeats a part of it.
What the scores show is judged in helpers/verdicts.py.
"""

import copy
import functools
import inspect
import json
import math
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas
import torch

from helpers import data, fingerprint, memory, metrics, page, real, training

RECORDS = Path(__file__).resolve().parents[1] / "notebooks"
LIVE = (100, 101, 102)  # the first recorded seeds; lower ones are for pilots
SHORT = 300  # steps: up to here a training has the rates of a short one
TITLES = dict(
    iou="IoU", image_iou="IoU by image", iou_at_half="IoU at 0.5", mean_iou="mean IoU",
    boundary_f1="boundary F1", dice="Dice", dice_by_volume="Dice by volume",
    iou_by_pictures="spread by pictures", threshold_iou="IoU of a threshold",
)  # fmt: skip
KEYS = ["trial", "variant", "steps", "seed"]  # tells two recorded runs apart
TRACES = ["canary", "data"]  # tells where a recorded run was made
# A table is small, and its rows stay in the order of its variants, not of their names.
warnings.simplefilter("ignore", pandas.errors.PerformanceWarning)
# joblib replaces a worker that has grown, between two jobs: nothing is lost.
warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)


def all_scores(run, test):
    """All scores of a run on a test set, at the threshold tuned on validation data.

    `constant` is what marking every pixel would score, `iou_by_pictures` the standard
    deviation of the IoU that the choice of the test pictures alone brings.
    """
    logits, masks = run.predict(test)
    row = metrics.scores(logits, masks, run.threshold)
    found = logits.sigmoid() > run.threshold
    row["constant"] = masks.mean().item()
    row["iou_by_pictures"] = metrics.iou_by_pictures(found, masks)
    return row | dict(threshold=run.threshold)


def scores_by_kind(run, test):
    """All scores on the common task, and the IoU on each kind of defect alone."""
    row = all_scores(run, test)
    for kind, pictures in data.kinds_of_defects(run.seed).items():
        row[kind] = metrics.iou(*run.segment(pictures))
    return row


class Trial:
    """Variants of one training, each with every seed; `run` trains and scores them.

    `name` is the chapter's and the trial's own, "<chapter>/depth". `variants` maps
    a name (or a tuple of names, one for each of `levels`) to what is its own: arguments
    of `training.fit`, `sets`, `evaluate`, and

    - `net`: a function of the share of foreground that makes a fresh network; it is
      called after the seed is set. Where it needs no argument, it gets none;
    - `after`: a (trial, variant) that is trained first, with the same seed and, where
      that trial has it too, the same budget; `net` is then called with the network
      that came out.

    `sets` is a function of the seed that draws a `data.Sets`: each seed has pictures of
    its own, and all variants of a seed share them. `lr` may be a function of the steps,
    such as `rate("U-Net")`. `evaluate(run, test)` returns one row of the table, a dict
    of numbers. Everything is trained for `steps` on the page; the record has each of
    the `budgets`, by default these steps and 1,000 or four times as many. A variant's
    own `steps` grow in proportion. `seeds` are those that the page trains: where they
    are not stated, those of LIVE, or a part of them, see `run`. With `tune`, `make
    bench` chooses a rate for each variant, under its name; of those in `keep`, it keeps
    the longest runs' networks. `record` are the recorded seeds where the usual five or
    ten will not do, `needs` the real set (helpers/real.py) without which nothing can be
    trained.
    """

    def __init__(
        self, name, variants, sets=None, *, steps=250, budgets=None, seeds=None,
        evaluate=all_scores, levels=("variant",), tune=False, keep=(),
        record=None, needs=None, **settings,
    ):  # fmt: skip
        self.name, self.variants, self.sets = name, variants, sets
        self.steps, self.levels = steps, levels
        self.tune, self.keep, self.record, self.needs = tune, keep, record, needs
        self.budgets = budgets
        if budgets is None:
            self.budgets = steps, max(1000, 4 * steps)
        self.evaluate, self.settings = evaluate, settings
        self.usual = seeds is None
        self.seeds = LIVE if self.usual else seeds
        self.rows, self.runs, self.table = {}, {}, None

    def run(self, *opened, report=None):
        """Train what the page needs, several at a time (`side_by_side`): the table.

        Where everything is on record and no seeds were stated, that is one training of
        each variant that the page has `opened`, or of the first; else all with all
        seeds. Every training runs on one thread, so that its result does not depend on
        the number of cores. The networks are kept: `runs[name]` lists the Runs in the
        order of the seeds. `report(done, of)` is called as they finish. The table holds
        what was trained and, of the same budget, all that is on record; where it has
        both, they must agree, or AssertionError is raised. ValueError for a name that
        is no variant.
        """
        self._known(opened)
        self.rows, self.runs = {}, {}
        names, seeds = self.variants, self.seeds
        if self.usual and self.on_record():
            names, seeds = dict.fromkeys(opened or [next(iter(names))]), seeds[:1]
        self.train(names, seeds, report)
        live, known = self.live_table(), self.recorded(self.steps)
        agree(live, known)
        others = known.loc[~known.index.isin(live.index)]
        table = pandas.concat([live, others.drop(columns=TRACES, errors="ignore")])
        seeds = dict.fromkeys([*self.seeds, *others.index.get_level_values("seed")])
        keys = [self.key(name, seed) for name in self.variants for seed in seeds]
        self.table = table.loc[[key for key in keys if key in table.index]]
        return self.table

    def on_record(self):
        """Whether every variant is, at the live budget, with every live seed."""
        known = self.recorded(self.steps).index
        for name in self.variants:
            for seed in LIVE:
                if self.key(name, seed) not in known:
                    return False
        return True

    def trained(self, *names, seeds=LIVE):
        """The Runs of these variants and seeds; what is not trained yet, is.

        For a look into more networks than the first. What is trained must agree with
        the record too: raises AssertionError where it does not, ValueError for a name
        that is no variant.
        """
        self._known(names)
        self.train(names, seeds)
        agree(self.live_table(), self.recorded(self.steps))
        found = []
        for name in names:
            found += [run for run in self.runs[name] if run.seed in seeds]
        return found

    def train(self, names, seeds, report=None):
        """Train the variants with the seeds, side by side, each once."""
        jobs = []
        for seed in seeds:  # whose pictures the variants mostly share
            for name in names:
                if (name, seed) not in self.rows:
                    jobs.append((name, seed))
        before, calls = self._before(jobs), []
        for job in jobs:
            call = joblib.delayed(self.one)(*job, self.steps, before=before.get(job))
            calls.append(call)
        done = side_by_side(calls, report or page.Progress().runs)
        pictures.cache_clear()
        for (name, seed), (run, row) in zip(jobs, done):
            self.runs.setdefault(name, []).append(run)
            self.rows[name, seed] = row

    def live_table(self):
        """The rows of what was trained here."""
        keys = [self.key(*job) for job in self.rows]
        index = pandas.MultiIndex.from_tuples(keys, names=[*self.levels, "seed"])
        return pandas.DataFrame(list(self.rows.values()), index)

    def key(self, name, seed):
        """The index of a row in the table."""
        return (*name, seed) if isinstance(name, tuple) else (name, seed)

    def one(self, name, seed, steps, sets=None, before=None, **changes):
        """One training of a variant, and its scores: (Run, row of the table).

        `steps` is a budget of the trial. Uses one thread. What is not given is made:
        the pictures, and the network to go on from. `changes` are other settings.
        """
        torch.set_num_threads(1)
        own = self.settings_of(name, steps, **changes)
        net, draw = own.pop("net"), own.pop("sets", self.sets)
        evaluate, after = own.pop("evaluate", self.evaluate), own.pop("after", None)
        sets = sets or pictures(draw, seed)
        if after and before is None:
            trial, earlier = after
            same = steps if steps in trial.budgets else trial.steps
            before = trial.one(earlier, seed, same)[0].net
        with torch.random.fork_rng(devices=[]):  # the notebook's numbers stay its own
            torch.manual_seed(seed)
            made, clock = start(net, sets, before), time.process_time()
            run = training.fit(made, sets.train, sets.validation, seed=seed, **own)
            seconds = time.process_time() - clock  # of the processor: others may work
            row = evaluate(run, sets.test)
        best = training.best_row(run.history)["score"]
        how = dict(validation=best, lr=own["lr"], seconds=seconds)
        memory.give_back()
        return run, row | how

    def settings_of(self, name, steps, **changes):
        """All that is a variant's own at a budget: its rate and its steps in numbers.

        Raises KeyError where a rate is asked for that has not been chosen.
        """
        own = self.settings | self.variants[name]
        own |= dict(steps=self.steps_of(name, steps)) | changes
        if self.tune and "lr" not in changes:
            own["lr"] = chosen_rate(text(name), own["steps"])
        if callable(own.get("lr")):
            own["lr"] = own["lr"](own["steps"])
        own.setdefault("lr", 5e-3)
        own.setdefault("every", math.ceil(own["steps"] / 5))
        return own

    def named(self, variant):
        """The variant whose name stands in a record as this text."""
        return {text(name): name for name in self.variants}[variant]

    def steps_of(self, name, steps):
        """How long a variant trains at a budget: its own steps grow in proportion."""
        own = self.variants[name].get("steps", self.steps)
        return round(own * steps / self.steps)

    def marks(self, name, nudge=0):
        """The fingerprint of a variant: a dict of texts, see helpers/fingerprint.py.

        Its settings that are numbers, and what its training computes in small: with few
        pictures and steps, in double precision, else all the way of `one`. `nudge` is
        how much the pictures are moved. A rate is no part of it: the table has it.
        """
        marks = dict(live_steps=str(self.steps))
        for key, value in (self.settings | self.variants[name]).items():
            if isinstance(value, int | float) and key != "lr":
                marks[key] = f"{value:.6g}"
        run, row, sets = self._small(name, nudge)
        for column in list(row):
            if column in ("lr", "seconds") or column.endswith("_by_group"):
                row.pop(column)  # neither steady nor a number
        shape = 1, *sets.train.tensors[0].shape[1:]
        return marks | fingerprint.digits(run, row, shape)

    def _small(self, name, nudge=0):
        """A variant trained in small: Run, row and pictures."""
        own = self.settings | self.variants[name]
        small = copy.copy(self)
        small.variants = {name: own | fingerprint.SETTINGS}
        small.steps, small.tune = fingerprint.SETTINGS["steps"], False
        before = None
        if "after" in own:
            trial, earlier = own["after"]
            before = trial._small(earlier)[0].net
        few = fingerprint.PICTURES
        with real.drawn(few):
            with data.first(few, fill=True):
                sets = fingerprint.small_sets(self.draws(name)(0), nudge)
            with data.first(few), fingerprint.double_precision():
                run, row = small.one(name, 0, small.steps, sets, before)
        return run, row, sets

    def recorded(self, steps=None):
        """The record of this trial: a table indexed by (steps, *levels, seed).

        With `steps`, that budget's rows alone, indexed as the table of `run`. Empty
        where nothing is recorded.
        """
        chapter, _, own = self.name.partition("/")
        names = {text(name): name for name in self.variants}
        rows = read(chapter)
        rows = rows[(rows.trial == own) & rows.variant.isin(list(names))]
        rows = rows.dropna(axis="columns", how="all") if len(rows) else rows
        place = rows.variant.map({name: k for k, name in enumerate(names)})
        rows = rows.assign(place=place).sort_values(["steps", "place", "seed"])
        keys = []
        for row in rows.itertuples():
            name = names[row.variant]
            name = name if isinstance(name, tuple) else (name,)
            keys.append((row.steps, *name, row.seed))
        levels = ["steps", *self.levels, "seed"]
        keys = pandas.DataFrame(keys, columns=levels)
        rows.index = pandas.MultiIndex.from_frame(keys)
        rows = rows.drop(columns=[*KEYS, "place"])
        if steps is None:
            return rows
        return rows[rows.index.get_level_values("steps") == steps].droplevel("steps")

    def results(self):
        """All that is known: the record, and where it has no row, the live one."""
        rows = self.recorded()
        if self.table is None:
            return rows
        live = pandas.concat({self.steps: self.table}, names=["steps"])
        if not len(rows):
            return live
        new = live.loc[~live.index.isin(rows.index)]
        return pandas.concat([rows, new])

    # --- what a run needs ---------------------------------------------------------

    def draws(self, name):
        """The function of the seed that draws a variant's pictures."""
        return self.variants[name].get("sets", self.sets)

    def _known(self, names):
        for name in names:
            if name not in self.variants:
                known = ", ".join(map(text, self.variants))
                raise ValueError(f"{self.name} has no variant {name!r}, but: {known}")

    def _before(self, jobs):
        """The networks to go on from, of each (variant, seed) that has one."""
        nets = {}
        for name in dict(jobs):
            if "after" in self.variants[name]:
                trial, earlier = self.variants[name]["after"]
                seeds = [seed for other, seed in jobs if other == name]
                for run in trial.trained(earlier, seeds=seeds):
                    nets[name, run.seed] = run.net
        return nets


@functools.lru_cache(1)
def pictures(draw, seed):
    """What `draw` draws for a seed, kept until others are asked for."""
    return draw(seed)


def start(net, sets, before=None):
    """Make the network of a variant: of `before`, of the share, or of nothing."""
    if before is not None:
        return net(copy.deepcopy(before))  # which others may go on from too
    parameters = list(inspect.signature(net).parameters.values())
    for first in parameters[:1]:
        if first.name == "share" or first.default is first.empty:
            return net(sets.share)
    return net()


def text(name):
    """A variant's name as it stands in a record: '5, plain'."""
    return ", ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def side_by_side(calls, report=None):
    """Do all `calls`, one for each core at a time, at most 8; list what they return.

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


# --- the record -------------------------------------------------------------------


def read(chapter):
    """The record beside a chapter: a DataFrame, empty where there is none."""
    path = RECORDS / f"{chapter}.csv"
    if not path.is_file():
        return pandas.DataFrame(columns=[*KEYS, "canary"])
    texts = dict(canary=str, variant=str, trial=str, data=str)
    kept = dict(keep_default_na=False, na_values=[""])  # "None" may be a name
    return pandas.read_csv(path, comment="#", dtype=texts, **kept)


def origin(chapter):
    """Where the record comes from: the dict in its first line."""
    path = RECORDS / f"{chapter}.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8") as file:
        return json.loads(file.readline().lstrip("# "))


def agree(live, record):
    """How many live rows are on record; AssertionError where the two do not agree.

    Both are indexed alike, the record is that of the live budget. On a machine that
    computes as the recorder's did, which the canary tells, the same seed gives the same
    scores, to 1e-4. On any other the mean of each variant lies within four deviations
    of the recorded ones, pooled over the variants, and 0.03: some have no spread. A row
    without a canary is compared so everywhere.
    """
    both = live.index.intersection(record.index)
    if not len(both):
        return 0
    columns = []
    for name in live.columns.intersection(record.columns):
        if name != "seconds" and not name.endswith("_by_group"):
            columns.append(name)
    levels = list(live.index.names[:-1])
    then = record[columns].loc[both].astype(float)
    now = live[columns].loc[both].astype(float)
    same = (record.canary.loc[both] == fingerprint.canary()).to_numpy()
    close = np.isclose(now[same], then[same], rtol=0, atol=1e-4, equal_nan=True)
    # Raised by hand: `python -O` leaves `assert` out, and the record is a promise.
    if not close.all():
        raise AssertionError(disagree(now[same], then[same]))
    others = ~same
    if others.any():
        spread = record[columns].astype(float).groupby(level=levels).std()
        allowed = 4 * np.sqrt((spread**2).mean()) + 0.03
        moved = (now[others] - then[others]).groupby(level=levels).mean().abs()
        if (moved > allowed).any(axis=None):
            raise AssertionError(disagree(now, then))
    return len(both)


def disagree(now, then):
    """What to say where the live rows are not those on record."""
    apart = (now - then).abs().fillna(np.inf)
    apart = apart.where(now.notna() | then.notna(), 0)
    worst = apart.max().idxmax()
    rows = pandas.DataFrame(dict(live=now[worst], recorded=then[worst]))
    return f"the live runs are not the recorded ones (make bench): {worst}\n{rows}"


# --- rates ------------------------------------------------------------------------


def rate(network):
    """The learning rate that was chosen for a network: a function of the steps.

    It was chosen on validation data, with seeds that no trial uses, for short
    trainings (up to 300 steps) and for longer ones: notebooks/rates.csv.
    """
    return functools.partial(chosen_rate, network)


def chosen_rate(network, steps):
    """The rate of a network for so many steps."""
    return best_rate(network, "short" if steps <= SHORT else "long")


def best_rate(network, kind):
    """The rate with the best mean validation score, of a network's pilots.

    `kind` is "short" or "long". Raises KeyError where there are none.
    """
    table = rates()
    rows = table[(table.network == network) & (table.budget == kind)]
    if rows.empty:
        raise KeyError(f"no {kind} learning rate of {network!r}: make bench chooses it")
    return rows.groupby("lr").validation.mean().idxmax()


def rates():
    """All that was tried: network, budget (short or long), lr, seed, validation."""
    return pandas.read_csv(RECORDS / "rates.csv")


# --- in words ---------------------------------------------------------------------


def spread(values, digits=2):
    """Mean and sample standard deviation as text: '0.68 ± 0.01'."""
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def summary(table, columns):
    """Mean and spread of some columns, a row for each variant: a table of texts."""
    levels = list(table.index.names[:-1])
    found = table.groupby(level=levels, sort=False)[columns].agg(spread)
    return found if isinstance(found, pandas.Series) else found.rename(columns=titled)


def titled(column):
    """A column's name as a reader knows it: "IoU at 0.5" for iou_at_half."""
    return TITLES.get(column, column.replace("_", " "))
