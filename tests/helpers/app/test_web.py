"""A model in one HTML file, in a browser: its masks are those of `predict`."""

import base64
import contextlib
import csv
import io
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
from torch import nn

from helpers.app import models, segment, sheet, web
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


def sharpen(path):
    """Give a model that has hardly learnt anything answers with clear outlines."""
    net, about = models.load_model(path)
    photo("sharp.png", 96, 96)
    last = [part for part in net.modules() if isinstance(part, nn.Conv2d)][-1]
    with torch.no_grad():
        logits = net(read_image("sharp.png")[None])[0]
        spread, middle = logits.std((1, 2)), logits.mean((1, 2))
        last.weight *= (4 / spread)[:, None, None, None]
        last.bias.copy_((last.bias - middle) * 4 / spread)
    network, arguments = about.pop("network"), about.pop("arguments")
    about.pop("versions")
    about["threshold"] = about["threshold"] and 0.54
    models.save_model(path, net, network, arguments, **about)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with three trainings, each with its page."""
    folder = tmp_path_factory.mktemp("pages")
    with contextlib.chdir(folder):
        write_photos(8, 60, 60)
        line = with_(FILES, crop="40", validation="0.4", steps="5")
        resized = with_(line, crop=None, size="24x32", out="resized")
        write_photos(8, 40, 56, classes=3, images="p3", masks="m3")
        classes = with_(line, images="p3", masks="m3", classes="3", out="classes")
        assert run(line) == run(resized) == run(with_(classes, crop="24x40")) == 0
        for name in ("run", "resized", "classes"):
            sharpen(f"{name}/model.pt")
            assert run(f"export {name} --licence MIT --page {name}.html") == 0
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
        """Name files, and wait for what the page says in the end."""
        paths = "\n".join(str(Path(file).resolve()) for file in files)
        self.part("choose").send_keys(paths)
        return self.ended()

    def hand_over(self, kind, *files):
        """Drop or paste files."""
        named = [[Path(file).name, as_text(file)] for file in files]
        self.browser.execute_script(HAND_OVER, kind, named)
        return self.ended()

    def ended(self):
        self.wait(lambda: not self.part("working").is_displayed())
        return self.part("status").text

    def told(self):
        """Why files were refused: lines."""
        return self.part("refused").text.splitlines()

    def download(self, button, name):
        self.browser.execute_script("arguments[0].click()", button)
        self.wait((self.out / name).exists)
        return self.out / name


def as_text(path):
    return base64.b64encode(Path(path).read_bytes()).decode()


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


def seen(browser, path, span=None):
    """A picture as the page hands it to the network, or why it does not."""
    found = browser.execute_async_script(READ, as_text(path), span)
    if isinstance(found, str):
        raise ValueError(found)
    shape, data = found
    return torch.frombuffer(
        bytearray(base64.b64decode(data)), dtype=torch.float32
    ).reshape(shape)


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
        "clear_colour.png": (
            kinds["colour"],
            dict(transparency=tuple(colour[3, 4].tolist())),
        ),
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
    assert torch.allclose(
        seen(browser, "deep.png", span), read_image("deep.png", None, span)
    )


def refusals():
    """Files that are refused, and what is said of each."""
    whole = Image.fromarray(noise(60, 80, 3))
    for name in ("a.gif", "a.tif", "a.webp", "whole.png", "whole.jpg"):
        whole.save(name)
    whole.convert("CMYK").save("ink.jpg")
    whole.save("film.png", save_all=True, append_images=[whole.rotate(180)])
    for name in ("whole.png", "whole.jpg"):
        content = Path(name).read_bytes()
        Path(f"cut_{name}").write_bytes(content[: len(content) // 2])
    Image.new("1", (8000, 7000)).save("huge.png")
    Path("empty.png").write_bytes(b"")
    Path("letter.png").write_text("a letter")
    return {
        "a.gif": "it is a GIF, and this page reads PNG (8 or 16 bits) and JPEG",
        "a.tif": "it is a TIFF", "a.webp": "it is a WebP",
        "ink.jpg": "it is a JPEG of 4 channels",
        "film.png": "it has 2 pages: save the one that counts",
        "cut_whole.png": "the PNG is damaged or cut off",
        "cut_whole.jpg": "the JPEG is damaged or cut off",
        "huge.png": "it has 8000 x 7000 px, and this page takes 50 million: cut it",
        "empty.png": "the file is empty", "letter.png": "it is neither PNG nor JPEG",
    }  # fmt: skip


def test_what_it_cannot_read_is_told_in_one_sentence_and_the_others_are_done(page):
    opened, files = page("run.html"), refusals()
    said = opened.choose(*files, "whole.png")
    assert "1 picture done" in said and "10 pictures refused: see below" in said
    assert len(opened.parts("save")) == 1
    for told, (name, why) in zip(opened.told(), files.items()):
        assert told.startswith(f"{name} was refused: {why}")


# --- what a reader does -----------------------------------------------------------


def test_pictures_are_dropped_and_pasted(page):
    opened = page("run.html")
    photo("small.png", 30, 20)
    photo("image.png", 20, 30)
    assert "2 pictures done" in opened.hand_over("drop", "small.png", "image.png")
    assert "1 picture done" in opened.hand_over("paste", "image.png")
    names = [part.text for part in opened.parts("name")]
    assert names == ["small.png", "image.png", "pasted-1.png"]
    assert (
        opened.hand_over("drop") == "That was no file: drop pictures, or choose them."
    )
    opened.part("remove").click()
    assert len(opened.parts("name")) == 2 and "2 pictures left" in opened.ended()


def numbers(opened):
    """The rows of the table that a reader downloads."""
    path = opened.download(opened.part("table"), "numbers.csv")
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def probabilities(name, file):
    net, about = models.load_model(f"{name}/model.pt")
    return segment.answer(net, read_image(file), about).sigmoid()[0]


def test_threshold_and_numbers(page):
    opened = page("run.html")
    photo("a, b.png", 80, 100)
    photo("c.png", 50, 30)
    opened.choose("a, b.png", "c.png")
    _, about = models.load_model("run/model.pt")
    assert opened.part("threshold").text.startswith(
        f"{about['threshold']:.2f} (the model"
    )
    opened.part("level").send_keys(Keys.END, Keys.ARROW_LEFT)
    cut = 0.96
    assert opened.part("threshold").text == "0.96"
    rows = numbers(opened)
    assert [row["file"] for row in rows] == ["a, b.png", "c.png"]
    for k, row in enumerate(rows):
        mask = opened.parts("save")[k], row["file"].replace(".png", "_mask.png")
        found = np.array(Image.open(opened.download(*mask))) > 0
        wanted = probabilities("run", row["file"]).numpy() > cut
        assert (found != wanted).sum() <= 2 and 0 < found.mean() < 1
        pixels, (_, objects) = found.sum(), ndimage.label(found)
        assert int(row["pixels"]) == pixels and int(row["objects"]) == objects
        assert float(row["share"]) == pytest.approx(found.mean(), abs=1e-6)
        assert row["class"] == "object" and row["threshold"] == "0.96"
        assert (int(row["height"]), int(row["width"])) == found.shape
        shown = f"object {100 * found.mean():.1f} % {pixels:,} {objects:,}"
        assert opened.parts("numbers")[k].text == shown


def test_the_numbers_of_classes(page):
    opened = page("classes.html")
    photo("d.png", 40, 60)
    opened.choose("d.png")
    assert not opened.part("cut").is_displayed()
    mask = Image.open(opened.download(opened.part("save"), "d_mask.png"))
    labels = np.array(mask)
    rows = numbers(opened)
    assert [row["class"] for row in rows] == ["class 0", "class 1", "class 2"]
    for k, row in enumerate(rows):
        assert int(row["pixels"]) == (labels == k).sum()
        assert int(row["regions"]) == ndimage.label(labels == k)[1]
    _, about = models.load_model("classes/model.pt")
    mask = Image.open(opened.download(opened.part("save"), "d_mask.png"))
    assert (
        mask.mode == "P"
        and mask.getpalette()[:9] == np.ravel(about["colours"]).tolist()
    )


def test_the_overlay(page, browser):
    """Marked pixels have the colour's share, others are those of the picture."""
    opened = page("run.html")
    photo("e.png", 40, 60)
    opened.choose("e.png")
    opened.part("strength").send_keys(Keys.END)
    url = browser.execute_script(
        "return arguments[0].toDataURL()", opened.part("canvas")
    )
    shown = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB")
    mask = opened.download(opened.part("save"), "e_mask.png")
    picture, found = np.array(Image.open("e.png")), np.array(Image.open(mask)) > 0
    assert 0 < found.mean() < 1
    picture[found] = sheet.FOUND
    assert np.array_equal(np.array(shown), picture)


