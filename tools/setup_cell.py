# Finds the book; in Colab, fetches it and the packages that Colab lacks.
import importlib.metadata as packages
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

BOOK = "{url}"
NEEDS = """{needs}"""
COLAB = "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ


def run(aim, *command):
    if subprocess.run(command, capture_output=True).returncode:
        sys.exit(f"Could not {aim}. Check the network and run the cell again.")


start, clone = time.time(), Path.cwd() / BOOK.split("/")[-1]
root = [p for p in [clone, *clone.parents] if (p / "_config.yml").exists()]
if COLAB and not root:
    part = clone.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)  # left by an interrupted run
    os.environ["GIT_TERMINAL_PROMPT"] = "0"  # fail rather than ask who we are
    git = ["git", "clone", "--depth=1", "--branch={branch}", BOOK, part]
    run(f"fetch {BOOK}", *git)
    root = [part.rename(clone)]
have = {package.name for package in packages.distributions()}
lacking = [name for name in NEEDS.split() if COLAB and name not in have]
if lacking:  # what is there, torch and numpy above all, stays as it is
    keep = [f"{name}=={packages.version(name)}" for name in ("numpy", "torch")]
    pip = [sys.executable, "-m", "pip", "install", *lacking, *keep]
    run(f"install {', '.join(lacking)}", *pip)
if not root:
    sys.exit(f"The book is not around this notebook: git clone {BOOK}")
sys.path.insert(0, str(root[0]))
if COLAB:
    done = f"installed {', '.join(lacking) or 'nothing'}"
    print(f"Book in {root[0]}, {done}: {time.time() - start:.0f} s.")
