"""What the recorded trainings belong to: the behaviour of the code, not its text.

For each entry of each task of chapter 08 the recorder's whole path is gone in small, in
float64: draw the data, make the network, train five steps (the fewest that are a
cycle of the learning rate) at batch 2 on 16 pictures, validate on 16, tune, score 16. A rewrite
that computes the same gives the same numbers to six digits; a change that does not, is
seen in the entries that it concerns.

    python -m tools.fingerprint          compare with the table of fingerprints
    python -m tools.fingerprint write    write the table anew
"""

import csv
import sys
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from helpers import chapters, cost

TABLE = Path(__file__).resolve().parents[1] / "notebooks" / "08_lineage_code.csv"
STEPS, BATCH, PICTURES, SEED, LR = 5, 2, 16, 0, 5e-3


def small(dataset):
    """The first pictures of a data set, in float64."""
    parts = [t[:PICTURES] for t in dataset.tensors]
    parts = [t.double() if t.is_floating_point() else t for t in parts]
    return TensorDataset(*parts)


def fingerprint(task, network):
    """Parameters, MACs, five losses, validation and test scores: a dict of texts."""
    lineage = chapters.load("08_lineage")
    whole = lineage.TASKS[task]
    sets = {k: small(v) for k, v in whole.sets(SEED).items()}
    own = dict(whole.entries[network])
    if "steps" in own:
        own["steps"] = STEPS
    losses = []
    loss = own.get("loss", whole.loss)

    def noted(answer, masks):
        value = loss(answer, masks)
        losses.append(value.item())
        return value

    own["loss"] = noted
    entries = {network: own}
    tasks = {task: whole._replace(sets=lambda _: sets, batch=BATCH, entries=entries)}
    before, default = lineage.TASKS, torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    lineage.TASKS = tasks
    scratches = lineage.scratched
    lineage.scratched = lambda: small(scratches())
    try:
        net, row = lineage.run(task, network, SEED, LR, STEPS)
    finally:
        lineage.TASKS = before
        lineage.scratched = scratches
        torch.set_default_dtype(default)
    shape = sets["train"].tensors[0].shape[1:]
    result = {"parameters": cost.params(net), "macs": cost.macs(net.float(), 1, *shape)}
    result |= {f"loss_{n}": value for n, value in enumerate(losses, 1)}
    del row["seconds"]
    result |= row
    return {k: f"{v:.6g}" if isinstance(v, float) else f"{v}" for k, v in result.items()}


def all_fingerprints(tasks=None):
    """A row for each entry of each task."""
    lineage = chapters.load("08_lineage")
    for task in lineage.TASKS:
        if tasks and task not in tasks:
            continue
        for network in lineage.TASKS[task].entries:
            yield dict(task=task, network=network) | fingerprint(task, network)


def read():
    """The table as it is kept."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write():
    rows = list(all_fingerprints())
    columns = list(dict.fromkeys(k for row in rows for k in row))
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def changed(tasks=None):
    """The entries whose behaviour is not that of the table: texts."""
    kept = {(row["task"], row["network"]): row for row in read()}
    found = []
    for row in all_fingerprints(tasks):
        then = kept.get((row["task"], row["network"]), {})
        other = [k for k in row if row[k] != then.get(k)]
        if other:
            what = ", ".join(f"{k} {then.get(k)} -> {row[k]}" for k in other)
            found.append(f"{row['task']}, {row['network']}: {what}")
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write()
    else:
        print(*changed() or ["nothing has changed"], sep="\n")
