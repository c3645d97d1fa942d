"""The recorded trials of the book: `make bench`, or a part: `make bench CHAPTER=04`.

Runs the trials that the chapters define in cells tagged `trial`, as many trainings at
a time as there are cores, and writes a table beside each chapter, such as
notebooks/04_resunet.csv. The tables are the state: each run stands in its table as it
finishes, so a bench that was interrupted goes on where it was. What belongs to other
code than today's, by its fingerprint, is trained anew, and nothing else.

First the learning rates are chosen (notebooks/rates.csv), on validation data and with
seeds that no trial uses. Then come the seeds, all chapters' first, then the second ...
Where five leave an interval wider than a claim's margin, there are ten.
"""

import argparse
import functools
import itertools
import json
import os
import platform
import time
from importlib.metadata import version

import joblib
import pandas
import torch

from helpers import chapters, trials, verdicts
from helpers.app.record import execute, trials_of

RATES = (8e-4, 2e-3, 5e-3, 1.25e-2, 3e-2)
PILOTS = (0, 1)  # seeds
SEEDS = range(trials.LIVE[0], 105)
MORE = range(105, 110)
PACKAGES = ["torch", "numpy", "scipy", "scikit-image"]


# --- tables -----------------------------------------------------------------------


def write(path, table, head):
    """Write a table, whole or not at all, with what it came from above it."""
    part = path.with_suffix(".part")
    text = table.to_csv(index=False)
    part.write_text(f"# {json.dumps(head)}\n{text}", encoding="utf-8")
    os.replace(part, path)


def made():
    """What a table came from: a dict for its first line."""
    head = dict(python=platform.python_version())
    for name in PACKAGES:
        head[name] = version(name)
    return head


def add(chapter, row, claims):
    """Put one row into a chapter's table."""
    table = trials.read(chapter)
    new = pandas.DataFrame([row])
    table = pandas.concat([table, new], ignore_index=True) if len(table) else new
    head = trials.origin(chapter) or made() | dict(claims={})
    for slug, mark in claims.items():  # as they stood when the first row was trained
        head["claims"].setdefault(slug, mark)
    table = table.sort_values(trials.KEYS)
    write(trials.RECORDS / f"{chapter}.csv", table, head)


def claims_of(chapter, trial):
    """The claims that rest on a trial: slug to a hash of what is judged."""
    found = {}
    for slug, claim in verdicts.claims().items():
        if claim["chapter"] != chapter:
            continue
        if trial in {part["trial"] for part in verdicts.parts(claim)}:
            found[slug] = verdicts.fixed(slug)
    return found


# --- rates ------------------------------------------------------------------------


def pilots(names, kind):
    """Choose a short or a long rate for each variant of the trials that tune."""
    jobs = []
    for chapter in names:
        for key, trial in trials_of(chapter).items():
            if not trial.tune:
                continue
            steps = trial.steps if kind == "short" else 4 * trial.steps
            for name, seed in itertools.product(trial.variants, PILOTS):
                job = dict(chapter=chapter, trial=key, variant=trials.text(name))
                jobs.append(job | dict(kind=kind, steps=steps, seed=seed))
    at_rates = []
    for job, lr in itertools.product(jobs, RATES):
        at_rates.append(job | dict(lr=lr))
    work(at_rates, have_rates, add_rate)
    edges = []  # one step further where the best rate is the last one
    for job in jobs:
        best = trials.best_rate(job["variant"], kind)
        if best == RATES[0]:
            edges.append(job | dict(lr=RATES[0] / 2.5))
        if best == RATES[-1]:
            edges.append(job | dict(lr=RATES[-1] * 2.5))
    work(edges, have_rates, add_rate)


RATE_KEYS = ["network", "budget", "lr", "seed"]


def have_rates():
    """What rates.csv has: a set of (network, budget, lr, seed)."""
    if not (trials.RECORDS / "rates.csv").is_file():
        return set()
    return set(trials.rates()[RATE_KEYS].itertuples(index=False, name=None))


def rate_key(job):
    return job["variant"], job["kind"], job["lr"], job["seed"]


