"""What happens to the shape of an image on its way through a network.

`trace` writes down every operation of a network, `feature_maps` every layer's output
shape, `receptive_field` which input positions an output position can depend on, and
`effective_receptive_field` how much it does. Apart from the last one nothing is
computed: the network runs on PyTorch's "meta" device, where tensors have a shape but
no numbers, so a network with 134 million parameters costs no more than a small one.
"""

import copy
import re
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

FOLLOWED = {  # operations whose output position i sees only position i of the inputs
    *("add", "multiply", "activation", "concat", "norm", "dropout", "repeat"),
    *("split", "output"),
}
KINDS = {  # how PyTorch's names begin -> the word this book uses
    "conv_transpose": "upconv",
    "conv": "conv",
    "max_pool": "pool",
    "avg_pool": "pool",
    "upsample": "upsample",
    "cat": "concat",
    "concat": "concat",
    "batch_norm": "norm",
    "instance_norm": "norm",
    "group_norm": "norm",
    "layer_norm": "norm",
    "dropout": "dropout",
    "feature_dropout": "dropout",
    "repeat": "repeat",
    "expand": "repeat",
    "tile": "repeat",
    "pad": "pad",
    "slice": "crop",
    "narrow": "crop",
    "softmax": "activation",
    "log_softmax": "activation",
    "prelu": "activation",
}
SILENT = {"clone", "contiguous", "detach", "alias", "to", "lift_fresh_copy"}


@dataclass(frozen=True)
class Op:
    """One operation of a network: what it is, what it reads, what it returns.

    `settings` holds what the kind needs, one number per spatial axis: conv, upconv and
    pool have kernel, stride, padding, dilation (pool also ceil_mode), crop and pad
    have before and after in pixels, upsample has mode and align_corners.
    """

    index: int
    name: str
    kind: str  # input, conv, upconv, pool, upsample, concat, add, crop, ..., output
    modules: tuple[str, ...]  # paths of the modules it happens in, outermost first
    inputs: tuple[int, ...]  # indices of the operations it reads
    shape: tuple[int, ...]  # of its output, batch first
    settings: dict = field(default_factory=dict)

    @property
    def module(self) -> str:
        """Dotted path of the innermost module; empty in the network's own forward."""
        return self.modules[-1] if self.modules else ""


def trace(net: nn.Module, *input_shape: int) -> list[Op]:
    """List every operation of `net` on an input of `input_shape` (batch first).

    The network is copied without its weights and run in evaluation mode; yours is not
    touched. The first record is the input, the last ones (one for each tensor that the
    network returns) have the kind "output". A size which the network refuses raises the
    network's own error.
    """
    twin, x = on_meta(net, *input_shape)
    with torch.device("meta"):
        twin(x)  # first without torch.export, whose errors hide the network's own
        program = torch.export.export(twin, (x,), strict=False)
    inputs = program.graph_signature.user_inputs
    ops, index_of = [], {}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        sources = [index_of[n] for n in node.all_input_nodes if n in index_of]
        if node.op == "output":
            _add_outputs(ops, index_of, node.args[0])
        elif not sources and node.name not in inputs:
            continue  # a parameter, buffer or constant, or computed from these alone
        elif not isinstance(value, torch.Tensor) or _name(node) in SILENT:
            index_of[node] = sources[0]
        else:
            index_of[node] = _add(ops, index_of, node)
    return ops


def on_meta(net: nn.Module, *input_shape: int) -> tuple[nn.Module, torch.Tensor]:
    """Return a copy of `net` in evaluation mode, and an input, both without numbers."""
    weightless = {}
    for p in net.parameters():
        empty = torch.empty_like(p, device="meta")
        weightless[id(p)] = nn.Parameter(empty, p.requires_grad)
    for b in net.buffers():
        weightless[id(b)] = torch.empty_like(b, device="meta")
    twin = copy.deepcopy(net, weightless)  # deepcopy takes these instead of the weights
    return twin.eval(), torch.empty(input_shape, device="meta")


class FeatureMap(NamedTuple):
    """A layer's path in the network, its class and the shape of its output."""

    module: str
    type: str
    shape: tuple[int, ...]


def feature_maps(net: nn.Module, *input_shape: int) -> list[FeatureMap]:
    """List the output shapes of all layers without children, in order of execution.

    Hooks see modules only: additions, concatenations and everything else written as a
    function is missing here; `trace` has them.
    """
    twin, x = on_meta(net, *input_shape)
    rows = []

    def note(path, module):
        def hook(_module, _inputs, output):
            first = output[0] if isinstance(output, tuple | list) else output
            rows.append(FeatureMap(path, type(module).__name__, tuple(first.shape)))

        return hook

    for path, module in twin.named_modules():
        if not list(module.children()):
            module.register_forward_hook(note(path, module))
    with torch.device("meta"):
        twin(x)
    return rows


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


