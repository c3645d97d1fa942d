"""The rule of all verdicts, what time does to them, and the claims they speak of."""

from functools import partial

import numpy as np
import pandas
import pytest
from scipy import stats

from helpers import chapters, groups, page, trials, verdicts
from helpers.verdicts import joined, judge, over_time

EQUAL, UNSURE, FAILS = "equal within 0.03", "undecided", "does not hold here"


# --- the rule ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "gain, forth, back",
    [
        ([0.10, 0.11, 0.12, 0.10, 0.11], "holds", FAILS),
        ([0.01, -0.01, 0.00, 0.01, -0.01], EQUAL, EQUAL),
        ([0.20, -0.20, 0.10, -0.10, 0.05], UNSURE, UNSURE),
        ([0.04, 0.05, 0.03, -0.02, 0.01], UNSURE, UNSURE),  # not 0, and not small
        ([0, 0, 0, 0, 0], EQUAL, EQUAL),
        ([0.01, 0.012, 0.011, 0.01, 0.012], EQUAL, EQUAL),  # sure, and small
    ],
)
def test_judge(gain, forth, back):
    base = np.array([0.5, 0.9, 0.4, 0.1, 0.6])  # the pairs count, not the scores
    assert judge(base + gain, base).word == forth
    assert judge(base, base + gain).word == back
    assert judge(base + gain, base).small == (max(gain) < 0.02)


def test_judge_is_the_t_test_and_two_one_sided_tests():
    random, words = np.random.default_rng(0), set()
    for _ in range(400):
        n = random.choice([3, 4, 5, 11, 20])  # six to ten have a rule of their own
        worse = random.normal(0.5, 0.1, n)
        gain = random.normal(random.choice([-0.06, -0.02, 0, 0.02, 0.06]), 0.03, n)
        found = judge(worse + gain, worse, 0.03)
        test = stats.ttest_rel(worse + gain, worse)
        above = stats.ttest_1samp(gain, -0.03, alternative="greater").pvalue < 0.05
        below = stats.ttest_1samp(gain, 0.03, alternative="less").pvalue < 0.05
        assert found.small == (above and below)
        if found.small:
            assert found.word == EQUAL
        elif test.pvalue < 0.05:
            assert found.word == ("holds" if gain.mean() > 0 else FAILS)
        else:
            assert found.word == UNSURE
        assert found[1:4] == pytest.approx((gain.mean(), *test.confidence_interval()))
        words.add(found.word)
    assert len(words) == 4


@pytest.mark.parametrize("scatter", [0.03, 0.05])
def test_five_seeds_or_ten_err_as_often_as_the_rule_says(scatter):
    random, wrong, ten = np.random.default_rng(0), 0, 0
    for _ in range(4000):
        gain = random.normal(0, scatter, 10)
        low, high = verdicts.interval(gain[:5], 0.9)
        wide = (high - low) / 2 > verdicts.MARGIN
        low, high = verdicts.interval(gain if wide else gain[:5])
        wrong += not low < 0 < high
        ten += wide
    assert 500 < ten < 3500  # both ways are taken
    assert abs(wrong / 4000 - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 4000)


def test_a_difference_without_any_spread_is_the_surest():
    assert judge(np.full(5, 0.75), 0.25).p == 0 and judge(np.zeros(5)).p == 1


def test_the_margin_says_what_is_equal():
    gain, none = np.array([0.01, -0.01, 0.00, 0.01, -0.01]), np.zeros(5)
    assert judge(gain, none, 0.005).word == UNSURE
    assert judge(gain, none, 0.02).word == "equal within 0.02"


def test_an_interval_needs_two_values():
    with pytest.raises(ValueError, match="1 values have no spread"):
        judge([0.7], [0.5])


# --- budgets and conditions -------------------------------------------------------

SEEDS = [100, 101, 102, 103, 104]
GAINS = dict(
    large=[0.10, 0.11, 0.12, 0.10, 0.11],
    none=[0.01, -0.01, 0.00, 0.01, -0.01],
    unsure=[0.20, -0.20, 0.10, -0.10, 0.05],
    less=[-0.10, -0.11, -0.12, -0.10, -0.11],
    small=[0.015, 0.02, 0.018, 0.017, 0.02],
    nearly=[0.013, 0.001, 0.03, 0.015, -0.001],  # "equal", and hardly less than small
)


