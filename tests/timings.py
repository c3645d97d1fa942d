"""What the run of the chapters took, beside the budget that the book has set itself."""

SECONDS, LONG = 120, 170  # of a chapter alone, on two idle cores
LONG_ONES = ("02", "06", "08")
PEAK = 2.5e9  # bytes of all that runs at a time: two chapters


def table(runs, total):
    """The lines to print; `runs` and `total` are (name, seconds, bytes at the peak)."""
    long = ", ".join(LONG_ONES)
    lines = [
        f"over: more than {SECONDS} s ({long}: {LONG} s), the budget of a chapter that "
        "runs alone on an idle machine",
        f"{'chapter':24}{'seconds':>10}{'MiB peak':>10}",
    ]
    for name, seconds, peak in sorted(runs):
        most = LONG if name[:2] in LONG_ONES else SECONDS
        lines.append(line(name, seconds, peak) + ("  over" if seconds > most else ""))
    lines.append(line(*total))
    if total[2] > PEAK:
        lines.append(
            f"over: all at a time held {total[2] / 1e9:.2f} GB, more than "
            f"{PEAK / 1e9:.1f} GB"
        )
    return lines


def line(name, seconds, peak):
    """A row of the table."""
    return f"{name:24}{seconds:10.1f}{peak / 2**20:10.0f}"
