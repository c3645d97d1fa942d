"""The recorded trials of the book: `make bench`, or a part: `make bench CHAPTER=04`.

Runs the trials that the chapters define in cells tagged `trial`, as many trainings at
a time as there are cores, and writes a table beside each chapter, such as
notebooks/04_resunet.csv. The tables are the state: each run stands in its table as it
finishes, so a bench that was interrupted goes on where it was. What belongs to other
code than today's, by its fingerprint, is trained anew, and nothing else.

First the learning rates are chosen (notebooks/rates.csv), on validation data and with
seeds that no trial uses. Then come the seeds, all chapters' first, then the second ...
Where five leave an interval wider than a claim's margin, there are ten. `--check` only
tells what would be trained anew. `--gpu` trains on a GPU, which the rows then name.
"""

import argparse
import functools
import itertools
import json
import math
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context

import joblib
import pandas
import torch
from filelock import FileLock, Timeout

from helpers import chapters, real, trials, verdicts
from helpers.app.files import write_text
from helpers.app.record import execute, mark, trials_of

RATES = (8e-4, 2e-3, 5e-3, 1.25e-2, 3e-2)
PILOTS = (0, 1)  # seeds
SEEDS = range(trials.LIVE[0], 105)
MORE = range(105, 110)
PACKAGES = ["torch", "numpy", "scipy", "scikit-image"]


# --- tables -----------------------------------------------------------------------


def write(path, table, head):
    """Write a table, whole or not at all, with what it came from above it."""
    write_text(path, f"# {json.dumps(head)}\n{as_csv(table)}")


def as_csv(table):
    """A table as text, whose lines end alike on every system."""
    return table.to_csv(index=False, lineterminator="\n")


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
    for slug, fixed in claims.items():  # as they stood when the first row was trained
        head["claims"].setdefault(slug, fixed)
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


def pilots(names, kind, gpu=False):
    """Choose a short or a long rate for each variant of the trials that tune.

    A short one among all RATES; a long one around the short one, which is mostly
    lower. Where the best is the last that was tried, one step further is tried, too.
    Returns whether all went well.
    """
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
    for job in jobs:
        for lr in grid(job["variant"], kind):
            at_rates.append(job | dict(lr=lr))
    if not work(at_rates, have_rates, add_rate, rate_key, gpu):
        return False  # what was not tried might be the best
    edges = []
    for job in jobs:
        best, tried = trials.best_rate(job["variant"], kind), grid(job["variant"], kind)
        if best == tried[0]:
            edges.append(job | dict(lr=beside(best, -1)))
        if best == tried[-1]:
            edges.append(job | dict(lr=beside(best, 1)))
    return work(edges, have_rates, add_rate, rate_key, gpu)


def grid(network, kind):
    """The rates that are tried at first."""
    if kind == "short":
        return RATES
    short = trials.best_rate(network, "short")
    return beside(short, -1), short, beside(short, 1)


def beside(lr, step):
    """The next rate of the grid, `step` 1 or -1, or as far again beyond its edge."""
    place = RATES.index(lr) + step if lr in RATES else -1
    if 0 <= place < len(RATES):
        return RATES[place]
    return float(f"{lr * 2.5**step:.3g}")


RATE_KEYS = ["network", "budget", "lr", "seed"]


def have_rates():
    """What rates.csv has: a set of (network, budget, lr, seed)."""
    if not (trials.RECORDS / "rates.csv").is_file():
        return set()
    return set(trials.rates()[RATE_KEYS].itertuples(index=False, name=None))


def rate_key(job):
    """What tells a pilot from others, as in `have_rates`."""
    return job["variant"], job["kind"], job["lr"], job["seed"]


def add_rate(job, row):
    """Put one pilot into rates.csv."""
    path = trials.RECORDS / "rates.csv"
    new = pandas.DataFrame([dict(zip(RATE_KEYS, rate_key(job)))])
    new["validation"] = row["validation"]
    if path.is_file():
        new = pandas.concat([trials.rates(), new], ignore_index=True)
    new = new.sort_values(RATE_KEYS)
    write_text(path, as_csv(new))


# --- fingerprints -----------------------------------------------------------------

NUDGE = 2**-23  # the rounding of float32, by which processors draw differently
DIGITS = 5  # of a number of a fingerprint that have to agree, if it is steady
UNSTEADY = "~"  # 0.1457~2: a nudge of the pictures leaves but two digits; 0.1457~: none


def marks(keys, nudge=0):
    """What today's code computes for each (chapter, trial, variant): dicts of texts.

    In processes of their own: what was drawn small must not be trained with later.
    """
    jobs = []
    for chapter, trial, variant in keys:
        job = dict(chapter=chapter, trial=trial, variant=variant)
        jobs.append(job | dict(nudge=nudge))
    with ProcessPoolExecutor(joblib.cpu_count(), get_context("spawn")) as pool:
        return dict(zip(keys, pool.map(mark, jobs)))


