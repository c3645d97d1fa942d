"""The chart of a network as SVG: boxes, arrows, labels and the legend.

helpers.layout says where everything goes, from left to right. In a turned picture, for
a narrow page, x and y are exchanged: time runs down, the resolution falls to the right.
"""

import html

from helpers import layout

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
GREY = "#8a8a8a"  # of the input
LINES = 24  # length of the lines to write on, on a worksheet
SCALE = "The {} a box, the larger its map; the {}, the more channels (log scales). "


def picture(boxes, arrows, look, colour, smallest=None, blank=False):
    """What is drawn, and the width and height of it in px.

    `look` and `smallest` are as in `layout.place`. `blank`: boxes without filling, and
    lines to write on in place of numbers.
    """
    places, detours = layout.place(boxes, arrows, look, smallest)
    turned, drawn = look.labels == "beside", ""
    for arrow in arrows:
        lane = detours.get(arrow, 0)
        drawn += _arrow(arrow, places, lane, turned)
        if arrow.crop and look.labels:
            crop = "__→__" if blank else arrow.crop
            a, b = places[arrow.source], places[arrow.target]
            drawn += _crop_label(a, b, lane, crop, turned)
    for box in boxes:
        drawn += _box(box, places[box], colour, look, blank)
    last = max(place.cx + place.slot / 2 for place in places.values()) + 10
    lowest = max(place.below for place in places.values()) + 4
    return drawn, *_exchanged(last, lowest, turned)


def svg(drawn, width, height, title, words, key, name="network-wide") -> str:
    """A whole <svg> from what is drawn; `key` begins the ids of its title and words."""
    return (
        f'<svg class="{name}" role="img" aria-labelledby="{key}-t" '
        f'aria-describedby="{key}-d" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="width:100%;height:auto;min-width:{0.6 * width:.0f}px;'
        f'max-width:{1.3 * width:.0f}px;font-family:system-ui,sans-serif">'
        f'<title id="{key}-t">{html.escape(title)}</title>'
        f'<desc id="{key}-d">{html.escape(words)}</desc>'
        f"{drawn}</svg>"
    )


def _exchanged(x, y, turned) -> tuple[float, float]:
    """Two coordinates or sides, exchanged where the picture is turned."""
    return (y, x) if turned else (x, y)


# --- boxes ----------------------------------------------------------------------------


def _box(box, place, colour, look, blank) -> str:
    """A box, with the labels and the tip that its look has."""
    turned = look.labels == "beside"
    start = f'<g data-op="{box.result}"><title>{html.escape(box.tip)}</title>'
    if blank or not look.labels:
        start = "<g>"
    else:
        start += _target(place, turned)
    if box.sign:
        return f"{start}{_circle(box.sign, place, colour, turned, blank)}</g>"
    fill = GREY if box.kind == "input" else colour
    parts, x = "", place.left
    for share, its_fill in ((box.copied, pale(fill)), (1 - box.copied, fill)):
        if share:
            width = share * place.width
            corner = _exchanged(x, place.top, turned)
            sides = _exchanged(width, place.height, turned)
            look_of_it = f'fill="{its_fill}"'
            if blank:
                look_of_it = 'fill="none" stroke="currentColor"'
            parts += (
                f'<rect x="{corner[0]:.1f}" y="{corner[1]:.1f}" width="{sides[0]:.1f}" '
                f'height="{sides[1]:.1f}" rx="1.5" {look_of_it}/>'
            )
            x += width
    if not look.labels:
        return f"{start}{parts}</g>"
    labels = _labels_beside(box, place) if turned else _labels_above(box, place, blank)
    return f"{start}{parts}{labels}</g>"


def _target(place, turned) -> str:
    """What a finger finds: the box with its labels and the room between."""
    x, y = _exchanged(place.cx - place.slot / 2, place.above, turned)
    wide, high = _exchanged(place.slot, place.below - place.above, turned)
    return (
        f'<rect class="target" x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" '
        f'height="{high:.0f}" fill="none" pointer-events="all"/>'
    )


def _circle(sign, place, colour, turned, blank) -> str:
    """A merge as its sign in a circle."""
    x, y = _exchanged(place.cx, place.cy, turned)
    look, ink = f'fill="{colour}"', "#fff"
    if blank:
        look, ink = 'fill="none" stroke="currentColor"', "currentColor"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" {look}/><text x="{x:.1f}" '
        f'y="{y + 5:.1f}" text-anchor="middle" font-size="16" font-weight="700" '
        f'fill="{ink}">{sign}</text>'
    )


