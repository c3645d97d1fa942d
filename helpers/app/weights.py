"""Weights to begin with: a model.pt of this book, or a table of tensors."""

import torch

from helpers import chapters
from helpers.weights import fill, misfit, read


def begin_with(net, path):
    """Fill a network with the weights in a file; nothing changes where they do not fit.

    Raises FileNotFoundError, or ValueError that says what does not fit.
    """
    own = net.state_dict()
    state = read(path, own)
    problem = misfit(own, state)
    if problem:
        raise ValueError(
            f"{path} does not fit: {problem}. Name the network and the --set that it "
            "belongs to (the authors' u2net.pth: 06_u2net.U2Net, u2netp.pth: "
            "06_u2net.U2NetSmall)"
        )
    fill(net, state)


def official(path):
    """The authors' U2-Net, small or full, with the weights in a file.

    Raises ValueError that says why the file is neither.
    """
    chapter, problems = chapters.load("06_u2net"), []
    with torch.device("meta"):  # names and shapes: the full one has 176 MB of weights
        nets = chapter.U2NetSmall(), chapter.U2Net()
    state = read(path, nets[0].state_dict())  # both have the same names
    for net in nets:
        problem = misfit(net.state_dict(), state)
        if problem is None:
            fill(net.to_empty(device="cpu"), state)
            return net.eval()
        problems.append(problem)
    why = "; ".join(dict.fromkeys(problems))
    raise ValueError(
        f"{path} is no model.pt of a training, and does not fit as the authors' "
        f"u2netp.pth or u2net.pth: {why}"
    )
