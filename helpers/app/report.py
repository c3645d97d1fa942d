"""What one shows a colleague: a training in one HTML file that opens offline."""

import hashlib
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
from matplotlib.figure import Figure
from torch.utils.data import Subset

from helpers import folders, nifti
from helpers.app import models, sheet, sources
from helpers.app.files import read_json, write_json
from helpers.app.lines import many, say
from helpers.app.measure import FEW, SCORES, kind, measure
from helpers.app.segment import segment
from helpers.app.settings import settle
from helpers.app.windows import shares, survey
from helpers.metrics import IGNORE
from helpers.pairs import some
from helpers.training import best_row

WORST = 10
SAME = 1e-3  # of a picture's area, by which the share of a class may differ
CHOSEN = (
    "The weights (and the threshold) were chosen on these pictures: pictures that had "
    "no part in it will score a little lower."
)
HISTORY = "settings", "history", "processes", "device"
HELD_OUT = "These pictures had no part in the training."


def report(run, images=None, masks=None, group=None, out=None):
    """Write the page of a training's folder; with pictures of their own, of these too.

    What these show is told by `group`, or by that of the training. Their scores are
    kept as others.json, for the model card. Without `out` the page is report.html, in
    the place of the one before; `out` is a new file. Raises ValueError for that, for a
    folder that is no training's, and for pictures that are not what they should be.
    """
    if bool(images) != bool(masks):
        raise ValueError("--images goes with --masks")
    if group and not images:
        raise ValueError("--group says what new pictures show: it goes with --images")
    training = opened(run)
    if out:
        sheet.new_page(out)
    out, own = out or run / "report.html", training.args.group
    parts = [sheet.paragraph(training.lead, "lead"), *progress(training)]
    title = "Validation pictures"
    with complete(run):
        try:
            source = sources.read(training.args, training.how, training.fold)
        except FileNotFoundError as error:
            where = "a path without a leading / counts from where it was trained"
            raise FileNotFoundError(f"{error} ({where})") from error
    now = same_pictures(run, source, training)
    samples = Subset(source.samples, source.validation)
    parts += scored(title, CHOSEN, training, training.scores, samples, own)
    if images:
        group = group or own
        others, scores = other_pictures(run, training, source, images, masks, group)
        write_json(run / "others.json", scores)
        parts += scored("Other pictures", HELD_OUT, training, scores, others, group)
    parts += data_checks(training.scores["data"], now)
    parts += settings(training)
    sheet.write_page(out, f"Report of {run.resolve().name}", parts)
    say(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")


def opened(run):
    """All that a training's folder holds.

    Raises ValueError where it is none, or not done, or where a file is damaged.
    """
    one_training(run)
    net, about = models.load_model(run / "model.pt")
    history = read_json(run / "history.json", *HISTORY)
    scores = read_json(run / "scores.json", "data", *SCORES)
    asked = dict(history["settings"])
    fold = asked.pop("fold", None)
    args = SimpleNamespace(**asked)
    with complete(run):
        settle(args)
        how = sources.reading(args)
    score = kind(about["classes"])
    lead = (
        f"{about['network']} on {len(scores['data']['train'])} pictures: validation "
        f"{score} {scores['iou']:.3f}{between(scores['interval'])}. "
        f"{never_seen(about, scores['data'])}"
    )
    return SimpleNamespace(
        net=net, about=about, history=history, scores=scores, args=args, how=how,
        fold=None if fold is None else fold - 1, lead=lead, kind=score,
    )  # fmt: skip


def one_training(run):
    """ValueError for a folder that holds folds, or no training."""
    if (run / "folds.json").exists():
        raise ValueError(f"{run} holds folds: name one, such as {run / 'fold1'}")
    if not (run / "model.pt").exists():
        raise ValueError(f"{run} holds no model.pt: name the folder of a training")


def never_seen(about, data):
    """A sentence on classes that no validation mask shows; empty where there is none.

    `data` is that of a training's scores: the shares of each sample, and which of them
    validate. Without the object, an answer that marks nothing scores 1.
    """
    absent = []
    shares = [data["shares"][i] for i in data["validation"]]
    for name, own in zip(about["names"], zip(*shares)):
        if not any(own):
            absent.append(name)
    if not absent:
        return ""
    told = f"No validation mask shows {', '.join(absent)}"
    return f"{told}{': score and threshold say nothing' * (len(shares[0]) < 3)}."


@contextmanager
def complete(run):
    """A setting that is asked for and is not there is a ValueError."""
    try:
        yield
    except AttributeError as error:
        if not isinstance(error.obj, SimpleNamespace):
            raise
        raise ValueError(
            f"{run / 'history.json'} is damaged, its settings lack {error.name!r}: "
            "train it again"
        ) from error


def same_pictures(run, source, training):
    """The sum of all pixels and masks today, after a look at what they are.

    Raises ValueError for names, classes, masks or a split that are not those of the
    training. Of pixels that differ, there is but a note: another computer may decode or
    resize them a little differently.
    """
    facts, how = training.scores["data"], training.how
    way_out = "put them back, or train again"
    if source.names != facts["names"]:
        what = f"the pictures of {run} have other names than when it was trained"
        raise ValueError(f"{what}: {way_out}")
    if [source.train, source.validation] != [facts["train"], facts["validation"]]:
        what = f"other pictures validate in {run} than when it was trained, as where "
        raise ValueError(f"{what}the table of --group was changed: {way_out}")
    if how.names != facts["classes"]:
        here, then = ", ".join(how.names), ", ".join(facts["classes"])
        raise ValueError(f"the classes of {run} are {here} and were {then}: {way_out}")
    counts, _, total = survey(source.samples, how.count)
    apart = np.abs(shares(counts).numpy() - facts["shares"]).max(axis=1)
    changed = [source.names[i] for i in np.flatnonzero(apart > SAME)]
    if changed:
        what = f"{run} was trained with other masks of {some(changed)}"
        raise ValueError(f"{what}: {way_out}")
    if total != facts["sum"]:
        told = "its pictures or masks are not quite those that it was trained on"
        say(f"note: {run}: {told} (sum {total}, then {facts['sum']})", sys.stderr)
    return total


def unseen(run, source, files):
    """ValueError for files that had part in the training, under whatever name."""
    known = set()
    for path in set(source.files) - {None}:  # None: what is drawn
        known.add(digest(path))
    seen = []
    for path in dict.fromkeys(files):  # the pages of a stack are one file
        if digest(path) in known:
            seen.append(path)
    if seen:
        raise ValueError(
            f"{some(seen)} had part in the training of {run}: leave out what the model "
            "has seen"
        )


def digest(path):
    """A number of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def other_pictures(run, training, source, images, masks, group):
    """Pictures that had no part in the training, and the model's scores on them.

    Raises ValueError for pictures that had part in it, are of another kind, or of which
    everything is ignored.
    """
    args, how = training.args, training.how
    if sources.holds_volumes(images) != bool(training.about["volumes"]):
        raise ValueError(f"{images} holds another kind of data than the training had")
    if training.about["volumes"]:
        samples = nifti.Volumes(images, masks, how.how)
    else:
        samples = folders.ImageMaskFolder(
            images, masks, None, how.how, args.span and tuple(args.span), args.stacks
        )
    names, files = sources.names_of(samples)
    unseen(run, source, files)
    objects = sources.grouped(names, files, group)
    if not survey(samples, how.count)[0].any():
        raise ValueError(f"no pixel is labelled in {masks}: all is ignored")
    return samples, measure(training.net, training.about, samples, names, objects)


# --- figures ----------------------------------------------------------------------


def figure(width=6.4, height=3):
    """A matplotlib figure of so many inches, which no window shows, and its axes."""
    found = Figure(figsize=(width, height), layout="constrained", dpi=96)
    return found, found.subplots()


def progress(training):
    """Loss and validation score over the steps."""
    rows = training.history["history"]
    steps = [row["step"] for row in rows]
    drawing, axes = figure()
    losses, scores = [row["loss"] for row in rows], [row["score"] for row in rows]
    axes.plot(steps, losses, color="#667", label="training loss")
    axes.set(xlabel="step", ylabel="loss")
    right = axes.twinx()
    right.plot(steps, scores, color="#b3541e", marker="o", label=training.kind)
    right.set(ylim=(0, 1), ylabel=f"validation {training.kind}")
    drawing.legend(loc="outside upper center", ncols=2)
    kept = best_row(rows)["step"]
    text = f"The weights of step {kept} are kept. {rows[-1]['seconds']:.0f} s."
    alt = "Loss and validation score against the steps."
    return [sheet.heading("Training"), sheet.picture(drawing, alt, text)]


def scored(title, note, training, scores, samples, group):
    """One set of pictures: scores, curves, each picture, and the worst of them."""
    parts = [sheet.heading(title), sheet.paragraph(note, "soft")]
    parts.append(score_table(training, scores, group))
    parts += curves(training, scores)
    rows = sorted(scores["pictures"], key=worst_first)
    lines = []
    for row in rows:
        edge = row.get("boundary_f1")
        lines.append([row["name"], number(row["iou"]), number(edge)])
    every = sheet.table(lines, ["picture", training.kind, "boundary F1"])
    summary = f"<summary>Each of the {len(rows)} pictures</summary>"
    parts.append(f"<details>{summary}{every}</details>")
    parts.append(sheet.heading(f"{title}: the worst"))
    parts.append(sheet.legend(training.how.names, training.how.colours))
    for row in rows[:WORST]:
        image, mask = samples[scores["pictures"].index(row)]
        parts.append(three(training, row, image, mask))
    return parts


def worst_first(row):
    """What a picture's row is sorted by: its IoU, 1 where there is none."""
    return 1 if row["iou"] is None else row["iou"]


def score_table(training, scores, group):
    """The pooled score and that of each class, with their intervals."""
    objects, outlines = set(), []
    for row in scores["pictures"]:
        objects.add(row["object"])
        value = row.get("boundary_f1")
        if value is not None:
            outlines.append(value)
    rows = [[training.kind, number(scores["iou"]), between(scores["interval"], "")]]
    if training.how.count > 1:
        for name, one in zip(training.how.names, scores["classes"]):
            rows.append([name, number(one["iou"]), between(one["interval"], "")])
    if outlines:
        rows.append(["boundary F1, mean of pictures", number(np.mean(outlines)), ""])
    if training.how.count == 1:
        rows.append(["threshold", f"{scores['threshold']:.2f}", ""])
    told = many(len(objects), "object" if group else "picture")
    head = f"95 % interval ({told})"
    if len(objects) < FEW:
        head = f"{told}: no interval below {FEW}"
    return sheet.table(rows, ["pooled over all pixels", "score", head])


def curves(training, scores):
    """IoU at each threshold, and whether probabilities are what they say."""
    parts = []
    if scores["thresholds"]:
        drawing, axes = figure()
        x, y = np.array(scores["thresholds"]).T
        axes.plot(x, y, color="#b3541e")
        axes.axvline(scores["threshold"], color="#667", linestyle=":")
        axes.set(xlabel="threshold", ylabel="IoU", ylim=(0, 1))
        text = "IoU at each threshold; dotted: the model's."
        parts.append(sheet.picture(drawing, text, text))
    drawing, axes = figure(4, 3.4)
    x, y, _ = np.array(scores["calibration"]).T
    axes.plot([0, 1], [0, 1], color="#bbb")
    axes.plot(x, y, color="#b3541e", marker="o")
    axes.set(xlabel="probability", ylabel="share that is right", aspect="equal")
    text = "Calibration: of all pixels with a probability, how many are object."
    if training.how.count > 1:
        text = "Calibration: of all pixels with a probability, how many are right."
    parts.append(sheet.picture(drawing, text, text))
    return parts


def three(training, row, image, mask):
    """Picture, truth and answer, side by side."""
    found = segment(training.net, image, training.about)
    if found.ndim == mask.ndim and mask.shape == found.shape:
        found = found.long()
        found[mask == IGNORE] = 0  # void is not judged
    colours, name = training.how.colours, row["name"]
    shown = [
        sheet.picture(sheet.view(image), name, name),
        sheet.picture(sheet.marked(image, mask, colours), f"truth of {name}", "truth"),
        sheet.picture(
            sheet.marked(image, found, colours),
            f"answer to {name}",
            f"answer, {training.kind} {number(row['iou'])}",
        ),
    ]
    return f'<div class="row">{"".join(shown)}</div>'


# --- words ------------------------------------------------------------------------


def data_checks(facts, now):
    """What the pictures are, how they were divided, and what stood out.

    `now` is the sum of all pixels and masks that are there today.
    """
    sizes, groups = set(map(tuple, facts["sizes"])), np.array(facts["groups"])
    train, validation = set(groups[facts["train"]]), set(groups[facts["validation"]])
    lines = [
        f"{len(facts['train'])} pictures to train on ({len(train)} objects), "
        f"{len(facts['validation'])} to validate ({len(validation)}); "
        f"{len(train & validation)} objects are in both.",
        f"{many(len(sizes), 'size')}, from {told_size(min(sizes))} to "
        f"{told_size(max(sizes))}"
        f"{', after resizing' if facts['resized'] else ''}.",
        f"not read: {', '.join(facts['skipped']) or 'nothing was left out'}.",
        f"sum of all pixels and masks: {facts['sum']}"
        f"{'' if now == facts['sum'] else f', today {now}'}.",
    ]
    table, rows = np.array(facts["shares"]), []
    for number_, name in enumerate(facts["classes"]):
        own = table[:, number_]
        inside = int((own > 0).sum())
        rows.append([name, f"{own.mean():.2%}", f"{inside} of {len(own)}"])
    header = ["class", "mean share", "pictures with it"]
    return [sheet.heading("Data"), sheet.items(lines), sheet.table(rows, header)]


def settings(training):
    """What was asked for, and with which packages."""
    rows = []
    for key, value in training.history["settings"].items():
        if value is not None and value is not False and value != []:
            rows.append([key.replace("_", "-"), value])
    about = training.about
    rows.append(["tile, margin", f"{about['tiling']}, exact: {about['exact']}"])
    rows.append(["processes", training.history["processes"]])
    rows.append(["device", training.history["device"]])
    versions = about["versions"].items()
    return [
        sheet.heading("Settings"), sheet.table(rows, ["setting", "value"]),
        sheet.heading("Versions"), sheet.table(versions, ["package", "version"]),
    ]  # fmt: skip


def number(value):
    """A score to three digits, a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def between(interval, start=", 95 % interval "):
    """An interval in words; nothing where there is none."""
    return f"{start}{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""


def told_size(size):
    """Sides in words: 64 x 96."""
    return " x ".join(map(str, size))
