"""`make bench`: the table is its own state, and belongs to what the code computes."""

import pandas
import pytest

from helpers import chapters
from helpers.app import bench

lineage = chapters.load("08_lineage")


@pytest.fixture
def small_bench(tmp_path, monkeypatch):
    """The bench with one task of two networks, and runs that cost nothing."""
    task = lineage.RARE._replace(networks=dict(a=None, b=None), steps=10)
    marks = pandas.DataFrame(
        dict(task="spots", network=["a", "b"], macs=["1", "2"])
    ).set_index(["task", "network"])  # fmt: skip
    monkeypatch.setattr(lineage, "TASKS", dict(spots=task))
    monkeypatch.setattr(bench, "TABLE", tmp_path / "table.csv")
    monkeypatch.setattr(bench, "CODE", tmp_path / "code.csv")
    monkeypatch.setattr(bench, "fingerprints", lambda lineage, nudge=0: marks)
    done = []

    def execute(job):
        if len(done) == stop[0]:
            raise KeyboardInterrupt
        done.append(job)
        cost = dict(a=0.1, b=0.2)[job["network"]]
        if job["budget"] == "step":
            return job | dict(seconds=cost)
        return job | dict(validation=job["lr"], score=0.5)

    stop = [None]
    monkeypatch.setattr(bench, "execute", execute)
    monkeypatch.setattr(bench.joblib, "cpu_count", lambda: 1)
    monkeypatch.setattr("sys.argv", ["bench"])
    return done, stop, marks


def test_bench_writes_the_table(small_bench):
    done, _, _ = small_bench
    bench.main()
    table = bench.read()
    assert len(table) == len(done) == 2 * (1 + 3 + 3 + 3)
    final = table[table.budget.isin(["MACs", "seconds"])]
    assert set(final.lr) == {max(lineage.RATES)}  # the best validation score
    steps = final.groupby(["network", "budget"]).steps.first()
    assert steps["a", "seconds"] == 20 and steps["b", "seconds"] == 10
    assert set(final[final.budget == "MACs"].steps) == {10}


def test_bench_goes_on_where_it_was_stopped(small_bench):
    done, stop, _ = small_bench
    stop[0] = 5
    with pytest.raises(KeyboardInterrupt):
        bench.main()
    assert len(done) == len(bench.read()) == 5
    stop[0] = None
    bench.main()
    bench.main()  # nothing is left to do
    assert len(done) == 20
    assert len({tuple(job[c] for c in bench.JOB) for job in done}) == 20  # none twice


def test_bench_trains_anew_what_computes_something_else(small_bench):
    done, _, marks = small_bench
    bench.main()
    marks.loc[("spots", "b"), "macs"] = "3"
    bench.main()
    again = done[20:]
    assert {job["network"] for job in again} == {"b"} and len(again) == 10
    assert len(bench.read()) == 20
    assert not bench.changed(marks, bench.recorded())


def test_a_changed_number_is_seen_whatever_the_order_of_the_columns():
    then = pandas.DataFrame(
        dict(task="spots", network=["a", "b"], macs=["1", "2"], loss=["3", ""])
    ).set_index(["task", "network"])  # fmt: skip
    now = then[["loss", "macs"]].copy()
    assert not bench.changed(now, then)
    now.loc[("spots", "b"), "loss"] = "4"  # blank in the record: chaos
    assert not bench.changed(now, then)
    now.loc[("spots", "a"), "loss"] = "4"
    assert bench.changed(now, then) == [("spots", "a")]
    assert bench.changed(then.assign(score="1"), then) == [*then.index]
    assert bench.changed(then, then.iloc[:1]) == [("spots", "b")]


def test_bench_times_a_step_of_every_kind():
    for name in ("coins", "volumes"):
        task = lineage.TASKS[name]
        times = []
        for network in task.networks:
            times.append(bench.step_seconds(lineage, task, network, seed=0, steps=3))
        assert all(0.001 < seconds < 10 for seconds in times)


def test_bench_refuses_too_few_seeds(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench", "--seeds", "2"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "--seeds is 2; a spread needs at least 3" in capsys.readouterr().err
