"""A network as a small program that a web page runs: live.js is its engine.

`pack(net, 1, 3, 64, 64)` lists the operations of a trained network with their weights
in float16; the result is plain JSON, for a page or for a file. The engine computes the
same from it, at other sizes too, without Python, server or internet.
"""

import base64
import math
from collections import defaultdict

import numpy as np
import torch
from torch import nn

from helpers import embed, graph, trace

SCRIPTS = "live.js", "live_simd.js", "live_tiles.js", "live_worker.js"
STEPS = 1, 2, 4, 8, 16, 32, 64  # px by which a network may let its input grow
PLAIN = "relu", "sigmoid", "sqrt", "dropout", "feature_dropout"  # nothing to set
JOINS = "add", "sub", "mul", "div"  # of two maps, or of a map and numbers


def pack(net: nn.Module, *input_shape: int) -> dict:
    """A network's program for live.js: its operations, its weights in float16.

    `input_shape` is (1, channels, height, width). The program does what the network
    does in evaluation mode, with batch norm folded into the convolution before it.
    It is a dict that JSON can hold: "shape" (channels, height, width), "step" (the
    sides may differ from that by multiples of so many px; 0: by none), "ops", "outputs"
    (indices of ops) and "weights" (base64). An op has the name that `trace.trace` gives
    it; what was folded into the next one has none. Raises ValueError for an operation
    that the engine does not know, and for weights that float16 cannot hold.
    """
    program, weights = listed(net, *input_shape, dtype=torch.float16)
    return program | {"weights": base64.b64encode(weights).decode()}


def listed(net: nn.Module, *input_shape: int, dtype) -> tuple[dict, np.ndarray]:
    """The program of `pack` without its weights, and these: one array, in `dtype`."""
    if len(input_shape) != 4 or input_shape[0] != 1:
        raise ValueError(
            "a page runs one picture: the shape must be (1, channels, height, width), "
            f"not {input_shape}"
        )
    packer = Packer(net, *input_shape)
    for op in packer.needed():
        packer.add(op)
    outputs = [packer.place[op.inputs[0]] for op in packer.ops if op.kind == "output"]
    weights = packer.weights(dtype)
    program = {
        "shape": list(input_shape[1:]),
        "step": size_step(net, *input_shape),
        "ops": packer.lines,
        "outputs": outputs,
    }
    return program, weights


def engine() -> str:
    """The engine's scripts as one text for a page: liveStart, and what it needs."""
    return "".join(embed.read(file) for file in SCRIPTS)


def size_step(net: nn.Module, *input_shape: int) -> int:
    """The fewest px by which all sides may grow together, 0 where none will do.

    It is tried on shapes alone, up to 64 px: of a picture, or of a volume.
    """
    batch, channels, *sides = input_shape
    for step in STEPS:
        larger = [side + step for side in sides]
        twin, x = trace.on_meta(net, batch, channels, *larger)
        try:
            with torch.device("meta"):
                twin(x)
        except Exception:  # any error says no
            continue
        return step
    return 0


def spectral_matrix(old: int, new: int, half: int) -> torch.Tensor:
    """(new, old), float64: brings `old` samples to `new` and keeps the waves 0..half.

    A Fourier transform, a cut and the transform back as one sum of cosines, which is
    Dirichlet's kernel; `half` is below old / 2. live.js makes the same matrix for
    the size that it meets.
    """
    there = torch.arange(new, dtype=torch.float64)[:, None] / new
    here = torch.arange(old, dtype=torch.float64) / old
    matrix = torch.ones(new, old, dtype=torch.float64)
    for wave in range(1, half + 1):
        matrix += 2 * torch.cos(2 * math.pi * wave * (there - here))
    return matrix / old


