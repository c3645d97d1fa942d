"""Chapter 08: every network on every task, the recorded table, and the bench."""

import json

import numpy as np
import pandas
import pytest
import torch

from helpers import chapters, cost, training
from tools import bench

lineage = chapters.load("08_lineage")
SHAPES = dict.fromkeys(lineage.TASKS, (3, 64, 64)) | {
    "coins": (1, 64, 64), "spots": (1, 64, 64), "volumes": (1, 24, 24, 24)
}  # fmt: skip
FLAT = [name for name in lineage.TASKS if name not in ("volumes", "ablation")]


@pytest.mark.parametrize("name", lineage.TASKS)
def test_every_entry_answers_for_every_pixel(name):
    task, shape = lineage.TASKS[name], SHAPES[name]
    for entry in task.entries.values():
        net = entry["net"](0.04)
        answer = training.first(net(torch.zeros(2, *shape)))
        classes = 3 if name == "mosaics" else 1
        assert answer.shape == (2, classes, *shape[1:])


@pytest.mark.parametrize("name", FLAT)
def test_networks_of_a_task_cost_about_the_same(name):
    entries = lineage.TASKS[name].entries
    macs = {n: cost.macs(e["net"](0.04), 1, *SHAPES[name]) for n, e in entries.items()}
    assert list(entries) == list(lineage.NETWORKS)
    for work in macs.values():
        assert abs(work / macs["U-Net"] - 1) < 0.15


def test_volumes_cost_about_the_same():
    shape = 1, *SHAPES["volumes"]
    v_net, unet3d = lineage.VOLUMES.entries.values()
    ratio = cost.macs(v_net["net"](0.1), *shape) / cost.macs(unet3d["net"](0.1), *shape)
    assert abs(ratio - 1) < 0.15


def test_unet3d_halves_and_joins():
    net = lineage.UNet3d(2, 3, widths=(4, 8, 16))
    assert net(torch.zeros(1, 2, 8, 12, 16)).shape == (1, 3, 8, 12, 16)
    joined = net.decoder[0][0].in_channels, net.decoder[1][0].in_channels
    assert joined == (16, 8)  # twice the width of the level: skip and what comes up


