"""Pictures and tables of the book, in one style.

`draw` shows a network and `layers` its layers, `gallery` images, `strip` images with
masks and predictions, `best_median_worst` three of them chosen by a rule, `painted` one
large image with its prediction, `overlay` two masks, `pixels` a small picture, `curves`
a training, `dots` the scores of several seeds, `sweep` and `by_distance` what they
depend on, `bars`, `table` and `cost_card` numbers. Pictures are matplotlib figures on a
light card, which reads on a light and on a dark page; tables, drawings, overlays, small
pictures and bars are HTML.
"""

import html
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas
import torch
import torchinfo
from IPython.display import HTML
from matplotlib.colors import to_rgb

from helpers import embed
from helpers.drawing import draw as draw  # chapters call it figures.draw
from helpers.metrics import iou
from helpers.trace import on_meta
from helpers.training import crop_to

COLOURS = {  # Okabe and Ito: told apart by colour-blind eyes too
    "FCN": "#E69F00",
    "U-Net": "#0072B2",
    "V-Net": "#009E73",
    "ResUNet": "#D55E00",
    "Inception-U-Net": "#CC79A7",
    "U2-Net": "#56B4E9",
    "baseline": "#7F7F7F",
}
OUTCOMES = {"hit": "#009E73", "extra": "#E69F00", "missed": "#CC79A7"}  # of a pixel
HIT, EXTRA, MISSED = OUTCOMES.values()
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
        axis.imshow(overlaid(image, truth, answer))
    for axis, title in zip(axes.flat, titles):
        axis.set_title(title, fontsize=12)
    _overlay_legend(figure)
    return figure


def overlaid(image, truth, found) -> np.ndarray:
    """An image (3 or 1, H, W) in pale grey with hits, extras and misses in colour.

    `truth` and `found` are masks (H, W) of booleans. Returns (H, W, 3), values 0..1.
    """
    grey = _picture(image).mean(axis=2, keepdims=True)
    result = np.repeat(0.35 + 0.5 * grey, 3, axis=2)
    for _, colour, where in _kinds(truth, found):
        result[where] = to_rgb(colour)
    return result


def overlay(truth, found, label, width="15rem") -> str:
    """Two small masks (H, W) as SVG: hits, extras and misses, with their counts.

    `label` is the text alternative. Light enough for every frame of a demo.
    """
    truth, found = np.asarray(truth, dtype=bool), np.asarray(found, dtype=bool)
    drawn = keys = ""
    for name, colour, part in _kinds(truth, found):
        drawn += f'<path fill="{colour}" d="{_runs(part)}"/>'
        keys += f'<span style="border-left:1em solid {colour};padding:0 1em 0 .4em">'
        keys += f"{name} {part.sum()}</span>"
    h, w = truth.shape
    return (
        f'<svg viewBox="0 0 {w} {h}" role="img" aria-label="{html.escape(label)}" '
        f'style="display:block;width:{width};max-width:100%">{drawn}'
        f'<rect width="{w}" height="{h}" fill="none" stroke="currentColor" '
        f'stroke-width="{w / 200}"/></svg><p>{keys}</p>'
    )


def pixels(picture, alt, width="9rem") -> str:
    """A small picture as an <img> with visible pixels: (H, W) grey, (3, H, W) colour.

    Values 0..1, others are cut; 32 shades, which keep it light enough for every frame
    of a demo. `alt` is the text alternative.
    """
    shades = np.round(31 * np.asarray(picture, dtype=float).clip(0, 1)) / 31
    style = f"width:{width};max-width:100%;image-rendering:pixelated"
    url = embed.png_url(shades)
    return f'<img alt="{html.escape(alt)}" style="{style}" src="{url}">'


