"""Networks that run on the page: the reader paints, the network answers.

    paint(net, sheets, threshold)        its answer as one paints; skips, shifts
    maps(net, sheets)                    the feature maps of any box of its drawing
    side_by_side(nets, sheets, cuts)     several networks on one picture, with times
    window(picture, kernels)             a convolution's window, its nine products
    recorded(net, name)                  a network as it was recorded, its threshold

The first four return HTML for a notebook and for a page, which needs no kernel and no
internet; without JavaScript a picture and a text stand in its place. `sheets` are the
pictures to paint on, from a name to a `Sheet`, as `surfaces()` makes them. The networks
travel as live.py packs them, with weights in float16: in the output itself, so that it
works wherever a notebook does; on the book's pages in files beside them, which load
when a reader first touches the demo (embed.apart, book/_ext/pages.py).

live_parts.py has the HTML; live_board.js paints, live_demos.js runs the networks.
"""

import html
from typing import NamedTuple

import numpy as np
import torch
from IPython.display import HTML
from safetensors import safe_open

from helpers import (
    data,
    drawing,
    fields,
    figures,
    live,
    live_parts,
    probes,
    trace,
    trials,
)


class Sheet(NamedTuple):
    """A picture to paint on: `image` (3 or 1, H, W), values 0..1, `mask` (1, H, W).

    `clean` is the picture without its defects, which erasing brings back; where there
    is none, it is the image again. The two differ in brightness alone.
    """

    image: torch.Tensor
    mask: torch.Tensor
    clean: torch.Tensor


class Brush(NamedTuple):
    """What a brush adds to the brightness, -0.5..0.5, and its width in px.

    One that adds 0 brings back the clean picture. `marks` is what the mask becomes
    where it paints: 1 or 0.
    """

    name: str
    add: float
    width: int
    marks: int = 1


DEFECTS = (  # as data.py draws them, on average
    Brush("scratch", 0.35, 3),
    Brush("crack", -0.35, 3),
    Brush("stain", -0.25, 13),
    Brush("erase", 0, 9, marks=0),
)
NUCLEUS = Brush("nucleus", 0.45, 15)
NUCLEI = NUCLEUS, Brush("erase", 0, 13, marks=0)
STEPS, PROBABLE = (0.01, 0.99, 0.01), 'data-part="probable"'
RESULT = "The sums at all places, from black to white"


def surfaces(size=64, seed=0) -> dict[str, Sheet]:
    """Four surfaces of the test split, each with defects, and clean."""
    found = {}
    for texture in ("brick", "grass", "fabric", "metal"):
        same = dict(size=size, seed=seed, split="test", textures=[texture])
        images, masks = data.surfaces(8, **same).tensors
        clean, _ = data.surfaces(8, contrast=0, **same).tensors
        most = masks.sum((1, 2, 3)).argmax()
        found[texture] = Sheet(images[most], masks[most], clean[most])
    return found


def lattices(size=48, seed=0) -> dict[str, Sheet]:
    """Lattices of bright dots with the gap in the middle, and their plain grounds."""
    found = {}
    for image, gap in probes.around_a_gap(8, size=size, seed=seed):
        ground = image.median()
        if image.mean() > ground:  # no brush adds a dark dot
            plain = torch.full_like(image, ground.item())
            found[f"lattice {len(found) + 1}"] = Sheet(image, gap, plain)
    return found


def recorded(net, name):
    """A network with its recorded weights, and the threshold that belongs to them.

    The weights come from notebooks/weights/<name>.safetensors, the network is in
    evaluation mode. Raises FileNotFoundError where they are not recorded yet, and
    ValueError where they belong to another network.
    """
    path = trials.RECORDS / "weights" / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights were recorded as {path.name}: `make bench` writes them"
        )
    try:
        with safe_open(path, "pt") as file:
            threshold = float(file.metadata()["threshold"])
            net.load_state_dict({key: file.get_tensor(key) for key in file.keys()})
    except RuntimeError as error:
        raise ValueError(
            f"the weights in {path.name} are not those of this {type(net).__name__}: "
            "ask for the network that the trial trained"
        ) from error
    return net.eval(), threshold


