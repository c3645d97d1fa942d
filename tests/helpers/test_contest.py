"""helpers/contest.py: who is ahead where, from comparisons that are known here."""

import pandas
import pytest
from bs4 import BeautifulSoup

from helpers import contest, verdicts

SCORES = {"U-Net": 0.5, "new": 0.7, "same": 0.5}
NETWORKS = list(SCORES)
NOISE = [-0.004, 0.0, 0.004]


def compared(network, probe, budget, rival="U-Net"):
    """What the record says; nothing of the probe "later", and nothing long."""
    if probe == "later" or budget == "long":
        return None
    mine = pandas.Series([SCORES[network] + noise for noise in NOISE])
    base = pandas.Series([SCORES[rival] - noise for noise in NOISE])
    return verdicts.judge(mine, base), mine - base, mine, base


def test_the_map_is_grey_without_a_sure_difference_and_empty_without_a_record():
    figure = contest.heat_map(compared, NETWORKS, ["now", "later"], "short")
    (texts,) = ([text.get_text() for text in axis.texts] for axis in figure.axes[:1])
    assert texts == ["0.50", "0.70", "0.50"]  # of the probe that is recorded
    shades = figure.axes[0].images[0].get_array()
    assert shades[0, 1] == pytest.approx(0.2)
    assert shades.mask.tolist() == [[False, False, True], [True, True, True]]


def test_what_a_correction_withdraws_bears_a_dagger_on_the_map():
    words = contest.fields(compared, NETWORKS, ["now", "later"])
    assert words[["budget", "probe", "network"]].values.tolist() == [
        ["short", "now", "new"],
        ["short", "now", "same"],
    ]
    assert words.word.tolist() == ["holds", "equal within 0.03"]
    assert not contest.withdrawn(words).any()
    others = [dict(word="undecided", p=0.5)] * 60
    many = pandas.concat([words, pandas.DataFrame(others)], ignore_index=True)
    many.loc[0, "p"] = 0.04
    gone = contest.withdrawn(many)
    assert gone.tolist() == [True] + 61 * [False]
    doubted = [("short", "now", "new"), ("long", "now", "same")]
    figure = contest.heat_map(compared, NETWORKS, ["now"], "short", doubted)
    assert [t.get_text() for t in figure.axes[0].texts] == ["0.50", "0.70†", "0.50"]


def test_unbeaten_are_those_that_nobody_surely_beats():
    assert contest.unbeaten(compared, NETWORKS, "now", "short") == ["new"]
    assert contest.unbeaten(compared, ["same", "U-Net"], "now", "short") == [
        "same",
        "U-Net",
    ]
    assert contest.unbeaten(compared, NETWORKS, "later", "short") == []


def test_a_lead_that_is_surely_small_beats_nobody(monkeypatch):
    monkeypatch.setitem(SCORES, "same", 0.51)
    assert compared("same", "now", "short")[0].small
    found = contest.unbeaten(compared, ["same", "U-Net"], "now", "short")
    assert found == ["same", "U-Net"]


def test_the_tally_counts_each_word():
    table = contest.tally(compared, NETWORKS, ["now", "later"], "short")
    rows = BeautifulSoup(table.data, "html.parser").select("tbody tr")
    cells = []
    for row in rows:
        cells.append([cell.text for cell in row.select("td")])
    same = ["0", "0", "1", "0", "0", "1"]  # holds, does not, equal, ..., not recorded
    new = ["1", "0", "0", "0", "0", "1"]
    assert cells == [["U-Net", *same], ["new", *new], ["same", *same]]


def test_the_tally_counts_a_word_of_any_margin():
    def close(network, probe, budget, rival):
        return verdicts.judge([0.0, 0.001, -0.001], margin=0.01), None, None, None

    told = contest.tally(close, ["new"], ["now"], "long").data
    table = BeautifulSoup(told, "html.parser")
    heads = [head.text for head in table.select("th")]
    cells = [cell.text for cell in table.select("td")]
    assert cells[heads.index("equal within the margin")] == "1"


def test_at_home_gives_a_word_for_each_condition():
    homes = {"new": "now", "same": "later"}
    words, told = contest.at_home(compared, homes, "U-Net")
    assert words == {"it is new": "holds", "it is same": "undecided"}
    assert told.startswith("now, short trainings: new") and "same" not in told

    def always(name, probe, budget, rival):
        return compared(name, probe, "short", rival)

    assert "now, long trainings: new" in contest.at_home(always, homes, "U-Net")[1]
