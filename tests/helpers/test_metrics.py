"""The scores, by hand; against other libraries: test_metrics_outside.py."""

import math
import warnings

import pytest
import torch
from torch.nn import functional as F

from helpers import metrics
from helpers.metrics import (
    IGNORE,
    best_threshold,
    boundary_f1,
    class_counts,
    class_iou,
    confusion,
    dice,
    iou,
    iou_at_best,
    iou_at_half,
    iou_by_pictures,
    mean_iou,
    overlap,
    scores,
)
from tests.helpers.toys import boundary_f1_within


def masks_of(*rows):
    """One mask (1, 1, H, W) from strings of '.' and '#'."""
    return torch.tensor([[c == "#" for c in row] for row in rows])[None, None]


# --- iou and dice -----------------------------------------------------------------

LEFT = masks_of("##..", "##..")
TOP = masks_of("####", "....")
NONE = torch.zeros(1, 1, 2, 4, dtype=torch.bool)
FULL = ~NONE


@pytest.mark.parametrize(
    "a, b, expected",
    [
        (LEFT, TOP, 2 / 6),
        (LEFT, LEFT, 1),
        (LEFT, ~LEFT, 0),
        (LEFT, FULL, 1 / 2),
        (FULL, FULL, 1),
        (NONE, NONE, 1),
        (NONE, FULL, 0),
        (FULL, NONE, 0),
        (NONE, LEFT, 0),
    ],
)
def test_iou_and_dice_by_hand(a, b, expected):
    assert iou(a, b) == pytest.approx(expected)
    assert dice(a, b) == pytest.approx(2 * expected / (1 + expected))
    assert iou(b, a) == iou(a, b) and dice(b, a) == dice(a, b)
    assert isinstance(iou(a, b), float) and isinstance(dice(a, b), float)


def test_pooled_is_not_the_mean_over_images():
    found, masks = torch.cat([LEFT, NONE, FULL]), torch.cat([TOP, NONE, LEFT])
    assert iou(found, masks) == pytest.approx((2 + 0 + 4) / (6 + 0 + 8))
    assert dice(found, masks) == pytest.approx(2 * (2 + 4) / (4 + 4 + 8 + 4))
    assert iou(found, masks, each=True).tolist() == pytest.approx([1 / 3, 1, 1 / 2])
    assert dice(found, masks, each=True).tolist() == pytest.approx([1 / 2, 1, 2 / 3])


def test_the_counts_of_a_mask_and_of_classes():
    assert overlap(LEFT > 0, TOP > 0) == [[2, 6]]
    found, labels = torch.tensor([[[[0, 1, 1, 2]]]]), torch.tensor([[[[0, 1, 2, 255]]]])
    assert class_counts(found, labels, 4) == [[1, 1], [1, 2], [0, 1], [0, 0]]


def test_masks_of_any_type_and_layout():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 1, 9, 7, generator=generator) > 0.5
    expected = iou(a, b), dice(a, b), boundary_f1(a, b)
    for change in (
        torch.Tensor.float,
        torch.Tensor.long,
        lambda m: m.to(torch.uint8),
        lambda m: m.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        x, y = change(a), change(b)
        assert (iou(x, y), dice(x, y), boundary_f1(x, y)) == expected
        assert (iou(x, b), dice(x, b), boundary_f1(x, b)) == expected


@pytest.mark.parametrize("metric", [iou, dice, boundary_f1])
@pytest.mark.parametrize("other", [LEFT[0], LEFT[..., :3], LEFT.expand(2, 1, 2, 4)])
def test_masks_of_different_shapes_are_not_broadcast(metric, other):
    with pytest.raises(ValueError, match=r"\(1, 1, 2, 4\).*must be \(N, 1, H, W\)"):
        metric(LEFT, other)


def test_the_choice_of_pictures_moves_the_pooled_iou(monkeypatch):
    """Against all draws of two pictures with replacement, which are four."""
    found, masks = torch.cat([LEFT, FULL]), torch.cat([TOP, FULL])
    values = torch.tensor([2 / 6, 10 / 14, 10 / 14, 1])
    expected = values.std(correction=0).item()
    with monkeypatch.context() as patch:
        patch.setattr(metrics, "DRAWS", 5000)
        assert iou_by_pictures(found, masks) == pytest.approx(expected, abs=0.01)
    assert iou_by_pictures(found, masks) == iou_by_pictures(found, masks)
    assert iou_by_pictures(found, found) == 0
    with pytest.raises(ValueError, match="0 pictures to draw from"):
        iou_by_pictures(found[:0], masks[:0])
    more = found.repeat(16, 1, 1, 1), masks.repeat(16, 1, 1, 1)
    assert iou_by_pictures(*more) == pytest.approx(expected / 4, rel=0.25)


def test_empty_sets_of_pictures_are_no_error_of_the_bootstrap():
    found, masks = torch.cat([NONE, LEFT]), torch.cat([NONE, LEFT])
    assert iou_by_pictures(found, masks) == 0


# --- boundary f1 ------------------------------------------------------------------


def square(top, left, side=5):
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., top : top + side, left : left + side] = 1
    return mask


