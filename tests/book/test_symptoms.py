"""The page of symptoms: its checks run, and its links lead to sections."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from helpers import chapters
from helpers.app.cli import main
from tests.helpers.lines import TINY, write_photos

PAGE = Path(__file__).resolve().parents[2] / "book" / "symptoms.md"
TEXT = PAGE.read_text(encoding="utf-8")
SMALL = "--set widths=4,8,16 --steps 5 --batch 2 --crop 32"


def slugs(text):
    """The addresses of the headings in some Markdown, as MyST makes them."""
    found = set()
    for title in re.findall(r"(?m)^#+ (.+)$", text):
        title = re.sub(r"[^\w\- ]", "", title.lower())
        found.add(title.strip().replace(" ", "-"))
    return found


def sections(name):
    """The addresses in a chapter, or on this page."""
    if not name:
        return slugs(TEXT)
    notebook = nbformat.read(chapters.NOTEBOOKS / name, as_version=4)
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return slugs("\n".join(prose))


def test_every_link_leads_to_a_section():
    links = re.findall(r"\]\((?:\.\./notebooks/)?([\w.]*)#([\w-]+)\)", TEXT)
    assert len(links) > 40
    for name, place in links:
        assert place in sections(name), f"{name}#{place}"


def test_every_symptom_has_a_check_or_names_one_and_a_link():
    parts = re.split(r"(?m)^## ", TEXT)[1:]
    assert len(parts) == 11
    for part in parts:
        assert "ipynb#" in part, part.splitlines()[0]
        assert "```" in part or "`inspect`" in part, part.splitlines()[0]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """What the page takes for granted: pictures, masks, trainings, an answer."""
    monkeypatch.chdir(tmp_path)
    Path("new").mkdir()
    write_photos(6, images="images", masks="masks")
    write_photos(6, 44, images="new/images", masks="new/masks")
    for path in list(Path().rglob("*.png")):
        path.rename(path.with_name(f"site{path.name}"))
    line = f"train {TINY} --crop 32 --out run --images images --masks masks"
    assert main(line.split()) == 0
    shutil.copytree("run", "run_2")
    Path("kinds.toml").write_text("ground = 0\nobject = 255")
    Image.open("images/site0.png").save("photo.jpg")
    shutil.copy("masks/site0_mask.png", "truth.png")
    line = "predict --model run/model.pt --image photo.jpg --out found.png"
    assert main(line.split()) == 0


def test_the_checks_run(data, capsys):
    commands = re.findall(r"(?m)^\.venv/bin/python -m helpers\.app (.+)$", TEXT)
    blocks = re.findall(r"(?s)```python\n(.*?)```", TEXT)
    assert len(commands) >= 5 and len(blocks) >= 12
    for line in commands:
        own = SMALL if line.startswith("train --network") else ""
        words = f"{line} {own}".replace('"', "").split()
        known = 1 if words[0] == "inspect" else 0  # something may be odd
        assert main(words) <= known, line
    names = {}
    capsys.readouterr()
    for block in blocks:
        exec(block, names)
        assert capsys.readouterr().out or block is blocks[0], block
        lines = [line for line in block.splitlines() if line.strip()]
        assert len(lines) <= 4 or block is blocks[0], block
