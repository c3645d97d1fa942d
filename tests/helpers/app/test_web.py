"""A model in one HTML file, in a browser: its masks are those of `predict`."""

import base64
import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from helpers.app import models
from tests.helpers.lines import FILES, refused, run, with_, write_photos

MOST = 1e-4  # of the pixels of a mask may differ
HAND_OVER = """
const [kind, files] = arguments, data = new DataTransfer();
for (const [name, text] of files) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  data.items.add(new File([bytes], name));
}
const key = kind === "paste" ? "clipboardData" : "dataTransfer";
const event = kind === "paste" ? ClipboardEvent : DragEvent;
document.dispatchEvent(new event(kind, {[key]: data, bubbles: true}));
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with three trainings, each with its page."""
    folder = tmp_path_factory.mktemp("pages")
    before = Path.cwd()
    os.chdir(folder)
    try:
        write_photos(12, 60, 60)
        line = with_(FILES, crop="40", validation="0.4", steps="30", every="15")
        assert run(line) == 0
        assert run("export run --licence MIT --page run.html") == 0
        resized = with_(line, crop=None, size="24x32", out="resized")
        assert run(resized) == 0 and run("export resized --page resized.html") == 0
        write_photos(12, 40, 56, classes=3, images="p3", masks="m3")
        classes = with_(line, images="p3", masks="m3", classes="3", out="classes")
        assert run(with_(classes, crop="24x40")) == 0
        assert run("export classes --page classes.html") == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def there(place, monkeypatch):
    monkeypatch.chdir(place)


class Page:
    """A model's page, as a reader meets it; downloads come into the folder `out`."""

    def __init__(self, browser, name, out):
        self.browser, self.out = browser, out
        where = dict(behavior="allow", downloadPath=str(out))
        browser.execute_cdp_cmd("Browser.setDownloadBehavior", where)
        browser.get(Path(name).resolve().as_uri())

    def parts(self, name):
        return self.browser.find_elements(By.CSS_SELECTOR, f"[data-part={name}]")

    def part(self, name):
        return self.parts(name)[0]

    def wait(self, condition):
        WebDriverWait(self.browser, 60, 0.05).until(lambda _: condition())

    def choose(self, *files):
        paths = "\n".join(str(Path(file).resolve()) for file in files)
        self.part("choose").send_keys(paths)
        self.wait(lambda: self.part("working").is_displayed() or self.ended())
        return self.status()

    def ended(self):
        return "done" in self.part("status").text or "refused" in self.told()

    def status(self):
        self.wait(lambda: not self.part("working").is_displayed())
        return self.part("status").text

    def told(self):
        return self.part("refused").text

    def download(self, button, name):
        self.browser.execute_script("arguments[0].click()", button)
        self.wait((self.out / name).exists)
        return self.out / name


@pytest.fixture
def page(browser, there, tmp_path):
    """Opens a page; it has told the browser nothing that would be logged."""
    yield lambda name: Page(browser, name, tmp_path)
    assert not browser.get_log("browser")


def photo(path, height, width, **more):
    """A picture of patches of several sizes, so that an answer has many outlines."""
    rng = np.random.default_rng(height)
    rough = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    fine = rng.integers(-40, 40, (height, width, 3))
    values = np.array(rough.resize((width, height), Image.Resampling.NEAREST)) + fine
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(path, **more)


def expected(name, picture):
    """What `predict` writes."""
    Path("expected.png").unlink(missing_ok=True)
    line = f"predict --model {name}/model.pt --image {picture} --out expected.png"
    assert run(line) == 0
    return np.array(Image.open("expected.png"))


SIZES = [(40, 40), (24, 32), (1, 1), (5, 90), (61, 47), (300, 411)]


@pytest.mark.parametrize("name", ["run", "resized", "classes"])
def test_the_masks_are_those_of_predict(page, closing, name):
    opened = page(f"{name}.html")
    files = []
    for height, width in SIZES:
        files.append(f"{name}_{height}_{width}.png")
        photo(files[-1], height, width)
    assert "6 pictures done" in opened.choose(*files)
    off = both = 0
    for file, save in zip(files, opened.parts("save")):
        path = opened.download(save, file.replace(".png", "_mask.png"))
        found, own = np.array(Image.open(path)), expected(name, file)
        assert found.shape == own.shape and found.dtype == own.dtype
        off += (found != own).sum()
        both += own.size
    assert 0.02 < (own > 0).mean() < 0.98
    assert off <= MOST * both
    closing(f"{name}.html: {off} of {both} pixels are not those of predict")