def bars(scores) -> str:
    """Scores between 0 and 1, a dict from name to value, as text and bars in HTML."""
    shown = ""
    for name, value in scores.items():
        shown += (
            f'<div style="max-width:24rem">{html.escape(name)} {value:.2f}'
            f'<div style="height:.5em;width:{100 * value:.0f}%;'
            'background:currentColor"></div></div>'
        )
    return shown


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
    size = (2.2 * len(columns), 2.2 * rows + 0.6)
    # At 80 dpi: photographs weigh more than anything else on a page.
    figure, axes = plt.subplots(rows, len(columns), figsize=size, squeeze=False, dpi=80)
    for i, row in enumerate(axes):
        picture = _picture(images[i])
        truth = np.asarray(masks[i, 0]) > 0.5
        row[0].imshow(picture, vmin=0, vmax=1)
        row[1].imshow(truth, cmap="gray", vmin=0, vmax=1)
        if predictions is not None:
            found = np.asarray(predictions[i, 0]) > 0.5
            row[2].imshow(overlaid(images[i], truth, found))
        row[0].set_ylabel(titles[i] if titles else "")
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, fontsize=13)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    if predictions is not None:
        _overlay_legend(figure)
    return figure


def worst_to_best(found, masks) -> list[int]:
    """Indices of the pictures with foreground, ordered by the IoU of each.

    `found` and `masks` (N, 1, H, W), bool or 0 and 1.
    """
    order = iou(found, masks, each=True).argsort(stable=True).tolist()
    return [i for i in order if masks[i].any()]


def best_median_worst(run, dataset, at=(1, 0.5, 0)):
    """Show the best, the median and the worst prediction of a run on a data set.

    Only pictures with foreground, ranked by the IoU of each at the run's own threshold;
    without any, ValueError.
    `at` are ranks from 0 (the worst) to 1 (the best); the middle of an even number is
    the better of two. Returns the matplotlib figure.
    """
    found, masks = run.segment(dataset)
    order = worst_to_best(found, masks)
    if not order:
        raise ValueError("no picture has foreground: nothing can be ranked by its IoU")
    chosen = [order[min(int(rank * len(order)), len(order) - 1)] for rank in at]
    images = crop_to(dataset.tensors[0], masks)[chosen]
    found, masks = found[chosen], masks[chosen]
    titles = [f"IoU {value:.2f}" for value in iou(found, masks, each=True)]
    return strip(images, masks, found, titles)


def curves(runs, colour=COLOURS["U-Net"]):
    """Plot loss and validation IoU against the step, a thin line per run, their mean.

    Each run has `.history`, a list of dicts with the keys step, loss and score. The
    mean goes over the steps that all runs have. Returns the matplotlib figure.
    """
    histories = [pandas.DataFrame(run.history).set_index("step") for run in runs]
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.2))
    for axis, key in zip(axes, ("loss", "score")):
        lines = [history[key] for history in histories]
        for line in lines:
            axis.plot(line, color=colour, alpha=0.4, linewidth=1, label="one seed")
        mean = pandas.concat(lines, axis="columns", join="inner").mean(axis="columns")
        axis.plot(mean, color=colour, label="their mean")
        axis.set(xlabel="step", ylim=(0, None if key == "loss" else 1))
    if len(runs) > 1:
        axis.legend(handles=axis.lines[-2:])
    axes[0].set_title("loss", fontsize=13)
    axes[1].set_title("IoU, validation", fontsize=13)
    return figure


def dots(table, column, label=None, colour=COLOURS["U-Net"], limits=(0, 1)):
    """Plot one column of a table of runs: a row per variant, a dot per seed, the mean.

    The last level of the table's index is the seed, those before it (`variant`) name
    the row. The means are ticks, the axis goes from and to `limits`. Returns the
    matplotlib figure.
    """
    levels = list(range(table.index.nlevels - 1))
    names, rows = [], table[column].groupby(level=levels, sort=False)
    figure, axis = plt.subplots(figsize=(6.4, 0.9 + 0.5 * len(rows)))
    for y, (name, values) in enumerate(rows):
        names.append(", ".join(map(str, name)))
        axis.plot(values, [y] * len(values), "o", color=colour, alpha=0.6)
        axis.plot(values.mean(), y, "|", color=INK, markersize=18, markeredgewidth=2)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel=label or column, xlim=limits, ylim=(len(names) - 0.5, -0.5))
    return figure


