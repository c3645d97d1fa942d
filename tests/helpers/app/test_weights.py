"""Weights as users hold them: what is taken, what is refused and why."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.app import weights
from tests.helpers.files import refusal
from tests.helpers.toys import same_weights

pytestmark = pytest.mark.usefixtures("folder")


def network(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width))


@pytest.fixture
def state():
    torch.manual_seed(0)
    return network().state_dict()


def prefixed(state, prefix):
    return OrderedDict((prefix + key, value) for key, value in state.items())


def without(state, part):
    return {key: value for key, value in state.items() if part not in key}


@pytest.mark.parametrize(
    "make",
    [
        lambda state: state,
        lambda state: prefixed(state, "module."),
        lambda state: prefixed(state, "module.module."),
        lambda state: without(state, "num_batches_tracked"),
        lambda state: dict(state_dict=state, epoch=3),
        lambda state: dict(model=prefixed(state, "module."), optimizer={}, best=0.71),
        lambda state: dict(weights=state, configuration={}),  # a model.pt
        lambda state: dict(model=dict(state_dict=state, epoch=3)),
        lambda state: prefixed(state, "module._orig_mod."),
        lambda state: dict(state_dict=prefixed(state, "model."), epoch=3),  # Lightning
        lambda state: prefixed(state, "net.0."),
    ],
)
def test_they_are_taken(state, make):
    torch.save(make(state), "w.pth")
    net = network()
    weights.begin_with(net, "w.pth")
    assert same_weights(net.state_dict(), state)


def test_the_old_format_is_taken(state):
    torch.save(state, "w.pth", _use_new_zipfile_serialization=False)
    net = network()
    weights.begin_with(net, "w.pth")
    assert same_weights(net.state_dict(), state)


def shaped(state):
    return state | {"0.weight": torch.zeros(5, 4, 4, 4)}


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (lambda s: without(s, "0.weight"), "1 of 7 names are missing, first 0.weight"),
        (lambda s: s | {"x.y": torch.zeros(1)}, "1 names too many, first x.y"),
        (shaped, "0.weight is (5, 4, 4, 4) in the file and (4, 3, 3, 3) in the net"),
        (lambda s: {"conv.weight": torch.zeros(3)}, "not weights of this network"),
        (lambda s: s | {"0.bias": torch.full((4,), torch.nan)}, "are not finite"),
        (lambda s: s | {"x": s["0.bias"]}, "1 names too many, first x"),
        (lambda s: prefixed(s, "a.") | {"x": s["0.bias"]}, "a.0.weight there, 0.wei"),
        (
            lambda s: dict(best=0.7, epoch=3),
            "no tensor with a name: best, epoch",
        ),
        (lambda s: s | dict(epoch=3), "a name: epoch. Save a state_dict alone"),
        (lambda s: {1: torch.zeros(1)}, "no tensor with a name: 1. Save"),
        (lambda s: [s], "holds no table of tensors"),
        (lambda s: dict(model=s, best=np.float64(0.71)), "more than weights, which"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_half_loaded(state, make, answer):
    torch.save(make(state), "w.pth")
    net = network()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    message = refusal(weights.begin_with, ValueError, net, "w.pth")
    assert answer in message and message.startswith("w.pth")
    assert same_weights(net.state_dict(), before)


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("<html>quota exceeded</html>", "is a web page, a failed download"),
        ("\n\n <!DOCTYPE html>", "is a web page, a failed download"),
        ("\ufeff<html>", "is a web page, a failed download"),
        ("404: Not Found", "is a text (404: Not Found ...), a failed download"),
        ('{"message": "no"}', "is a text ({"),
        ("version https://git-lfs.github.com/spec/v1", "is a text (version https"),
    ],
)
def test_a_failed_download_is_called_so(content, answer):
    Path("w.pth").write_text(content, encoding="utf-8")
    message = refusal(weights.read, ValueError, "w.pth", {})
    assert message.startswith(f"w.pth {answer}")


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_and_a_cut_file(state):
    torch.jit.save(torch.jit.script(network()), "w.pth")
    assert "TorchScript program" in refusal(weights.read, ValueError, "w.pth", {})
    torch.save(state, "w.pth")
    Path("w.pth").write_bytes(Path("w.pth").read_bytes()[:500])
    assert "w.pth is damaged" in refusal(weights.read, ValueError, "w.pth", {})
    assert "no file" in refusal(weights.read, FileNotFoundError, "gone.pth", {})
