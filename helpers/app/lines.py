"""How a command line speaks: a line for each thing, a line for each refusal."""

import os
import re
import sys
import warnings
from contextlib import contextmanager

import typer

# What the readers of pictures call a setting, and what the command line calls it.
OPTIONS = {
    "Binary()": "no option",
    "Classes(K)": "--classes K",
    "Mapping({value or colour: class})": "--colours FILE",
    "Mapping({value: class})": "--colours FILE",
    "Mapping({number: class})": "numbers in --colours FILE",
    "Mapping({(r, g, b): class})": "--colours FILE",
    "Mapping({0: 0, 1: 1, 255: 255})": "--colours FILE",
    "Instances()": "--instances",
    "as class 255 if it is to be ignored": "as ignore if it is not to count",
    "as in span=(0, 4095)": "as in --span 0 4095",
    "stacks=True": "--stacks",
    " (nifti.Volumes)": "",
    "set PIL.Image.MAX_IMAGE_PIXELS = None": "set PIL.Image.MAX_IMAGE_PIXELS = None in "
    "Python and call helpers.app.cli.main(['predict', ...])",
}


class Stopped(Exception):
    """A Ctrl-C, with what there is to say about it."""


def run(app, argv, name):
    """Run a Typer app; return its exit status: 0, 1, 2 (refused) or 130 (stopped).

    Whatever a user can mend is told in one line on stderr, without a traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the console cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        with one_line_warnings():
            status = app(argv, standalone_mode=False, prog_name=name)
        if status == 130:  # Typer's own word for a Ctrl-C
            say("stopped", sys.stderr)
        return status or 0
    except (Stopped, typer.Abort) as stop:
        say(str(stop) or "stopped", sys.stderr)
        return 130
    except typer.TyperException as error:
        text = error.format_message().removesuffix(".")
        print("error:", f"{text} (--help lists what there is)", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        problem, status = error, 2
    except FloatingPointError as error:
        problem, status = error, 1
    except (MemoryError, RuntimeError) as error:
        if not of_memory(error):
            raise
        why = one_line(error) or "MemoryError"
        way_out = "take smaller pictures, a smaller --crop or a smaller --batch"
        problem, status = f"there is not enough memory ({why}): {way_out}", 1
    print("error:", one_line(problem), file=sys.stderr)
    return status


def of_memory(error):
    """Whether an error says that memory ran out, as Python or as PyTorch says it."""
    said = str(error)
    short = "allocate memory" in said or "out of memory" in said
    return isinstance(error, MemoryError) or short


def laid_out(text):
    """A help text whose indented commands keep their lines (click's mark for it)."""
    return text.replace("\n\n    ", "\n\n\b\n    ")


def one_line(message):
    """A message in one line, with the words of the command line."""
    text = "; ".join(str(message).strip().splitlines())
    text = " ".join(text.split())
    text = re.sub(r"Binary\(cut=(.*?)\)", r"--cut \1", text)
    for name, option in OPTIONS.items():
        text = text.replace(name, option)
    return text


@contextmanager
def one_line_warnings():
    """Within this block a warning is one line on stderr, without its place."""

    def show(message, *_, **__):
        say(f"note: {one_line(message)}", sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield


def say(text, file=None):
    """Print a line, once: of several processes, only the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=file, flush=True)


def many(n, noun):
    """A number and its noun: 1 picture, 2 pictures."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
