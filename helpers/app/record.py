"""One training of a recorded trial, in a process of its own: see bench.py."""

import functools

from helpers import chapters, fingerprint, trials

WEIGHTS = chapters.NOTEBOOKS / "weights"


@functools.cache
def trials_of(chapter):
    """A chapter's trials, kept by the process that asks."""
    return chapters.trials(chapter)


@functools.lru_cache(2)
def pictures(chapter, trial, variant, seed):
    """The pictures of a job: the variants of a seed mostly share them."""
    return drawn(trials_of(chapter)[trial].draws(variant), seed)


@functools.lru_cache(2)
def drawn(draw, seed):
    return draw(seed)


def execute(job):
    """Do one job: the job, and its row of the table, rounded."""
    trial = trials_of(job["chapter"])[job["trial"]]
    name = {trials.text(name): name for name in trial.variants}[job["variant"]]
    sets = pictures(job["chapter"], job["trial"], name, job["seed"])
    changes = dict(lr=job["lr"]) if "lr" in job else {}
    run, row = trial.one(name, job["seed"], job["steps"], sets, **changes)
    if (
        trial.keep
        and job["steps"] == max(trial.budgets)
        and job["seed"] == trials.LIVE[0]
    ):
        keep(run.net, job["variant"])
    found = {k: job[k] for k in ("trial", "variant", "steps", "seed")}
    found["canary"] = fingerprint.canary()
    for key, value in row.items():
        found[key] = round(float(value), 5)
    return job, found


def keep(net, name):
    """Keep a network's weights in float16, for the pages."""
    from safetensors.torch import save_file

    WEIGHTS.mkdir(exist_ok=True)
    state = {}
    for key, value in net.state_dict().items():
        half = value.half() if value.is_floating_point() else value
        state[key] = half.contiguous()
    save_file(state, WEIGHTS / f"{name}.safetensors")
