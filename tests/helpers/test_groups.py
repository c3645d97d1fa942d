import numpy as np
import pytest
from scipy import stats

from helpers import groups, verdicts

COUNTS = np.array([[[1, 2], [0, 0]], [[3, 4], [1, 5]]])  # 2 groups of 2 classes


def test_a_score_pools_the_groups_and_averages_the_classes():
    assert groups.score(COUNTS) == pytest.approx((4 / 6 + 1 / 5) / 2)
    several = np.stack([COUNTS, 2 * COUNTS])
    assert groups.score(several) == pytest.approx([(4 / 6 + 1 / 5) / 2] * 2)


def test_a_class_that_is_nowhere_is_left_out():
    assert groups.score(COUNTS[:1]) == 1 / 2
    assert np.isnan(groups.score(COUNTS[:1, 1:]))


def test_a_ratio_of_what_is_nowhere_is_none():
    found = groups.ratios(COUNTS)
    assert np.array_equal(found, [[1 / 2, np.nan], [3 / 4, 1 / 5]], equal_nan=True)


def test_pictures_of_a_group_are_added_up():
    counts = [[[1, 2]], [[3, 4]], [[5, 6]]]
    added = groups.add_up(counts, ["b", "a", "b"])
    assert np.array_equal(added, [[[3, 4]], [[6, 8]]])


def test_text_and_back():
    text = groups.to_text(COUNTS)
    assert text == "1/2,0/0 3/4,1/5"
    assert np.array_equal(groups.from_text(text), COUNTS)


def arms(rng, spread, n=40):
    """Two arms, one seed: hits of 100 in each group, better by 5 to 5 + spread."""
    hits = rng.integers(20, 60, n)
    more = hits + 5 + rng.integers(0, spread + 1, n)
    hundred = np.full(n, 100)
    pair = np.stack([more, hundred], -1), np.stack([hits, hundred], -1)
    return [arm[None, :, None] for arm in pair]


def test_the_error_is_that_of_the_mean_over_groups():
    better, worse = arms(np.random.default_rng(1), 30)
    gain = (better - worse)[0, :, 0, 0] / 100
    expected = gain.std(ddof=1) / np.sqrt(len(gain))
    found = groups.error(better, worse)
    assert found.size == pytest.approx(expected, rel=0.1)
    assert found.freedom == len(gain) - 1


def test_of_few_groups_it_is_no_smaller_than_student_says():
    arm = np.array([[50, 100], [70, 100], [60, 100]])[None, :, None]
    expected = np.std([0.5, 0.7, 0.6], ddof=1) / np.sqrt(3)
    found = groups.error(arm)
    assert found.size == pytest.approx(expected, rel=0.1) and found.freedom == 2
    assert groups.error(arm[:, :1]) == groups.NONE  # one tells nothing of others


def test_of_one_arm_it_is_that_of_its_score():
    (arm, _) = arms(np.random.default_rng(1), 30)
    shares = arm[0, :, 0, 0] / 100
    expected = shares.std(ddof=1) / np.sqrt(len(shares))
    assert groups.error(arm).size == pytest.approx(expected, rel=0.1)


def test_of_four_arms_it_is_that_of_the_change():
    better, worse = arms(np.random.default_rng(1), 30)
    gain = groups.error(better, worse).size
    assert groups.error(better, worse, worse, better).size == pytest.approx(0)
    twice = groups.error(better, worse, better, worse).size
    assert twice == pytest.approx(2 * gain)
    assert groups.error(better, worse, worse, worse).size == pytest.approx(gain)


def test_groups_that_all_gain_the_same_bring_no_error():
    better, worse = arms(np.random.default_rng(1), 0)
    assert groups.error(better, worse).size == pytest.approx(0)


def test_the_error_of_the_groups_widens_a_verdict():
    gain = [0.02, 0.03, 0.04, 0.03, 0.03]
    assert verdicts.judge(gain).word == "holds"
    wide = verdicts.judge(gain, error=groups.Error(0.03, 20))
    assert wide.word == "undecided" and wide.mean == verdicts.judge(gain).mean


def test_two_errors_have_the_freedom_of_welch_and_satterthwaite():
    rng = np.random.default_rng(2)
    one, other = rng.normal(0, 1, 5), rng.normal(0, 3, 12)
    found = verdicts.standard_error(one, groups.Error(stats.sem(other), 11))
    theirs = stats.ttest_ind(one, other, equal_var=False)
    assert found.freedom == pytest.approx(theirs.df)
    assert found.size == pytest.approx((one.mean() - other.mean()) / theirs.statistic)
