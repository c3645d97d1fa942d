"""Draw a network from its trace: an SVG whose every box is a feature map.

Left to right is the order of execution, top to bottom the resolution, so a U-Net
comes out as a U without being told so. `figures.draw` is the way in.
"""

import html
import itertools
import math
from collections import Counter
from dataclasses import dataclass

from helpers.shapes import Op, trace

ARROWS = {  # kind -> colour, dashed?, its name in the legend
    "conv": ("currentColor", False, "convolution"),
    "strided": ("#D55E00", True, "strided convolution"),
    "pool": ("#D55E00", False, "pooling"),
    "upconv": ("#009E73", False, "up-convolution"),
    "upsample": ("#009E73", True, "upsampling"),
    "concat": ("#808080", False, "skip, concatenated"),
    "add": ("#CC79A7", False, "skip, added"),
    "multiply": ("#B8860B", False, "skip, multiplied"),
    "flow": ("currentColor", False, ""),
}
DRAWN = ("input", "conv", "upconv", "pool", "upsample", "concat", "add", "multiply")
MERGES = ("concat", "add", "multiply")
SHOWN = {"upconv": "up-convolution", "conv": "convolution", "pool": "pooling"}
GAP, TOP, BOTTOM = 14, 18, 18  # between columns; room for the labels of a box
numbers = itertools.count(1)  # ids must be unique on a page


@dataclass(eq=False)
class Box:
    """A feature map in the picture, or a whole module drawn as one."""

    ops: list[Op]
    level: int  # halvings since the input
    name: str = ""  # of the module, where the box stands for one
    column: int = 0
    row: int = 0
    cx: float = 0
    cy: float = 0

    @property
    def shape(self):
        return self.ops[-1].shape

    @property
    def kind(self):
        return "module" if self.name else self.ops[-1].kind

    @property
    def round(self):
        return self.kind in ("add", "multiply")

    @property
    def width(self):
        return 18 if self.round else 5 + 3 * math.log2(self.shape[1] + 1)

    @property
    def height(self):
        mean = math.prod(self.shape[2:]) ** (1 / max(len(self.shape) - 2, 1))
        return 18 if self.round else max(14, 12 * math.log2(mean) - 20)

    @property
    def slot(self):
        """Width that the box and its labels need."""
        words = 0 if self.round else len(size(self.shape))
        return max(self.width, 7 * words, 6.4 * len(self.name), 28)

    left = property(lambda self: self.cx - self.width / 2)
    right = property(lambda self: self.cx + self.width / 2)
    top = property(lambda self: self.cy - self.height / 2)
    bottom = property(lambda self: self.cy + self.height / 2)
    above = property(lambda self: self.top - (2 if self.round else TOP))

    @property
    def below(self):
        label = 2 if self.round else BOTTOM
        return self.bottom + label + (14 if self.name else 0)


@dataclass(eq=False)
class Arrow:
    """From one box to another; `crop` is the size before and after, if it is cut."""

    source: Box
    target: Box
    kind: str
    crop: tuple[tuple, tuple] | None = None
    over: int = 0  # if boxes are in the way: how far above them, in steps


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
    place(boxes, arrows)
    picture = svg(boxes, arrows, title, words, colour)
    scroll = f"{title}: a wide drawing, it scrolls sideways"
    return Drawing(
        f'<figure class="network" style="margin:1em 0"><div class="network-scroll" '
        f'style="overflow-x:auto" tabindex="0" role="group" '
        f'aria-label="{html.escape(scroll)}">{picture}</div>{legend(arrows, ops)}'
        "</figure>",
        words,
    )


def size(shape) -> str:
    """A spatial size in few letters: 572², 96×128, 128²×64."""
    runs = [(n, len(list(same))) for n, same in itertools.groupby(shape[2:])]
    powers = {1: "", 2: "²", 3: "³"}
    return "×".join(f"{n}{powers[k]}" for n, k in runs)


