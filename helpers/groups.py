"""How much a comparison depends on who was tested: scores by groups of test pictures.

Many seeds on one test set do not replicate the data. Pictures of one patient, one solar
module or one street are alike, so what is drawn anew is the whole group. Each pooled
score is a ratio of two sums (IoU: pixels in both masks over pixels in either; F1: twice
the hits over all marks), and a run keeps both numbers for each group and class: its
counts, an array (groups, classes, 2).
"""

from typing import NamedTuple

import numpy as np


class Error(NamedTuple):
    """A standard error, and the degrees of freedom that it is known by."""

    size: float
    freedom: float


NONE = Error(0, 1)
DRAWS = 1000  # of groups, of the bootstrap


def add_up(counts, names):
    """Counts (pictures, classes, 2) added up by group, in the order of their names.

    `names` are the groups that the pictures belong to. Returns (groups, classes, 2).
    """
    total = {}
    for name, own in zip(names, counts):
        total[name] = total.get(name, 0) + np.asarray(own, float)
    return np.stack([total[name] for name in sorted(total)])


def score(counts):
    """The pooled score: the mean over the classes of one sum over the other.

    `counts` (..., groups, classes, 2); returns (...,), or a float. A class that neither
    was there nor was found is left out; where that is so of all, the score is NaN.
    """
    return of_sums(counts.sum(axis=-3))


def of_sums(sums):
    """The same of what the groups add up to, (..., classes, 2)."""
    each = ratios(sums)
    there = ~np.isnan(each)
    total = np.where(there, each, 0).sum(axis=-1)
    return np.where(there.any(axis=-1), total / np.maximum(there.sum(-1), 1), np.nan)


def ratios(sums):
    """One sum over the other, of (..., 2); NaN where the second is 0."""
    above, below = np.moveaxis(sums, -1, 0)
    return np.where(below > 0, above / np.maximum(below, 1), np.nan)


def error(*arms):
    """The Error, from the choice of the test groups, of a score or of a gain.

    An arm is an array of counts (seeds, groups, classes, 2), all of the same groups.
    Of two arms it is the first one's gain over the second; of four, of that gain less
    the fourth's over the third. Groups are drawn with replacement, alike for all arms
    and at each call: the bootstrap, whose square divides by the number of groups where
    Student's divides by one less. One group tells nothing of others: NONE.
    """
    groups = arms[0].shape[1]
    if groups == 1:
        return NONE
    chances = np.full(groups, 1 / groups)
    often = np.random.default_rng(0).multinomial(groups, chances, size=DRAWS)
    means = np.zeros(DRAWS)
    for k, arm in enumerate(arms):  # each group as often as it is drawn
        sums = np.einsum("dg,sgcn->dscn", often, arm)
        means += (-1) ** k * of_sums(sums).mean(axis=1)
    fewer = np.sqrt(groups / (groups - 1))
    return Error(float(np.nanstd(means, ddof=1) * fewer), groups - 1)


def to_text(counts):
    """Counts (groups, classes, 2) for a table's column: '12/30,0/4 7/9,1/1'."""
    groups = []
    for of_group in counts:
        classes = []
        for above, below in of_group:
            classes.append(f"{above:.7g}/{below:.7g}")
        groups.append(",".join(classes))
    return " ".join(groups)


def from_text(text):
    """The counts (groups, classes, 2) that `to_text` wrote."""
    groups = []
    for of_group in text.split():
        classes = []
        for pair in of_group.split(","):
            classes.append(pair.split("/"))
        groups.append(classes)
    return np.array(groups, float)
