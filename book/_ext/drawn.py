"""The six networks for pages without code, drawn from the chapters' own: `make drawn`.

    book/drawn/family.html      side by side, with parameters and MACs
    book/drawn/worksheets.html  one sheet each, without numbers, to print for class

The files are kept in git and compared with the networks by tests/book/test_drawn.py.
"""

import re
from pathlib import Path
from typing import NamedTuple

import torch

from helpers import chapters, cost, drawing, figures

FOLDER = Path(__file__).resolve().parents[1] / "drawn"


class Paper(NamedTuple):
    """A network of a paper: where it is written, an input, modules drawn as one."""

    chapter: str
    network: str
    shape: tuple
    depth: int | None = None


PAPERS = {  # by their names in figures.COLOURS
    "FCN": Paper("01_fcn", "FCN8s", (1, 3, 500, 500)),
    "U-Net": Paper("02_unet", "UNet", (1, 1, 572, 572)),
    "V-Net": Paper("03_vnet", "VNet", (1, 1, 64, 128, 128), depth=2),
    "ResUNet": Paper("04_resunet", "ResUNet", (1, 3, 224, 224), depth=1),
    "Inception-U-Net": Paper(
        "05_inception_unet", "InceptionUNet", (1, 3, 128, 128), depth=1
    ),
    "U2-Net": Paper("06_u2net", "U2Net", (1, 3, 320, 320), depth=1),
}


def members():
    """Return the six networks as `drawing.family` wants them, with what they cost."""
    found = []
    for name, paper in PAPERS.items():
        with torch.device("meta"):  # shapes without numbers
            net = getattr(chapters.load(paper.chapter), paper.network)()
        weights = figures.count(cost.params(net))
        macs = figures.count(cost.macs(net, *paper.shape))
        size = "\u00a0×\u00a0".join(map(str, paper.shape[2:]))
        note = f"{weights} parameters, {macs} MACs at {size}"
        colour = figures.COLOURS[name]
        name = name.replace("U2", "U²")
        member = drawing.Member(name, net, paper.shape, colour, paper.depth, note)
        found.append(member)
    return found


def pages():
    """Return the text of each file by its name."""
    six, sheets = members(), ""
    for net in six:
        sheet = drawing.worksheet(net.net, *net.shape, title=net.name, depth=net.depth)
        sheets += f"{sheet.html}\n"
    family = f"{drawing.family(six).html}\n"
    style = re.search(r"(?s)<style>.*?</style>", sheets)[0]  # the same in each
    sheets = style + sheets.replace(style, "")
    return {"family.html": numbered(family), "worksheets.html": numbered(sheets)}


def numbered(text):
    """Number the drawings of a page from 1, whatever was drawn before."""
    order = list(dict.fromkeys(re.findall(r"network-(\d+)", text)))
    return re.sub(r"network-(\d+)", lambda m: f"drawn-{order.index(m[1]) + 1}", text)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
