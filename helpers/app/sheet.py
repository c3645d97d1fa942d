"""A page in one HTML file that needs nothing from elsewhere, and what stands on it."""

import html
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from helpers.app.files import write_text
from helpers.embed import jpeg_url, png_url

STYLE = Path(__file__).with_name("sheet.css")
SIDE = 256  # px of a picture on a page, at most
FOUND = (230, 120, 20)  # the colour of an object on a picture


def new_page(path):
    """ValueError unless a page can be written there, and none is there already."""
    if path.suffix.lower() != ".html":
        raise ValueError(f"{path} is no .html: what is written is a page")
    if path.exists():
        raise ValueError(f"{path} is there already: name another, or delete it")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is not a folder: make it first")


def write_page(path, title, parts):
    """Write a page of some parts, each HTML, below a title."""
    title = html.escape(title)
    style = STYLE.read_text(encoding="utf-8")
    write_text(
        path,
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style></head>\n"
        f"<body>\n<h1>{title}</h1>\n" + "\n".join(parts) + "\n</body></html>\n",
    )


def heading(text):
    """A heading of the second level."""
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text, kind=""):
    """A paragraph of text, of a class of sheet.css."""
    return f'<p class="{kind}">{html.escape(text)}</p>'


def items(texts, kind=""):
    """A list of sentences."""
    lines = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f'<ul class="{kind}">{lines}</ul>'


def table(rows, header):
    """A table of texts; it scrolls by itself where the page is too narrow."""
    lines = [cells(header, "th")]
    for row in rows:
        lines.append(cells(row, "td"))
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def cells(row, tag):
    """A row of a table; `tag` is th or td."""
    line = "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in row)
    return f"<tr>{line}</tr>"


def picture(values, alt, caption=""):
    """A picture (3, H, W) in 0..1, or a matplotlib figure."""
    alt, caption = html.escape(alt), html.escape(caption)
    url = png_url(values) if isinstance(values, Figure) else jpeg_url(values)
    image = f'<img src="{url}" alt="{alt}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def legend(names, colours):
    """The classes and the colours they are painted in; the first is left as it is."""
    parts = []
    if len(names) == 2:
        colours = [None, FOUND]
    else:
        parts.append(f"<li>{html.escape(names[0])}: not painted</li>")
    for name, colour in list(zip(names, colours))[1:]:
        key = f'<span class="key" style="background: rgb{tuple(colour)}"></span>'
        parts.append(f"<li>{key}{html.escape(name)}</li>")
    return f"<ul>{''.join(parts)}</ul>"


# --- pictures with what is marked on them ------------------------------------------


def view(image, side=SIDE):
    """A picture (3, H, W) in 0..1, at most `side` px; of a volume the middle slice."""
    image = middle(image).float()
    if len(image) == 1:  # a volume has no range of its own
        low, high = image.min(), image.max()
        image = ((image - low) / (high - low).clamp(min=1e-6)).expand(3, -1, -1)
    return shrunk(image, side, "area")


def marked(image, mask, colours, side=SIDE):
    """The same with a mask or label map (1, ...) laid over it in colours."""
    image = view(image, side)
    labels = F.interpolate(
        middle(mask)[None].float(), image.shape[1:], mode="nearest-exact"
    )[0, 0].long()
    colours = [None, FOUND] if len(colours) < 3 else colours
    for number, colour in enumerate(colours):
        if number == 0:
            continue
        inside = labels == number
        paint = torch.tensor(colour)[:, None] / 255
        image[:, inside] = 0.4 * image[:, inside] + 0.6 * paint
    return image


def middle(values):
    """(C, H, W) as it is; of (C, D, H, W) the slice in the middle."""
    return values[:, values.shape[1] // 2] if values.ndim == 4 else values


def shrunk(image, side, mode):
    """A picture (C, H, W) whose longer side is `side` px; a smaller one as it is."""
    height, width = image.shape[1:]
    scale = side / max(height, width)
    if scale >= 1:
        return image.clone()
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return F.interpolate(image[None], size, mode=mode)[0]