def test_deep_networks_have_four_blocks_for_one():
    deep = lineage.DEPTH.entries
    for name in ("ResUNet", "Inception-U-Net"):
        small, net = lineage.NETWORKS[name](), deep[name]["net"](0.04)
        assert len(net.encoder[1]) == len(net.decoder[0]) == 4
        assert len(net.encoder) == len(small.encoder)
    u = deep["U-Net"]["net"](0.04)
    plain = [m for m in u.encoder[2].modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(plain) == 8
    nested = deep["U²-Net"]["net"](0.04)
    assert len(nested.stage3) == len(nested.stage2d) == 4


def test_same_seed_same_pictures_other_seed_others():
    sets = lineage.RARE.sets
    first = sets(0)["test"].tensors[0]
    assert not first.equal(sets(1)["test"].tensors[0])
    assert first.equal(sets(0)["test"].tensors[0])


def test_perfect_masks_score_one():
    class Oracle(torch.nn.Module):
        """Answers with the mask, which the 'picture' is."""

        def forward(self, x):
            return (x - 0.5) * 20

    made = lineage.COINS.sets(0)
    sets = {
        name: torch.utils.data.TensorDataset(part.tensors[1][:, :1], part.tensors[1])
        for name, part in made.items()
    }
    assert lineage.counted_right(Oracle(), sets) == dict(score=1)
    assert lineage.tuned_iou(Oracle(), sets) == dict(score=1)


def test_a_run_repeats_itself():
    one, two = (lineage.run("spots", "U-Net", 3, 5e-3, 5)[1] for _ in range(2))
    del one["seconds"], two["seconds"]
    assert one == two


# --- the recorded table -----------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    return pandas.read_csv(bench.TABLE, comment="#")


def test_table_belongs_to_this_code():
    origin = json.loads(bench.TABLE.read_text(encoding="utf-8").split("\n")[0][1:])
    assert origin["code"] == chapters.digest(), "the code has changed: make bench"


def test_table_is_complete(table):
    for name, task in lineage.TASKS.items():
        lengths = set()
        budgets = ["MACs"] if name in ("volumes", "ablation") else ["MACs", "seconds"]
        for entry in task.entries:
            mine = table[(table.task == name) & (table.network == entry)]
            assert sorted(mine[mine.budget == "trial"].lr) == sorted(lineage.RATES)
            assert len(mine[mine.budget == "step"]) == 1
            for budget in budgets:
                seeds = sorted(mine[mine.budget == budget].seed)
                lengths.add(len(seeds))
                assert seeds == list(range(len(seeds))), (name, entry, budget)
        assert len(lengths) == 1 and lengths.pop() >= bench.COMMON.get(name, 3)
    assert lineage.TRIAL_SEED not in set(table[table.budget == "MACs"].seed)
    scores = table[table.budget != "step"].score
    assert scores.between(0, 1).all()


def test_equal_seconds_are_equal(table):
    for name in FLAT:
        mine = table[table.task == name].set_index("network")
        step = mine[mine.budget == "step"].seconds
        long = mine[mine.budget == "seconds"].groupby("network").steps.first()
        spent = long * step
        assert np.ptp(spent) < 0.03 * spent.mean()


# --- the bench --------------------------------------------------------------------


@pytest.fixture
def small_bench(tmp_path, monkeypatch):
    """The bench with one task of two entries, and runs that cost nothing."""
    task = lineage.RARE._replace(entries=dict(a={}, b={}), steps=10)
    monkeypatch.setattr(lineage, "TASKS", dict(spots=task))
    monkeypatch.setattr(bench, "STATE", tmp_path / "build" / "bench.jsonl")
    monkeypatch.setattr(bench, "TABLE", tmp_path / "table.csv")
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
    monkeypatch.setattr("sys.argv", ["bench", "--seeds", "3"])
    return done, stop


def test_bench_writes_the_table(small_bench):
    done, _ = small_bench
    bench.main()
    table = pandas.read_csv(bench.TABLE, comment="#")
    assert len(table) == len(done) == 2 * (1 + 3 + 3 + 3)
    final = table[table.budget.isin(["MACs", "seconds"])]
    assert set(final.lr) == {max(lineage.RATES)}  # the best validation score
    steps = final.groupby(["network", "budget"]).steps.first()
    assert steps["a", "seconds"] == 20 and steps["b", "seconds"] == 10
    assert set(final[final.budget == "MACs"].steps) == {10}


def test_bench_goes_on_where_it_was_stopped(small_bench):
    done, stop = small_bench
    stop[0] = 5
    with pytest.raises(KeyboardInterrupt):
        bench.main()
    assert len(done) == 5 and not bench.TABLE.exists()
    with bench.STATE.open("a") as file:
        file.write('\n{"task": "spo')  # died while writing
    stop[0] = None
    bench.main()
    bench.main()  # nothing is left to do, and the cut-off line does no harm
    assert len(done) == 20
    assert len({bench.key(job) for job in done}) == 20  # none twice


def test_bench_times_a_step_of_every_kind():
    for name in ("coins", "volumes"):
        for entry in lineage.TASKS[name].entries:
            job = dict(task=name, network=entry, seed=0, steps=3)
            assert 0 < bench.step_seconds(lineage, job) < 10


def test_bench_forgets_runs_of_other_code(small_bench, monkeypatch):
    done, _ = small_bench
    bench.main()
    monkeypatch.setattr(chapters, "digest", lambda: "another")
    bench.main()
    assert len(done) == 40


def test_bench_refuses_too_few_seeds(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench", "--seeds", "2"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "--seeds is 2; a spread needs at least 3" in capsys.readouterr().err
