"""The full bench of chapter 08: `make bench`, an hour on two idle cores.

Trains what notebooks/08_lineage.ipynb defines, as many at a time as there are cores,
and writes the table that the chapter shows, notebooks/08_lineage.csv. The table is also
the state: each run stands in it as it finishes, so an interrupted bench goes on where
it was. Beside it lie the fingerprints of the code; what belongs to other code than
today's is trained anew, and nothing else.

For every network of every task: the time of a step; one trial for each learning rate,
on data and seed of their own, chosen by the validation score; then the seeds at that
rate, with equal steps ("MACs": the small networks cost the same), and for the six
networks once more with as many steps as fit into the slowest one's time ("seconds").
`seconds` are of the processor, not of the clock: other work beside does not count.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from importlib.metadata import version
from operator import itemgetter

import joblib
import pandas
import torch

from helpers import chapters, training

TABLE = chapters.NOTEBOOKS / "08_lineage.csv"
CODE = chapters.NOTEBOOKS / "08_lineage_code.csv"
JOB = ["task", "network", "budget", "seed", "lr", "steps"]  # tells two runs apart
RESULTS = ["validation", "seconds", "score", "border", "thin"]
MORE_SEEDS = dict(defects=5, ablation=5)  # of what rests on the common task
PACKAGES = ["torch", "numpy", "scipy", "scikit-image"]


# --- the table and the code it belongs to -----------------------------------------


def read():
    """The table as it is: a DataFrame, empty where there is none."""
    if not TABLE.is_file():
        return pandas.DataFrame(columns=JOB + RESULTS)
    return pandas.read_csv(TABLE, comment="#")


def write(table):
    """Write the table, whole or not at all, with what it came from above it."""
    head = dict(made=f"{datetime.date.today()}", python=platform.python_version())
    for name in PACKAGES:
        head[name] = version(name)
    head["cores"] = joblib.cpu_count()
    text = table[JOB + RESULTS].sort_values(JOB).to_csv(index=False)
    replace(TABLE, f"# {json.dumps(head)}\n{text}")


def replace(path, text):
    """Put a text in the place of a file, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def fingerprints(lineage, nudge=0):
    """What today's code computes for every network of every task: a DataFrame."""
    calls = []
    mark = chapters.load("08_lineage").fingerprint_of  # as a worker will find it
    for name, task in lineage.TASKS.items():
        for network in task.networks:
            calls.append(joblib.delayed(mark)(name, network, nudge))
    rows = joblib.Parallel(joblib.cpu_count())(calls)
    return pandas.DataFrame(rows).fillna("").set_index(["task", "network"])


def recorded():
    """The fingerprints beside the table: a DataFrame of texts."""
    table = pandas.read_csv(CODE, dtype=str, keep_default_na=False)
    return table.set_index(["task", "network"])


def changed(now, then):
    """(task, network) of which the code computes something else than it did."""
    found = []
    columns = now.columns.union(then.columns)
    now, then = now.reindex(columns=columns), then.reindex(columns=columns)
    for entry, row in now.iterrows():
        if entry not in then.index:
            found.append(entry)
            continue
        kept = then.loc[entry]
        if (row != kept)[kept != ""].any():
            found.append(entry)
    return found


def keep_what_belongs(lineage, table, now):
    """Drop the runs of other code; note the fingerprints of what will be trained."""
    then = recorded() if CODE.is_file() else now.iloc[:0]
    gone = changed(now, then)
    for task, network in gone:
        print(f"new or changed: {task}, {network}")
        mine = (table.task == task) & (table.network == network)
        table = table[~mine]
    if gone:
        # What the smallest nudge of the weights moves is chaos, and tells nothing.
        firm = now.where(now == fingerprints(lineage, nudge=1e-14), "")
        write(table)
        replace(CODE, firm.reset_index().to_csv(index=False))
    return table


# --- one run ----------------------------------------------------------------------