def _labels_above(box, place, blank) -> str:
    """Channels above the box; its size and its module below."""
    x, y = place.cx, place.bottom + 13
    if blank:
        labels = _line(x, place.top - 5) + _line(x, y + 2)
    else:
        labels = _text(x, place.top - 5, box.shape[1], 12, weight=600)
        labels += _text(x, y, box.size)
    for line in layout.name_lines(box):
        y += layout.LINE
        labels += _text(x, y, line, style="italic")
    return labels


def _labels_beside(box, place) -> str:
    """Right of the box, above and below the arrow that may leave it there."""
    x, y = place.bottom + 4, place.cx
    labels = _text(x, y - 4, box.shape[1], 12, weight=600, anchor="start")
    labels += _text(x, y + 12, box.size, anchor="start")
    for number, line in enumerate(layout.name_lines(box), start=1):
        below = y + 12 + layout.LINE * number
        labels += _text(x, below, line, style="italic", anchor="start")
    return labels


def _line(x, y) -> str:
    """A line to write on."""
    left, right = x - LINES / 2, x + LINES / 2
    return (
        f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="currentColor" '
        'stroke-width="0.7"/>'
    )


def _text(x, y, words, points=11.5, weight=400, style="normal", anchor="middle") -> str:
    """Words at a place; `points` is the size of their letters."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{points}" '
        f'font-weight="{weight}" font-style="{style}" fill="currentColor">'
        f"{html.escape(str(words))}</text>"
    )


def pale(colour: str) -> str:
    """A colour two thirds of the way to white: for what was copied."""
    paler = "#"
    for start in (1, 3, 5):
        value = int(colour[start : start + 2], 16)
        paler += f"{(value + 2 * 255) // 3:02x}"
    return paler


# --- arrows ---------------------------------------------------------------------------


def _arrow(arrow, places, lane, turned) -> str:
    """The line of an arrow with its head, by the way that the layout gives."""
    a, b = places[arrow.source], places[arrow.target]
    points = []
    for x, y in layout.way(a, b, lane, bool(arrow.target.sign), places.values()):
        points.append(_exchanged(x, y, turned))
    colour, dash, thickness = ARROWS[arrow.kind]
    (x0, y0), (x1, y1) = points[-2:]
    length = max(abs(x1 - x0) + abs(y1 - y0), 0.1)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    x, y = x1 - 6 * ux, y1 - 6 * uy  # where the line ends and the head begins
    line = _points([*points[:-1], (x, y)])
    head = [(x1, y1), (x - 3.5 * uy, y - 3.5 * ux), (x + 3.5 * uy, y + 3.5 * ux)]
    return (
        f'<polyline points="{line}" fill="none" stroke="{colour}" '
        f'stroke-width="{thickness}"{dash}/>'
        f'<polygon points="{_points(head)}" fill="{colour}"/>'
    )


def _crop_label(a, b, lane, words, turned) -> str:
    """Before and after, on either side of the skip's line or, turned, beside it."""
    straight = a.level == b.level and not lane
    x = (a.right + b.left) / 2 if straight else b.left - 24
    y = a.cy if straight and a.row > b.row else b.cy
    if turned:
        before, _, after = words.partition("→")
        label = _text(y + 4, x - 14, "crop", anchor="start")
        label += _text(y + 4, x - 1, before, anchor="start")
        return label + _text(y + 4, x + 12, f"→{after}", anchor="start")
    return _text(x, y - 6, "crop") + _text(x, y + 15, words)


def _points(points) -> str:
    """Places as the text of a `points` attribute."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


# --- legend ---------------------------------------------------------------------------


def legend(names: dict[str, str], boxes, turned=False) -> str:
    """Explains arrows and boxes; `names` are the kinds that occur, and their words.

    `turned`: is there a turned picture, too?
    """
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
    axes = {1: "length", 2: "height and width", 3: "depth, height and width"}
    words = f'<span class="network-wide">{SCALE.format("taller", "wider")}</span>'
    if turned:
        scale = SCALE.format("wider", "taller")
        words += f'<span class="network-turned">{scale}</span>'
    words += "Bold: channels; the other number: "
    words += axes.get(len(boxes[0].shape) - 2, "size") + ". "
    if any(box.name for box in boxes):
        words += "A box with a name is a whole module. "
    if "concat" in names:
        words += "Pale: what came over a skip."
    return (
        '<figcaption class="network-legend" style="font-size:.85em;line-height:1.7;'
        'color:inherit;font-weight:400;text-align:left">'  # the theme's is faint
        f"{' '.join(items)}<br><span>{words}</span></figcaption>"
    )
