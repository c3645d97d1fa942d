"""helpers.cost against counts by hand and against real runs."""

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import chapters, cost


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.b = nn.Conv2d(8, 16, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x):
        a = F.relu(self.norm(self.a(x)))
        b = torch.relu(self.b(F.max_pool2d(a, 2)))
        return self.head(torch.cat([a, self.up(b)], 1))


BY_HAND = (
    32 * 32 * 8 * 3 * 9  # a: one 3x3x3 window for each output value
    + 16 * 16 * 16 * 8 * 9  # b, at half the size
    + 16 * 16 * 16 * 8 * 4  # up: each input value is spread over 2x2 outputs
    + 32 * 32 * 16  # head
)


def test_parameters_by_hand():
    a, b, up = 3 * 8 * 9 + 8, 8 * 16 * 9 + 16, 16 * 8 * 4 + 8
    assert cost.params(Small()) == a + b + up + 2 * 8 + 16 + 1
    frozen = nn.Linear(2, 2)
    frozen.weight.requires_grad_(False)
    assert cost.params(frozen) == 2


def test_macs_by_hand_and_by_another_counter(recwarn, caplog):
    net = Small()
    with caplog.at_level(logging.WARNING):
        counts = cost.counters(net, 1, 3, 32, 32)
    assert counts["fvcore"] == counts["torch"] == BY_HAND
    assert counts["torchinfo"] > BY_HAND  # biases, and `up` four times
    assert cost.macs(net, 2, 3, 32, 32) == 2 * BY_HAND
    assert not recwarn.list and not caplog.records
    assert net.training and net.norm.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("chapter", "make", "shape"),
    [
        ("00_segmentation", "small_three_layers", (1, 3, 32, 32)),
        ("01_fcn", "small_vgg", (1, 3, 96, 96)),
        ("01_fcn", "small_fcn", (1, 3, 64, 64)),
        ("02_unet", "small_unet", (1, 3, 32, 32)),
        ("03_vnet", "small_vnet", (1, 1, 16, 16, 16)),
        ("04_resunet", "small_resunet", (1, 3, 32, 32)),
        ("05_inception_unet", "small_inception_unet", (1, 3, 32, 32)),
        ("06_u2net", "small_u2net", (1, 3, 40, 32)),
    ],
)
def test_the_chapters_networks_cost_what_a_real_pass_says(chapter, make, shape):
    """Shapes alone and a run of the network, two libraries, the same number."""
    net = getattr(chapters.load(chapter), make)()
    assert cost.macs(net, *shape) == cost.fvcore_macs(net, *shape) > 0


def test_training_memory_by_hand():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    # kept: the input for the first weights; relu's result once, for itself and the next
    kept = 10 * 10 + 4 * 8 * 8
    assert cost.activation_memory(net, 1, 1, 10, 10, training=True) == 4 * kept


def test_inference_memory_by_hand():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    # fullest at the relu: its input and its result, with the image still held
    assert cost.activation_memory(net, 1, 1, 10, 10) == 4 * (100 + 2 * 4 * 8 * 8)


def test_training_memory_against_a_real_run():
    net, kept = Small(), {}
    own = {t.data_ptr() for t in [*net.parameters(), *net.buffers()]}

    def keep(t):
        if t.data_ptr() not in own:
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        y = net(torch.rand(2, 3, 32, 32))
    assert y.shape == (2, 1, 32, 32)
    expected = sum(kept.values())
    assert cost.activation_memory(net, 2, 3, 32, 32, training=True) == expected


def test_inference_memory_against_a_real_run():
    """PyTorch's profiler notes each allocation, the library's scratch space as well.

    How much scratch depends on the processor: some pad 8 channels to 16.
    """
    net = Small().eval()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as run:
        with torch.no_grad():
            net(torch.rand(1, 3, 128, 128))
    events = run.profiler.kineto_results.events()
    sizes = [e.nbytes() for e in events if e.name() == "[memory]"]
    alive = peak = 0
    for size in sizes:
        alive += size
        peak = max(peak, alive)
    predicted = cost.activation_memory(net, 1, 3, 128, 128)
    assert predicted <= 1.05 * peak
    assert peak < 2 * predicted


def test_a_refused_size_raises_the_networks_own_error():
    class Picky(nn.Conv2d):
        def forward(self, x):
            raise ValueError("33 px is not a size I take")

    for training in (False, True):
        with pytest.raises(ValueError, match="not a size I take"):
            cost.activation_memory(Picky(1, 1, 1), 1, 1, 33, 33, training=training)


def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_times_are_of_one_thread_and_change_nothing():
    net, threads, seen = Small(), torch.get_num_threads(), set()
    net.register_forward_pre_hook(lambda *_: seen.add(torch.get_num_threads()))
    before = state(net)
    torch.set_num_threads(2)
    forward, both = cost.times(net, 1, 3, 64, 64)
    assert torch.get_num_threads() == 2 and seen == {1}
    torch.set_num_threads(threads)
    assert 0 < forward < both
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert net.training and all(p.grad is None for p in net.parameters())


def test_a_forward_pass_that_takes_longer_than_a_step_is_no_measurement(monkeypatch):
    monkeypatch.setattr(cost, "times", lambda *_, repeats: (2.0, 1.0))
    with pytest.raises(AssertionError, match="measure again"):
        cost.card(Small(), 1, 3, 32, 32)


def test_a_card_has_it_all():
    net = Small()
    before = state(net)
    card = cost.card(net, 1, 3, 32, 32)
    assert card["macs"] == BY_HAND and card["input"] == (1, 3, 32, 32)
    assert card["params"] == cost.params(net)
    assert 0 < card["memory"] < card["memory_training"]
    assert 0 < card["seconds"] < card["seconds_training"]
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
