"""The command line: train a network of the book, and let it segment a picture.

    python -m helpers.app train --network 02_unet.small_unet --drawn surfaces --out RUN
    python -m helpers.app predict --model RUN/model.pt --image PHOTO --out MASK.png

`train --help` and `predict --help` list what they take. Under torchrun (`python -m
torch.distributed.run --standalone --nproc_per_node 2 -m helpers.app train ...`) the
same training runs in several processes; a GPU is used when there is one. A bad
argument is refused in one line, before any work starts, with exit status 2.
"""

import argparse
import ast
import json
import math
import os
import sys
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch.nn import functional as F

from helpers import data, folders, metrics, probes, training
from helpers.app import models, parallel
from helpers.app.checkpoint import Checkpoint, whole
from helpers.app.segment import segment, tiling
from helpers.pictures import header_size

LOSSES = dict(bce=F.binary_cross_entropy_with_logits, bce_dice=training.bce_dice)
DRAWN = dict(surfaces=data.surfaces, lattices=probes.lattices)
DRAWN["camouflage"] = probes.camouflage


def main(argv=None):
    """Run the command line; return its exit status."""
    try:
        args = parser().parse_args(argv)
        args.run(args)
        return 0
    except KeyboardInterrupt as stop:
        say(str(stop) or "stopped", sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        problem, status = error, 2
    except FloatingPointError as error:
        problem, status = error, 1
    print("error:", " ".join(str(problem).split()), file=sys.stderr)
    return status


# --- train ------------------------------------------------------------------------


def train(args):
    """Train as the arguments say; leave model.pt and history.json in the folder."""
    settle(args)
    settings = {k: v for k, v in vars(args).items() if k not in ("run", "out")}
    share = parallel.share_size(args.batch, parallel.launched())
    if finished(args.out, settings):
        say(f"{args.out} is done: {args.out / 'model.pt'}")
        return
    torch.manual_seed(args.seed)
    net = models.build(args.network, args.arguments)
    models.check(args.network, net, share, args.size)
    tiles = tiling(net, args.size)
    pictures, validation, resized = read_pictures(args)
    engine = parallel.Engine()  # here, where all processes meet
    if engine.is_main:
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / "settings.json", settings)
    say(
        f"{args.network}, {sum(p.numel() for p in net.parameters()):,} parameters: "
        f"{len(pictures)} pictures to train on, {len(validation)} to validate, "
        f"{'resized to ' if resized else ''}{args.size[0]} x {args.size[1]} px; "
        f"{engine.processes} process{'es' * (engine.processes > 1)} on "
        f"{engine.device.type}"
    )
    run = fit(args, net, pictures, validation, engine)
    if engine.is_main:
        score = metrics.scores(*run.predict(validation), run.threshold)
        facts = dict(threshold=run.threshold, validation=score)
        about = dict(processes=engine.processes, device=engine.device.type)
        about |= dict(settings=settings, history=run.history)
        write_json(args.out / "history.json", about | facts)
        facts |= dict(size=args.size, resized=resized, tiling=tiles, loss=args.loss)
        model = args.out / "model.pt"
        models.save_model(model, run.net, args.network, args.arguments, **facts)
        checkpoint_of(args.out).unlink()
        say(
            f"{model}: validation IoU {score['iou']:.3f} at threshold "
            f"{run.threshold:.2f}"
        )


def fit(args, net, pictures, validation, engine):
    """`training.fit` with what was asked for; a Ctrl-C says how to go on."""
    file = checkpoint_of(args.out)
    if file.exists():
        say(f"going on from {file}")
    try:
        run = training.fit(
            net, pictures, validation, steps=args.steps, batch=args.batch, lr=args.lr,
            seed=args.seed, every=args.every, loss=partial(of_all_maps, args.loss),
            augment=training.flips if args.flips else None,
            report=partial(progress, args.steps), checkpoint=Checkpoint(file),
            engine=engine,
        )  # fmt: skip
    except KeyboardInterrupt:
        there = f"goes on from {file}" if file.exists() else "begins again"
        raise KeyboardInterrupt(f"stopped; the same command {there}") from None
    engine.finish()
    return run