@pytest.mark.parametrize(
    "first, last, expected",
    [
        ("large", "large", "holds"),
        ("large", "none", "gone by 1,000 steps"),
        ("large", "less", "gone by 1,000 steps"),
        ("large", "unsure", "undecided at 1,000 steps"),
        ("none", "large", "appears by 1,000 steps"),
        ("less", "large", "appears by 1,000 steps"),
        ("unsure", "large", "holds"),
        ("none", "less", FAILS),
        ("small", "nearly", EQUAL),  # no longer sure, but surely fallen it is not
    ],
)
def test_over_time(first, last, expected):
    judgements, gains = {}, {}
    for steps, name in ((250, first), (1000, last)):
        gains[steps] = pandas.Series(GAINS[name], SEEDS)
        judgements[steps] = judge(gains[steps], 0 * gains[steps])
    assert over_time(judgements, gains) == expected
    assert over_time({250: judgements[250]}, gains) == judgements[250].word


@pytest.mark.parametrize(
    "words, expected",
    [
        (("holds", "holds", "appears by 1,000 steps"), "holds"),
        (("holds", UNSURE, FAILS), "holds when a"),
        (("holds", UNSURE, "holds"), "holds when a or c"),
        ((FAILS, FAILS, FAILS), FAILS),
        ((EQUAL, EQUAL, EQUAL), EQUAL),
        ((EQUAL, FAILS, "gone by 1,000 steps"), FAILS),
        ((FAILS, UNSURE, FAILS), "undecided"),
    ],
)
def test_joined(words, expected):
    found = joined(dict(zip("abc", words)))
    assert found == expected
    assert any(found.startswith(known) for known in page.WORDS)


def test_joined_says_once_what_conditions_share():
    words = {"n is 10": "holds", "n is 30": UNSURE, "n is 99": "holds"}
    assert joined(words) == "holds when n is 10 or 99"
    words = {"the step is A to B": "holds", "it is C": "holds", "no": UNSURE}
    assert joined(words) == "holds when the step is A to B or it is C"


# --- from a table to a box --------------------------------------------------------


def table(**scores):
    """Results of arms at 250 and 1,000 steps: (name, steps) to the scores' gain."""
    rows = []
    for seed, base in zip(SEEDS, [0.5, 0.6, 0.4, 0.55, 0.45]):
        for steps in (250, 1000):
            for arm, gains in scores.items():
                gain = GAINS[gains[steps == 1000]][seed - 100]
                row = dict(steps=steps, variant=arm, seed=seed, iou=base + gain)
                rows.append(row | dict(cost=1 - base - gain, constant=0.04))
    return pandas.DataFrame(rows).set_index(["steps", "variant", "seed"])


class Recorded:
    """Stands for a trial whose results are known."""

    name, needs = "00_segmentation/a", None

    def __init__(self, rows):
        self.rows, self.settings = rows, dict(batch=4)
        self.variants = {name: {} for name in rows.index.unique("variant")}

    def results(self):
        """What a trial tells."""
        return self.rows

    def steps_of(self, name, steps):
        """How long an arm trains at a budget."""
        return steps


CLAIM = dict(chapter="00_segmentation", claim="A beats B.", trial="a", better="A")
CLAIM |= dict(worse="B", source="The paper, section 1")


def decided(monkeypatch, rows, **changes):
    """The word, and the arguments of the box."""
    shown = []
    monkeypatch.setattr(verdicts, "claims", lambda: dict(slug=CLAIM | changes))
    monkeypatch.setattr(page, "verdict", lambda *a, **facts: shown.append((*a, facts)))
    return verdicts.decide("slug", Recorded(rows), more="More."), shown[0]