class Packer:
    """Turns the operations of a trace into lines of a program, one after the other.

    `ops` is the trace, `lines` the program so far, place[i] the line that holds the
    result of the trace's operation i.
    """

    def __init__(self, net, *input_shape):
        """Trace the network on an input of this shape; no line is written yet."""
        program = trace.exported(net, *input_shape)
        self.network = type(net).__name__
        self.ops = trace.operations(program)
        self.nodes = {node.name: node for node in program.graph.nodes}
        self.known = graph.weights_of(net, program)
        self.changing = graph.changing(program)
        self.lines, self.place = [], {}
        self.readers = defaultdict(list)
        for op in self.ops:
            for i in op.inputs:
                self.readers[i].append(op)

    def needed(self):
        """The operations that lead to an output, in their order."""
        wanted = {0}
        for op in reversed(self.ops):
            if op.kind == "output" or op.index in wanted:
                wanted.update([op.index, *op.inputs])
        return [op for op in self.ops if op.index in wanted and op.kind != "output"]

    def add(self, op):
        """Append the line of an operation, or refuse it."""
        if op.index in self.place:
            return  # it is part of a line already
        node = self.nodes[op.name]
        name, given = trace.function_name(node), trace.arguments(node)
        if op.kind == "input":
            self.append(op, "input")
        elif name in ("conv2d", "conv_transpose2d"):
            self.conv(op, given)
        elif name == "batch_norm":
            self.norm(op, given)
        elif name == "max_pool2d":
            self.append(op, "pool", **op.settings)
        elif name in PLAIN:
            self.append(op, name.removeprefix("feature_"))
        elif name == "prelu":
            self.append(op, "prelu", weight=self.value(given["weight"]))
        elif name == "softmax" and given["dim"] in (1, -3):
            self.append(op, "softmax")
        elif name in ("mean", "var"):
            self.spread(op, name, given)
        elif name in JOINS:
            self.join(op, name, given)
        elif name == "fft_rfft":
            self.spectral(op, given)
        elif op.kind == "concat":
            self.concat(op, given)
        elif op.kind == "crop":
            self.crop(op)
        elif op.kind == "pad":
            self.pad(op)
        elif op.kind == "upsample":
            self.upsample(op)
        else:
            self.refuse(op, name)

    def append(self, op, kind, inputs=None, **settings):
        """A line; `inputs` are lines, those of the operation's own inputs if None."""
        if inputs is None:
            inputs = [self.place[i] for i in op.inputs]
        self.place[op.index] = len(self.lines)
        self.lines.append({"name": op.name, "kind": kind, "inputs": inputs} | settings)

    def refuse(self, op, what):
        """The one error for what the engine does not do."""
        where = f" (in {op.module})" if op.module else ""
        raise ValueError(
            f"a page cannot run {self.network}: {what}{where} is nothing that "
            "helpers/live.js computes. Leave it out, or teach it to live.py and live.js"
        )

    def value(self, thing):
        """What an argument is: a number, a tensor computed from weights alone."""
        return graph.computed(thing, self.known)

    def conv(self, op, given):
        """A convolution, plain or transposed: its weights and how its window moves."""
        if given["groups"] != 1:
            self.refuse(op, f"a convolution in {given['groups']} groups")
        if given["padding"] == "same":
            for length, apart in zip(op.settings["kernel"], op.settings["dilation"]):
                if (length - 1) * apart % 2:
                    self.refuse(op, f"padding 'same' of a kernel of {length} px")
        bias = self.value(given["bias"])
        if bias is None:
            bias = torch.zeros(op.shape[1])
        line = dict(weight=self.value(given["weight"]), bias=bias, **op.settings)
        if op.kind == "upconv":  # a side of n px becomes (n - 1) * stride + grow
            line["grow"] = []
            sides = zip(self.ops[op.inputs[0]].shape[2:], op.shape[2:])
            for axis, (before, after) in enumerate(sides):
                grow = after - (before - 1) * op.settings["stride"][axis]
                line["grow"].append(grow)
        self.append(op, op.kind, **line)

    def norm(self, op, given):
        """Scale and shift of each channel, in the convolution before if possible."""
        if given["running_mean"] is None:
            self.refuse(op, "a batch norm without running statistics")
        variance = self.value(given["running_var"]).double()
        scale = 1 / (variance + given["eps"]).sqrt()
        if given["weight"] is not None:
            scale = scale * self.value(given["weight"])
        shift = -self.value(given["running_mean"]) * scale
        if given["bias"] is not None:
            shift = shift + self.value(given["bias"])
        before = op.inputs[0]
        line = self.lines[self.place[before]]
        if line["kind"] not in ("conv", "upconv") or len(self.readers[before]) > 1:
            self.append(op, "norm", weight=scale, bias=shift)
            return
        filters = (-1, 1, 1, 1) if line["kind"] == "conv" else (1, -1, 1, 1)
        line["weight"] = line["weight"] * scale.reshape(filters)
        line["bias"] = line["bias"] * scale + shift
        line["name"] = op.name
        self.place[op.index] = self.place[before]

    def spread(self, op, name, given):
        """Mean or variance over the picture, of each channel or of all together."""
        axes = {axis % 4 for axis in given.get("dim") or range(4)}
        if not {2, 3} <= axes or not given.get("keepdim"):
            self.refuse(op, f"{name} that is not over height and width, kept as 1 x 1")
        settings = dict(together=1 in axes)
        if name == "var":
            correction = given.get("correction", given.get("unbiased"))
            settings["correction"] = 1 if correction is None else int(correction)
        self.append(op, name, **settings)

    def join(self, op, name, given):
        """A sum, difference, product or quotient of two maps, or of one and numbers."""
        if given.get("alpha", 1) != 1 or given.get("rounding_mode"):
            self.refuse(op, f"{name} with alpha or rounding")
        maps, inputs = list(op.inputs), []
        for side in (given["self"], given["other"]):
            if side in self.changing:
                inputs.append(self.place[maps[0]])
                maps = maps[1:] or maps  # x + x reads one map twice
            else:
                inputs.append(self.constant(op, torch.as_tensor(self.value(side))))
        self.append(op, name, inputs)

    def constant(self, op, numbers):
        """The line of a number for each channel, or of one for all; not rounded."""
        large = max(numbers.shape[-2:], default=1) > 1
        if large or numbers.numel() not in (1, op.shape[1]):
            self.refuse(op, f"{op.name} with numbers of shape {tuple(numbers.shape)}")
        line = {"name": f"{op.name} by", "kind": "constant", "inputs": []}
        self.lines.append(line | {"values": numbers.flatten().tolist()})
        return len(self.lines) - 1

    def concat(self, op, given):
        """Maps side by side; the same one may stand there twice."""
        nodes = given["tensors"]
        if not self.changing.issuperset(nodes):
            self.refuse(op, "a concatenation with numbers that are no map")
        place = dict(zip(dict.fromkeys(nodes), op.inputs))
        self.append(op, "concat", [self.place[place[node]] for node in nodes])

    def crop(self, op):
        """From `before` on: as much as another map has, or all but `after`."""
        settings = dict(op.settings)
        like = self.like(op)
        if like is not None:
            settings["like"] = like
            del settings["after"]
        self.append(op, "crop", **settings)

    def pad(self, op):
        """Around a map; None stands for minus infinity, which JSON does not have."""
        settings = dict(op.settings)
        mode, value = settings.pop("mode"), settings.pop("value") or 0.0
        if mode != "constant" or min(op.settings["before"] + op.settings["after"]) < 0:
            self.refuse(op, f"a pad of mode {mode!r}, {op.settings}")
        if value == -math.inf:
            value = None
        self.append(op, "pad", value=value, **settings)

    def upsample(self, op):
        """By a scale, or to the size of another map."""
        settings = dict(op.settings)
        mode, corners = settings["mode"], settings.pop("align_corners")
        if mode not in ("nearest", "bilinear") or corners:
            self.refuse(op, f"resizing of mode {mode!r}, align_corners={corners},")
        if settings["scale"] is None:
            settings["like"] = self.like(op)
            if settings["like"] is None:
                self.refuse(op, f"resizing to {op.shape[2:]}, no other map's size,")
        self.append(op, "upsample", **settings)

    def like(self, op):
        """The line whose height and width a map is brought to, or None.

        Maps that are joined have equal sizes whatever the input's; and a map that is
        brought to the input's size is so for other inputs too.
        """
        for reader in self.readers[op.index]:
            if reader.kind not in ("concat", "add", "multiply"):
                continue
            for i in reader.inputs:
                earlier = i < op.index and i in self.place
                if earlier and self.ops[i].shape[2:] == op.shape[2:]:
                    return self.place[i]
        return self.place[0] if op.shape[2:] == self.ops[0].shape[2:] else None

    def spectral(self, op, given):
        """A spectral pooling along one axis: all operations up to the transform back.

        The line says what share of the samples and of the waves is kept; the matrix is
        made from that where it runs. Here it is compared with what the network does.
        """
        end = op.index
        while not self.ops[end].name.startswith("fft_irfft"):
            end += 1
            if end == len(self.ops):
                self.refuse(op, "a Fourier transform without one back")
        half = self.ops[self.ops[end].inputs[0]].shape[-1] - 1
        if self.ops[end + 1].name.startswith("movedim"):
            end += 1
        source, axis = self.ops[op.inputs[0]], given["dim"] % 4
        old, new = source.shape[axis], self.ops[end].shape[axis]
        each = torch.eye(old)[None, None]  # every sample alone
        known = self.known | {source.name: each}
        answer = graph.computed(self.nodes[self.ops[end].name], known)[0, 0].double()
        matrix = spectral_matrix(old, new, half)
        if axis == 3:
            matrix = matrix.T
        if not torch.allclose(answer, matrix, atol=1e-5):
            self.refuse(op, "a Fourier transform that is no spectral pooling")
        if old % new or old % max(1, 2 * half):
            raise ValueError(
                f"{self.network} keeps {2 * half} waves of {old} px, no whole share of "
                "them: pack it for sides that are powers of two; it runs at others, too"
            )
        share = dict(stride=old // new, part=old // max(1, 2 * half))
        for inner in self.ops[op.index : end + 1]:
            self.place[inner.index] = len(self.lines)
        inputs = [self.place[source.index]]
        self.append(self.ops[end], "spectral", inputs, axis=axis - 2, **share)

    def weights(self, dtype):
        """All weights one after the other: an array (N,) of float16 or float32.

        The lines keep where theirs begin, counted in numbers, and their shape.
        """
        parts, start = [np.zeros(0, np.float16)], 0
        for line in self.lines:
            for key in ("weight", "bias"):
                if key not in line:
                    continue
                numbers = line[key].detach().to(dtype)
                if not numbers.isfinite().all():
                    raise ValueError(
                        f"{line['name']} of {self.network} has a {key} of "
                        f"{line[key].abs().max():.3g}; "
                        f"{str(dtype)[6:]} ends at {torch.finfo(dtype).max:.5g}"
                    )
                line[key] = {"start": start, "shape": list(numbers.shape)}
                parts.append(numbers.cpu().numpy().ravel())
                start += numbers.numel()
        return np.concatenate(parts)
