"""Draw a network from its trace: an SVG whose every box is a feature map.

Here a trace becomes boxes and arrows, and the same in words; helpers.layout puts them
in their places. Left to right is the order of execution, top to bottom the resolution,
so a U-Net comes out as a U without being told so. `figures.draw` is the way in.
"""

import html
import itertools
import math
from collections import Counter
from dataclasses import dataclass

from helpers import layout
from helpers.trace import Op, trace

NAMES = {  # kinds of arrows, as the legend calls them; "flow" is not explained
    "conv": "convolution",
    "strided": "strided convolution",
    "pool": "pooling",
    "upconv": "up-convolution",
    "upsample": "upsampling",
    "concat": "skip, concatenated",
    "add": "skip, added",
    "multiply": "skip, multiplied",
}
STEPS = ("input", "conv", "upconv", "pool", "upsample", "concat", "add", "multiply")
MERGES = ("concat", "add", "multiply")
SHOWN = {"conv": "convolution", "pool": "pooling", "upconv": "up-convolution"}
COUNTED = SHOWN | {  # operations that the text alternative counts
    "upsample": "upsampling",
    "add": "addition",
    "concat": "concatenation",
}


@dataclass(eq=False)
class Box:
    """A feature map in the picture, or a whole module drawn as one."""

    ops: list[Op]  # the last one returns the map
    level: int  # halvings since the input
    name: str = ""  # of the module, where the box stands for one
    copied: float = 0  # share of the channels that came over a skip
    result: str = ""  # name of the operation after which nothing more is done to it

    @property
    def shape(self) -> tuple:
        return self.ops[-1].shape

    @property
    def size(self) -> str:
        return size(self.shape)

    @property
    def kind(self) -> str:
        return "module" if self.name else self.ops[-1].kind

    @property
    def sign(self) -> str:
        """What is drawn in a circle instead of a box."""
        return {"add": "+", "multiply": "×"}.get(self.kind, "")

    @property
    def tip(self) -> str:
        """What a reader sees who hovers over the box."""
        return f"{_made_by(self)}: {' × '.join(map(str, self.shape[1:]))}"


@dataclass(eq=False)
class Arrow:
    """From one box to another; `crop` tells the size before and after, if it is cut."""

    source: Box
    target: Box
    kind: str
    crop: str = ""

    @property
    def skip(self) -> bool:
        return self.kind in MERGES


@dataclass
class Drawing:
    """The picture as HTML; `description` says the same in words."""

    html: str
    description: str

    def _repr_html_(self) -> str:
        return self.html


def draw(net, *input_shape, title=None, colour="#0072B2", depth=None) -> Drawing:
    """Draw `net` as it runs on an input of `input_shape` (batch first).

    A box is a feature map: height for its size, width for its channels, both on a log
    scale; normalisation, activation and dropout belong to the box before them.
    `depth=1` draws each module that the network calls as one box, `depth=2` each module
    that those call, and so on. Hovering over a box shows the module, operation and
    shape. A size which the network refuses raises the network's own error.
    """
    ops = trace(net, *input_shape)
    boxes, arrows = chart(ops, depth)
    title = title or type(net).__name__
    words = describe(ops, boxes, title)
    picture = layout.svg(boxes, arrows, title, words, colour)
    scroll = f"{title}: a wide drawing, it scrolls sideways"
    return Drawing(
        f'<figure class="network" style="margin:1em 0"><div class="network-scroll" '
        f'style="overflow-x:auto" tabindex="0" role="group" '
        f'aria-label="{html.escape(scroll)}">{picture}</div>'
        f"{layout.legend(_legend_names(arrows, ops))}</figure>",
        words,
    )


def size(shape) -> str:
    """A spatial size in few letters: 572², 96×128, 128²×64."""
    powers, parts = {1: "", 2: "²", 3: "³"}, []
    for length, same in itertools.groupby(shape[2:]):
        parts.append(f"{length}{powers[len(list(same))]}")
    return "×".join(parts)


# --- from operations to boxes and arrows ----------------------------------------------


def chart(ops: list[Op], depth=None) -> tuple[list[Box], list[Arrow]]:
    """Boxes in drawing order, and the arrows between them."""
    levels, users = _levels(ops), _users(ops)
    owner = {}  # index of an operation -> its box
    for group in _groups(ops, users, depth):
        name = group[-1].modules[depth - 1] if len(group) > 1 else ""
        box = Box(group, levels[group[-1].index], name)
        for op in group:
            owner[op.index] = box
    _fold_into_concats(ops, owner, users)
    boxes = sorted(dict.fromkeys(owner.values()), key=_time)
    arrows = _connect(ops, owner)
    _find_main_roads(boxes, arrows)
    for box in boxes:
        box.copied = _copied(box, arrows)
        box.result = _result(box.ops[-1], users).name
    return _drawing_order(boxes, arrows), arrows


