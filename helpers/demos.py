"""Something to play with, in a live notebook and on the printed page alike.

`explore(function, size=[...])` computes `function(size=...)` for every choice. With a
kernel the slider is an ipywidget that calls the function anew. On the rendered page
there is no kernel and perhaps no internet: an ordinary slider leafs through the frames.
Both travel in one output, and whoever shows it takes the one it understands.
"""

import base64
import html
import io
import itertools
import json
import math
import re

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

MOST_FRAMES = 120
numbers = itertools.count(1)  # ids must be unique on a page

SCRIPT = """
(function () {
  const demo = document.getElementById("KEY");
  const data = JSON.parse(demo.querySelector("script").textContent);
  const sliders = [...demo.querySelectorAll("input")];
  const frame = demo.querySelector(".demo-frame");
  function show() {
    let index = 0;
    sliders.forEach((slider, i) => {
      const words = data.values[i][slider.value];
      slider.setAttribute("aria-valuetext", words);
      slider.previousElementSibling.querySelector("output").textContent = words;
      index = index * data.values[i].length + Number(slider.value);
    });
    frame.style.minHeight = frame.offsetHeight + "px";
    frame.innerHTML = data.frames[index].map(k => data.parts[k]).join("");
  }
  sliders.forEach(slider => slider.addEventListener("input", show));
  if (sliders.some(slider => slider.value !== slider.defaultValue)) show();
})();
"""


def explore(function, alt=None, **choices) -> "Demo":
    """Let the reader change the parameters of `function` and see what it returns.

    Each choice is a parameter's name and the list of its values, the first of which is
    shown at first: `explore(halve, size=[64, 65, 66], depth=[1, 2])`. The function
    returns HTML or SVG text, something with `_repr_html_`, or a matplotlib figure; a
    figure needs `alt`, its text alternative: a text, or a function of the same
    parameters. Raises ValueError for more than 120 combinations or an empty list.
    """
    counts = {name: len(list(values)) for name, values in choices.items()}
    if not counts or 0 in counts.values():
        raise ValueError(f"explore needs values for each parameter, got {counts}")
    if math.prod(counts.values()) > MOST_FRAMES:
        product = " × ".join(f"{n} {name}" for name, n in counts.items())
        raise ValueError(
            f"{product} = {math.prod(counts.values())} frames; a page carries at most "
            f"{MOST_FRAMES}: give fewer values"
        )
    return Demo(function, alt, {name: list(values) for name, values in choices.items()})


class Demo:
    """What `explore` returns: `frames` as HTML text, and the notebook's output."""

    def __init__(self, function, alt, choices):
        self.function, self.alt, self.choices = function, alt, choices
        combinations = itertools.product(*choices.values())
        self.frames = [self.frame(**self._named(values)) for values in combinations]

    def frame(self, **values) -> str:
        """The HTML for one choice."""
        return as_html(self.function(**values), self.alt, values)

    def _named(self, values) -> dict:
        return dict(zip(self.choices, values, strict=True))

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        view = {"model_id": self.widget().model_id}
        return {
            "text/plain": f"a demo with {len(self.frames)} frames",
            "text/html": self.page(),
            "application/vnd.jupyter.widget-view+json": view
            | {"version_major": 2, "version_minor": 0},
        }

    def widget(self):
        """The live version, for ipywidgets 7 and 8."""
        import ipywidgets

        sliders = {
            name: ipywidgets.SelectionSlider(
                options=[(str(v), v) for v in values],
                description=_words(name),
                style={"description_width": "initial"},
            )
            for name, values in self.choices.items()
        }
        shown = ipywidgets.HTML(self.frames[0])

        def update(_change):
            shown.value = self.frame(**{n: s.value for n, s in sliders.items()})

        for slider in sliders.values():
            slider.observe(update, names="value")
        return ipywidgets.VBox([*sliders.values(), shown])

    def page(self) -> str:
        """The version without a kernel: sliders, frames and a few lines of script."""
        key = f"demo-{next(numbers)}"
        sliders = "".join(
            _slider(f"{key}-{name}", name, values)
            for name, values in self.choices.items()
        )
        parts, frames = pack(self.frames)
        values = [[str(v) for v in values] for values in self.choices.values()]
        data = json.dumps(
            {"values": values, "parts": parts, "frames": frames},
            separators=(",", ":"),
            ensure_ascii=False,
        ).replace("</", "<\\/")
        return (
            f'<div class="demo" id="{key}">{sliders}'
            f'<div class="demo-frame">{self.frames[0]}</div>'
            f'<script type="application/json">{data}</script>'
            f"<script>{SCRIPT.replace('KEY', key)}</script></div>"
        )


def as_html(result, alt, values) -> str:
    """What a demo's function returned, as HTML text."""
    if isinstance(result, Figure):
        return _image(result, alt(**values) if callable(alt) else alt)
    if hasattr(result, "_repr_html_"):
        return result._repr_html_()
    if isinstance(result, str):
        return result
    raise TypeError(f"a demo shows HTML text or a figure, not {type(result).__name__}")


def pack(frames) -> tuple[list[str], list[list[int]]]:
    """Cut frames at their tags and keep equal pieces once: most of a page is equal."""
    cut = [re.findall(r"<?[^<]+|<", frame) for frame in frames]
    index = {part: i for i, part in enumerate(dict.fromkeys(itertools.chain(*cut)))}
    return list(index), [[index[part] for part in parts] for parts in cut]


def _image(figure, alt) -> str:
    if not alt:
        plt.close(figure)
        raise ValueError("a figure in a demo needs alt=, its text alternative")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=96, facecolor=figure.get_facecolor())
    plt.close(figure)  # else the notebook shows it once more
    data = base64.b64encode(file.getvalue()).decode()
    style = "max-width:100%;height:auto"
    return (
        f'<img alt="{html.escape(alt)}" style="{style}" '
        f'src="data:image/png;base64,{data}">'
    )


def _slider(key, name, values) -> str:
    first = html.escape(str(values[0]))
    return (
        f'<label for="{key}">{_words(name)}: <output for="{key}">{first}</output>'
        f'</label><input type="range" id="{key}" min="0" max="{len(values) - 1}" '
        f'value="0" aria-valuetext="{first}" '
        'style="display:block;width:100%;max-width:30rem">'
    )


def _words(name) -> str:
    return name.replace("_", " ")