def variants(names):
    """All (chapter, trial, variant) of some chapters."""
    keys = []
    for chapter in names:
        for key, trial in trials_of(chapter).items():
            for name in trial.variants:
                keys.append((chapter, key, trials.text(name)))
    return keys


def noted(names):
    """The fingerprints beside the tables: dicts of texts by chapter, trial, variant."""
    found = {}
    for chapter in names:
        path = trials.RECORDS / f"{chapter}_code.csv"
        if not path.is_file():
            continue
        table = pandas.read_csv(path, dtype=str, keep_default_na=False)
        for row in table.to_dict("records"):
            key = chapter, row.pop("trial"), row.pop("variant")
            found[key] = {name: text for name, text in row.items() if text}
    return found


def changed(now, then):
    """Which of `now` are not what `then` says, or not there: a list of keys."""
    found = []
    for key, row in now.items():
        kept = then.get(key, {})
        for name in row.keys() | kept.keys():
            if not same(kept.get(name), row.get(name)):
                found.append(key)
                break
    return found


def same(kept, text):
    """Whether two marks agree: whole numbers exactly, others in their steady digits."""
    if kept == text:
        return True
    if kept is None or text is None or kept.isdigit():
        return False
    number, unsteady, digits = kept.partition(UNSTEADY)
    if unsteady and not digits:
        return True
    return math.isclose(
        float(number), float(text), rel_tol=10 ** -int(digits or DIGITS)
    )


def steady(text, nudged):
    """A mark, and behind UNSTEADY how many of its digits a nudge leaves alone."""
    if same(text, nudged) or nudged is None:
        return text
    for digits in range(DIGITS - 1, 0, -1):
        if math.isclose(float(text), float(nudged), rel_tol=10**-digits / 3):
            return f"{text}{UNSTEADY}{digits}"
    return f"{text}{UNSTEADY}"


def settle(names):
    """Drop the rows of other code; note the fingerprints of what will be trained."""
    then, now = noted(names), marks(variants(names))
    other = changed(now, then)
    nudged = marks(other, nudge=NUDGE)
    for key in other:
        print("new or changed:", " / ".join(key), flush=True)
        for name, text in now[key].items():
            now[key][name] = steady(text, nudged[key].get(name))
    for key in now.keys() - set(other):
        now[key] = then[key]
    for chapter in names:
        belong = []
        for row in trials.read(chapter).itertuples():
            key = chapter, row.trial, row.variant
            belong.append(key in now and key not in other)
        drop(chapter, belong)
        rows = []
        for key, texts in now.items():
            if key[0] == chapter:
                rows.append(dict(trial=key[1], variant=key[2]) | texts)
        path = trials.RECORDS / f"{chapter}_code.csv"
        write_text(path, as_csv(pandas.DataFrame(rows)))


def settle_rates(names, kind):
    """Drop the rows that were trained with another rate than would be taken now."""
    for chapter in names:
        of, belong = trials_of(chapter), []
        for row in trials.read(chapter).itertuples():
            trial = of[row.trial]
            name = trial.named(row.variant)
            long = trial.steps_of(name, row.steps) > trials.SHORT
            if long == (kind == "long"):
                lr = trial.settings_of(name, row.steps)["lr"]
                belong.append(abs(lr - row.lr) < 1e-5)
            else:
                belong.append(True)
        drop(chapter, belong)


def drop(chapter, belong):
    """Drop those rows of a chapter's table that do not `belong`."""
    if not all(belong):
        table = trials.read(chapter)[belong]
        print(f"{chapter}: {belong.count(False)} rows are trained anew", flush=True)
        write(trials.RECORDS / f"{chapter}.csv", table, trials.origin(chapter))


# --- seeds ------------------------------------------------------------------------


def recordings(names, seeds, only=None, real_set=None):
    """The jobs of trials at all budgets: seed by seed, short budgets first.

    `only` these (chapter, trial), and only those on a real set; those whose real set is
    not in place have to wait.
    """
    jobs = []
    for chapter in names:
        for key, trial in trials_of(chapter).items():
            if only is not None and (chapter, key) not in only:
                continue
            if real_set and trial.needs != real_set:
                continue
            if trial.needs and not real.ready(trial.needs):
                continue
            own = trial.record or seeds
            for steps, seed, name in itertools.product(
                trial.budgets, own, trial.variants
            ):
                job = dict(chapter=chapter, trial=key, variant=trials.text(name))
                longest = max(steps, trial.steps_of(name, steps))
                kind = "short" if longest <= trials.SHORT else "long"
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
    """What tells a training from others, as in `have_rows`."""
    return tuple(job[k] for k in ("chapter", "trial", "variant", "steps", "seed"))


