"""What a network costs: parameters, multiply-accumulates, memory and time.

One multiply-accumulate is 1 MAC; FLOPs are twice as many. MACs are those of
convolutions, transposed convolutions and linear layers, which is what a count by hand
gives too; normalisation, activation and pooling are left out.
"""

import copy
import logging
import statistics
import time
import warnings

import torch
import torchinfo
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from helpers import memory
from helpers.trace import evaluating, on_meta

MULTIPLYING = ("conv", "linear", "addmm", "matmul", "bmm", "einsum")  # fvcore's names


def params(net: nn.Module) -> int:
    """Number of trainable parameters; one that is shared counts once."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def macs(net: nn.Module, *input_shape: int) -> int:
    """Multiply-accumulates of one forward pass, as torch.utils.flop_counter counts.

    On shapes alone: nothing is computed. `input_shape` has the batch first, which is
    counted in full: a batch of 2 costs twice. The counter counts 2 FLOPs per MAC.
    """
    twin, x = on_meta(net, *input_shape)
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        twin(x)
    return counter.get_total_flops() // 2


def fvcore_macs(net: nn.Module, *input_shape: int) -> int:
    """The same by fvcore: the network runs once, in evaluation mode, on zeros."""
    log = logging.getLogger("torch.jit._trace")  # torch's own: it warns of constants
    level = log.level
    with evaluating(net), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis

        log.setLevel(logging.ERROR)
        try:
            analysis = FlopCountAnalysis(net, torch.zeros(input_shape))
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            counted = analysis.tracer_warnings("none").by_operator()
        finally:
            log.setLevel(level)
    return int(sum(counted[name] for name in MULTIPLYING))


def counters(net: nn.Module, *input_shape: int) -> dict[str, int]:
    """MACs as three tools count them, side by side.

    "torch" is `macs`, "fvcore" counts in a real forward pass. "torchinfo" adds biases
    and normalisation, and counts a transposed convolution stride x stride times too
    often.
    """
    summary = torchinfo.summary(net, input_data=torch.zeros(input_shape), verbose=0)
    return {
        "fvcore": fvcore_macs(net, *input_shape),
        "torch": macs(net, *input_shape),
        "torchinfo": int(summary.total_mult_adds),
    }


def activation_memory(net: nn.Module, *input_shape: int, training: bool = False) -> int:
    """Bytes of feature maps, float32, at the fullest moment; without the parameters.

    Training: everything that the forward pass keeps for the backward pass. Inference:
    the peak of what is alive at the same time, the input included. Nothing is
    computed, and scratch space inside an operation is not counted.
    """
    if training:
        return _kept_for_backward(net, *input_shape)
    # torch has no public way to this peak; imported here, for it takes a second.
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    with FakeTensorMode(allow_non_fake_inputs=False):
        twin = _empty_copy(net).eval()
        tracker = MemTracker()
        tracker.track_external(twin)
        with tracker, torch.no_grad():
            twin(torch.empty(input_shape))
        peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]
    own = _by_storage([*twin.parameters(), *twin.buffers()])
    return int(peak["Total"]) - sum(map(_bytes, own.values()))


def times(net: nn.Module, *input_shape: int, repeats: int = 5) -> tuple[float, float]:
    """Median processor seconds of a forward pass, and of a forward and backward pass.

    On one thread, the two in turn: what else the machine does falls on both alike. One
    of each to warm up comes first, unless one repeat is all that is wanted. The forward
    pass is without gradients, in evaluation mode.
    """
    net = _twin(net)  # its statistics and gradients change
    x = torch.randn(input_shape)
    forward, both = [], []
    warm_up = 1 if repeats > 1 else 0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(repeats + warm_up):
            forward.append(seconds(net, x))
            both.append(seconds(net, x, training=True))
    finally:
        torch.set_num_threads(threads)
        del net
        memory.give_back()
    return statistics.median(forward[warm_up:]), statistics.median(both[warm_up:])


def _twin(net) -> nn.Module:
    """A copy with gradients and statistics of its own, on the same weights."""
    shared = {}
    for p in net.parameters():
        shared[id(p)] = nn.Parameter(p.detach(), p.requires_grad)
    return copy.deepcopy(net, shared)


def seconds(net: nn.Module, x: torch.Tensor, training: bool = False) -> float:
    """Processor seconds of one forward pass; with `training` of the way back too.

    Leaves the network in the mode that it ran in, and with the gradients of its mean.
    """
    net.train(training)
    start = time.process_time()
    with torch.set_grad_enabled(training):
        y = net(x)
        if training:
            maps = y if isinstance(y, tuple | list) else [y]
            sum(part.mean() for part in maps).backward()
    return time.process_time() - start


def card(net: nn.Module, *input_shape: int, repeats: int = 5) -> dict:
    """All of it for `figures.cost_card`; memory in bytes, times in seconds.

    Raises AssertionError where the forward pass was not measured to be the shorter one.
    """
    forward, both = times(net, *input_shape, repeats=repeats)
    if forward >= both:
        raise AssertionError(
            f"forward {forward} s, with backward {both} s: measure again"
        )
    return {
        "input": input_shape,
        "params": params(net),
        "macs": macs(net, *input_shape),
        "memory": activation_memory(net, *input_shape),
        "memory_training": activation_memory(net, *input_shape, training=True),
        "seconds": forward,
        "seconds_training": both,
    }


def _kept_for_backward(net, *input_shape) -> int:
    """Bytes that a forward pass in training mode keeps for the backward pass."""
    twin, x = on_meta(net, *input_shape)
    own, kept = _by_storage([*twin.parameters(), *twin.buffers()]), {}

    def keep(tensor):
        if _storage(tensor) not in own:
            kept[_storage(tensor)] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.device("meta"):
        y = twin.train()(x)
    del y
    return sum(map(_bytes, kept.values()))


def _empty_copy(net) -> nn.Module:
    """A copy made of fake tensors, when called inside FakeTensorMode."""
    empty = {}
    for p in net.parameters():
        empty[id(p)] = nn.Parameter(torch.empty(p.shape, dtype=p.dtype))
    for b in net.buffers():
        empty[id(b)] = torch.empty(b.shape, dtype=b.dtype)
    return copy.deepcopy(net, empty)


def _by_storage(tensors) -> dict:
    """The tensors by their storage: those that share one count once."""
    return {_storage(t): t for t in tensors}


def _storage(tensor) -> int:
    """A number that tells a tensor's storage from any other."""
    # No public name tells storages apart that hold nothing, as those on meta.
    return tensor.untyped_storage()._cdata


def _bytes(tensor) -> int:
    """Size of a tensor's storage, of which it may be a part."""
    return tensor.untyped_storage().nbytes()
