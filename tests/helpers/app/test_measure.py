"""Scores of whole pictures, against counts by hand and the metrics of the book."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from helpers import metrics
from helpers.app import measure
from helpers.metrics import IGNORE

FACTS = dict(size=(6, 8), resized=False, tiling=(256, 32), classes=1, threshold=None)


class Logits(nn.Module):
    """A network whose answer is its picture's first channels."""

    def __init__(self, maps=1):
        super().__init__()
        self.maps = maps

    def forward(self, x):
        return x[:, : self.maps]


def noisy(n=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    masks = (torch.rand(n, 1, 6, 8, generator=rng) < 0.3).float()
    masks[0] = 0
    images = 2 * masks - 1 + torch.randn(n, 3, 6, 8, generator=rng)
    return TensorDataset(images, masks)


def measured(samples, objects=None, maps=1, **facts):
    names = [str(k) for k in range(len(samples))]
    about = FACTS | dict(classes=maps) | facts
    net = Logits(maps)
    return measure.measure(net, about, samples, names, objects or names)


def test_one_object_is_scored_as_by_the_metrics_of_the_book():
    samples = noisy()
    images, masks = samples.tensors
    logits, scores = images[:, :1], measured(samples)
    threshold = metrics.best_threshold(logits, masks)
    found = logits.sigmoid() > threshold
    assert scores["threshold"] == threshold
    assert scores["iou"] == pytest.approx(metrics.iou(found, masks))
    each = [row["iou"] for row in scores["pictures"]]
    assert each == pytest.approx(metrics.iou(found, masks, each=True).tolist())
    edge = scores["pictures"][2]["boundary_f1"]
    assert edge == metrics.boundary_f1(found[2:3], masks[2:3])
    curve = dict(scores["thresholds"])
    half = metrics.CUTS[24]
    assert curve[half] == pytest.approx(metrics.iou(logits.sigmoid() > half, masks))


def test_a_stated_threshold_is_kept():
    assert measured(noisy(), threshold=0.3)["threshold"] == pytest.approx(0.3)


def test_classes_are_scored_as_by_the_metrics_of_the_book():
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(5, 3, 6, 8, generator=rng)
    labels = torch.randint(0, 2, (5, 1, 6, 8), generator=rng)  # class 2: only found
    labels[0, 0, 0] = IGNORE
    scores = measured(TensorDataset(images, labels), maps=3)
    assert scores["threshold"] is None and scores["thresholds"] == []
    assert scores["iou"] == pytest.approx(metrics.mean_iou(images, labels))
    assert scores["classes"][2]["iou"] == 0
    images[:, 2] = -9  # never found, nowhere there
    scores = measured(TensorDataset(images, labels), maps=3)
    assert scores["classes"][2] == dict(iou=None, interval=None)
    assert scores["iou"] == pytest.approx(metrics.mean_iou(images, labels))


@pytest.mark.parametrize("order", [range(5), [4, 2, 0, 1, 3]])
def test_pooled_over_the_set_whatever_the_order(order):
    """Handed table: hits 6, 8, 9, 8, 0 and unions 10, 14, 12, 12, 11."""
    counts = np.array([[[6, 10]], [[8, 14]], [[9, 12]], [[8, 12]], [[0, 11]]], float)
    found = measure.summary(counts[list(order)], list("abcde"))
    assert found["iou"] == pytest.approx(31 / 59)
    low, high = found["interval"]
    assert 0 <= low < 31 / 59 < high <= 0.75


def test_the_interval_leaves_out_a_twentieth():
    assert measure.interval(np.arange(1001.0), 9) == [25, 975]


def test_the_calibration_of_classes_counts_what_is_right():
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(5, 3, 6, 8, generator=rng)
    labels = torch.randint(0, 3, (5, 1, 6, 8), generator=rng)
    labels[0, 0, 0] = IGNORE
    points = np.array(measured(TensorDataset(images, labels), maps=3)["calibration"])
    counted, right = labels != IGNORE, images.argmax(1, keepdim=True) == labels
    assert points[:, 2].sum() == counted.sum()
    assert (points[:, 1] * points[:, 2]).sum() == pytest.approx(right[counted].sum())


def test_the_interval_is_over_objects_where_pictures_are_grouped():
    counts = np.array([[[9, 10]]] * 10 + [[[1, 10]]] * 10, float)
    alone = measure.summary(counts, [str(k) for k in range(20)])["interval"]
    grouped = measure.summary(counts, list("a" * 10 + "b" * 5 + "c" * 5))["interval"]
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])
    assert measure.summary(counts, list("a" * 10 + "b" * 10))["interval"] is None


def test_all_empty_and_nothing_found_is_1_as_the_metrics_say():
    empty = TensorDataset(torch.full((3, 3, 6, 8), -9.0), torch.zeros(3, 1, 6, 8))
    scores = measured(empty, threshold=0.5)
    assert scores["iou"] == 1 and scores["pictures"][0]["iou"] == 1
    assert scores["pictures"][0]["boundary_f1"] is None
    assert "NaN" not in json.dumps(scores)


def test_calibration_is_the_share_of_object_in_each_bin():
    from torchmetrics.functional import classification  # large: for this test alone

    samples = noisy(40)
    p, truth = samples.tensors[0][:, :1].sigmoid(), samples.tensors[1]
    points = np.array(measured(samples)["calibration"])
    assert points[:, 2].sum() == truth.numel()
    gap = (abs(points[:, 0] - points[:, 1]) * points[:, 2]).sum() / truth.numel()
    outside = classification.binary_calibration_error
    expected = outside(p.flatten(), truth.flatten().long(), n_bins=10)
    assert gap == pytest.approx(expected.item(), abs=1e-4)
