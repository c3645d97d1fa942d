"""One training in several processes, or on a GPU: `training.fit(engine=Engine())`.

Every process goes through the same loop with the same random numbers. Each takes its
share of a batch, and Accelerate averages their gradients, so that all take one step.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

import psutil
import torch

from helpers import memory
from helpers.training import crop_to, main_map

BOOK = Path(__file__).resolve().parents[2]


class Engine:
    """All that there is: a GPU, and every process that torchrun launched.

    `fit` calls `prepare` once, then the step that it returns, and `from_main` after
    each validation and where a training goes on. `finish` gives the network back as it
    was. Accelerate's own settings hold, such as the environment's
    ACCELERATE_MIXED_PRECISION=bf16. `watch(history, best)` is called in every process
    just then, and may end the training by an error of its own. Raises ValueError where
    Accelerate does not see all processes.
    """

    def __init__(self, watch=None):
        from accelerate import Accelerator

        self.watch = watch
        # Without a GPU for each process, Accelerate (1.15) must be told to stay on the
        # processor. Else it silently makes of each process a training of its own.
        here = launched("LOCAL_WORLD_SIZE")
        cpu = 1 < here and torch.cuda.device_count() < here
        self.accelerator = Accelerator(cpu=cpu)
        self.processes = self.accelerator.num_processes
        self.device = self.accelerator.device
        self.is_main = self.accelerator.is_main_process
        if self.processes != launched("WORLD_SIZE"):
            raise ValueError(
                f"{launched('WORLD_SIZE')} processes were launched and Accelerate sees "
                f"{self.processes}: each would train for itself"
            )

    def prepare(self, net, optimizer):
        """Bring the network to this process's device; return what takes a step."""
        self.model, self.optimizer = self.accelerator.prepare(net, optimizer)
        return self.step

    def step(self, net, images, masks, loss, optimizer):
        """`training.train_step` for this process's share of the batch.

        `net` lies inside the prepared model. Returns the mean loss of all processes.
        The batch is augmented already: all processes drew for it what one would draw.
        """
        images, masks = self.share(images), self.share(masks)
        answer = self.model(images)
        value = loss(answer, crop_to(masks, main_map(answer)))
        mean = self.accelerator.reduce(value.detach(), "mean")
        self.optimizer.zero_grad()
        self.accelerator.backward(value)
        self.optimizer.step()
        return mean.item()

    def share(self, batch):
        """This process's part of a tensor (N, ...), on this process's device."""
        size = share_size(len(batch), self.processes)
        first = size * self.accelerator.process_index
        return batch[first : first + size].to(self.device)

    def from_main(self, *values):
        """The main process's values, which all wait for, and its random numbers."""
        if self.processes > 1:
            from accelerate.utils import broadcast_object_list

            *values, random = broadcast_object_list([*values, torch.get_rng_state()])
            torch.set_rng_state(random)  # validation draws: augmentation would differ
        if self.watch:
            self.watch(*values)
        return values

    def finish(self):
        """Undo what `prepare` did to the network, such as mixed precision; part."""
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.accelerator.end_training()


def share_size(batch, processes):
    """How much of a batch each process takes; ValueError where it does not come out."""
    if batch % processes:
        below = max(batch // processes, 1) * processes
        raise ValueError(
            f"a batch of {batch} cannot be shared by {processes} processes: they must "
            f"divide it; {below} and {below + processes} work"
        )
    return batch // processes


def launched(name="WORLD_SIZE"):
    """How many processes torchrun started, in all or on this machine; alone, 1."""
    return int(os.environ.get(name, 1))


def launch(processes, *command, seconds=120):
    """Run `python COMMAND` as several processes of this machine, by torchrun.

    Each stays on the processor, with one thread, so that one and several can be
    compared; each finds the book from any folder. Returns what `subprocess` knows at
    the end: returncode, stdout, stderr. After `seconds` all of them are ended, and
    TimeoutExpired is raised with a note of where each one stood.
    """
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    several = [*torchrun, str(processes)] if processes > 1 else []
    path = os.pathsep.join(filter(None, [str(BOOK), os.environ.get("PYTHONPATH")]))
    alike = dict(OMP_NUM_THREADS="1", ACCELERATE_USE_CPU="true", PYTHONPATH=path)
    alike["PYTHONFAULTHANDLER"] = "1"  # who is aborted prints where it stood
    memory.give_back()  # before others need it
    # Into files: of a pipe, a process left behind by torchrun would hold the end open.
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        running = subprocess.Popen(
            [sys.executable, *several, *command],
            env=os.environ | alike,
            stdout=out,
            stderr=err,
        )
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired as late:
            parent = psutil.Process(running.pid)
            for process in [*parent.children(recursive=True), parent]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    try:
                        process.send_signal(signal.SIGABRT)
                    except ValueError:  # Windows has no such signal
                        process.kill()
            running.wait()
            late.add_note(whole(err))
            raise
        finally:
            running.terminate()  # a kill would leave the processes of torchrun behind
            running.wait()
        return subprocess.CompletedProcess(
            running.args, running.returncode, whole(out), whole(err)
        )


def whole(file):
    """All that was written to a file."""
    file.seek(0)
    return file.read()
