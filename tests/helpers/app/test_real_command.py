"""The command line of the real sets: from a folder, with git, and what is refused.

The internet is a repository that the test makes, so git is asked for real.
"""

import re
import shutil
import subprocess
import sys

import pytest

from helpers import real
from helpers.app import parallel
from helpers.app import real as command
from tests.helpers import trees


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Small sets, none of them in place, and addresses that lead nowhere."""
    trees.few(monkeypatch, tmp_path)
    for facts in real.FACTS.values():
        facts["url"] = f"file://{tmp_path}/nowhere"
    yield tmp_path
    real.sums.cache_clear()
    real.load.cache_clear()


def run(*words):
    return command.main([str(word) for word in words])


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    order = ["git", "-C", str(folder), *who, *words]
    done = subprocess.run(order, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def published(folder):
    """A function: the origin of a set as a repository; its contents and folder."""

    def publish(name):
        origin = folder / "origin"
        found = trees.origin(name, origin)
        shutil.rmtree(origin / "prepared", ignore_errors=True)
        git(folder, "init", "-q", str(origin))
        git(origin, "add", ".")
        git(origin, "commit", "-q", "-m", "the set")
        facts = real.FACTS[name]
        facts["commit"] = git(origin, "rev-parse", "HEAD")[:8]
        (origin / "later.txt").write_text("a later commit")
        git(origin, "add", ".")
        git(origin, "commit", "-q", "-m", "later")
        for right in ("allowFilter", "allowAnySHA1InWant"):
            git(origin, "config", f"uploadpack.{right}", "true")
        facts["url"] = f"file://{origin}"
        return found, origin

    return publish


def left():
    """What lies below downloads/real."""
    return sorted(path.name for path in real.ROOT.glob("*"))


# --- what it does -----------------------------------------------------------------


def test_list_names_all_and_says_what_is_in_place(capsys):
    trees.write("hc18", real.ROOT / "hc18")
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(real.FACTS)
    placed = [line.split()[0] for line in lines if "in place" in line]
    assert placed == ["hc18"]
    assert "CC0" in lines[1] and "85 to fetch" in lines[1]


@pytest.mark.parametrize("name", ["dsb2018", "isbi_em"])
def test_fetch_with_git(published, capsys, name):
    found, _ = published(name)
    assert run("fetch", name) == 0
    out = capsys.readouterr().out
    terms, _, work = out.partition("files\n")  # the first thing that is fetched
    for fact in ("url", "commit", "licence", "shown"):
        assert real.FACTS[name][fact] in " ".join(terms.split())
    assert work == f"{real.ROOT / name}: 4 pairs, content {real.checksum(name)}\n"
    assert left() == [name]
    for pair in found:
        real.read(name, pair, real.ROOT / name)
    assert run("fetch", name) == 0
    assert capsys.readouterr().out == f"{name} is in place: {real.ROOT / name}\n"


def test_fetch_goes_on_where_it_was_interrupted(published, monkeypatch, capsys):
    published("isbi_em")
    monkeypatch.setattr(command, "AT_ONCE", 3)

    def ctrl_c(text, file=sys.stdout):
        print(text, file=file)
        if text == "6 of 8 files":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "say", ctrl_c)
        assert run("fetch", "isbi_em") == 130
    assert capsys.readouterr().err == "stopped; the same command goes on\n"
    assert left() == ["isbi_em.git.part"]
    asked = []

    def noted(folder, *words, git=command.git, **more):
        asked.append(words[0])
        return git(folder, *words, **more)

    monkeypatch.setattr(command, "git", noted)
    assert run("fetch", "isbi_em") == 0
    assert "clone" not in asked and left() == ["isbi_em"]


@pytest.mark.parametrize("name", list(real.FACTS))
def test_from_a_copy_of_the_origin_and_from_a_set_in_place(folder, capsys, name):
    found = trees.origin(name, folder / "copy")
    assert run("fetch", name, "--from", folder / "copy") == 0
    assert left() == [name]
    real.ROOT.joinpath(name).rename(folder / "placed")
    assert run("fetch", name, "--from", folder / "placed") == 0
    for pair in found:
        real.read(name, pair, real.ROOT / name)


def test_a_copy_of_the_origin_at_the_pinned_commit(published):
    _, origin = published("camvid")
    git(origin, "checkout", "-q", real.FACTS["camvid"]["commit"])
    assert run("fetch", "camvid", "--from", origin) == 0


# --- refused ----------------------------------------------------------------------


def refused(capsys, *words):
    """The line of an order that is refused; nothing is in place."""
    before = left()
    assert run(*words) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert left() == before
    return err


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], "Missing command"),
        (["fetch"], "Missing argument 'NAME'"),
        (["fetch", "pv"], "no set 'pv'; there are pv_el_cells, dsb2018"),
        (["fetch", "hc18", "--form", "x"], "No such option: --form"),
        (["fetch", "hc18", "--from", "nowhere"], "nowhere is not a folder: check"),
    ],
)
def test_orders_that_make_no_sense(capsys, words, answer):
    assert answer in refused(capsys, *words)


def test_no_network(capsys):
    answer = refused(capsys, "fetch", "hc18")
    assert "git clone failed (" in answer and "--from" in answer


def test_no_git(capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "git is needed to fetch" in refused(capsys, "fetch", "hc18")


def test_a_commit_that_the_origin_does_not_have(published, capsys):
    published("isbi_em")
    real.FACTS["isbi_em"]["commit"] = "0123abcd"
    assert run("fetch", "isbi_em") == 2
    assert "nowhere" not in left() and not real.ready("isbi_em")
    assert "has no commit 0123abcd" in capsys.readouterr().err


def test_a_copy_at_another_commit(published, capsys):
    _, origin = published("isbi_em")
    answer = refused(capsys, "fetch", "isbi_em", "--from", origin)
    head, wanted = git(origin, "rev-parse", "HEAD"), real.FACTS["isbi_em"]["commit"]
    assert f"is at commit {head}, not {wanted}: git -C {origin} checkout" in answer


def test_no_room_on_the_disk(folder, capsys, monkeypatch):
    trees.write("hc18", folder / "placed")

    class Full:
        free = 5 * 2**20

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: Full)
        answer = refused(capsys, "fetch", "hc18", "--from", folder / "placed")
    assert "has 5 MiB free, and 13 are needed" in answer

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    answer = refused(capsys, "fetch", "hc18", "--from", folder / "placed")
    assert "No space left on device" in answer


def test_a_folder_with_something_else(folder, capsys):
    trees.write("hc18", folder / "placed")
    answer = refused(capsys, "fetch", "hc18", "--from", folder)
    assert "holds neither training_set (as file://" in answer
    assert "nor images (as a set in place does)" in answer


def test_a_file_that_is_missing_leaves_nothing(folder, capsys):
    trees.write("hc18", folder / "placed")
    (folder / "placed" / "labels" / "003_HC.png").unlink()
    answer = refused(capsys, "fetch", "hc18", "--from", folder / "placed")
    assert re.search(r"placed/labels/003_HC.png is missing", answer)
    assert left() == []


def test_what_is_made_of_another_origin_is_not_put_in_place(published, capsys):
    published("isbi_em")
    real.SUMS.write_text(real.SUMS.read_text().replace("isbi_em/29 ", "isbi_em/29 0"))
    real.sums.cache_clear()
    assert run("fetch", "isbi_em") == 2
    assert "the content is another" in capsys.readouterr().err
    assert left() == ["isbi_em.git.part"]


def test_the_module_runs_and_returns_its_status():
    order = [sys.executable, "-m", "helpers.app.real", "fetch", "pv"]
    output = dict(capture_output=True, text=True, timeout=60)
    done = subprocess.run(order, cwd=parallel.BOOK, **output)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: there is no set 'pv'; there are ")
