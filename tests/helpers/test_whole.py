import numpy as np
import pytest
import torch

from helpers import groups, metrics, probes, real, whole
from helpers.data import Sets


class Few(torch.utils.data.Dataset):
    """Stands for some pictures of a set: squares on a dark ground."""

    def __init__(self, name="hc18", bright=0.9, places=(0, 0, 8)):
        self.name, self.groups = name, ["a", "a", "b"]
        self.items, self.labels = [], []
        for place in places:
            mask = torch.zeros(1, 16, 16)
            mask[:, place : place + 8, 4:12] = 1
            self.items.append(((0.2 + (bright - 0.2) * mask).expand(3, -1, -1), mask))
            self.labels.append(mask[0].to(torch.int16))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_iou_is_pooled_and_kept_by_group():
    pictures = Few()
    found = [truth.clone() for truth in whole.truths(pictures)]
    found[2][:] = False
    row = whole.iou_scores(found, pictures)
    assert row["iou"] == pytest.approx(2 / 3)
    assert row["iou_by_group"] == "128/128 0/64"
    assert groups.score(groups.from_text(row["iou_by_group"])) == row["iou"]


@pytest.mark.parametrize("bright", [0.9, 0.05])
def test_one_cut_finds_what_is_bright_or_dark(bright):
    pictures = Few("isbi_em", bright)
    found = list(whole.by_brightness(Sets(pictures, pictures, pictures)))
    assert whole.iou_scores(found, pictures)["iou"] == 1


def test_a_picture_s_own_cut_does_not_mind_the_light():
    images, _ = probes.nuclei(20).tensors
    grey = images.mean(1, keepdim=True)
    cut = whole.own_cut(grey)
    assert 0.02 < cut.float().mean() < 0.98
    assert (cut != whole.own_cut(0.3 * grey)).float().mean() < 1e-3


def test_the_average_mask_knows_the_place_alone():
    usual, other = Few(places=(0, 0, 0)), Few(places=(0, 8, 8))
    found = list(whole.by_place(Sets(usual, usual, other)))
    assert whole.iou_scores(found, other)["iou"] == pytest.approx(64 / (5 * 64))


def test_nuclei_are_matched_one_to_one():
    numbers = np.zeros((12, 12), int)
    numbers[1:5, 1:5], numbers[1:5, 6:10], numbers[8:10, 8:10] = 1, 2, 7
    found = numbers > 0
    assert whole.matches(found, numbers) == [[6, 6]]
    found[1:5, 5] = True  # a bridge makes one of two
    assert whole.matches(found, numbers) == [[2, 5]]
    assert whole.matches(np.zeros_like(found), numbers) == [[0, 3]]
    assert whole.matches(found, np.zeros_like(numbers)) == [[0, 2]]


def test_a_broken_line_costs_centre_line_dice_more_than_width():
    line = np.zeros((20, 40), bool)
    line[9:12, 2:38] = True
    broken, wide = line.copy(), line.copy()
    broken[:, 15:25] = False
    wide[8:13, 2:38] = True
    assert whole.cl_dice(line, line) == 1
    assert whole.cl_dice(broken, line) < 0.9 < whole.cl_dice(wide, line)
    assert whole.cl_dice(np.zeros_like(line), line) == 0


def test_counts_of_classes_give_their_iou():
    found, labels = torch.tensor([[[0, 1, 1, 2]]]), torch.tensor([[[0, 1, 2, 255]]])
    counts = np.array([metrics.class_counts(found, labels, 3)])
    matrix = metrics.confusion(found, labels, 3)
    expected = metrics.class_iou(matrix).nanmean().item()
    assert groups.score(counts) == pytest.approx(expected)


def test_touching_nuclei_are_counted():
    pictures = Few()
    numbers = torch.zeros(12, 12, dtype=torch.int16)
    numbers[1:5, 1:5], numbers[1:5, 5:9], numbers[8:10, 8:10] = 1, 2, 7
    pictures.labels = [numbers]
    assert whole.touching(pictures) == {"nuclei": 3, "touching nuclei": 2 / 3}


SCORES = {
    "pv_el_cells": whole.cell_scores, "dsb2018": whole.nuclei_scores,
    "hc18": whole.head_scores, "hippocampus": whole.brain_scores,
    "isbi_em": whole.membrane_scores,
}  # fmt: skip


@pytest.mark.parametrize("name", SCORES)
def test_the_truth_has_the_full_score(name):
    with real.drawn(6):
        test = real.load(name).test
    row = SCORES[name](whole.truths(test), test)
    if name == "dsb2018":
        assert row["f1"] == 0  # all nuclei touch there: in a mask they are one
        del row["f1"]
    scores = [row[key] for key in row if not key.endswith("_by_group")]
    assert len(scores) >= 1 and np.allclose(scores, 1)


def test_every_set_has_its_guess_and_its_trap():
    for name in real.FACTS:
        with real.drawn(6):
            test = real.load(name).test
            assert all(np.isfinite(list(whole.TRAPS[name](test).values())))
            if name != "camvid":
                whole.guesses.cache_clear()
                assert len(whole.guesses(name)) == len(test)
    whole.guesses.cache_clear()


def test_naming_one_kind_everywhere_scores_its_share_over_the_kinds_there_are():
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[0, 0] = 2  # four pixels of sixteen
    labels[0, 1, 0] = 3
    pictures = Few(places=())
    pictures.items, pictures.groups = [(None, labels)], ["a"]
    row = whole.one_kind(pictures)
    assert row["mean_iou"] == pytest.approx(4 / 16 / 2)
    assert groups.score(groups.from_text(row["mean_iou_by_group"])) == row["mean_iou"]
