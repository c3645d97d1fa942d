"""A trace as a chart: a box for every feature map, and the arrows between them.

helpers.layout puts them in their places, helpers.svg draws them, helpers.drawing puts
them into a notebook.
"""

import itertools
import math
from collections import Counter
from dataclasses import dataclass

from helpers.trace import Op

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
        """Shape of the map, batch first."""
        return self.ops[-1].shape

    @property
    def size(self) -> str:
        """Spatial size of the map in few letters: see `size`."""
        return size(self.shape)

    @property
    def kind(self) -> str:
        """Kind of the operation that makes the map, or module."""
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
        """Whether it leads into a merge and is not the main road there."""
        return self.kind in MERGES


def size(shape) -> str:
    """A spatial size in few letters: 572², 96×128, 128²×64."""
    powers, parts = {1: "", 2: "²", 3: "³"}, []
    for length, same in itertools.groupby(shape[2:]):
        parts.append(f"{length}{powers[len(list(same))]}")
    return "×".join(parts)


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
    boxes = sorted(dict.fromkeys(owner.values()), key=ready)
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
        return "output" in kinds_of(users[op.index])
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
    """One arrow from each box to each that reads it."""
    kinds, crops = {}, {}  # (source, target) -> of all steps that read it
    for step in ops:
        if step.index not in owner:
            continue
        target = owner[step.index]
        for index in step.inputs:
            source, crop = _source(index, ops, owner)
            if source is not target:
                kinds.setdefault((source, target), []).append(arrow_kind(step))
                crops[source, target] = crops.get((source, target)) or crop
    arrows = []
    for pair, found in kinds.items():
        arrows.append(Arrow(*pair, _strongest(found, *pair), crops[pair]))
    return arrows


def _strongest(kinds, source, target) -> str:
    """Which of several steps between two boxes the arrow shows.

    Where the resolution changes, the one that changes it; else a convolution.
    """
    changing = ("pool", "strided", "upconv", "upsample")
    first = ("conv",) if source.level == target.level else changing
    for kind in (*first, *NAMES):
        if kind in kinds:
            return kind
    return "flow"


def _source(index, ops, owner) -> tuple[Box, str]:
    """The box that made this input, and the crop on the way, if any."""
    crop = ""
    while index not in owner:
        op = ops[index]
        if op.kind == "crop":
            crop = f"{size(ops[op.inputs[0]].shape)}→{size(op.shape)}"
        index = op.inputs[0]
    return owner[index], crop


def arrow_kind(step) -> str:
    """How the arrow to a step is drawn: a key of NAMES, or flow."""
    if step.kind == "conv" and step.settings["stride"][-1] > 1:
        return "strided"
    return step.kind if step.kind in NAMES else "flow"


def kinds_of(parts) -> list[str]:
    """The kinds of operations, boxes or arrows, in their order."""
    return [part.kind for part in parts]


def _into(box, arrows) -> list[Arrow]:
    """The arrows that lead to a box."""
    return [arrow for arrow in arrows if arrow.target is box]


def ready(box) -> int:
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
        """Put a box into the order, after all that lead to it."""
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


# --- words for the tips --------------------------------------------------------------


def _made_by(box) -> str:
    """The module of a box, and its operations."""
    if box.name:
        kinds = Counter(map(word, box.ops))
        parts = [f"{n} {kind}" for kind, n in kinds.items()]
        return f"{box.name} ({', '.join(parts)})"
    words = dict.fromkeys(map(_operation, reversed(box.ops)))  # each once
    path = box.ops[0].module
    return f"{path}: {' + '.join(words)}" if path else " + ".join(words)


def _operation(op) -> str:
    """A step in words: convolution 3×3, stride 2, padding 1."""
    words = op.name if op.kind == "other" else word(op)
    settings = op.settings
    if "kernel" in settings:
        words += f" {kernel(op)}"
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1)):
            if set(settings[name]) != {usual}:
                words += f", {name} {settings[name][-1]}"
    return words


def word(op) -> str:
    """An operation's kind as a reader knows it."""
    return SHOWN.get(op.kind, op.kind)


def kernel(op) -> str:
    """The size of an operation's kernel: 3×3."""
    return "×".join(map(str, op.settings["kernel"]))
