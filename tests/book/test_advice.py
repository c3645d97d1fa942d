"""What the cheat sheet advises rests on the record: none outlives its verdict."""

from pathlib import Path

import pytest

from tests import verdicts

ROOT = Path(__file__).resolve().parents[2]
ADVICE = [  # a piece of the cheat sheet, the claim that it rests on, and what it needs
    ("the answer lies in the neighbouring slices", "third_axis", "holds"),
    ("the U must become deep", "shortcuts", "holds"),
    ("two convolutions a level suffice", "shortcuts_shallow", "undecided"),
    ("several scales at once pay", "nuclei_sizes", "equal within 0.03"),
    ("one block must see far", "compute_reach", "holds"),
    ("a head in ultrasound", "real_u2net", "holds"),
    ("on drawn coins a border weight found the line sooner", "touching", "undecided"),
]


@pytest.mark.parametrize("piece, claim, word", ADVICE)
def test_advice_rests_on_the_word_of_the_last_accepted_run(piece, claim, word):
    sheet = (ROOT / "book" / "cheat_sheet.md").read_text(encoding="utf-8")
    assert piece in sheet, "the advice changed: does its claim still stand here?"
    words = {row["slug"]: row["word"] for row in verdicts.recorded()}
    assert words[claim] == word, f"the word on {claim} changed: does '{piece}' hold?"
