"""helpers/large.js in a browser: drawings and pictures open large, boxes tell."""

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from torch import nn

from helpers import embed, figures

HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><body>"""
PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a page of this HTML; what the page complains of is a failure."""

    def show(body):
        (tmp_path / "page.html").write_text(HEAD + body, encoding="utf-8")
        browser.get((tmp_path / "page.html").as_uri())
        return browser

    yield show
    assert not browser.get_log("browser")


def drawn():
    """The drawing of two convolutions."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 1, 1))
    return figures.draw(net, 1, 3, 20, 20, title="Two layers").html


def one(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def test_a_box_tells_by_touch_and_by_key_what_it_tells_by_hover(opened):
    browser = opened(drawn())
    tip = one(browser, ".network [role=status]")
    browser.find_elements(By.CSS_SELECTOR, "[data-op]")[1].click()
    assert tip.text == "0: convolution 3×3: 8 × 18 × 18"
    one(browser, ".network-scroll").send_keys(Keys.ARROW_RIGHT)
    assert tip.text == "1: convolution 1×1: 1 × 18 × 18"
    one(browser, ".network-scroll").send_keys(Keys.ARROW_RIGHT)  # there is no further
    assert tip.text == "1: convolution 1×1: 1 × 18 × 18"
    assert len(browser.find_elements(By.CSS_SELECTOR, "[data-chosen]")) == 1


def test_a_drawing_opens_large_zooms_and_closes(opened):
    browser = opened(drawn() + drawn())  # two of them hold the script twice
    one(browser, ".network-bar button").click()
    (dialog,) = browser.find_elements(By.CSS_SELECTOR, "dialog[open]")
    picture = one(dialog, "svg")
    assert picture.get_attribute("aria-label") == "Two layers"
    whole = picture.size["width"]
    keys = ActionChains(browser)
    keys.send_keys("++").perform()
    assert picture.size["width"] == pytest.approx(whole * 1.25**2, abs=1)
    one(dialog, "[data-op]").click()
    assert one(dialog, "[role=status]").text.startswith("input: 3 × 20 × 20")
    keys.send_keys("0").perform()
    assert picture.size["width"] == pytest.approx(whole, abs=1)
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not browser.find_elements(By.CSS_SELECTOR, "dialog[open]")


@pytest.mark.parametrize("inner", ["", '<div class="output">'])
def test_a_figure_of_a_chapter_opens_large(opened, inner):
    cell = f'<div class="cell_output">{inner}'
    picture = f'<img alt="A cat" src="{PICTURE}">'
    browser = opened(f"{cell}{picture}</div></div>{embed.large_view()}")
    button = one(browser, ".cell_output button")
    assert button.accessible_name == "A cat"
    button.send_keys(Keys.ENTER)
    assert one(browser, "dialog[open] img").size["width"] > 100
    one(browser, "dialog [data-close]").click()
    assert not browser.find_elements(By.CSS_SELECTOR, "dialog[open]")
