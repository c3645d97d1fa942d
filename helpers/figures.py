"""Pictures and tables of the book, in one style.

`draw` shows a network, `gallery` images, `strip` images with masks and predictions,
`painted` one large image with its prediction, `overlay` two masks, `curves` a training,
`dots` the scores of several seeds, `bars`, `table` and `cost_card` numbers. Pictures
are matplotlib figures on a light card, which reads on a light and on a dark page;
tables, drawings, overlays and bars are HTML.
"""

import html

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML

from helpers.drawing import draw

__all__ = [
    "COLOURS", "bars", "cost_card", "curves", "dots", "draw", "gallery", "overlay",
    "painted", "strip", "style", "table",
]  # fmt: skip

COLOURS = {  # Okabe and Ito: told apart by colour-blind eyes too
    "FCN": "#E69F00",
    "U-Net": "#0072B2",
    "V-Net": "#009E73",
    "ResUNet": "#D55E00",
    "Inception-U-Net": "#CC79A7",
    "U2-Net": "#56B4E9",
    "baseline": "#7F7F7F",
}
HIT, EXTRA, MISSED = "#009E73", "#E69F00", "#CC79A7"  # of a prediction
PAPER, INK = "#fafafa", "#1f2328"


def style() -> None:
    """Set matplotlib for the whole notebook: light card, large type, small files."""
    plt.rcParams.update(
        {
            "figure.facecolor": PAPER,
            "savefig.facecolor": PAPER,
            "axes.facecolor": PAPER,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.prop_cycle": plt.cycler(color=list(COLOURS.values())),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "image.interpolation": "nearest",
            "font.size": 13,
            "figure.figsize": (6.4, 3.8),
            "figure.dpi": 96,
            "savefig.bbox": "tight",
            "figure.constrained_layout.use": True,
            "lines.linewidth": 2,
            "legend.frameon": False,
        }
    )


def gallery(pictures, titles=(), outlines=None, rows=1, side=2.2):
    """Show pictures in rows, one beside the other.

    Pictures are (3 or 1, H, W) or (H, W) with values 0..1; `outlines`, one mask
    (1, H, W) per picture, are drawn in white. `side` is in inches. Returns the axes.
    """
    columns = len(pictures) // rows
    size = (side * columns, (side + 0.3) * rows)
    _, axes = plt.subplots(rows, columns, figsize=size, dpi=80, squeeze=False)
    for i, (axis, picture) in enumerate(zip(axes.flat, pictures, strict=True)):
        picture = np.asarray(picture, dtype=float)
        axis.imshow(_picture(picture if picture.ndim == 3 else picture[None]))
        if outlines is not None and outlines[i].any():
            axis.contour(outlines[i][0], [0.5], colors="white", linewidths=1)
        if i < len(titles):
            axis.set_title(titles[i], fontsize=14)
        axis.axis("off")
    return axes.flat


