"""Every operation of a network, written down: what it is, reads and returns.

Nothing is computed: the network runs on PyTorch's "meta" device, where tensors have a
shape but no numbers, so a network with 134 million parameters costs no more than a
small one. Drawings, receptive fields and counts are made from this list.
"""

import copy
import re
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import nn

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
    have before and after in pixels (pad also mode and value), upsample has mode,
    align_corners and scale, which is None where the network names a size instead.
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
    return operations(exported(net, *input_shape))


def exported(net: nn.Module, *input_shape: int) -> torch.export.ExportedProgram:
    """The network as PyTorch writes it down, without weights: a graph of calls."""
    twin, x = on_meta(net, *input_shape)
    with torch.device("meta"):
        twin(x)  # first without torch.export, whose errors hide the network's own
        return torch.export.export(twin, (x,), strict=False)


def operations(program: torch.export.ExportedProgram) -> list[Op]:
    """The list of `trace`, from what `exported` returned: an Op has its node's name."""
    inputs = program.graph_signature.user_inputs
    ops, index_of = [], {}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        sources = _sources(node, index_of)
        if node.op == "output":
            _add_outputs(ops, index_of, node.args[0])
        elif not sources and node.name not in inputs:
            continue  # a parameter, buffer or constant, or computed from these alone
        elif not isinstance(value, torch.Tensor) or function_name(node) in SILENT:
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


@contextmanager
def evaluating(net: nn.Module):
    """Put `net` into evaluation mode, and back as it was afterwards."""
    modes = {m: m.training for m in net.modules()}
    net.eval()
    try:
        yield net
    finally:
        for module, mode in modes.items():
            module.training = mode


OTHERS = {  # kind -> how a table of operations calls it
    "pool": "max pooling",
    "norm": "batch norm",
    "add": "sum of two maps",
    "concat": "concatenation",
    "upsample": "resizing",
    "crop": "crop",
}


def labels(net: nn.Module, *input_shape: int, whole: type) -> list[str]:
    """What a network does, in words: a text for each operation that computes.

    "convolution 3 × 3, stride 2", "max pooling" ... What happens inside a module of
    the class `whole` is one operation, called by the class.
    """
    inside, found = set(), []
    for name, module in net.named_modules():
        if isinstance(module, whole):
            inside.add(name)
            found.append(whole.__name__)
    for op in trace(net, *input_shape):
        text = _label(op)
        if text and op.module not in inside:
            found.append(text)
    return found


def _label(op) -> str | None:
    """An operation in a few words; None for what is not told."""
    if "fft" in op.name:
        return "Fourier transform"
    if op.kind not in ("conv", "upconv"):
        return OTHERS.get(op.kind)
    name = "transposed" if op.kind == "upconv" else "convolution"
    name += " " + " × ".join(map(str, op.settings["kernel"]))
    if max(op.settings["stride"]) > 1:
        name += f", stride {max(op.settings['stride'])}"
    if max(op.settings["dilation"]) > 1:
        name += ", dilated"
    return name


# --- one node of the exported graph -> one Op ----------------------------------------


def _sources(node, index_of) -> list[int]:
    """Indices of the operations that a node reads; weights and constants are none."""
    return [index_of[n] for n in node.all_input_nodes if n in index_of]


def _add(ops, index_of, node) -> int:
    """Append the node as an Op, or merge it into the crop before; return its index."""
    value = node.meta["val"]
    sources = _sources(node, index_of)
    kind, settings = "input", {}
    if node.op != "placeholder":
        kind, settings = _describe(node, function_name(node), len(sources))
    modules = []
    for path, _ in node.meta.get("nn_module_stack", {}).values():
        if path:
            modules.append(re.sub(r"@\d+", "", path))  # @1: called again
    op = Op(
        index=len(ops),
        name=node.name,
        kind=kind,
        modules=tuple(modules),
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
    """Append an Op for each tensor that the network returns."""
    outputs = []
    for node in results:
        if node in index_of:
            source, name = ops[index_of[node]], f"output_{len(outputs)}"
            number = len(ops) + len(outputs)
            op = Op(number, name, "output", (), (source.index,), source.shape)
            outputs.append(op)
    ops += outputs


def function_name(node) -> str:
    """PyTorch's name of the function, in-place or not: conv2d, relu, cat ..."""
    schema = _schema(node)
    return schema.name.split("::")[1].rstrip("_") if schema else node.name


def _schema(node):
    """Name and arguments of the function that a node calls; None if it calls none.

    PyTorch's own record, for which it has no public name.
    """
    return getattr(node.target, "_schema", None)


def _describe(node, name, sources) -> tuple[str, dict]:
    """Kind and settings of a call."""
    kind = None
    for begins, word in KINDS.items():
        if kind is None and name.startswith(begins):
            kind = word
    if kind is None:
        return _pointwise(node, name, sources), {}
    spatial = len(node.meta["val"].shape) - 2
    given = arguments(node)
    if kind in ("conv", "upconv", "pool"):
        return kind, _window(given, kind, spatial)
    if kind == "upsample":
        corners = bool(given.get("align_corners"))
        mode = re.sub(r"upsample_|\dd", "", name)
        scale = given.get("scale_factors")
        return kind, {"mode": mode, "align_corners": corners, "scale": scale}
    if kind == "pad":
        return _padding(given, spatial)
    if kind == "crop":
        return _slice(node, given, spatial)
    of_channels = given.get("dim", 0) in (1, -1 - spatial)
    if (kind == "concat" or "softmax" in name) and not of_channels:
        return "other", {}
    return kind, {}


def _pointwise(node, name, sources) -> str:
    """The kind of a call that KINDS does not know, by what it reads and returns."""
    if name == "getitem" or node.name.startswith("getitem"):
        parts = node.args[0].all_input_nodes[0].meta["val"].shape[2:]
        return "split" if parts == node.meta["val"].shape[2:] else "other"
    if torch.Tag.pointwise not in getattr(node.target, "tags", ()):
        return "other"
    if sources < 2:
        return "activation"
    return "add" if name in ("add", "sub") else "multiply"


def arguments(node) -> dict:
    """A call's arguments by name, defaults included; {} for an input."""
    schema = _schema(node)
    declared = schema.arguments if schema else []
    values = {}
    for argument in declared:
        if argument.has_default_value():
            values[argument.name] = argument.default_value
    for argument, value in zip(declared, node.args):
        values[argument.name] = value
    return values | node.kwargs


def _window(given, kind, spatial) -> dict:
    """The settings of a convolution or pooling, a number for each spatial axis."""
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
    return "pad", extra | {"mode": given["mode"], "value": given["value"]}


def _slice(node, given, spatial) -> tuple[str, dict]:
    """Kind and settings of a slice: a crop of pixels, a split of channels, or other."""
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
    added = {}
    for side, cut in second.settings.items():
        added[side] = tuple(map(sum, zip(first.settings[side], cut)))
    return replace(first, shape=second.shape, settings=added)


def _read_once(node) -> bool:
    """Whether nothing but this node reads its first input."""
    return len(node.all_input_nodes[0].users) == 1


def _each(value, spatial) -> tuple[int, ...]:
    """One number for each spatial axis, from one for all or a list."""
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * spatial if len(values) == 1 else values)
