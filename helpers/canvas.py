"""A canvas to paint a mask on: in a notebook and on the printed page alike.

`paint(image, mask)` is one HTML output. A few lines of script do the painting and the
scoring, so it needs no kernel, no widget library and no internet. The scores are those
of `helpers.training`: IoU, Dice, and boundary F1 within 2 px.
"""

import base64
import html
import io
import itertools
import json
import zlib

import numpy as np
from IPython.display import HTML
from PIL import Image

from helpers.figures import EXTRA, HIT, MISSED

LARGEST = 512  # px a side: what a page can carry, and a finger can paint
numbers = itertools.count(1)

STYLE = """
.canvas button { background: none; border: 1px solid currentColor; border-radius: 3px;
  color: inherit; cursor: pointer; font: inherit; margin: .3rem .2rem 0 0;
  min-height: 2.2rem; padding: .2rem .7rem; }
.canvas button[aria-pressed="true"] { box-shadow: inset 0 0 0 2px currentColor;
  font-weight: 700; }
.canvas canvas { background-size: 100% 100%; cursor: crosshair; display: block;
  image-rendering: pixelated; print-color-adjust: exact; touch-action: pinch-zoom;
  width: 100%; }
.canvas .sheet { max-width: 22rem; overflow: hidden; position: relative; }
.canvas .brush { border: 1px solid #fff; border-radius: 50%; box-shadow: 0 0 0 1px #000;
  box-sizing: border-box; pointer-events: none; position: absolute;
  transform: translate(-50%, -50%); }
.canvas p { margin: .5rem 0 0; }
.canvas p span { display: inline-block; margin-right: 1.2em; }
"""

SCRIPT = """
(function () {
  const root = document.getElementById("KEY");
  const data = JSON.parse(root.querySelector("script").textContent);
  const [W, H] = data.size;
  const part = name => root.querySelector("[data-part=" + name + "]");
  const pressed = name => part(name)?.getAttribute("aria-pressed") === "true";
  const canvas = part("canvas"), brush = part("brush"), size = part("size");
  const context = canvas.getContext("2d");
  const reference = new Uint8Array(W * H);  // from runs: background, mask, background
  let mask = new Uint8Array(W * H), start = 0;
  (data.runs || []).forEach((run, i) => {
    reference.fill(i % 2, start, start + run);
    start += run;
  });
  const older = [];  // masks, for undo
  let last = null, x = W / 2, y = H / 2;  // of the stroke; of the brush

  const near = [];  // steps of at most 2 px
  for (let v = -2; v <= 2; v++)
    for (let u = -2; u <= 2; u++)
      if (u * u + v * v <= 4) near.push([u, v]);
  const at = (map, u, v) => u >= 0 && v >= 0 && u < W && v < H && map[v * W + u];

  function outline(map) {
    const points = [], edge = new Uint8Array(W * H);
    for (let v = 0; v < H; v++)
      for (let u = 0; u < W; u++)
        if (at(map, u, v) && !(at(map, u - 1, v) && at(map, u + 1, v) &&
                               at(map, u, v - 1) && at(map, u, v + 1))) {
          points.push([u, v]);
          edge[v * W + u] = 1;
        }
    return [points, edge];
  }
  function share(points, edge) {
    const close = ([u, v]) => near.some(([a, b]) => at(edge, u + a, v + b));
    return points.filter(close).length / points.length;
  }
  function scores() {
    let both = 0, areas = 0;
    mask.forEach((m, i) => { both += m & reference[i]; areas += m + reference[i]; });
    const [a, edgeA] = outline(mask), [b, edgeB] = outline(reference);
    let f1 = Number(a.length === b.length);  // when one is empty
    if (a.length && b.length) {
      const precision = share(a, edgeB), recall = share(b, edgeA);
      f1 = 2 * precision * recall / Math.max(precision + recall, 1e-9);
    }
    return {iou: areas ? both / (areas - both) : 1,
            dice: areas ? 2 * both / areas : 1, f1: f1};
  }

  function pixels(colour) {  // a picture of W x H; colour(i) is [r, g, b, a]
    const picture = new ImageData(W, H);
    for (let i = 0; i < W * H; i++) picture.data.set(colour(i), 4 * i);
    return picture;
  }
  function show() {
    const compared = pressed("show");
    const [hit, extra, missed] = data.colours, none = [0, 0, 0, 0];
    context.putImageData(pixels(i => {
      if (!compared) return mask[i] ? extra : none;
      return mask[i] ? (reference[i] ? hit : extra) : reference[i] ? missed : none;
    }), 0, 0);
    brush.style.left = 100 * x / W + "%";
    brush.style.top = 100 * y / H + "%";
    brush.style.width = 100 * size.value / W + "%";
    brush.style.height = 100 * size.value / H + "%";
    part("px").textContent = size.value + " px";
    if (!data.runs) return;
    for (const [name, value] of Object.entries(scores())) {
      part(name).value = value;
      part(name).textContent = value.toFixed(2);
    }
  }

  function keep() {
    older.push(mask.slice());
    if (older.length > 50) older.shift();
  }
  function stroke() {  // paint from where the stroke was last to where the brush is
    const [u0, v0] = last || [x, y], du = x - u0, dv = y - v0;
    const value = pressed("erase") ? 0 : 1, r = size.value / 2;
    for (let v = 0; v < H; v++)
      for (let u = 0; u < W; u++) {
        const a = u + .5 - u0, b = v + .5 - v0, length = du * du + dv * dv;
        const t = length ? Math.min(1, Math.max(0, (a * du + b * dv) / length)) : 0;
        if (Math.hypot(a - t * du, b - t * dv) <= r) mask[v * W + u] = value;
      }
    const u = Math.floor(x), v = Math.floor(y);  // a brush of 1 px paints one
    if (at(mask, u, v) !== false) mask[v * W + u] = value;
    last = [x, y];
  }
  function move(event) {
    if (!event.isPrimary) return;
    const box = canvas.getBoundingClientRect();
    x = (event.clientX - box.left) * W / box.width;
    y = (event.clientY - box.top) * H / box.height;
    if (last) stroke();
    show();
  }
  const lift = () => { last = null; };

  canvas.addEventListener("pointerdown", event => {
    if (!event.isPrimary || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    lift();
    move(event);
    keep();
    stroke();
    show();
  });
  canvas.addEventListener("pointermove", move);
  ["pointerup", "pointercancel", "blur"].forEach(
    name => canvas.addEventListener(name, lift));

  const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0],
                 ArrowUp: [0, -1], ArrowDown: [0, 1]};
  canvas.addEventListener("keydown", event => {
    const key = event.key, step = steps[key];
    if (step) {
      const far = event.shiftKey ? 5 : 1;
      x = Math.min(W - .5, Math.max(.5, Math.floor(x) + .5 + far * step[0]));
      y = Math.min(H - .5, Math.max(.5, Math.floor(y) + .5 + far * step[1]));
      if (last) stroke();
    } else if (key === " ") {
      if (!event.repeat) { keep(); stroke(); }
    } else if (key === "e" && !event.ctrlKey && !event.metaKey) part("erase").click();
    else if (key === "z" && (event.ctrlKey || event.metaKey)) part("undo").click();
    else return;
    event.preventDefault();
    show();
  });
  canvas.addEventListener("keyup", event => { if (event.key === " ") lift(); });

  const on = (name, act) => part(name)?.addEventListener("click", act);
  ["erase", "show"].forEach(name => on(name, () => {
    part(name).setAttribute("aria-pressed", !pressed(name));
    show();
  }));
  on("undo", () => { mask = older.pop() || mask; show(); });
  on("clear", () => { keep(); mask = new Uint8Array(W * H); show(); });
  on("download", () => {
    const sheet = document.createElement("canvas"), link = document.createElement("a");
    [sheet.width, sheet.height] = [W, H];
    const grey = i => [255 * mask[i], 255 * mask[i], 255 * mask[i], 255];
    sheet.getContext("2d").putImageData(pixels(grey), 0, 0);
    link.href = sheet.toDataURL("image/png");
    link.download = data.file;
    link.click();
  });
  size.addEventListener("input", show);
  show();
})();
"""


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
    picture = _png(image)
    key = f"canvas-{next(numbers)}-{zlib.crc32(picture):08x}"
    data = dict(size=[width, height], file=f"{name}_mask.png")
    data["colours"] = [[*bytes.fromhex(c[1:]), 170] for c in (HIT, EXTRA, MISSED)]
    if mask is not None:
        data["runs"] = _runs(mask)
    data = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    return HTML(
        f'<div class="demo canvas" id="{key}" data-lm-suppress-shortcuts="true">'
        f"<style>{STYLE}</style>"
        f'<script type="application/json">{data}</script>'
        f"{_sheet(picture, width, height)}{_tools(mask is not None)}"
        f"<script>{SCRIPT.replace('KEY', key)}</script></div>"
    )


