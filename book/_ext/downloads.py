"""What a reader takes along: chapters with outputs, exercise copies, the whole book.

All of it is made with the pages, from the same sources, into the folder `downloads`.
"""

import copy
import re
import zipfile
from pathlib import Path

import nbformat

from book._ext import store

FOLDER = "downloads"
ASKED = "<!-- downloads -->"
FOLD = re.compile(r"<details>\s*<summary>(.*?)</summary>.*?</details>", re.S)
BOOK = (
    "README.md", "LICENSE", "LICENSE-TEXT", "CITATION.cff", "Makefile", "_config.yml",
    "_toc.yml", "conftest.py", "constraints.txt", "pyproject.toml", "requirements.txt",
    "requirements-colab.txt", "book", "helpers", "notebooks", "tests", ".ci", ".github",
    ".gitignore", ".pre-commit-config.yaml",
)  # fmt: skip


def exercises(notebook):
    """A copy of a chapter without what its folds answer, and without outputs.

    A fold's own question stays, and so does all code before the exercises; the cells
    of code that are folded among the exercises become empty ones.
    """
    notebook, reached = copy.deepcopy(notebook), False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if reached and "hide-cell" in cell.metadata.get("tags", []):
                cell.source = "# your code\n"
            continue
        reached = reached or "# Exercises" in cell.source
        cell.source = FOLD.sub(asked, cell.source)
    return notebook


def asked(fold):
    """A fold without its answer."""
    question = "" if fold[1] in ("Answer", "Solution") else f"**{fold[1]}**\n\n"
    return f"{question}*Your answer:*"


def write_book(out):
    """Write the sources as a zip, which unpacks into one folder."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as book:
        for name in BOOK:
            top = store.ROOT / name
            for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
                if path.is_file() and not store.stray(path.relative_to(top)):
                    inside = path.relative_to(store.ROOT)
                    book.write(path, Path("unet-family-book", inside))


def write_all(app, exception):
    """Write what the page of downloads names."""
    asked = "book/downloads" in app.env.found_docs
    if exception or app.builder.format != "html" or not asked:
        return
    folder = Path(app.outdir) / FOLDER
    (folder / "exercises").mkdir(parents=True, exist_ok=True)
    for path in store.NOTEBOOKS:
        if run := store.executed(path):  # none: the build has said what failed
            nbformat.write(run, folder / path.name)
        source = nbformat.read(path, as_version=4)
        nbformat.write(exercises(source), folder / "exercises" / path.name)
    write_book(folder / "unet-family-book.zip")


def links(path):
    """Links to both copies of a chapter, from a page one folder down."""
    return (
        f'<a href="../{FOLDER}/{path.name}" download>executed, with outputs</a>',
        f'<a href="../{FOLDER}/exercises/{path.name}" download>without solutions</a>',
    )


def fill(app, page, source):
    """Answer the page that asks for a table of all chapters."""
    if ASKED in source[0]:
        rows = ""
        for path in store.NOTEBOOKS:
            title = nbformat.read(path, as_version=4).cells[0].source
            title = title.partition("\n")[0].strip("# ")
            cells = [title, *links(path)]
            rows += f"<tr><td>{'</td><td>'.join(cells)}</td></tr>"
        head = "<th>Chapter</th><th>To read and run</th><th>To solve</th>"
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        source[0] = source[0].replace(ASKED, f"```{{raw}} html\n{table}\n```")


def offer(app, pagename, templatename, context, doctree):
    """Let a chapter end with its copies."""
    path = store.ROOT / f"{pagename}.ipynb"
    if path in store.NOTEBOOKS and "book/downloads" in app.env.found_docs:
        both = ", or ".join(links(path))
        context["body"] += f'<p class="take-along">Take this chapter along: {both}.</p>'


def setup(app):
    """Connect to Sphinx: to the page of downloads, each chapter, the build's end."""
    app.connect("source-read", fill)
    app.connect("html-page-context", offer)
    app.connect("build-finished", write_all)
    return {"parallel_read_safe": True}
