"""Where the boxes and arrows of helpers.drawing go, and the SVG of it.

A box has level (its resolution, from top to bottom), name, shape, size, sign (drawn in
a circle instead of a box), copied (share of its width in pale), tip and result (the
operation whose map it is); an arrow has source, target, kind, skip (no main road) and
crop. All lengths are px.
"""

import html
import itertools
import math
from collections import Counter
from dataclasses import dataclass
from operator import attrgetter

from helpers import embed

SOLID, DASHED = "", ' stroke-dasharray="4 3"'
ARROWS = {  # kind -> colour, line, thickness
    "conv": ("currentColor", SOLID, 1.2),
    "strided": ("#D55E00", DASHED, 2),
    "pool": ("#D55E00", SOLID, 2),
    "upconv": ("#009E73", SOLID, 2),
    "upsample": ("#009E73", DASHED, 2),
    "concat": ("#808080", SOLID, 2),
    "add": ("#CC79A7", SOLID, 2),
    "multiply": ("#B8860B", SOLID, 2),
    "flow": ("currentColor", SOLID, 1.2),
}
GAP, TOP, BOTTOM = 14, 18, 18  # between columns; room for the labels of a box


@dataclass(eq=False)
class Place:
    """Where a box is, in columns and rows of its level and in px, and its size."""

    level: int
    width: float
    height: float
    label_above: float
    label_below: float
    slot: float  # width that the box and its labels need
    column: int = 0
    row: int = 0
    cx: float = 0
    cy: float = 0

    @property
    def cell(self):
        return self.level, self.row, self.column

    left = property(lambda self: self.cx - self.width / 2)
    right = property(lambda self: self.cx + self.width / 2)
    top = property(lambda self: self.cy - self.height / 2)
    bottom = property(lambda self: self.cy + self.height / 2)
    above = property(lambda self: self.top - self.label_above)
    below = property(lambda self: self.bottom + self.label_below)


# --- places ---------------------------------------------------------------------------


def place(boxes, arrows) -> tuple[dict, dict]:
    """The Place of every box; and for arrows with boxes in their way the detour.

    A detour is counted in lanes above the level. `boxes` come in the order in which
    they choose, and after those that lead to them.
    """
    places, taken = {}, {}  # taken: cell -> is there a box? else a skip passes
    for box in boxes:
        arriving = [arrow for arrow in arrows if arrow.target is box]
        places[box] = _new_place(box)
        _find_cell(places[box], arriving, places, taken)
    detours = _stack_detours(arrows, places, taken)
    _set_x(places.values())
    _set_y(places.values(), detours)
    return places, detours


def _new_place(box) -> Place:
    if box.sign:
        return Place(box.level, 18, 18, label_above=2, label_below=2, slot=28)
    width = 5 + 3 * math.log2(box.shape[1] + 1)
    axes = box.shape[2:]
    mean = math.prod(axes) ** (1 / max(len(axes), 1))
    height = max(14, 12 * math.log2(mean) - 20)
    below = BOTTOM + (14 if box.name else 0)
    slot = max(width, 7 * len(box.size), 6.4 * len(box.name), 28)
    return Place(box.level, width, height, TOP, below, slot)


def _find_cell(place, arriving, places, taken) -> None:
    """Right of all sources and in the row of the main one, or the next that is free."""
    roads = [arrow for arrow in arriving if not arrow.skip] or arriving
    roads = [places[arrow.source] for arrow in roads]
    for arrow in arriving:
        source = places[arrow.source]
        step = 0
        if source.level == place.level:
            step = 2 if arrow.crop else 1  # room for the words on the arrow
        place.column = max(place.column, source.column + step)
    if roads and roads[0].level == place.level:
        place.row = min(source.row for source in roads)
    if any(abs(source.level - place.level) > 1 for source in roads):
        while _in_the_way(place, roads[0].level, taken):
            place.column += 1
    while place.cell in taken:
        place.row += 1
    taken[place.cell] = True
    for arrow in arriving:
        _keep_free(places[arrow.source], place, taken)


def _in_the_way(place, start, taken) -> bool:
    """Would an arrow over several levels run through boxes in this column?"""
    if place.cell in taken:
        return True
    low, high = sorted((start, place.level))
    for (level, _, column), is_box in taken.items():
        if is_box and column == place.column and low < level < high:
            return True
    return False


def _keep_free(source, target, taken) -> None:
    """Keep the cells under an arrow on one level free of boxes."""
    if source.level == target.level and not _blocked(source, target, taken):
        for column in range(source.column + 1, target.column):
            taken[target.level, target.row, column] = False


