"""How well a model does on whole pictures, each by itself, and how sure that is.

A picture's counts are two numbers for each class: pixels in both answer and truth, and
pixels in either. All scores are ratios of their sums. Their intervals come from the
bootstrap: pictures (or, if they are grouped, objects) are drawn anew, with replacement.
"""

import numpy as np
import torch

from helpers import groups, metrics
from helpers.app.segment import answer

DRAWS = 1000
BINS = 10  # of the calibration curve
FEW = 3  # pictures or objects, below which an interval says nothing
# What `measure` returns.
SCORES = ("threshold", "iou", "interval", "classes", "pictures", "thresholds",
          "calibration")  # fmt: skip


def measure(net, configuration, samples, names, objects):
    """Scores of a model on whole pictures: a dict of plain values, for a file.

    `samples` are pairs of image and mask (or label map), `names` and `objects` what
    they are called and show. Where `configuration` has no threshold (yet), masks of one
    object are cut where the pooled IoU of these very pictures is best.

    Returns dict(threshold, iou, interval, classes, pictures, thresholds, calibration):
    `classes` and `pictures` are lists of dicts, the last two curves, lists of points.
    """
    several = configuration["classes"] > 1
    curves, levels, counts, rows = Curves(), [], [], []
    for image, mask in each(samples):
        logits = answer(net, image, configuration)
        if several:
            curves.add_classes(logits, mask)
            found = logits.argmax(0, keepdim=True)
            counts.append(metrics.class_counts(found, mask, len(logits)))
        else:
            levels.append(curves.add(logits, mask))
    threshold = None
    if not several:
        number = curves.number(configuration.get("threshold"))
        threshold = metrics.CUTS[number]
        for level, (_, mask) in zip(levels, each(samples)):
            found = (level > number)[None]
            counts.append(metrics.overlap(found, mask[None].bool()))
            row = {}
            if mask.ndim == 3:
                edge = metrics.boundary_f1(found, mask[None])
                row["boundary_f1"] = None if np.isnan(edge) else edge  # JSON has no NaN
            rows.append(row)
    counts = np.array(counts, float)
    pictures = []
    for k, name in enumerate(names):
        row = dict(name=name, object=str(objects[k]), iou=score(counts[k : k + 1]))
        pictures.append(row | (rows[k] if rows else {}))
    return dict(
        threshold=threshold, **summary(counts, objects), pictures=pictures,
        thresholds=curves.ious(), calibration=curves.calibration(),
    )  # fmt: skip


def each(samples):
    """The items of a data set, one after the other."""
    for index in range(len(samples)):
        yield samples[index]


def kind(count):
    """What the score of masks with so many classes is called."""
    return "IoU" if count == 1 else "mean IoU"


def score(counts):
    """Pooled IoU of counts (pictures, classes, 2), the mean of the classes that occur.

    One class that occurs nowhere and is found nowhere: 1 (masks of one object), as in
    `metrics.iou`; of several: None.
    """
    value = float(groups.score(counts))
    if np.isnan(value):
        return 1.0 if counts.shape[1] == 1 else None
    return value


def summary(counts, objects):
    """dict(iou, interval, classes) of counts (pictures, classes, 2)."""
    total = groups.add_up(counts, objects)
    n = len(total)
    often = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=DRAWS)
    drawn = np.einsum("dg,gkc->dkc", often, total)  # each as often as it is drawn
    pooled, by_class = groups.of_sums(drawn), groups.ratios(drawn)
    if total.shape[1] == 1:
        pooled = np.nan_to_num(pooled, nan=1.0)  # as in `score`
    classes = []
    for own, column in zip(groups.ratios(total.sum(axis=0)), by_class.T):
        value = None if np.isnan(own) else float(own)
        classes.append(dict(iou=value, interval=interval(column, n)))
    return dict(iou=score(total), interval=interval(pooled, n), classes=classes)


def interval(values, n):
    """[2.5 %, 97.5 %] of drawn scores; None of less than three objects."""
    values = values[~np.isnan(values)]
    if n < FEW or not len(values):
        return None
    return np.percentile(values, [2.5, 97.5]).tolist()


class Curves:
    """What is added up over pictures: IoU at each threshold, and the calibration."""

    def __init__(self):
        bins = len(metrics.THRESHOLDS) + 1
        self.counts = torch.zeros(2, bins, dtype=torch.int64)  # `metrics.level_counts`
        self.sums = np.zeros((BINS, 3))  # pixels, their probabilities, those right

    def add(self, logits, mask):
        """Add a picture with one object; return how many thresholds pixels exceed."""
        p, truth = logits.sigmoid(), mask.bool()
        levels, counts = metrics.level_counts(p, truth)
        self.counts += counts
        self.calibrate(p.flatten(), truth.flatten())
        return levels.byte()  # all pictures' are kept

    def add_classes(self, logits, labels):
        """Add a picture of several classes: of the class that was chosen."""
        p, found = logits.softmax(0).max(0)
        counted = labels[0] != metrics.IGNORE
        right = found[counted] == labels[0][counted]
        self.calibrate(p[counted], right)

    def calibrate(self, p, right):
        """Add pixels: the probability of each, and whether it was right (both (n,))."""
        which = (p * BINS).long().clamp(max=BINS - 1).numpy()
        weights = np.ones(len(which)), p.double().numpy(), right.double().numpy()
        for k, each in enumerate(weights):
            self.sums[:, k] += np.bincount(which, each, BINS)

    def values(self):
        """Pooled IoU at each threshold."""
        return metrics.iou_of_levels(self.counts)

    def number(self, threshold):
        """Which of THRESHOLDS is the stated one, or the best one."""
        if threshold is None:
            return int(self.values().argmax())
        return int((metrics.THRESHOLDS - threshold).abs().argmin())

    def ious(self):
        """[[threshold, pooled IoU]]; empty for several classes."""
        if not self.counts.any():
            return []
        points = []
        for threshold, value in zip(metrics.CUTS, self.values()):
            points.append([threshold, value.item()])
        return points

    def calibration(self):
        """[[mean probability, share that is right, pixels]] of the bins with pixels."""
        points = []
        for pixels, p, right in self.sums.tolist():
            if pixels:
                points.append([p / pixels, right / pixels, int(pixels)])
        return points
