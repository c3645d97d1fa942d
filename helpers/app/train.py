"""A training by the command line: from settings to a folder with a model.

The folder holds settings.json (which is a recipe for the same again), checkpoint.pt to
go on from, history.json, scores.json and, at the end, model.pt.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Subset

from helpers import metrics, nifti, training
from helpers.app import models, parallel, sources, weights
from helpers.app.checkpoint import Checkpoint
from helpers.app.files import read_json, short_sum, write_json
from helpers.app.lines import Stopped, many, say
from helpers.app.measure import kind, measure
from helpers.app.segment import plan
from helpers.app.settings import VALIDATION, finished, kept, settle
from helpers.app.windows import Crops, Kept, Windows, shares, survey
from helpers.metrics import IGNORE
from helpers.pairs import listing
from helpers.pictures import ENDINGS

LOSSES = dict(bce=training.bce, bce_dice=training.bce_dice)
OF_CLASSES = dict(cross_entropy=training.cross_entropy, ce_dice=training.ce_dice)
LOSSES |= OF_CLASSES


class Enough(Exception):
    """No better validation for as many as --patience says: history and best weights."""

    def __init__(self, history, best):
        super().__init__("enough")
        self.history, self.best = history, best


def train(args):
    """Train as the settings say, once or for each fold.

    Raises ValueError for settings, pictures and folders that do not go together,
    FloatingPointError for a loss that is no number, and Stopped after a Ctrl-C.
    """
    settle(args)
    how = sources.reading(args)
    args.loss = loss_for(args.loss, how.count)
    if not args.folds:
        one(args, how, args.out)
        return
    if parallel.launched() > 1:
        raise ValueError("--folds trains in one process: leave out torchrun")
    if args.validation != VALIDATION:
        raise ValueError(
            f"--folds {args.folds} validates on one part of {args.folds} after the "
            "other: leave out --validation"
        )
    other = args.out.is_dir() and any(args.out.glob("[!.]*"))  # .DS_Store is nothing
    if args.out.is_file() or (other and not (args.out / "fold1").exists()):
        raise ValueError(f"{args.out} holds something else: name a new --out")
    for fold in range(args.folds):
        say(f"fold {fold + 1} of {args.folds}")
        one(args, how, args.out / f"fold{fold + 1}", fold)
    together(args, how.count)


def one(args, how, out, fold=None):
    """One training; leave all of it in the folder `out`."""
    settings = kept(args) | (dict(fold=fold + 1) if args.folds else {})
    share = parallel.share_size(args.batch, parallel.launched())
    if finished(out, settings, args.resume):
        say(f"{out} is done: {out / 'model.pt'}")
        tell_newer(args, out)
        return
    volumes = bool(args.images) and sources.holds_volumes(args.images)
    channels = 1 if volumes else 3
    arguments = models.fitted(args.network, args.arguments, how.count, channels)
    torch.manual_seed(args.seed)
    net = models.build(args.network, arguments)
    source = sources.read(args, how, fold)
    models.check(args.network, net, share, source.size, channels, how.count)
    if args.weights:
        weights.begin_with(net, args.weights)
    tiles, exact = plan(net, source.size, channels)
    samples = Kept(source.samples)
    facts = surveyed(samples, source, how)
    engine = parallel.Engine(args.patience and partial(enough, args.patience))
    if engine.is_main:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "settings.json", settings)
    say(about(args, net, source, facts, engine))
    run = fit(args, net, samples, source, how, engine, out, facts["sum"])
    if not engine.is_main:
        return
    configuration = dict(size=source.size, resized=facts["resized"], tiling=tiles)
    configuration |= dict(classes=how.count, exact=exact, volumes=volumes)
    held_out = Subset(samples, source.validation)
    names = [source.names[i] for i in source.validation]
    objects = [source.groups[i] for i in source.validation]
    scores = measure(run.net, configuration, held_out, names, objects)
    history = dict(processes=engine.processes, device=engine.device.type)
    history |= dict(settings=settings, history=run.history)
    (out / "others.json").unlink(missing_ok=True)  # of the model before --resume
    write_json(out / "scores.json", scores | dict(data=facts))
    configuration |= dict(
        names=how.names, colours=how.colours, span=args.span, stacks=args.stacks,
        loss=args.loss, cropped=source.cropped, group=args.group,
        spacing=spacing_of(source) if volumes else [],
        validation=dict(iou=scores["iou"], interval=scores["interval"]),
    )  # fmt: skip
    model, threshold = out / "model.pt", scores["threshold"]
    models.save_model(
        model, run.net, args.network, arguments, threshold=threshold, **configuration
    )
    write_json(out / "history.json", history)  # last: it says that all is done
    say(f"{model}: validation {told(scores, how.count, args.group)}")


def spacing_of(source):
    """The sizes of the voxels of a training's volumes, in mm: a list of lists."""
    found = []
    for path in source.files:
        if (sizes := nifti.spacing(path)) not in found:
            found.append(sizes)
    return found


