"""helpers/contest.py: who is ahead where, from comparisons that are known here."""

import pandas
import pytest
from bs4 import BeautifulSoup

from helpers import contest, verdicts

SCORES = {"old": 0.5, "new": 0.7, "same": 0.5}
NETWORKS = list(SCORES)
NOISE = [-0.004, 0.0, 0.004]


def compared(network, probe, budget, rival="old"):
    """What the record says; nothing of the probe "later", and nothing long."""
    if probe == "later" or budget == "long":
        return None
    mine = pandas.Series([SCORES[network] + noise for noise in NOISE])
    base = pandas.Series([SCORES[rival] - noise for noise in NOISE])
    return verdicts.judge(mine, base), mine - base, mine, base


def test_the_map_is_grey_without_a_sure_difference_and_empty_without_a_record():
    figure = contest.heat_map(compared, NETWORKS, ["now", "later"], "short", "old")
    (texts,) = ([text.get_text() for text in axis.texts] for axis in figure.axes[:1])
    assert texts == ["0.50", "0.70", "0.50"]  # of the probe that is recorded
    shades = figure.axes[0].images[0].get_array()
    assert shades[0, 1] == pytest.approx(0.2)
    assert shades.mask.tolist() == [[False, False, True], [True, True, True]]


def test_unbeaten_are_those_that_nobody_surely_beats():
    assert contest.unbeaten(compared, NETWORKS, "now", "short") == ["new"]
    assert contest.unbeaten(compared, ["same", "old"], "now", "short") == [
        "same",
        "old",
    ]
    assert contest.unbeaten(compared, NETWORKS, "later", "short") == []


def test_a_lead_that_is_surely_small_beats_nobody(monkeypatch):
    monkeypatch.setitem(SCORES, "same", 0.51)
    assert compared("same", "now", "short")[0].small
    found = contest.unbeaten(compared, ["same", "old"], "now", "short")
    assert found == ["same", "old"]


def test_the_tally_counts_each_word():
    table = contest.tally(compared, NETWORKS, ["now", "later"], "short", "old")
    rows = BeautifulSoup(table.data, "html.parser").select("tbody tr")
    cells = []
    for row in rows:
        cells.append([cell.text for cell in row.select("td")])
    same = ["0", "0", "1", "0", "0", "1"]  # holds, does not, equal, ..., not recorded
    new = ["1", "0", "0", "0", "0", "1"]
    assert cells == [["old", *same], ["new", *new], ["same", *same]]


def test_at_home_gives_a_word_for_each_condition():
    homes = {"new": "now", "same": "later"}
    words, told = contest.at_home(compared, homes, "old")
    assert words == {"it is new": "holds", "it is same": "undecided"}
    assert told.startswith("now, short trainings: new") and "same" not in told

    def always(name, probe, budget, rival):
        return compared(name, probe, "short", rival)

    assert "now, long trainings: new" in contest.at_home(always, homes, "old")[1]
