"""Scores of whole real pictures, what is scored without learning, and six traps.

Each score is pooled over the pictures of a test set and kept by group as well (see
helpers/groups.py). Where the object is bright or dark, what does not learn is a cut
through the grey values, for all pictures or of each, chosen on the validation pictures;
where it always lies in about the same place, it is the average mask.
"""

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import skeletonize
from torch.nn import functional as F

from helpers import groups, metrics, real

# --- found and true masks ---------------------------------------------------------


def defects(mask):
    """Of solar cells: dark, star crack or crack, and no busbar."""
    return ((mask >= 1) & (mask <= 3)).float()


def foreground(mask):
    """All that is no background."""
    return (mask > 0).float()


def truths(pictures):
    """What is to be found in each picture: bool (1, H, W), one by one."""
    thing = defects if pictures.name == "pv_el_cells" else foreground
    for _, mask in pictures:
        yield thing(mask) > 0


def answers(run, pictures, change=None):
    """What a run finds in each: the same, at its own threshold."""
    for image, _ in pictures:
        image = change(image) if change else image
        yield real.answer(run.net, image).sigmoid() > run.threshold


def pooled(name, counts, pictures):
    """A score, of counts (pictures, classes, 2), and its counts by group."""
    counts = groups.add_up(counts, pictures.groups)
    text = groups.to_text(counts)
    return {name: float(groups.score(counts)), f"{name}_by_group": text}


def iou_scores(found, pictures):
    """IoU, pooled, of masks that were found one by one."""
    counts = []
    for one, truth in zip(found, truths(pictures)):
        counts.append(metrics.overlap(one, truth))
    return pooled("iou", counts, pictures)


# --- what does not learn ----------------------------------------------------------


def stacked(pictures):
    """Grey values and masks of pictures of one size, (N, 1, H, W) each."""
    grey = [image.mean(0, keepdim=True) for image, _ in pictures]
    return torch.stack(grey), torch.stack(list(truths(pictures)))


def own_cut(grey):
    """Each picture (1, H, W) cut where its values part best (Otsu 1979): bool."""
    return torch.stack([one > threshold_otsu(one.numpy()) for one in grey])


def by_brightness(sets):
    """A cut through the grey values, bright or dark, as is best in validation.

    One cut for all pictures, or each picture's own.
    """
    images, masks = stacked(sets.validation)
    views = {"bright": images, "dark": 1 - images}
    scores = {}
    for side, view in views.items():
        scores[side, "one"] = metrics.iou_at_best(view.logit(1e-4), masks)
        scores[side, "own"] = metrics.iou(own_cut(view), masks)
    side, which = max(scores, key=scores.get)
    cut = metrics.best_threshold(views[side].logit(1e-4), masks)
    for image, _ in sets.test:
        grey = image.mean(0, keepdim=True)
        view = 1 - grey if side == "dark" else grey
        yield view > cut if which == "one" else own_cut(view[None])[0]


def of_size(pictures, size):
    """The masks of the pictures that have this size, (N, *size)."""
    masks = [mask for mask in truths(pictures) if mask.shape == size]
    return torch.stack(masks).float()


def by_place(sets):
    """The average mask, cut where it does best, for all pictures."""
    usual = sets.train[0][1].shape
    mean = of_size(sets.train, usual).mean(0, keepdim=True)
    known = of_size(sets.validation, usual)
    same = mean.logit(1e-4).expand(len(known), *usual)
    shape = (mean > metrics.best_threshold(same, known)).float()
    for _, mask in sets.test:
        yield F.interpolate(shape, mask.shape[1:])[0] > 0


@lru_cache(2)
def guesses(name):
    """What is found in a set's test pictures without learning: a list."""
    placed = name in ("hc18", "hippocampus")
    guess = by_place if placed else by_brightness
    return list(guess(real.load(name)))


def all_marked(pictures):
    """The IoU of marking every pixel."""
    everything = [torch.ones_like(mask) for mask in truths(pictures)]
    return iou_scores(everything, pictures)


@lru_cache(2)
def of_guesses(name, scores):
    """The scores of the guess on a set."""
    return scores(guesses(name), real.load(name).test)