def add_row(job, row):
    """Put what a job trained into its chapter's table."""
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


def work(jobs, have, done, key, gpu=False):
    """Do the jobs that are not there yet; `done(job, row)` as each one finishes.

    `have()` are the keys of what is there, `key(job)` is a job's. With `gpu` they are
    done on a GPU. Returns whether all went well.
    """
    there, wanted = have(), {}
    for job in jobs:  # two trials may ask for the same pilot
        if key(job) not in there:
            wanted.setdefault(key(job), job)
    jobs = list(wanted.values())
    start, well = time.time(), True
    workers = joblib.Parallel(joblib.cpu_count(), return_as="generator_unordered")
    rows = workers(joblib.delayed(execute)(job | dict(gpu=gpu)) for job in jobs)
    for n, (job, row) in enumerate(rows, start=1):
        left = (time.time() - start) / n * (len(jobs) - n) / 60
        what = f"{job['chapter']}, {job['trial']}, {job['variant']}"
        what += f", {job['steps']} steps, seed {job['seed']}"
        if isinstance(row, str):
            well, what = False, f"{what}: NOT RECORDED, {row}"
        else:
            done(job, row)
        print(f"{n} of {len(jobs)}, about {left:.0f} min left: {what}", flush=True)
    return well


def main():
    """The command line; ends with 1 where something was not recorded, or is new."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("chapter", nargs="*", help="its number, such as 04")
    parser.add_argument("--rates", action="store_true", help="only choose the rates")
    parser.add_argument("--gpu", action="store_true", help="train on a GPU")
    parser.add_argument("--check", action="store_true", help="only tell what changed")
    parser.add_argument("--set", help="only trials on it", choices=real.FACTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.gpu and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU here: leave --gpu out")
    try:
        names = chosen(arguments.chapter)
    except ValueError as error:
        parser.error(str(error))
    if arguments.check:
        sys.exit(not check(names))
    try:  # two would write the same tables, each without the other's rows
        with FileLock(trials.RECORDS / ".bench.lock", timeout=0):
            well = fill(names, arguments.rates, arguments.set, arguments.gpu)
    except Timeout:
        parser.error("another bench is running here: wait for its end, or stop it")
    sys.exit(not well)


def chosen(asked):
    """The chapters that are `asked` for, by number or name; of none, the usual ones.

    Those are all but the ones on real sets. Raises ValueError for a chapter without
    trials.
    """
    everyone = with_trials()
    for one in asked:
        if not any(one in (name, name[:2]) for name in everyone):
            raise ValueError(f"no chapter {one} has a trial to record")
    names = []
    for name in everyone:
        if name in asked or name[:2] in asked or not (asked or on_real_sets(name)):
            names.append(name)
    return names


def check(names):
    """Tell what of some chapters would be trained anew; whether there is nothing."""
    other = changed(marks(variants(names)), noted(names))
    for key in other:
        print("new or changed:", " / ".join(key))
    return not other


def fill(names, only_rates=False, real_set=None, gpu=False):
    """Choose the rates and, unless these are all, fill the tables of some chapters.

    With `real_set`, the trials on that set alone. Returns whether all went well.
    """
    missing = lacking(names, real_set)
    for name in missing:
        print(f"{name} is not in place: python -m helpers.app.real fetch {name}")
    if not only_rates:
        settle(names)
    have, well = functools.partial(have_rows, names), not missing
    for kind in ("short", "long"):  # the pages of today's live budgets come first
        # Of all chapters: one may ask for another's rate.
        if not pilots(with_trials(), kind, gpu):
            return False
        if only_rates:
            continue
        settle_rates(names, kind)
        for seeds in (SEEDS, MORE):
            only = wide(names) if seeds is MORE else None
            jobs = recordings(names, seeds, only, real_set)
            jobs = [job for job in jobs if job["kind"] == kind]
            well &= work(jobs, have, add_row, row_key, gpu)
    return well


def on_real_sets(chapter):
    """Whether a chapter's trials need pictures that the book does not draw."""
    return any(trial.needs for trial in trials_of(chapter).values())


def lacking(names, real_set=None):
    """The real sets, or the one, that some chapters need and that are not in place."""
    wanted = {}
    for name in names:
        for trial in trials_of(name).values():
            if trial.needs and real_set in (None, trial.needs):
                wanted[trial.needs] = real.ready(trial.needs)
    return [name for name, there in wanted.items() if not there]


def with_trials():
    """The chapters that have trials to record, in the order of the book."""
    names = []
    for path in sorted(chapters.NOTEBOOKS.glob("*.ipynb")):
        if chapters.source(path, "trial"):
            names.append(path.stem)
    return names


if __name__ == "__main__":
    main()