def nuclei(size=96, seed=0) -> dict[str, Sheet]:
    """Dark grounds as of fluorescence: pairs of nuclei, ever less close, and none."""
    rng = np.random.default_rng(seed)
    ground = rng.normal(0.08, 0.01, (size, size)).clip(0, 1)
    y, x = np.mgrid[:size, :size] + 0.5
    shine = np.zeros((size, size))
    corners = (0.25, 0.25), (0.25, 0.72), (0.7, 0.3), (0.72, 0.74)
    for corner, apart in zip(corners, (0.9, 1, 1.1, 1.2)):  # radii, to the middle
        v, u = size * np.array(corner)
        turn, r = rng.uniform(0, np.pi), rng.uniform(0.07, 0.1) * size
        dv, du = apart * r * np.sin(turn), apart * r * np.cos(turn)
        for way in (-1, 1):
            away = np.hypot(y - v - way * dv, x - u - way * du)
            shine = np.maximum(shine, np.clip(r + 0.5 - away, 0, 1))
    clean = torch.tensor(ground, dtype=torch.float32).expand(3, -1, -1)
    bright = torch.tensor(shine, dtype=torch.float32)[None]
    none = torch.zeros(1, size, size)
    pairs = Sheet(clean + NUCLEUS.add * bright, (bright > 0.5).float(), clean)
    return {"pairs": pairs, "empty": Sheet(clean, none, clean)}


def paint(net, sheets, threshold=0.5, brushes=DEFECTS) -> HTML:
    """A network's answer to a picture, while the reader paints on it.

    `net` takes (1, C, H, W), the size of the sheets, and returns logits (1, 1, H, W),
    or several such, between which the reader then chooses. Each of its skips has a
    switch: off, zeros are joined in its place. Raises ValueError for other answers, for
    sheets of several sizes, and for a network that live.pack refuses.
    """
    shape = _shape(sheets)
    ops = _answering(net, shape)
    network, mark, weight = live_parts.packed(live.pack(net, *shape))
    sight, square, note = _sight(net, shape)
    board, settings = live_parts.board(sheets, brushes, shape[1:], square)
    settings["sight"] = sight
    answers = [op.name for op in ops if op.kind == "output"]
    output = ""
    if len(answers) > 1:
        output = live_parts.choice("output", "which answer", range(len(answers)))
    shown = (
        f'<div class="pair">{board}<figure>'
        f"{live_parts.canvas('answer', 'The network has not answered yet')}"
        f"<figcaption>{live_parts.colours()}</figcaption></figure></div>"
        '<p role="status"><span>IoU <b data-part="iou">–</b></span><span>boundary F1 '
        '<b data-part="f1">–</b></span></p><div class="pair"><div>'
        f"{live_parts.tools(sheets, brushes)}</div><div>{output}"
        f"{live_parts.slider('threshold', 'threshold', 'cut', STEPS, threshold)}"
        f"{live_parts.tick('checkbox', 'show the probability', PROBABLE)}"
        f"{live_parts.skips(ops)}{live_parts.button('slide', 'slide by one pixel')}"
        '<p data-part="slid" aria-live="polite"></p></div></div>'
        f"{live_parts.weight(weight)}<p><small>{live_parts.KEYS}{note}</small></p>"
    )
    still = live_parts.still(net, sheets, threshold)
    return live_parts.demo("livePaint", settings, still, shown, network, mark)


def maps(net, sheets) -> HTML:
    """A network's drawing, each box of which shows its feature maps as one paints.

    `net` and `sheets` are as in `paint`; raises ValueError as that does. Each map is
    drawn from its least value, black, to its largest, white.
    """
    shape = _shape(sheets)
    _answering(net, shape)
    program = live.pack(net, *shape)
    network, mark, weight = live_parts.packed(program)
    board, settings = live_parts.board(sheets, DEFECTS, shape[1:])
    settings["names"] = [line["name"] for line in program["ops"]]
    shown = (
        f'<div class="pair">{board}<figure>{live_parts.canvas("maps", "No maps yet")}'
        '<figcaption data-part="said" aria-live="polite"></figcaption></figure></div>'
        "<p>Choose a box, by click or by arrow key, to see its maps.</p>"
        f"{drawing.draw(net, *shape).html}"
        f"{live_parts.tools(sheets, DEFECTS)}{live_parts.weight(weight)}"
        f"<p><small>{live_parts.KEYS}</small></p>"
    )
    still = live_parts.still(net, sheets, 0.5)
    return live_parts.demo("liveMaps", settings, still, shown, network, mark)


