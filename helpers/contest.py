"""Several networks on several probes, read from the record: who is ahead where.

`compared` is a function of (network, probe, budget, rival) that returns what
`verdicts.compare` returns, or None where a field is not recorded. A budget is "short"
or "long".
"""

import pandas
from scipy import stats

from helpers import budgets, figures, page, verdicts

RIVAL = "U-Net"  # of all others, on the map
SURE = "holds", "does not hold here"


def fields(compared, networks, probes):
    """The words of the whole map, a DataFrame: budget, probe, network, word, p."""
    rows = []
    for budget in ("short", "long"):
        for probe in probes:
            for network in networks:
                found = compared(network, probe, budget, RIVAL)
                if found and network != RIVAL:
                    row = dict(budget=budget, probe=probe, network=network)
                    rows.append(row | dict(word=found[0].word, p=found[0].p))
    return pandas.DataFrame(rows, columns=["budget", "probe", "network", "word", "p"])


def withdrawn(looks):
    """Which sure words (rows of word and p) a correction for their number withdraws.

    Benjamini and Hochberg's procedure at 5 %: a Series of bool.
    """
    corrected = stats.false_discovery_control(looks.p.clip(1e-12, 1))
    return looks.word.isin(SURE) & (corrected > 0.05)


def heat_map(compared, networks, probes, budget, doubted=()):
    """Show the mean scores, coloured by the difference to the U-Net.

    Grey where that difference is not sure, or so small that it is none, or nothing was
    learned; with a dagger where (budget, probe, network) is `doubted`. Returns the
    matplotlib figure.
    """
    means = pandas.DataFrame(index=list(probes), columns=list(networks), dtype=float)
    gains, signs = means.copy(), means.astype(object).fillna("")
    for probe in probes:
        for network in networks:
            found = compared(network, probe, budget, RIVAL)
            if found is None:
                continue
            verdict, gain, mine, _ = found
            means.loc[probe, network] = mine.mean()
            if verdict.word in SURE or network == RIVAL:
                gains.loc[probe, network] = gain.mean()
            if (budget, probe, network) in doubted:
                signs.loc[probe, network] = "†"
    return figures.heat_map(means, gains, f"difference to {RIVAL}", signs)


def unbeaten(compared, networks, probe, budget):
    """Return the networks that none of the others surely beats, in their order.

    None is named where a pair is not recorded yet, and where nobody has learned.
    """
    good = []
    for name in networks:
        words = []
        for rival in networks:
            found = compared(rival, probe, budget, name)
            words.append(found[0].word if found else "holds")
        if "holds" not in words and set(words) != {"not learned at this budget"}:
            good.append(name)
    return good


def tally(compared, networks, probes, budget):
    """Tell in a table how often each network gets which word against the U-Net."""
    kinds, rows = [*budgets.LOOKS, "not recorded"], []
    for network in networks:
        counts = dict.fromkeys(kinds, 0)
        for probe in probes:
            found = compared(network, probe, budget, RIVAL)
            counts[page.kind_of(found[0].word) if found else "not recorded"] += 1
        rows.append((network, *counts.values()))
    kinds[kinds.index("equal within")] = "equal within the margin"
    caption = f"Against the {RIVAL}, {budget} trainings"
    return figures.table(rows, ["network", *kinds], caption)


def at_home(compared, homes, rival):
    """Compare each network with a rival on its own probe: words and numbers.

    After long trainings where they are on record, else after short ones. `homes` maps a
    network to its probe. Returns a dict from condition to word, as
    `verdicts.joined` takes it, and the numbers in one line.
    """
    words, numbers = {}, []
    for name, probe in homes.items():
        long = compared(name, probe, "long", rival)
        found = long or compared(name, probe, "short", rival)
        words[f"it is {name}"] = found[0].word if found else "undecided"
        if found:
            budget = "long" if long else "short"
            told = f"{probe}, {budget} trainings: {name} {verdicts.line(*found)}"
            numbers.append(told)
    return words, "; ".join(numbers)
