"""The command line: train a network of the book, and let it segment a picture.

    python -m helpers.cli train --network 02_unet.small_unet --drawn surfaces --out RUN
    python -m helpers.cli predict --model RUN/model.pt --image PHOTO --out MASK.png

`train --help` and `predict --help` list what they take. Under torchrun (`python -m
torch.distributed.run --standalone --nproc_per_node 2 -m helpers.cli train ...`) the
same training runs in several processes; a GPU is used when there is one. A bad
argument is refused in one line, before any work starts, with exit status 2.
"""

import argparse
import ast
import inspect
import json
import math
import os
import platform
import subprocess
import sys
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Subset, TensorDataset

from helpers import chapters, data, folders, training

LOSSES = dict(bce=F.binary_cross_entropy_with_logits, bce_dice=training.bce_dice)
DRAWN = dict(surfaces=data.surfaces, lattices=data.lattices, camouflage=data.camouflage)


# --- A network by its name --------------------------------------------------------


def build_network(network, arguments):
    """The network CHAPTER.NAME, such as "02_unet.UNet", made with these arguments.

    NAME is a class, or a function that returns a network. Raises ValueError for a
    chapter or a name that is not there, and for arguments that it does not take.
    """
    chapter, dot, name = network.rpartition(".")
    if not dot:
        raise ValueError(f"{network!r} is not CHAPTER.NAME, such as 02_unet.UNet")
    module = chapters.load(chapter)
    there = f"the networks of {chapter} are {', '.join(networks(module))}"
    make = getattr(module, name, None)
    if getattr(make, "__module__", None) != module.__name__:
        raise ValueError(f"{chapter} has no {name!r}: {there}")
    try:
        net = make(**arguments)
    except Exception as error:
        given = ", ".join(f"{k}={v!r}" for k, v in arguments.items()) or "no arguments"
        known = name in networks(module)
        way_out = f"it takes {', '.join(parameters(make))}" if known else there
        raise ValueError(
            f"{network} cannot be made with {given} ({error}): {way_out}"
        ) from error
    if not isinstance(net, nn.Module):
        raise ValueError(f"{network} is no network: {there}")
    return net


def networks(module):
    """The names in a chapter that stand for whole networks."""
    own = {k: v for k, v in vars(module).items() if inspect.getmodule(v) is module}
    return [name for name, thing in own.items() if is_network(name, thing)]


def is_network(name, thing):
    """A class of networks that has a default for every argument, or a `small_...`."""
    if not inspect.isclass(thing):
        return name.startswith("small_")
    arguments = inspect.signature(thing).parameters.values()
    ready = all(p.default is not p.empty for p in arguments)
    return issubclass(thing, nn.Module) and ready


def parameters(make):
    """The arguments of a class, or of a function and of the class that it calls."""
    names = dict(inspect.signature(make).parameters)
    if not inspect.isclass(make):
        with suppress(TypeError):  # an argument without default
            names |= inspect.signature(type(make())).parameters
    return [k for k, p in names.items() if p.kind is not p.VAR_KEYWORD]


def check_network(network, net, batch, size):
    """Refuse a network that cannot be trained on a batch of pictures of this size.

    A copy on the "meta" device, where only shapes are computed, tries.
    """
    height, width = size
    what = f"a batch of {batch} x 3 x {height} x {width}"
    shape = batch, 3, height, width
    try:
        answer = training.first(on_meta(net).train()(torch.empty(shape, device="meta")))
    except Exception as error:
        way_out = "change --size, --batch or --set (in_channels=3)"
        raise ValueError(f"{network} refuses {what} ({error}): {way_out}") from error
    if answer.ndim != 4 or answer.shape[1] != 1:
        raise ValueError(
            f"{network} answers {tuple(answer.shape)} to {what}, and a mask has one "
            "channel: --set classes=1"
        )
    training.crop_to(torch.empty(shape, device="meta"), answer)  # or refuse


def on_meta(net):
    """A copy of a network that computes shapes and nothing else."""
    return deepcopy(net).to("meta")


