"""Fingerprints: the same for the same behaviour, other digits for another."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from helpers import data, fingerprint, probes, training


def small_net(share=None):
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))


def digits(make=small_net, nudge=0, loss=training.bce_dice):
    drawn = data.draw(data.surfaces, (20,) * 3, size=16)
    sets = fingerprint.small_sets(drawn, nudge)
    with fingerprint.double_precision():
        torch.manual_seed(0)
        net = make()
        settings = fingerprint.SETTINGS | dict(every=1, loss=loss)
        run = training.fit(net, sets.train, sets.validation, **settings)
    return fingerprint.digits(run, dict(score=1 / 3), (1, 3, 16, 16))


def test_a_fingerprint_holds_what_was_computed():
    marks = digits()
    assert marks["parameters"] == str(3 * 4 * 9 + 4 + 4 + 1)
    assert marks["macs"] == str(16 * 16 * (3 * 4 * 9 + 4))
    assert marks["score"] == "0.333333"
    assert [f"loss_{n}" in marks for n in range(1, 6)] == [True] * 5
    assert digits() == marks


@pytest.mark.parametrize(
    "changes",
    [
        dict(make=lambda: nn.Sequential(*small_net(), nn.Tanh())),
        dict(loss=nn.functional.mse_loss),
        dict(nudge=0.1),
    ],
)
def test_a_change_shows(changes):
    assert digits(**changes) != digits()


def test_a_rewrite_and_a_tiny_nudge_do_not():
    def rewritten():
        first, head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 1)
        return nn.Sequential(nn.Sequential(first, nn.ReLU()), head)

    assert digits(make=rewritten) == digits() == digits(nudge=1e-14)


def test_a_nudge_moves_each_value_by_as_much_up_or_down():
    drawn = data.draw(data.surfaces, (20,) * 3, size=16)
    was = fingerprint.small_sets(drawn).test.tensors[0]
    moved = fingerprint.small_sets(drawn, 1e-3).test.tensors[0] - was
    assert torch.allclose(moved.abs(), 1e-3 * was)
    assert (moved > 0).any() and (moved < 0).any()


def test_double_precision_ends_with_its_block():
    with pytest.raises(KeyError), fingerprint.double_precision():
        assert torch.zeros(1).dtype == torch.float64
        raise KeyError
    assert torch.zeros(1).dtype == torch.float32


def test_small_sets_are_a_few_pictures_from_all_over_in_double():
    drawn = data.draw(probes.mosaics, (20, 20, 4), size=32)
    small = fingerprint.small_sets(drawn._replace(test=dict(a=drawn.test)))
    images, labels = small.train.tensors
    assert len(images) == fingerprint.PICTURES and images.dtype == torch.float64
    assert labels.dtype == torch.int64
    assert images[-1].float().equal(drawn.train.tensors[0][-1])
    assert images[0].float().equal(drawn.train.tensors[0][0])
    assert len(small.test["a"]) == 4


@pytest.mark.parametrize(
    "make",
    [data.surfaces, data.textures, probes.spots, probes.mosaics, probes.camouflage],
)
def test_few_pictures_are_those_that_the_set_begins_with(make):
    whole = make(8, size=64, seed=3).tensors
    with data.first(3):
        few = make(8, size=64, seed=3).tensors
        with data.first(3, fill=True):
            filled = make(8, size=64, seed=3).tensors
        assert len(make(2, size=64).tensors[0]) == 2
    for axis in (0, 1):  # images, masks
        assert few[axis].equal(whole[axis][:3])
        assert filled[axis].equal(whole[axis][[0, 0, 0, 1, 1, 1, 2, 2]])
    assert make(8, size=64, seed=3).tensors[0].equal(whole[0])


def test_the_canary_is_the_same_each_time_and_nine_digits(monkeypatch):
    once = fingerprint.canary()
    fingerprint.canary.cache_clear()
    torch.manual_seed(3)
    assert fingerprint.canary() == once and 0 < float(once) < 1
    assert len(once.replace(".", "").lstrip("0")) >= 8
    drawn = data.surfaces(8, seed=0).tensors
    other = TensorDataset(drawn[0] * (1 + 2**-22), drawn[1])  # another processor's
    monkeypatch.setattr(data, "surfaces", lambda n, seed: other)
    fingerprint.canary.cache_clear()
    assert fingerprint.canary() != once
    fingerprint.canary.cache_clear()
