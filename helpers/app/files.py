"""Files that are written whole or not at all."""

import json
import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path):
    """A temporary name; what was written to it takes the place of `path` at the end."""
    part = Path(f"{path}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path, text):
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path, content):
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False))


def read_json(path):
    """What such a file holds; ValueError where it cannot be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): train it again") from error


def differences(held, asked):
    """{key: words} of what two tables of settings do not agree in."""
    found = {}
    for key in asked | held:
        if held.get(key) != asked.get(key):
            found[key] = f"{key} {held.get(key)}, not {asked.get(key)}"
    return found
