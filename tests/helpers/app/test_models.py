"""A network by its name, and a trained one in a file."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from helpers import chapters
from helpers.app import models
from tests.helpers.toys import same_weights

NAME, ARGUMENTS = "00_segmentation.ThreeLayers", dict(width=4)
FACTS = dict(threshold=0.5, size=(32, 32), resized=False, tiling=(256, 32))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return models.build(NAME, ARGUMENTS).eval()


# --- by name ----------------------------------------------------------------------


class Ready(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.layer = nn.Conv2d(3, width, 1)


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()


def small_ready(share=0.04, **settings):
    return Ready(**settings)


def other():
    return Ready()


@pytest.fixture
def chapter(monkeypatch):
    """A chapter with two networks, a block, a function, and what it imported."""
    module = ModuleType(__name__)
    for thing in (Ready, Block, small_ready, other):
        setattr(module, thing.__name__, thing)
    module.Conv2d, module.small_number = nn.Conv2d, 7
    monkeypatch.setattr(chapters, "load", lambda name: module)


def test_a_network_is_a_class_with_defaults_or_a_small_one(chapter):
    assert models.networks(chapters.load("01")) == ["Ready", "small_ready"]
    assert models.build("01.Ready", dict(width=2)).layer.out_channels == 2
    assert models.build("01.small_ready", dict(width=3)).layer.out_channels == 3


@pytest.mark.parametrize("name", ["Block", "other", "Conv2d", "Gone", "small_number"])
def test_anything_else_is_refused_with_what_there_is(chapter, name):
    with pytest.raises(ValueError, match=f"no network '{name}', but Ready, small_re"):
        models.build(f"01.{name}", {})


@pytest.mark.parametrize(
    ("name", "takes"), [("Ready", "width"), ("small_ready", "share, width")]
)
def test_arguments_that_it_does_not_take_are_named_with_those_it_does(
    chapter, name, takes
):
    with pytest.raises(ValueError, match=rf"01.{name}\(w=4\) cannot .*takes {takes}$"):
        models.build(f"01.{name}", dict(w=4))


def test_each_chapter_of_a_network_has_some():
    for name in ("00_segmentation", "02_unet", "04_resunet"):
        assert any("small_" in each for each in models.networks(chapters.load(name)))


def test_data_set_what_a_network_takes_and_nobody_has_stated():
    fitted = models.fitted
    small = fitted("02_unet.small_unet", dict(norm=True), 3, 3)
    assert small == dict(in_channels=3, classes=3, norm=True)
    assert fitted("02_unet.UNet", dict(classes=2), 3, 3) == dict(
        in_channels=3, classes=2
    )
    assert fitted("03_vnet.VNet", {}, 3, 1) == dict(in_channels=1, classes=3)
    assert fitted("03_vnet.small_vnet", {}, 1, 1) == {}
    assert fitted("02_unet.Gone", dict(a=1), 1, 3) == dict(a=1)


def test_a_network_that_wants_its_first_answer_stated_gets_the_books_own():
    net = models.build("08_lineage.small_unet3d", {})
    assert net.head.bias.sigmoid().item() == pytest.approx(0.04)
    with pytest.raises(ValueError, match=r"norm=True\) cannot .* takes share, widths$"):
        models.build("08_lineage.small_unet3d", dict(norm=True))


# --- in a file --------------------------------------------------------------------


def test_a_model_is_read_back(net):
    models.save_model("a.pt", net, NAME, ARGUMENTS, **FACTS, best=np.float64(0.25))
    again, configuration = models.load_model("a.pt")
    assert same_weights(again, net) and not again.training
    assert configuration.pop("versions").keys() > {"python", "torch"}
    about = dict(network=NAME, arguments=ARGUMENTS, best=0.25, classes=1)
    lists = dict(size=[32, 32], tiling=[256, 32])  # as JSON keeps them
    assert configuration == FACTS | about | lists


def test_a_save_that_fails_leaves_what_was_there(net, monkeypatch):
    models.save_model("a.pt", net, NAME, ARGUMENTS, **FACTS)
    content = Path("a.pt").read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        models.save_model("a.pt", net, NAME, ARGUMENTS, **FACTS, loss=net)

    def dies(content, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(OSError, match="disk full"):
        models.save_model("a.pt", net, NAME, ARGUMENTS, **FACTS)
    assert Path("a.pt").read_bytes() == content
    assert [path.name for path in Path().iterdir()] == ["a.pt"]


def test_what_is_no_model_is_refused(net):
    models.save_model("a.pt", net, NAME, ARGUMENTS, **FACTS)
    content = torch.load("a.pt", weights_only=True)
    content["configuration"]["arguments"] = {"width": 5}
    torch.save(content, "other.pt")
    torch.save(net.state_dict(), "weights.pt")
    torch.save(net, "pickled.pt")
    Path("cut.pt").write_bytes(Path("a.pt").read_bytes()[:2000])
    for name in ("weights.pt", "pickled.pt", "cut.pt"):
        with pytest.raises(ValueError, match=f"^{name} is damaged or is no model of"):
            models.load_model(name)
    with pytest.raises(ValueError, match=f"other.pt does not fit {NAME} as it is now"):
        models.load_model("other.pt")
    with pytest.raises(FileNotFoundError, match=r"gone.pt is no file: name a model.pt"):
        models.load_model("gone.pt")


def test_a_model_of_an_earlier_edition_is_refused_by_name(net):
    models.save_model("old.pt", net, NAME, ARGUMENTS, **FACTS)
    content = torch.load("old.pt", weights_only=True)
    del content["configuration"]["classes"]
    torch.save(content, "old.pt")
    with pytest.raises(
        ValueError, match=r"old\.pt .* earlier edition .* train it again"
    ):
        models.load_model("old.pt")