# --- from operations to boxes and arrows ----------------------------------------------


def chart(ops: list[Op], depth=None) -> tuple[list[Box], list[Arrow]]:
    """Boxes in drawing order, and the arrows between them."""
    levels, owner = _levels(ops), {}
    users = {op.index: [u for u in ops if op.index in u.inputs] for op in ops}
    steps = [op for op in ops if _is_step(op, users)]
    for group in _groups(steps, ops, users, depth):
        name = group[-1].modules[depth - 1] if len(group) > 1 else ""
        box = Box(group, levels[group[-1].index], name)
        owner |= {op.index: box for op in group}
    _fold_into_concats(ops, owner, users)
    arrows = {}
    for step in steps:
        for source, crop in (_back_to_step(ops, i, owner) for i in step.inputs):
            a, b = owner[source], owner[step.index]
            if a is not b:
                arrow = Arrow(a, b, _arrow_kind(step), crop)
                arrows.setdefault((id(a), id(b), arrow.kind), arrow)
    arrows = list(arrows.values())
    _sort_merges(list(dict.fromkeys(owner.values())), arrows)
    return _drawing_order(owner, arrows), arrows


def _is_step(op, users) -> bool:
    """Is it worth a box of its own? A crop only where it ends the network."""
    if op.kind == "crop":
        return any(u.kind == "output" for u in users[op.index])
    return op.kind in DRAWN or op.kind == "other"


def _levels(ops) -> list[float]:
    levels = []
    for op in ops:
        level = min((levels[i] for i in op.inputs), default=0)
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


def _groups(steps, ops, users, depth) -> list[list[Op]]:
    """Runs of steps in the same module; a map read from outside ends its run."""

    def home(op):
        return op.modules[depth - 1] if len(op.modules) >= depth else None

    if depth is None:
        return [[op] for op in steps]
    groups, open_group, indices = [], None, {op.index for op in steps}
    for op in ops:
        if op.index in indices:
            if home(op) is not None and open_group and home(open_group[-1]) == home(op):
                open_group.append(op)
            else:
                open_group = [op]
                groups.append(open_group)
        if any(home(user) != home(op) for user in users[op.index]):
            open_group = None
    return groups


def _fold_into_concats(ops, owner, users) -> None:
    """What is made only to be concatenated is drawn as a part of the concatenation."""
    for op in ops:
        if op.kind not in ("upconv", "upsample", "pool") or owner[op.index].name:
            continue
        last = op
        while len(users[last.index]) == 1 and users[last.index][0].index not in owner:
            last = users[last.index][0]
        readers = users[last.index]
        box = owner.get(readers[0].index) if len(readers) == 1 else None
        if box and readers[0].kind == "concat" and not box.name:
            box.ops.insert(0, op)
            owner[op.index] = box


def _back_to_step(ops, index, owner):
    """The step that made this input, and the crop on the way, if any."""
    crop = None
    while index not in owner:
        op = ops[index]
        if op.kind == "crop":
            crop = (ops[op.inputs[0]].shape, op.shape)
        index = op.inputs[0]
    return index, crop


def _arrow_kind(step) -> str:
    if step.kind == "conv" and step.settings["stride"][-1] > 1:
        return "strided"
    return step.kind if step.kind in ARROWS else "flow"


def _sort_merges(boxes, arrows) -> None:
    """Of the arrows into a merge the longest way round is the main road, not a skip."""
    rank = _ranks(boxes, arrows)
    for box in boxes:
        joining = [a for a in arrows if a.target is box]
        longest = max((rank[id(a.source)] for a in joining), default=0)
        for arrow in joining:
            if arrow.kind in MERGES and rank[id(arrow.source)] == longest:
                arrow.kind = "flow"


def _ranks(boxes, arrows) -> dict:
    rank = {id(box): 0 for box in boxes}
    for box in sorted(boxes, key=lambda b: b.ops[-1].index):
        before = [rank[id(a.source)] for a in arrows if a.target is box]
        rank[id(box)] = 1 + max(before, default=0)
    return rank


