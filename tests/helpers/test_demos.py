"""helpers.demos: the frames, the page in a browser, the output of a notebook."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from helpers.demos import Demo, explore, pack


def product(a, b=1):
    return f"<table><tr><td>{a} times {b}</td><td>is {a * b}</td></tr></table>"


def plot(n):
    figure, axis = plt.subplots(figsize=(2, 1))
    axis.plot(range(n))
    return figure


def data_of(page):
    text = re.search(r'<script type="application/json">(.*?)</script>', page, re.S)
    return json.loads(text[1])


def test_a_frame_for_each_combination():
    demo = explore(product, a=[2, 3, 5], b=[7, 11])
    assert len(demo.frames) == 6
    assert "2 times 11" in demo.frames[1]  # the last parameter runs fastest
    assert "5 times 11" in demo.frames[5]


def test_the_page_carries_every_frame_and_shows_the_first():
    demo = explore(product, a=[2, 3], b=[7, 11])
    page = demo.page()
    data = data_of(page)
    frames = ["".join(data["parts"][k] for k in frame) for frame in data["frames"]]
    assert frames == demo.frames
    assert f'<div class="demo-frame">{demo.frames[0]}</div>' in page
    assert data["values"] == [["2", "3"], ["7", "11"]]


def test_equal_parts_are_kept_once():
    frames = [f"<p>{'long ' * 1000}</p><p>{i}</p>" for i in range(50)]
    parts, packed = pack(frames)
    assert len("".join(parts)) < 7000
    assert ["".join(parts[k] for k in frame) for frame in packed] == frames


def test_a_frame_cannot_end_the_script():
    page = explore(lambda a: f"<p></script>{a}</p>", a=[1, 2]).page()
    assert data_of(page)["values"] == [["1", "2"]]


def test_ids_differ_between_demos():
    pages = [explore(product, a=[1, 2]).page() for _ in range(2)]
    first, second = (set(re.findall(r'id="([^"]+)"', page)) for page in pages)
    assert len(first) == 2 and not first & second


def test_figures_become_images_with_a_description():
    plt.close("all")  # what other tests have left open
    demo = explore(plot, alt=lambda n: f"{n} points", n=[2, 3])
    assert 'alt="3 points"' in demo.frames[1]
    assert "data:image/png;base64," in demo.frames[1]
    assert not plt.get_fignums()  # closed, or the notebook would show them again


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(a=range(20), b=range(20)), ValueError, "20 a × 20 b = 400 frames"),
        (dict(a=[]), ValueError, "needs values"),
        (dict(), ValueError, "needs values"),
    ],
)
def test_too_many_or_no_frames(arguments, error, message):
    with pytest.raises(error, match=message):
        explore(product, **arguments)


def test_what_cannot_be_shown():
    with pytest.raises(ValueError, match="needs alt="):
        explore(plot, n=[2])
    with pytest.raises(TypeError, match="not int"):
        explore(lambda n: n, n=[2])


def test_the_live_widget_calls_the_function():
    calls = []
    demo = explore(lambda a: calls.append(a) or f"<b>{a}</b>", a=[1, 2])
    box = demo.widget()
    box.children[0].value = 2
    assert calls == [1, 2, 2] and box.children[1].value == "<b>2</b>"


def test_one_output_for_kernel_and_page():
    """Executed as the book is: one output, and only the first frame in the metadata."""
    notebook = nbformat.v4.new_notebook()
    source = (
        "from helpers.demos import explore\n"
        "explore(lambda a: f'<p>{a:05d}</p>' + 'x' * 1000, a=range(100))"
    )
    notebook.cells = [nbformat.v4.new_code_cell(source)]
    where = {"metadata": {"path": str(Path(__file__).parents[2])}}
    NotebookClient(notebook, timeout=60, resources=where).execute()
    (output,) = notebook.cells[0].outputs
    assert {"text/html", "application/vnd.jupyter.widget-view+json"} <= set(output.data)
    assert "00099" in output.data["text/html"]
    state = json.dumps(notebook.metadata.get("widgets", {}))
    assert "<p>00000" in state and "<p>00001" not in state
    assert len(state) < 10_000  # the frames together are ten times as much


def test_the_slider_works_from_the_keyboard(browser, tmp_path):
    """Two demos on a page, in a real browser, without kernel or server."""
    demos = [Demo(product, None, {"a": [2, 3, 5], "b": [7, 11]}) for _ in range(2)]
    page = "".join(demo.page() for demo in demos)
    (tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8>{page}")
    browser.get((tmp_path / "page.html").as_uri())
    sliders = browser.find_elements(By.TAG_NAME, "input")
    frames = browser.find_elements(By.CLASS_NAME, "demo-frame")
    assert [frame.text for frame in frames] == ["2 times 7 is 14"] * 2
    sliders[0].send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    sliders[1].send_keys(Keys.END)
    assert frames[0].text == "5 times 11 is 55"
    assert frames[1].text == "2 times 7 is 14"
    assert sliders[0].get_attribute("aria-valuetext") == "5"
    assert "a: 5" in browser.find_elements(By.TAG_NAME, "label")[0].text
    assert not browser.get_log("browser")


def test_a_frame_may_bring_a_script_and_an_input(browser, tmp_path):
    """As a network's drawing does, whose script the book keeps in a file."""
    own = "<script data-live></script><input type=range value=9>"
    page = Demo(lambda a: f"{own}<p>{a} of two</p>", None, {"a": [1, 2]}).page()
    (tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8>{page}")
    browser.get((tmp_path / "page.html").as_uri())
    browser.find_element(By.TAG_NAME, "input").send_keys(Keys.ARROW_RIGHT)
    assert "2 of two" in browser.find_element(By.CLASS_NAME, "demo-frame").text
    assert not browser.get_log("browser")
