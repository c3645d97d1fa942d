"""The parts that the demos of live_demos.py are made of, as HTML.

What carries a `data-part` is found by the scripts under that name.
"""

import html

import torch
from IPython.display import HTML

from helpers import embed, figures, live, trace

SCRIPTS = (
    "mask_scores.js",
    "brush.js",
    "live_board.js",
    "live_demos.js",
    "live_window.js",
)
KEYS = (
    "Keys: arrows move the brush (Shift: 5 px), space paints, held it paints a line, "
    "Ctrl + Z takes back."
)


def demo(function, settings, still, shown, kept="", net="") -> HTML:
    """A demo that the script `function` runs: `still` without JavaScript, else `shown`.

    `kept` are the networks, `net` the mark of the only one.
    """
    key = embed.new_id("live")
    data = f'<script type="application/json" data-part="data">{embed.as_json(settings)}'
    code = live.engine()
    for file in SCRIPTS:
        code += embed.read(file)
    engine, _ = embed.apart("text/javascript", code)
    return HTML(
        f'<div class="demo live" id="{key}" data-net="{net}" '
        f'data-lm-suppress-shortcuts="true"><style>{embed.read("live_demos.css")}'
        f'</style>{data}</script><div data-part="still">{still}</div>'
        f'<div data-part="live" hidden>{shown}</div>{kept}{engine}'
        f'<script>{function}(document.getElementById("{key}"))</script></div>'
    )


def packed(program) -> tuple[str, str, float]:
    """A network's <script>, the mark that it goes by, and its weight in kB."""
    text = embed.as_json(program)
    return *embed.apart("application/json", text), len(text) / 1000


def board(sheets, brushes, size, beside="") -> tuple[str, dict]:
    """The canvas to paint on, and what its script is told; `size` is (C, H, W)."""
    channels, high, wide = size
    pages = []
    for image, mask, clean in sheets.values():
        added = (255 * (image - clean).mean(0) + 128).round().clamp(0, 255) / 255
        urls = dict(clean=embed.png_url(clean), mask=embed.png_url(mask))
        pages.append(urls | dict(added=embed.png_url(added)))
    settings = dict(size=[wide, high], channels=channels, sheets=pages, brushes=[])
    for brush in brushes:
        settings["brushes"].append(brush._asdict())
    settings["colours"] = []
    for colour in figures.OUTCOMES.values():
        settings["colours"].append(list(bytes.fromhex(colour[1:])))
    shown = (
        f'<figure><div class="sheet"><canvas data-part="board" tabindex="0" '
        f'role="application" width="{wide}" height="{high}" aria-label="A picture to '
        f'paint on, {wide} x {high} px. {KEYS}"></canvas><div class="brush" '
        f'data-part="brush" aria-hidden="true"></div>{beside}</div><figcaption>'
        "Paint here, with finger, pen or mouse.</figcaption></figure>"
    )
    return shown, settings


def tools(sheets, brushes) -> str:
    """What one paints on, and with what."""
    key, kinds = embed.new_id("brush"), ""
    for number, brush in enumerate(brushes):
        checked = "" if number else " checked"
        kinds += tick("radio", brush.name, f'name="{key}" data-brush{checked}')
    return (
        f"{choice('sheet', 'picture', sheets)}<fieldset><legend>brush</legend>{kinds}"
        f"</fieldset>{slider('width', 'its width', 'px', (1, 20, 1), brushes[0].width)}"
        f"{button('undo', 'undo')}{button('again', 'start again')}"
        '<label class="file">your own picture, cut to the same size<br>'
        '<input type="file" data-part="file" accept="image/*"></label>'
    )


def canvas(part, label) -> str:
    """A canvas that only a script draws on."""
    label = html.escape(label)
    return f'<canvas data-part="{part}" role="img" aria-label="{label}"></canvas>'


def button(part, words) -> str:
    """A button."""
    return f'<button type="button" data-part="{part}">{words}</button>'


def tick(kind, words, attributes) -> str:
    """A checkbox or a radio button, and its words."""
    return (
        f'<label class="tick"><input type="{kind}" {attributes}>{html.escape(words)}'
        "</label>"
    )


def slider(part, words, shown, span, value) -> str:
    """A slider over `span` (least, most, step), whose value stands in part `shown`."""
    key, (least, most, step) = embed.new_id(part), span
    return (
        f'<label for="{key}">{words}: <output data-part="{shown}">{value:g}</output>'
        f'</label><input type="range" id="{key}" data-part="{part}" min="{least}" '
        f'max="{most}" step="{step}" value="{value:g}">'
    )


def choice(part, words, names) -> str:
    """A list to choose from: the value is the place in it."""
    options = ""
    for number, name in enumerate(names):
        options += f'<option value="{number}">{html.escape(str(name))}</option>'
    return f'<label>{words}<br><select data-part="{part}">{options}</select></label>'


def skips(ops) -> str:
    """A switch for each skip of a trace: a join, in the network's own forward.

    It joins a map with one that was smaller in between. Of its two inputs the older
    one came over the skip.
    """
    ticks = ""
    for op in ops:
        if op.kind not in ("concat", "add") or op.module or len(op.inputs) != 2:
            continue
        older = min(op.inputs)
        sides = [between.shape[-1] for between in ops[older : op.index]]
        if min(sides) < op.shape[-1]:
            place = f'data-skip="{op.name}" value="{op.inputs.index(older)}" checked'
            ticks += tick("checkbox", f"{op.shape[-1]} px", place)
    legend = "<legend>skips (off: zeros instead)</legend>"
    return f"<fieldset>{legend}{ticks}</fieldset>" if ticks else ""


def colours() -> str:
    """What the colours of an answer mean."""
    keys = ""
    for name, colour in figures.OUTCOMES.items():
        keys += f'<span class="key" style="border-color:{colour}">{name}</span>'
    return keys


def weight(kilobytes) -> str:
    """What is loaded; the script writes its time behind it."""
    return (
        f"<p>Weights and program: {kilobytes:.0f} kB, loaded when you touch the demo. "
        'Nothing leaves this page. <span data-part="status"></span></p>'
    )


def still(net, sheets, threshold) -> str:
    """A picture and the network's answer, for a page without JavaScript."""
    sheet = next(iter(sheets.values()))
    with trace.evaluating(net), torch.no_grad():
        logits = net(sheet.image[None])
    logits = logits if isinstance(logits, torch.Tensor) else logits[0]
    found = logits[0, 0].sigmoid() > threshold
    truth = sheet.mask[0] > 0.5
    drawn = figures.overlay(truth, found, "The answer of the network to it")
    return (
        f"{figures.pixels(sheet.image, 'The picture', '15rem')}{drawn}<p>"
        "A picture, and the answer of the network. With JavaScript the network runs "
        "here, and you paint.</p>"
    )
