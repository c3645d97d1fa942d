"""helpers.canvas: painted in a real browser, scored as helpers.metrics scores."""

import base64
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from helpers import data, metrics
from helpers.canvas import paint
from helpers.folders import ImageMaskFolder, read_mask


def sample(index=0, size=96):
    """A drawn surface with a good deal of foreground: image and mask."""
    images, masks = data.surfaces(12, size=size, split="test").tensors
    order = masks.sum((1, 2, 3)).argsort(descending=True)
    return images[order[index]], masks[order[index]]


def bar(size=96):
    """A surface whose mask is a bar across the middle."""
    image, mask = sample(size=size)
    mask = torch.zeros_like(mask)
    mask[:, size // 2 - 4 : size // 2 + 4, 8:-8] = 1
    return image, mask


class Canvas:
    """One canvas of the page, as a reader meets it."""

    def __init__(self, browser, index=0):
        self.browser = browser
        self.root = browser.find_elements(By.CLASS_NAME, "canvas")[index]
        self.canvas = self.part("canvas")

    def part(self, name):
        return self.root.find_element(By.CSS_SELECTOR, f"[data-part={name}]")

    def press(self, *names):
        for name in names:
            self.part(name).click()

    def draw(self, *points):
        """A stroke through points in px from the middle of the canvas."""
        (start, *_), moves = points, ActionChains(self.browser)
        moves.move_to_element_with_offset(self.canvas, *start).click_and_hold()
        for point in points[1:]:
            moves.move_to_element_with_offset(self.canvas, *point)
        moves.release().perform()

    def keys(self, *keys):
        self.canvas.send_keys(*keys)

    def scores(self):
        return [
            float(self.part(name).get_attribute("value"))
            for name in ("iou", "dice", "f1")
        ]

    def download(self, folder):
        """Press the button; the file that arrives in the folder."""
        place = {"behavior": "allow", "downloadPath": str(folder)}
        self.browser.execute_cdp_cmd("Page.setDownloadBehavior", place)
        before = set(folder.iterdir())
        self.press("download")

        def arrived(_):
            return [f for f in set(folder.iterdir()) - before if f.suffix == ".png"]

        return WebDriverWait(self.browser, 60, 0.05).until(arrived)[0]


@pytest.fixture
def page(browser, tmp_path):
    """Opens outputs of `paint` as one page without server; then nothing was logged."""

    def show(*outputs, theme="light"):
        body = "".join(output.data for output in outputs)
        head = f'<!doctype html><html data-theme="{theme}"><meta charset="utf-8">'
        head += '<meta name="viewport" content="width=device-width">'
        (tmp_path / "page.html").write_text(f"{head}<body>{body}", encoding="utf-8")
        browser.get((tmp_path / "page.html").as_uri())
        return [Canvas(browser, i) for i in range(len(outputs))]

    yield show
    assert not browser.get_log("browser")


def expected(painted, mask):
    painted = (painted > 0.5)[None]
    parts = painted, mask[None]
    return [f(*parts) for f in (metrics.iou, metrics.dice, metrics.boundary_f1)]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_scores_are_those_of_the_book(page, tmp_path, index):
    image, mask = sample(index)
    (canvas,) = page(paint(image, mask, name="own"))
    canvas.draw((-90, -80), (20, 30), (100, -20))
    canvas.draw((-40, 90), (60, 70))
    file = canvas.download(tmp_path)
    painted = read_mask(file)
    assert file.name == "own_mask.png"
    assert 200 < painted.sum() < 3000
    assert np.allclose(canvas.scores(), expected(painted, mask), atol=1e-9)
    shown = [canvas.part(name).text for name in ("iou", "dice", "f1")]
    assert shown == [f"{value:.2f}" for value in expected(painted, mask)]


def test_a_perfect_mask_scores_one_and_nothing_scores_nothing(page):
    image, mask = sample()
    square = torch.zeros_like(mask)
    square[:, 46:51, 46:51] = 1
    empty = torch.zeros_like(mask)
    first, second = page(paint(image, square), paint(image, empty))
    assert first.scores() == [0, 0, 0]
    assert second.scores() == [1, 1, 1]
    first.part("size").send_keys(Keys.HOME)  # 1 px
    for _ in range(2):  # the brush begins at pixel (48, 48)
        first.keys(Keys.ARROW_UP, Keys.ARROW_LEFT)
    for _ in range(5):
        first.keys(" ", *[Keys.ARROW_RIGHT, " "] * 4, Keys.ARROW_DOWN)
        first.keys(*[Keys.ARROW_LEFT] * 4)
    assert first.scores() == [1, 1, 1]
    second.keys(" ")
    assert second.scores() == [0, 0, 0]


def test_an_image_mask_folder_reads_what_was_painted(page, tmp_path):
    image, mask = sample(size=48)
    image, mask = image[:, :40], mask[:, :40]  # not square
    (canvas,) = page(paint(image, mask, name="a"))
    canvas.draw((-50, -50), (50, 50))
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    file = canvas.download(tmp_path / "masks")
    assert sorted(np.unique(np.asarray(Image.open(file).convert("L")))) == [0, 255]
    folder = ImageMaskFolder(tmp_path / "images", tmp_path / "masks")
    read_image, read = folder[0]
    assert read.shape == (1, 40, 48) and 0 < read.mean() < 0.5
    assert torch.allclose(read_image, image, atol=1 / 255)
    assert np.allclose(canvas.scores(), expected(read, mask))


def test_buttons_erase_undo_clear_and_show(page, browser):
    image, mask = bar()
    (canvas,) = page(paint(image, mask))
    empty = canvas.scores()
    canvas.draw((-60, 0), (60, 0))
    line = canvas.scores()
    canvas.press("erase")
    assert canvas.part("erase").get_attribute("aria-pressed") == "true"
    canvas.draw((-60, 0), (0, 0))
    half = canvas.scores()
    assert line != half != empty
    canvas.press("undo")
    assert canvas.scores() == line
    canvas.press("clear")
    assert canvas.scores() == empty
    canvas.press("undo", "undo", "undo")  # one more than there is
    assert canvas.scores() == empty
    picture = "return arguments[0].toDataURL()"
    before = browser.execute_script(picture, canvas.canvas)
    canvas.press("show")
    assert browser.execute_script(picture, canvas.canvas) != before
    canvas.press("show")
    assert browser.execute_script(picture, canvas.canvas) == before


def test_keys_paint_erase_and_take_back(page, browser):
    image, mask = bar()
    (canvas,) = page(paint(image, mask))
    empty = canvas.scores()
    canvas.part("size").send_keys(*[Keys.ARROW_RIGHT] * 3)
    assert canvas.part("px").text == "8 px"
    browser.execute_script("arguments[0].focus()", canvas.canvas)
    held = ActionChains(browser).key_down(" ")
    for _ in range(10):
        held.send_keys(Keys.ARROW_RIGHT)
    held.key_up(" ").perform()
    line = canvas.scores()
    assert line != empty
    canvas.keys(Keys.SHIFT, Keys.ARROW_DOWN, Keys.NULL)  # not held: nothing painted
    assert canvas.scores() == line
    canvas.keys("e", Keys.ARROW_LEFT, " ")
    assert canvas.part("erase").get_attribute("aria-pressed") == "true"
    canvas.keys(Keys.CONTROL, "z", Keys.NULL)
    assert canvas.scores() == line
    canvas.keys(Keys.CONTROL, "z", Keys.NULL)
    assert canvas.scores() == empty


def test_a_finger_paints(page, browser):
    """The test browser is a phone of 390 px: a touch that moves is no scrolling."""
    image, mask = bar()
    (canvas,) = page(paint(image, mask))
    box = canvas.canvas.rect
    place = dict(x=box["x"] + box["width"] / 2, y=box["y"] + 40)

    def touch(kind, *points):
        event = dict(type=kind, touchPoints=list(points))
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    touch("touchStart", place)
    for step in range(1, 10):
        touch("touchMove", place | dict(y=place["y"] + 20 * step))
    touch("touchEnd")
    assert browser.execute_script("return window.scrollY") == 0
    assert min(canvas.scores()) > 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_two_canvases_fit_a_phone_and_stay_apart(page, browser, theme):
    image, mask = bar()
    first, second = page(paint(image, mask), paint(image, mask), theme=theme)
    width = browser.execute_script("return document.documentElement.scrollWidth")
    assert width <= 390
    first.draw((-60, 0), (60, 0))
    assert first.scores() != second.scores()


def test_without_a_reference_there_are_no_scores(page, tmp_path):
    image, _ = sample()
    (canvas,) = page(paint(image))
    canvas.draw((-60, 0), (60, 0))
    assert not canvas.root.find_elements(By.CSS_SELECTOR, "[data-part=iou]")
    assert not canvas.root.find_elements(By.CSS_SELECTOR, "[data-part=show]")
    assert read_mask(canvas.download(tmp_path)).sum() > 100


def test_the_output_is_small_and_loads_nothing():
    output = paint(*sample()).data
    assert len(output) < 60_000
    assert not re.findall(r"https?://", output)
    ids = [re.search(r'id="([^"]+)"', paint(*sample()).data)[1] for _ in range(2)]
    assert ids[0] != ids[1]


def test_the_picture_and_the_runs_are_exact():
    image, mask = sample()
    output = paint(image, mask).data
    (encoded,) = re.findall(r"data:image/png;base64,([^)]+)\)", output)
    assert base64.b64decode(encoded)[:4] == b"\x89PNG"
    text = re.search(r'<script type="application/json">(.*?)</script>', output)[1]
    runs = json.loads(text)["runs"]
    flat = np.repeat(np.arange(len(runs)) % 2, runs)
    assert flat.tolist() == mask.flatten()[: len(flat)].int().tolist()
    assert mask.flatten()[len(flat) :].sum() == 0


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (torch.zeros(8, 8), None, r"shape \(8, 8\); it must be \(3 or 1, H, W\)"),
        (torch.zeros(4, 8, 8), None, r"it must be \(3 or 1, H, W\)"),
        (torch.zeros(3, 8, 600), None, "8 x 600 px; at most 512 px a side"),
        (torch.full((3, 8, 8), 255.0), None, "values from 255 to 255; .* divide by"),
        (torch.zeros(3, 8, 8), torch.zeros(8, 8), r"needs \(1, 8, 8\)"),
        (torch.zeros(1, 8, 8), torch.full((1, 8, 8), 0.5), "besides 0 and 1"),
    ],
)
def test_what_cannot_be_painted_on(image, mask, message):
    with pytest.raises(ValueError, match=message):
        paint(image, mask)