def sweep(runs, dataset):
    """Plot the test IoU of each run against the threshold, with a line at 0.5.

    Returns the matplotlib figure.
    """
    cuts = torch.linspace(0.01, 0.6, 60)
    figure, axis = plt.subplots(figsize=(6, 3.2))
    for run in runs:
        logits, masks = run.predict(dataset)
        scores = [iou(logits.sigmoid() > cut, masks) for cut in cuts]
        axis.plot(cuts, scores, label=f"seed {run.seed}")
    axis.axvline(0.5, color=INK, linestyle="--", linewidth=1)
    axis.set(xlabel="threshold", ylabel="IoU, test")
    axis.legend()
    return figure


def heat_map(values, differences, label, signs, most=0.4):
    """Show a table of numbers, each field coloured by its difference to a reference.

    `values`, `differences` and `signs` (what stands behind a number) are DataFrames of
    equal shape. A field without difference is grey, one without value is left empty.
    `label` names the differences, `most` is where the colours end. Returns the figure.
    """
    shades = plt.get_cmap("PuOr_r").with_extremes(bad="#dddddd")
    figure, axis = plt.subplots(figsize=(6.4, 5.4))
    shown = axis.imshow(differences, shades, vmin=-most, vmax=most, aspect="auto")
    fields = shown.to_rgba(shown.get_array())
    for (row, column), value in np.ndenumerate(values.to_numpy()):
        if np.isnan(value):
            continue
        ink = clearest(fields[row, column], ("white", INK))
        place = dict(ha="center", va="center", color=ink)
        axis.text(column, row, f"{value:.2f}{signs.iloc[row, column]}", **place)
    axis.set_xticks(range(len(values.columns)), values.columns, rotation=35, ha="right")
    axis.set_yticks(range(len(values)), values.index)
    axis.grid(False)
    figure.colorbar(shown, label=label, shrink=0.8)
    return figure


def clearest(field, inks):
    """The ink that reads best on a colour: by WCAG's contrast of their luminances."""
    return max(inks, key=lambda ink: contrast(field, ink))


def contrast(one, other):
    """WCAG 2's contrast of two colours: 1 for equal ones, 21 for black and white."""
    lights = []
    for colour in (one, other):
        channels = np.array(to_rgb(colour))
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        lights.append(linear @ (0.2126, 0.7152, 0.0722) + 0.05)
    return max(lights) / min(lights)


def by_distance(curves, edges, styles=None):
    """Plot the test IoU in rings around the middle, the mean over the seeds.

    `curves` is a dict from name to an array (seeds, rings); ring i begins edges[i] px
    from the border and ends at edges[i + 1], further columns are left out. `styles` may
    hold matplotlib's settings for a line by its name. Returns the matplotlib figure.
    """
    figure, axis = plt.subplots()
    for (name, values), mark in zip(curves.items(), itertools.cycle("osDv^x")):
        mean = np.mean(values, axis=0)[: len(edges) - 1]
        style = dict(marker=mark) | (styles or {}).get(name, {})
        axis.plot(edges[:-1], mean, markersize=5, label=name, **style)
    axis.set(xlabel="distance from the border, px", ylabel="test IoU")
    axis.set_ylim(0, None)
    axis.legend(fontsize=10)
    return figure


