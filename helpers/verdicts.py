"""What the scores say: one rule for all verdicts, and how time changes them.

The rule looks at the paired differences of two arms, seed by seed, and at their
interval. A claim stands in notebooks/claims.toml before its rows are trained: where the
paper makes it, the two arms, the score, its direction and the margin. `decide` judges
it at every budget that is known and shows the box.
"""

import functools
import hashlib
import json
import os
import tomllib
from typing import NamedTuple

import numpy as np
import pandas
from scipy import stats

from helpers import groups, page, trials

CLAIMS = trials.RECORDS / "claims.toml"
MARGIN = 0.03  # of IoU, Dice, F1 and shares; what is less makes no difference here
FIRST = 5  # seeds of each trial; how far they lie apart decides whether it gets ten
GUESS = "no learning"  # the arm of a trial that does not learn


class Judgement(NamedTuple):
    """What two arms show: the word, the mean gain and its intervals, how many pairs."""

    word: str
    mean: float
    low: float  # of the 95 % interval
    high: float
    n: int
    small: bool  # the 90 % interval lies inside the margin: so small is no difference
    p: float  # of the t-test that belongs to the interval


def interval(values, share=0.95, error=groups.NONE):
    """Student's interval of the mean of some values: (low, high).

    `error` is a groups.Error that more values would not make smaller, such as that of
    the test groups. Raises ValueError for fewer than two values: they have no spread.
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        raise ValueError(f"{len(values)} values have no spread; an interval needs 2")
    whole = standard_error(values, error)
    reach = stats.t.ppf((1 + share) / 2, whole.freedom) * whole.size
    return float(values.mean() - reach), float(values.mean() + reach)


def standard_error(values, error=groups.NONE):
    """The groups.Error of the mean of some values; `error` is as in `interval`.

    Of ten values, and where some of the ten are not there yet, the first five decided
    by their spread that there are more. An interval of all would miss more often than
    it says, so the degrees of freedom are those of five, and no smaller spread than
    theirs counts (Stein 1945). A larger one does: five may hold no failed run.
    Two errors are added as Welch and Satterthwaite do.
    """
    square, freedom = np.var(values, ddof=1), len(values) - 1
    if FIRST < len(values) <= 2 * FIRST:
        square = max(square, np.var(values[:FIRST], ddof=1))
        freedom = FIRST - 1
    square /= len(values)
    other = error.size**2
    if other:
        parts = square**2 / freedom + other**2 / error.freedom
        freedom = (square + other) ** 2 / parts
    return groups.Error(float(np.sqrt(square + other)), freedom)


def judge(better, worse=0, margin=MARGIN, error=groups.NONE):
    """The verdict on "better beats worse": a Judgement of scores paired by seed.

    `worse` may be one number for all, and is 0 where `better` are differences already.
    The 90 % interval of the differences inside +-margin, which is two one-sided tests
    at 5 %: "equal within 0.03", even where a difference so small is sure. Else, the
    95 % interval above 0: "holds"; below: "does not hold here", the opposite showed.
    All else is "undecided". `error`: see `interval`.
    """
    gain = np.asarray(better, float) - np.asarray(worse, float)
    low, high = interval(gain, error=error)
    inner = interval(gain, 0.9, error)
    small = bool(-margin < inner[0] and inner[1] < margin)
    if small:
        word = f"equal within {margin:g}"
    elif low > 0:
        word = "holds"
    elif high < 0:
        word = "does not hold here"
    else:
        word = "undecided"
    whole, p = standard_error(gain, error), float(gain.mean() == 0)
    if whole.size:
        p = float(2 * stats.t.sf(abs(gain.mean()) / whole.size, whole.freedom))
    return Judgement(word, gain.mean(), low, high, len(gain), small, p)


def over_time(judgements, gains, error=groups.NONE):
    """One word from the judgements at several budgets, dicts from the steps.

    The word of the longest budget counts. A claim that held at first is "gone" where
    the last word is "equal" or "does not hold here", and the gain itself surely fell,
    seed by seed; "appears" is the same the other way round. `error` is that of the
    change, as in `interval`.
    """
    first, last = min(judgements), max(judgements)
    before, word = judgements[first].word, judgements[last].word
    if first == last:
        return word
    shared = gains[last].index.intersection(gains[first].index)
    change = interval(gains[last][shared] - gains[first][shared], error=error)
    not_so = "equal", "does not hold"
    if before == "holds" and word.startswith(not_so) and change[1] < 0:
        return f"gone by {last:,} steps"
    if word == "holds" and before.startswith(not_so) and change[0] > 0:
        return f"appears by {last:,} steps"
    return f"undecided at {last:,} steps" if word == "undecided" else word


def joined(words):
    """One verdict from those of several conditions, a dict from condition to word.

    "holds" where all hold, "holds when ..." with the conditions that do where some hold
    (what they begin with is said once): under the others it is not shown, which may be
    undecided. Where none does: the one word of all, "does not hold here" where each is
    that, gone or equal, else "undecided".
    """
    held = []
    for condition, word in words.items():
        if word.startswith(("holds", "appears")):
            held.append(condition)
    if len(held) == len(words):
        return "holds"
    if held:
        shared = os.path.commonprefix(held)  # noqa: RUF071 (letters; then whole words)
        shared = shared.rpartition(" ")[0]
        for place in range(1, len(held)):
            held[place] = held[place].removeprefix(shared).strip()
        return f"holds when {' or '.join(held)}"
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    sure = "does not hold", "equal", "gone"
    if all(word.startswith(sure) for word in words.values()):
        return "does not hold here"
    return "undecided"


# --- claims -----------------------------------------------------------------------


@functools.cache
def claims():
    """All claims of the book: a dict from slug to what claims.toml says of it."""
    return tomllib.loads(CLAIMS.read_text(encoding="utf-8"))


def parts(claim):
    """The comparisons that a claim consists of: a list of dicts, mostly of one."""
    shared = {k: v for k, v in claim.items() if k != "parts"}
    return [shared | part for part in claim.get("parts", [{}])]


def fixed(slug):
    """A short hash of what a claim says about its arms, score, direction and margin."""
    judged = []
    for part in parts(claims()[slug]):
        names = "trial", "better", "worse", "against", "score", "lower", "margin"
        row = {name: part.get(name) for name in names}
        if "learned" in part:
            row["learned"] = part["learned"]
        judged.append(row)
    return hashlib.sha256(json.dumps(judged).encode()).hexdigest()[:8]


def gains(part, results, steps):
    """Better less worse at one budget, by seed; and both arms' scores: three Series.

    In the order of the seeds. What is worse is another arm, or the column `against` of
    the same rows.
    """
    score = part.get("score", "iou")
    better = of_arm(part["better"], score, results, steps)
    other = part.get("worse", part["better"]), part.get("against", score)
    worse = of_arm(*other, results, steps)
    if better is None or worse is None:
        return None
    both = better.index.intersection(worse.index).sort_values()
    better, worse = better[both], worse[both]
    gain = worse - better if part.get("lower") else better - worse
    return gain, better, worse


def of_arm(arm, column, results, steps):
    """A column of an arm's rows at one budget, by seed; None where there are none."""
    key = tuple(arm) if isinstance(arm, list) else (arm,)
    levels = list(range(len(key) + 1))
    try:
        return results[column].xs((steps, *key), level=levels).dropna()
    except KeyError:
        return None


