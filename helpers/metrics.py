"""How well a mask was found: the scores of the book, and the threshold to cut at.

Found and true masks are (N, 1, H, W), or (N, 1, D, H, W) for volumes, bool or numbers
that are all 0 or 1; label maps of K classes are int64 of the same shape, 0 to K - 1 and
IGNORE. Anything else, such as logits or probabilities, raises a ValueError.
"""

import math
import warnings

import torch
from scipy import ndimage

IGNORE = 255  # the label of pixels that are neither trained on nor scored
THRESHOLDS = torch.linspace(0.02, 0.98, 49)
CUTS = [round(cut, 2) for cut in THRESHOLDS.tolist()]  # the same, rounded
TOLERANCE = 2  # px between two outlines that agree
DRAWS = 200  # sets of pictures, of the bootstrap


def iou(found, masks, each=False):
    """Intersection over union of two sets of masks; empty against empty is 1.

    Pooled over the whole set (float), or with `each` one value per image (N,).
    """
    both, union = _areas(found, masks, each)
    value = torch.where(union > 0, both / union.clamp(min=1), 1.0)
    return value if each else value.item()


def iou_by_pictures(found, masks):
    """How much the pooled IoU depends on which pictures were tested: a deviation.

    Standard deviation of the pooled IoU over 200 sets of as many pictures, drawn
    with replacement from these (the bootstrap); the same pictures at every call.
    Raises ValueError where there is no picture.
    """
    both, union = _areas(found, masks, each=True)
    if not len(both):
        raise ValueError("0 pictures to draw from; hand over at least 1")
    random = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(both), (DRAWS, len(both)), generator=random)
    both, union = both[drawn].sum(1), union[drawn].sum(1)
    return torch.where(union > 0, both / union.clamp(min=1), 1.0).std().item()


def overlap(found, truth):
    """Pixels in both of two bool masks and in either, for the IoU: [[both, either]]."""
    return [[(found & truth).sum().item(), (found | truth).sum().item()]]


def dice(found, masks, each=False):
    """2 x intersection over the sum of both areas (F1 of the pixels); empty is 1."""
    both, union = _areas(found, masks, each)
    value = torch.where(union > 0, 2 * both / (both + union).clamp(min=1), 1.0)
    return value if each else value.item()


def iou_at_half(logits, masks):
    """Pooled IoU of logits (N, 1, H, W) at the threshold 0.5, which is logit 0."""
    return iou(logits > 0, masks)


def boundary_f1(found, masks):
    """F1 score of the outlines: the share of each within 2 px of the other.

    Mean over the images (float) in which at least one of the two has an outline, since
    marking nothing where nothing is shows no skill; NaN where there is none. One empty
    mask scores 0. Source: Csurka et al., What is a good evaluation measure for semantic
    segmentation? (2013).
    """
    found, masks = _binary(found, masks)
    values = []
    for a, b in zip(found.numpy(), masks.numpy()):
        if a.any() or b.any():
            values.append(_outline_f1(a[0], b[0]))
    return sum(values) / len(values) if values else math.nan


def scores(logits, masks, threshold=0.5):
    """Scores of logits (N, 1, H, W) against masks, where probability > threshold.

    Returns a dict: iou and dice (pooled over all pixels of the set), image_iou (mean
    over images), boundary_f1 (mean over images), largest_logit, iou_at_half (at the
    threshold 0.5, whatever the other one is). Warns if no mask shows anything: such a
    set scores 1 where nothing is found, and tells no network from another.
    """
    _warn_of_empty(masks)
    found = logits.sigmoid() > threshold
    return dict(
        iou=iou(found, masks),
        dice=dice(found, masks),
        image_iou=iou(found, masks, each=True).mean().item(),
        boundary_f1=boundary_f1(found, masks),
        largest_logit=logits.max().item(),
        iou_at_half=iou_at_half(logits, masks),
    )


def best_threshold(logits, masks):
    """The probability threshold with the highest pooled IoU. Use validation data.

    The lowest of THRESHOLDS where several are best. Warns if no mask shows anything.
    """
    return CUTS[_iou_at_thresholds(logits, masks).argmax()]


def iou_at_best(logits, masks):
    """Pooled IoU of logits (N, 1, H, W) at the threshold that is best for it.

    A score for `training.fit` where networks may be far from probability 0.5.
    """
    return _iou_at_thresholds(logits, masks).max().item()


def level_counts(p, truth):
    """How many of THRESHOLDS each pixel exceeds, and the pixels counted by that.

    A pixel that exceeds k thresholds is foreground at the first k of them, so one count
    serves all. `p` are probabilities, `truth` is bool of the same shape. Returns the
    levels, in that shape, and the counts (2, thresholds + 1) of true and of all pixels,
    which add up over pictures.
    """
    levels = torch.bucketize(p, THRESHOLDS.to(p.dtype))
    bins = len(THRESHOLDS) + 1
    hits = torch.bincount(levels[truth], minlength=bins)
    marks = torch.bincount(levels.flatten(), minlength=bins)
    return levels, torch.stack([hits, marks])


def iou_of_levels(counts):
    """Pooled IoU at each of THRESHOLDS, of the counts of `level_counts`."""
    # From the highest level down: what is still marked at each threshold.
    hits, marks = counts.flip(1).cumsum(1).flip(1)[:, 1:]
    union = marks + counts[0].sum() - hits
    return torch.where(union > 0, hits / union.clamp(min=1), 1.0)