def _blocked(source, target, taken) -> bool:
    """Is there a box on the straight line between two boxes of the same row?"""
    if (source.level, source.row) != (target.level, target.row):
        return False
    for column in range(source.column + 1, target.column):
        if taken.get((source.level, source.row, column)):
            return True
    return False


def _stack_detours(arrows, places, taken) -> dict:
    """Lanes of the arrows whose way is blocked: nested ones one above the other."""

    def span(arrow):
        return places[arrow.source], places[arrow.target]

    def length(arrow):
        source, target = span(arrow)
        return target.column - source.column

    detours = {}
    for arrow in sorted(arrows, key=length):
        source, target = span(arrow)
        if not _blocked(source, target, taken):
            continue
        lane = 1
        for inner, its_lane in detours.items():
            start, end = span(inner)
            overlap = start.column < target.column and source.column < end.column
            if start.level == source.level and overlap:
                lane = max(lane, its_lane + 1)
        detours[arrow] = lane
    return detours


def _set_x(places) -> None:
    """Columns as wide as their widest box."""
    x = 8.0
    for column in _grouped(places, "column"):
        slot = _largest(column, "slot")
        for place in column:
            place.cx = x + slot / 2
        x += slot + GAP


def _set_y(places, detours) -> None:
    """Levels from top to bottom, each with its detours and then its rows."""
    lanes = Counter()
    for arrow, lane in detours.items():
        lanes[arrow.source.level] = max(lanes[arrow.source.level], lane)
    y = 6.0
    for level in _grouped(places, "level"):
        y += 10 * lanes[level[0].level]
        for row in _grouped(level, "row"):
            tallest = _largest(row, "height")
            for place in row:
                place.cy = y + TOP + tallest / 2
            y += TOP + tallest + _largest(row, "label_below") + 8
        y += 14


def _grouped(places, name):
    """Lists of the places that have the same level, row or column, in its order."""
    key = attrgetter(name)
    for _, members in itertools.groupby(sorted(places, key=key), key):
        yield list(members)


def _largest(places, name):
    return max(getattr(place, name) for place in places)


# --- ways -----------------------------------------------------------------------------


def _way(a, b, lane, target_round, places) -> list[tuple[float, float]]:
    """Corners of the arrow from place `a` to place `b`, from its tail to its head."""
    if a.level == b.level and lane:
        return _way_over(a, b, lane, target_round)
    if a.level == b.level:
        return _way_along(a, b, target_round)
    down = b.level > a.level
    start, end = (a.below, b.above) if down else (a.above, b.below)
    stack = [c for c in places if (c.level, c.column) == (b.level, b.column)]
    stack.sort(key=attrgetter("row"), reverse=not down)
    if stack[0] is b and a.column == b.column:
        return [(a.cx, start), (b.cx, end)]
    if stack[0] is b:
        return [(a.right, a.cy), (b.cx, a.cy), (b.cx, end)]
    side = b.left - 9  # round the boxes that come first
    lane = stack[0].above - 5 if down else stack[0].below + 5
    return [(a.cx, start), (a.cx, lane), (side, lane), (side, b.cy), (b.left, b.cy)]


def _way_over(a, b, lane, target_round):
    """A detour above the boxes between."""
    y = min(a.above, b.above) - 10 * lane + 4
    start = [(a.right, a.cy), (a.right + 5, a.cy), (a.right + 5, y)]
    if target_round:
        return [*start, (b.cx, y), (b.cx, b.top)]
    end = b.cy - b.height / 4
    return [*start, (b.left - 9, y), (b.left - 9, end), (b.left, end)]


def _way_along(a, b, target_round):
    """To the right, and up or down where the rows differ."""
    if a.row == b.row:
        return [(a.right, a.cy), (b.left, b.cy)]
    if b.row > a.row:  # branching off: turn at once
        x = a.right + 6
        return [(a.right, a.cy), (x, a.cy), (x, b.cy), (b.left, b.cy)]
    if target_round:
        x = b.cx - 5  # beside what leaves the circle downwards
        return [(a.right, a.cy), (x, a.cy), (x, b.bottom)]
    y = b.cy + b.height / 4
    return [(a.right, a.cy), (b.left - 9, a.cy), (b.left - 9, y), (b.left, y)]


# --- SVG ------------------------------------------------------------------------------


