"""A model as one HTML file: it opens without a server and segments in the browser."""

import base64
import hashlib
import html
import zlib
from pathlib import Path
from string import Template

import numpy as np
import torch
from markdown_it import MarkdownIt

from helpers import embed, live
from helpers.app import sheet
from helpers.app.segment import height_of_answer
from helpers.metrics import CUTS

HERE = Path(__file__).parent
SCRIPTS = "web_png.js", "web_pictures.js", "web_masks.js", "web.js"


def text(net, about, card, title):
    """The page of a network: HTML, whole.

    `about` is the configuration of its file, `card` its model card in Markdown. Raises
    ValueError for a model that a page cannot run, with the reason.
    """
    model = embed.as_json(settings(net, about))
    script = live.engine()
    for file in SCRIPTS:
        script += read(file)
    style = read("web.css")
    lead = f"Segments pictures into: {', '.join(about['names'])}."
    return Template(read("web.html")).substitute(
        policy=policy(script, style), style=style, script=script, model=model,
        title=html.escape(title), lead=html.escape(lead), scale=scale(about),
        card=MarkdownIt("js-default").render(card),
    )  # fmt: skip


def read(file):
    """The text of a file that lies beside this one."""
    return (HERE / file).read_text(encoding="utf-8")


def policy(script, style):
    """Nothing may be loaded, run or sent but these two texts, and a worker of them."""
    return (
        f"default-src 'none'; script-src {mark(script)} 'wasm-unsafe-eval'; "
        f"style-src {mark(style)}; worker-src blob:; base-uri 'none'; "
        "form-action 'none'"
    )


def mark(text):
    """What a browser compares a text with."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def scale(about):
    """What a user must know of the scale of pictures: a sentence."""
    high, wide = about["size"]
    if about["resized"]:
        return f"Each is resized to {wide} × {high} px, as in the training."
    return "They keep their scale, and objects should be as large as in the training."


def settings(net, about):
    """What the scripts need: the program, its weights, and how `predict` uses it.

    Raises ValueError for a model that a page cannot run.
    """
    if about["volumes"]:
        raise ValueError(
            "this model segments volumes, and a page takes pictures: use `predict`"
        )
    tile, margin = about["tiling"]
    side = tile + 2 * margin
    program, weights = live.listed(net, 1, 3, side, side, dtype=torch.float32)
    size = list(about["size"])
    chosen = dict(
        program=program, weights=packed(weights), size=size, tile=tile, margin=margin,
        resized=about["resized"], whole=height_of_answer(net, 3, *size) == size[0],
        classes=about["classes"], names=about["names"], span=about.get("span"),
    )  # fmt: skip
    if about["classes"] > 1:  # the first class is left unpainted
        colours = [list(colour) for colour in about["colours"]]
        return chosen | dict(palette=colours, colours=[None, *colours[1:]], start=0)
    thresholds, start = steps(about["threshold"])
    colours = [None, sheet.FOUND]
    return chosen | dict(colours=colours, thresholds=thresholds, start=start)


def steps(threshold):
    """Where a slider stops, and which of the stops is the model's own threshold."""
    thresholds = CUTS.copy()
    start = int(np.abs(np.array(thresholds) - threshold).argmin())
    thresholds[start] = threshold
    return thresholds, start


def packed(weights):
    """Base64 of float32 numbers, to 24 bits: a plane for each byte, all deflated.

    With float16, up to two pixels of 10,000 would differ from what `predict` marks.
    """
    bits = weights.view(np.uint32).astype(np.uint64) + 128
    planes = []
    for shift in (24, 16, 8):
        planes.append((bits >> shift).astype(np.uint8).tobytes())
    return base64.b64encode(zlib.compress(b"".join(planes), 9)).decode()