# --- several classes --------------------------------------------------------------


def confusion(found, labels, classes):
    """Pixels of true class i that were called j: an int64 matrix (classes, classes).

    `found` and `labels` are label maps of equal shape; IGNORE is left out. Raises
    ValueError for other shapes and for a label that is no class.
    """
    if found.shape != labels.shape:
        raise ValueError(
            f"label maps of shape {tuple(found.shape)} and {tuple(labels.shape)} "
            "cannot be compared; take the argmax over the channels, with keepdim=True"
        )
    for labelled in (found, labels):
        if labelled.is_floating_point() and (labelled != labelled.round()).any():
            raise ValueError(
                "label maps hold class numbers, not logits or probabilities: take the "
                "argmax over the channels, with keepdim=True"
            )
    counted = labels != IGNORE
    found, labels = found[counted].long(), labels[counted].long()
    must_be_classes("found labels", found, classes)
    must_be_classes("true labels", labels, classes)
    pairs = torch.bincount(labels * classes + found, minlength=classes**2)
    return pairs.reshape(classes, classes)


def must_be_classes(name, labels, classes):
    """ValueError unless labels (n,), called `name`, are numbers of so many classes.

    Those of pixels to ignore must be left out already.
    """
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"{name} run from {labels.min()} to {labels.max()}; {classes} classes have "
            f"the labels 0 to {classes - 1}, and {IGNORE} in a true map means: ignore"
        )


def class_counts(found, labels, classes):
    """Pixels of each class in both label maps and in either: [[both, either], ...].

    What is IGNORE is left out. Raises ValueError as `confusion` does.
    """
    both, either = _areas_of_classes(confusion(found, labels, classes))
    return torch.stack([both, either], dim=1).tolist()


def class_iou(matrix):
    """IoU of each class (classes,), of a confusion matrix; NaN if it nowhere occurs."""
    both, union = _areas_of_classes(matrix)
    return torch.where(union > 0, both / union.clamp(min=1), math.nan)


def mean_iou(logits, labels):
    """Mean over the classes of the pooled IoU: "mean IU" of the FCN paper, section 5.

    Logits (N, K, H, W), label maps (N, 1, H, W). Returns a float. A class that occurs
    neither in the labels nor in the answer is left out of the mean. Raises ValueError
    for a single map, which has no classes to choose from, and if all is IGNORE.
    """
    if logits.shape[1] < 2:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} have one map: the mean IoU takes "
            "two classes or more; for one map take iou(logits > 0, masks)"
        )
    matrix = confusion(logits.argmax(1, keepdim=True), labels, logits.shape[1])
    if not matrix.any():
        raise ValueError(
            f"all labels are {IGNORE}, which means ignore: no pixel is left to score"
        )
    each = class_iou(matrix)
    return each[~each.isnan()].mean().item()


# --- small things -----------------------------------------------------------------


def _iou_at_thresholds(logits, masks):
    """Pooled IoU at each of THRESHOLDS."""
    _, masks = _binary(logits > 0, masks)
    _warn_of_empty(masks)
    _, counts = level_counts(logits.sigmoid(), masks)
    return iou_of_levels(counts)


def _areas(found, masks, each):
    """Pixels in both masks and in either: of the whole set, or (N,) of each image."""
    found, masks = _binary(found, masks)
    axes = tuple(range(int(each), found.ndim))
    return (found & masks).sum(axes), (found | masks).sum(axes)


def _areas_of_classes(matrix):
    """Pixels in both and in either, of each class of a confusion matrix."""
    both = matrix.diag()
    return both, matrix.sum(0) + matrix.sum(1) - both


def _binary(found, masks):
    """Both masks as bool; ValueError for unequal shapes and for what is no mask."""
    if found.shape != masks.shape or found.ndim not in (4, 5):
        raise ValueError(
            f"masks of shape {tuple(found.shape)} and {tuple(masks.shape)} cannot be "
            "compared; both must be (N, 1, H, W), or (N, 1, D, H, W) for volumes"
        )
    return _as_bool(found), _as_bool(masks)


def _as_bool(mask):
    """A mask as bool; ValueError for logits, probabilities, label maps, 0..255."""
    marked = mask.bool()
    if mask.dtype != torch.bool and (mask != marked).any():
        low, high = mask.min().item(), mask.max().item()
        raise ValueError(
            f"values from {low:.4g} to {high:.4g} are no mask, which is bool or all 0 "
            "and 1: cut logits or probabilities (logits.sigmoid() > threshold), take "
            f"label maps class by class (labels == k), leave out what is {IGNORE}"
        )
    return marked


def _warn_of_empty(masks):
    """Warn whoever called the caller where no mask shows anything."""
    if not masks.any():
        warnings.warn(
            "no mask of this set shows anything: finding nothing scores 1, and no "
            "threshold is better than another",
            stacklevel=3,
        )


def _outline_f1(a, b):
    """Boundary F1 of two bool arrays (H, W) or (D, H, W); 0 if one is empty."""
    if not a.any() or not b.any():
        return 0.0
    a = a & ~ndimage.binary_erosion(a, border_value=0)
    b = b & ~ndimage.binary_erosion(b, border_value=0)
    precision = (ndimage.distance_transform_edt(~b)[a] <= TOLERANCE).mean()
    recall = (ndimage.distance_transform_edt(~a)[b] <= TOLERANCE).mean()
    return 2 * precision * recall / max(precision + recall, 1e-9)
