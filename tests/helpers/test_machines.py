import pandas
import pytest

from helpers import machines, trials


@pytest.fixture
def table(monkeypatch, tmp_path):
    """Two arms on two machines, of which one turns the gain around."""
    rows = []
    for seed in range(5):
        jitter = seed / 1000
        for name, here, there in (("U-Net", 0.5, 0.5), ("B", 0.6, 0.4)):
            row = dict(chapter="x", trial="t", variant=name, steps=9, seed=seed)
            more = jitter * (name == "B")
            rows.append(row | dict(score="iou", processor=here + more, gpu=there))
    monkeypatch.setattr(trials, "RECORDS", tmp_path)
    pandas.DataFrame(rows).to_csv(tmp_path / "two_machines.csv", index=False)


def test_gains_are_judged_on_either_machine(table):
    ((trial, steps, arms, here, there, moved),) = machines.gains()
    assert (trial, steps, arms) == ("t", 9, "B over U-Net")
    assert (here, there) == ("holds", "does not hold here")
    assert moved.startswith("-0.202 (-0.204 to -0.2")


def test_trainings_are_counted_and_those_of_a_card(monkeypatch, tmp_path):
    monkeypatch.setattr(trials, "RECORDS", tmp_path)
    names = [*trials.KEYS, "canary", "iou"]
    rows = [("t", "A", 9, 100, "0.0586", 0.5), ("t", "A", 9, 101, "X, torch 2", 0.5)]
    rows.append(("t", "no learning", 9, 100, "X, torch 2", 0.1))  # no training
    text = pandas.DataFrame(rows, columns=names).to_csv(index=False)
    (tmp_path / "x.csv").write_text("# {}\n" + text)
    arms = {"A": dict(net=None), "B": dict(net=None)}
    short = trials.Trial("x/t", arms, steps=9, budgets=(9, 36))
    empty = trials.Trial("x/none", arms, steps=9, budgets=(9,))
    assert machines.counted({"x": {"t": short, "none": empty}}) == (2, 1)


def test_what_was_trained_twice_is_on_record():
    for row in machines.twice().itertuples():
        record = trials.read(row.chapter).set_index(trials.KEYS)
        kept = record.loc[(row.trial, row.variant, row.steps, row.seed)]
        assert kept[row.score] == row.processor != row.gpu