def receptive_field(
    net: nn.Module,
    *input_shape: int,
    output: int = 0,
    module: str | None = None,
    axis: int = -1,
    clip: bool = False,
) -> Field:
    """Follow each output position back to the interval of inputs it can depend on.

    The answer is exact, position by position, along one spatial `axis` (-1 is the
    width). Asked of the network's output number `output`, or of the last operation
    inside `module` (a dotted path). Intervals may reach beyond the image, into padding;
    `clip=True` cuts them, in every layer, to positions which exist: what is left is
    where the gradient can be other than zero. Normalisation counts as pointwise, as in
    the papers; an operation that is not local (a Fourier transform, a global mean), or
    that is not known here, is taken to see all of its input. An unknown module raises
    ValueError.
    """
    ops = trace(net, *input_shape)
    axis = axis if axis < 0 else axis - len(input_shape)
    goal = _find(ops, output, module)
    nothing = np.iinfo(np.int64).max // 4
    size = goal.shape[axis]
    lo = {goal.index: np.arange(size)}
    hi = {goal.index: np.arange(size)}
    for op in reversed(ops[: goal.index + 1]):
        if op.index not in lo or op.kind == "input":
            continue
        for source in (ops[i] for i in op.inputs):
            first, last = _reach(op, source, axis, lo[op.index], hi[op.index])
            if clip:
                first = np.maximum(first, 0)
                last = np.minimum(last, source.shape[axis] - 1)
            empty = (lo[op.index] > hi[op.index]) | (first > last)
            first = np.where(empty, nothing, first)
            last = np.where(empty, -nothing, last)
            lo[source.index] = np.minimum(lo.get(source.index, nothing), first)
            hi[source.index] = np.maximum(hi.get(source.index, -nothing), last)
    if 0 not in lo:
        raise ValueError(f"{goal.module or goal.name} does not depend on the input")
    return Field(lo[0], hi[0], goal)


def effective_receptive_field(
    net: nn.Module, *input_shape: int, samples: int = 8, seed: int = 0
) -> np.ndarray:
    """Measure how strongly the central output position depends on each input pixel.

    Mean absolute gradient over `samples` inputs of normal noise and over the input's
    channels, scaled to a maximum of 1; an array of the input's spatial shape. The
    output's channels are mixed with random weights, new for each sample: their plain
    sum would hide what raises one class and lowers another by as much. Follows Luo et
    al. 2016 (arXiv 1701.04128). All zeros means that no gradient arrives at all.
    """
    device = next(net.parameters()).device
    random = torch.Generator().manual_seed(seed)
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


@contextmanager
def evaluating(net: nn.Module, training: bool = False):
    """Put `net` into evaluation (or training) mode, and back as it was afterwards."""
    modes = {m: m.training for m in net.modules()}
    net.train(training)
    try:
        yield net
    finally:
        for module, mode in modes.items():
            module.training = mode


# --- one node of the exported graph -> one Op ----------------------------------------


def _add(ops, index_of, node) -> int:
    """Append the node as an Op, or merge it into the crop before; return its index."""
    value = node.meta["val"]
    sources = [index_of[n] for n in node.all_input_nodes if n in index_of]
    kind, settings = "input", {}
    if node.op != "placeholder":
        kind, settings = _describe(node, _name(node), len(sources))
    stack = [path for path, _ in node.meta.get("nn_module_stack", {}).values() if path]
    modules = tuple(re.sub(r"@\d+", "", path) for path in stack)  # @1: called again
    op = Op(
        index=len(ops),
        name=node.name,
        kind=kind,
        modules=modules,
        inputs=tuple(sources),
        shape=tuple(value.shape),
        settings=settings,
    )
    if kind == "crop" and sources:
        before = ops[sources[0]]
        if before.shape == op.shape:  # a slice that takes everything
            return before.index
        if before is ops[-1] and before.kind == "crop" and _read_once(node):
            ops[-1] = _merge_crops(before, op)
            return before.index
    ops.append(op)
    return op.index


def _add_outputs(ops, index_of, results) -> None:
    flat = torch.utils._pytree.tree_leaves(results)
    for n, node in enumerate(r for r in flat if r in index_of):
        source = ops[index_of[node]]
        ops.append(
            Op(len(ops), f"output_{n}", "output", (), (source.index,), source.shape)
        )


def _name(node) -> str:
    """PyTorch's name of the function, in-place or not: conv2d, relu, cat ..."""
    schema = getattr(node.target, "_schema", None)
    return schema.name.split("::")[1].rstrip("_") if schema else node.name


