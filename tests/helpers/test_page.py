"""What a chapter says: verdicts, glued values, progress, in a kernel and as text."""

from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from bs4 import BeautifulSoup
from IPython.core.interactiveshell import InteractiveShell
from myst_nb.core.variables import format_plain_text
from myst_nb.ext.glue import extract_glue_data
from nbclient import NotebookClient

from helpers import page

ROOT = Path(__file__).resolve().parents[2]

# --- one notebook, run in a kernel ------------------------------------------------

CELLS = dict(
    start="import numpy as np, time\n"
    "from IPython.display import HTML\n"
    "from helpers import page",
    verdict="page.verdict('skips', 'a < b & \"c\"', 'holds', '0.70 ± 0.01 > 0.60')",
    when="page.verdict('when', 'claim', 'holds when <x> is large', 'numbers')",
    none="page.verdict('none', 'claim', 'equal within 0.03', 'numbers')",
    fails="page.verdict('fails', 'claim', 'does not hold here', 'numbers')",
    hidden="page.glue('hidden', 0.5)",
    shown="page.glue('shown', HTML('<b>x</b>'), show=True)",
    numpy="page.glue('numpy', np.float64(0.25))",
    count="page.glue('count', np.int64(7))",
    text="page.glue('text', '2.00 ± 1.00')",
    say="page.say('IoU **0.5**')",
    progress="progress = page.Progress()\n"
    "progress.training([dict(step=50, loss=0.1234, score=0.678)])\n"
    "progress.start -= 65\n"
    "progress.runs(2, 9)",
    finish="page.finish()",
)


@pytest.fixture(scope="module")
def notebook():
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    made = nbformat.v4.new_notebook(cells=cells)
    place = dict(metadata=dict(path=ROOT))
    NotebookClient(made, timeout=120, kernel_name="python3", resources=place).execute()
    return made


@pytest.fixture
def outputs(notebook):
    """The outputs of each cell, by the cell's name."""
    return {name: c.outputs for name, c in zip(CELLS, notebook.cells, strict=True)}


@pytest.fixture
def glued(notebook):
    """What MyST-NB's own reader finds in the notebook; it changes what it reads."""
    copy = nbformat.from_dict(notebook)
    warnings = []
    logger = SimpleNamespace(warning=lambda *a, **_: warnings.append(a))
    data = extract_glue_data(copy, [0] * len(CELLS), logger)
    assert not warnings
    left = {name: c.outputs for name, c in zip(CELLS, copy.cells, strict=True)}
    return SimpleNamespace(data=data, left=left)


# --- verdicts ---------------------------------------------------------------------


def test_a_verdict_is_one_output_with_its_name(outputs):
    (output,) = outputs["verdict"]
    assert output.output_type == "display_data"
    assert output.metadata["scrapbook"] == dict(name="verdict_skips", mime_prefix="")
    assert set(output.data) == {"text/html", "text/plain"}


def test_a_verdict_is_escaped_and_whole(outputs):
    text = outputs["verdict"][0].data["text/html"]
    assert "a &lt; b &amp; &quot;c&quot;" in text and "a < b" not in text
    assert "0.70 ± 0.01 &gt; 0.60" in text
    assert 'id="verdict_skips"' in text and 'aria-label="Verdict: holds"' in text
    other = outputs["when"][0].data["text/html"]
    assert "holds when &lt;x&gt; is large" in other and "<x>" not in other


@pytest.mark.parametrize(
    "name, kind, sign",
    [("verdict", "holds", "✓"), ("when", "when", "◐"), ("none", "none", "≈"),
     ("fails", "fails", "✗")],
)  # fmt: skip
def test_each_word_has_its_sign_and_class(outputs, name, kind, sign):
    text = outputs[name][0].data["text/html"]
    assert f'class="verdict verdict-{kind}"' in text
    assert f'aria-hidden="true">{sign}</span>' in text


def test_the_book_has_a_style_for_each_word():
    rules = (ROOT / "book/_static/book.css").read_text(encoding="utf-8")
    assert all(f".verdict-{kind}" in rules for _, kind in page.WORDS.values())


LINES = [
    dict(low=0.1, high=0.3, mean=0.2, margin=0.03, label="250 steps", text="a < b"),
    dict(low=-0.4, high=0.2, mean=-0.1, margin=0.03, label="1,000 steps", text="n = 5"),
]


