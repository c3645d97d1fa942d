"""The page of symptoms: its checks run."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from helpers.app.cli import main
from tests.helpers.lines import TINY, write_photos

PAGE = Path(__file__).resolve().parents[2] / "book" / "symptoms.md"
TEXT = PAGE.read_text(encoding="utf-8")
SMALL = "--set widths=4,8,16 --steps 5 --batch 2 --crop 32"


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