def _drawing_order(owner, arrows) -> list[Box]:
    """Main roads first, so that they get the straight places; side branches after."""
    boxes = sorted(dict.fromkeys(owner.values()), key=lambda b: b.ops[-1].index)
    rank, order = _ranks(boxes, arrows), []

    def visit(box):
        if box in order:
            return
        sources = [a.source for a in arrows if a.target is box]
        for source in sorted(sources, key=lambda s: -rank[id(s)]):
            visit(source)
        order.append(box)

    for box in reversed(boxes):
        visit(box)
    return order


# --- places ---------------------------------------------------------------------------


def place(boxes, arrows) -> None:
    """Give every box its column, row and coordinates, and every arrow its way."""
    taken = {}
    for box in boxes:
        _find_cell(box, [a for a in arrows if a.target is box], taken)
    for arrow in arrows:
        arrow.over = int(_blocked(arrow, taken))
    _stack_detours(arrows)
    x = 8.0
    for column in range(max(b.column for b in boxes) + 1):
        members = [b for b in boxes if b.column == column]
        slot = max((b.slot for b in members), default=0)
        for box in members:
            box.cx = x + slot / 2
        x += slot + (GAP if members else 0)
    y = 6.0
    for level in sorted({b.level for b in boxes}):
        y += 10 * max((a.over for a in arrows if a.source.level == level), default=0)
        for row in sorted({b.row for b in boxes if b.level == level}):
            members = [b for b in boxes if (b.level, b.row) == (level, row)]
            labels = max(b.below - b.bottom for b in members)
            tallest = max(b.height for b in members)
            for box in members:
                box.cy = y + TOP + tallest / 2
            y += TOP + tallest + labels + 8
        y += 14


def _find_cell(box, arriving, taken) -> None:
    for arrow in arriving:
        step = 1 if arrow.source.level == box.level else 0
        step += bool(step and arrow.crop)  # room for the words on the arrow
        box.column = max(box.column, arrow.source.column + step)
    main = [a for a in arriving if a.kind not in MERGES] or arriving
    if main and main[0].source.level == box.level:
        box.row = min(a.source.row for a in main)
    jump = max((abs(a.source.level - box.level) for a in main), default=0)
    while jump > 1 and _in_the_way(box, main[0].source, taken):
        box.column += 1
    while (box.level, box.row, box.column) in taken:
        box.row += 1
    taken[box.level, box.row, box.column] = box
    for arrow in arriving:  # keep the way of a long skip free
        if arrow.source.level == box.level and not _blocked(arrow, taken):
            for column in range(arrow.source.column + 1, box.column):
                taken[box.level, box.row, column] = None


def _in_the_way(box, source, taken) -> bool:
    """Would an arrow over several levels run through boxes in this column?"""
    low, high = sorted((source.level, box.level))
    between = [cell for cell, b in taken.items() if b and cell[2] == box.column]
    here = (box.level, box.row, box.column) in taken
    return here or any(low < level < high for level, _, _ in between)


def _blocked(arrow, taken) -> bool:
    """Is there a box on the straight line between two boxes of the same row?"""
    a, b = arrow.source, arrow.target
    if (a.level, a.row) != (b.level, b.row):
        return False
    between = range(a.column + 1, b.column)
    return any(taken.get((a.level, a.row, column)) for column in between)


def _stack_detours(arrows) -> None:
    """Nested detours run one above the other."""
    detours = [a for a in arrows if a.over]
    detours.sort(key=lambda a: a.target.column - a.source.column)
    for i, arrow in enumerate(detours):
        a, b = arrow.source, arrow.target
        below = [
            d.over
            for d in detours[:i]
            if d.source.level == a.level
            and d.source.column < b.column
            and a.column < d.target.column
        ]
        arrow.over = 1 + max(below, default=0)