def painted(image, truth, found, titles=()):
    """Show one image (3 or 1, H, W) with hits, extras and misses in three colours.

    `truth` and `found` are masks (H, W); several answers, (K, H, W) with K `titles`,
    are shown two in a row. Returns the matplotlib figure.
    """
    truth, found = np.asarray(truth, dtype=bool), np.asarray(found, dtype=bool)
    answers = found.reshape(-1, *truth.shape)
    columns = min(len(answers), 2)
    rows = -(-len(answers) // columns)
    side = 5 / columns
    size = (5, side * rows + 0.4 + 0.3 * (rows if len(titles) else 0))
    figure, axes = plt.subplots(rows, columns, figsize=size, dpi=80, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, answer in zip(axes.flat, answers):
        axis.imshow(_overlay(_picture(image), truth, answer))
    for axis, title in zip(axes.flat, titles):
        axis.set_title(title, fontsize=12)
    _overlay_legend(figure)
    return figure


def overlay(truth, found, label, width="15rem") -> str:
    """Two small masks (H, W) as SVG: hits, extras and misses, with their counts.

    `label` is the text alternative. Light enough for every frame of a demo.
    """
    truth, found = np.asarray(truth, dtype=bool), np.asarray(found, dtype=bool)
    drawn = keys = ""
    for name, colour, part in _kinds(truth, found):
        drawn += f'<path fill="{colour}" d="{_path(part)}"/>'
        keys += f'<span style="border-left:1em solid {colour};padding:0 1em 0 .4em">'
        keys += f"{name} {part.sum()}</span>"
    h, w = truth.shape
    return (
        f'<svg viewBox="0 0 {w} {h}" role="img" aria-label="{html.escape(label)}" '
        f'style="display:block;width:{width};max-width:100%">{drawn}'
        f'<rect width="{w}" height="{h}" fill="none" stroke="currentColor" '
        f'stroke-width="{w / 200}"/></svg><p>{keys}</p>'
    )


def bars(scores) -> str:
    """Scores between 0 and 1, a dict from name to value, as text and bars in HTML."""
    return "".join(
        f'<div style="max-width:24rem">{html.escape(name)} {value:.2f}'
        f'<div style="height:.5em;width:{100 * value:.0f}%;background:currentColor">'
        "</div></div>"
        for name, value in scores.items()
    )


def strip(images, masks, predictions=None, titles=None):
    """Show images, a row each: the image, its mask and, if given, the prediction.

    images (N, 3 or 1, H, W) with values 0..1, masks (N, 1, H, W), predictions like the
    masks, true where the network says defect. The last column lays hits, extras
    and misses over the image in three colours. `titles`: one text per row. Returns the
    matplotlib figure; sizes that do not match raise ValueError.
    """
    _check_strip(images, masks, predictions, titles)
    columns = ["image", "mask"] + ([] if predictions is None else ["prediction"])
    rows = len(images)
    figure, axes = plt.subplots(
        *(rows, len(columns)),
        figsize=(2.2 * len(columns), 2.2 * rows + 0.6),
        squeeze=False,
        dpi=80,  # photographs weigh more than anything else on a page
    )
    for i, row in enumerate(axes):
        picture = _picture(images[i])
        truth = np.asarray(masks[i, 0]) > 0.5
        row[0].imshow(picture, vmin=0, vmax=1)
        row[1].imshow(truth, cmap="gray", vmin=0, vmax=1)
        if predictions is not None:
            found = np.asarray(predictions[i, 0]) > 0.5
            row[2].imshow(_overlay(picture, truth, found))
        row[0].set_ylabel(titles[i] if titles else "")
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, fontsize=13)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    if predictions is not None:
        _overlay_legend(figure)
    return figure


def curves(runs, colour=COLOURS["U-Net"]):
    """Plot loss and validation IoU against the step, a thin line per run, their mean.

    Each run has `.history`, a list of dicts with the keys step, loss and iou (None or
    missing where it was not measured). Returns the matplotlib figure.
    """
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.2))
    for axis, key in zip(axes, ("loss", "iou"), strict=True):
        lines = [_line(run.history, key) for run in runs]
        for steps, values in lines:
            axis.plot(steps, values, color=colour, alpha=0.4, linewidth=1)
        shared = sorted(set.intersection(*(set(steps) for steps, _ in lines)))
        at = [[dict(zip(*line, strict=True))[s] for s in shared] for line in lines]
        axis.plot(shared, np.mean(at, axis=0), color=colour)
        axis.set(xlabel="step", ylim=(0, None if key == "loss" else 1))
    axes[0].set_title("loss", fontsize=13)
    axes[1].set_title("IoU, validation", fontsize=13)
    return figure


def dots(frame, value, label=None, by="variant", colour=COLOURS["U-Net"]):
    """Plot one column of a table of runs: a row per variant, a dot per seed, the mean.

    `frame` is what `helpers.training.results` returns. The means are ticks. Returns the
    matplotlib figure.
    """
    names = list(frame[by].unique())
    figure, axis = plt.subplots(figsize=(6.4, 0.9 + 0.5 * len(names)))
    for row, name in enumerate(names):
        values = frame[frame[by] == name][value]
        axis.plot(values, [row] * len(values), "o", color=colour, alpha=0.6)
        axis.plot(values.mean(), row, "|", color=INK, markersize=18, markeredgewidth=2)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel=label or value, xlim=(0, 1), ylim=(len(names) - 0.5, -0.5))
    return figure


