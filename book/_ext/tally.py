"""All verdicts of the book, read from the stored runs, for pages that speak of them.

A page asks with a comment, in which this extension writes as the page is read:

    <!-- verdicts: table -->         all of them, a row each, with links to the boxes
    <!-- verdicts: count -->         how many there are of each kind
    <!-- verdicts: real -->          the claims tried on real pictures too, as signs
    <!-- verdicts: word skips -->    the word of one, by its slug
    <!-- verdicts: zh skips -->      the word of one, by its slug, in Chinese; and its
                                     numbers, where it is one comparison
    <!-- verdicts: zhcount -->       how many there are of each kind, in Chinese

A chapter without a run in the store has no verdicts.
"""

import ast
import html
import re
from collections import Counter

from bs4 import BeautifulSoup

from book._ext import store
from helpers import page

REAL, LINEAGE = "09_real_pictures", "08_lineage"
PLAIN = "application/papermill.record/text/plain"
ASKED = re.compile(r"<!-- verdicts: (\w+) ?(\w*) -->")
DAGGER = "†"  # of words that the correction for many comparisons would withdraw
KINDS = {  # how a word begins, as page.WORDS has it: how it is counted, and in Chinese
    "holds": ("hold", "成立"),
    "holds when": ("hold under a condition", "在部分條件下成立"),
    "appears by": ("appear with longer training", "訓練夠久才成立"),
    "gone by": ("are gone with longer training", "訓練夠久就消失"),
    "does not hold here": ("do not hold here", "在此不成立"),
    "equal within": ("make no difference that matters", "差異小到不重要"),
    "undecided": ("are undecided", "尚無定論"),
    "not learned at this budget": (
        "were not learned at this budget", "此訓練量下沒學會",
    ),
    DAGGER: (
        "sure words bear a †: for so many comparisons they would be withdrawn",
        "標有 †：比較次數這麼多，校正後會撤回",
    ),
}  # fmt: skip
ENGLISH, CHINESE = 0, 1  # places in them
STEPS = re.compile(r"([\d,]+) steps")
INTERVAL = re.compile(r"([+-][\d.]+) \(([+-][\d.]+) to ([+-][\d.]+)\)")
NOT_YET = '<span class="soft" title="not recorded yet">–</span>'
HEAD = "<tr><th>claim</th><th>chapter</th><th>word</th><th>at each budget</th></tr>"
NAMES = {  # of a network, where a claim or its numbers name it
    "FCN": r"\bFCN", "U-Net": r"(?<![\w-])(?<!3-D )U-Net(?! \+)", "V-Net": r"V-Net",
    "ResUNet": r"ResUNet", "Inception-U-Net": r"Inception-U-Net", "U²-Net": r"U²-Net",
}  # fmt: skip
OF = {"01": "FCN", "02": "U-Net", "03": "V-Net", "04": "ResUNet",
      "05": "Inception-U-Net", "06": "U²-Net"}  # fmt: skip


def glued(notebook, kind="text/html"):
    """What an executed notebook glued as HTML, or another kind: a dict by its name."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name and kind in output.data:
                found[name] = output.data[kind]
    return found


def boxes(notebook):
    """The verdict boxes of an executed notebook: a dict from slug to parsed HTML."""
    found = {}
    for name, text in glued(notebook).items():
        if name.startswith("verdict_"):
            box = BeautifulSoup(text, "html.parser").div
            found[name.removeprefix("verdict_")] = box
    return found


def word(box):
    """The word of a verdict box."""
    return box["aria-label"].removeprefix("Verdict: ")


def executed():
    """The stored runs: a dict from chapter to executed notebook."""
    found = {}
    for path in store.NOTEBOOKS:
        if run := store.executed(path):
            found[path.stem] = run
    return found


def all_boxes(runs):
    """The boxes of executed chapters: chapter to a dict from slug to box."""
    return {chapter: boxes(notebook) for chapter, notebook in runs.items()}


def stored():
    """The boxes of all stored runs."""
    return all_boxes(executed())


def withdrawn(notebook):
    """The claims whose last word chapter 08 would withdraw: a list of slugs."""
    text = glued(notebook, PLAIN).get("withdrawn", "''")
    return ast.literal_eval(text).split()


def mark(chapters, slugs):
    """Have the sure words of these claims bear a dagger, wherever they are told."""
    for of in chapters.values():
        for slug in of.keys() & slugs:
            if sure(of[slug]):
                of[slug]["data-dagger"] = f" {DAGGER}"


def told(box):
    """The word of a box, for a page."""
    return html.escape(word(box)) + box.get("data-dagger", "")


def table(chapters):
    """A table of all boxes, a row each."""
    rows = []
    for chapter, of in chapters.items():
        for slug, box in of.items():
            claim = box.find(class_="verdict-claim").decode_contents()
            lines = box.find_all(class_="budget")
            numbers = "counted or measured"
            if lines:
                numbers = "\n".join(map(budget, lines))
            elif "Not recorded yet" in box.text:
                numbers = "not recorded yet"
            sign = box.find(class_="verdict-sign").text
            networks = "|".join(named(box.text, OF.get(chapter[:2])))
            rows.append(
                f'<tr data-chapter="{chapter[:2]}" data-networks="{networks}">'
                f'<td><a href="#verdict_{slug}">'
                f"{claim}</a></td><td>{chapter[:2]}</td><td>{sign} "
                f"{told(box)}</td>"
                f"<td>{html.escape(numbers).replace(chr(10), '<br>')}</td></tr>"
            )
    return (
        f'<div class="all-verdicts"><table><caption>All verdicts</caption><thead>{HEAD}'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def sure(box):
    """Whether a box says that its claim holds, or that the opposite showed."""
    return word(box).startswith(("holds", "does not hold"))


def budget(line):
    """What a box says of one budget: its name and the difference, or all it says."""
    label, text = line.find(class_="budget-label"), line.find(class_="budget-text")
    return f"{label.text}: {text.text.rpartition(': ')[2]}"


def named(text, own):
    """The networks that a text names, and its chapter's own: a list."""
    found = []
    for name, like in NAMES.items():
        if name == own or re.search(like, text):
            found.append(name)
    return found