def error_of_groups(part, results, budgets, seeds):
    """The groups.Error from the choice of test groups; NONE where none are noted.

    Of the gain at a budget; with two budgets, of how much larger it is at the first.
    The counts of a score stand in a column of its name and `_by_group`.
    """
    score = part.get("score", "iou")
    better = part["better"], score
    worse = part.get("worse", part["better"]), part.get("against", score)
    arms = []
    for steps, pair in zip(budgets, ((better, worse), (worse, better))):
        for name, column in pair:
            arms.append(counts_of(name, column, results, steps, seeds))
    known = all(arm is not None for arm in arms)
    return groups.error(*arms) if known else groups.NONE


def counts_of(arm, score, results, steps, seeds):
    """Counts (seeds, groups, classes, 2) of an arm at a budget; None where none are."""
    if f"{score}_by_group" not in results:
        return None
    texts = of_arm(arm, f"{score}_by_group", results, steps)[seeds]
    return np.stack([groups.from_text(text) for text in texts])


def compare(part, results, steps):
    """A comparison at one budget: (Judgement, gain, better, worse), scores by seed.

    `part` is as in claims.toml: better, worse, score ("iou" unless said), margin.
    None below three pairs of seeds.
    """
    found = gains(part, results, steps) if len(results) else None
    if found is None or len(found[0]) < 3:
        return None
    gain, better, worse = found
    error = error_of_groups(part, results, [steps], gain.index)
    margin = part.get("margin", MARGIN)
    verdict = judge(gain, margin=margin, error=error)
    ahead = lead(part, results, steps, gain.index)
    if ahead is not None and ahead <= 0:
        verdict = verdict._replace(word="not learned at this budget")
    elif ahead is not None and ahead <= margin and verdict.word.startswith("equal"):
        verdict = verdict._replace(word="undecided")
    return verdict, gain, better, worse


