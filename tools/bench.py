"""The full bench of chapter 08: `python -m tools.bench`, an hour on two idle cores.

Trains what notebooks/08_lineage.ipynb defines, as many at a time as there are cores,
and writes the table that the chapter shows, notebooks/08_lineage.csv. Each run is kept
in _build/bench.jsonl as it finishes, so an interrupted bench goes on where it was.

For every entry of every task: the time of a step; one trial for each learning rate, on
data and seed of their own, chosen by the validation score; then the seeds at that rate,
with equal steps ("equal MACs": the small networks cost the same), and for the six
networks once more with as many steps as fit into the slowest one's time ("equal
seconds"). `seconds` are of the processor, not of the clock: other work beside the bench
does not count.
"""

import argparse
import csv
import datetime
import io
import json
import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import joblib
import torch

from helpers import chapters, training

ROOT = Path(__file__).resolve().parents[1]
STATE, TABLE = ROOT / "_build" / "bench.jsonl", ROOT / "notebooks" / "08_lineage.csv"
COLUMNS = ["task", "network", "budget", "seed", "lr", "steps"]
RESULTS = ["validation", "seconds", "score", "border", "thin"]
COMMON = dict(defects=5, ablation=5)  # seeds of what rests on the common task
PACKAGES = ["torch", "numpy", "scipy", "scikit-image"]


def read(digest):
    """Return the finished runs, less those of another code."""
    lines = STATE.read_text().splitlines() if STATE.is_file() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return [row for row in rows if row.pop("code") == digest]


def execute(job):
    """Do one job in this process: its row of the table."""
    lineage = chapters.load("08_lineage")
    if job["budget"] == "step":
        return job | dict(seconds=round(step_seconds(lineage, job), 5))
    _, result = lineage.run(*(job[c] for c in ORDER))
    del result["seconds"]  # of the clock
    return job | {k: round(float(v), 4) for k, v in result.items()}


ORDER = ["task", "network", "seed", "lr", "steps"]  # of run's arguments


def step_seconds(lineage, job):
    """Median time of a training step, in seconds: of one thread, or of the GPU."""
    torch.set_num_threads(1)
    clock, wait, device = time.process_time, lambda: None, "cpu"
    if torch.cuda.is_available():
        clock, wait, device = time.perf_counter, torch.cuda.synchronize, "cuda"
    task = lineage.TASKS[job["task"]]
    own = task.entries[job["network"]]
    net, loss = own["net"](0.04).to(device), own.get("loss", task.loss)
    optimizer, times = torch.optim.AdamW(net.parameters()), []
    train = task.sets(job["seed"])["train"]
    batch = training.batch_of(train, range(task.batch))
    images, masks = (part.to(device) for part in batch)
    for _ in range(job["steps"]):
        start = clock()
        optimizer.zero_grad()
        loss(net(images), masks).backward()
        optimizer.step()
        wait()
        times.append(clock() - start)
    return statistics.median(times)


def key(row):
    """What tells two jobs apart."""
    return tuple(row[c] for c in COLUMNS)


def work(jobs, done, digest):
    """Train the jobs that are not done yet; keep each as it finishes."""
    have, start = {key(row) for row in done}, time.time()
    jobs = [job for job in jobs if key(job) not in have]
    workers = joblib.Parallel(joblib.cpu_count(), return_as="generator_unordered")
    STATE.parent.mkdir(exist_ok=True)
    for n, row in enumerate(workers(joblib.delayed(execute)(j) for j in jobs), 1):
        done.append(row)
        with STATE.open("a") as file:
            # First the new line: the one before may have been cut off.
            file.write("\n" + json.dumps(row | dict(code=digest)))
        left = (time.time() - start) / n * (len(jobs) - n) / 60
        what = "{task}, {network}, {budget}, seed {seed}".format(**row)
        print(f"{n} of {len(jobs)}, about {left:.0f} min left: {what}", flush=True)


def trials(lineage):
    """The step times and the learning-rate trials of every entry of every task."""
    for name, task in lineage.TASKS.items():
        for entry in task.entries:
            job = dict(task=name, network=entry, seed=lineage.TRIAL_SEED)
            yield job | dict(budget="step", lr=lineage.RATES[0], steps=20)
            for lr in lineage.RATES:
                yield job | dict(budget="trial", lr=lr, steps=task.steps)


def chosen(lineage, done, least):
    """The runs at the chosen rates, seed by seed: `least` seeds, COMMON for some."""
    jobs = []
    for name, task in lineage.TASKS.items():
        mine = [row for row in done if row["task"] == name]
        step = {r["network"]: r["seconds"] for r in mine if r["budget"] == "step"}
        seeds = max(least, COMMON.get(name, 0))
        for entry in task.entries:
            tried = [
                row for row in mine
                if (row["network"], row["budget"]) == (entry, "trial")
            ]  # fmt: skip
            lr = max(tried, key=lambda row: row["validation"])["lr"]
            budgets = {"MACs": task.steps}
            if name not in ("volumes", "ablation"):
                budgets["seconds"] = round(
                    task.steps * max(step.values()) / step[entry]
                )
            jobs += [
                dict(task=name, network=entry, budget=b, seed=s, lr=lr, steps=n)
                for b, n in budgets.items() for s in range(seeds)
            ]  # fmt: skip
    return sorted(jobs, key=lambda job: job["seed"])  # all of seed 0, then of 1 ...


def write(done, digest):
    """Write the table, whole or not at all, with what it came from above it."""
    head = dict(
        code=digest, made=f"{datetime.date.today()}", python=platform.python_version(),
        **{name: version(name) for name in PACKAGES}, cores=joblib.cpu_count(),
    )  # fmt: skip
    text = io.StringIO(f"# {json.dumps(head)}\n")
    text.seek(0, io.SEEK_END)
    table = csv.DictWriter(text, COLUMNS + RESULTS, lineterminator="\n")
    table.writeheader()
    table.writerows(sorted(done, key=lambda row: str(key(row))))
    part = TABLE.with_suffix(".part")
    part.write_text(text.getvalue(), encoding="utf-8")
    os.replace(part, TABLE)
    print(f"{len(done)} runs in {TABLE}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="of each task, or more")
    seeds = parser.parse_args().seeds
    if seeds < 3:
        parser.error(f"--seeds is {seeds}; a spread needs at least 3")
    lineage, digest = chapters.load("08_lineage"), chapters.digest()
    done = read(digest)
    work(list(trials(lineage)), done, digest)
    work(chosen(lineage, done, seeds), done, digest)
    write(done, digest)


if __name__ == "__main__":
    main()
