"""What a page carries inside itself, so that it needs nothing from elsewhere.

Ids of its drawings and demos, pictures as data URLs, scripts and styles as text.
"""

import base64
import hashlib
import io
import itertools
import json
from importlib import resources

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

_numbers = itertools.count(1)


def new_id(kind: str) -> str:
    """An HTML id that nothing else on the page has: network-1, demo-2, canvas-3."""
    return f"{kind}-{next(_numbers)}"


def read(file: str) -> str:
    """The text of a script or a style that lies beside the helpers."""
    return resources.files("helpers").joinpath(file).read_text(encoding="utf-8")


def script(file: str, key: str) -> str:
    """A script beside the helpers as a <script>, for the element with the id `key`.

    The script calls its element KEY.
    """
    return f"<script>{read(file).replace('KEY', key)}</script>"


def as_json(data) -> str:
    """Data as JSON that no text in it can end, where it stands in a <script>."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c")


def json_script(data) -> str:
    """Data for a script, as a <script>."""
    return f'<script type="application/json">{as_json(data)}</script>'


def apart(kind: str, text: str) -> tuple[str, str]:
    """A <script> that the book keeps in a file of its own, and the mark it goes by.

    A notebook holds the text itself, so that it needs nothing else; for the book's
    pages book/_ext/pages.py moves it to a file, which pages share. `kind` is
    "text/javascript", which runs there as here, or "application/json".
    """
    mark = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f'<script type="{kind}" data-live="{mark}">{text}</script>', mark


def large_view() -> str:
    """What opens drawings and pictures large; a page may hold it more than once."""
    script, _ = apart("text/javascript", read("large.js"))
    return f"<style>{read('large.css')}</style>{script}"


def png_url(picture) -> str:
    """A picture as a data URL: (H, W), (1, H, W) or (3, H, W) with values 0..1.

    A matplotlib figure is one too; it is left open.
    """
    file = io.BytesIO()
    if isinstance(picture, Figure):
        colour = picture.get_facecolor()
        picture.savefig(file, format="png", dpi=96, facecolor=colour)
    else:
        _image(picture).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def jpeg_url(picture) -> str:
    """The same of a photograph: a fraction of the bytes, and not exact."""
    file = io.BytesIO()
    _image(picture).save(file, "JPEG", quality=90, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _image(picture):
    """Pillow's image of values 0..1, with the colours last."""
    values = 255 * np.asarray(picture, dtype=float)
    values = values.round().astype(np.uint8)
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    elif values.ndim == 3:
        values = values.transpose(1, 2, 0)
    return Image.fromarray(values)