def add_rate(job, row):
    """Put one pilot into rates.csv."""
    path = trials.RECORDS / "rates.csv"
    new = pandas.DataFrame([dict(zip(RATE_KEYS, rate_key(job)))])
    new["validation"] = row["validation"]
    if path.is_file():
        new = pandas.concat([trials.rates(), new], ignore_index=True)
    new = new.sort_values(RATE_KEYS)
    part = path.with_suffix(".part")
    new.to_csv(part, index=False)
    os.replace(part, path)


# --- seeds ------------------------------------------------------------------------


def recordings(names, seeds, only=None):
    """The jobs of all trials at all budgets: seed by seed, short budgets first."""
    jobs = []
    for chapter in names:
        for key, trial in trials_of(chapter).items():
            if only is not None and (chapter, key) not in only:
                continue
            own = trial.record or seeds
            for steps, seed, name in itertools.product(
                trial.budgets, own, trial.variants
            ):
                job = dict(chapter=chapter, trial=key, variant=trials.text(name))
                kind = "short" if steps <= trials.SHORT else "long"
                jobs.append(job | dict(steps=steps, seed=seed, kind=kind))
    jobs.sort(key=lambda job: (job["seed"], job["steps"]))
    return jobs


def have_rows(names):
    """What the tables have: a set of (chapter, trial, variant, steps, seed)."""
    found = set()
    for chapter in names:
        table = trials.read(chapter)
        for row in table[trials.KEYS].itertuples(index=False, name=None):
            found.add((chapter, *row))
    return found


def row_key(job):
    return tuple(job[k] for k in ("chapter", "trial", "variant", "steps", "seed"))


def add_row(job, row):
    add(job["chapter"], row, claims_of(job["chapter"], job["trial"]))


def wide(names):
    """The trials of which a claim's 90 % interval is wider than its margin."""
    found = set()
    for claim in verdicts.claims().values():
        if claim["chapter"] not in names:
            continue
        of = trials_of(claim["chapter"])
        for part in verdicts.parts(claim):
            trial = of.get(part["trial"])
            if trial is None or not len(trial.recorded()):
                continue
            for steps in trial.budgets:
                if verdicts.too_wide(part, trial.recorded(), steps, SEEDS):
                    found.add((claim["chapter"], part["trial"]))
    return found


# --- all of them ------------------------------------------------------------------


def work(jobs, have, done, key=rate_key):
    """Do the jobs that are not there yet; `done(job, row)` as each one finishes."""
    there = have()
    jobs = [job for job in jobs if key(job) not in there]
    start = time.time()
    workers = joblib.Parallel(joblib.cpu_count(), return_as="generator_unordered")
    rows = workers(joblib.delayed(execute)(job) for job in jobs)
    for n, (job, row) in enumerate(rows, start=1):
        done(job, row)
        left = (time.time() - start) / n * (len(jobs) - n) / 60
        what = f"{job['chapter']}, {job['trial']}, {job['variant']}"
        what += f", {job['steps']} steps, seed {job['seed']}"
        print(f"{n} of {len(jobs)}, about {left:.0f} min left: {what}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("chapter", nargs="*", help="its number, such as 04")
    parser.add_argument("--rates", action="store_true", help="only choose the rates")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = []
    for path in sorted(chapters.NOTEBOOKS.glob("*.ipynb")):
        asked = arguments.chapter or [path.stem]
        if path.stem[:2] in asked or path.stem in asked:
            if chapters.source(path, "trial"):
                names.append(path.stem)
    if not names:
        parser.error(f"no chapter {' '.join(arguments.chapter)} has a trial to record")
    have = functools.partial(have_rows, names)
    for kind in ("short", "long"):  # the pages of today's live budgets come first
        pilots(names, kind)
        if arguments.rates:
            continue
        jobs = recordings(names, SEEDS)
        work([job for job in jobs if job["kind"] == kind], have, add_row, row_key)
        jobs = recordings(names, MORE, wide(names))
        work([job for job in jobs if job["kind"] == kind], have, add_row, row_key)


if __name__ == "__main__":
    main()
