"""A model for others: an ONNX file with all that its use needs, a card, or a page."""

import json
import logging
import warnings

import torch
from torch import nn

from helpers import live
from helpers.app import card, models, sheet, web
from helpers.app.files import read_json, short_sum, whole, write_text
from helpers.app.lines import say
from helpers.app.measure import SCORES
from helpers.app.report import one_training
from helpers.training import main_map

TOLERANCE = 1e-3  # of a logit; float32, sums in another order
SIGN = "<!-- as export wrote it: "  # begins the last line of a card


def export(run, out, licence):
    """Write model.onnx and card.md of a training's folder, whole or not at all.

    Raises FileNotFoundError or ValueError for a folder that is none, for a card that
    was filled in, and for a network that ONNX cannot hold.
    """
    if not run.is_dir():
        raise ValueError(f"{run} is not a folder: name that of a training")
    one_training(run)
    out = out or run
    if not out.is_dir():
        raise ValueError(f"{out} is not a folder: make it first")
    net, about = models.load_model(run / "model.pt")
    scores, others = known(run)
    channels = 1 if about["volumes"] else 3
    step = live.size_step(net, 1, channels, *about["size"])
    if not step:
        size = tuple(about["size"])
        raise ValueError(f"the network takes no size but {size} px or voxels")
    facts = metadata(about, step)
    text = card.text(run, about, scores, others, facts, licence)
    keep_filled(out / "card.md")
    apart = to_onnx(out / "model.onnx", net.eval(), channels, about, step, facts)
    say(f"{out / 'model.onnx'}: at most {apart:.0e} of a logit apart from PyTorch")
    write_text(out / "card.md", signed(text))
    say(f"{out / 'card.md'}")


def export_page(run, page, licence):
    """Write a training's model as one new HTML file, whole or not at all.

    Raises FileNotFoundError or ValueError for a folder that is no training's, for a
    file that is there, and for a model that no page can run.
    """
    sheet.new_page(page)
    one_training(run)
    net, about = models.load_model(run / "model.pt")
    told = card.description(run, about, *known(run), licence)
    write_text(page, web.text(net, about, told, run.resolve().name))
    size = page.stat().st_size / 1e6
    say(f"{page}: {size:.2f} MB; it opens in a browser, without server and internet")


def signed(text):
    """A card whose last line, which no reader sees, is a sum of the others."""
    # As write_text spells a name that is no UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode().rstrip()
    return f"{text}\n\n{SIGN}{short_sum(text)} -->\n"


def keep_filled(path):
    """ValueError where a person has changed a card that export wrote."""
    if not path.exists():
        return
    held = path.read_text(encoding="utf-8", errors="replace")
    if held != signed(held.rpartition(SIGN)[0]):
        raise ValueError(
            f"{path} was filled in, and a new card would lack what it says: move it "
            "away, or name another --out"
        )


def known(run):
    """The scores of a training, and those on other pictures or None.

    Raises ValueError for a file that is not there or is damaged.
    """
    others = run / "others.json"
    held_out = read_json(others, *SCORES) if others.exists() else None
    return read_json(run / "scores.json", "data", *SCORES), held_out


class Main(nn.Module):
    """A network's first map alone."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, image):
        """Logits (N, K, H, W) of pictures (N, 3, H, W)."""
        return main_map(self.net(image))


def metadata(about, step):
    """What another program must know: texts by name."""
    axes = "depth height width" if about["volumes"] else "height width"
    scale = "values over 255 (8 bits) or 65535 (16 bits)"
    if about.get("span"):
        low, high = about["span"]
        scale = f"(values - {low}) / ({high} - {low}), cut to 0..1"
    scale += ", RGB order, no mean subtracted"
    if about["volumes"]:
        scale = "less the volume's mean, over its deviation; axes z, y, x"
    answer = "sigmoid(logits) > threshold is object"
    if about["classes"] > 1:
        answer = "the class with the largest logit"
    resize = "none: native scale"
    if about["resized"]:
        resize = f"to {about['size']} (height, width), "
        resize += "bilinear and antialiased (as Pillow's, not OpenCV's); the answer "
        resize += "back by plain bilinear"
    remainder = [side % step for side in about["size"]]
    margin = about["tiling"][1]
    border = f"mirror {margin} px around the picture and cut them off the answer, "
    border += f"but for one of {about['size']} px"
    if about["volumes"]:
        border = "continue sides to multiples of 16 with the volume's least value"
    if about["resized"]:
        border = "none"
    return dict(
        network=about["network"], classes=str(about["classes"]), answer=answer,
        names=json.dumps(about["names"]), threshold=str(about["threshold"]),
        scale=scale, resize=resize, border=border, axes=f"batch channel {axes}",
        sizes=f"{axes}: multiples of {step} plus {remainder}",
        tile_and_margin=json.dumps(about["tiling"]),
    )  # fmt: skip


def to_onnx(path, net, channels, about, step, facts):
    """Write the file with open batch and sides; how far it is from PyTorch, in logits.

    It is written only if onnxruntime gives the same at two sizes and two batches.
    Raises ValueError where it does not, or where the network cannot be exported.
    """
    import onnx

    torch.manual_seed(0)
    size = about["size"]
    example = torch.rand(2, channels, *size)
    open_sides = {0: torch.export.Dim("batch", min=1, max=1024)}
    for axis, side in enumerate(size):
        more = step * torch.export.Dim(f"side{axis}", min=1, max=4096 // step)
        open_sides[axis + 2] = more + side % step if side % step else more
    program = exported(Main(net).eval(), example, open_sides)
    with whole(path) as part:
        program.save(part)
        content = onnx.load(part)
        for key, value in facts.items():
            content.metadata_props.add(key=key, value=value)
        onnx.checker.check_model(content)
        onnx.save(content, part)
        larger = [side + 2 * step for side in size]
        apart = max(
            difference(part, net, example),
            difference(part, net, torch.rand(1, channels, *larger)),
        )
        if not apart < TOLERANCE:
            raise ValueError(f"the ONNX file is {apart:.1g} of a logit off: left out")
    return apart


def exported(net, example, open_sides):
    """The ONNX program; ValueError with the deepest reason where it cannot be."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                net, (example,), dynamo=True, verbose=False,
                dynamic_shapes=(open_sides,), input_names=["image"],
                output_names=["logits"],
            )  # fmt: skip
    except Exception as error:
        while error.__cause__:
            error = error.__cause__
        reason = str(error).split("message: ")[-1].strip().splitlines()[0]
        raise ValueError(f"this network cannot be exported ({reason})") from error
    finally:
        logging.disable(logging.NOTSET)


def difference(path, net, image):
    """The largest difference between the file's answer and the network's."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options)
    found = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
    with torch.no_grad():
        return (main_map(net(image)) - found).abs().max().item()