def test_decide_judges_every_budget(monkeypatch):
    rows = table(A=("large", "none"), B=("none", "none"))
    word, box = decided(monkeypatch, rows)
    assert word == box[2] == "gone by 1,000 steps"
    assert [line["label"] for line in box[4]] == ["250 steps", "1,000 steps"]
    text = "0.61 ± 0.07 against 0.50 ± 0.08: +0.108 (+0.088 to +0.128), n = 5"
    assert box[4][0]["text"] == text
    assert box[3] == "Test IoU, A against B; 95 % intervals. More."
    assert "The paper, section 1" in box[5].values()
    assert "1,000 and 4,000 pictures seen" in box[5].values()
    assert decided(monkeypatch, rows, score="cost", lower=True)[0] == word
    assert decided(monkeypatch, rows, score="cost")[0] != word


def test_each_arm_has_seen_its_own_number_of_pictures():
    arms = {"A": {}, "B": dict(steps=18, batch=2), verdicts.GUESS: {}, ("C", 1): {}}
    trial = trials.Trial("x/t", arms, steps=9)
    seen = partial(verdicts.pictures_seen, trial=trial, steps=36)
    assert seen(dict(better="A", worse="B")) == {36 * 8, 72 * 2}
    assert seen(dict(better="A", worse=verdicts.GUESS)) == {36 * 8}
    assert seen(dict(better=["C", 1], against="a column")) == {36 * 8}


@pytest.mark.parametrize(("needs", "order"), [(None, "bench"), ("hc18", "real")])
def test_what_is_not_recorded_names_its_order(monkeypatch, needs, order):
    monkeypatch.setattr(Recorded, "needs", needs)
    nothing = table(A=("large", "none"), B=("none", "none")).iloc[:0]
    word, box = decided(monkeypatch, nothing)
    assert word == "undecided" and f"Not recorded yet: make {order}." in box[3]


def test_the_parts_that_are_not_recorded_are_named(monkeypatch):
    rows = table(A=("large", "large"), B=("none", "none"))
    parts = [dict(when="it is B", worse="B"), dict(when="it is C", worse="C")]
    word, box = decided(monkeypatch, rows, parts=parts)
    assert word == "holds when it is B"
    assert "Not recorded yet (make bench): it is C. More." in box[3]


def test_the_choice_of_test_groups_widens_the_interval(monkeypatch):
    rows = table(A=("large", "large"), B=("none", "none"))
    narrow = decided(monkeypatch, rows)[1][4][0]
    rows["iou_by_group"] = "5/10 5/10 5/10"
    rows.loc[(slice(None), "A"), "iou_by_group"] = "5/10 9/10 5/10"
    wide = decided(monkeypatch, rows)[1][4][0]
    assert wide["mean"] == narrow["mean"]
    assert wide["low"] < 0 < narrow["low"]
    assert narrow["p"] < 0.05 < wide["p"]


def guessing(rows, iou, by_group=None):
    """The results, and an arm that does not learn."""
    guess = rows.xs("A", level="variant").assign(variant="no learning", iou=iou)
    guess = guess.set_index("variant", append=True).reorder_levels(rows.index.names)
    if by_group:
        guess["iou_by_group"] = by_group
    return pandas.concat([rows, guess])


def test_a_guess_is_no_bar_for_itself_nor_where_it_has_no_score(monkeypatch):
    rows = table(A=("less", "less"), B=("none", "none"))
    guessed = guessing(rows, rows.iou.xs("A", level="variant") + 0.2)
    word = decided(monkeypatch, guessed, worse="no learning")[0]
    assert word == "does not hold here"
    assert decided(monkeypatch, rows, against="constant")[0] == "holds"
    guessed["other"] = guessed.iou.where(guessed.iou < 2)
    guessed.loc[(slice(None), "no learning"), "other"] = None
    assert decided(monkeypatch, guessed, score="other")[0] == "does not hold here"


def test_what_was_learned_is_told_on_the_same_test_groups(monkeypatch):
    rows = table(A=("large", "large"), B=("none", "none"))
    rows["iou_by_group"] = "4/10 9/10 6/10"  # as different as the groups are ...
    below = rows.iou - 0.01
    alike = guessing(rows, below.xs("A", level="variant"), "3/10 8/10 5/10")
    assert decided(monkeypatch, alike)[0] == "holds"  # ... for the guess as well
    other = guessing(rows, below.xs("A", level="variant"), "8/10 3/10 5/10")
    assert decided(monkeypatch, other)[0] == "not learned at this budget"


