"""A data set and a network that train in a second, and how results are compared."""

import pytest
import torch
from skimage import measure
from torch import nn
from torch.utils.data import TensorDataset

from helpers import metrics
from helpers.data import Sets


def squares(n=12, size=12, seed=0):
    """Squares in noise: images and masks (n, 1, size, size)."""
    rng = torch.Generator().manual_seed(seed)
    masks = torch.zeros(n, 1, size, size)
    for mask in masks:
        top, left = torch.randint(0, size - 4, (2,), generator=rng)
        mask[0, top : top + 4, left : left + 4] = 1
    images = masks + 0.3 * torch.randn(masks.shape, generator=rng)
    return TensorDataset(images, masks)


def sets():
    return Sets(squares(), squares(8, seed=1), squares(9, seed=2))


def small(padding="same"):
    """Batch norm and dropout: what a resumed training could get wrong."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=padding),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.Conv2d(4, 1, 3, padding=padding),
    )


def plain(history):
    """A history without the seconds, which differ from run to run."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def same_weights(one, other):
    """Whether two networks, or their states, are equal to the last bit."""
    if isinstance(one, nn.Module):
        one, other = one.state_dict(), other.state_dict()
    equal = all(torch.equal(value, other[name]) for name, value in one.items())
    return equal and one.keys() == other.keys()


def same_run(one, other):
    """Whether two runs have the same history and the same network."""
    alike = plain(one.history) == plain(other.history)
    return alike and same_weights(one.net, other.net)


def same_pictures(a, b):
    """Whether two sets hold the same pictures and masks."""
    return all(torch.equal(x, y) for x, y in zip(a.tensors, b.tensors, strict=True))


def boundary_f1_within(tolerance, found, masks):
    """`metrics.boundary_f1` with another tolerance, px."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "TOLERANCE", tolerance)
        return metrics.boundary_f1(found, masks)


def component_count(mask, connectivity=2):
    """How many parts a mask has that hang together."""
    return measure.label(mask, connectivity=connectivity).max()