def checkpoint_of(folder):
    return folder / "checkpoint.pt"


def of_all_maps(loss, answer, masks):
    """The loss of a network's map, or the sum over its maps (as in chapter 06)."""
    maps = answer if isinstance(answer, tuple | list) else [answer]
    return sum(LOSSES[loss](logits, masks) for logits in maps)


def progress(steps, history):
    """One line for each validation."""
    row = history[-1]
    say(
        f"step {row['step']} of {steps}: loss {row['loss']:.4f}, validation IoU "
        f"{row['score']:.3f}, {row['seconds']:.0f} s"
    )


def finished(folder, settings):
    """Whether this training is done; ValueError for a folder with anything else."""
    file = folder / "settings.json"
    if not file.exists():
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise ValueError(f"{folder} holds something else: name a new --out")
        return False
    try:
        held = dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        way_out = f"delete {folder}, or name a new --out"
        raise ValueError(f"{file} is damaged: {way_out}") from error
    asked = json.loads(json.dumps(settings))  # tuples become lists, as in the file
    other = [k for k in asked | held if asked.get(k) != held.get(k)]
    if other:
        found = "; ".join(f"{k} {held.get(k)}, not {asked.get(k)}" for k in other)
        way_out = "name a new --out, or ask for the same"
        raise ValueError(f"{folder} holds another training ({found}): {way_out}")
    return (folder / "model.pt").exists()


# --- pictures ---------------------------------------------------------------------


def read_pictures(args):
    """Pictures to train on and to validate, and whether they had another size."""
    if bool(args.images) != bool(args.masks) or bool(args.mvtec) != bool(args.category):
        raise ValueError("--images goes with --masks, and --mvtec with --category")
    if args.drawn:
        return *drawn(args), False
    if args.mvtec:
        root, category, seed = args.mvtec, args.category, args.split_seed
        first = folders.MVTecAD(root, category, "train", args.size, seed)
        second = folders.MVTecAD(root, category, "validation", args.size, seed)
        pairs = first.pairs + second.pairs
        pictures, validation = folders.in_memory(first), folders.in_memory(second)
    else:
        both = folders.ImageMaskFolder(args.images, args.masks, args.size)
        pairs = both.pairs
        first, second = divided(len(both), args.validation, args.split_seed)
        pictures = folders.in_memory(both, first)
        validation = folders.in_memory(both, second)
    resized = any(header_size(image) != args.size for image, _ in pairs)
    return pictures, validation, resized


