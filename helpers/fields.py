"""Which pixels of the input a position of a feature map can depend on, and does.

`receptive_field` follows each position back through the trace, exactly and without
computing anything; `effective_receptive_field` measures gradients.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from helpers.trace import Op, evaluating, trace

FOLLOWED = {  # operations whose output position i sees only position i of the inputs
    *("add", "multiply", "activation", "concat", "norm", "dropout", "repeat"),
    *("split", "output"),
}


class Field(NamedTuple):
    """For each position of a feature map the input positions it depends on.

    Position i depends on lo[i] .. hi[i], both included; lo > hi where it depends on
    none (a transposed convolution whose stride exceeds its kernel leaves such gaps).
    """

    lo: np.ndarray
    hi: np.ndarray
    op: Op  # the operation whose output this is

    @property
    def width(self) -> np.ndarray:
        """Pixels seen by each position."""
        return np.maximum(self.hi - self.lo + 1, 0)

    @property
    def reach(self) -> int:
        """How far, in pixels, a position looks to the left or right of its own place.

        For a map as large as the input: the margin that a tile of a picture needs.
        """
        position = np.arange(len(self.lo))
        left, right = position - self.lo, self.hi - position
        return int(max(left.max(), right.max()))


def receptive_field(
    net: nn.Module, *input_shape: int, module: str | None = None, clip: bool = False
) -> Field:
    """Follow each output position back to the interval of inputs it can depend on.

    The answer is exact, position by position, along the width (the last axis). Asked of
    the network's first output, or of the last operation inside `module` (a dotted
    path). Intervals may reach beyond the image, into padding;
    `clip=True` cuts them, in every layer, to positions which exist: what is left is
    where the gradient can be other than zero. Normalisation counts as pointwise, as in
    the papers; an operation that is not local (a Fourier transform, a global mean), or
    that is not known here, is taken to see all of its input. Raises ValueError for an
    unknown module, and for an output that does not depend on the input.
    """
    ops = trace(net, *input_shape)
    goal = _find(ops, module)
    nothing = np.iinfo(np.int64).max // 4
    size = goal.shape[-1]
    lo = {goal.index: np.arange(size)}
    hi = {goal.index: np.arange(size)}
    for op in reversed(ops[: goal.index + 1]):
        if op.index not in lo or op.kind == "input":
            continue
        for number in op.inputs:
            source = ops[number]
            first, last = _reach(op, source, lo[op.index], hi[op.index])
            if clip:
                first = np.maximum(first, 0)
                last = np.minimum(last, source.shape[-1] - 1)
            empty = (lo[op.index] > hi[op.index]) | (first > last)
            first = np.where(empty, nothing, first)
            last = np.where(empty, -nothing, last)
            lo[source.index] = np.minimum(lo.get(source.index, nothing), first)
            hi[source.index] = np.maximum(hi.get(source.index, -nothing), last)
    if 0 not in lo:
        raise ValueError(f"{goal.module or goal.name} does not depend on the input")
    return Field(lo[0], hi[0], goal)


def effective_receptive_field(
    net: nn.Module, *input_shape: int, samples: int = 8
) -> np.ndarray:
    """Measure how strongly the central output position depends on each input pixel.

    Mean absolute gradient over `samples` inputs of normal noise and over the input's
    channels, scaled to a maximum of 1; an array of the input's spatial shape. The
    output's channels are mixed with random weights, new for each sample: their plain
    sum would hide what raises one class and lowers another by as much. Follows Luo et
    al. 2016 (arXiv 1701.04128). All zeros means that no gradient arrives at all.
    """
    device = next(net.parameters()).device
    random = torch.Generator().manual_seed(0)
    total = torch.zeros(input_shape[2:])
    with evaluating(net):
        for _ in range(samples):
            x = torch.randn(input_shape, generator=random).to(device).requires_grad_()
            y = net(x)
            y = y[0] if isinstance(y, tuple | list) else y
            centre = y[(..., *[n // 2 for n in y.shape[2:]])]
            weights = torch.randn(centre.shape, generator=random).to(device)
            (gradient,) = torch.autograd.grad((centre * weights).sum(), x)
            total += gradient.abs().mean(dim=(0, 1)).cpu()
    return (total / total.max().clamp(min=torch.finfo().tiny)).numpy()


# --- receptive field: one step back ---------------------------------------------------


def _find(ops, module) -> Op:
    """The last operation in a module (None: the output); ValueError where none is."""
    if module is None:
        return next(op for op in ops if op.kind == "output")
    inside, known = [], set()
    for op in ops:
        known.add(op.module)
        if f"{op.module}.".startswith(f"{module}."):
            inside.append(op)
    if not inside:
        known = ", ".join(sorted(known - {""}))
        raise ValueError(f"no operation in module {module!r}; there are {known}")
    return inside[-1]


def _reach(op: Op, source: Op, lo, hi):
    """The inputs (from `source`) that the outputs lo .. hi of `op` depend on."""
    size, new_size = source.shape[-1], op.shape[-1]
    if op.kind in ("conv", "upconv", "pool"):
        names = ("kernel", "stride", "padding", "dilation")
        kernel, stride, pad, dilation = [op.settings[name][-1] for name in names]
        span = (kernel - 1) * dilation
        if op.kind != "upconv":
            return lo * stride - pad, hi * stride - pad + span
        # input i is added to the outputs i * stride - pad + (0 .. span)
        return -((span - lo - pad) // stride), (hi + pad) // stride
    if op.kind == "upsample":
        return _reach_upsample(op.settings, size, new_size, lo, hi)
    if op.kind == "crop":
        return lo + op.settings["before"][-1], hi + op.settings["before"][-1]
    if op.kind == "pad" and op.settings["mode"] != "circular":
        return lo - op.settings["before"][-1], hi - op.settings["before"][-1]
    if op.kind in FOLLOWED and size == new_size:
        return lo, hi
    return np.zeros_like(lo), np.full_like(hi, size - 1)


def _reach_upsample(settings, size, new_size, lo, hi):
    """In whole numbers: where output o falls between two inputs, as top / bottom."""
    if settings["mode"].startswith("nearest"):
        return lo * size // new_size, hi * size // new_size
    if settings["align_corners"]:
        bottom = max(new_size - 1, 1)
        lo, hi = lo * (size - 1), hi * (size - 1)
    else:
        bottom = 2 * new_size
        lo, hi = (2 * lo + 1) * size - new_size, (2 * hi + 1) * size - new_size
    extra = 1 if settings["mode"] == "bicubic" else 0
    return lo // bottom - extra, -(-hi // bottom) + extra
