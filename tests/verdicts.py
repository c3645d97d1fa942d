"""The record of all verdict words of the last accepted run: notebooks/verdicts.csv.

Every run of the chapters is compared with it, and each change is printed, so that a
review sees it. `python -m tests.verdicts` writes the record anew from the stored runs.
"""

import csv
import io
import sys

from book._ext import store, tally
from helpers.app.files import write_text

RECORD = store.ROOT / "notebooks" / "verdicts.csv"
COLUMNS = ["slug", "chapter", "word"]


def rows(chapter, boxes):
    """Return the rows of the record for the verdict boxes of one chapter."""
    found = []
    for slug, box in boxes.items():
        found.append(dict(slug=slug, chapter=chapter, word=tally.word(box)))
    return found


def recorded():
    """Return the rows of the record, in the order of the book."""
    if not RECORD.exists():
        return []
    with RECORD.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def changes(old, new):
    """Return a line for each word that differs between two lists of rows."""
    before = {row["slug"]: row["word"] for row in old}
    after = {row["slug"]: row["word"] for row in new}
    chapters = {(row["chapter"], row["slug"]) for row in [*old, *new]}
    lines = []
    for chapter, slug in sorted(chapters):
        was, now = before.get(slug, "(none)"), after.get(slug, "(none)")
        if was != now:
            lines.append(f"{chapter}, {slug}: {was} -> {now}")
    return lines


def write(found):
    """Write the record, whole or not at all."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(found)
    write_text(RECORD, text.getvalue())


def stored():
    """Return the rows of all chapters' stored runs, or stop where one has none."""
    chapters, found = tally.stored(), []
    for path in store.NOTEBOOKS:
        if path.stem not in chapters:
            sys.exit(f"{path.stem} has no run in the store: make test, or make book")
        found += rows(path.stem, chapters[path.stem])
    return found


if __name__ == "__main__":
    found = stored()
    print(*changes(recorded(), found), sep="\n")
    write(found)
    print(f"{len(found)} verdicts in {RECORD.name}")
