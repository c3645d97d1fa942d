"""The command line of the six real sets: what there is, and put one in place.

    python -m helpers.app.real list
    python -m helpers.app.real fetch hc18
    python -m helpers.app.real fetch hc18 --from FOLDER

`fetch` says first where the pictures come from, on what terms, and how much it will
be. It takes them with git, from the commit that is named in real.toml, and goes on
where it was interrupted; what git brings is checked by git's own sums, what is made of
it by real_sums.txt. FOLDER is a copy of the origin's repository, or a folder in which a
set lay in place. Pictures then lie below downloads/real, which git ignores. A refusal
is one line, with exit status 2, and leaves nothing half written in place.
"""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from helpers import real
from helpers.app import lines
from helpers.app.lines import say
from helpers.app.prepare import prepare

app = typer.Typer(
    help=lines.laid_out(__doc__), add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
)  # fmt: skip
AT_ONCE = 500  # files in one order to git: as much is asked for again at the most


def main(argv=None):
    """Run the command line; return its exit status."""
    return lines.run(app, argv, "python -m helpers.app.real")


@app.command("list")
def show():
    """The sets, and which are in place."""
    for name, facts in real.FACTS.items():
        size = f"{facts['pairs']} pairs, {facts['mib']} MiB"
        place = "in place" if real.ready(name) else f"{facts['fetched_mib']} to fetch"
        say(f"{name:12} {size:20} {place:13} {facts['title']}; {facts['licence']}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help=", ".join(real.FACTS), metavar="NAME")],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="take it from this folder, not the internet"),
    ] = None,
):
    """Put a set in place, unless it is."""
    try:
        put_in_place(name, source)
    except KeyboardInterrupt:
        raise lines.Stopped("stopped; the same command goes on") from None


def put_in_place(name, source):
    """Fetch or copy a set, say where from, and prepare it."""
    facts, target = real.fact(name), real.ROOT / name
    if real.ready(name):
        say(f"{name} is in place: {target}")
        return
    say(about(name, source))
    made = True
    if source:
        source, made = tree(name, source)
        room(facts["mib"])
    else:
        room(facts["mib"] + 2 * facts["fetched_mib"])  # packed and unpacked
        source = bring(name)
    part = real.ROOT / f"{name}.part"
    shutil.rmtree(part, ignore_errors=True)  # of an interrupted preparation: seconds
    try:
        prepare(name, source, part, made)
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(clone_of(name), ignore_errors=True)
    say(f"{target}: {facts['pairs']} pairs, content {real.checksum(name)}")


def about(name, source):
    """What a reader should know before anything is fetched."""
    facts = real.FACTS[name]
    size = f"about {facts['fetched_mib']} MiB" if not source else f"here {source}"
    told = [
        f"{name}: {facts['title']}, {facts['pairs']} pairs, {facts['mib']} MiB",
        f"from: {facts['url']}, commit {facts['commit']}, {facts['folder']}; {size}",
        f"licence: {facts['licence']}. Pictures may be shown: {facts['shown']}",
        f"cite: {facts['citation']}",
    ]
    if "doi" in facts:
        told.append(f"data: https://doi.org/{facts['doi']}")
    whole = dict(break_on_hyphens=False, break_long_words=False)  # an address stays so
    wrap = textwrap.TextWrapper(88, subsequent_indent="  ", **whole)
    return "\n".join(map(wrap.fill, told))


def room(mib):
    """Refuse where the disk has no room for so many MiB; make the folder."""
    real.ROOT.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(real.ROOT).free / 2**20
    if free < mib:
        raise ValueError(
            f"{real.ROOT} has {free:.0f} MiB free, and {mib} are needed: make room"
        )


def tree(name, folder):
    """Where the set lies in a reader's folder, and whether it is still to be made.

    Raises FileNotFoundError where it does not lie there.
    """
    facts = real.FACTS[name]
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: check the path")
    origin = folder / facts["folder"]
    if origin.is_dir():
        if (folder / ".git").exists():
            same_commit(folder, facts["commit"])
        return origin, True
    first = real.paths(name, next(iter(real.sums(name))), folder)[0]
    if first.parent.is_dir():
        return folder, False
    raise FileNotFoundError(
        f"{folder} holds neither {facts['folder']} (as {facts['url']} does) nor "
        f"{first.parent.relative_to(folder)} (as a set in place does)"
    )


# --- git --------------------------------------------------------------------------


def bring(name):
    """Fetch a set with git, or go on with it: the set's folder as it is there."""
    facts, clone = real.FACTS[name], clone_of(name)
    if not clone.exists():
        new = Path(f"{clone}.new")
        shutil.rmtree(new, ignore_errors=True)
        # The list of all files, and none of them.
        git(".", "clone", "-q", "--filter=blob:none", "-n", facts["url"], str(new))
        os.replace(new, clone)
    commit = full_hash(clone, facts)
    listing = git(clone, "ls-tree", "-r", commit, f"{facts['folder']}/").splitlines()
    ids = []
    for line in listing:
        ids.append(line.split()[2])  # mode, type, hash, path
    for start in range(0, len(ids), AT_ONCE):
        wanted = "\n".join(ids[start : start + AT_ONCE])
        git(clone, "fetch", "-q", "--stdin", *LEAN, "origin", text=wanted)
        say(f"{min(start + AT_ONCE, len(ids))} of {len(ids)} files")
    git(clone, "checkout", "-q", commit, "--", facts["folder"])
    return clone / facts["folder"]


LEAN = ("--filter=blob:none", "--no-tags", "--no-write-fetch-head", "--refmap=")


def clone_of(name):
    """Where the clone of a set's origin lies until the set is in place."""
    return real.ROOT / f"{name}.git.part"


def full_hash(clone, facts):
    """The commit of a set in a clone; ValueError where it is not there."""
    wanted = facts["commit"]
    try:
        found = git(clone, "rev-parse", "--verify", "-q", f"{wanted}^{{commit}}")
    except OSError as error:
        what = f"{facts['url']} has no commit {wanted}"
        raise ValueError(f"{what}: take the set from a folder, with --from") from error
    return found.strip()


def same_commit(folder, wanted):
    """Refuse a copy of the origin in which another commit is checked out."""
    found = git(folder, "rev-parse", "HEAD").strip()
    if not found.startswith(wanted):
        way_out = f"git -C {folder} checkout {wanted}"
        raise ValueError(f"{folder} is at commit {found}, not {wanted}: {way_out}")


def git(folder, *words, text=None):
    """What git says; OSError with its last words where it fails."""
    command = ["git", "-C", str(folder), *words]
    settings = os.environ | dict(GIT_TERMINAL_PROMPT="0", LC_ALL="C")
    pipes = dict(capture_output=True, text=True, input=text, env=settings)
    try:
        done = subprocess.run(command, **pipes)
    except FileNotFoundError as error:
        raise OSError("git is needed to fetch, and is not there: install it") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise OSError(
            f"git {words[0]} failed ({last}): look at the connection and repeat the "
            "command, which goes on, or take the set from a folder, with --from"
        )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
