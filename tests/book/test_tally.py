"""The verdicts that pages quote from the stored runs."""

import copy
import subprocess
import sys

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output

from book._ext import store, tally
from helpers import page, survival
from tests import verdicts

LINE = dict(label="1,000 steps", low=0.01, high=0.05, mean=0.03, margin=0.03)


@pytest.fixture
def outputs(monkeypatch):
    """A list that takes what a page shows or glues."""
    shown = []

    def keep(bundle, raw, metadata):
        shown.append(new_output("display_data", bundle, metadata=metadata))

    monkeypatch.setattr(page, "display", keep)
    return shown


@pytest.fixture
def run(outputs):
    """An executed notebook with three verdict boxes and a value."""
    lines = [LINE | dict(text="0.7 against 0.6")]
    page.verdict("skips", "Skips <help>.", "holds", "numbers", lines)
    page.verdict("sizes", "388, not 384.", "does not hold here", "counted")
    page.verdict("far", "It sees far.", "undecided", "Not recorded yet: make bench.")
    page.glue("run_seconds", 12)
    return new_notebook(cells=[new_code_cell("", outputs=outputs)])


@pytest.fixture
def chapters(run):
    return {"02_unet": tally.boxes(run)}


def test_each_box_is_found_with_its_word(run):
    words = {slug: tally.word(box) for slug, box in tally.boxes(run).items()}
    expected = dict(skips="holds", sizes="does not hold here", far="undecided")
    assert words == expected


def test_the_table_has_a_row_for_each(chapters):
    rows = BeautifulSoup(tally.table(chapters), "html.parser").select("tbody tr")
    told = [[cell.text for cell in row("td")] for row in rows]
    assert told == [
        ["Skips <help>.", "02", "✓ holds", "1,000 steps: 0.7 against 0.6"],
        ["388, not 384.", "02", "✗ does not hold here", "counted or measured"],
        ["It sees far.", "02", "? undecided", "not recorded yet"],
    ]
    assert rows[0].a["href"] == "#verdict_skips" and rows[0]["data-chapter"] == "02"


def test_a_row_knows_which_networks_it_is_about():
    told = tally.named("Test IoU, ResUNet against U-Net; Inception-U-Net", "FCN")
    assert told == ["FCN", "U-Net", "ResUNet", "Inception-U-Net"]
    assert tally.named("U²-Net against U-Net + input norm", None) == ["U²-Net"]
    assert tally.named("a 3-D U-Net", "V-Net") == ["V-Net"]


def test_what_chapter_08_would_withdraw_is_marked(chapters, outputs):
    page.glue("withdrawn", "skips skips")
    lineage = new_notebook(cells=[new_code_cell("", outputs=outputs)])
    assert tally.withdrawn(lineage) == ["skips", "skips"]
    assert tally.withdrawn(new_notebook()) == []
    marked = copy.deepcopy(chapters)
    tally.mark(marked, ["skips", "far"])  # what is undecided has nothing to withdraw
    rows = BeautifulSoup(tally.table(marked), "html.parser").select("tbody tr")
    told = [row.find_all("td")[2].text for row in rows]
    assert told == ["✓ holds †", "✗ does not hold here", "? undecided"]
    assert tally.answer({}, marked, "word", "skips") == "holds †"
    assert tally.answer({}, marked, "zh", "skips").startswith("成立 †")
    counted = BeautifulSoup(tally.count(marked), "html.parser")("li")
    assert counted[-1].text == f"1 {tally.KINDS[tally.DAGGER][tally.ENGLISH]}"


def test_the_kinds_are_counted(chapters):
    items = BeautifulSoup(tally.count(chapters), "html.parser")("li")
    told = [item.text for item in items]
    assert told == ["1 hold", "1 do not hold here", "1 are undecided"]