def learned(run, test, scores):
    """A row of a trial: the scores of a run, such as `nuclei_scores`."""
    return scores(answers(run, test), test)


def unlearned(run, test, scores):
    """The scores of the guess; with them the numbers of the set's trap."""
    return of_guesses(test.name, scores) | TRAPS[test.name](test)


# --- traps in numbers -------------------------------------------------------------


def touching(nuclei):
    """How many nuclei there are, and which share of them touches another one."""
    touch = there = 0
    for labels in nuclei.labels:
        numbers = labels.numpy().astype(int)
        filled = np.where(numbers > 0, numbers, numbers.max() + 1)
        highest = ndimage.maximum_filter(numbers, 3)
        lowest = ndimage.minimum_filter(filled, 3)
        edges = (numbers > 0) & (highest != lowest)
        touch += len(np.unique(numbers[edges]))
        there += len(np.unique(numbers[numbers > 0]))
    return {"nuclei": there, "touching nuclei": touch / there}


def class_shares(pictures):
    """Share of each class in all pixels."""
    names = real.FACTS[pictures.name]["classes"]
    shares = zip(names, pictures.shares())
    return {f"share of {name}": share for name, share in shares}


def unlabelled(streets):
    """Share of the pixels that nobody labelled."""
    ignored = [(labels == metrics.IGNORE).float() for labels in streets.labels]
    return {"ignored": torch.stack(ignored).mean().item()}


def brightness_units(brains):
    """The lowest and the highest of the volumes' highest values."""
    tops = brains.tops
    return {"lowest maximum": min(tops), "highest maximum": max(tops)}


def likeness(slices):
    """Correlation of a slice with the next one, and with the fourth."""
    found = {}
    for apart in (1, 4):
        pairs = zip(slices.images, slices.images[apart:])
        values = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs]
        found[f"correlation {apart} apart"] = float(np.mean(values))
    return found


TRAPS = {
    "dsb2018": touching, "hc18": class_shares, "pv_el_cells": class_shares,
    "isbi_em": likeness, "camvid": unlabelled, "hippocampus": brightness_units,
}  # fmt: skip


# --- scores that fit the object ---------------------------------------------------


def matches(found, numbers):
    """Of nuclei: twice those found, and all that are marked in either (for F1).

    One is found where a component overlaps it with an IoU above 0.5; there can be only
    one. `found` is bool (H, W), `numbers` int (H, W), 0 between the nuclei.
    """
    components, n = ndimage.label(found)
    true = numbers.max()
    pairs = components.astype(int) * (true + 1) + numbers
    both = np.bincount(pairs.ravel(), minlength=(n + 1) * (true + 1))
    both = both.reshape(n + 1, true + 1)
    either = both.sum(1, keepdims=True) + both.sum(0) - both
    right = both[1:, 1:] / np.maximum(either[1:, 1:], 1) > 0.5
    there = len(np.unique(numbers[numbers > 0]))
    return [[2 * right.sum(), n + there]]


def nuclei_scores(found, pictures):
    """IoU, and F1 of nuclei."""
    found, counts = list(found), []
    for one, numbers in zip(found, pictures.labels):
        counts.append(matches(one[0].numpy(), numbers.numpy().astype(int)))
    return iou_scores(found, pictures) | pooled("f1", counts, pictures)


def head_scores(found, pictures):
    """IoU by examination, and the outline."""
    found, outlines = list(found), []
    for one, truth in zip(found, truths(pictures)):
        outlines.append(metrics.boundary_f1(one[None], truth[None]))
    row = iou_scores(found, pictures)
    return row | dict(boundary_f1=float(np.mean(outlines)))


def cell_scores(found, pictures):
    """IoU of all defects by module; the share that was found of each kind."""
    found, hits, there = list(found), np.zeros(5), np.zeros(5)
    for one, (_, mask) in zip(found, pictures):
        hits += np.bincount(mask[one], minlength=5)
        there += np.bincount(mask.flatten(), minlength=5)
    row = iou_scores(found, pictures)
    for kind in (1, 2, 3):
        name = real.FACTS["pv_el_cells"]["classes"][kind]
        row[f"{name} found"] = hits[kind] / max(there[kind], 1)
    return row