def drawn(args):
    """Pictures that the book draws, to train on and to validate."""
    if args.size[0] != args.size[1]:
        raise ValueError(f"drawn pictures are square: --size {args.size[0]}")
    draw = partial(DRAWN[args.drawn], size=args.size[0], seed=args.split_seed)
    return draw(args.pictures), draw(max(1, args.pictures // 4), split="validation")


def divided(n, share, seed):
    """0 .. n - 1 at random in two lists: to train on, and a share to validate."""
    if n < 2:
        raise ValueError(f"{n} picture with its mask: validation needs a second pair")
    order = folders.shuffled(range(n), "validation", seed)
    few = min(max(1, round(share * n)), n - 1)
    return order[few:], order[:few]


# --- predict ----------------------------------------------------------------------


def predict(args):
    """Segment one picture; write the mask as a PNG of 0 and 255, of the same size."""
    if args.out.suffix.lower() != ".png":
        raise ValueError(f"{args.out} is no PNG: other formats would blur the mask")
    if args.out.exists():
        raise ValueError(f"{args.out} is there already: name another, or delete it")
    if not args.out.parent.is_dir():
        raise ValueError(f"{args.out.parent} is not a folder: make it first")
    net, configuration = models.load_model(args.model)
    mask = segment(net, folders.read_image(args.image), configuration)[0]
    with whole(args.out) as part:
        Image.fromarray(mask.numpy().astype("uint8") * 255).save(part, "PNG")
    share, threshold = mask.float().mean(), configuration["threshold"]
    say(f"{args.out}: {share:.1%} of the pixels, probability above {threshold:.2f}")


# --- files and lines --------------------------------------------------------------


def write_json(path, content):
    with whole(path) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")


def say(text, file=None):
    """Print a line, once: of several processes, only the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=file, flush=True)


# --- the arguments ----------------------------------------------------------------

NUMBERS = {  # of `train`: without it, and what it means
    "pictures": (600, "how many to draw"),
    "validation": (0.2, "share of --images kept for validation"),
    "split-seed": (0, "draws that share, or the pictures"),
    "steps": (250, "of the optimizer"),
    "batch": (8, "pictures in a step, all processes together"),
    "lr": (5e-3, "highest learning rate"),
    "seed": (0, "of weights, order and flips"),
    "every": (50, "steps from validation to validation"),
}
LEAST = dict(pictures=1, split_seed=0, steps=5, batch=1, seed=0, every=1)


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses in one line, and leaves the exit to `main`."""

    def error(self, message):
        raise ValueError(f"{message} (--help lists what there is)")


def parser():
    """All that the command line takes."""
    top = Parser(prog="python -m helpers.app", description=__doc__.split("\n\n")[0])
    commands = top.add_subparsers(required=True, metavar="train | predict")
    add_train(commands.add_parser("train", help="train a network"))
    sub = commands.add_parser("predict", help="segment a picture")
    sub.set_defaults(run=predict)
    add = partial(sub.add_argument, type=Path, required=True)
    add("--model", help="model.pt of a training")
    add("--image", help="the picture")
    add("--out", help="the mask, a new PNG")
    return top


def add_train(sub):
    """The arguments of `train`."""
    sub.set_defaults(run=train)
    add = sub.add_argument
    add(
        "--network",
        help="what to train: 02_unet.UNet",
        metavar="CHAPTER.NAME",
        required=True,
    )
    add(
        "--set",
        help="its arguments: classes=1 padding=zeros widths=8,16,32",
        metavar="NAME=VALUE",
        dest="arguments",
        type=setting,
        nargs="+",
        action="extend",
        default=[],
    )
    source = sub.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", help="folder of pictures; needs --masks")
    source.add_argument("--mvtec", help="root folder of MVTec AD; needs --category")
    source.add_argument("--drawn", help="pictures that the book draws", choices=DRAWN)
    add("--masks", help="folder of masks: a.png or a_mask.png for the picture a.jpg")
    add("--category", help="of MVTec AD, such as bottle")
    add("--loss", help="what is to become small", choices=LOSSES, default="bce")
    add("--out", help="folder of this training", type=Path, required=True)
    add("--no-flips", help="turn no picture over", dest="flips", action="store_false")
    size = "px of a side, or height and width: files are resized to it"
    add("--size", help=size, type=int, nargs="+", default=[64])
    for name, (default, meaning) in NUMBERS.items():
        text = f"{meaning} (%(default)s)"
        add(f"--{name}", help=text, type=type(default), default=default)


def setting(text):
    """(name, value) of "name=value": a Python literal, or one word as a string."""
    name, _, value = text.partition("=")
    words = dict(true=True, false=False, none=None)
    try:
        if value.lower() in words:
            value = words[value.lower()]
        elif not value.isidentifier():
            value = ast.literal_eval(value)
        json.dumps(value)  # TypeError for what no file could keep
    except (ValueError, SyntaxError, TypeError):
        name = ""
    if not name.isidentifier():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=VALUE with a number, a word, or numbers and commas: "
            "norm=True, padding=zeros, widths=8,16,32"
        )
    return name, value


def settle(args):
    """Check the numbers of `train`; make a dict of --set, and a pair of --size."""
    for name, least in LEAST.items():
        value = getattr(args, name)
        if value < least:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} is {value}; it must be at least {least}")
    if not 0 < args.lr < math.inf:
        raise ValueError(f"--lr is {args.lr}; it must be a number above 0")
    if not 0 < args.validation < 1:
        raise ValueError(f"--validation is {args.validation}, no share between 0 and 1")
    args.arguments = dict(args.arguments)
    one = len(args.size) == 1
    args.size = folders.height_width(args.size[0] if one else args.size)