def execute(job):
    """Do one job in this process: its row of the table."""
    lineage = chapters.load("08_lineage")
    task = lineage.TASKS[job["task"]]
    if job["budget"] == "step":
        seconds = step_seconds(lineage, task, job["network"], job["seed"])
        return job | dict(seconds=round(seconds, 5))
    engine = None
    if torch.cuda.is_available():
        from helpers.app.parallel import Engine

        engine = Engine()
    _, result = lineage.train(
        task, job["network"], job["seed"], job["lr"], job["steps"], engine
    )
    del result["seconds"]  # of the clock
    for name, value in result.items():
        job[name] = round(float(value), 4)
    return job


def step_seconds(lineage, task, network, seed, steps=20):
    """Median time of a training step, in seconds: of one thread, or of the GPU."""
    torch.set_num_threads(1)
    gpu = torch.cuda.is_available()
    clock = time.perf_counter if gpu else time.process_time
    device = "cuda" if gpu else "cpu"
    sets = task.draw(seed)
    net = task.networks[network](0.04, **task.arguments).to(device)
    loss = lineage.settings(task, network, sets, steps)["loss"]
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    images, masks = training.batch_of(sets.train, range(task.batch))
    images, masks = images.to(device), masks.to(device)
    times = []
    for _ in range(steps):
        start = clock()
        training.train_step(net, images, masks, loss, optimizer)  # waits for its loss
        times.append(clock() - start)
    return statistics.median(times)


# --- all of them ------------------------------------------------------------------


def first_jobs(lineage):
    """The step times and the learning-rate trials of every network of every task."""
    jobs = []
    for name, task in lineage.TASKS.items():
        for network in task.networks:
            job = dict(task=name, network=network, seed=lineage.TRIAL_SEED)
            step = dict(budget="step", lr=lineage.RATES[0], steps=20)
            jobs.append(job | step)
            for lr in lineage.RATES:
                jobs.append(job | dict(budget="trial", lr=lr, steps=task.steps))
    return jobs


def final_jobs(lineage, table, seeds):
    """The runs at the chosen rates, seed by seed: `seeds` of each, more for some."""
    jobs = []
    for name, task in lineage.TASKS.items():
        mine = table[table.task == name]
        step = mine[mine.budget == "step"].set_index("network").seconds
        tried = mine[mine.budget == "trial"]
        best = tried.loc[tried.groupby("network").validation.idxmax()]
        rates = best.set_index("network").lr
        for network in task.networks:
            budgets = {"MACs": task.steps}
            if name not in ("volumes", "ablation"):
                budgets["seconds"] = round(task.steps * step.max() / step[network])
            for budget, steps in budgets.items():
                job = dict(task=name, network=network, budget=budget)
                job |= dict(lr=float(rates[network]), steps=steps)
                for seed in range(max(seeds, MORE_SEEDS.get(name, 0))):
                    jobs.append(job | dict(seed=seed))
    return sorted(jobs, key=lambda job: job["seed"])  # all of seed 0, then of 1 ...


def work(jobs, table):
    """Train the jobs that the table lacks; write it as each one finishes."""
    have = set(table[JOB].itertuples(index=False, name=None))
    jobs = [job for job in jobs if itemgetter(*JOB)(job) not in have]
    start = time.time()
    workers = joblib.Parallel(joblib.cpu_count(), return_as="generator_unordered")
    calls = [joblib.delayed(execute)(job) for job in jobs]
    for n, row in enumerate(workers(calls), start=1):
        table = pandas.concat([table, pandas.DataFrame([row])], ignore_index=True)
        write(table)
        left = (time.time() - start) / n * (len(jobs) - n) / 60
        what = "{task}, {network}, {budget}, seed {seed}".format(**row)
        print(f"{n} of {len(jobs)}, about {left:.0f} min left: {what}", flush=True)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="of each task, or more")
    parser.add_argument("--check", action="store_true", help="only compare the code")
    arguments = parser.parse_args()
    if arguments.seeds < 3:
        parser.error(f"--seeds is {arguments.seeds}; a spread needs at least 3")
    lineage = chapters.load("08_lineage")
    now = fingerprints(lineage)
    if arguments.check:
        print(changed(now, recorded()) or "nothing has changed")
        return
    table = keep_what_belongs(lineage, read(), now)
    table = work(first_jobs(lineage), table)
    table = work(final_jobs(lineage, table, arguments.seeds), table)
    print(f"{len(table)} runs in {TABLE}")


if __name__ == "__main__":
    main()