def judged(part, results):
    """A part of a claim: its word, and a line for each budget with three seeds or more.

    A line is a dict: steps, and what `told` returns.
    "undecided" where nothing is known yet.
    """
    judgements, all_gains, lines = {}, {}, []
    budgets = results.index.get_level_values("steps") if len(results) else []
    for steps in sorted(set(budgets)):
        found = compare(part, results, steps)
        if found is None:
            continue
        verdict, gain = found[:2]
        judgements[steps], all_gains[steps] = verdict, gain
        row = told(f"{steps:,} steps", found, part.get("margin", MARGIN))
        lines.append(row | dict(steps=steps))
    if not judgements:
        return "undecided", lines
    last, first = max(judgements), min(judgements)
    seeds = all_gains[last].index.intersection(all_gains[first].index)
    error = error_of_groups(part, results, [last, first], seeds)
    return over_time(judgements, all_gains, error), lines


def pair(better, worse):
    """What `compare` returns, of scores of the same seeds: four things.

    Both are Series by seed, in one order; ValueError where their seeds differ.
    """
    if not better.index.equals(worse.index):
        seeds = f"{list(better.index)} and {list(worse.index)}"
        raise ValueError(f"seeds {seeds} are no pairs: give the same, in one order")
    return judge(better, worse), better - worse, better, worse


def told(label, found, margin=MARGIN):
    """A line of a box from what `compare` returns, a dict.

    label, word, mean, low, high, n, p, margin and text: see `page.budget_lines`.
    """
    return found[0]._asdict() | dict(
        label=label, margin=margin, text=line(*found, margin)
    )


def too_wide(part, results, steps, seeds):
    """Whether these seeds leave an interval wider than the margin on both sides.

    The width alone decides whether there are more seeds, never the mean.
    """
    found = gains(part, results, steps)
    if found is None:
        return False
    gain = found[0][found[0].index.isin(seeds)]
    if len(gain) < len(seeds):
        return False
    low, high = interval(gain, 0.9)
    return (high - low) / 2 > part.get("margin", MARGIN)


def lead(part, results, steps, seeds):
    """How far the better of two arms is ahead of what does not learn, at least.

    The lower end of its 95 % interval; None where no such answer is known, and where
    it is the rival itself. It is the arm GUESS of the same trial, tested on the same
    groups; else the answer of which the column `constant` tells the IoU, for another
    score one of its name and `_constant`. A claim may ask by another score: `learned`.
    Where no lead above the margin is shown, it is not shown either that two networks
    could differ by as much: `compare` does not call them equal.
    """
    score = part.get("learned", part.get("score", "iou"))
    column = "constant" if score == "iou" else f"{score}_constant"
    if GUESS in part.values() or part.get("against") == column:
        return None
    guess = of_arm(GUESS, score, results, steps)
    is_arm = guess is not None and len(guess) > 0
    if not is_arm:
        if column not in results:
            return None
        guess = results[column].xs(steps, level="steps").dropna()
        guess = guess.groupby(level="seed").first()
    seeds = seeds.intersection(guess.index)
    if len(seeds) < 3:
        return None
    theirs = [counts_of(GUESS, score, results, steps, seeds)] if is_arm else []
    ends = []
    for name in (part["better"], part.get("worse", part["better"])):
        ahead = of_arm(name, score, results, steps)[seeds] - guess[seeds]
        counts = counts_of(name, score, results, steps, seeds)
        known = counts is not None
        error = groups.error(counts, *theirs) if known else groups.NONE
        ends.append(interval(ahead, error=error)[0])
    return max(ends)