def _check(image, mask):
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


def _png(image):
    """Bytes of a PNG of an image (3 or 1, H, W)."""
    pixels = (255 * image).round().astype(np.uint8)
    pixels = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def _runs(mask):
    """Lengths of the runs of a flat mask: background first, then mask, and so on."""
    flat = np.concatenate([[0], mask.ravel().astype(int), [0]])
    edges = np.flatnonzero(np.diff(flat))
    return np.diff(np.concatenate([[0], edges])).tolist()


def _sheet(picture, width, height):
    """The canvas, its picture behind it, and the brush's outline above it."""
    data = base64.b64encode(picture).decode()
    keys = "Arrow keys move the brush, space paints, E erases, Control Z takes back."
    return (
        '<div class="sheet"><canvas data-part="canvas" tabindex="0" role="application" '
        f'width="{width}" height="{height}" aria-label="A picture to paint on, '
        f'{width} x {height} px. {html.escape(keys)}" '
        f'style="background-image:url(data:image/png;base64,{data})"></canvas>'
        '<div class="brush" data-part="brush" aria-hidden="true"></div></div>'
    )


def _tools(scored):
    """The brush's slider, the buttons and the scores."""
    button = '<button type="button" data-part="{}"{}>{}</button>'.format
    off = ' aria-pressed="false"'
    buttons = [("erase", off, "erase"), ("undo", "", "undo"), ("clear", "", "clear")]
    buttons += [("show", off, "show reference")] * scored
    buttons += [("download", "", "download mask")]
    names = {"iou": "IoU", "dice": "Dice", "f1": "boundary F1"}
    scores = "".join(
        f'<span>{name} <data data-part="{part}">0.00</data></span>'
        for part, name in names.items()
    )
    colours = "".join(
        f'<span style="border-left:1em solid {colour};padding-left:.4em">{name}</span>'
        for name, colour in (("hit", HIT), ("extra", EXTRA), ("missed", MISSED))
    )
    return (
        '<label>brush: <output data-part="px">5 px</output><input type="range" '
        'data-part="size" min="1" max="15" value="5" style="display:block;width:100%;'
        'max-width:22rem"></label>'
        f"<div>{''.join(button(*b) for b in buttons)}</div>"
        + (f'<p role="status">{scores}</p><p>{colours}</p>' if scored else "")
        + "<p><small>Paint with finger, pen or mouse. Keys: arrows move the brush "
        "(Shift: 5 px), space paints, held it paints a line, E erases, Ctrl + Z takes "
        "back.</small></p>"
    )