# --- A trained network in a file --------------------------------------------------


def save_model(
    path, net, network, arguments, *, threshold, size, resized, **facts
):  # fmt: skip
    """Write a network and all that its use needs to one file, whole or not at all.

    `network` and `arguments`: what `build_network` takes. `threshold`: of the
    probability, chosen on validation data. `size`: (height, width) of the pictures it
    was trained on; `resized`: whether they were brought to it. `facts`: other plain
    values worth keeping, such as the loss. Versions of packages are added.
    """
    facts |= dict(network=network, arguments=arguments, threshold=threshold)
    facts |= dict(size=size, resized=resized, versions=versions())
    facts = json.loads(json.dumps(facts))  # `weights_only` reads no NumPy number back
    weights = {name: value.cpu() for name, value in net.state_dict().items()}
    with whole(path) as part:
        torch.save(dict(weights=weights, configuration=facts), part)


def load_model(path):
    """Return the network of `save_model`, ready for use, and its configuration.

    Nothing but weights and plain values is read. Raises FileNotFoundError, or
    ValueError for a file that is no model or does not fit the chapter's network.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is no file: name a model.pt of a training")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        weights, configuration = content["weights"], content["configuration"]
        network, arguments = configuration["network"], configuration["arguments"]
    except Exception as error:
        raise ValueError(
            f"{path} is damaged or is no model of this book: name another, or train "
            "it again"
        ) from error
    net = build_network(network, arguments)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"{path} does not fit {network} as it is now: train it again"
        ) from error
    return net.eval(), configuration


def versions():
    """Versions of Python and of the packages that a result depends on."""
    packages = "torch", "numpy", "pillow", "accelerate"
    return dict(python=platform.python_version()) | {p: version(p) for p in packages}


@contextmanager
def whole(path):
    """A temporary name; what was written to it takes the place of `path` at the end."""
    part = Path(f"{path}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


# --- A picture segmented ----------------------------------------------------------


def segment(net, image, configuration):
    """Mask (1, H, W), bool, of a picture (3, H, W) of any size.

    What was done to the pictures of the training is done to this one: if they were
    resized, it is, and the answer is stretched back; if they kept their scale, it
    does, and a picture of another size is segmented by chapter 02's overlap-tile.
    """
    size, before = tuple(configuration["size"]), image.shape[-2:]
    if configuration["resized"]:
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        image = image.clamp(0, 1)
    with torch.no_grad():
        logits = answer_all(net.eval(), image, size)
    if configuration["resized"]:
        logits = F.interpolate(logits[None], before, mode="bilinear")[0]
    return logits.sigmoid() > configuration["threshold"]


def answer_all(net, image, size):
    """Logits (1, H, W) for every pixel of a picture (3, H, W).

    In one go if it has the size of the training and the network loses no border.
    """
    lost = size[0] - side_of_answer(on_meta(net), *size)
    if image.shape[-2:] == size and not lost:
        return training.first(net(image[None]))[0]
    tile, margin = tiling(net, image.shape[-2:], lost)
    overlap_tile = chapters.load("02_unet").overlap_tile
    return overlap_tile(lambda x: training.first(net(x)), image, tile, margin)


def tiling(net, size, lost):
    """Tile and margin, in pixels, with which `overlap_tile` takes a picture.

    `lost`: pixels of a side that the network does not answer for, 0 if it is padded.
    Sides of tiles, and margins of a padded network, are multiples of 32, so that five
    poolings fall on the same pixels in every tile.
    """
    shadow, least = on_meta(net), (lost + 1) // 2
    for margin in range(least, least + 32) if lost else (64, 32, 0):
        for tile in range(256, 0, -32):
            if any(margin + -side % tile >= side for side in size):
                continue  # it cannot be mirrored that far
            with suppress(ValueError, RuntimeError):  # no size for this network
                window = tile + 2 * margin
                if side_of_answer(shadow, window, window) >= tile:
                    return tile, margin
    raise ValueError(
        f"a picture of {size[0]} x {size[1]} px is too small for this network, which "
        f"needs {least} px around each tile of 32: take a larger one"
    )


def side_of_answer(shadow, height, width):
    """Height of what a network on the meta device answers to a picture."""
    picture = torch.empty(1, 3, height, width, device="meta")
    return training.first(shadow.eval()(picture)).shape[-2]


# --- python -m helpers.cli train --------------------------------------------------


def train(args):
    """Train as the arguments say; leave model.pt and history.json in the folder."""
    settings = {k: v for k, v in vars(args).items() if k not in ("run", "out")}
    share = training.share_size(args.batch, launched("WORLD_SIZE"))
    if finished(args.out, settings):
        say(f"{args.out} is done: {args.out / 'model.pt'}")
        return
    torch.manual_seed(args.seed)
    net = build_network(args.network, args.arguments)
    check_network(args.network, net, share, args.size)
    pictures, validation, resized = read_pictures(args)
    accelerator = find_accelerator()  # here, where all processes meet
    main, checkpoint = accelerator.is_main_process, args.out / "checkpoint.pt"
    if main:
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / "settings.json", settings)
    processes, device = accelerator.num_processes, accelerator.device
    say(
        f"{args.network}, {sum(p.numel() for p in net.parameters()):,} parameters: "
        f"{len(pictures)} pictures to train on, {len(validation)} to validate, "
        f"{'resized to ' if resized else ''}{args.size[0]} x {args.size[1]} px; "
        f"{processes} process{'es' * (processes > 1)} on {device.type}"
    )
    if checkpoint.exists():
        say(f"going on from {checkpoint}")
    try:
        run = training.fit(
            net, pictures, validation, steps=args.steps, batch=args.batch, lr=args.lr,
            seed=args.seed, every=args.every, loss=partial(of_all_maps, args.loss),
            augment=training.flips if args.flips else None,
            report=partial(progress, args.steps), checkpoint=checkpoint,
            accelerator=accelerator,
        )  # fmt: skip
    except KeyboardInterrupt:
        there = f"goes on from {checkpoint}" if checkpoint.exists() else "begins again"
        raise KeyboardInterrupt(f"stopped; the same command {there}") from None
    if main:
        logits, masks = training.predict(run.net, validation)
        threshold = training.best_threshold(logits, masks)
        score = training.scores(logits, masks, threshold)
        facts = dict(threshold=threshold, validation=score)
        about = dict(processes=processes, device=device.type, settings=settings)
        write_json(args.out / "history.json", about | facts | dict(history=run.history))
        save_model(
            args.out / "model.pt", run.net, args.network, args.arguments,
            size=args.size, resized=resized, loss=args.loss, **facts,
        )  # fmt: skip
        checkpoint.unlink()
        say(
            f"{args.out / 'model.pt'}: validation IoU {score['iou']:.3f} at "
            f"threshold {threshold:.2f}"
        )
    accelerator.end_training()


def find_accelerator():
    """An Accelerator of all that there is: a GPU, and every process that was launched.

    Without a GPU for each process, Accelerate (1.15) must be told to stay on the
    processor. Else it silently makes of each process a training of its own.
    """
    from accelerate import Accelerator

    here = launched("LOCAL_WORLD_SIZE")
    accelerator = Accelerator(cpu=1 < here and torch.cuda.device_count() < here)
    if accelerator.num_processes != launched("WORLD_SIZE"):
        raise ValueError(
            f"{launched('WORLD_SIZE')} processes were launched and Accelerate sees "
            f"{accelerator.num_processes}: each would train for itself"
        )
    return accelerator


def launch(processes, *command, seconds=120):
    """Run `python COMMAND` as several processes of this machine, by torchrun.

    Each stays on the processor, with one thread, so that one and several can be
    compared; each finds the book from any folder. Returns what `subprocess` knows at
    the end: returncode, stdout, stderr. After `seconds` all of them are ended and
    TimeoutExpired is raised.
    """
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    several = [*torchrun, str(processes)] if processes > 1 else []
    book = str(chapters.NOTEBOOKS.parent)
    path = os.pathsep.join(filter(None, [book, os.environ.get("PYTHONPATH")]))
    alike = dict(OMP_NUM_THREADS="1", ACCELERATE_USE_CPU="true", PYTHONPATH=path)
    running = subprocess.Popen(
        [sys.executable, *several, *command], env=os.environ | alike, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = running.communicate(timeout=seconds)
    finally:
        running.terminate()  # a kill would leave the processes of torchrun behind
        running.wait()
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


def launched(name):
    """How many processes torchrun started, in all or on this machine; alone, 1."""
    return int(os.environ.get(name, 1))


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


def read_pictures(args):
    """Pictures to train on and to validate, and whether they had another size."""
    if bool(args.images) != bool(args.masks) or bool(args.mvtec) != bool(args.category):
        raise ValueError("--images goes with --masks, and --mvtec with --category")
    if args.drawn:
        if args.size[0] != args.size[1]:
            raise ValueError(f"drawn pictures are square: --size {args.size[0]}")
        draw = partial(DRAWN[args.drawn], size=args.size[0], seed=args.split_seed)
        few = max(1, args.pictures // 4)
        return draw(args.pictures), draw(few, split="validation"), False
    if args.mvtec:
        category = partial(folders.MVTecAD, args.mvtec, args.category)
        parts = [
            category(split, size=args.size, seed=args.split_seed)
            for split in ("train", "validation")
        ]
        pairs = [pair for part in parts for pair in part.pairs]
    else:
        both = folders.ImageMaskFolder(args.images, args.masks, args.size)
        parts, pairs = divided(both, args.validation, args.split_seed), both.pairs
    resized = any(folders.header_size(image) != args.size for image, _ in pairs)
    return *map(decoded, parts), resized


def divided(dataset, share, seed):
    """Divide a data set in two at random: to train on, and a share to validate."""
    n = len(dataset)
    if n < 2:
        raise ValueError(f"{n} picture with its mask: validation needs a second pair")
    order = folders.shuffled(range(n), "validation", seed)
    few = min(max(1, round(share * n)), n - 1)
    return Subset(dataset, order[few:]), Subset(dataset, order[:few])


def decoded(dataset):
    """All of a data set in memory: every file is read once, and checked by it."""
    return TensorDataset(*training.batch_of(dataset, range(len(dataset))))


def of_all_maps(loss, answer, masks):
    """The loss of a network's map, or the sum over its maps (as in chapter 06)."""
    maps = answer if isinstance(answer, tuple | list) else [answer]
    return sum(LOSSES[loss](logits, masks) for logits in maps)