def tell_newer(args, out):
    """A note where what the model was trained on is no longer the same."""
    made, newer = (out / "model.pt").stat().st_mtime, 0
    for path in read_files(args):
        newer += path.stat().st_mtime > made
    if newer:
        what = f"{many(newer, 'file')} that it reads changed after that"
        say(f"note: {what}: name a new --out to train on these", sys.stderr)
    then = len(read_json(out / "scores.json", "data")["data"]["names"])
    now = len(files_in(args.images))
    if now and now != then and not args.stacks:  # whose pages are pictures
        what = f"it was trained on {then} pictures, there are {now}"
        say(f"note: {what}: name a new --out to train on these", sys.stderr)


def read_files(args):
    """The files that a training reads and that are there: pictures, masks, tables."""
    found = files_in(args.images) + files_in(args.masks)
    for table in (args.colours, args.group):
        if table and Path(table).is_file():  # a group may be a pattern
            found.append(Path(table))
    return found


def files_in(folder):
    """The pictures or volumes in a folder; none where there is no folder."""
    found = []
    for path in listing(folder) if folder and folder.is_dir() else []:
        if path.name.lower().endswith(ENDINGS + nifti.ENDINGS) and path.is_file():
            found.append(path)
    return found


def loss_for(name, count):
    """The loss that fits the masks, of one object or of classes; or ValueError."""
    if name is None:
        return "bce" if count == 1 else "cross_entropy"
    if (name in OF_CLASSES) != (count > 1):
        takes = "class numbers (--classes 2 or more)"
        if name not in OF_CLASSES:
            takes = "masks of one object, and these have classes: take cross_entropy"
            takes += " or ce_dice"
        raise ValueError(f"--loss {name} takes {takes}")
    return name


def surveyed(samples, source, how):
    """Read all pictures once, and say what is wrong with them: plain facts.

    Raises ValueError for a file that cannot be read, and where nothing is labelled.
    """
    counts, sizes, total = survey(samples, how.count)
    parts = dict(train=source.train, validation=source.validation)
    for part, indices in parts.items():
        labelled = counts[indices].sum(0)
        if not labelled.any():
            raise ValueError(
                f"no pixel is labelled in the {part} masks: all is ignored"
            )
        absent = []
        for name, pixels in zip(how.names, labelled.tolist()):
            if not pixels:
                absent.append(name)
        if part == "train" and len(absent) >= len(how.names) - 1:
            ignored = f", and {IGNORE}, which is ignored" if how.count > 1 else ""
            raise ValueError(
                f"nothing can be learnt: the train masks hold one class alone{ignored}"
                ". Look at them with inspect, and say how they are to be read"
            )
        if absent:
            said = ", ".join(absent)
            say(f"note: nowhere in the {part} masks: {said}", sys.stderr)
    small = 0
    for size in sizes:
        small += bool((np.array(size) < source.size).any())
    if source.cropped and small:
        more = many(small, "picture" if len(source.size) == 2 else "volume")
        say(f"note: {more} smaller than the crop, continued to it", sys.stderr)
    resized = not source.cropped and any(source.files)  # drawn ones have their size
    return dict(
        sum=total, sizes=sizes, shares=shares(counts).tolist(), resized=resized,
        names=source.names, groups=source.groups,
        train=source.train, validation=source.validation,
        skipped=list(map(str, source.skipped)), classes=how.names,
    )  # fmt: skip


# --- the loop ---------------------------------------------------------------------