def chinese(box):
    """What a box says in Chinese: its word, and the numbers of one comparison."""
    said = KINDS[page.kind_of(word(box))][CHINESE] + box.get("data-dagger", "")
    lines = box.find_all(class_="budget")
    if not lines:
        return said
    label, text = budget(lines[-1]).rsplit(": ", 1)
    steps, numbers = STEPS.fullmatch(label), INTERVAL.match(text)
    if not steps or not numbers:  # of several conditions
        return said
    mean, low, high = numbers.groups()
    return f"{said}（{steps[1]} 步：差 {mean}，區間 {low} 至 {high}）"


ONE = {  # of a verdict: how it is told, and what stands there before it was run
    "word": (told, "not run yet"),
    "zh": (chinese, "（尚未執行）"),
}


def count(chapters, language=ENGLISH):
    """How many boxes there are of each kind: a list."""
    counts = Counter()
    for of in chapters.values():
        for box in of.values():
            counts[page.kind_of(word(box))] += 1
            counts[DAGGER] += "data-dagger" in box.attrs
    items = ""
    for kind, told in KINDS.items():
        if counts[kind]:
            items += f"<li><strong>{counts[kind]}</strong> {told[language]}</li>"
    return f'<ul class="tally">{items}</ul>'


def real(notebook):
    """Chapter 09's table of claims, drawn, longer and real: a sign for each word."""
    table = BeautifulSoup(glued(notebook)["drawn_and_real"], "html.parser")
    rows = ""
    for row in table.select("tbody tr"):
        rows += f'<tr><th scope="row">{row.th.decode_contents()}</th>'
        for field in row("td"):
            signs = [sign(told) for told in field("div")]
            rows += f"<td>{' '.join(signs) or NOT_YET}</td>"
        rows += "</tr>"
    return f'<table class="survived">{table.thead}<tbody>{rows}</tbody></table>'


def sign(told):
    """The sign of one field of chapter 09's table; what it says, by touch and voice."""
    said = html.escape(" ".join(told.get_text(" ").split()))
    shown, _ = page.sign_of(told["data-word"])
    return (
        f'<span class="{told["class"][0]}" role="img" aria-label="{said}" '
        f'title="{said}">{shown}</span>'
    )


def answer(runs, chapters, what, slug):
    """What stands on the page where it asked, of a slug without a box "not run yet".

    `runs` are the executed notebooks, `chapters` their boxes. Raises KeyError for a
    question that is none of those above, ValueError for a word that is no verdict.
    """
    if what == "table":
        return table(chapters)
    if what == "count":
        return count(chapters)
    if what == "zhcount":
        return count(chapters, CHINESE)
    if what == "real":
        return real(runs[REAL]) if REAL in runs else ""
    tell, missing = ONE[what]
    for of in chapters.values():
        if slug in of:
            return tell(of[slug])
    return missing


def fill(app, page, source):
    """Answer a page that asks."""
    if ASKED.search(source[0]):
        runs = executed()
        chapters = all_boxes(runs)  # once, however often the page asks
        if LINEAGE in runs:
            mark(chapters, withdrawn(runs[LINEAGE]))

        def answered(found):
            return answer(runs, chapters, *found.groups())

        source[0] = ASKED.sub(answered, source[0])


def setup(app):
    """Connect to Sphinx, before a page is parsed."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
