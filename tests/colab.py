"""A Colab to try the notebooks in: a folder of their own, and only a clone to go by.

The address in _config.yml is led to a local repository that holds the working tree
as it is now, so that the clone a notebook makes is what would be published.
"""

import os
import subprocess
from pathlib import Path

from book._ext.address import repository
from book._ext.store import ROOT


def git(*words, env=None):
    """Run git and return what it prints."""
    done = subprocess.run(
        ["git", *words], check=True, capture_output=True, text=True, env=env
    )
    return done.stdout.strip()


def publish(bare):
    """Make a bare repository whose one commit is the working tree, less ignored files.

    Everything is written to `bare`: the book's own repository is not touched.
    """
    _, branch = repository()
    # Without a caller's own, such as GIT_INDEX_FILE, which git sets for a hook.
    env = {k: text for k, text in os.environ.items() if not k.startswith("GIT_")}
    git("init", "--quiet", "--bare", f"--initial-branch={branch}", str(bare), env=env)
    here = [f"--git-dir={bare}", f"--work-tree={ROOT}"]
    for who in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{who}_NAME"] = "book"
        env[f"GIT_{who}_EMAIL"] = "book@localhost"
    git(*here, "add", "--all", str(ROOT), env=env)
    tree = git(*here, "write-tree", env=env)
    commit = git(*here, "commit-tree", tree, "-m", "The working tree", env=env)
    git(*here, "update-ref", f"refs/heads/{branch}", commit, env=env)
    return bare


def pretend(bare):
    """Return the environment variables of a Colab that finds the book in `bare`."""
    url, _ = repository()
    return {
        "COLAB_RELEASE_TAG": "test",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_DEPS": "1",  # they are all here; looking through them takes seconds
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{Path(bare).as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": url,
    }