def table(rows, headers, caption) -> HTML:
    """A real HTML table: `rows` of cells under `headers`, numbers to the right.

    Cells are text or numbers; floats are shown with three significant digits, so hand
    over text where you want another form.
    """
    columns = list(zip(*rows, strict=True)) or [()] * len(headers)
    head = body = ""
    for name, column in zip(headers, columns, strict=True):
        side = "right" if all(map(_is_number, column)) else "left"
        head += f'<th scope="col" style="text-align:{side}">'
        head += f"{html.escape(str(name))}</th>"
    for row in rows:
        body += f"<tr>{''.join(map(_cell, row))}</tr>"
    return HTML(
        '<div style="overflow-x:auto" tabindex="0" role="group" '
        f'aria-label="{html.escape(caption)}"><table class="book-table">'
        f"<caption>{html.escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def layers(net, *input_shape, caption) -> HTML:
    """A table of all layers of a network: path, type and the shape of the output.

    On an input of `input_shape` (batch first). See `layer_outputs`.
    """
    rows = []
    for path, kind, shape in layer_outputs(net, *input_shape):
        rows.append((path, kind, " × ".join(map(str, shape))))
    return table(rows, ["layer", "type", "output"], caption)


def layer_outputs(net, *input_shape) -> list[tuple[str, str, tuple]]:
    """Path, class and output shape of all layers without children, as they are called.

    torchinfo lists them, of a copy without weights: nothing is computed. It sees
    modules only; additions, concatenations and everything else written as a function
    is missing here, `helpers.trace.trace` has it.
    """
    twin, _ = on_meta(net, *input_shape)
    summary = torchinfo.summary(twin, input_shape, device="meta", verbose=0)
    rows = []
    for layer in summary.summary_list:
        if layer.is_leaf_layer:
            rows.append((_path(layer), layer.class_name, tuple(layer.output_size)))
    return rows


def _path(layer) -> str:
    """Dotted path of one of torchinfo's layers; the network itself has none."""
    if not layer.parent_info:
        return ""
    return f"{_path(layer.parent_info)}.{layer.var_name}".lstrip(".")


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
        ("Time, forward", duration(card["seconds"])),
        ("Time, forward and backward", duration(card["seconds_training"])),
        ("Take it when", use),
        ("Leave it when", avoid),
    ]
    edge = COLOURS.get(name, COLOURS["baseline"])
    body = ""
    for label, value in facts:
        body += f'<tr><th scope="row" style="text-align:left">{label}</th>'
        body += f'<td style="text-align:left">{html.escape(value)}</td></tr>'
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
    """A number to three digits, a larger one to the unit."""
    return f"{number:#.3g}".rstrip(".") if number < 999.5 else f"{number:,.0f}"


def duration(seconds) -> str:
    """A duration in the unit that suits it: 1.50 s, 12.3 ms."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def _check_strip(images, masks, predictions, titles) -> None:
    """Raise ValueError where masks, predictions or titles do not fit the images."""
    size = (len(images), 1, *images.shape[2:])
    for name, maps in (("masks", masks), ("predictions", predictions)):
        if maps is not None and tuple(maps.shape) != size:
            shape = tuple(maps.shape)
            raise ValueError(f"{name} have shape {shape}, the images need {size}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles for {len(images)} images")


def _picture(image) -> np.ndarray:
    """What matplotlib shows of an image (3 or 1, H, W): floats (H, W, 3) in 0..1."""
    picture = np.asarray(image, dtype=float).transpose(1, 2, 0).clip(0, 1)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def _kinds(truth, found):
    """Name, colour and pixels of hits, extras and misses."""
    places = truth & found, found & ~truth, truth & ~found
    for (name, colour), where in zip(OUTCOMES.items(), places):
        yield name, colour, where


def _runs(mask) -> str:
    """SVG path of a mask (H, W): one rectangle for each run in a row."""
    edges = np.diff(np.pad(mask.astype(int), ((0, 0), (1, 1))), axis=1)
    runs = zip(np.argwhere(edges > 0), np.argwhere(edges < 0), strict=True)
    return "".join(f"M{x} {y}h{end - x}v1H{x}z" for (y, x), (_, end) in runs)


def _overlay_legend(figure) -> None:
    """Say below a figure what the colours of an overlay mean."""
    patches = []
    for name, colour in OUTCOMES.items():
        patches.append(plt.matplotlib.patches.Patch(color=colour, label=name))
    figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=13)


def _is_number(value) -> bool:
    """Whether a value is a number, which True and False are not."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _cell(value) -> str:
    """A value in a table's cell: numbers to the right, texts to the left."""
    if not _is_number(value):
        return f'<td style="text-align:left">{html.escape(str(value))}</td>'
    text = f"{value:,}" if isinstance(value, int | np.integer) else f"{value:,.3g}"
    return f'<td style="text-align:right">{text}</td>'
