"""The six networks for pages without code, drawn from the chapters' own: `make drawn`.

    book/drawn/example.html     a picture, its mask, and what the recorded U-Net answers
    book/drawn/family.html      side by side, with parameters and MACs
    book/drawn/worksheets.html  one sheet each, without numbers, to print for class
    book/drawn/unet.html        ... and each alone with its numbers, by its chapter
    book/drawn/look.html        what all of these need on a page, once

The files are kept in git and compared with the networks by tests/book/test_drawn.py.
"""

import re
from pathlib import Path
from typing import NamedTuple

import torch

from helpers import chapters, cost, data, drawing, embed, figures, live_demos, metrics
from helpers.app.files import write_text

FOLDER = Path(__file__).resolve().parents[1] / "drawn"


class Paper(NamedTuple):
    """A network of a paper: where it is written, its use, an input, what is one box."""

    chapter: str
    network: str
    use: str  # what to take it for
    shape: tuple
    depth: int | None = None  # modules below this one are drawn as one


# fmt: off
PAPERS = {  # by their names in figures.COLOURS
    "FCN": Paper(
        "01_fcn", "FCN8s", "large regions, a trained classifier, little time",
        (1, 3, 500, 500),
    ),
    "U-Net": Paper(
        "02_unet", "UNet", "thin structures; begin here",
        (1, 1, 572, 572),
    ),
    "V-Net": Paper(
        "03_vnet", "VNet", "volumes whose slices explain each other",
        (1, 1, 64, 128, 128), depth=2,
    ),
    "ResUNet": Paper(
        "04_resunet", "ResUNet", "a U that must become deep",
        (1, 3, 224, 224), depth=1,
    ),
    "Inception-U-Net": Paper(
        "05_inception_unet", "InceptionUNet",
        "several scales at once, where a trial shows a gain",
        (1, 3, 128, 128), depth=1,
    ),
    "U2-Net": Paper(
        "06_u2net", "U2Net", "broken outlines, as of heads in ultrasound",
        (1, 3, 320, 320), depth=1,
    ),
}
# fmt: on


def members():
    """Return the six networks as `drawing.family` wants them, with what they cost."""
    found = []
    for name, paper in PAPERS.items():
        with torch.device("meta"):  # shapes without numbers
            net = getattr(chapters.load(paper.chapter), paper.network)()
        weights = figures.count(cost.params(net))
        macs = figures.count(cost.macs(net, *paper.shape))
        size = "\u00a0×\u00a0".join(map(str, paper.shape[2:]))
        note = f"For {paper.use}. {weights} parameters, {macs} MACs at {size}"
        colour = figures.COLOURS[name]
        name = name.replace("U2", "U²")
        member = drawing.Member(name, net, paper.shape, colour, paper.depth, note)
        found.append(member)
    return found


CHINESE = {"A picture": "影像", "Its mask": "遮罩", "A network's answer": "網路的答案"}


def example():
    """Segmentation in one row: a test picture of middling IoU for the recorded net."""
    small_unet = chapters.load("02_unet").small_unet
    net, threshold = live_demos.recorded(small_unet(), "U-Net")
    pictures, masks = data.common_task(100).test.tensors
    with torch.no_grad():
        found = net(pictures).sigmoid() > threshold
    order = figures.worst_to_best(found, masks)
    k = order[len(order) // 2]
    score = metrics.iou(found[[k]], masks[[k]])
    answer = figures.overlaid(pictures[k], masks[k, 0].numpy() > 0, found[k, 0].numpy())
    told = (
        (pictures[k], "a surface with defects", "A picture"),
        (masks[k], "white where the defects are, black elsewhere", "Its mask"),
        (
            answer.transpose(2, 0, 1),
            f"the picture with what it finds, IoU {score:.2f}: green where it is "
            "right, pink where it misses, orange where it marks too much",
            "A network's answer",
        ),
    )
    text = ""
    for picture, alt, caption in told:
        url = embed.png_url(picture)
        text += f'<figure><img src="{url}" width="64" height="64" alt="{alt}">'
        text += f'<figcaption><span lang="en">{caption}</span>'  # book.css shows one
        text += f'<span lang="zh-Hant">{CHINESE[caption]}</span>'
        text += "</figcaption></figure>\n"
    return f'<div class="example">\n{text}</div>\n'


def pages():
    """Return the text of each file by its name."""
    six, sheets, found = members(), "", {}
    for net, paper in zip(six, PAPERS.values()):
        own = dict(title=net.name, depth=net.depth)
        sheets += f"{drawing.worksheet(net.net, *net.shape, **own).html}\n"
        alone = drawing.draw(net.net, *net.shape, colour=net.colour, **own).html
        found[f"{paper.chapter[3:]}.html"] = f'<div lang="en">{alone}</div>\n'
    found["family.html"] = f'<div lang="en">{drawing.family(six).html}</div>\n'
    found["worksheets.html"] = sheets
    look, large = embed.read("drawing.css"), embed.large_view()
    for name, text in found.items():
        bare = text.replace(look, "").replace(large, "").replace("<style></style>", "")
        found[name] = numbered(bare, name.removesuffix(".html"))
    found["look.html"] = f"<style>{look}</style>{large}\n"
    found["example.html"] = example()
    return found


def numbered(text, name):
    """Number the drawings of a file, by its name, whatever was drawn before."""
    order = list(dict.fromkeys(re.findall(r"network-(\d+)", text)))
    return re.sub(r"network-(\d+)", lambda m: f"{name}-{order.index(m[1]) + 1}", text)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        write_text(FOLDER / name, text)