# --- SVG ------------------------------------------------------------------------------


def svg(boxes, arrows, title, words, colour) -> str:
    """The picture itself: shrunk by up to a quarter to fit, or else it scrolls."""
    width = max(max(b.right, b.cx + b.slot / 2) for b in boxes) + 10
    height = max(b.below for b in boxes) + 4
    key = f"network-{next(numbers)}"
    parts = [
        f'<svg role="img" '
        f'aria-labelledby="{key}-t {key}-d" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="display:block;width:100%;min-width:clamp(0px, '  # fits, or scrolls
        f"({0.75 * width:.0f}px - 100%) * 9999, {0.87 * width:.0f}px);"
        f"max-width:{1.2 * width:.0f}px;height:auto;color:inherit;"
        'font-family:system-ui,sans-serif">',
        f'<title id="{key}-t">{html.escape(title)}</title>',
        f'<desc id="{key}-d">{html.escape(words)}</desc>',
        *(_draw_arrow(a, boxes) for a in arrows),
        *(_draw_box(b, arrows, colour) for b in boxes),
        "</svg>",
    ]
    return "".join(parts)


def _draw_box(box, arrows, colour) -> str:
    shape = " × ".join(map(str, box.shape[1:]))
    tip = f"<title>{html.escape(_tip(box))}: {shape}</title>"
    if box.round:
        sign = "+" if box.kind == "add" else "×"
        return (
            f'<g>{tip}<circle cx="{box.cx:.1f}" cy="{box.cy:.1f}" r="9" fill="{colour}"'
            f'/><text x="{box.cx:.1f}" y="{box.cy + 5:.1f}" text-anchor="middle" '
            f'font-size="16" font-weight="700" fill="#fff">{sign}</text></g>'
        )
    x, pieces = box.left, []
    for share, skipped in _parts(box, arrows):
        fill = "#8a8a8a" if box.kind == "input" else colour
        fill = tint(fill) if skipped else fill
        pieces.append(
            f'<rect x="{x:.1f}" y="{box.top:.1f}" width="{share * box.width:.1f}" '
            f'height="{box.height:.1f}" rx="1.5" fill="{fill}"/>'
        )
        x += share * box.width
    labels = _text(box.cx, box.top - 5, box.shape[1], 12, 600)
    labels += _text(box.cx, box.bottom + 13, size(box.shape), 11.5)
    if box.name:
        labels += _text(box.cx, box.bottom + 27, box.name, 11.5, style="italic")
    return f"<g>{tip}{''.join(pieces)}{labels}</g>"


def _parts(box, arrows) -> list[tuple[float, bool]]:
    """Shares of a concatenation's width, and whether each came over a skip."""
    concat = box.ops[-1]
    skips = [a for a in arrows if a.target is box and a.kind == "concat"]
    if concat.kind != "concat" or not skips:
        return [(1.0, False)]
    copied = sum(a.source.shape[1] for a in skips) / concat.shape[1]
    return [(copied, True), (1 - copied, False)] if copied < 1 else [(1.0, True)]


def _tip(box) -> str:
    if box.name:
        counts = Counter(SHOWN.get(op.kind, op.kind) for op in box.ops)
        return f"{box.name} ({', '.join(f'{n} {kind}' for kind, n in counts.items())})"
    made = " + ".join(dict.fromkeys(_operation(op) for op in reversed(box.ops)))
    path = box.ops[0].module
    return f"{path}: {made}" if path else made


def _operation(op) -> str:
    """A step in words: convolution 3×3, stride 2, padding 1."""
    words = SHOWN.get(op.kind, op.name if op.kind == "other" else op.kind)
    settings = op.settings
    if "kernel" in settings:
        words += " " + "×".join(map(str, settings["kernel"]))
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1)):
            if set(settings[name]) != {usual}:
                words += f", {name} {settings[name][-1]}"
    return words


