"""A model in one HTML file, in a browser: its masks are those of `predict`."""

import base64
import csv
import os
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from scipy import ndimage
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from helpers.app import models
from helpers.pictures import read_image
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


# --- files ------------------------------------------------------------------------

READ = """
const [text, span, done] = arguments;
const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
webPicture(new File([bytes], "a"), span).then(({shape, data}) => {
  const raw = new Uint8Array(data.buffer);
  let letters = "";
  for (const byte of raw) letters += String.fromCharCode(byte);
  done([shape, btoa(letters)]);
}).catch(error => done(error.message));
"""


def as_text(path):
    return base64.b64encode(Path(path).read_bytes()).decode()


def seen(browser, path, span=None):
    """A picture as the page hands it to the network, or why it does not."""
    found = browser.execute_async_script(READ, as_text(path), span)
    if isinstance(found, str):
        raise ValueError(found)
    shape, data = found
    return torch.frombuffer(bytearray(base64.b64decode(data)), dtype=torch.float32).reshape(
        shape
    )


def noise(*shape, top=256, kind=np.uint8):
    return np.random.default_rng(0).integers(0, top, shape, dtype=kind)


def turned(how):
    exif = Image.Exif()
    exif[0x0112] = how
    return exif


def write_kinds():
    """Pictures of all kinds that the page takes: their names."""
    grey, colour = noise(13, 18), noise(13, 18, 3)
    kinds = dict(
        grey=Image.fromarray(grey), colour=Image.fromarray(colour),
        alpha=Image.fromarray(noise(13, 18, 4)), two=Image.fromarray(noise(13, 18, 2)),
        deep=Image.fromarray(noise(13, 18, top=65536, kind=np.uint16)),
        bits=Image.fromarray(grey > 99), palette=Image.fromarray(colour).quantize(11),
    )  # fmt: skip
    names = []
    for name, image in kinds.items():
        image.save(f"{name}.png")
        names.append(f"{name}.png")
    more = {
        "clear_palette.png": (kinds["palette"], dict(transparency=3)),
        "clear_grey.png": (kinds["grey"], dict(transparency=int(grey[3, 4]))),
        "clear_colour.png": (kinds["colour"], dict(transparency=tuple(colour[3, 4].tolist()))),
        "four_bits.png": (kinds["palette"], dict(bits=4)),
        "photo_grey.jpg": (kinds["grey"], {}),
        "photo.jpg": (kinds["colour"], dict(quality=90)),
        "progressive.jpg": (kinds["colour"], dict(progressive=True, subsampling=0)),
        "profile.jpg": (kinds["colour"], dict(icc_profile=profile())),
        "profile.png": (kinds["colour"], dict(icc_profile=profile())),
    }
    for how in range(1, 9):
        more[f"turned{how}.png"] = kinds["colour"], dict(exif=turned(how))
        more[f"turned{how}.jpg"] = kinds["colour"], dict(exif=turned(how))
    for name, (image, options) in more.items():
        image.save(name, **options)
    write_16_bits("deep_colour.png", noise(13, 18, 3, top=65536, kind=np.uint16))
    write_16_bits("deep_alpha.png", noise(13, 18, 4, top=65536, kind=np.uint16))
    return [*names, *more, "deep_colour.png", "deep_alpha.png"]


def profile():
    """A colour profile that turns red and green around."""
    space = ImageCms.createProfile("sRGB")
    data = bytearray(ImageCms.ImageCmsProfile(space).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


def write_16_bits(path, values):
    Path(path).write_bytes(imagecodecs.png_encode(values))


def test_a_file_is_the_numbers_that_training_saw(page, browser):
    page("run.html")
    for name in write_kinds():
        own = read_image(name)
        found = seen(browser, name)
        assert found.shape == own.shape, name
        assert (found - own).abs().max() < 1e-6, name
    span = (100, 4000)
    assert torch.allclose(seen(browser, "deep.png", span), read_image("deep.png", None, span))
