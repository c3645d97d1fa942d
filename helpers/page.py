"""What a chapter says from its own numbers: sentences, progress, verdicts, run time.

All output is plain Markdown or HTML, so that a chapter reads the same in the book,
JupyterLab and Colab. Values that other pages of the book quote are glued, in the form
that MyST-NB's `glue` reads (MyST-NB itself is not needed to run a chapter).
"""

import html
import time

import joblib
import numpy as np
import psutil
from IPython.core.formatters import format_display_data
from IPython.display import HTML, Markdown, display

WORDS = {  # how a verdict begins, its sign, its class in book.css
    "holds": ("✓", "holds"),
    "holds when": ("◐", "when"),
    "appears by": ("↗", "holds"),
    "gone by": ("↘", "fails"),
    "equal within": ("≈", "none"),
    "undecided": ("?", "none"),
    "does not hold here": ("✗", "fails"),
    "not learned at this budget": ("○", "none"),
}


def say(markdown):
    """Show a Markdown sentence that was made from computed numbers."""
    display(Markdown(markdown))


def glue(name, value, show=False):
    """Keep a value under a name for other pages of the book; show it here if asked."""
    if isinstance(value, np.generic):
        value = value.item()  # NumPy shows its numbers as "np.float64(0.5)"
    bundle, metadata = format_display_data(value)
    prefix = "" if show else "application/papermill.record/"
    metadata["scrapbook"] = dict(name=name, mime_prefix=prefix)
    display({prefix + k: v for k, v in bundle.items()}, raw=True, metadata=metadata)


# --- verdicts ---------------------------------------------------------------------


def verdict(slug, claim, word, numbers, lines=(), **facts):
    """Show a trial's outcome, and keep it as `verdict_<slug>` for the ledger of claims.

    `word` is one of WORDS, or begins with one ("holds when ..."). `numbers` is a
    sentence of plain text with the figures that decide. `lines` are those of a trial at
    each budget: see `budget_lines`. `facts` are told below, each under its name, such
    as source="U-Net, section 1". Raises ValueError for another word.
    """
    sign, kind = sign_of(word)
    word, claim = html.escape(word), html.escape(claim)
    told = "".join(
        f"<br><b>{html.escape(name.capitalize())}:</b> {html.escape(fact)}"
        for name, fact in facts.items()
        if fact
    )
    box = (
        f'<div role="group" class="verdict verdict-{kind}" id="verdict_{slug}" '
        f'aria-label="Verdict: {word}"><p class="verdict-word">'
        f'<span class="verdict-sign" aria-hidden="true">{sign}</span> {word}</p>'
        f'<p class="verdict-claim">{claim}</p>{budget_lines(lines)}'
        f'<p class="verdict-numbers">{html.escape(numbers)}{told}</p></div>'
    )
    glue(f"verdict_{slug}", HTML(box), show=True)


def kind_of(word):
    """The longest of WORDS that a verdict's word begins with; ValueError for others."""
    begins = [k for k in WORDS if word.startswith(k)]
    if not begins:
        known = ", ".join(WORDS)
        raise ValueError(f"{word!r} is no verdict; begin with one of: {known}")
    return max(begins, key=len)


def sign_of(word):
    """The sign of a verdict's word and its class in book.css; ValueError for others."""
    return WORDS[kind_of(word)]


def budget_lines(lines):
    """The intervals of a claim at each budget, one under the other: HTML.

    `lines` is a list of dicts: label (of the row), low and high (the 95 % interval of
    the difference), mean, margin, text (what it says in numbers).
    """
    if not lines:
        return ""
    reach = 0
    for line in lines:
        reach = max(reach, abs(line["low"]), abs(line["high"]), 1.5 * line["margin"])
    rows = []
    for line in lines:
        label, text = html.escape(line["label"]), html.escape(line["text"])
        rows.append(
            f'<div class="budget"><span class="budget-label">{label}</span>'
            f'{strip(line, reach)}<span class="budget-text">{text}</span></div>'
        )
    return f'<div class="budgets">{"".join(rows)}</div>'


def strip(line, reach, width=160, height=16):
    """One interval on an axis from -reach to reach, as SVG that the text describes."""

    def at(value):
        return round(width * (value / reach + 1) / 2, 1)

    low, high, middle = at(line["low"]), at(line["high"]), height / 2
    inner = at(-line["margin"]), at(line["margin"])
    return (
        f'<svg viewBox="0 0 {width} {height}" class="strip" aria-hidden="true">'
        f'<rect x="{inner[0]}" y="1" width="{inner[1] - inner[0]:.1f}" '
        f'height="{height - 2}" class="strip-margin"/>'
        f'<path d="M{at(0)} 0V{height}" class="strip-zero"/>'
        f'<path d="M{low} {middle}H{high}" class="strip-interval"/>'
        f'<circle cx="{at(line["mean"])}" cy="{middle}" r="3.4"/></svg>'
    )


# --- progress ---------------------------------------------------------------------


class Progress:
    """A line that is rewritten in place; its last state stays on the page."""

    def __init__(self):
        self.handle, self.start = display(Markdown("..."), display_id=True), time.time()

    def training(self, history):
        """For `fit(report=...)`: where one training is."""
        row = history[-1]
        self._show(
            f"step {row['step']}: loss {row['loss']:.3f}, "
            f"validation score {row['score']:.2f}"
        )

    def runs(self, done, of):
        """For `Trial.run`: how many trainings have finished."""
        self._show(f"{done} of {of} trainings finished")

    def _show(self, text):
        text = f"{text}, {time.time() - self.start:.0f} s"
        if self.handle:
            self.handle.update(Markdown(text))
        else:  # not in a notebook
            print(text)


def finish():
    """Close a chapter: say how long it ran, and keep that for the book's tables."""
    seconds = time.time() - psutil.Process().create_time()
    glue("run_seconds", seconds)
    say(
        f"This chapter ran in **{seconds:.0f} seconds** on "
        f"{joblib.cpu_count()} processor core{'s' * (joblib.cpu_count() > 1)}."
    )