def test_networks_that_hardly_beat_a_guess_are_not_called_equal(monkeypatch):
    rows = table(A=("none", "none"), B=("none", "none"))
    assert decided(monkeypatch, rows)[0] == "equal within 0.03"
    scores = rows.iou.xs("A", level="variant")
    for ahead, word in {0.05: "equal within 0.03", 0.02: "undecided"}.items():
        found = decided(monkeypatch, guessing(rows, scores - ahead))[0]
        assert found.startswith(word)
    worse = decided(monkeypatch, guessing(rows, scores + 0.02))[0]
    assert worse == "not learned at this budget"


def test_the_choice_of_test_groups_counts_for_a_change(monkeypatch):
    rows = table(A=("large", "none"), B=("none", "none"))
    assert decided(monkeypatch, rows)[0].startswith("gone")
    rows["iou_by_group"] = "5/10 5/10 5/10"
    late = rows.xs(1000, level="steps", drop_level=False).index
    rows.loc[late, "iou_by_group"] = "4/10 6/10 5/10"
    assert decided(monkeypatch, rows)[0].startswith("gone")  # alike for both arms
    early = rows.xs((250, "A"), level=[0, 1], drop_level=False).index
    rows.loc[early, "iou_by_group"] = "5/10 9/10 5/10"
    assert not decided(monkeypatch, rows)[0].startswith("gone")


def test_a_claim_that_was_changed_later_says_so(monkeypatch):
    rows = table(A=("large", "none"), B=("none", "none"))
    monkeypatch.setattr(verdicts, "claims", lambda: dict(slug=CLAIM))
    noted = dict(claims=dict(slug=verdicts.fixed("slug")))
    monkeypatch.setattr(verdicts.trials, "origin", lambda chapter: noted)
    assert "changed" not in decided(monkeypatch, rows)[1][3]
    assert "changed" in decided(monkeypatch, rows, margin=0.05)[1][3]


def test_decide_makes_one_word_of_the_parts(monkeypatch):
    rows = table(A=("large", "large"), B=("none", "none"), C=("unsure", "unsure"))
    parts = [dict(when="it is B", worse="B"), dict(when="it is C", worse="C")]
    word, box = decided(monkeypatch, rows, parts=parts)
    assert word == "holds when it is B"
    assert [line["label"] for line in box[4]] == [
        "it is B, 250 steps", "it is B, 1,000 steps",
        "it is C, 250 steps", "it is C, 1,000 steps",
    ]  # fmt: skip


def test_nothing_is_said_of_networks_that_have_not_learned(monkeypatch):
    rows = table(A=("large", "large"), B=("none", "none"))
    rows["constant"] = 0.9
    assert decided(monkeypatch, rows)[0] == "not learned at this budget"


def test_the_width_alone_asks_for_more_seeds():
    part = dict(better="A", worse="B")
    for gain, expected in (("unsure", True), ("large", False), ("none", False)):
        rows = table(A=(gain, gain), B=("none", "none"))
        assert verdicts.too_wide(part, rows, 250, SEEDS) == expected
    assert not verdicts.too_wide(part, rows.drop(index=104, level="seed"), 250, SEEDS)


# --- the claims of the book -------------------------------------------------------


def test_what_is_fixed_are_the_arms_and_not_the_prose(monkeypatch):
    def fixed(**changes):
        monkeypatch.setattr(verdicts, "claims", lambda: dict(slug=CLAIM | changes))
        return verdicts.fixed("slug")

    was = fixed()
    assert fixed(claim="B is worse than A.", source="Another", trained="Long") == was
    for change in (
        dict(better="C"), dict(worse="C"), dict(trial="b"), dict(score="dice"),
        dict(margin=0.05), dict(lower=True), dict(parts=[dict(worse="C"), dict()]),
    ):  # fmt: skip
        assert fixed(**change) != was


@pytest.fixture(scope="module")
def tried():
    """The trials of every chapter that has some."""
    found = {}
    for path in sorted(chapters.NOTEBOOKS.glob("*.ipynb")):
        if chapters.source(path, "trial"):
            found[path.stem] = chapters.trials(path.stem)
    return found