def svg(boxes, arrows, title, words, colour) -> str:
    """The picture itself: shrunk by up to a quarter to fit, or else it scrolls."""
    places, detours = place(boxes, arrows)
    drawn = ""
    for arrow in arrows:
        drawn += _draw_arrow(arrow, places, detours.get(arrow, 0))
    for box in boxes:
        drawn += _draw_box(box, places[box], colour)
    key = embed.new_id("network")
    width = max(p.cx + p.slot / 2 for p in places.values()) + 10
    height = _largest(places.values(), "below") + 4
    return (
        f'<svg role="img" '
        f'aria-labelledby="{key}-t {key}-d" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="display:block;width:100%;min-width:clamp(0px, '  # fits, or scrolls
        f"({0.75 * width:.0f}px - 100%) * 9999, {0.87 * width:.0f}px);"
        f"max-width:{1.2 * width:.0f}px;height:auto;color:inherit;"
        'font-family:system-ui,sans-serif">'
        f'<title id="{key}-t">{html.escape(title)}</title>'
        f'<desc id="{key}-d">{html.escape(words)}</desc>'
        f"{drawn}</svg>"
    )


def _draw_box(box, place, colour) -> str:
    start = f'<g data-op="{box.result}"><title>{html.escape(box.tip)}</title>'
    if box.sign:
        return (
            f'{start}<circle cx="{place.cx:.1f}" cy="{place.cy:.1f}" r="9" '
            f'fill="{colour}"/><text x="{place.cx:.1f}" y="{place.cy + 5:.1f}" '
            'text-anchor="middle" font-size="16" font-weight="700" fill="#fff">'
            f"{box.sign}</text></g>"
        )
    fill = "#8a8a8a" if box.kind == "input" else colour
    x, parts = place.left, ""
    for share, its_fill in ((box.copied, pale(fill)), (1 - box.copied, fill)):
        if share:
            width = share * place.width
            parts += (
                f'<rect x="{x:.1f}" y="{place.top:.1f}" width="{width:.1f}" '
                f'height="{place.height:.1f}" rx="1.5" fill="{its_fill}"/>'
            )
            x += width
    labels = _text(place.cx, place.top - 5, box.shape[1], 12, weight=600)
    labels += _text(place.cx, place.bottom + 13, box.size)
    if box.name:
        labels += _text(place.cx, place.bottom + 27, box.name, style="italic")
    return f"{start}{parts}{labels}</g>"


def _draw_arrow(arrow, places, lane) -> str:
    a, b = places[arrow.source], places[arrow.target]
    points = _way(a, b, lane, bool(arrow.target.sign), places.values())
    colour, dash, thickness = ARROWS[arrow.kind]
    (x0, y0), (x1, y1) = points[-2:]
    length = max(abs(x1 - x0) + abs(y1 - y0), 0.1)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    x, y = x1 - 6 * ux, y1 - 6 * uy  # where the line ends and the head begins
    line = _points([*points[:-1], (x, y)])
    head = [(x1, y1), (x - 3.5 * uy, y - 3.5 * ux), (x + 3.5 * uy, y + 3.5 * ux)]
    drawn = (
        f'<polyline points="{line}" fill="none" stroke="{colour}" '
        f'stroke-width="{thickness}"{dash}/>'
        f'<polygon points="{_points(head)}" fill="{colour}"/>'
    )
    if arrow.crop:
        drawn += _crop_label(a, b, lane, arrow.crop)
    return drawn


def _crop_label(a, b, lane, words) -> str:
    """Before and after on either side of the skip's line."""
    straight = a.level == b.level and not lane
    x = (a.right + b.left) / 2 if straight else b.left - 24
    y = a.cy if straight and a.row > b.row else b.cy
    return _text(x, y - 6, "crop") + _text(x, y + 15, words)


def _points(points) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _text(x, y, words, points=11.5, weight=400, style="normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" font-size="{points}" '
        f'font-weight="{weight}" font-style="{style}" fill="currentColor">{words}'
        "</text>"
    )


def pale(colour: str) -> str:
    """A colour two thirds of the way to white: for what was copied."""
    paler = "#"
    for start in (1, 3, 5):
        value = int(colour[start : start + 2], 16)
        paler += f"{(value + 2 * 255) // 3:02x}"
    return paler


def legend(names: dict[str, str]) -> str:
    """Explains the arrows; `names` are the kinds that occur, and their words."""
    items = []
    for kind, name in names.items():
        colour, dash, _ = ARROWS[kind]
        items.append(
            '<span style="white-space:nowrap;margin-right:1.2em">'
            '<svg width="26" height="10" aria-hidden="true" '
            'style="vertical-align:middle">'
            f'<path d="M0 5H18" stroke="{colour}" stroke-width="2"{dash}/>'
            f'<path d="M18 1L26 5L18 9z" fill="{colour}"/></svg> {name}</span>'
        )
    words = "Above a box: channels; below: height and width. "
    if "concat" in names:
        words += "Pale: what came over a skip. "
    words += "Hover over a box for its module and shape."
    return (
        '<figcaption class="network-legend" style="font-size:.85em;line-height:1.9;'
        'color:inherit">'  # not the theme's grey, which is faint
        f"{' '.join(items)}<br><span>{words}</span></figcaption>"
    )