def _users(ops) -> dict[int, list[Op]]:
    """The operations that read each operation's output."""
    users = {op.index: [] for op in ops}
    for op in ops:
        for index in set(op.inputs):
            users[index].append(op)
    return users


def _result(op, users) -> Op:
    """The operation, or the last norm, activation or dropout that belongs to it."""
    readers = users[op.index]
    while len(readers) == 1 and readers[0].kind in ("norm", "activation", "dropout"):
        op = readers[0]
        readers = users[op.index]
    return op


def _is_step(op, users) -> bool:
    """Is it worth a box of its own? A crop only where it ends the network."""
    if op.kind == "crop":
        return "output" in _kinds(users[op.index])
    return op.kind in STEPS or op.kind == "other"


def _levels(ops) -> list[int]:
    """Halvings since the input, for each operation's output."""
    levels = []
    for op in ops:
        level = min([levels[i] for i in op.inputs], default=0)
        if op.kind in ("conv", "pool"):
            level += math.log2(op.settings["stride"][-1])
        elif op.kind == "upconv":
            level -= math.log2(op.settings["stride"][-1])
        elif op.kind == "upsample":
            level += round(math.log2(ops[op.inputs[0]].shape[-1] / op.shape[-1]))
        elif op.kind == "other" and len(op.shape) > 2 and op.inputs:
            level = round(math.log2(ops[0].shape[-1] / op.shape[-1]))
        levels.append(round(level))
    return levels


def _groups(ops, users, depth) -> list[list[Op]]:
    """Runs of steps in the same module; a map read from outside ends its run."""

    def home(op):
        return op.modules[depth - 1] if depth and len(op.modules) >= depth else None

    groups, open_home = [], None
    for op in ops:
        if _is_step(op, users):
            if home(op) is not None and home(op) == open_home:
                groups[-1].append(op)
            else:
                groups.append([op])
            open_home = home(op)
        for user in users[op.index]:
            if home(user) != home(op):
                open_home = None
    return groups


def _fold_into_concats(ops, owner, users) -> None:
    """What is made only to be concatenated is drawn as a part of the concatenation."""
    for op in ops:
        if op.kind not in ("upconv", "upsample", "pool") or owner[op.index].name:
            continue
        readers = users[op.index]
        while len(readers) == 1 and readers[0].index not in owner:
            readers = users[readers[0].index]
        if len(readers) != 1 or readers[0].kind != "concat":
            continue
        box = owner[readers[0].index]
        if not box.name:
            box.ops.insert(0, op)
            owner[op.index] = box


def _connect(ops, owner) -> list[Arrow]:
    """An arrow for each step's inputs, and for several of one kind only one."""
    arrows = {}
    for step in ops:
        if step.index not in owner:
            continue
        target, kind = owner[step.index], _arrow_kind(step)
        for index in step.inputs:
            source, crop = _source(index, ops, owner)
            if source is not target:
                arrow = Arrow(source, target, kind, crop)
                arrows.setdefault((source, target, kind), arrow)
    return list(arrows.values())


def _source(index, ops, owner) -> tuple[Box, str]:
    """The box that made this input, and the crop on the way, if any."""
    crop = ""
    while index not in owner:
        op = ops[index]
        if op.kind == "crop":
            crop = f"{size(ops[op.inputs[0]].shape)}→{size(op.shape)}"
        index = op.inputs[0]
    return owner[index], crop


def _arrow_kind(step) -> str:
    if step.kind == "conv" and step.settings["stride"][-1] > 1:
        return "strided"
    return step.kind if step.kind in NAMES else "flow"


def _kinds(parts) -> list[str]:
    return [part.kind for part in parts]


def _into(box, arrows) -> list[Arrow]:
    return [arrow for arrow in arrows if arrow.target is box]


def _time(box) -> int:
    """When the box is ready: the index of its last operation."""
    return box.ops[-1].index


def _find_main_roads(boxes, arrows) -> None:
    """Of the arrows into a merge the longest way round is the main road, not a skip."""
    rank = _ranks(boxes, arrows)
    for box in boxes:
        for arrow in _into(box, arrows):
            if arrow.skip and rank[arrow.source] + 1 == rank[box]:
                arrow.kind = "flow"


def _ranks(boxes, arrows) -> dict[Box, int]:
    """Boxes on the longest way from the input to each box; `boxes` by their time."""
    rank = dict.fromkeys(boxes, 0)
    for box in boxes:
        for arrow in _into(box, arrows):
            rank[box] = max(rank[box], rank[arrow.source])
        rank[box] += 1
    return rank


