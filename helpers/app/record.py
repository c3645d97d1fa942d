"""One training of a recorded trial, in a process of its own: see bench.py."""

import functools

import torch

from helpers import chapters, fingerprint, memory, real, trials
from helpers.app.files import whole
from helpers.app.parallel import Engine

WEIGHTS = chapters.NOTEBOOKS / "weights"


@functools.cache
def trials_of(chapter):
    """A chapter's trials, kept by the process that asks."""
    return chapters.trials(chapter)


def variant(job):
    """The trial of a job, and the name of the variant in it."""
    trial = trials_of(job["chapter"])[job["trial"]]
    return trial, trial.named(job["variant"])


def mark(job):
    """The fingerprint of a job's variant; `nudge` as in `Trial.marks`."""
    trial, name = variant(job)
    found = trial.marks(name, job["nudge"])
    memory.give_back()
    return found


def execute(job):
    """Do one job: the job, and its row of the table, rounded.

    An error keeps no other job waiting: the row is then a text that tells it (of a
    pilot, it keeps the seeds waiting, whose rate is not chosen). A pilot
    whose rate was too high for a finite loss has a row, and loses.
    """
    try:
        return job, train(job)
    except FloatingPointError as error:
        return job, dict(validation=0) if "lr" in job else str(error)
    except Exception as error:
        return job, f"{type(error).__name__}: {error}"


def train(job):
    """Train and score one job: its row."""
    trial, name = variant(job)
    changes, canary = {}, fingerprint.canary()
    if job.get("gpu"):
        changes, canary = on_gpu(trial, name)
    if "lr" in job:  # a pilot: its validation score is all that counts
        changes |= dict(lr=job["lr"], evaluate=no_scores)
    run, row = trial.one(name, job["seed"], job["steps"], **changes)
    last = job["steps"] == max(trial.budgets, default=0)
    if name in trial.keep and last and job["seed"] == trials.LIVE[0]:
        keep(run, job["variant"])
    found = {k: job[k] for k in ("trial", "variant", "steps", "seed")}
    found["canary"] = canary
    if trial.needs:
        found["data"] = real.checksum(trial.needs)
    for key, value in row.items():  # counts by group are a text
        found[key] = value if isinstance(value, str) else round(float(value), 5)
    if "engine" in changes:  # seconds on record are those of a processor
        del found["seconds"]
    return found


def on_gpu(trial, name):
    """What trains a variant on a GPU, changes for `Trial.one`; and the GPU's name.

    In float32, as on a processor. The name stands where a processor has its canary. A
    network from which the variant goes on is trained on the processor.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    changes = dict(engine=Engine())
    if not trial.needs:  # drawn pictures are not brought to the network
        own = trial.variants[name].get("evaluate", trial.evaluate)
        changes["evaluate"] = functools.partial(on_processor, evaluate=own)
    return changes, f"{torch.cuda.get_device_name()}, torch {torch.__version__}"


def on_processor(run, test, evaluate):
    """Score with the network back on the processor."""
    run.net.cpu()
    return evaluate(run, test)


def no_scores(run, test):
    """Score nothing."""
    return {}


def keep(run, name):
    """Keep a network's weights in float16 and its threshold, for the pages."""
    from safetensors.torch import save_file

    WEIGHTS.mkdir(exist_ok=True)
    state = {}
    for key, value in run.net.state_dict().items():
        half = value.half() if value.is_floating_point() else value
        state[key] = half.contiguous()
    about = dict(threshold=str(run.threshold))
    with whole(WEIGHTS / f"{name}.safetensors") as part:
        save_file(state, part, about)