def test_it_stops(page):
    opened = page("run.html")
    photo("large.png", 1000, 1000)
    opened.part("choose").send_keys(str(Path("large.png").resolve()))
    opened.wait(opened.part("stop").is_displayed)
    opened.part("stop").click()
    assert opened.ended() == "Stopped." and not opened.parts("name")


NAMELESS = """
const named = ({labels, ariaLabel, textContent}) =>
  labels?.length || ariaLabel || textContent.trim();
return [...document.querySelectorAll("input, button, canvas, progress")]
  .filter(thing => !named(thing)).map(thing => thing.outerHTML);
"""


def test_by_keyboard_and_on_a_phone(page, browser):
    opened = page("classes.html")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    focused = browser.switch_to.active_element
    assert focused.get_attribute("data-part") == "choose"
    photo("a_name_that_is_longer_than_a_telephone_is_wide_by_far.png", 90, 700)
    opened.choose("a_name_that_is_longer_than_a_telephone_is_wide_by_far.png")
    browser.find_element(By.TAG_NAME, "summary").click()
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    assert browser.execute_script(NAMELESS) == []


# --- what the file is -------------------------------------------------------------

SEND = """
const [done] = arguments, refused = [];
addEventListener("securitypolicyviolation", ({effectiveDirective, disposition}) => {
  refused.push(effectiveDirective);
  if (refused.length === 4) done(refused.sort());
});
fetch("https://example.org/").catch(() => {});
new Image().src = "https://example.org/a.png";
document.body.append(Object.assign(document.createElement("script"), {text: "0"}));
document.body.append(Object.assign(document.createElement("iframe"), {src: "a.html"}));
"""


