"""helpers.live_demos in a browser: what the page shows is what PyTorch computes."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.ndimage import label
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from torch import nn
from torch.nn import functional as F

from book._ext import pages
from helpers import live_demos, metrics, trials

# It may connect to nothing; scripts of its own folder are all that it may load.
HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport"
content="width=device-width"><meta http-equiv="Content-Security-Policy" content="
default-src 'none'; img-src data:; style-src 'unsafe-inline'; worker-src blob:;
script-src file: 'unsafe-inline' 'wasm-unsafe-eval'"><body>"""
SIZE = 16, 24  # height and width
THRESHOLD = 0.5


class Toy(nn.Module):
    """A U-Net of one level."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.below = nn.Conv2d(4, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.head = nn.Conv2d(8, 1, 1)
        self.skip = True

    def forward(self, x):
        x = self.first(x)
        below = F.relu(self.below(F.max_pool2d(x, 2)))
        skip = x if self.skip else torch.zeros_like(x)
        return self.head(torch.cat([skip, self.up(below)], dim=1))


def made(seed=0):
    """A network whose answer differs from pixel to pixel, with weights of float16."""
    torch.manual_seed(seed)
    net = Toy().eval()
    for weight in net.parameters():
        weight.data = (2 * weight.data).half().float()
    net.head.weight.data *= 4
    x = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        net.head.bias.data -= net(x).mean().half().float()
        net.head.bias.data = net.head.bias.data.half().float()
    return net


def sheets():
    """Two pictures, each with a bright bar, and without it."""
    torch.manual_seed(1)
    found = {}
    for name in ("one", "other"):
        clean = torch.rand(3, *SIZE) / 2
        mask = torch.zeros(1, *SIZE)
        mask[:, 6:9, 4:20] = 1
        found[name] = live_demos.Sheet(clean + 0.3 * mask, mask, clean)
    return found


def answer(net, picture):
    """Probabilities (H, W), which a page shows, for a picture (3, H, W)."""
    with torch.no_grad():
        return net(picture[None])[0, 0].sigmoid()


class Demo:
    """The demo on the page, as a reader meets it."""

    def __init__(self, browser):
        self.browser = browser
        self.root = browser.find_element(By.CLASS_NAME, "live")

    def part(self, name):
        return self.root.find_element(By.CSS_SELECTOR, f"[data-part={name}]")

    def touch(self):
        """Come to the canvas by keyboard, and wait for the answer."""
        self.part("board").send_keys(Keys.ARROW_LEFT)
        self.wait(lambda: "took" in self.part("status").text)

    def wait(self, condition):
        WebDriverWait(self.browser, 60, 0.02).until(lambda _: condition())

    def pixels(self, name):
        """What a canvas shows: (3, H, W), 0..1."""
        url = self.browser.execute_script("return arguments[0].toDataURL()", name)
        image = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))
        return torch.from_numpy(np.asarray(image.convert("RGB")) / 255).permute(2, 0, 1)

    def picture(self):
        return self.pixels(self.part("board")).float()

    def close(self, net):
        """Whether the page shows this network's probabilities, now or soon."""

        def shown():
            page, own = self.pixels(self.part("answer"))[0], answer(net, self.picture())
            return (page - own).abs().max() < 0.02

        self.wait(shown)


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a demo from a file, with its network in a file beside it, as on a page."""

    def show(output):
        body = pages.moved(output.data, tmp_path / "live", "live")
        (tmp_path / "page.html").write_text(HEAD + body, encoding="utf-8")
        browser.get((tmp_path / "page.html").as_uri())
        demo = Demo(browser)
        demo.wait(lambda: demo.part("live").is_displayed())
        return demo

    yield show
    assert not browser.get_log("browser")


def loaded(browser):
    """The names of the scripts that the page has loaded from files."""
    scripts = browser.find_elements(By.CSS_SELECTOR, "script[src]")
    return [Path(script.get_attribute("src")).name for script in scripts]


def test_the_answer_and_its_scores_are_those_of_pytorch(opened):
    net = made()
    demo = opened(live_demos.paint(net, sheets(), THRESHOLD))
    demo.touch()
    image, mask, _ = sheets()["one"]
    assert (demo.picture() - image).abs().max() < 1.6 / 255
    marked = answer(net, demo.picture()) > THRESHOLD
    assert 20 < marked.sum() < 300
    found = marked[None, None], mask[None]
    assert demo.part("iou").text == f"{metrics.iou(*found):.2f}"
    assert demo.part("f1").text == f"{metrics.boundary_f1(*found):.2f}"
    demo.part("probable").click()
    demo.close(net)


def test_painting_and_erasing_change_the_answer(opened, browser):
    net = made()
    demo = opened(live_demos.paint(net, sheets(), THRESHOLD))
    demo.touch()
    demo.part("probable").click()
    before = demo.picture()
    board = demo.part("board")
    moves = ActionChains(browser).move_to_element_with_offset(board, -60, 40)
    moves.click_and_hold().move_to_element_with_offset(board, 60, 40).release()
    moves.perform()
    painted = demo.picture()
    assert ((painted - before).amax((0, 2)) > 0.3).sum() in (2, 3, 4)  # rows
    demo.close(net)

    demo.root.find_elements(By.CSS_SELECTOR, "[data-brush]")[3].click()
    demo.part("width").send_keys(Keys.END)
    ActionChains(browser).move_to_element(board).click().perform()
    clean = sheets()["one"].clean
    middle = (slice(None), slice(6, 10), slice(9, 15))
    assert (demo.picture()[middle] - clean[middle]).abs().max() < 1.6 / 255
    demo.close(net)
    demo.part("undo").click()
    assert torch.equal(demo.picture(), painted)
    demo.part("again").click()
    demo.wait(lambda: torch.equal(demo.picture(), before))


def test_a_brush_may_say_that_there_is_no_object(opened, browser):
    brush = live_demos.Brush("cover", 0.2, 20, marks=0)
    net = made()
    demo = opened(live_demos.paint(net, sheets(), THRESHOLD, [brush]))
    demo.touch()
    before, board = demo.picture(), demo.part("board")
    ActionChains(browser).move_to_element(board).click().perform()
    marked = answer(net, demo.picture()) > THRESHOLD
    assert (demo.picture() - before).abs().max() > 0.1 and marked.any()
    assert demo.part("iou").text == "0.00"


def test_the_keys_paint(opened):
    net = made()
    demo = opened(live_demos.paint(net, sheets(), THRESHOLD))
    demo.touch()  # one px to the left of the middle
    demo.part("probable").click()
    demo.part("width").send_keys(Keys.HOME)  # 1 px
    before = demo.picture()
    board = demo.part("board")
    board.send_keys(Keys.ARROW_DOWN, Keys.SHIFT, Keys.ARROW_LEFT, Keys.NULL, " ")
    changed = (demo.picture() - before).abs().amax(0)
    assert changed.nonzero().tolist() == [[9, 6]]
    demo.close(net)
    board.send_keys(Keys.CONTROL, "z")
    assert torch.equal(demo.picture(), before)


def test_a_skip_that_is_off_counts_as_zeros(opened):
    net = made()
    demo = opened(live_demos.paint(net, sheets(), THRESHOLD))
    demo.touch()
    demo.part("probable").click()
    demo.close(net)
    (skip,) = demo.root.find_elements(By.CSS_SELECTOR, "[data-skip]")
    skip.click()
    before = answer(net, demo.picture())
    net.skip = False
    assert (answer(net, demo.picture()) - before).abs().max() > 0.1
    demo.close(net)


def test_a_picture_of_the_reader_is_cut_and_answered(opened, tmp_path):
    demo = opened(live_demos.paint(made(), sheets(), THRESHOLD))
    demo.touch()
    demo.part("probable").click()
    colours = np.zeros((48, 24, 3), np.uint8)  # twice as high as it may be: 16 are left
    colours[16:32] = 200, 100, 50
    Image.fromarray(colours).save(tmp_path / "own.png")
    demo.part("file").send_keys(str(tmp_path / "own.png"))
    whole = torch.tensor([200, 100, 50])[:, None, None].expand(3, *SIZE) / 255
    demo.wait(lambda: (demo.picture() - whole).abs().max() < 1.1 / 255)
    demo.close(made())
    (tmp_path / "own.txt").write_text("no picture")
    demo.part("file").send_keys(str(tmp_path / "own.txt"))
    demo.wait(lambda: "own.txt is no picture" in demo.part("status").text)


def test_a_slide_tells_what_it_changed(opened):
    net = made()
    demo = opened(live_demos.paint(net, sheets(), THRESHOLD))
    demo.touch()
    before = demo.picture()
    marked = answer(net, before) > THRESHOLD
    demo.part("slide").click()
    demo.wait(lambda: "Slid by 1 px" in demo.part("slid").text)
    slid = before.roll(1, dims=2)
    assert torch.equal(demo.picture(), slid)
    changed = ((answer(net, slid) > THRESHOLD) != marked.roll(1, dims=1)).sum()
    told = int(re.search(r"in (\d+) pixels", demo.part("slid").text)[1])
    assert told == changed > 0


def test_the_threshold_marks_more_or_less(opened):
    net = made()
    demo = opened(live_demos.paint(net, sheets(), THRESHOLD))
    demo.touch()
    demo.part("threshold").send_keys(Keys.END)
    mask = sheets()["one"].mask[None]
    marked = answer(net, demo.picture())[None, None] > 0.99
    assert demo.part("iou").text == f"{metrics.iou(marked, mask):.2f}"


def test_a_network_is_loaded_when_the_demo_is_touched(opened, browser):
    demo = opened(live_demos.paint(made(), sheets(), THRESHOLD))
    mark = demo.root.get_attribute("data-net")
    before = loaded(browser)
    assert len(before) == 1 and f"{mark}.js" not in before  # the engine
    demo.touch()
    assert sorted(loaded(browser)) == sorted([*before, f"{mark}.js"])
    assert not demo.part("still").is_displayed()


def test_a_notebook_holds_everything_itself(browser, tmp_path):
    output = live_demos.paint(made(), sheets(), THRESHOLD)
    (tmp_path / "page.html").write_text(HEAD + output.data, encoding="utf-8")
    browser.get((tmp_path / "page.html").as_uri())
    Demo(browser).touch()
    assert not loaded(browser) and not browser.get_log("browser")


def test_a_network_that_does_not_load_is_told(browser, tmp_path):
    output = live_demos.paint(made(), sheets(), THRESHOLD)
    body = pages.moved(output.data, tmp_path / "live", "live")
    (tmp_path / "page.html").write_text(HEAD + body, encoding="utf-8")
    browser.get((tmp_path / "page.html").as_uri())
    demo = Demo(browser)
    (tmp_path / "live" / f"{demo.root.get_attribute('data-net')}.js").unlink()
    demo.part("board").send_keys(Keys.ARROW_LEFT)
    demo.wait(lambda: "did not load" in demo.part("status").text)
    assert "ERR_FILE_NOT_FOUND" in browser.get_log("browser")[0]["message"]


def test_a_box_of_the_drawing_shows_its_maps(opened):
    net = made()
    demo = opened(live_demos.maps(net, sheets()))
    demo.touch()
    boxes = demo.root.find_elements(By.CSS_SELECTOR, "svg [role=button]")
    boxes = [box for box in boxes if box.is_displayed()]  # there is a wide one, too
    assert [box.get_attribute("tabindex") for box in boxes].count("0") == 1

    def shown(expected, columns):
        """In a square, 1 px apart, each map from its least to its largest value."""
        high, wide = expected.shape[1:]
        rows = -(-len(expected) // columns)
        grid = torch.full((rows * (high + 1), columns * (wide + 1)), 128 / 255)
        for k, part in enumerate(expected):
            part = (part - part.min()) / (part.max() - part.min()).clamp(min=1e-9)
            top, left = k // columns * (high + 1), k % columns * (wide + 1)
            grid[top : top + high, left : left + wide] = part
        page, grid = demo.pixels(demo.part("maps"))[0], grid[:-1, :-1]
        return page.shape == grid.shape and (page - grid).abs().max() < 0.01

    with torch.no_grad():
        first = net.first(demo.picture()[None])
        below = F.relu(net.below(F.max_pool2d(first, 2)))
    demo.wait(lambda: shown(first[0], columns=2))
    for box in boxes:
        if "below" in box.get_attribute("aria-label"):
            box.click()
    demo.wait(lambda: shown(below[0], columns=3))
    assert demo.part("said").text.startswith("8 maps of 8 × 12 px: below")


def test_networks_side_by_side_answer_the_same_picture(opened):
    nets = {"a": made(0), "b": made(3)}
    cuts = {"a": 0.4, "b": 0.6}
    demo = opened(live_demos.side_by_side(nets, sheets(), cuts, count=True))
    demo.part("board").send_keys(Keys.ARROW_LEFT)
    mask = sheets()["one"].mask[None]
    said = demo.root.find_elements(By.CSS_SELECTOR, "[data-part=said]")
    demo.wait(lambda: all("ms" in text.text for text in said))
    for text, net, cut in ((said[0], nets["a"], 0.4), (said[1], nets["b"], 0.6)):
        marked = answer(net, demo.picture())[None, None] > cut
        told = f"IoU {metrics.iou(marked, mask):.2f} · {label(marked[0, 0])[1]} objects"
        assert text.text.startswith(told)


def test_the_window_shows_nine_products(opened):
    torch.manual_seed(0)
    picture = torch.rand(1, 6, 8).mul(100).round() / 100
    edge = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    kernels = {"blur": np.full((3, 3), 1 / 9), "edge": edge}
    demo = opened(live_demos.window(picture, kernels))
    demo.part("kernel").send_keys("edge")
    demo.part("picture").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP)
    assert demo.part("place").text == "row 2, column 5"
    sums = F.conv2d(picture[None], torch.tensor(edge)[None, None].float(), padding=1)
    assert float(demo.part("sum").text) == pytest.approx(
        sums[0, 0, 2, 5].item(), abs=0.006
    )
    cells = demo.root.find_elements(By.CSS_SELECTOR, "[data-part=product]")
    products = [float(cell.text.split("=")[1]) for cell in cells]
    nine = picture[0, 1:4, 4:7] * torch.tensor(edge)
    assert torch.allclose(torch.tensor(products), nine.flatten(), atol=0.006)


UNNAMED = """
const named = thing => thing.labels?.length || thing.getAttribute("aria-label")
  || thing.textContent.trim();
