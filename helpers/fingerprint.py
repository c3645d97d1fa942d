"""What a training computes, in a few digits: what a recorded result belongs to.

A record belongs to behaviour, not to text. So the whole way of a recorded training is
gone in small and in double precision: six pictures to train on, to validate and to
test, five steps at batch 2. A rewrite that computes the same leaves the digits as they
are; a change that does not, shows. Processors draw pictures that differ in their last
bit: how many digits this leaves alone is told by a nudge, see helpers/app/bench.py.
"""

import functools
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from helpers import cost, data, real, training

PICTURES = 6
SETTINGS = dict(batch=2, steps=5, every=5, lr=5e-3)  # 5: the shortest cycle of the rate


@functools.cache
def canary():
    """A loss of a small training on drawn pictures in float32, nine digits: a text.

    Processors round differently, when they draw and when they train, and training makes
    much of it. Where two machines agree on this number, they agree on a training's
    scores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images, masks = data.surfaces(8, seed=0).tensors
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(8, 64, 3, padding=1), nn.BatchNorm2d(64),
            nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(64, 8, 4, stride=4), nn.Conv2d(8, 1, 1),
        )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2, fused=True)
    for _ in range(30):
        loss = F.binary_cross_entropy_with_logits(net(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return f"{loss.item():.9g}"


def small_sets(sets, nudge=0):
    """A few pictures of each of the `data.Sets`, in double precision.

    In the place of one data set there may be a dict of them. Each value is moved by
    `nudge` of itself, up or down by lot. Processors draw pictures that differ by 1e-7,
    a rounding in float32: a number that this much moves tells nothing of the code.
    """
    parts = []
    for part in sets:
        if isinstance(part, dict):
            parts.append({name: small(own, nudge) for name, own in part.items()})
        else:
            parts.append(small(part, nudge))
    return data.Sets(*parts)


def small(dataset, nudge=0):
    """A few pictures from all over a data set, in double precision.

    Whole real pictures, to test on, stay as they are: `real.answer` turns them.
    """
    if isinstance(dataset, real.Pictures):
        return dataset
    if isinstance(dataset, TensorDataset):
        images, masks = dataset.tensors
    else:
        images, masks = training.batch_of(dataset, range(PICTURES))
    few = torch.linspace(0, len(images) - 1, min(PICTURES, len(images))).long()
    images = images[few].double()
    random = torch.Generator().manual_seed(0)
    lot = torch.rand(images.shape, generator=random).round().double()
    images *= 1 + nudge * (2 * lot - 1)
    if masks.is_floating_point():
        masks = masks.double()
    return TensorDataset(images, masks[few])


@contextmanager
def double_precision():
    """Make new networks, and all that is computed, float64."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


def digits(run, scores, shape):
    """Parameters, MACs on a batch of `shape`, scores and losses: a dict of texts."""
    macs = cost.macs(run.net.float(), *shape)
    marks = dict(parameters=str(cost.params(run.net)), macs=str(macs))
    values = dict(scores)
    for row in run.history:
        values[f"loss_{row['step']}"] = row["loss"]
    for name, value in values.items():
        marks[name] = f"{value:.6g}"
    return marks
