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
    "holds only when": ("◐", "when"),
    "no difference seen here": ("≈", "none"),
    "does not hold here": ("✗", "fails"),
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


def verdict(slug, claim, word, numbers):
    """Show a trial's outcome, and keep it as `verdict_<slug>` for the ledger of claims.

    `word` is one of WORDS, or begins with one ("holds only when ..."). `numbers` is a
    sentence of plain text with the figures that decide.
    """
    begins = [k for k in reversed(WORDS) if word.startswith(k)]
    if not begins:
        known = ", ".join(WORDS)
        raise ValueError(f"{word!r} is no verdict; begin with one of: {known}")
    sign, kind = WORDS[begins[0]]
    word, claim = html.escape(word), html.escape(claim)
    numbers = html.escape(numbers)
    box = (
        f'<div role="group" class="verdict verdict-{kind}" id="verdict_{slug}" '
        f'aria-label="Verdict: {word}"><p class="verdict-word">'
        f'<span class="verdict-sign" aria-hidden="true">{sign}</span> {word}</p>'
        f'<p class="verdict-claim">{claim}</p>'
        f'<p class="verdict-numbers">{numbers}</p></div>'
    )
    glue(f"verdict_{slug}", HTML(box), show=True)


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
