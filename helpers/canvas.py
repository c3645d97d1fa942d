"""A canvas to paint a mask on: in a notebook and on the printed page alike.

`paint(image, mask)` is one HTML output. A few lines of script do the painting
(brush.js, canvas.js) and the scoring (mask_scores.js), so it needs no kernel, no widget
library and no internet. The scores are those of `helpers.metrics`: IoU, Dice, and
boundary F1 within 2 px (here 1, where no mask has an outline).
"""

import html
import zlib

import numpy as np
from IPython.display import HTML

from helpers import embed
from helpers.figures import OUTCOMES

LARGEST = 512  # px a side: what a page can carry, and a finger can paint


def paint(image, mask=None, name="picture") -> HTML:
    """A canvas to paint the mask of a picture on, scored against a reference.

    `image` (3 or 1, H, W) with values 0..1, `mask` (1, H, W) of 0 and 1; without one
    there is nothing to compare with, and no scores. "download mask" saves
    <name>_mask.png: 0 and 255, H x W px, as ImageMaskFolder reads it beside <name>.png.
    Raises ValueError for other shapes or values, and for sides above 512 px.
    """
    image = np.asarray(image, dtype=float)
    mask = None if mask is None else np.asarray(mask)
    _check(image, mask)
    height, width = image.shape[1:]
    picture = embed.png_url(image)
    key = f"{embed.new_id('canvas')}-{zlib.crc32(picture.encode()):08x}"
    data = dict(size=[width, height], file=f"{name}_mask.png")
    data["colours"] = [[*bytes.fromhex(c[1:]), 170] for c in OUTCOMES.values()]
    if mask is not None:
        data["runs"] = _runs(mask)
    return HTML(
        f'<div class="demo canvas" id="{key}" data-lm-suppress-shortcuts="true">'
        f"<style>{embed.read('canvas.css')}</style>{embed.json_script(data)}"
        f"{_sheet(picture, width, height)}{_tools(mask is not None)}"
        f"<script>{embed.read('mask_scores.js')}{embed.read('brush.js')}</script>"
        f"{embed.script('canvas.js', key)}</div>"
    )


def _check(image, mask):
    """Raise ValueError for an image or a mask that cannot be painted on."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"image has shape {image.shape}; it must be (3 or 1, H, W)")
    if max(image.shape) > LARGEST:
        raise ValueError(
            f"image is {image.shape[1]} x {image.shape[2]} px; at most {LARGEST} px a "
            "side can be painted: cut it, or make it smaller"
        )
    if not 0 <= image.min() <= image.max() <= 1:
        raise ValueError(
            f"image has values from {image.min():.3g} to {image.max():.3g}; they must "
            "lie between 0 and 1: divide by 255"
        )
    if mask is not None and mask.shape != (1, *image.shape[1:]):
        raise ValueError(
            f"mask has shape {mask.shape}; this image needs {(1, *image.shape[1:])}"
        )
    if mask is not None and not np.isin(mask, (0, 1)).all():
        raise ValueError("mask has values besides 0 and 1: compare it with a threshold")


def _runs(mask):
    """Lengths of the runs of a flat mask: background first, then mask, and so on."""
    flat = np.concatenate([[0], mask.ravel().astype(int), [0]])
    edges = np.flatnonzero(np.diff(flat))
    return np.diff(np.concatenate([[0], edges])).tolist()


def _sheet(picture, width, height):
    """The canvas, its picture behind it, and the brush's outline above it."""
    keys = "Arrow keys move the brush, space paints, E erases, Control Z takes back."
    return (
        '<div class="sheet"><canvas data-part="canvas" tabindex="0" role="application" '
        f'width="{width}" height="{height}" aria-label="A picture to paint on, '
        f'{width} x {height} px. {html.escape(keys)}" '
        f'style="background-image:url({picture})"></canvas>'
        '<div class="brush" data-part="brush" aria-hidden="true"></div></div>'
    )


def _tools(scored):
    """The brush's slider, the buttons and the scores."""
    key = embed.new_id("brush")
    buttons = _button("erase", "erase", pressed="false")
    buttons += _button("undo", "undo") + _button("clear", "clear")
    scores = ""
    if scored:
        buttons += _button("show", "show reference", pressed="false")
        scores = _scores()
    buttons += _button("download", "download mask")
    return (
        f'<label for="{key}">brush: <output data-part="px">5 px</output></label><input '
        f'type="range" id="{key}" data-part="size" min="1" max="15" value="5" '
        'style="display:block;width:100%;max-width:22rem">'
        f"<div>{buttons}</div>{scores}"
        "<p><small>Paint with finger, pen or mouse. Keys: arrows move the brush "
        "(Shift: 5 px), space paints, held it paints a line, E erases, Ctrl + Z takes "
        "back.</small></p>"
    )


def _button(part, words, pressed=None):
    """A button that the script finds by `part`; `pressed` is its state, if any."""
    state = f' aria-pressed="{pressed}"' if pressed else ""
    return f'<button type="button" data-part="{part}"{state}>{words}</button>'


def _scores():
    """Where the script writes the scores, and what the colours mean."""
    scores = colours = ""
    for part, name in (("iou", "IoU"), ("dice", "Dice"), ("f1", "boundary F1")):
        scores += f'<span>{name} <data data-part="{part}">0.00</data></span>'
    for name, colour in OUTCOMES.items():
        style = f"border-left:1em solid {colour};padding-left:.4em"
        colours += f'<span style="{style}">{name}</span>'
    return f'<p role="status">{scores}</p><p>{colours}</p>'