def test_boundary_f1_of_empty_and_full():
    empty, full, one = torch.zeros(1, 1, 20, 20), torch.ones(1, 1, 20, 20), square(5, 5)
    assert math.isnan(boundary_f1(empty, empty))  # no skill shows, and no lack of it
    assert boundary_f1(full, full) == 1
    assert boundary_f1_within(0, one, one) == 1
    for other in (full, one):
        assert boundary_f1(empty, other) == boundary_f1(other, empty) == 0
    mean = boundary_f1(torch.cat([one, empty, empty]), torch.cat([one, empty, one]))
    assert mean == pytest.approx(1 / 2)


def test_boundary_f1_tolerance():
    a = square(5, 5)
    assert boundary_f1(a, square(5, 7)) == 1  # 2 px aside
    assert boundary_f1(a, square(5, 8)) < 1
    assert boundary_f1_within(3, a, square(5, 8)) == 1
    assert boundary_f1(a, square(14, 14)) == 0
    assert boundary_f1(a, square(4, 4, 7)) == 1
    assert boundary_f1_within(0, a, square(4, 4, 7)) == 0
    # The outline is a pixel wide: a filled square and its frame are the same.
    frame = a - square(6, 6, 3)
    assert boundary_f1_within(0, a, frame) == pytest.approx(2 * 16 / (16 + 16))


def test_boundary_f1_by_hand():
    """Two rows apart 1 px, tolerance 0; and precision and recall that differ."""
    a = masks_of("####", "....", "....", "....")
    b = masks_of("##..", "....", "....", "##..")
    assert boundary_f1_within(0, a, b) == pytest.approx(1 / 2)  # 2 of 4, 2 of 4
    c = masks_of("#...", "....", "....", "....")
    # All of c is on a, one of a's four is on c: F1 = 2 * 1 * 1/4 / (1 + 1/4).
    assert boundary_f1_within(0, c, a) == pytest.approx(0.4)
    assert boundary_f1_within(0, a, c) == pytest.approx(0.4)
    assert boundary_f1_within(1, a, c) == pytest.approx(2 / 3)  # 1 and 2/4


def test_the_edge_of_the_picture_is_an_outline():
    whole, all_but_frame = torch.ones(1, 1, 20, 20), square(1, 1, 18)
    assert boundary_f1(whole, all_but_frame) == 1
    assert boundary_f1_within(0.5, whole, all_but_frame) == 0


def test_volumes_are_scored():
    masks = torch.zeros(4, 1, 6, 6, 6)
    masks[..., 2:4, 2:4, 2:4] = 1
    assert iou(masks, masks, each=True).tolist() == [1] * 4
    assert boundary_f1(masks, masks.roll(1, -1)) == 1


# --- logits and thresholds --------------------------------------------------------


def test_scores_are_the_metrics_at_the_threshold():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 1, 9, 9, generator=generator)
    masks = (torch.rand(3, 1, 9, 9, generator=generator) > 0.5).float()
    for threshold in (0.5, 0.7):
        found = logits.sigmoid() > threshold
        assert scores(logits, masks, threshold) == dict(
            iou=iou(found, masks),
            dice=dice(found, masks),
            image_iou=iou(found, masks, each=True).mean().item(),
            boundary_f1=boundary_f1(found, masks),
            largest_logit=logits.max().item(),
            iou_at_half=iou(logits > 0, masks),
        )
    assert scores(logits, masks) == scores(logits, masks, 0.5)
    assert iou_at_half(logits, masks) == scores(logits, masks)["iou"]


def test_best_threshold():
    """Foreground has 0.7 or 0.3, background 0.2: between 0.2 and 0.3 all is right."""
    masks = torch.tensor([1, 1, 1, 0, 0, 0, 0.0]).reshape(1, 1, 1, 7)
    chances = torch.tensor([0.7, 0.3, 0.3, 0.2, 0.2, 0.2, 0.1]).reshape(1, 1, 1, 7)
    threshold = best_threshold(chances.logit(), masks)
    assert isinstance(threshold, float) and 0.199 < threshold < 0.3
    assert iou(chances > threshold, masks) == 1
    masks[..., 1:3] = 0  # now 0.3 is background, too
    assert 0.299 < best_threshold(chances.logit(), masks) < 0.7


def test_of_equal_thresholds_the_lowest_is_taken():
    masks = torch.ones(1, 1, 4, 4)
    assert best_threshold(masks * 9, masks) == 0.02
    assert best_threshold(masks * -9, masks * 0) == 0.02


# --- several classes --------------------------------------------------------------


def test_confusion_by_hand():
    labels = torch.tensor([[0, 0, 1], [2, 2, IGNORE]])[None, None]
    found = torch.tensor([[0, 1, 1], [2, 0, 1]])[None, None]
    expected = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    assert confusion(found, labels, 3).equal(expected)
    torch.testing.assert_close(class_iou(expected), torch.tensor([1 / 3, 1 / 2, 1 / 2]))