def line(verdict, gain, better, worse, margin=MARGIN):
    """The numbers of one comparison as text; it takes what `compare` returns.

    With more digits where the margin is small.
    """
    digits = 2 if margin >= 0.01 else 4
    sure = verdict.low > 0 or verdict.high < 0
    small = ", sure and smaller than the margin" * (verdict.small and sure)
    if verdict.small and verdict.word == "undecided":
        small = "; that they learned more than the margin is not shown"
    more = f"+.{digits + 1}f"
    return (
        f"{trials.spread(better, digits)} against {trials.spread(worse, digits)}: "
        f"{gain.mean():{more}} ({verdict.low:{more}} to {verdict.high:{more}}), "
        f"n = {verdict.n}{small}"
    )


def decide(slug, *of, more=""):
    """Judge a claim of claims.toml at every known budget, show its box; the word.

    `of` are the trials that the claim rests on. A claim of several parts gets one word
    from theirs. `more` is a sentence that is said behind the numbers.
    """
    claim = claims()[slug]
    named = {trial.name.partition("/")[2]: trial for trial in of}
    tables = {name: trial.results() for name, trial in named.items()}
    words, lines, missing, seen = {}, [], [], set()
    for part in parts(claim):
        word, new = judged(part, tables[part["trial"]])
        when = part.get("when", "")
        words[when] = word
        if not new:
            missing.append(when)
        for row in new:
            seen |= pictures_seen(part, named[part["trial"]], row["steps"])
            if when:
                row["label"] = f"{when}, {row['label']}"
            lines.append(row)
    word = joined(words) if len(words) > 1 else word
    noted = trials.origin(claim["chapter"]).get("claims", {})
    if noted.get(slug, fixed(slug)) != fixed(slug):
        more = f"The claim was changed after its first runs. {more}"
    order = "make real" if any(trial.needs for trial in of) else "make bench"
    if not lines:
        more = f"Not recorded yet: {order}. {more}"
    elif missing:
        more = f"Not recorded yet ({order}): {'; '.join(missing)}. {more}"
    part = parts(claim)[0]
    arms = claim.get("arms", f"{arm(part['better'])} against {rival(part)}")
    margin = part.get("margin", MARGIN)
    own = f", margin {margin:g}" * (margin != MARGIN)
    numbers = f"{claim.get('what', 'Test IoU')}, {arms}; 95 % intervals{own}. {more}"
    facts = {"claimed by": claim.get("source", "")}
    facts |= {"trained there": claim.get("trained", "")}
    if seen:
        told = " and ".join(f"{pictures:,}" for pictures in sorted(seen))
        facts |= {"trained here": f"{told} {claim.get('seen', 'pictures')} seen"}
    page.verdict(slug, claim["claim"], word, numbers.strip(), lines, **facts)
    return word


def pictures_seen(part, trial, steps):
    """How many pictures the arms of a part saw at a budget: a set of numbers."""
    found = set()
    for name in (part["better"], part.get("worse", part["better"])):
        name = tuple(name) if isinstance(name, list) else name
        if name != GUESS:
            batch = (trial.settings | trial.variants[name]).get("batch", 8)
            found.add(batch * trial.steps_of(name, steps))
    return found


def rival(part):
    """What the better arm is compared with, as text."""
    return arm(part.get("worse", part.get("against")))


def arm(names):
    """An arm's name as text."""
    return trials.text(tuple(names) if isinstance(names, list) else names)


def on_record(tried):
    """Every claim at every budget on record: a DataFrame, a row for each.

    `tried` holds the trials of each chapter: a dict of dicts. Columns: slug, claim (its
    slug in plain words, and the condition), steps, word, mean, low, high, n, p (of the
    t-test).
    """
    rows = []
    for slug, claim in claims().items():
        for part in parts(claim):
            results = tried[claim["chapter"]][part["trial"]].recorded()
            plain = slug.replace("_", " ")
            name = ": ".join(filter(None, [plain, part.get("when")]))
            for row in judged(part, results)[1]:
                rows.append(dict(slug=slug, claim=name) | row)
    columns = ["slug", "claim", "steps", "word", "mean", "low", "high", "n", "p"]
    return pandas.DataFrame(rows, columns=columns)
