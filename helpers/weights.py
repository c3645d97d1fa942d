"""Weights in a file: the table of tensors in it, whatever users wrapped around it.

The authors' U2-Net files and their like may be wrapped in dicts, have names with
something before each (`module.` of DataParallel, Lightning's `model.`), or lack the
counters of batch norm.
"""

import pickle
from pathlib import Path

import torch

from helpers.pairs import some

WRAPPED = ("weights", "state_dict", "model_state_dict", "model", "net")
COUNTER = "num_batches_tracked"


def read(path, own):
    """The table of tensors in a file: a dict, as a network with the names `own` has it.

    What is wrapped around the table is left out, and so is what stands before all
    names. Raises FileNotFoundError, or ValueError that says what the file is instead.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: name a model.pt, or weights")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} {unreadable(path, error)}") from error
    content = unwrapped(content)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds no table of tensors: save a state_dict")
    odd = []
    for key, value in content.items():
        if not isinstance(key, str) or not torch.is_tensor(value):
            odd.append(key)
    if odd:
        raise ValueError(
            f"{path} holds what is no tensor with a name: {some(odd)}. Save a "
            "state_dict alone"
        )
    return without_prefix(dict(content), own)


def unreadable(path, error):
    """What a file is that torch does not open as weights, and the way out."""
    with open(path, "rb") as file:
        start = file.read(80).removeprefix(b"\xef\xbb\xbf").strip()
    if start.startswith(b"<"):
        return "is a web page, a failed download: take the file itself"
    text = start.decode("latin-1")
    known = text.startswith(("version https://git-lfs", "{"))
    if known or (text and text.isprintable()):
        return f"is a text ({text[:30]} ...), a failed download: take the file itself"
    if "TorchScript" in str(error):
        return "is a TorchScript program, which is never run: save its state_dict"
    if isinstance(error, pickle.UnpicklingError):
        what = "is damaged or holds more than weights, which is never run"
        return f"{what}: take weights alone (a state_dict)"
    return "is damaged: take the file again"


def unwrapped(content):
    """The innermost table of a checkpoint."""
    for key in WRAPPED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            return unwrapped(content[key])
    return content


def without_prefix(state, own):
    """The table without what stands before all its names and not before `own`."""
    shorter = state
    while not own.keys() & shorter.keys():
        head = next(iter(shorter)).partition(".")[0] + "."
        if not all(key.startswith(head) for key in shorter):
            return state
        shorter = {key.removeprefix(head): shorter[key] for key in shorter}
    return shorter


def misfit(own, state):
    """What keeps a table of tensors from replacing `own`, in words, or None."""
    missing, extra = [], []
    for key in own:
        if key not in state and not key.endswith(COUNTER):
            missing.append(key)
    for key in state:
        if key not in own:
            extra.append(key)
    if not own.keys() & state.keys():
        names = f"{next(iter(state))} there, {next(iter(own))} here"
        return f"these are not weights of this network, no name is the same ({names})"
    if missing:
        return f"{len(missing)} of {len(own)} names are missing, first {missing[0]}"
    if extra:
        return f"it has {len(extra)} names too many, first {extra[0]}"
    for key, tensor in state.items():
        there, here = tuple(tensor.shape), tuple(own[key].shape)
        if there != here:
            return f"{key} is {there} in the file and {here} in the network"
        if tensor.is_floating_point() != own[key].is_floating_point():
            return f"{key} holds {tensor.dtype}, not {own[key].dtype}"
        if not tensor.isfinite().all():
            return f"{key} holds values that are not finite"


def fill(net, state):
    """Load weights that fit; what they lack are counters, which begin at 0.

    PyTorch before 0.4.1 had none.
    """
    lacking = {}
    for key, value in net.state_dict().items():
        if key not in state:
            lacking[key] = torch.zeros_like(value)
    net.load_state_dict(state | lacking)
