"""What a training was asked for: checked, kept beside the model, read from a file."""

import ast
import json
import math
import tomllib
from pathlib import Path

from helpers.app.files import differences, read_json

CROP, CROP_3D, DRAWN_SIDE = "128", "32", "64"
VALIDATION, PICTURES = 0.2, 600
LEAST = dict(pictures=1, split_seed=0, steps=5, batch=1, seed=0, every=1)
LEAST |= dict(classes=1, folds=2, patience=1)
NOT_KEPT = ("out", "recipe", "resume")  # they do not change what is trained
WORDS = dict(true=True, false=False, none=None)
# What reads and divides folders, and its value where it is not stated.
OF_FOLDERS = dict(colours=None, instances=False, cut=None, span=None, stacks=False)
OF_FOLDERS |= dict(group=None, validation=VALIDATION)
# What a value in a recipe may be: Typer reads texts, but it would round a number.
KINDS = dict(int=(int, str), float=(float, int, str), path=(str,), boolean=(bool,))
KINDS |= dict(pair=(list,), several=(list,))
WANTED = dict(int="a whole number", float="a number", path="a path")
WANTED |= dict(boolean="true or false", pair="two numbers, as in [0, 4095]")
WANTED |= dict(several='a list of texts, as in ["padding=zeros"]')


def settle(args):
    """Check the settings of `train`; make pairs of sizes and a dict of --set.

    Raises ValueError for the first that is out of range or goes with no other.
    """
    in_range(args)
    if not 0 < args.lr < math.inf:
        raise ValueError(f"--lr is {args.lr}; it must be a number above 0")
    if bool(args.images) != bool(args.masks) or bool(args.mvtec) != bool(args.category):
        raise ValueError("--images goes with --masks, and --mvtec with --category")
    given = [name for name in ("images", "mvtec", "drawn") if getattr(args, name)]
    if len(given) != 1:
        there = "--" + " and --".join(given) if given else "none"
        raise ValueError(f"take one of --images, --mvtec and --drawn; here {there}")
    if not args.images:
        without_folders(args)
    if not args.drawn and args.pictures != PICTURES:
        raise ValueError("--pictures goes with --drawn: of files, all are taken")
    if args.drawn and args.crop:
        raise ValueError("drawn pictures have the side --size: no --crop")
    if args.crop and args.size:
        raise ValueError("--crop keeps the pictures' scale, --size resizes: take one")
    args.arguments = dict(setting(text) for text in args.set)
    args.crop, args.size = sides("crop", args.crop), sides("size", args.size)


def in_range(args):
    """ValueError for a number, of those that `args` has, that is out of its range."""
    for name, least in LEAST.items():
        value = getattr(args, name, None)
        if value is not None and value < least:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} is {value}; it must be at least {least}")
    if not 0 < args.validation < 1:
        raise ValueError(f"--validation is {args.validation}, no share between 0 and 1")


def without_folders(args):
    """ValueError for what only --images can have: how it is read, and a split."""
    stated = []
    for name, unset in OF_FOLDERS.items():
        if getattr(args, name) != unset:
            stated.append(f"--{name}")
    if (args.classes or 1) > 1:
        stated.append("--classes")
    if args.folds:
        stated.append("--folds")
    if stated:
        raise ValueError(
            f"only --images takes {', '.join(stated)}: MVTec AD and drawn pictures "
            "have masks of one object, and a range and a split of their own"
        )


def sides(option, text):
    """(H, W) or (D, H, W) of "128", "96x128" or "16x32x32"; None of None.

    One number stands for all sides: (128,). Raises ValueError for any other text.
    """
    if text is None:
        return None
    parts = str(text).lower().split("x")
    if len(parts) > 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(
            f"--{option} is {text!r}: give px of a side (128), height x width "
            "(96x128), or depth x height x width of volumes (16x32x32)"
        )
    return tuple(int(part) for part in parts)


def all_sides(option, given, axes):
    """One number as all sides; ValueError where the number of axes is another."""
    given = given * axes if len(given) == 1 else given
    if len(given) != axes:
        what = "pictures have two sides" if axes == 2 else "volumes have three"
        raise ValueError(f"--{option} is {'x'.join(map(str, given))}, and {what}")
    return given