def _draw_arrow(arrow, boxes) -> str:
    points = _way(arrow, boxes)
    colour, dashed, _ = ARROWS[arrow.kind]
    (x0, y0), (x1, y1) = points[-2:]
    length = max(abs(x1 - x0) + abs(y1 - y0), 0.1)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    base = (x1 - 6 * ux, y1 - 6 * uy)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*points[:-1], base])
    head = [(x1, y1), (base[0] - 3.5 * uy, base[1] - 3.5 * ux)]
    head.append((base[0] + 3.5 * uy, base[1] + 3.5 * ux))
    head = " ".join(f"{x:.1f},{y:.1f}" for x, y in head)
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    thin = 1.2 if arrow.kind in ("conv", "flow") else 2
    drawn = (
        f'<polyline points="{line}" fill="none" stroke="{colour}" '
        f'stroke-width="{thin}"{dash}/><polygon points="{head}" fill="{colour}"/>'
    )
    return drawn + _crop_label(arrow)


def _crop_label(arrow) -> str:
    """Before and after on either side of the skip's line."""
    if not arrow.crop:
        return ""
    before, after = (size(shape) for shape in arrow.crop)
    a, b = arrow.source, arrow.target
    straight = a.level == b.level and not arrow.over
    x = (a.right + b.left) / 2 if straight else b.left - 24
    y = a.cy if straight and a.row > b.row else b.cy
    return _text(x, y - 6, "crop", 11.5) + _text(x, y + 15, f"{before}→{after}", 11.5)


def _way(arrow, boxes) -> list[tuple[float, float]]:
    """Corners of the arrow, from its source to its head."""
    a, b = arrow.source, arrow.target
    if a.level == b.level:
        return _way_within_level(arrow)
    down = b.level > a.level
    start, end = (a.below, b.above) if down else (a.above, b.below)
    inner = [c for c in boxes if c.level == b.level and c.column == b.column]
    clear = all((c.row >= b.row) if down else (c.row <= b.row) for c in inner)
    if clear and a.column == b.column:
        return [(a.cx, start), (b.cx, end)]
    if clear:
        return [(a.right, a.cy), (b.cx, a.cy), (b.cx, end)]
    outer = min(c.above for c in inner) if down else max(c.below for c in inner)
    side = b.left - 9
    lane = outer + (-5 if down else 5)
    return [(a.cx, start), (a.cx, lane), (side, lane), (side, b.cy), (b.left, b.cy)]


def _way_within_level(arrow) -> list[tuple[float, float]]:
    a, b = arrow.source, arrow.target
    if arrow.over:
        lane = min(a.above, b.above) - 10 * arrow.over + 4
        start = [(a.right, a.cy), (a.right + 5, a.cy), (a.right + 5, lane)]
        if b.round:
            return [*start, (b.cx, lane), (b.cx, b.top)]
        y = b.cy - b.height / 4
        return [*start, (b.left - 9, lane), (b.left - 9, y), (b.left, y)]
    if a.row == b.row:
        return [(a.right, a.cy), (b.left, b.cy)]
    if b.row > a.row:  # branching off: turn at once
        x = a.right + 6
        return [(a.right, a.cy), (x, a.cy), (x, b.cy), (b.left, b.cy)]
    if b.round:
        x = b.cx - 5  # beside what leaves the circle downwards
        return [(a.right, a.cy), (x, a.cy), (x, b.bottom)]
    y = b.cy + b.height / 4
    return [(a.right, a.cy), (b.left - 9, a.cy), (b.left - 9, y), (b.left, y)]


def _text(x, y, words, points, weight=400, style="normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" font-size="{points}" '
        f'font-weight="{weight}" font-style="{style}" fill="currentColor">{words}'
        "</text>"
    )


