"""The same trainings on two machines: does a word of the record depend on the machine?

Some recorded trainings were made twice, on a processor and on a graphics card, with the
same first weights, pictures and batches. notebooks/two_machines.csv has a row for each:
what it is, as in a record, and its score on either.
"""

import pandas

from helpers import trials, verdicts


def twice():
    """The table: chapter, trial, variant, steps, seed, score, processor, gpu."""
    return pandas.read_csv(trials.RECORDS / "two_machines.csv")


def counted(tried):
    """How many trainings are on record, and how many of these ran on a card.

    `tried` holds the trials of each chapter, a dict of dicts.
    """
    there = cards = 0
    for of in tried.values():
        for trial in of.values():
            rows = trial.recorded()
            learned = [verdicts.GUESS not in key for key in rows.index]
            there += sum(learned)
            cards += rows.canary[learned].str.contains("torch").sum()
    return there, cards


def gains():
    """Each network's gain on either machine: over the U-Net, or the first by name.

    A row is (trial, steps, arms, word on the processor, word on the card, by how much
    the gain moved). The words are those of the seeds alone, without the test groups.
    """
    rows = []
    for (trial, steps), own in twice().groupby(["trial", "steps"]):
        own = own.pivot(index="seed", columns="variant")
        rival, *others = sorted(own.gpu, key=lambda name: name != "U-Net")
        for name in others:
            here = own.processor[name] - own.processor[rival]
            there = own.gpu[name] - own.gpu[rival]
            words = verdicts.judge(here).word, verdicts.judge(there).word
            low, high = verdicts.interval(there - here)
            moved = f"{(there - here).mean():+.3f} ({low:+.3f} to {high:+.3f})"
            rows.append((trial, steps, f"{name} over {rival}", *words, moved))
    return rows