def table(rows, headers, caption) -> HTML:
    """A real HTML table: `rows` of cells under `headers`, numbers to the right.

    Cells are text or numbers; floats are shown with three significant digits, so hand
    over text where you want another form.
    """
    rows = [list(row) for row in rows]
    numeric = [all(_is_number(v) for v in column) for column in zip(*rows, strict=True)]
    head = "".join(
        f'<th scope="col" style="text-align:{"right" if right else "left"}">'
        f"{html.escape(str(name))}</th>"
        for name, right in zip(headers, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return HTML(
        '<div style="overflow-x:auto" tabindex="0" role="group" '
        f'aria-label="{html.escape(caption)}"><table class="book-table">'
        f"<caption>{html.escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def cost_card(name, card, use, avoid, note="") -> HTML:
    """What a network costs, in the same form in every chapter.

    `card` is what `helpers.cost.card` returns, `use` and `avoid` say when to take this
    network and when not, `note` which variant the numbers belong to.
    """
    facts = [
        ("Input", " × ".join(map(str, card["input"]))),
        ("Parameters", count(card["params"])),
        ("Multiply-accumulates (MACs)", count(card["macs"])),
        ("Activation memory, inference", f"{card['memory'] / 2**20:,.1f} MiB"),
        ("Activation memory, training", f"{card['memory_training'] / 2**20:,.1f} MiB"),
        ("Time, forward", seconds(card["seconds"])),
        ("Time, forward and backward", seconds(card["seconds_training"])),
        ("Take it when", use),
        ("Leave it when", avoid),
    ]
    edge = COLOURS.get(name, COLOURS["baseline"])
    body = "".join(
        f'<tr><th scope="row" style="text-align:left">{label}</th>'
        f'<td style="text-align:left">{html.escape(value)}</td></tr>'
        for label, value in facts
    )
    note = f" <small>{html.escape(note)}</small>" if note else ""
    return HTML(
        f'<div class="cost-card" style="--net:{edge};border-top:4px solid {edge}">'
        f'<table><caption style="caption-side:top;text-align:left">What '
        f"{html.escape(name)} costs{note}</caption><tbody>{body}</tbody></table></div>"
    )


def count(number) -> str:
    """A large count to three digits: 31.0 million."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{_three_digits(number / size)} {word}"
    return f"{number:,}"


def _three_digits(number) -> str:
    return f"{number:#.3g}".rstrip(".") if number < 999.5 else f"{number:,.0f}"


def seconds(time) -> str:
    """A duration in the unit that suits it."""
    return f"{time:.2f} s" if time >= 1 else f"{1000 * time:.1f} ms"


def _check_strip(images, masks, predictions, titles) -> None:
    size = (len(images), 1, *images.shape[2:])
    for name, maps in (("masks", masks), ("predictions", predictions)):
        if maps is not None and tuple(maps.shape) != size:
            shape = tuple(maps.shape)
            raise ValueError(f"{name} have shape {shape}, the images need {size}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles for {len(images)} images")


def _picture(image) -> np.ndarray:
    picture = np.asarray(image, dtype=float).transpose(1, 2, 0).clip(0, 1)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def _overlay(picture, truth, found) -> np.ndarray:
    """The image in pale grey, with hits, extras and misses in colour."""
    result = np.repeat(0.35 + 0.5 * picture.mean(axis=2, keepdims=True), 3, axis=2)
    for _, colour, where in _kinds(truth, found):
        result[where] = plt.matplotlib.colors.to_rgb(colour)
    return result


def _kinds(truth, found):
    """Name, colour and pixels of hits, extras and misses."""
    yield "hit", HIT, truth & found
    yield "extra", EXTRA, found & ~truth
    yield "missed", MISSED, truth & ~found


def _path(mask) -> str:
    """SVG path of a mask (H, W): one rectangle for each run in a row."""
    edges = np.diff(np.pad(mask.astype(int), ((0, 0), (1, 1))), axis=1)
    runs = zip(np.argwhere(edges > 0), np.argwhere(edges < 0), strict=True)
    return "".join(f"M{x} {y}h{end - x}v1H{x}z" for (y, x), (_, end) in runs)


def _overlay_legend(figure) -> None:
    names = (("hit", HIT), ("extra", EXTRA), ("missed", MISSED))
    patches = [plt.matplotlib.patches.Patch(color=c, label=n) for n, c in names]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=13)


def _line(history, key):
    points = [(h["step"], h[key]) for h in history if h.get(key) is not None]
    return tuple(zip(*points, strict=True)) or ((), ())


def _is_number(value) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _cell(value) -> str:
    if not _is_number(value):
        return f'<td style="text-align:left">{html.escape(str(value))}</td>'
    text = f"{value:,}" if isinstance(value, int | np.integer) else f"{value:,.3g}"
    return f'<td style="text-align:right">{text}</td>'