def cl_dice(found, truth):
    """Centre lines inside the other mask, both ways (Shit et al. 2021)."""
    lines = skeletonize(found), skeletonize(truth)
    precision = truth[lines[0]].mean() if lines[0].any() else 0
    recall = found[lines[1]].mean() if lines[1].any() else 0
    return 2 * precision * recall / max(precision + recall, 1e-9)


def membrane_scores(found, pictures):
    """IoU of the membranes, and how much of their lines is in one piece."""
    found, lines = list(found), []
    for one, truth in zip(found, truths(pictures)):
        lines.append(cl_dice(one[0].numpy(), truth[0].numpy()))
    row = iou_scores(found, pictures)
    return row | dict(cl_dice=float(np.mean(lines)))


def brain_scores(found, pictures):
    """Dice of each subject, and the IoU of all."""
    found, counts = list(found), []
    for one, truth in zip(found, truths(pictures)):
        counts.append([[metrics.dice(one[None], truth[None]), 1]])
    row = pooled("dice", counts, pictures)
    return row | dict(iou=iou_scores(found, pictures)["iou"])


# --- several classes --------------------------------------------------------------

STREETS = len(real.FACTS["camvid"]["classes"])
CELLS = len(real.FACTS["pv_el_cells"]["classes"])
KINDS = [1, 2, 3]  # of the classes of a cell, those that are defects


def classes_of(run, pictures, classes):
    """Counts of each class in each whole picture."""
    counts = []
    for image, labels in pictures:
        found = real.answer(run.net, image).argmax(0, keepdim=True)
        counts.append(metrics.class_counts(found, labels, classes))
    return counts


@lru_cache(1)
def most_frequent():
    """The score of the class that each place of the street mostly has."""
    streets = real.load("camvid")
    often = torch.zeros(STREETS, *streets.train[0][1].shape[1:])
    for _, labels in streets.train:
        for k in range(STREETS):
            often[k] += labels[0] == k
    guess, counts = often.argmax(0, keepdim=True), []
    for _, labels in streets.test:
        counts.append(metrics.class_counts(guess, labels, STREETS))
    return pooled("mean_iou", counts, streets.test)


def street_without(run, test):
    """The scores of the guess; with them the numbers of the set's trap."""
    return most_frequent() | unlabelled(test)


@lru_cache(1)
def seen_street():
    """The frames that go on with a street of the training."""
    return real.Pictures("camvid", real.divided("camvid", "leaky")["test"])


def street_scores(run, test):
    """Mean IoU and each class's, on an unseen street and on a seen one."""
    counts = np.array(classes_of(run, test, STREETS), float)
    row = pooled("mean_iou", counts, test)
    for k, name in enumerate(real.FACTS["camvid"]["classes"]):
        row[name] = float(groups.score(counts[:, [k]]))
    counts = np.array(classes_of(run, seen_street(), STREETS), float)
    row["seen_street"] = float(groups.score(counts))
    return row


@lru_cache(1)
def one_kind(test):
    """The score of naming one kind of defect for every pixel, the best of the three."""
    rows = []
    for k in KINDS:
        counts = []
        for _, labels in test:
            guess = torch.full_like(labels, k)
            counts.append(metrics.class_counts(guess, labels, CELLS))
        counts = np.array(counts, float)[:, KINDS]
        rows.append(pooled("mean_iou", counts, test))
    return max(rows, key=lambda row: row["mean_iou"])


def one_kind_scores(run, test):
    """The same, as `evaluate` of a trial's arm that does not learn."""
    return one_kind(test)


def kinds_scores(run, test):
    """Mean IoU of the three kinds of defects, by module; and each class's."""
    counts = np.array(classes_of(run, test, CELLS), float)
    row = pooled("mean_iou", counts[:, KINDS], test)
    for k, name in enumerate(real.FACTS["pv_el_cells"]["classes"]):
        row[name] = float(groups.score(counts[:, [k]]))
    return row