def side_by_side(nets, sheets, thresholds, brushes=DEFECTS, count=False) -> HTML:
    """Several networks on the reader's one drawing, with IoU and time of each.

    `nets` and `thresholds` are dicts by the networks' names; each network is as in
    `paint`, and ValueError is raised as there. They run one after the other. With
    `count`, each also says how many objects it found: parts of its answer that no side
    of a pixel joins.
    """
    shape = _shape(sheets)
    board, settings = live_parts.board(sheets, brushes, shape[1:])
    settings["count"] = count
    networks = sides = ""
    total = 0
    for name, net in nets.items():
        _answering(net, shape)
        network, mark, weight = live_parts.packed(live.pack(net, *shape))
        networks += network
        total += weight
        sides += (
            f'<figure data-net="{mark}" data-cut="{thresholds[name]}">'
            f"{live_parts.canvas('answer', f'{name} has not answered yet')}"
            f"<figcaption><b>{html.escape(name)}</b>, {weight:.0f} kB<br>"
            '<span data-part="said"></span></figcaption></figure>'
        )
    shown = (
        f'<div class="pair">{board}<div>{live_parts.tools(sheets, brushes)}</div></div>'
        f'<p>{live_parts.colours()}</p><div class="sides">{sides}</div>'
        f"{live_parts.weight(total)}<p><small>{live_parts.KEYS}</small></p>"
    )
    first = next(iter(nets))
    still = live_parts.still(nets[first], sheets, thresholds[first])
    return live_parts.demo("liveSides", settings, still, shown, networks)


def window(picture, kernels) -> HTML:
    """A 3 x 3 window that follows the pointer, and its nine products.

    `picture` (1, H, W) with values 0..1; `kernels` is a dict from a name to 3 x 3
    numbers. Around the picture are zeros. Raises ValueError for other shapes.
    """
    grey = np.asarray(picture, dtype=float)
    if grey.ndim != 3 or len(grey) != 1:
        raise ValueError(f"picture has shape {grey.shape}; it must be (1, H, W)")
    grey = grey[0]
    settings = dict(size=list(grey.shape[::-1]), kernels=[])
    settings["values"] = grey.round(2).flatten().tolist()
    for name, weights in kernels.items():
        weights = np.asarray(weights, dtype=float)
        if weights.shape != (3, 3):
            raise ValueError(f"{name} has shape {weights.shape}; a window is 3 x 3")
        settings["kernels"].append(weights.flatten().tolist())
    row = "<tr>" + 3 * '<td data-part="product"></td>' + "</tr>"
    box = '<div class="window" data-part="{}" aria-hidden="true"></div>'
    shown = (
        '<div class="pair"><figure><div class="sheet"><canvas data-part="picture" '
        'tabindex="0" role="application" aria-label="A picture. The arrow keys move '
        f'a window of 3 x 3 pixels over it."></canvas>{box.format("window")}</div>'
        '<figcaption>The window at <span data-part="place"></span></figcaption>'
        f'</figure><figure><div class="sheet">{live_parts.canvas("result", RESULT)}'
        f"{box.format('pixel')}</div><figcaption>{RESULT}</figcaption></figure></div>"
        f'{live_parts.choice("kernel", "weights", kernels)}<table class="nine">'
        f"<caption>pixel × weight</caption>{3 * row}</table>"
        '<p role="status">Their sum: <b data-part="sum"></b></p>'
    )
    still = figures.pixels(grey, "The picture that the window moves over", "15rem")
    still += "<p>With JavaScript a window of 3 × 3 pixels follows the pointer here.</p>"
    return live_parts.demo("liveWindow", settings, still, shown)


def _shape(sheets):
    """(1, C, H, W) of all sheets."""
    shapes = set()
    for image, mask, clean in sheets.values():
        shapes |= {tuple(image.shape), tuple(clean.shape)}
        shapes.add((len(image), *mask.shape[1:]))
    if len(shapes) != 1 or len(min(shapes)) != 3 or min(shapes)[0] not in (1, 3):
        raise ValueError(
            f"sheets of shapes {sorted(shapes)}: images, masks and clean pictures must "
            "all have one size, (3, H, W) or (1, H, W)"
        )
    return 1, *shapes.pop()


def _answering(net, shape):
    """The trace of a network that answers every pixel with one logit."""
    ops = trace.trace(net, *shape)
    for op in ops:
        if op.kind == "output" and op.shape != (1, 1, *shape[2:]):
            raise ValueError(
                f"{type(net).__name__} answers with shape {op.shape} to {shape}; here "
                f"it must be {(1, 1, *shape[2:])}, one logit for each pixel"
            )
    return ops


def _sight(net, shape):
    """How far a network sees, in px, the square that shows it, and a note.

    None, and no square, where it sees more than the picture.
    """
    sight = int(fields.receptive_field(net, *shape).width.max())
    if sight >= min(shape[2:]):
        return None, "", ""
    square = '<div class="sight" data-part="sight" aria-hidden="true"></div>'
    note = " The dashed square is all that the answer in its middle depends on: "
    return sight, square, f"{note}{sight} px."