@pytest.mark.parametrize("slug", verdicts.claims())
def test_a_claim_names_arms_that_there_are(slug, tried):
    claim = verdicts.claims()[slug]
    assert claim["claim"] and claim["source"]
    for part in verdicts.parts(claim):
        trial = tried[claim["chapter"]][part["trial"]]
        names = [trials.text(name) for name in trial.variants]
        assert verdicts.arm(part["better"]) in names
        assert verdicts.arm(part.get("worse", part["better"])) in names
        assert "worse" in part or "against" in part


@pytest.mark.parametrize("n", [6, 9, 10])
def test_from_six_to_ten_seeds_the_larger_spread_counts(n):
    far, near = [0.5, -0.4, 0.3, -0.2, 0.1], [0.02, 0.01, 0.02, 0.01, 0.02]
    for values, tell in (
        ([*far, *near][:n], far),  # no smaller one than the first five's
        ([*near, *far][:n], [*near, *far][:n]),
    ):
        error = verdicts.standard_error(values)
        assert error.freedom == 4
        assert error.size == pytest.approx(np.std(tell, ddof=1) / n**0.5)


def false_words(draws=2000):
    """How often `judge` is sure of ten pairs of equal arms, of which some runs fail."""
    rng, arms = np.random.default_rng(0), []
    for _ in range(2):
        scores = rng.normal(0, 0.02 / 2**0.5, (draws, 10))
        scores[rng.random(scores.shape) < 0.05] -= 0.5
        arms.append(scores)
    return np.mean([judge(gain).word in ("holds", FAILS) for gain in arms[0] - arms[1]])


def test_failed_runs_bring_no_false_words(monkeypatch):
    """The 22 % that chapter 08 and our own errors tell, and what is left of them."""
    assert false_words() < 0.005

    def of_five(values, error=None):
        size = np.std(values[:5], ddof=1) / len(values) ** 0.5
        return groups.Error(float(size), 4)

    monkeypatch.setattr(verdicts, "standard_error", of_five)
    assert 0.2 < false_words() < 0.24


def test_gains_are_in_the_order_of_the_seeds():
    keys = [(9, name, seed) for name in ("a", "b") for seed in (104, 100, 102)]
    index = pandas.MultiIndex.from_tuples(keys, names=["steps", "variant", "seed"])
    results = pandas.DataFrame(dict(iou=[3.0, 1, 2, 0, 0, 0]), index)
    gain, _, _ = verdicts.gains(dict(better="a", worse="b"), results, 9)
    assert gain.to_dict() == {100: 1, 102: 2, 104: 3}
    assert gain.index.tolist() == [100, 102, 104]


def test_a_small_margin_is_told_with_more_digits():
    better, worse = pandas.Series([0.0221, 0.0219]), pandas.Series([0.0236, 0.0234])
    found = verdicts.pair(better, worse)
    assert found[0] == judge(better, worse) and found[1].equals(better - worse)
    assert verdicts.line(*found).startswith("0.02 ± 0.00 against 0.02 ± 0.00: -0.001")
    told = verdicts.told("x", found, margin=0.001)
    assert told["text"].startswith("0.0220 ± 0.0001 against 0.0235 ± 0.0001: -0.00150")
    assert told["label"] == "x" and told["margin"] == 0.001


def test_scores_of_other_seeds_are_no_pairs():
    better, worse = pandas.Series([0.1, 0.2], [100, 101]), pandas.Series([0.3, 0.1])
    with pytest.raises(ValueError, match=r"\[100, 101\] and \[0, 1\] are no pairs"):
        verdicts.pair(better, worse)


def test_what_is_learned_by_is_a_part_of_what_is_fixed(monkeypatch):
    claim = dict(trial="t", better="a", worse="b", score="looks")
    found = []
    for more in ({}, dict(learned="iou"), dict(source="elsewhere")):
        monkeypatch.setattr(verdicts, "claims", lambda more=more: dict(x=claim | more))
        found.append(verdicts.fixed("x"))
    assert found[0] == found[2] != found[1]
