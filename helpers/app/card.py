"""A model card in Markdown: what the model is for, how good it is, and its limits."""

from helpers.app.measure import kind
from helpers.app.report import between, never_seen, number


def text(run, about, scores, others, facts, licence):
    """The card of a model in its folder: what it is, and how it is used."""
    return description(run, about, scores, others, licence) + use(run, about, facts)


def description(run, about, scores, others, licence):
    """What a model is, filled from what its folder knows.

    `others`: scores on pictures that had no part in the training, or None. What only a
    person knows is left to fill in, and marked so.
    """
    data = scores["data"]
    lines = [
        f"# {about['network']}, trained as {run.resolve().name}",
        "",
        f"Segments {'volumes' if about['volumes'] else 'pictures'} into: "
        f"{', '.join(about['names'])}.",
        "",
        "## Data",
        "",
        "**Fill in:** where the pictures are from, who marked them, and on what terms.",
        "",
        f"- {len(data['train'])} to train on, {len(data['validation'])} to validate, "
        f"divided by {told_group(about)}",
        f"- sum of all pixels and masks: `{data['sum']}`",
        "",
        "## Scores",
        "",
        f"| pictures | {kind(about['classes'])} | 95 % interval |",
        "|---|---|---|",
        row(f"validation ({len(scores['pictures'])})", scores),
    ]
    if others:
        lines.append(row(f"others ({len(others['pictures'])})", others))
    if about["classes"] > 1:
        best = others or scores
        lines += ["", "| class | IoU | 95 % interval |", "|---|---|---|"]
        for name, one in zip(about["names"], best["classes"]):
            lines.append(row(name, one))
    lines += [
        "",
        "Scores are pooled over all pixels; the intervals say how much they depend on "
        "which pictures there were (bootstrap).",
        "",
        "## Limits",
        "",
    ]
    for limit in limits(about, data, scores, others):
        lines.append(f"- {limit}")
    lines += ["- **Fill in:** where it must not be used.", "", "## Licence", ""]
    lines += [licence or "**Fill in:** the licence of the model (--licence).", ""]
    return "\n".join(lines)


def row(name, scores):
    """A line of a table: name, score and interval."""
    interval = between(scores["interval"], "") or "–"
    return f"| {name} | {number(scores['iou'])} | {interval} |"


def told_group(about):
    """What the pictures were divided by, in words."""
    return f"`{about['group']}`" if about.get("group") else "picture, at random"


def limits(about, data, scores, others):
    """What the numbers do not say: sentences."""
    found = []
    if not others:
        found.append(
            "Weights and threshold were chosen on the validation pictures, so their "
            "score flatters; no others were tried (`report --images ... --masks ...`)."
        )
    if not about.get("group"):
        found.append(
            "Pictures were divided one by one: if several show one object, the score "
            "flatters (`--group`)."
        )
    if not scores["interval"]:
        found.append("There are too few pictures for an interval.")
    if told := never_seen(about, data):
        found.append(told)
    if not about["exact"]:
        found.append("It sees farther than a tile: in large pictures seams can show.")
    sizes = {tuple(size) for size in data["sizes"]}
    found.append(f"Trained on pictures from {min(sizes)} to {max(sizes)} px.")
    return found


def use(run, about, facts):
    """How to use the model, here and elsewhere."""
    mask = "MASK.nii.gz" if about["volumes"] else "MASK.png"
    line = f"predict --model {run / 'model.pt'} --image PICTURE --out {mask}"
    lines = [
        "",
        "## How to use it",
        "",
        "In the book's folder:",
        "",
        "```",
        f".venv/bin/python -m helpers.app {line}",
        "```",
        "",
        "`model.onnx` takes `image` and returns `logits`; its metadata say the same:",
        "",
    ]
    for key, value in facts.items():
        lines.append(f"- {key}: {value}")
    lines += ["", "## Versions", ""]
    for name, version in about["versions"].items():
        lines.append(f"- {name} {version}")
    return "\n".join([*lines, ""])
