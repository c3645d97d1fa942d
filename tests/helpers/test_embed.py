"""helpers.embed, and the scripts that lie beside the helpers."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helpers
from helpers import embed

SCRIPTS = sorted(Path(helpers.__file__).parent.glob("*.js"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_cannot_end_early(script):
    assert "</" not in embed.read(script.name)


@pytest.mark.parametrize("file", ["canvas.js", "demos.js"])
def test_scripts_know_their_element(file):
    text = embed.script(file, "demo-7")
    assert 'getElementById("demo-7")' in text and "KEY" not in text


def test_what_is_kept_apart_is_marked_by_its_text():
    one, mark = embed.apart("application/json", "[1]")
    assert one == f'<script type="application/json" data-live="{mark}">[1]</script>'
    assert embed.apart("application/json", "[1]")[1] == mark
    assert embed.apart("application/json", "[2]")[1] != mark


def test_data_reaches_the_script_whole():
    data = {"words": "</script>½ <!--<script>", "numbers": [1, 2.5]}
    text = embed.json_script(data)
    assert text.count("<") == 2  # one to begin with, one to end
    inside = re.fullmatch(r"<script[^>]*>(.*?)</script>", text)[1]
    assert json.loads(inside) == data


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (3, 4, 6)])
def test_pictures_arrive_exactly(shape):
    values = np.random.default_rng(0).integers(0, 256, shape)
    code = embed.png_url(values / 255).split(",")[1]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))
    shown = shown if shown.ndim == 2 else shown.transpose(2, 0, 1)
    assert np.array_equal(shown, values.squeeze())


def test_a_photograph_is_lighter_and_nearly_the_same():
    noise = np.random.default_rng(0).normal(0, 0.05, (64, 64))
    grey = (np.linspace(0.2, 0.8, 64) + noise).clip(0, 1)
    values = np.stack([grey, 0.9 * grey, 0.8 * grey])
    code = embed.jpeg_url(values).split(",")[1]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))
    assert abs(shown.transpose(2, 0, 1) / 255 - values).mean() < 0.02
    assert len(code) < len(embed.png_url(values)) / 2


def test_ids_are_never_given_twice():
    assert len({embed.new_id("demo") for _ in range(5)}) == 5