def setting(text):
    """(name, value) of "name=value": a Python literal, or one word as a string.

    Raises ValueError for anything else.
    """
    name, _, value = text.partition("=")
    try:
        if value.lower() in WORDS:
            value = WORDS[value.lower()]
        elif not value.isidentifier():
            value = ast.literal_eval(value)
        json.dumps(value)  # TypeError for what no file could keep
    except (ValueError, SyntaxError, TypeError):
        name = ""
    if not name.isidentifier():
        raise ValueError(
            f"--set {text!r} is not NAME=VALUE with a number, a word, or numbers and "
            "commas: norm=True, padding=zeros, widths=8,16,32"
        )
    return name, value


# --- in files ---------------------------------------------------------------------


def recipe(path, known, kinds):
    """The settings in a TOML or JSON file, as {parameter: value}.

    `known`: {option without dashes: parameter}, `kinds`: {parameter: what it takes}.
    What is null in JSON is left out. Raises ValueError for what cannot be read, for
    what is no option, and for a value that would be rounded or taken for another kind.
    """
    content, found = table(path), {}
    for key, value in content.items():
        option = key.replace("_", "-")
        if option == "fold":  # of a folder fold2: the recipe trains all folds
            continue
        if option not in known or known[option] in ("recipe", "resume", "help"):
            there = ", ".join(sorted(known))
            raise ValueError(f"{path} sets {key!r}, no setting; there: {there}")
        if value is None:
            continue
        kind = kinds[known[option]]
        if kind in KINDS and type(value) not in KINDS[kind]:
            what = f"{path} sets {key} to {value!r}"
            raise ValueError(f"{what}: it takes {WANTED[kind]}")
        found[known[option]] = value
    return found


def table(path):
    """The content of a TOML or JSON file, a table; ValueError for anything else."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows begins with a mark
        read = json.loads if path.suffix.lower() == ".json" else tomllib.loads
        content = read(text)
    except (OSError, ValueError) as error:
        what = f"{path} cannot be read ({error})"
        raise ValueError(f"{what}: name a TOML or JSON file") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no table of names and values")
    return content


def kept(args):
    """What is written to settings.json: all that makes the training what it is."""
    values = vars(args)
    found = {}
    for name, value in values.items():
        if name in NOT_KEPT or name == "arguments":
            continue
        if isinstance(value, tuple) and name in ("crop", "size"):
            value = "x".join(map(str, value))
        found[name] = str(value) if isinstance(value, Path) else value
    return json.loads(json.dumps(found))  # tuples become lists, as in the file


def finished(folder, settings, resume):
    """Whether this training is done; ValueError for a folder with anything else."""
    file = folder / "settings.json"
    if not file.exists():
        inside = folder.glob("[!.]*")  # .DS_Store is nothing
        if folder.is_file() or (folder.is_dir() and any(inside)):
            raise ValueError(f"{folder} holds something else: name a new --out")
        if resume:
            raise ValueError(f"{folder} holds no training to resume: leave --resume")
        return False
    try:
        held = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        way_out = f"delete {folder}, or name a new --out"
        raise ValueError(f"{file} is damaged: {way_out}") from error
    other = differences(held, settings)
    longer = False
    if list(other) == ["steps"] and type(held.get("steps")) is int:
        longer = held["steps"] < settings["steps"]
    if longer and resume:
        if not (folder / "checkpoint.pt").exists():
            raise ValueError(
                f"{folder} has no checkpoint.pt to resume from: begin a new --out with "
                f"--weights {folder / 'model.pt'}"
            )
        return False
    if other:
        found = "; ".join(other.values())
        way_out = "name a new --out, or ask for the same"
        if longer:
            way_out += ", or go on with --resume"
        raise ValueError(f"{folder} holds another training ({found}): {way_out}")
    history = folder / "history.json"
    if not (folder / "model.pt").exists() or not history.exists():
        return False
    try:
        done = read_json(history, "settings")["settings"]
        read_json(folder / "scores.json", "data")
    except ValueError as error:
        way_out = f"delete {folder}, or name a new --out"
        raise ValueError(f"{folder} is damaged ({error}): {way_out}") from error
    # A training that goes on to more steps still has the model of before.
    return done == settings
