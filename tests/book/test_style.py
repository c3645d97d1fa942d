"""The rules of plain code, measured on every chapter and helper.

`python tests/book/test_style.py [FOLDER]` prints the figures of the book that lies in
FOLDER, else of this one.
"""

import ast
import re
import statistics
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
CELLS, LINES, MEDIAN, DENSITY = 70, 16, 6, 3
# Chapter 08 defines eleven trials and shows their record: to become shorter.
MEDIANS = {"08_lineage": 9}
# Live demos; and 05 looks into a network that has learned what we called impossible.
MOST = {"00_segmentation": 72, "02_unet": 72, "05_inception_unet": 74}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
DEFINITIONS = (ast.ClassDef, ast.FunctionDef)


def parsed(source):
    """Return the tree of some Python code; IPython's own lines count as `pass`."""
    return ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source))


def length(source):
    """Return the number of lines that are neither blank nor comments."""
    lines = [line.strip() for line in source.splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in lines)


def code_cells(path):
    """Return (number, source) of a notebook's code cells; the setup cell is left out.

    Cells are counted from 0, prose included.
    """
    cells = nbformat.read(path, as_version=4).cells
    found = []
    for number, cell in enumerate(cells):
        if cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", []):
            found.append((number, cell.source))
    return found


def comprehensions(tree):
    """Return the comprehensions of a tree, generator expressions among them."""
    return [node for node in ast.walk(tree) if isinstance(node, COMPREHENSIONS)]


def nested(tree):
    """Return the comprehensions that stand inside another one."""
    inner = {}
    for node in comprehensions(tree):
        for part in comprehensions(node)[1:]:
            inner[part] = True
    return list(inner)


def named(node, name):
    """Whether a node is the name itself, or an attribute of a module."""
    return getattr(node, "id", getattr(node, "attr", None)) == name


def calls(tree, name):
    """Return the calls of a function of that name."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in found if named(node.func, name)]


def holds_partial(call):
    """Whether a call has `partial` somewhere in its arguments."""
    for argument in [*call.args, *call.keywords]:
        if any(named(node, "partial") for node in ast.walk(argument)):
            return True
    return False


def starred_targets(tree):
    """Return the starred targets within classes that build on another class."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.bases:
            for part in ast.walk(node):
                if isinstance(part, ast.Starred) and isinstance(part.ctx, ast.Store):
                    found.append(part)
    return found


def is_network(node):
    """Whether a node is a class with a forward pass."""
    if not isinstance(node, ast.ClassDef):
        return False
    return any(getattr(part, "name", None) == "forward" for part in node.body)


def double_targets(tree):
    """Return the assignments of several values at once within networks."""
    found = []
    for node in filter(is_network, ast.walk(tree)):
        for part in ast.walk(node):
            if isinstance(part, ast.Assign) and isinstance(part.value, ast.Tuple):
                if isinstance(part.targets[0], ast.Tuple):
                    found.append(part)
    return found


def tricks(tree):
    """Yield (line, what) for each construct that the book does without."""
    for node in nested(tree):
        yield node.lineno, "a comprehension in a comprehension"
    for node in calls(tree, "partial"):
        if holds_partial(node):
            yield node.lineno, "a partial of a partial"
    for node in calls(tree, "zip"):
        if len(node.args) > 2:
            yield node.lineno, f"a zip of {len(node.args)}"
    for node in starred_targets(tree):
        yield node.lineno, "a starred target in a network"
    for node in double_targets(tree):
        yield node.lineno, "two assignments at once in a network"


