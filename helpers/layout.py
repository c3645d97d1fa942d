"""Where the boxes and arrows of helpers.chart go.

A box has level (its resolution, from top to bottom), name, shape, size and sign (drawn
in a circle instead of a box); an arrow has source, target, kind, skip (no main road)
and crop. All lengths are px. Everything is laid out from left to right; helpers.svg
makes the turned picture by exchanging x and y.
"""

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple


class Look(NamedTuple):
    """How a picture is laid out; helpers.svg writes the labels that fit."""

    labels: str  # "above" and below a box, "beside" it (turned), or "" for none
    least: int  # height of the box with the smallest map
    halving: int  # what a box is higher than one of half the size
    slot: int  # least width that a box and its labels take
    gap: int  # between columns, and between levels


WIDE = Look("above", least=20, halving=12, slot=28, gap=14)
TURNED = Look("beside", least=18, halving=6, slot=30, gap=14)
BARE = Look("", least=9, halving=9, slot=9, gap=9)
LINE = 13  # of a label


@dataclass(eq=False)
class Place:
    """Where a box is, in columns and rows of its level and in px, and its size."""

    level: int
    width: float
    height: float
    label_above: float
    label_below: float
    slot: float  # width that the box and its labels need
    through: bool = False  # do arrows up and down pass between the labels?
    column: int = 0
    row: int = 0
    cx: float = 0
    cy: float = 0

    @property
    def cell(self):
        """Level, row and column."""
        return self.level, self.row, self.column

    left = property(lambda self: self.cx - self.width / 2)
    right = property(lambda self: self.cx + self.width / 2)
    top = property(lambda self: self.cy - self.height / 2)
    bottom = property(lambda self: self.cy + self.height / 2)
    above = property(lambda self: self.top - self.label_above)
    below = property(lambda self: self.bottom + self.label_below)
    upper = property(lambda self: self.top if self.through else self.above)
    lower = property(lambda self: self.bottom if self.through else self.below)


# --- places ---------------------------------------------------------------------------


def place(boxes, arrows, look=WIDE, smallest=None) -> tuple[dict, dict]:
    """The Place of every box; and for arrows with boxes in their way the detour.

    A detour is counted in lanes above the level. `boxes` come in the order in which
    they choose, and after those that lead to them. `smallest` is the side of the map
    whose box is the lowest; without it, of the smallest here.
    """
    smallest = smallest or min(map(side, boxes))
    places, taken = {}, {}  # taken: cell -> is there a box? else a skip passes
    for box in boxes:
        arriving = [arrow for arrow in arrows if arrow.target is box]
        places[box] = _new_place(box, look, smallest)
        _find_cell(places[box], arriving, places, taken)
    detours = _stack_detours(arrows, places, taken)
    _set_x(places.values(), look)
    _set_y(places.values(), look, detours)
    return places, detours


def side(box) -> float:
    """The side of a map, the geometric mean where its sides differ."""
    axes = box.shape[2:]
    return math.prod(axes) ** (1 / max(len(axes), 1))


def name_lines(box) -> list[str]:
    """A module's name, a long one in two lines: encoder.1, body."""
    if len(box.name) > 10 and "." in box.name:
        return box.name.rsplit(".", 1)
    return [box.name] if box.name else []


def _new_place(box, look, smallest) -> Place:
    """A box's Place at its level, with its sizes and still without a cell."""
    beside = look.labels == "beside"
    if box.sign:
        return Place(box.level, 18, 18, 2, 2, look.slot, beside)
    width = 5 + 3 * math.log2(box.shape[1] + 1)  # 3 px for each doubling
    height = look.least + look.halving * math.log2(side(box) / smallest)
    if not look.labels:
        return Place(box.level, width, height, 3, 3, max(width, look.slot))
    names = name_lines(box)
    letters = max(len(box.size), len(str(box.shape[1])), *map(len, names), 0)
    if beside:
        slot = max(width, look.slot + 2 * LINE * len(names))
        return Place(box.level, width, height, 4, 8 + 7 * letters, slot, beside)
    slot = max(width, 7 * letters, look.slot)
    return Place(box.level, width, height, 18, 18 + LINE * len(names), slot)


def _find_cell(place, arriving, places, taken) -> None:
    """Right of all sources and in the row of the main one, or the next that is free."""
    roads = [arrow for arrow in arriving if not arrow.skip] or arriving
    roads = [places[arrow.source] for arrow in roads]
    for arrow in arriving:
        source = places[arrow.source]
        step = int(place.through)  # or the labels of both would meet
        if source.level == place.level:
            step = 2 if arrow.crop else 1  # room for the words on the arrow
        place.column = max(place.column, source.column + step)
    if roads and roads[0].level == place.level:
        place.row = min(map(attrgetter("row"), roads))
    if any(source.level != place.level for source in roads):
        while _in_the_way(place, roads[0].level, taken):
            place.column += 1
    while place.through and _beside_a_label(place, taken):
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


def _beside_a_label(place, taken) -> bool:
    """Would the box stand in the labels of a neighbour level, or the reverse?"""
    for (level, _, column), is_box in taken.items():
        if is_box and column == place.column and abs(level - place.level) == 1:
            return True
    return False


def _keep_free(source, target, taken) -> None:
    """Keep the cells under an arrow on one level free of boxes."""
    if source.level == target.level and not _blocked(source, target, taken):
        for column in range(source.column + 1, target.column):
            taken.setdefault((target.level, target.row, column), False)


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
            apart = end is not target  # what leads to one box may share a lane
            if start.level == source.level and overlap and apart:
                lane = max(lane, its_lane + 1)
        detours[arrow] = lane
    return detours


def _set_x(places, look) -> None:
    """Columns as wide as their widest box."""
    x = 8.0
    for column in _grouped(places, "column"):
        slot = _largest(column, "slot")
        for place in column:
            place.cx = x + slot / 2
        x += slot + look.gap


def _set_y(places, look, detours) -> None:
    """Levels from top to bottom, each with its detours and then its rows."""
    lanes = Counter()
    for arrow, lane in detours.items():
        lanes[arrow.source.level] = max(lanes[arrow.source.level], lane)
    y = 6.0
    for level in _grouped(places, "level"):
        y += 10 * lanes[level[0].level]
        for row in _grouped(level, "row"):
            tallest = _largest(row, "height")
            y += _largest(row, "label_above")
            for place in row:
                place.cy = y + tallest / 2
            y += tallest + _largest(row, "label_below") + 8
        if look.labels == "beside":  # the next level begins later: below these labels
            y -= _largest(row, "label_below")
        y += look.gap


def _grouped(places, name):
    """Lists of the places that have the same level, row or column, in its order."""
    key = attrgetter(name)
    for _, members in itertools.groupby(sorted(places, key=key), key):
        yield list(members)


def _largest(places, name):
    """The largest of a property of several places."""
    return max(getattr(place, name) for place in places)


# --- ways -----------------------------------------------------------------------------


def way(a, b, lane, target_round, places) -> list[tuple[float, float]]:
    """Corners of the arrow from place `a` to place `b`, from its tail to its head."""
    if a.level == b.level and lane:
        return _way_over(a, b, lane, target_round)
    if a.level == b.level:
        return _way_along(a, b, target_round)
    down = b.level > a.level
    start, end = (a.lower, b.upper) if down else (a.upper, b.lower)
    if a.through and (down or b.column == a.column + 1):
        y = b.cy + b.height / 4  # right of the labels of `a`, and of a skip
        return [(a.cx, start), (a.cx, y), (b.left, y)]
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