def test_nothing_leaves_the_page(there, browser, tmp_path):
    opened = Page(browser, "run.html", tmp_path)
    photo("f.png", 40, 60)
    assert "1 picture done" in opened.choose("f.png")
    entries = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert browser.execute_script(entries) == []
    assert not browser.get_log("browser")
    refused = ["connect-src", "frame-src", "img-src", "script-src-elem"]
    assert browser.execute_async_script(SEND) == refused
    assert "Nothing leaves this machine" in browser.page_source
    browser.get_log("browser")  # they are noted there


def test_the_file_is_small_and_holds_its_card(there):
    text = Path("run.html").read_text(encoding="utf-8")
    assert len(text) < 120_000 and "//" not in text.split("<script")[0]
    assert "<h1>run</h1>" in text and "<p>MIT</p>" in text
    assert "<th>95 % interval</th>" in text and "model.onnx" not in text


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("01_fcn.small_fcn", 1e6),
        ("02_unet.small_unet", 1e6),
        ("04_resunet.small_resunet", 1e6),
        ("05_inception_unet.small_inception_unet", 1e6),
        ("06_u2net.small_u2net", 2.5e6),
    ],
)
def test_the_weights_of_the_books_networks(there, name, most):
    """Norms go into convolutions: their numbers are less in the page than here."""
    parts = [
        weight.detach().flatten() for weight in models.build(name, {}).parameters()
    ]
    weights = web.packed(torch.cat(parts).numpy())
    assert len(weights) + Path("run.html").stat().st_size < most


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (
            "export gone --page m.html",
            "gone holds no model.pt: name the folder of a training",
        ),
        ("export run --page m.htm", "m.htm is no .html"),
        ("export run --page gone/m.html", "gone is not a folder: make it first"),
        ("export run --page run.html", "run.html is there already: name another"),
        ("export run --page m.html --out p3", "--page names its own file"),
    ],
)
def test_it_refuses(there, capsys, line, answer):
    assert answer in refused(capsys, line)
    assert not Path("m.html").exists()


@pytest.mark.parametrize(
    ("network", "facts", "answer"),
    [
        (
            "02_unet.small_unet",
            dict(volumes=True),
            "segments volumes, and a page takes",
        ),
        ("gelu", {}, "a page cannot run Sequential: gelu"),
    ],
)
def test_a_model_that_no_page_can_run(network, facts, answer):
    about = dict(volumes=False, tiling=(32, 0), size=(32, 32), names=["a", "b"])
    about |= dict(classes=1, threshold=0.5, resized=False, network=network) | facts
    net = nn.Sequential(nn.Conv2d(3, 1, 1), nn.GELU()).eval()
    with pytest.raises(ValueError, match=answer):
        web.text(net, about, "", "m")
