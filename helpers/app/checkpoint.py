"""The state of a training in one file, from which it goes on to the same result."""

import warnings
from pathlib import Path

import torch

from helpers.app.files import differences, save


class Checkpoint:
    """Where `training.fit(checkpoint=...)` keeps its state; `path` need not exist.

    A later `fit` with the same arguments goes on from there: weights, optimizer,
    schedule, history, best weights and random numbers are those of the interruption.
    `same`: plain values that say what `fit` cannot see, such as the loss, augmentation
    and a sum of the pictures; other ones than in the file are refused. With `longer`, a
    training of fewer steps is gone on with: the learning rate goes on along the curve
    of the new number of steps.
    """

    def __init__(self, path, same, longer=False):
        self.path, self.same, self.longer = Path(path), same, longer

    def save(self, settings, net, optimizer, schedule, history, best):
        """Write everything, whole or not at all."""
        state = dict(
            settings=self.known(settings, net),
            net=net.state_dict(),
            optimizer=optimizer.state_dict(),
            schedule=schedule.state_dict(),
            history=history,
            best=best,
            random=torch.get_rng_state(),
        )
        save(self.path, state)

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
        settings = self.known(settings, net)
        other = differences(found, settings)
        more = self.longer and found.get("steps", 0) < settings["steps"]
        if other and not (more and list(other) == ["steps"]):
            told = "; ".join(other.values())
            raise ValueError(
                f"{self.path} belongs to another training ({told}): delete the file, "
                "or name another one"
            )
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        if more:
            walk(schedule, state["history"][-1]["step"])
        else:
            schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        return state["history"], state["best"]

    def known(self, settings, net):
        """All that must be the same: settings, `same`, the number of parameters."""
        count = sum(p.numel() for p in net.parameters())
        return settings | self.same | dict(parameters=count)


def walk(schedule, steps):
    """Bring a new schedule to where it is after so many steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer has taken these steps
        for _ in range(steps):
            schedule.step()
