"""The state of a training in one file, from which it goes on to the same result."""

import os
from contextlib import contextmanager
from pathlib import Path

import torch


class Checkpoint:
    """Where `training.fit(checkpoint=...)` keeps its state; `path` need not exist.

    A later `fit` with the same arguments goes on from there: weights, optimizer,
    schedule, history, best weights and random numbers are those of the interruption.
    """

    def __init__(self, path):
        self.path = Path(path)

    def save(self, settings, net, optimizer, schedule, history, best):
        """Write everything, whole or not at all."""
        state = dict(
            settings=with_parameters(settings, net),
            net=net.state_dict(),
            optimizer=optimizer.state_dict(),
            schedule=schedule.state_dict(),
            history=history,
            best=best,
            random=torch.get_rng_state(),
        )
        with whole(self.path) as part:
            torch.save(state, part)

    def load(self, settings, net, optimizer, schedule):
        """Fill net, optimizer and schedule; return history and best weights.

        Without a file: [] and None, and nothing is changed. Raises ValueError for a
        damaged file, and for one of another training.
        """
        if not self.path.exists():
            return [], None
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
            found = state["settings"]
        except Exception as error:
            raise ValueError(
                f"{self.path} is damaged or is no checkpoint of this book: delete the "
                "file to begin again"
            ) from error
        settings = with_parameters(settings, net)
        if found != settings:
            raise ValueError(
                f"{self.path} belongs to a training with {found}, this one has "
                f"{settings}: delete the file, or name another one"
            )
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        return state["history"], state["best"]


def with_parameters(settings, net):
    """The settings of a training, and how many parameters its network has."""
    return settings | dict(parameters=sum(p.numel() for p in net.parameters()))


@contextmanager
def whole(path):
    """A temporary name; what was written to it takes the place of `path` at the end."""
    part = Path(f"{path}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
