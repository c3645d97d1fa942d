"""Draw a network from its trace: an SVG whose every box is a feature map.

helpers.chart makes boxes and arrows of a trace, helpers.layout puts them in their
places, helpers.svg draws them. Left to right is the order of execution, top to bottom
the resolution, so a U-Net comes out as a U without being told so. `figures.draw` is the
way in.
"""

import html
import itertools
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from helpers import embed, layout, svg
from helpers.chart import NAMES, SHOWN, Box, arrow_kind, chart, kinds_of, ready
from helpers.trace import Op, trace

COUNTED = SHOWN | {  # operations that the text alternative counts
    "upsample": "upsampling",
    "add": "addition",
    "concat": "concatenation",
}

READABLE = 0.7  # of its full size: below that the labels are too small
HINT = "Tap a box, or go to it by arrow keys: its module and shape appear here."


@dataclass
class Drawing:
    """The picture as HTML; `description` says the same in words."""

    html: str
    description: str

    def _repr_html_(self) -> str:
        return self.html


class Member(NamedTuple):
    """A network of a `family`: `depth` as in `draw`, `note` a line of text below it."""

    name: str
    net: nn.Module
    shape: tuple
    colour: str
    depth: int | None = None
    note: str = ""


def draw(net, *input_shape, title=None, colour="#0072B2", depth=None) -> Drawing:
    """Draw `net` as it runs on an input of `input_shape` (batch first).

    A box is a feature map: height for its size, width for its channels, both on a log
    scale; normalisation, activation and dropout belong to the box before them.
    `depth=1` draws each module that the network calls as one box, `depth=2` each module
    that those call, and so on. Hovering over a box, or touching it, shows the module,
    operation and shape. Where a page is too narrow, time runs down instead. A size
    which the network refuses raises the network's own error.
    """
    ops = trace(net, *input_shape)
    boxes, arrows = chart(ops, depth)
    title = title or type(net).__name__
    words = describe(ops, boxes, title)
    key = embed.new_id("network")
    wide = svg.picture(boxes, arrows, layout.WIDE, colour)
    turned = svg.picture(boxes, arrows, layout.TURNED, colour)
    shown, style = svg.svg(*wide, title, words, key), embed.read("drawing.css")
    fits = turned[1] < wide[1]
    if fits:
        shown += svg.svg(*turned, title, words, f"{key}-turned", "network-turned")
        style += (
            f"@container network (width < {READABLE * wide[1]:.0f}px) {{"
            f"#{key} .network-wide {{ display: none; }}"
            f"#{key} .network-turned {{ display: block; }} }}"
        )
    return Drawing(
        f'<figure class="network" id="{key}"><style>{style}</style>'
        '<div class="network-scroll" tabindex="0" role="group" '
        f'aria-label="{html.escape(title)}. {HINT}">{shown}</div>'
        '<div class="network-bar"><button type="button">Enlarge</button>'
        f'<span role="status">{HINT}</span></div>'
        f"{svg.legend(_legend_names(arrows, ops), boxes, fits)}{embed.large_view()}"
        "</figure>",
        words,
    )


def worksheet(net, *input_shape, title=None, depth=None) -> Drawing:
    """The drawing of `net` with lines to write on in place of its numbers, to print.

    The arguments are those of `draw`.
    """
    ops = trace(net, *input_shape)
    boxes, arrows = chart(ops, depth)
    title, key = title or type(net).__name__, embed.new_id("network")
    words = f"{title}: the boxes and arrows of the network, without their numbers."
    drawn = svg.picture(boxes, arrows, layout.WIDE, "#ffffff", blank=True)
    return Drawing(
        f'<figure class="network worksheet" id="{key}">'
        f"<style>{embed.read('drawing.css')}</style><p><b>{html.escape(title)}</b> on "
        f"an input of {_map(ops[0])}. Above a box: channels. Below: size.</p>"
        '<div class="network-scroll" tabindex="0" role="group" '
        f'aria-label="{html.escape(title)}">{svg.svg(*drawn, title, words, key)}</div>'
        f"{svg.legend(_legend_names(arrows, ops), boxes)}</figure>",
        words,
    )


def family(members) -> Drawing:
    """Several networks side by side at one scale, without numbers.

    `members` is a list of `Member`. One px is as many channels and as much of a map's
    size in each of them.
    """
    charts, sides = [], []
    for member in members:
        ops = trace(member.net, *member.shape)
        charts.append(chart(ops, member.depth))
        sides += map(layout.side, charts[-1][0])
    pictures, widest = [], 0
    for member, (boxes, arrows) in zip(members, charts):
        look = layout.BARE
        drawn = svg.picture(boxes, arrows, look, member.colour, smallest=min(sides))
        pictures.append(drawn)
        widest = max(widest, drawn[1])
    shown, names = "", []
    for member, drawn in zip(members, pictures):
        key, name = embed.new_id("network"), html.escape(member.name)
        words = f"{member.name} as boxes and arrows, at the scale of its neighbours."
        shown += (
            f'<figure style="--share:{drawn[1] / widest:.3f}">'
            f"{svg.svg(*drawn, member.name, words, key, 'network-bare')}<figcaption>"
            f"<b>{name}</b><br>{html.escape(member.note)}</figcaption></figure>"
        )
        names.append(member.name)
    style = embed.read("drawing.css")
    words = f"Side by side at one scale: {', '.join(names)}."
    return Drawing(f'<div class="family"><style>{style}</style>{shown}</div>', words)


# --- the same in words ----------------------------------------------------------------


def describe(ops: list[Op], boxes: list[Box], title: str) -> str:
    """The picture in sentences, for readers who cannot see it."""
    levels, maps = [], []  # each stay on a level: which, and the last map on it
    boxes = sorted(boxes, key=ready)
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

    kinds = kinds_of(ops)
    counts = [_plural(kinds.count(k), COUNTED[k]) for k in COUNTED if k in kinds]
    text += f" In all: {', '.join(counts)}."
    joins = [_join(ops, box.ops[-1]) for box in boxes if box.kind == "concat"]
    if 0 < len(joins) <= 12:
        text += f" Concatenated: {'; '.join(joins)}."
    outputs = Counter(_map(op) for op in ops if op.kind == "output")
    return f"{text} Output: {', '.join(map(times, outputs, outputs.values()))}."


def times(words, n) -> str:
    """Words for what is there n times."""
    return f"{n} times {words}" if n > 1 else words


def _map(op) -> str:
    """A map in words: 64 channels of 32 × 32."""
    return f"{_plural(op.shape[1], 'channel')} of {' × '.join(map(str, op.shape[2:]))}"


def _plural(number, noun) -> str:
    """So many of a thing: 1 channel, 2 channels."""
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


def _legend_names(arrows, ops) -> dict[str, str]:
    """The kinds of arrows that occur, and nothing else: max pooling 2×2."""
    there = kinds_of(arrows)
    return {kind: _legend_name(kind, ops) for kind in NAMES if kind in there}


def _legend_name(kind, ops) -> str:
    """A kind of arrow in words, with the sizes of the kernels that occur."""
    kernels, poolings = set(), set()
    for op in ops:
        if "kernel" in op.settings and arrow_kind(op) == kind:
            kernels.add(tuple(op.settings["kernel"]))
        if op.kind == "pool":
            poolings.add(op.name.split("_")[0])
    name = NAMES[kind]
    if kind == "pool" and len(poolings) == 1:
        name = f"{poolings.pop()} pooling"  # max or mean
    sizes = ["×".join(map(str, size)) for size in sorted(kernels)]
    return f"{name} {', '.join(sizes)}".rstrip()
