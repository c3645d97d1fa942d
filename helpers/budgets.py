"""Figures with a time axis: scores and judgements against the steps of a training."""

import matplotlib.pyplot as plt

from helpers import figures, page

LOOKS = {  # of a judgement's word, by its kind: its colour, whether its dot is full
    "holds": (figures.COLOURS["U-Net"], True),
    "does not hold here": (figures.COLOURS["ResUNet"], True),
    "equal within": ("#888888", True),
    "undecided": ("#888888", False),
    "not learned at this budget": ("#888888", False),
}


def judgements(record):
    """Plot each claim's judgements against the steps: a row a claim.

    `record` is a table of `verdicts.on_record`. Returns the matplotlib figure. Raises
    ValueError for a word that is no verdict.
    """
    claims = record.claim.unique()
    figure, axis = plt.subplots(figsize=(7, 0.9 + 0.27 * len(claims)))
    for y, name in enumerate(claims):
        mine = record[record.claim == name]
        axis.plot(mine.steps, [y] * len(mine), color="#cccccc", zorder=0)
        for steps, word in zip(mine.steps, mine.word):
            colour, full = LOOKS[page.kind_of(word)]
            middle = colour if full else "white"
            axis.plot(steps, y, "o", color=colour, markerfacecolor=middle)
    axis.set_yticks(range(len(claims)), claims, fontsize=8)
    axis.set(xscale="log", xlabel="steps of the training")
    axis.set_ylim(len(claims) - 0.5, -0.5)
    return figure


def scores(table, column, looks, label):
    """Plot a score of each variant against the steps: the mean and its deviation.

    `table` is that of `Trial.results`; `looks` maps a variant to its colour and marker,
    `label` names the score. Returns the matplotlib figure.
    """
    figure, axis = plt.subplots(figsize=(6.4, 4.6))
    for name, (colour, marker) in looks.items():
        steps = table[column].xs(name, level="variant").groupby(level="steps")
        axis.errorbar(
            list(steps.groups), steps.mean(), steps.std(), label=name,
            color=colour, marker=marker, capsize=3,
        )  # fmt: skip
    budgets = table.index.unique("steps")
    axis.set(xscale="log", xlabel="steps of the training", ylabel=label)
    axis.set_xticks(budgets, budgets)
    axis.minorticks_off()
    figure.legend(loc="outside lower center", ncols=2, fontsize=11)
    return figure