def test_what_was_tried_on_real_pictures_too_is_told_in_signs(outputs):
    held = LINE | dict(word="holds", steps=250)
    gone = LINE | dict(word="does not hold here", steps=600)
    drawn = [("", [held])]
    nuclei = "the pictures are nuclei <dim>", [held, gone]
    row = survival.row(dict(claim="A < B."), drawn, [nuclei, ("", [held])])
    head = '<thead><tr><th scope="col">claim</th></tr></thead>'
    whole = f"<div><table>{head}<tbody>{row}</tbody></table></div>"
    page.glue("drawn_and_real", page.HTML(whole), show=True)
    notebook = new_notebook(cells=[new_code_cell("", outputs=outputs)])
    table = BeautifulSoup(tally.real(notebook), "html.parser").table
    assert str(table.thead) == head and table["class"] == ["survived"]
    told = table.tbody
    assert told.th.text == "A < B."
    fields = [field.get_text() for field in told("td")]
    assert fields == ["✓", "–", "✗ ✓"]
    sign = told.find(class_="verdict-fails")
    assert sign["title"] == "nuclei <dim> ✗ does not hold here (600 steps)"


def test_a_chinese_page_tells_word_and_numbers(outputs):
    text = "0.7 ± 0.1 against 0.6 ± 0.1: +0.131 (+0.121 to +0.141), n = 5"
    page.verdict("one", "One.", "holds", "", [LINE | dict(text=text)])
    several = LINE | dict(text=text, label="it is new, 1,000 steps")
    page.verdict("two", "Two.", "holds", "", [several])
    found = tally.boxes(new_notebook(cells=[new_code_cell("", outputs=outputs)]))
    told = "成立（1,000 步：差 +0.131，區間 +0.121 至 +0.141）"
    assert tally.chinese(found["one"]) == told
    assert tally.chinese(found["two"]) == "成立"  # of one condition of several
    items = BeautifulSoup(tally.count({"02": found}, tally.CHINESE), "html.parser")(
        "li"
    )
    assert [item.text for item in items] == ["2 成立"]


def test_every_word_is_of_a_kind():
    assert set(tally.KINDS) - {tally.DAGGER} == set(page.WORDS)


def test_a_page_gets_what_it_asks_for(run, monkeypatch):
    monkeypatch.setattr(tally, "executed", lambda: {"02_unet": run})
    source = ["<!-- verdicts: zh sizes -->, <!-- verdicts: zh none -->; <!-- -->"]
    tally.fill(None, "book/zh_tw", source)
    assert source == ["在此不成立, （尚未執行）; <!-- -->"]
    source = ["**<!-- verdicts: word sizes -->**, <!-- verdicts: word none -->"]
    tally.fill(None, "book/intro", source)
    assert source == ["**does not hold here**, not run yet"]
    with pytest.raises(KeyError):
        tally.fill(None, "book/ledger", ["<!-- verdicts: tabel -->"])


def test_a_new_a_lost_and_another_word_are_told():
    def row(slug, word):
        return dict(slug=slug, chapter="02", word=word)

    old = [row("a", "holds"), row("b", "holds"), row("c", "holds")]
    new = [row("b", "undecided"), row("c", "holds"), row("d", "holds")]
    assert verdicts.changes(old, new) == [
        "02, a: holds -> (none)",
        "02, b: holds -> undecided",
        "02, d: (none) -> holds",
    ]


def test_the_boxes_come_from_the_store(run, monkeypatch, tmp_path):
    path = tmp_path / "02_unet.ipynb"
    nbformat.write(run, path)
    monkeypatch.setattr(store, "FOLDER", tmp_path / "store")
    monkeypatch.setattr(store, "NOTEBOOKS", [path, tmp_path / "03_vnet.ipynb"])
    nbformat.write(new_notebook(), tmp_path / "03_vnet.ipynb")
    store.store(path, run, execution_seconds=1, fingerprint="a")
    found = tally.stored()
    assert list(found) == ["02_unet"] and "skips" in found["02_unet"]


def test_it_does_without_torch():
    code = "import sys, book._ext.tally; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=store.ROOT).returncode == 0