def one_hot(labels, classes):
    """Logits (1, K, 1, W) that say just these labels."""
    labels = torch.tensor(labels).reshape(1, 1, -1)
    return F.one_hot(labels, classes).movedim(-1, 1).float()


@pytest.mark.parametrize(
    ("found", "labels", "classes", "expected"),
    [
        ([0, 1, 0, 1], [0, 1, 0, 0], 3, (2 / 3 + 1 / 2) / 2),  # class 2 is absent
        ([0, 1], [0, 1], 10, 1),
        ([1, 1], [0, 0], 2, 0),  # found where there is none
        ([1, 1], [0, 0], 10, 0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 2, 1),
        ([0, 1, 1, 0, 1], [0, 1, 2, 0, IGNORE], 3, (1 + 1 / 2 + 0) / 3),
        ([0, 1, 2], [0, 1, IGNORE], 3, 1),  # a class that is only said where ignored
        ([1, 2, 1, 0], [2, 1, 1, IGNORE], 3, (1 / 3 + 0) / 2),
    ],
)
def test_a_class_that_nowhere_occurs_is_left_out(found, labels, classes, expected):
    labels = torch.tensor(labels).reshape(1, 1, 1, -1)
    score = mean_iou(one_hot(found, classes), labels)
    assert score == pytest.approx(expected)


def test_what_is_not_defined_is_not_scored():
    ious = class_iou(torch.diag(torch.tensor([3, 0])))
    assert ious[0] == 1 and ious[1].isnan()
    void = torch.full((1, 1, 1, 3), IGNORE)
    with pytest.raises(ValueError, match=r"all labels are 255.*no pixel is left"):
        mean_iou(one_hot([0, 1, 2], 3), void)
    with pytest.raises(ValueError, match="have one map"):
        mean_iou(torch.zeros(1, 1, 1, 3), torch.zeros(1, 1, 1, 3).long())


@pytest.mark.parametrize("metric", [iou, dice, boundary_f1, best_threshold, scores])
@pytest.mark.parametrize(
    ("masks", "told"),
    [
        (255 * LEFT.long(), "values from 0 to 255"),
        (LEFT * 0.4, "values from 0 to 0.4"),
        (LEFT * 3, "values from 0 to 3"),
        (LEFT.float() - 0.5, "values from -0.5 to 0.5"),
        (LEFT * float("nan"), "values from nan"),
    ],
)
def test_what_is_no_mask_is_refused(metric, masks, told):
    """Logits, probabilities, label maps and 0..255, where masks are meant."""
    with pytest.raises(ValueError, match=f"{told}.*no mask"):
        metric(LEFT if metric in (iou, dice, boundary_f1) else LEFT * 1.0, masks)
    if metric in (iou, dice, boundary_f1):
        with pytest.raises(ValueError, match=f"{told}.*no mask"):
            metric(masks, LEFT)


def test_label_maps_are_no_logits():
    logits = torch.tensor([[0.2, 1.7]])[None, None]
    with pytest.raises(ValueError, match="not logits"):
        confusion(logits, logits.long(), 3)
    same = torch.tensor([[0.0, 2.0]])[None, None]
    assert confusion(same, same.long(), 3).trace() == 2


def test_a_set_without_any_object_says_so():
    """Finding nothing scores 1 there, and tells nothing of a network."""
    logits, masks = torch.full((2, 1, 4, 4), -3.0), torch.zeros(2, 1, 4, 4)
    for metric in (scores, best_threshold, iou_at_best):
        with pytest.warns(UserWarning, match="no mask of this set shows anything"):
            metric(logits, masks)
    masks[0, 0, 0, 0] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores(logits, masks)


def test_mean_iou_takes_the_largest_logit_and_leaves_out_the_ignored():
    labels = torch.randint(0, 3, (2, 1, 6, 6))
    logits = F.one_hot(labels[:, 0], 3).movedim(-1, 1).float()
    assert mean_iou(logits, labels) == 1
    labels[0, 0, 0, 0] = (labels[0, 0, 0, 0] + 1) % 3
    assert mean_iou(logits, labels) < 1
    labels[0, 0, 0, 0] = IGNORE
    assert mean_iou(logits, labels) == 1


@pytest.mark.parametrize(
    ("found", "labels", "message"),
    [
        (torch.zeros(1, 4, 4), torch.zeros(1, 1, 4, 4), "keepdim=True"),
        (torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 3), "3 classes.*0 to 2"),
        (torch.full((1, 1, 4, 4), -1), torch.zeros(1, 1, 4, 4), "run from -1"),
        (torch.full((1, 1, 4, 4), 5), torch.zeros(1, 1, 4, 4), "found labels run from"),
        (torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 5), "true labels run from"),
    ],
)
def test_confusion_refuses_what_is_no_label_map(found, labels, message):
    with pytest.raises(ValueError, match=message):
        confusion(found, labels, 3)
