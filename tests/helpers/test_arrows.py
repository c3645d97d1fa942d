"""Which room may know which: notebooks -> helpers -> libraries, app -> helpers."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HELPERS = sorted((ROOT / "helpers").glob("[!_]*.py"))
CHAPTERS = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


def imported(source):
    """The dotted names that a module imports, such as helpers.data."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", HELPERS, ids=lambda path: path.stem)
def test_a_helper_knows_no_chapter_no_app_and_no_test(path):
    source = path.read_text(encoding="utf-8")
    for name in imported(source):
        assert not re.match(r"(helpers\.app|helpers\.chapters|tests|book)\b", name)
    if path.stem != "chapters":  # it alone reads notebooks
        assert "import_module" not in source and ".ipynb" not in source
        assert not [chapter for chapter in CHAPTERS if chapter in source]


def test_no_chapter_before_the_last_ones_imports_the_app():
    for chapter in CHAPTERS:
        text = (ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8")
        if chapter < "09":
            assert "helpers.app" not in text and "from helpers import app" not in text
