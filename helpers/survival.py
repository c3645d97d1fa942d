"""Claims that were tried on drawn pictures, longer, and on real ones: one table."""

import html

from IPython.display import HTML

from helpers import page, verdicts

COLUMNS = ("claim", "drawn", "drawn, trained longer", "real")


def drawn_and_real(tried):
    """The table of all claims of claims.toml that name a `drawn` one: HTML.

    `tried` holds the trials of each chapter, a dict of dicts. A field shows interval
    and word of each part of a claim: on the drawn probe at the shortest budget and at
    the longest, on real pictures at the longest that is known.
    """
    rows = []
    for slug, claim in verdicts.claims().items():
        if "drawn" in claim:
            rows.append(row(claim, known(claim["drawn"], tried), known(slug, tried)))
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    return HTML(
        '<div class="survival-scroll" tabindex="0" role="region" '
        'aria-label="Claims, drawn and real"><table class="survival"><thead>'
        f"<tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def known(slug, tried):
    """What is known of a claim: for each part its condition, and a line a budget.

    The last line has the word that the budgets make together, such as "gone by".
    """
    claim, found = verdicts.claims()[slug], []
    for part in verdicts.parts(claim):
        results = tried[claim["chapter"]][part["trial"]].recorded()
        word, lines = verdicts.judged(part, results)
        if len(lines) > 1:
            lines[-1]["word"] = word
        found.append((part.get("when", ""), lines))
    return found


def row(claim, drawn, real):
    """One row of the table, its intervals on one axis."""
    reach = 0
    for _, lines in drawn + real:
        for line in lines:
            reach = max(reach, abs(line["low"]), abs(line["high"]))
            reach = max(reach, 1.5 * line["margin"])
    first, longer, last = slice(0, 1), slice(1, None), slice(-1, None)
    told = f'<tr><th scope="row">{html.escape(claim["claim"])}</th>'
    for parts, which in ((drawn, first), (drawn, longer), (real, last)):
        told += f"<td>{field(parts, which, reach)}</td>"
    return f"{told}</tr>"


def field(parts, which, reach):
    """Condition, interval and word of each part, at the last of `which` budgets."""
    told = []
    for when, lines in parts:
        when = html.escape(when.removeprefix("the pictures are "))
        condition = f"<i>{when}</i><br>" if when else ""
        for line in lines[which][-1:]:
            sign, kind = page.sign_of(line["word"])
            word = line["word"]
            if "steps" not in word:
                word += f" ({line['steps']:,} steps)"
            word = html.escape(f"{sign} {word}")
            text = f"{condition}{page.strip(line, reach, 120)}{word}"
            told.append(
                f'<div class="verdict-{kind}" data-word="{html.escape(line["word"])}">'
                f"{text}</div>"
            )
    return "".join(told) or "not recorded yet"