def asserts(tree):
    """Yield (line, what) for each assert: in a helper, `python -O` would drop it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield node.lineno, "an assert, which python -O leaves out: raise an error"


def too_dense(sources):
    """Return a complaint if there are too many comprehensions for the lines."""
    count = sum(len(comprehensions(parsed(source))) for source in sources)
    lines = sum(length(source) for source in sources)
    if count * 100 > DENSITY * lines:
        return [f"{count} comprehensions in {lines} lines, at most {DENSITY} in 100"]
    return []


def chapter_complaints(path):
    """Return what a notebook does against the rules, one line each."""
    numbered = code_cells(path)
    sources = [source for _, source in numbered]
    median = statistics.median(length(source) for source in sources)
    found = too_dense(sources)
    cells = MOST.get(path.stem, CELLS)
    if len(sources) > cells:
        found.append(f"{len(sources)} code cells, at most {cells}")
    most = MEDIANS.get(path.stem, MEDIAN)
    if median > most:
        found.append(f"the median cell has {median} lines, at most {most}")
    for number, source in numbered:
        tree, lines = parsed(source), length(source)
        for line, what in tricks(tree):
            found.append(f"cell {number}, line {line}: {what}")
        alone = len(tree.body) == 1 and isinstance(tree.body[0], DEFINITIONS)
        if lines > LINES and not alone:
            found.append(f"cell {number} has {lines} lines and is no single definition")
    return found


def helper_complaints(path):
    """Return what a module does against the rules, one line each."""
    source = path.read_text(encoding="utf-8")
    found = too_dense([source])
    for number, what in [*tricks(parsed(source)), *asserts(parsed(source))]:
        found.append(f"{number}: {what}")
    return found


CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HELPERS = sorted((ROOT / "helpers").rglob("*.py"))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_is_plain(path):
    assert not chapter_complaints(path)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_fold_says_what_it_holds(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if "hide-input" in cell.metadata.get("tags", []):
            assert cell.metadata.get("mystnb", {}).get("code_prompt_show"), cell.id


@pytest.mark.parametrize("path", HELPERS, ids=lambda path: path.stem)
def test_a_helper_is_plain(path):
    assert not helper_complaints(path)


@pytest.mark.parametrize(
    "source, what",
    [
        ("[[x for x in y] for y in z]", "a comprehension in a comprehension"),
        ("f(a for a in b if any(c for c in a))", "a comprehension in a comprehension"),
        ("partial(f, loss=functools.partial(g, 1))", "a partial of a partial"),
        ("partial(partial, f)", "a partial of a partial"),
        ("zip(a, b, c)", "a zip of 3"),
        ("class A(nn.Module):\n    def f(self): *x, y = z", "a starred target"),
        ("class A(nn.Module):\n    for x, *y in z: pass", "a starred target"),
        ("class A:\n    def forward(self): x, y = 1, 2", "two assignments at once"),
    ],
)
def test_the_rules_see_a_trick(source, what):
    found = [told for _, told in tricks(parsed(source))]
    assert len(found) == 1 and found[0].startswith(what)


def test_an_assert_is_seen_in_a_helper(tmp_path):
    path = tmp_path / "helper.py"
    path.write_text("x = 1\nassert x")
    assert helper_complaints(path) == [
        "2: an assert, which python -O leaves out: raise an error"
    ]


def test_the_rules_let_plain_code_pass():
    source = "[x for x in y]\npartial(f, 1)\nzip(a, b)\n*x, y = z\nf(*x)"
    assert not list(tricks(parsed(source)))
    assert length("a\n\n# b\n  # c\nd  # e") == 2


def rows(root):
    """Yield (name, figures ...) for each chapter, all of them, and all helpers."""
    everything = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        sources = [source for _, source in code_cells(path)]
        everything += sources
        yield path.stem, *figures(sources)
    yield "all chapters", *figures(everything)
    paths = sorted((root / "helpers").rglob("*.py"))
    sources = [path.read_text(encoding="utf-8") for path in paths]
    yield "helpers, by file", *figures([source for source in sources if source])


def figures(sources):
    """Return cells, lines, median, p90, longest, comprehensions and nested per 100."""
    sizes = [length(source) for source in sources]
    trees = [parsed(source) for source in sources]
    count = sum(len(comprehensions(tree)) for tree in trees)
    inside = sum(len(nested(tree)) for tree in trees)
    total = sum(sizes)
    tenths = statistics.quantiles(sizes, n=10)
    middle, ninth = statistics.median(sizes), tenths[8]
    per = [100 * count / total, 100 * inside / total]
    return len(sizes), total, middle, ninth, max(sizes), *per


def table(root):
    """Return the figures of the book in a folder, as the lines of a table."""
    heads = ("cells", "lines", "median", "p90", "longest", "compr./100", "nested/100")
    lines = ["", f"{'chapter':20}" + "".join(f"{head:>11}" for head in heads)]
    for name, *numbers in rows(root):
        *sizes, dense, inside = numbers
        cells = "".join(f"{size:11.0f}" for size in sizes)
        lines.append(f"{name:20}{cells}{dense:11.1f}{inside:11.2f}")
    return lines


if __name__ == "__main__":
    root = Path(*sys.argv[1:2]) if sys.argv[1:] else ROOT
    print(*table(root), sep="\n")
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        print(*(f"{path.stem}: {line}" for line in chapter_complaints(path)), sep="\n")
    for path in sorted((root / "helpers").rglob("*.py")):
        print(*(f"{path.stem}: {line}" for line in helper_complaints(path)), sep="\n")
