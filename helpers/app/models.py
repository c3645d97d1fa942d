"""A network by its name, and a trained one in a file."""

import inspect
import json
import platform
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from helpers import chapters, trace, training
from helpers.app.files import save

SHARE = 0.04  # first answer of a small network, where none is stated


class NoModel(ValueError):
    """A file that is no model.pt, whatever else it may be."""


# --- by name ----------------------------------------------------------------------


def build(network, arguments):
    """The network CHAPTER.NAME, such as "02_unet.UNet", made with these arguments.

    Raises ValueError for a chapter or a name that is not there, and for arguments that
    it does not take.
    """
    chapter, dot, name = network.rpartition(".")
    if not dot:
        raise ValueError(f"{network!r} is not CHAPTER.NAME, such as 02_unet.UNet")
    module = chapters.load(chapter)
    if name not in networks(module):
        there = ", ".join(networks(module))
        raise ValueError(f"{chapter} has no network {name!r}, but {there}")
    make = getattr(module, name)
    if needs_share(make):
        arguments = dict(share=SHARE) | arguments
    try:
        return make(**arguments)
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise ValueError(
            f"{network}({given}) cannot be made ({error}): it takes "
            f"{', '.join(parameters(make))}"
        ) from error


def fitted(network, arguments, classes, channels):
    """The arguments, and those that data ask for, where the network takes them.

    `classes`: maps to answer, 1 for a mask of one object. `channels` of a picture.
    Raises ValueError for a chapter that is not there.
    """
    chapter, _, name = network.rpartition(".")
    wanted = dict(in_channels=channels, classes=classes)
    make = getattr(chapters.load(chapter), name, None) if chapter else None
    if not make or name not in networks(chapters.load(chapter)):
        return arguments  # `build` says what is wrong
    return {k: v for k, v in wanted.items() if k in parameters(make)} | arguments


def networks(module):
    """The networks of a chapter: classes with a default for all, and `small_...`."""
    names = []
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) != module.__name__:
            continue  # imported
        if name.startswith("small_"):
            names.append(name)
        elif inspect.isclass(thing) and issubclass(thing, nn.Module):
            arguments = inspect.signature(thing).parameters.values()
            if all(a.default is not a.empty for a in arguments):
                names.append(name)
    return names


def parameters(make):
    """The arguments of a class, or of a function and of the class that it hands on."""
    found = dict(inspect.signature(make).parameters)
    hands_on = list(found.values())[-1:]
    if hands_on and hands_on[0].kind is inspect.Parameter.VAR_KEYWORD:
        found.pop(hands_on[0].name)
        if not inspect.isclass(make):
            found |= inspect.signature(type(make())).parameters
    return list(found)


def needs_share(make):
    """Whether a small network has no first answer of its own, and wants one."""
    share = inspect.signature(make).parameters.get("share")
    return share is not None and share.default is share.empty


def check(network, net, batch, size, channels, classes):
    """ValueError for a network that cannot be trained on a batch of such crops.

    `size` (H, W), or (D, H, W) of a volume.
    """
    shape = batch, channels, *size
    what = f"a batch of {' x '.join(map(str, shape))}"
    twin, pictures = trace.on_meta(net, *shape)  # only shapes are computed
    try:
        with torch.device("meta"):
            answer = training.main_map(twin.train()(pictures))
    except Exception as error:
        way_out = f"change --crop (or --size), --batch or --set in_channels={channels}"
        other = nn.Conv2d if len(size) == 3 else nn.Conv3d
        if any(isinstance(layer, other) for layer in net.modules()):
            way_out = "volumes need a network of volumes, such as 03_vnet.VNet, and "
            way_out += "pictures one of pictures, such as 02_unet.UNet"
        raise ValueError(f"{network} refuses {what} ({error}): {way_out}") from error
    if answer.ndim != len(shape) or answer.shape[1] != classes:
        maps = "one map" if classes == 1 else f"{classes} maps"
        way_out = f"--set classes={classes} says how many maps a network has"
        if not fitted(network, {}, classes, channels).get("classes"):
            way_out = (
                "it cannot be told another number, as 02_unet.UNet and 03_vnet.VNet can"
            )
        raise ValueError(
            f"{network} answers {tuple(answer.shape)} to {what}, and these masks need "
            f"{maps}: --classes says how many classes masks have, and {way_out}"
        )
    training.crop_to(pictures, answer)  # or refuse


# --- in a file --------------------------------------------------------------------


def save_model(path, net, network, arguments, *, threshold, size, resized, tiling,
               classes=1, **facts):  # fmt: skip
    """Write a network and all that its use needs to one file, as `files.save` does.

    `network` and `arguments`: what `build` takes. `threshold`: of the probability,
    chosen on validation data; None with several `classes` (1: a mask of one object).
    `size`: (height, width) or (D, H, W) of what it was trained on; `resized`: whether
    pictures were brought to it. `tiling`: what `segment.plan` says for that size.
    `facts`: other plain values worth keeping, such as the loss, names of classes, or
    the span of the pictures' values. Versions of packages are added.
    """
    facts |= dict(network=network, arguments=arguments, threshold=threshold)
    facts |= dict(size=size, resized=resized, tiling=tiling, classes=classes)
    facts |= dict(versions=versions())
    facts = json.loads(json.dumps(facts))  # `weights_only` reads no NumPy number back
    weights = {}
    for name, value in net.state_dict().items():
        weights[name] = value.cpu()
    save(path, dict(weights=weights, configuration=facts))


def load_model(path):
    """Return the network of `save_model`, ready for use, and its configuration.

    Nothing but weights and plain values is read. Raises FileNotFoundError, NoModel, or
    ValueError for a model that does not fit the chapter's network.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is no file: name a model.pt of a training")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        weights, configuration = content["weights"], content["configuration"]
        network, arguments = configuration["network"], configuration["arguments"]
    except Exception as error:
        raise NoModel(
            f"{path} is damaged or is no model of this book: name another, or train "
            "it again"
        ) from error
    if "classes" not in configuration:
        raise ValueError(
            f"{path} was written by an earlier edition of the book and does not say "
            "what its answer means: train it again"
        )
    net = build(network, arguments)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"{path} does not fit {network} as it is now: train it again"
        ) from error
    return net.eval(), configuration


def versions():
    """Versions of Python and of the packages that a result depends on."""
    found = dict(python=platform.python_version())
    for package in ("torch", "numpy", "pillow", "nibabel", "accelerate"):
        found[package] = version(package)
    return found
