"""Something to play with, in a live notebook and on the printed page alike.

`explore(function, size=[...])` computes `function(size=...)` for every choice. With a
kernel the slider is an ipywidget that calls the function anew. On the rendered page
there is no kernel and perhaps no internet: an ordinary slider leafs through the frames.
Both travel in one output, and whoever shows it takes the one it understands.
"""

import html
import itertools
import math
import re

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from helpers import embed

MOST_FRAMES = 120


def explore(function, alt=None, **choices) -> "Demo":
    """Let the reader change the parameters of `function` and see what it returns.

    Each choice is a parameter's name and the list of its values, the first of which is
    shown at first: `explore(halve, size=[64, 65, 66], depth=[1, 2])`. The function
    returns HTML or SVG text, something with `_repr_html_`, or a matplotlib figure; a
    figure needs `alt`, its text alternative: a text, or a function of the same
    parameters. Raises ValueError for more than 120 combinations, an empty list and a
    figure without `alt`, TypeError for a function that returns anything else.
    """
    choices = {name: list(values) for name, values in choices.items()}
    if not choices or [] in choices.values():
        raise ValueError(f"explore needs values for each parameter, got {choices}")
    counts = list(map(len, choices.values()))
    frames = math.prod(counts)
    if frames > MOST_FRAMES:
        product = " × ".join(map("{} {}".format, counts, choices))
        raise ValueError(
            f"{product} = {frames} frames; a page carries at most {MOST_FRAMES}: give "
            "fewer values"
        )
    return Demo(function, alt, choices)


class Demo:
    """What `explore` returns: `frames` as HTML text, and the notebook's output."""

    def __init__(self, function, alt, choices):
        """Make all frames: call the function with each combination of the choices."""
        self.function, self.alt, self.choices = function, alt, choices
        self.frames = []
        for values in itertools.product(*choices.values()):
            chosen = dict(zip(choices, values, strict=True))
            self.frames.append(self.frame(**chosen))

    def frame(self, **values) -> str:
        """The HTML for one choice."""
        return as_html(self.function(**values), self.alt, values)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """What a notebook keeps: the page, and the widget for who has a kernel."""
        view = {"model_id": self.widget().model_id}
        view |= {"version_major": 2, "version_minor": 0}
        return {
            "text/plain": f"a demo with {len(self.frames)} frames",
            "text/html": self.page(),
            "application/vnd.jupyter.widget-view+json": view,
        }

    def widget(self):
        """The live version, for ipywidgets 7 and 8."""
        import ipywidgets

        sliders = {}
        shown = ipywidgets.HTML(self.frames[0])

        def update(_change):
            chosen = {name: slider.value for name, slider in sliders.items()}
            shown.value = self.frame(**chosen)

        for name, values in self.choices.items():
            sliders[name] = ipywidgets.SelectionSlider(
                options=list(zip(map(str, values), values)),
                description=_words(name),
                style={"description_width": "initial"},
            )
            sliders[name].observe(update, names="value")
        return ipywidgets.VBox([*sliders.values(), shown])

    def page(self) -> str:
        """The version without a kernel: sliders, frames and a few lines of script."""
        key = embed.new_id("demo")
        sliders, labels = "", []
        for name, values in self.choices.items():
            sliders += _slider(f"{key}-{name}", name, values)
            labels.append(list(map(str, values)))
        parts, frames = pack(self.frames)
        data = dict(values=labels, parts=parts, frames=frames)
        return (
            f'<div class="demo" id="{key}">{sliders}'
            f'<div class="demo-frame">{self.frames[0]}</div>'
            f"{embed.json_script(data)}{embed.script('demos.js', key)}</div>"
        )


def as_html(result, alt, values) -> str:
    """What a demo's function returned, as HTML text. Raises as `explore` does."""
    if isinstance(result, Figure):
        return _image(result, alt(**values) if callable(alt) else alt)
    if hasattr(result, "_repr_html_"):
        return result._repr_html_()
    if isinstance(result, str):
        return result
    raise TypeError(f"a demo shows HTML text or a figure, not {type(result).__name__}")


def pack(frames) -> tuple[list[str], list[list[int]]]:
    """Cut frames at their tags and keep equal pieces once: most of a page is equal."""
    index, packed = {}, []
    for frame in frames:
        parts = re.findall(r"<?[^<]+|<", frame)
        packed.append([index.setdefault(part, len(index)) for part in parts])
    return list(index), packed


def _image(figure, alt) -> str:
    """A figure as an <img>, and closed; ValueError without a text alternative."""
    if not alt:
        plt.close(figure)
        raise ValueError("a figure in a demo needs alt=, its text alternative")
    url = embed.png_url(figure)
    plt.close(figure)  # else the notebook shows it once more
    style = "max-width:100%;height:auto"
    return f'<img alt="{html.escape(alt)}" style="{style}" src="{url}">'


def _slider(key, name, values) -> str:
    """A slider that stands at the first of its values, and its label."""
    first = html.escape(str(values[0]))
    return (
        f'<label for="{key}">{_words(name)}: <output for="{key}">{first}</output>'
        f'</label><input type="range" id="{key}" min="0" max="{len(values) - 1}" '
        f'value="0" aria-valuetext="{first}" '
        'style="display:block;width:100%;max-width:30rem">'
    )


def _words(name) -> str:
    """The name of an argument as a reader sees it."""
    return name.replace("_", " ")