def _copied(box, arrows) -> float:
    """The share of a concatenation's channels that came over a skip."""
    if box.ops[-1].kind != "concat":
        return 0
    channels = 0
    for arrow in _into(box, arrows):
        if arrow.kind == "concat":
            channels += arrow.source.shape[1]
    return min(channels / box.shape[1], 1)


def _drawing_order(boxes, arrows) -> list[Box]:
    """Main roads first, so that they get the straight places; side branches after."""
    rank, order = _ranks(boxes, arrows), []

    def visit(box):
        if box in order:
            return
        joining = _into(box, arrows)
        joining.sort(key=lambda arrow: -rank[arrow.source])
        for arrow in joining:
            visit(arrow.source)
        order.append(box)

    for box in reversed(boxes):
        visit(box)
    return order


# --- the same in words ----------------------------------------------------------------


def describe(ops: list[Op], boxes: list[Box], title: str) -> str:
    """The picture in sentences, for readers who cannot see it."""
    levels, maps = [], []  # each stay on a level: which, and the last map on it
    boxes = sorted(boxes, key=_time)
    for level, stay in itertools.groupby(boxes, key=lambda box: box.level):
        levels.append(level)
        maps.append(_map(list(stay)[-1].ops[-1]))
    text = f"{title} on an input of {_map(ops[0])}."
    turn = levels.index(max(levels)) + 1
    if levels[:turn] != list(range(turn)) or len(levels) > 24:
        text += f" It changes its resolution {len(levels) - 1} times,"
        text += f" over {1 + max(levels) - min(levels)} levels."
    elif turn > 1:
        text += f" Going down: {'; '.join(maps[:turn])}."
        upwards = levels[turn:] == sorted(levels[turn:], reverse=True)
        way = "Going up" if upwards else "Then up and down"
        text += f" {way}: {'; '.join(maps[turn:])}." if maps[turn:] else ""

    kinds = _kinds(ops)
    counts = [_plural(kinds.count(k), COUNTED[k]) for k in COUNTED if k in kinds]
    text += f" In all: {', '.join(counts)}."
    joins = [_join(ops, box.ops[-1]) for box in boxes if box.kind == "concat"]
    if 0 < len(joins) <= 12:
        text += f" Concatenated: {'; '.join(joins)}."
    outputs = Counter(_map(op) for op in ops if op.kind == "output")
    return f"{text} Output: {', '.join(map(_times, outputs, outputs.values()))}."


def _times(words, n) -> str:
    return f"{n} times {words}" if n > 1 else words


def _map(op) -> str:
    return f"{_plural(op.shape[1], 'channel')} of {' × '.join(map(str, op.shape[2:]))}"


def _plural(number, noun) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


def _join(ops, concat) -> str:
    """What a concatenation puts together."""
    parts = []
    for index in concat.inputs:
        op = ops[index]
        part = _map(op)
        if op.kind == "crop":
            whole = ops[op.inputs[0]].shape[2:]
            part += f" (cropped from {' × '.join(map(str, whole))})"
        parts.append(part)
    return " with ".join(parts)


def _made_by(box) -> str:
    """The module of a box, and its operations."""
    if box.name:
        kinds = Counter(map(_word, box.ops))
        parts = [f"{n} {kind}" for kind, n in kinds.items()]
        return f"{box.name} ({', '.join(parts)})"
    words = dict.fromkeys(map(_operation, reversed(box.ops)))  # each once
    path = box.ops[0].module
    return f"{path}: {' + '.join(words)}" if path else " + ".join(words)


def _operation(op) -> str:
    """A step in words: convolution 3×3, stride 2, padding 1."""
    words = op.name if op.kind == "other" else _word(op)
    settings = op.settings
    if "kernel" in settings:
        words += f" {_kernel(op)}"
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1)):
            if set(settings[name]) != {usual}:
                words += f", {name} {settings[name][-1]}"
    return words


def _word(op) -> str:
    return SHOWN.get(op.kind, op.kind)


def _kernel(op) -> str:
    return "×".join(map(str, op.settings["kernel"]))


def _legend_names(arrows, ops) -> dict[str, str]:
    """The kinds of arrows that occur, and nothing else: max pooling 2×2."""
    there = _kinds(arrows)
    return {kind: _legend_name(kind, ops) for kind in NAMES if kind in there}


def _legend_name(kind, ops) -> str:
    kernels, poolings = set(), set()
    for op in ops:
        if "kernel" in op.settings and _arrow_kind(op) == kind:
            kernels.add(_kernel(op))
        if op.kind == "pool":
            poolings.add(op.name.split("_")[0])
    name = NAMES[kind]
    if kind == "pool" and len(poolings) == 1:
        name = f"{poolings.pop()} pooling"  # max or mean
    return f"{name} {', '.join(sorted(kernels))}".rstrip()
