"""Chapter 08: every network on every task, the recorded table and its fingerprints."""

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import TensorDataset

from helpers import chapters, data, training
from helpers.app import bench

lineage = chapters.load("08_lineage")
FLAT = [name for name in lineage.TASKS if name not in ("volumes", "ablation")]


@pytest.mark.parametrize("name", lineage.TASKS)
def test_every_network_answers_for_every_pixel(name):
    task, shape = lineage.TASKS[name], lineage.picture_shape(name)
    for make in task.networks.values():
        net = make(0.04, **task.arguments)
        answer = training.main_map(net(torch.zeros(2, *shape[1:])))
        classes = 3 if name == "mosaics" else 1
        assert answer.shape == (2, classes, *shape[2:])


def test_all_six_meet_on_every_flat_task():
    for name in FLAT:
        assert list(lineage.TASKS[name].networks) == list(lineage.NETWORKS)


def test_unet3d_halves_and_joins():
    net = lineage.UNet3d(2, 3, widths=(4, 8, 16))
    assert net(torch.zeros(1, 2, 8, 12, 16)).shape == (1, 3, 8, 12, 16)
    joined = net.decoder[0][0].in_channels, net.decoder[1][0].in_channels
    assert joined == (16, 8)  # twice the width of the level: skip and what comes up


def test_deep_networks_have_four_blocks_for_one():
    deep = lineage.DEPTH.networks
    for name in ("ResUNet", "Inception-U-Net"):
        small, net = lineage.NETWORKS[name](), deep[name](0.04)
        assert len(net.encoder[1]) == len(net.decoder[0]) == 4
        assert len(net.encoder) == len(small.encoder)
    u = deep["U-Net"](0.04)
    plain = [m for m in u.encoder[2].modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(plain) == 8
    nested = deep["U²-Net"](0.04)
    assert len(nested.stage3) == len(nested.stage2d) == 4


def test_same_seed_same_pictures_other_seed_others():
    draw = lineage.RARE.draw
    first = draw(0).test.tensors[0]
    assert not first.equal(draw(1).test.tensors[0])
    assert first.equal(draw(0).test.tensors[0])


def test_perfect_masks_score_one():
    class Oracle(torch.nn.Module):
        """Answers with the mask, which the 'picture' is."""

        def forward(self, x):
            return (x - 0.5) * 20

    parts = []
    for part in lineage.COINS.draw(0):
        masks = part.tensors[1][:20]
        parts.append(TensorDataset(masks[:, :1], masks))
    sets = data.Sets(*parts)
    run = training.Run(Oracle(), [], threshold=0.5)
    assert lineage.counted_right(run, sets) == dict(score=1)
    assert lineage.tuned_iou(run, sets) == dict(score=1)


def test_what_is_taken_away_is_taken_away():
    task = lineage.ABLATION
    sets = data.draw(data.surfaces, (20, 8, 8))
    usual = lineage.settings(task, "nothing", sets, 500)
    for thing, key in {
        "Dice": "loss", "the schedule": "schedule", "flips": "augment",
        "half of the data": "train", "half of the steps": "steps",
    }.items():  # fmt: skip
        other = lineage.settings(task, thing, sets, 500)
        assert [k for k in usual if other[k] != usual[k]] == [key]
    assert len(lineage.settings(task, "half of the data", sets, 500)["train"]) == 10


def test_fingerprints_see_a_change(monkeypatch):
    before = lineage.fingerprint_of("spots", "U-Net")
    assert lineage.fingerprint_of("spots", "U-Net") == before
    changed = lineage.RARE._replace(loss=torch.nn.functional.mse_loss)
    monkeypatch.setitem(lineage.TASKS, "spots", changed)
    after = lineage.fingerprint_of("spots", "U-Net")
    assert {k for k in before if after[k] != before[k]} >= {"loss_1", "loss_5"}


# --- the recorded table -----------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    return pandas.read_csv(bench.TABLE, comment="#")


def test_table_belongs_to_this_code():
    now = bench.fingerprints(lineage)
    assert not bench.changed(now, bench.recorded()), "the code has changed: make bench"
    assert len(now) == len(bench.recorded())


def test_table_is_complete(table):
    for name, task in lineage.TASKS.items():
        lengths = set()
        budgets = ["MACs"] if name in ("volumes", "ablation") else ["MACs", "seconds"]
        for network in task.networks:
            mine = table[(table.task == name) & (table.network == network)]
            assert sorted(mine[mine.budget == "trial"].lr) == sorted(lineage.RATES)
            assert len(mine[mine.budget == "step"]) == 1
            for budget in budgets:
                seeds = sorted(mine[mine.budget == budget].seed)
                lengths.add(len(seeds))
                assert seeds == list(range(len(seeds))), (name, network, budget)
        assert len(lengths) == 1 and lengths.pop() >= bench.MORE_SEEDS.get(name, 3)
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
