"""Figures against the steps: what is drawn, from small tables."""

import matplotlib.pyplot as plt
import pandas
import pytest
from matplotlib.colors import same_color

from helpers import budgets, page, verdicts


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def record(*rows):
    return pandas.DataFrame(rows, columns=["claim", "steps", "word"])


def test_each_claim_has_a_row_and_each_judgement_its_dot():
    figure = budgets.judgements(
        record(
            ("skips", 250, "undecided"),
            ("skips", 1000, "holds"),
            ("border", 250, "equal within 0.03"),
        )
    )
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["skips", "border"]
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    places = [(dot.get_xdata()[0], dot.get_ydata()[0]) for dot in dots]
    assert places == [(250, 0), (1000, 0), (250, 1)]
    inside = [dot.get_markerfacecolor() for dot in dots]
    assert same_color(inside[0], "white")  # undecided: hollow
    assert not same_color(inside[1], inside[2])


def test_every_word_that_a_comparison_may_have_is_drawn():
    words = [verdicts.judge([gain] * 5).word for gain in (0.1, 0, -0.1)]
    words += ["undecided", "not learned at this budget"]
    assert {page.kind_of(word) for word in words} == set(budgets.LOOKS)
    with pytest.raises(ValueError, match="'perhaps' is no verdict"):
        budgets.judgements(record(("skips", 250, "perhaps")))


def test_a_score_is_drawn_with_its_mean_and_its_deviation():
    keys = [(steps, "U-Net", seed) for steps in (250, 1000) for seed in (0, 1)]
    index = pandas.MultiIndex.from_tuples(keys, names=["steps", "variant", "seed"])
    table = pandas.DataFrame(dict(iou=[0.2, 0.4, 0.5, 0.7]), index)
    (axis,) = budgets.scores(table, "iou", {"U-Net": ("black", "o")}, "test IoU").axes
    assert axis.get_ylabel() == "test IoU" and axis.get_xscale() == "log"
    (bars,) = axis.containers
    line, _, (spread,) = bars.lines
    assert list(line.get_xdata()) == [250, 1000]
    assert line.get_ydata() == pytest.approx([0.3, 0.6])
    (low, high) = spread.get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * 0.02**0.5)