const kinds = "input, select, button, canvas, [role=button]";
const things = document.querySelectorAll(kinds);
const ids = [...document.querySelectorAll("[id]")].map(thing => thing.id);
return [...things].filter(thing => !named(thing)).map(thing => thing.outerHTML)
  .concat(ids.filter((id, i) => ids.indexOf(id) !== i));
"""
EDGE = {"edge": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]}


def test_names_are_text_and_no_html():
    name = 'a<b & "c"'
    page = live_demos.side_by_side({name: made()}, sheets(), {name: 0.5}).data
    assert 'aria-label="a&lt;b &amp; &quot;c&quot; has not answered yet"' in page
    assert "<b>a&lt;b &amp; &quot;c&quot;</b>" in page and name not in page


@pytest.mark.parametrize("kind", ["paint", "maps", "side_by_side", "window"])
def test_a_demo_has_names_fits_a_phone_and_says_what_it_is(opened, browser, kind):
    net, own = made(), sheets()
    arguments = {
        "paint": (net, own),
        "maps": (net, own),
        "side_by_side": ({"a": net}, own, {"a": 0.5}),
        "window": (torch.rand(1, 8, 8), EDGE),
    }
    demo = opened(getattr(live_demos, kind)(*arguments[kind]))
    assert browser.execute_script(UNNAMED) == []
    assert browser.execute_script("return document.body.scrollWidth") <= 390
    still = demo.part("still").get_attribute("innerHTML")
    assert "With JavaScript" in still and 'alt="' in still


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(mask=torch.zeros(1, 4, 4)), "must all have one size"),
        (dict(image=torch.zeros(2, *SIZE)), "must all have one size"),
    ],
)
def test_sheets_that_do_not_fit_are_refused(change, message):
    own = sheets()
    own["one"] = own["one"]._replace(**change)
    with pytest.raises(ValueError, match=message):
        live_demos.paint(made(), own)


def test_a_network_of_two_classes_is_refused():
    with pytest.raises(ValueError, match=r"Conv2d answers with shape \(1, 2, 16, 24\)"):
        live_demos.paint(nn.Conv2d(3, 2, 1), sheets())


def test_a_window_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"blur has shape \(2, 2\)"):
        live_demos.window(torch.rand(1, 8, 8), {"blur": np.ones((2, 2))})
    with pytest.raises(ValueError, match=r"picture has shape \(8, 8\)"):
        live_demos.window(torch.rand(8, 8), {"blur": np.ones((3, 3))})


def test_surfaces_differ_from_clean_ones_where_the_mask_is():
    for image, mask, clean in live_demos.surfaces().values():
        assert mask.sum() > 50
        changed = (image - clean).abs().amax(0) > 0.15
        assert changed.any() and not (changed & (mask[0] == 0)).sum() > 0.2 * mask.sum()


def test_lattices_are_bright_and_their_plain_ground_is_one_grey():
    sheets = live_demos.lattices()
    assert len(sheets) >= 2
    for image, gap, plain in sheets.values():
        assert image.mean() > plain.mean() and len(plain.unique()) == 1
        assert abs(image[:, gap[0] > 0].mean() - plain.mean()) < 0.03


def test_recorded_weights_come_with_their_network(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "RECORDS", tmp_path)
    (tmp_path / "weights").mkdir()
    state = {key: value.half() for key, value in made().state_dict().items()}
    about = dict(threshold="0.25")
    save_file(state, tmp_path / "weights" / "toy.safetensors", about)
    net, threshold = live_demos.recorded(Toy(), "toy")
    x = torch.rand(3, *SIZE)
    assert threshold == 0.25
    assert torch.equal(answer(net, x), answer(made(), x)) and not net.training
    with pytest.raises(ValueError, match=r"in toy\.safetensors are not those"):
        live_demos.recorded(nn.Conv2d(3, 1, 1), "toy")
    with pytest.raises(FileNotFoundError, match=r"as other\.safetensors: `make"):
        live_demos.recorded(Toy(), "other")


def test_drawn_nuclei_come_in_pairs_that_touch_or_not():
    pairs, empty = live_demos.nuclei().values()
    assert label(pairs.mask[0])[1] in (6, 7) and not empty.mask.any()
    assert torch.equal(
        pairs.image[:, pairs.mask[0] == 0].amin(1), empty.image.amin((1, 2))
    )
    assert 0.1 < pairs.mask.mean() < 0.25 and pairs.image.max() < 1
