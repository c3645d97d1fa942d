"""Files that are written whole or not at all."""

import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

PART = ".part-"  # so begin the names of folders in which a file is being written


@contextmanager
def whole(path):
    """A temporary file; what was written to it takes the place of `path` at the end.

    It has the same name, since some writers go by the ending, in a folder of its own
    beside `path`. Raises OSError, with the name of `path`, for a full disk and where
    nothing may be written.
    """
    path = Path(path)
    beside = dict(prefix=PART, dir=path.parent, ignore_cleanup_errors=True)
    try:
        with TemporaryDirectory(**beside) as folder:
            part = Path(folder, path.name)
            yield part
            os.replace(part, path)
    except OSError as error:
        # A full disk names no file, and the temporary name would tell nothing.
        if error.errno and PART in str(error.filename or PART):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def save(path, content):
    """`torch.save`, whole or not at all; OSError where it cannot be written."""
    import torch  # not above: --help comes without it

    with whole(path) as part:
        try:
            torch.save(content, part)
        except RuntimeError as error:  # so torch tells of a disk that is full
            why = str(error).splitlines()[0]
            what = f"{path} cannot be written ({why})"
            raise OSError(f"{what}: is the disk full?") from error


def write_text(path, text):
    """Write a text, whole or not at all; OSError where it cannot be written.

    Its lines end alike on every system.
    """
    with whole(path) as part:
        # A name that is no UTF-8 becomes \udc.., which JSON reads back as it was.
        how = dict(encoding="utf-8", errors="backslashreplace", newline="\n")
        part.write_text(text, **how)


def write_json(path, content):
    """Write plain values, as `write_text` does."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False))


def read_json(path, *keys):
    """The table in such a file; ValueError where it cannot be read or lacks a key."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): train it again") from error
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            raise ValueError(f"{path} is damaged, it lacks {key!r}: train it again")
    return content


def short_sum(text):
    """A number of a text, in 16 letters."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(held, asked):
    """{key: words} of what two tables of settings do not agree in."""
    found = {}
    for key in asked | held:
        if held.get(key) != asked.get(key):
            found[key] = f"{key} {held.get(key)}, not {asked.get(key)}"
    return found