def fit(args, net, samples, source, how, engine, out, total):
    """`training.fit` with what was asked for; Stopped after a Ctrl-C."""
    file = out / "checkpoint.pt"
    pictures, validation = pieces(args, samples, source, how)
    same = dict(loss=args.loss, flips=args.flips, pictures=total)
    split = f"{source.train} {source.validation}"  # a table of groups may change
    same |= dict(weights=str(args.weights), split=short_sum(split))
    if file.exists():
        say(f"going on from {file}")
    score = metrics.iou_at_best if how.count == 1 else metrics.mean_iou
    try:
        run = training.fit(
            net, pictures, validation, steps=args.steps, batch=args.batch, lr=args.lr,
            seed=args.seed, every=args.every, loss=partial(of_all_maps, args.loss),
            score=score, augment=FLIPS[args.flips],
            report=partial(progress, args.steps, kind(how.count)),
            checkpoint=Checkpoint(file, same, args.resume), engine=engine,
        )  # fmt: skip
    except KeyboardInterrupt:
        there = f"goes on from {file}" if file.exists() else "begins again"
        raise Stopped(f"stopped; the same command {there}") from None
    except Enough as stop:
        net.load_state_dict(stop.best)
        best = training.best_row(stop.history)
        since = stop.history[first_best(stop.history)]["step"]
        say(f"no better validation since step {since}: the best weights are kept")
        run = training.Run(net.eval(), stop.history, args.seed, best["threshold"])
    engine.finish()
    return run


def pieces(args, samples, source, how):
    """What is trained on, and what tells which weights are best: equal sizes."""
    if not source.cropped:
        return Subset(samples, source.train), Subset(samples, source.validation)
    windows = Windows(samples, source.validation, source.size, how.count, args.seed)
    if len(windows) < windows.all:
        chosen = f"{len(windows)} of {windows.all}"
        say(f"note: while it trains, {chosen} windows validate (memory)", sys.stderr)
    return Crops(samples, source.train, source.size), windows


def of_all_maps(loss, answer, masks):
    """The loss of a network's map, or the sum over its maps (as in chapter 06)."""
    maps = answer if isinstance(answer, tuple | list) else [answer]
    return sum(LOSSES[loss](logits, masks) for logits in maps)


def mirror(images, masks):
    """Turn a batch over left-right at random, the same for images and masks."""
    if torch.rand(()) < 0.5:
        images, masks = images.flip(-1), masks.flip(-1)
    return images, masks


FLIPS = dict(all=training.flips, sides=mirror, none=None)


def enough(patience, history, best):
    """Raise Enough where as many validations as `patience` were no better."""
    if len(history) - 1 - first_best(history) >= patience:
        raise Enough(history, best)


def first_best(history):
    """Which validation no later one surpassed: the first of the highest score."""
    scores = [row["score"] for row in history]
    return scores.index(max(scores))


def progress(steps, score, history):
    """One line for each validation, with the time that remains."""
    row = history[-1]
    left = row["seconds"] / row["step"] * (steps - row["step"])
    say(
        f"step {row['step']} of {steps}: loss {row['loss']:.4f}, validation {score} "
        f"{row['score']:.3f}, {row['seconds']:.0f} s, {clock(left)} left"
    )


def clock(seconds):
    """A time in words: 40 s, 3 min, 2 h 5 min."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


# --- what is said -----------------------------------------------------------------


def about(args, net, source, facts, engine):
    """One line about a training that begins."""
    size = " x ".join(map(str, source.size))
    unit = "voxels" if len(source.size) == 3 else "px"
    what = f"crops of {size} {unit}" if source.cropped else f"{size} {unit}"
    what = f"resized to {what}" if facts["resized"] else what
    weights = sum(p.numel() for p in net.parameters())
    noun = "process" if engine.processes == 1 else "processes"
    objects = len(set(facts["groups"]))
    grouped = f" ({objects} objects)" if args.group else ""
    return (
        f"{args.network}, {weights:,} parameters: {len(source.train)} "
        f"to train on, {len(source.validation)} to validate{grouped}, {what}; "
        f"{engine.processes} {noun} on {engine.device.type}"
    )


def told(scores, count, group):
    """The score of a model in words, with its interval."""
    text = f"{kind(count)} {scores['iou']:.3f}"
    if scores["interval"]:
        low, high = scores["interval"]
        over = "objects" if group else "pictures"
        text += f" (95 % interval over the {over} {low:.3f} to {high:.3f})"
    if count == 1:
        text += f" at threshold {scores['threshold']:.2f}"
    return text


def together(args, count):
    """What all folds say together: each picture was held out once."""
    folds = []
    for fold in range(args.folds):
        file = args.out / f"fold{fold + 1}" / "scores.json"
        folds.append(read_json(file, "iou")["iou"])
    mean = sum(folds) / len(folds)
    write_json(Path(args.out) / "folds.json", dict(iou=folds, mean=mean))
    each = ", ".join(map("{:.3f}".format, folds))
    say(f"{args.out}: {kind(count)} of the folds {each}; mean {mean:.3f}")