def test_the_intervals_of_all_budgets_share_an_axis(monkeypatch):
    shown = []
    monkeypatch.setattr(page, "glue", lambda name, value, show: shown.append(value))
    facts = dict(claimed="U-Net, section 1", trained="")
    page.verdict("slug", "claim", "gone by 1,000 steps", "numbers", LINES, **facts)
    box = BeautifulSoup(shown[0].data, "html.parser")
    rows = box.select(".budgets .budget")
    told = [row.select_one(".budget-label").text for row in rows]
    assert told == ["250 steps", "1,000 steps"]
    assert rows[0].select_one(".budget-text").text == "a < b"
    assert rows[0].select_one(".strip-interval")["d"] == "M100.0 8.0H140.0"
    assert rows[1].select_one(".strip-interval")["d"] == "M0.0 8.0H120.0"
    assert rows[0].svg.circle["cx"] == "120.0" and rows[1].svg.circle["cx"] == "60.0"
    assert rows[0].rect["x"] == "74.0" and rows[0].rect["width"] == "12.0"
    assert "U-Net, section 1" in box.text and "Trained" not in box.text
    page.verdict("slug", "claim", "holds", "numbers")
    assert "budget" not in shown[1].data


@pytest.mark.parametrize("word", ["", "true", "Holds", "it holds"])
def test_a_verdict_of_another_word_is_refused(word):
    with pytest.raises(ValueError, match=f"'{word}' is no verdict.*holds, holds when"):
        page.verdict("slug", "claim", word, "numbers")


# --- glue -------------------------------------------------------------------------


def test_myst_nb_finds_every_value(glued):
    assert set(glued.data) == {
        "verdict_skips", "verdict_when", "verdict_none", "verdict_fails", "hidden",
        "shown", "numpy", "count", "text", "run_seconds",
    }  # fmt: skip
    assert "verdict-holds" in glued.data["verdict_skips"]["data"]["text/html"]
    assert glued.data["hidden"]["data"] == {"text/plain": "0.5"}
    assert glued.data["shown"]["data"]["text/html"] == "<b>x</b>"


def test_hidden_values_leave_the_page_and_shown_ones_stay(outputs, glued):
    prefix = "application/papermill.record/"
    (hidden,) = outputs["hidden"]
    assert hidden.data == {f"{prefix}text/plain": "0.5"}
    assert hidden.metadata["scrapbook"] == dict(name="hidden", mime_prefix=prefix)
    assert glued.left["hidden"] == []
    (shown,) = glued.left["shown"]
    assert shown.data["text/html"] == "<b>x</b>"
    assert len(glued.left["verdict"]) == 1


@pytest.mark.parametrize(
    "name, form, expected",
    [("hidden", ".2f", "0.50"), ("numpy", ".2f", "0.25"), ("numpy", "", "0.25"),
     ("count", "d", "7"), ("text", "", "2.00 ± 1.00")],
)  # fmt: skip
def test_glued_values_can_be_formatted(glued, name, form, expected):
    plain = glued.data[name]["data"]["text/plain"]
    assert format_plain_text(plain, form) == expected


# --- sentences, progress, run time ------------------------------------------------


def test_say_is_markdown(outputs):
    (output,) = outputs["say"]
    assert output.data["text/markdown"] == "IoU **0.5**"


def test_progress_is_one_line_that_is_rewritten(outputs):
    (output,) = outputs["progress"]
    text = output.data["text/markdown"]
    assert text.startswith("2 of 9 trainings finished, 6") and text.endswith(" s")


def test_progress_of_a_training():
    shown = []
    progress = page.Progress.__new__(page.Progress)
    progress.handle = SimpleNamespace(update=lambda markdown: shown.append(markdown))
    progress.start = page.time.time() - 12
    rows = [dict(step=50, loss=2.0, score=0.1)]
    rows.append(dict(step=100, loss=0.12345, score=0.678))
    progress.training(rows)
    assert [markdown.data for markdown in shown] == [
        "step 100: loss 0.123, validation score 0.68, 12 s"
    ]


def test_finish_says_and_keeps_the_run_time(outputs, glued):
    _, sentence = outputs["finish"]
    seconds = float(glued.data["run_seconds"]["data"]["text/plain"])
    assert 0.1 < seconds < 600  # since the kernel started
    text = sentence.data["text/markdown"]
    assert f"**{seconds:.0f} seconds** on {page.joblib.cpu_count()} processor" in text
    assert len(glued.left["finish"]) == 1  # the value is hidden


def test_progress_prints_where_there_is_no_notebook(capsys):
    InteractiveShell.clear_instance()  # other tests may have made one
    page.Progress().runs(1, 2)
    assert "1 of 2 trainings finished, 0 s" in capsys.readouterr().out
