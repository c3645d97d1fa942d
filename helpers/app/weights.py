"""Weights to begin with: a model.pt of this book, or a table of tensors as users hold.

The authors' U2-Net files and their like may be wrapped in a dict, saved under
DataParallel (`module.` before each name), or lack the counters of batch norm.
"""

import pickle
from pathlib import Path

import torch

from helpers import chapters

WRAPPED = ("weights", "state_dict", "model_state_dict", "model", "net")
COUNTER = "num_batches_tracked"


def begin_with(net, path):
    """Fill a network with the weights in a file; nothing changes where they do not fit.

    Raises FileNotFoundError, or ValueError that says what does not fit.
    """
    own, state = net.state_dict(), read(path)
    problem = misfit(own, state)
    if problem:
        raise ValueError(
            f"{path} does not fit: {problem}. Name the network and the --set that it "
            "belongs to (the authors' u2net.pth: 06_u2net.U2Net, u2netp.pth: "
            "06_u2net.U2NetSmall)"
        )
    for key, value in own.items():
        if key not in state:  # a counter, which PyTorch before 0.4.1 had not
            state[key] = torch.zeros_like(value)
    net.load_state_dict(state)


def official(path):
    """The authors' U2-Net, small or full, with the weights in a file; or None."""
    try:
        state = read(path)
    except ValueError:
        return None
    for name in ("U2NetSmall", "U2Net"):
        net = getattr(chapters.load("06_u2net"), name)()
        if misfit(net.state_dict(), state) is None:
            begin_with(net, path)
            return net.eval()
    return None


def read(path):
    """The table of tensors in a file, without wrapping and prefixes: a dict."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: name a model.pt, or weights")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if path.read_bytes()[:1] == b"<":
            what = "is a web page, a failed download"
        else:
            what = "is damaged or holds more than weights, which is never run"
        raise ValueError(f"{path} {what}: take weights alone (a state_dict)") from error
    except Exception as error:
        raise ValueError(f"{path} is damaged: take the file again") from error
    for key in WRAPPED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    table = isinstance(content, dict) and content
    if not table or not all(map(torch.is_tensor, content.values())):
        names = ", ".join(map(str, list(content)[:5])) if table else "no table"
        raise ValueError(f"{path} holds no table of tensors, but {names}")
    while all(key.startswith("module.") for key in content):
        shorter = {}
        for key, value in content.items():
            shorter[key.removeprefix("module.")] = value
        content = shorter
    return dict(content)


def misfit(own, state):
    """What keeps a table of tensors from replacing `own`, in words, or None."""
    missing = []
    for key in own:
        if key not in state and not key.endswith(COUNTER):
            missing.append(key)
    extra = [key for key in state if key not in own]
    if not own.keys() & state.keys():
        return "these are not weights of this network, no name is the same"
    if missing:
        return f"{len(missing)} of {len(own)} names are missing, first {missing[0]}"
    if extra:
        return f"it has {len(extra)} names too many, first {extra[0]}"
    for key, tensor in state.items():
        there, here = tuple(tensor.shape), tuple(own[key].shape)
        if there != here:
            return f"{key} is {there} in the file and {here} in the network"
        if not tensor.isfinite().all():
            return f"{key} holds values that are not finite"
