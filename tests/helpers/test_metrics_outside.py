"""The scores against another library's, and against the slowest way to compute them."""

import math
from fractions import Fraction

import pytest
import torch

from helpers.metrics import (
    IGNORE,
    best_threshold,
    class_iou,
    confusion,
    dice,
    iou,
    mean_iou,
)
from tests.helpers.toys import boundary_f1_within

CASES = range(200)
CLOSE = dict(abs=1e-6)


@pytest.fixture(scope="module")
def outside():
    """The other library: large, so not in every process that collects the tests."""
    from torchmetrics.functional import classification

    return classification


def random_mask(*shape):
    """A mask that is empty, sparse, half full or full."""
    share = (0.0, 0.03, 0.5, 1.0)[torch.randint(4, ()).item()]
    return torch.rand(shape) < share


def random_labels(classes, *shape):
    """A label map in which some class may be missing and some pixels are IGNORE."""
    labels = torch.randint(torch.randint(1, classes + 1, ()).item(), shape)
    labels[random_mask(*shape)] = IGNORE
    return labels


def test_iou_and_dice(outside):
    for case in CASES:
        torch.manual_seed(case)
        shape = (3, 1, 6, 5) if case % 2 else (2, 1, 3, 4, 5)
        found, masks = random_mask(*shape), random_mask(*shape)
        if case % 3 == 0:
            masks[0] = found[0]  # one image without a fault
        both = dict(zero_division=1)  # empty against empty is 1
        expected = outside.binary_jaccard_index(found.int(), masks.int(), **both)
        assert iou(found, masks) == pytest.approx(expected.item(), **CLOSE)
        expected = outside.binary_f1_score(found.int(), masks.int(), **both)
        assert dice(found, masks) == pytest.approx(expected.item(), **CLOSE)
        ious, dices = iou(found, masks, each=True), dice(found, masks, each=True)
        for i in range(len(found)):
            one, truth = found[i].int(), masks[i].int()
            expected = outside.binary_jaccard_index(one, truth, **both)
            assert ious[i].item() == pytest.approx(expected.item(), **CLOSE)
            expected = outside.binary_f1_score(one, truth, **both)
            assert dices[i].item() == pytest.approx(expected.item(), **CLOSE)


def test_confusion_class_iou_and_mean_iou(outside):
    for case in CASES:
        torch.manual_seed(case)
        classes = 2 + case % 4
        labels = random_labels(classes, 2, 1, 5, 6)
        logits = torch.randn(2, classes, 5, 6)
        logits[:, case % classes] -= 9 * (case % 2)  # a class that is never found
        found = logits.argmax(1, keepdim=True)
        settings = dict(num_classes=classes, ignore_index=IGNORE)
        matrix = confusion(found, labels, classes)
        expected = outside.multiclass_confusion_matrix(found, labels, **settings)
        assert torch.equal(matrix, expected)
        if not matrix.any():
            continue  # all is IGNORE
        # A class that nowhere occurs is left out of the mean.
        settings |= dict(average="none", zero_division=math.nan)
        expected = outside.multiclass_jaccard_index(found, labels, **settings)
        close = dict(rtol=0, atol=1e-6, equal_nan=True)
        torch.testing.assert_close(class_iou(matrix), expected, **close)
        mean = expected.nanmean().item()
        assert mean_iou(logits, labels) == pytest.approx(mean, **CLOSE)


def slow_best_threshold(logits, masks):
    """The lowest of 0.02, 0.04, ... 0.98 with the highest IoU, by counting."""
    pixels = list(zip(logits.sigmoid().flatten().tolist(), masks.flatten().tolist()))
    best, highest = None, -1
    for k in range(1, 50):
        hits = sum(p > k / 50 and truth for p, truth in pixels)
        union = sum(p > k / 50 or truth for p, truth in pixels)
        value = Fraction(hits, union) if union else 1
        if value > highest:
            best, highest = k / 50, value
    return best


def test_best_threshold():
    for case in CASES:
        torch.manual_seed(case)
        masks = random_mask(2, 1, 4, 5)
        logits = 2 * torch.randn(masks.shape) + masks * torch.randn(())
        expected = slow_best_threshold(logits, masks)
        assert best_threshold(logits, masks) == pytest.approx(expected, **CLOSE)


def outline(mask):
    """Pixels (row, column) of a mask of which one of the four neighbours is not in it.

    Beyond the picture there is no mask.
    """
    inside = set()
    for row, column in mask.nonzero().tolist():
        inside.add((row, column))
    found = []
    for y, x in inside:
        if not {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} <= inside:
            found.append((y, x))
    return found


def share_near(points, others, tolerance):
    """Share of the points with one of the others at most `tolerance` away."""
    near = 0
    for point in points:
        near += min(math.dist(point, other) for other in others) <= tolerance
    return near / len(points)


def slow_boundary_f1(found, mask, tolerance):
    """Boundary F1 of two masks (H, W), each pixel measured against each other."""
    a, b = outline(found), outline(mask)
    if not a or not b:
        return 0.0
    precision, recall = share_near(a, b, tolerance), share_near(b, a, tolerance)
    return 2 * precision * recall / (precision + recall) if precision else 0.0


def test_boundary_f1():
    for case in CASES:
        torch.manual_seed(case)
        found, masks = random_mask(2, 1, 8, 9), random_mask(2, 1, 8, 9)
        top, left = torch.randint(5, (2,)).tolist()
        # A block with an inside, sometimes at the edge of the picture.
        masks[0, 0, top : top + 5, left : left + 3] = True
        tolerance = (0, 1, 1.5, 2)[case % 4]
        values = []
        for i in range(2):
            if found[i].any() or masks[i].any():  # two empty ones are left out
                values.append(slow_boundary_f1(found[i, 0], masks[i, 0], tolerance))
        ours = boundary_f1_within(tolerance, found, masks)
        assert ours == pytest.approx(sum(values) / len(values), **CLOSE)