def tint(colour: str) -> str:
    """The colour half-way to white: for what was copied."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{(c + 255 * 2) // 3:02x}" for c in (r, g, b))


def legend(arrows, ops) -> str:
    """The kinds of arrows that occur, and nothing else."""
    items = []
    for kind, (colour, dashed, name) in ARROWS.items():
        if not name or kind not in {a.kind for a in arrows}:
            continue
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        items.append(
            '<span style="white-space:nowrap;margin-right:1.2em">'
            '<svg width="26" height="10" aria-hidden="true" '
            'style="vertical-align:middle">'
            f'<path d="M0 5H18" stroke="{colour}" stroke-width="2"{dash}/>'
            f'<path d="M18 1L26 5L18 9z" fill="{colour}"/></svg> '
            f"{_max_or_mean(ops) if kind == 'pool' else name}{_kernels(kind, ops)}"
            "</span>"
        )
    words = "Above a box: channels; below: height and width. "
    if any(a.kind == "concat" for a in arrows):
        words += "Pale: what came over a skip. "
    words += "Hover over a box for its module and shape."
    return (
        '<figcaption class="network-legend" style="font-size:.85em;line-height:1.9;'
        'color:inherit">'  # not the theme's grey, which is faint
        f"{' '.join(items)}<br><span>{words}</span></figcaption>"
    )


def _max_or_mean(ops) -> str:
    names = {op.name.split("_")[0] for op in ops if op.kind == "pool"}
    return f"{names.pop()} pooling" if len(names) == 1 else "pooling"


def _kernels(kind, ops) -> str:
    found = {
        "×".join(map(str, op.settings["kernel"]))
        for op in ops
        if "kernel" in op.settings and _arrow_kind(op) == kind
    }
    return " " + ", ".join(sorted(found)) if found else ""


# --- the same in words ----------------------------------------------------------------


def describe(ops: list[Op], boxes: list[Box], title: str) -> str:
    """The picture in sentences, for readers who cannot see it."""
    boxes = sorted(boxes, key=lambda b: b.ops[-1].index)
    stays = [list(s) for _, s in itertools.groupby(boxes, key=lambda b: b.level)]
    levels = [stay[0].level for stay in stays]
    text = f"{title} on an input of {_map(ops[0])}."
    maps = [_map(stay[-1].ops[-1]) for stay in stays]
    turn = levels.index(max(levels)) + 1
    if levels[:turn] != list(range(turn)) or len(levels) > 24:
        text += f" It changes its resolution {len(levels) - 1} times,"
        text += f" over {1 + max(levels) - min(levels)} levels."
    elif turn > 1:
        text += f" Going down: {'; '.join(maps[:turn])}."
        upwards = levels[turn:] == sorted(levels[turn:], reverse=True)
        way = "Going up" if upwards else "Then up and down"
        text += f" {way}: {'; '.join(maps[turn:])}." if maps[turn:] else ""
    counts = Counter(op.kind for op in ops)
    names = {"conv": "convolution", "pool": "pooling", "upconv": "up-convolution"}
    names |= {"upsample": "upsampling", "add": "addition", "concat": "concatenation"}
    there = [_plural(counts[k], name) for k, name in names.items() if counts[k]]
    text += f" In all: {', '.join(there)}."
    joins = [_join(ops, b.ops[-1]) for b in boxes if b.kind == "concat"]
    if 0 < len(joins) <= 12:
        text += f" Concatenated: {'; '.join(joins)}."
    results = Counter(_map(op) for op in ops if op.kind == "output")
    results = [f"{n} times {m}" if n > 1 else m for m, n in results.items()]
    return f"{text} Output: {', '.join(results)}."


def _map(op) -> str:
    return f"{_plural(op.shape[1], 'channel')} of {' × '.join(map(str, op.shape[2:]))}"


def _plural(number, noun) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


def _join(ops, concat) -> str:
    parts = []
    for op in (ops[i] for i in concat.inputs):
        part = _map(op)
        if op.kind == "crop":
            whole = ops[op.inputs[0]].shape[2:]
            part += f" (cropped from {' × '.join(map(str, whole))})"
        parts.append(part)
    return " with ".join(parts)