def progress(steps, history):
    """One line for each validation."""
    row = history[-1]
    say(
        f"step {row['step']} of {steps}: loss {row['loss']:.4f}, validation IoU "
        f"{row['iou']:.3f}, {row['seconds']:.0f} s"
    )


def write_json(path, content):
    with whole(path) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")


def say(text, file=None):
    """Print a line, once: of several processes, only the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=file, flush=True)


# --- python -m helpers.cli predict ------------------------------------------------


def predict(args):
    """Segment one picture; write the mask as a PNG of 0 and 255, of the same size."""
    if args.out.suffix.lower() != ".png":
        raise ValueError(f"{args.out} is no PNG: other formats would blur the mask")
    if args.out.exists():
        raise ValueError(f"{args.out} is there already: name another, or delete it")
    if not args.out.parent.is_dir():
        raise ValueError(f"{args.out.parent} is not a folder: make it first")
    net, configuration = load_model(args.model)
    mask = segment(net, folders.read_image(args.image), configuration)[0]
    with whole(args.out) as part:
        Image.fromarray(mask.numpy().astype("uint8") * 255).save(part, "PNG")
    share, threshold = mask.float().mean(), configuration["threshold"]
    say(f"{args.out}: {share:.1%} of the pixels, probability above {threshold:.2f}")


# --- The arguments ----------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses in one line, and leaves the exit to `main`."""

    def error(self, message):
        raise ValueError(f"{message} (--help lists what there is)")