def _describe(node, name, sources) -> tuple[str, dict]:
    """Kind and settings of a call."""
    kind = next((word for key, word in KINDS.items() if name.startswith(key)), None)
    if kind is None:
        return _pointwise(node, name, sources), {}
    spatial = len(node.meta["val"].shape) - 2
    given = _arguments(node)
    if kind in ("conv", "upconv", "pool"):
        return kind, _window(given, kind, spatial)
    if kind == "upsample":
        corners = bool(given.get("align_corners"))
        mode = re.sub(r"upsample_|\dd", "", name)
        return kind, {"mode": mode, "align_corners": corners}
    if kind == "pad":
        return _padding(given, spatial)
    if kind == "crop":
        return _slice(node, given, spatial)
    if kind == "concat" and given.get("dim", 0) not in (1, -1 - spatial):
        return "other", {}
    return kind, {}


def _pointwise(node, name, sources) -> str:
    if name == "getitem" or node.name.startswith("getitem"):
        parts = node.args[0].all_input_nodes[0].meta["val"].shape[2:]
        return "split" if parts == node.meta["val"].shape[2:] else "other"
    if torch.Tag.pointwise not in getattr(node.target, "tags", ()):
        return "other"
    if sources < 2:
        return "activation"
    return "add" if name in ("add", "sub") else "multiply"


def _arguments(node) -> dict:
    """A call's arguments by name, defaults included."""
    declared = node.target._schema.arguments
    values = {a.name: a.default_value for a in declared if a.has_default_value()}
    values.update(zip((a.name for a in declared), node.args, strict=False))
    return values | node.kwargs


def _window(given, kind, spatial) -> dict:
    if "weight" in given:
        kernel = tuple(given["weight"].meta["val"].shape[2:])
    else:
        kernel = _each(given["kernel_size"], spatial)
    stride = _each(given.get("stride") or kernel, spatial)
    dilation = _each(given.get("dilation", 1), spatial)
    padding = given["padding"]
    if padding == "same":
        padding = [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
    padding = _each(0 if padding == "valid" else padding, spatial)
    window = dict(kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    if kind == "pool":
        window["ceil_mode"] = given["ceil_mode"]
    return window


def _padding(given, spatial) -> tuple[str, dict]:
    """F.pad counts pairs from the last axis; a negative pad is a crop."""
    pairs = list(given["pad"]) + [0] * (2 * spatial - len(given["pad"]))
    before, after = pairs[0::2][::-1][-spatial:], pairs[1::2][::-1][-spatial:]
    if max(before + after) <= 0:
        cut = {"before": tuple(-b for b in before), "after": tuple(-a for a in after)}
        return "crop", cut
    extra = {"before": tuple(before), "after": tuple(after)}
    return "pad", extra | {"mode": given["mode"]}


def _slice(node, given, spatial) -> tuple[str, dict]:
    shape, result = given["self"].meta["val"].shape, node.meta["val"].shape
    axis = given["dim"] % len(shape) - 2
    if given.get("step", 1) != 1:
        return "other", {}
    if axis < 0:
        return "split", {}
    start = given["start"] or 0
    start = start + shape[axis + 2] if start < 0 else start
    before, after = [0] * spatial, [0] * spatial
    before[axis], after[axis] = start, shape[axis + 2] - start - result[axis + 2]
    return "crop", {"before": tuple(before), "after": tuple(after)}


def _merge_crops(first: Op, second: Op) -> Op:
    """Height and width are sliced one after the other: one crop for the reader."""
    added = {
        side: tuple(map(sum, zip(first.settings[side], cut, strict=True)))
        for side, cut in second.settings.items()
    }
    return replace(first, shape=second.shape, settings=added)


def _read_once(node) -> bool:
    return len(node.all_input_nodes[0].users) == 1


def _each(value, spatial) -> tuple[int, ...]:
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * spatial if len(values) == 1 else values)


# --- receptive field: one step back ---------------------------------------------------


def _find(ops, output, module) -> Op:
    if module is None:
        return [op for op in ops if op.kind == "output"][output]
    inside = [op for op in ops if (op.module + ".").startswith(module + ".")]
    if not inside:
        known = ", ".join(sorted({op.module for op in ops if op.module}))
        raise ValueError(f"no operation in module {module!r}; there are {known}")
    return inside[-1]


def _reach(op: Op, source: Op, axis: int, lo, hi):
    """The inputs (from `source`) that the outputs lo .. hi of `op` depend on."""
    size, new_size = source.shape[axis], op.shape[axis]
    if op.kind in ("conv", "upconv", "pool"):
        names = ("kernel", "stride", "padding", "dilation")
        kernel, stride, pad, dilation = (op.settings[n][axis] for n in names)
        span = (kernel - 1) * dilation
        if op.kind != "upconv":
            return lo * stride - pad, hi * stride - pad + span
        # input i is added to the outputs i * stride - pad + (0 .. span)
        return -((span - lo - pad) // stride), (hi + pad) // stride
    if op.kind == "upsample":
        return _reach_upsample(op.settings, size, new_size, lo, hi)
    if op.kind == "crop":
        return lo + op.settings["before"][axis], hi + op.settings["before"][axis]
    if op.kind == "pad":
        return lo - op.settings["before"][axis], hi - op.settings["before"][axis]
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