def number(kind, holds, rule):
    """A reader of numbers that keep a rule."""

    def read(text):
        with suppress(ValueError):
            if holds(value := kind(text)):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {rule}")

    return read


def whole_number(least):
    return number(int, lambda n: n >= least, f"a whole number from {least} up")


def setting(text):
    """(name, value) of "name=value": a Python literal, or one word as a string."""
    name, _, value = text.partition("=")
    words = dict(true=True, false=False, none=None)
    if name.isidentifier() and value.lower() in words:
        return name, words[value.lower()]
    with suppress(ValueError, SyntaxError, TypeError):
        literal = value if value.isidentifier() else ast.literal_eval(value)
        json.dumps(literal)  # TypeError for what no file could keep
        if name.isidentifier():
            return name, literal
    raise argparse.ArgumentTypeError(
        f"{text!r} is not NAME=VALUE with a number, a word, or numbers and commas: "
        "norm=True, padding=zeros, widths=8,16,32"
    )


def parser():
    """All that the command line takes."""
    top = Parser(prog="python -m helpers.cli", description=__doc__.split("\n\n")[0])
    commands = top.add_subparsers(required=True, metavar="train | predict")
    sub = commands.add_parser("train", help="train a network")
    sub.set_defaults(run=train)
    add = partial(option, sub)
    share = number(float, lambda x: 0 < x < 1, "a share between 0 and 1")
    rate = number(float, lambda x: 0 < x < math.inf, "a number above 0")
    add("network", "what to train: 02_unet.UNet", metavar="CHAPTER.NAME", required=True)
    add("set", "its arguments: classes=1 padding=zeros widths=8,16,32", type=setting,
        metavar="NAME=VALUE", dest="arguments", nargs="+", action="extend",
        default=[])  # fmt: skip
    source = sub.add_mutually_exclusive_group(required=True)
    option(source, "images", "folder of pictures; needs --masks")
    option(source, "mvtec", "root folder of MVTec AD; needs --category")
    option(source, "drawn", "pictures that the book draws", choices=DRAWN)
    add("masks", "folder of masks: a.png or a_mask.png for the picture a.jpg")
    add("category", "of MVTec AD, such as bottle")
    add("pictures", "how many to draw", 600, type=whole_number(1))
    add("size", "px of a side, or height and width: files are resized to it", [64],
        type=whole_number(1), nargs="+")  # fmt: skip
    add("validation", "share of --images kept for validation", 0.2, type=share)
    add("split-seed", "draws that share, or the pictures", 0, type=whole_number(0))
    add("steps", "of the optimizer", 250, type=whole_number(5))
    add("batch", "pictures in a step, all processes together", 8, type=whole_number(1))
    add("lr", "highest learning rate", 5e-3, type=rate)
    add("seed", "of weights, order and flips", 0, type=whole_number(0))
    add("every", "steps from validation to validation", 50, type=whole_number(1))
    add("loss", "what is to become small", "bce", choices=LOSSES)
    sub.add_argument("--no-flips", dest="flips", action="store_false",
        help="do not turn pictures over at random")  # fmt: skip
    add("out", "folder of this training", type=Path, required=True)
    sub = commands.add_parser("predict", help="segment a picture")
    sub.set_defaults(run=predict)
    add = partial(option, sub, type=Path, required=True)
    add("model", "model.pt of a training")
    add("image", "the picture")
    add("out", "the mask, a new PNG")
    return top


def option(parser, name, help, default=None, **more):
    """Add --name to a parser; the help says what holds without it."""
    without = "" if default in (None, []) else " (%(default)s)"
    parser.add_argument(f"--{name}", help=help + without, default=default, **more)


def main(argv=None):
    """Run the command line; return its exit status."""
    try:
        args = parser().parse_args(argv)
        if args.run is train:
            args.arguments = dict(args.arguments)
            args.size = height_width(args.size)
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


def height_width(sides):
    """(height, width) from one number or two."""
    if len(sides) > 2:
        raise ValueError(f"--size {' '.join(map(str, sides))}: one number or two")
    return sides[0], sides[-1]


if __name__ == "__main__":
    sys.exit(main())
