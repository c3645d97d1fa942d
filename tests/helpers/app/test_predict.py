"""A model on pictures, folders and volumes: what is written, and what is refused."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from helpers import chapters, folders, masks
from helpers.app import models
from tests.helpers.lines import (
    AFFINE,
    FILES,
    VOLUMES,
    refused,
    run,
    with_,
    write_photos,
    write_volumes,
)

pytestmark = pytest.mark.usefixtures("folder")
NAME = "00_segmentation.ThreeLayers"
LINE = "predict --model a.pt --image photos/0.png --out m.png"


def model(path="a.pt", **facts):
    """An untrained model of pictures."""
    torch.manual_seed(0)
    net = models.build(NAME, {})
    facts = dict(threshold=0.5, size=(32, 32), resized=False, volumes=False) | facts
    models.save_model(path, net, NAME, {}, tiling=(64, 32), **facts)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (dict(image="letter.txt"), "letter.txt cannot be read"),
        (dict(image="gone.jpg"), "gone.jpg cannot be read"),
        (dict(model="gone.pt"), "gone.pt is no file: name a model.pt"),
        (dict(model="letter.txt"), "letter.txt is a text (a letter ...)"),
        (dict(out="m.jpg"), "m.jpg is no .png"),
        (dict(out="masks/0_mask.png"), "masks/0_mask.png is there already: name"),
        (dict(out="nowhere/m.png"), "nowhere is not a folder: make it first"),
        (dict(image="photos", out="masks"), "masks is there already: name a new fold"),
        (dict(image="empty", out="new"), "empty holds no picture"),
    ],
)
def test_predict_refuses(capsys, change, answer):
    write_photos()
    model()
    Path("letter.txt").write_text("a letter")
    Path("empty").mkdir()
    assert answer in refused(capsys, with_(LINE, **change))
    assert not Path("m.png").exists() and not Path("new").exists()


@pytest.mark.parametrize("kind", ["float", "pages", "cut"])
def test_it_refuses_what_training_refuses_in_the_same_words(capsys, kind):
    write_photos()
    pixels = np.full((40, 48), 400, np.float32)
    if kind == "pages":
        pixels = np.zeros((3, 40, 48), np.uint8)
    tifffile.imwrite("photos/9.tif", pixels, photometric="minisblack")
    if kind == "cut":
        Path("photos/9.tif").write_bytes(Path("photos/0.png").read_bytes()[:200])
    Image.new("L", (48, 40)).save("masks/9.png")
    model()
    trained = refused(capsys, FILES)
    for path in Path("photos").glob("?.png"):
        path.unlink()
    used = refused(capsys, with_(LINE, image="photos/9.tif"))
    start = "error: photos/9.tif holds float32" if kind == "float" else "error: photos"
    assert trained.startswith(start) and used.startswith(start)
    if kind == "float":
        assert trained == used and "--span 0 4095" in used


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (500, 1), (61, 47), (131, 97)])
def test_the_answer_has_the_size_of_the_picture(size):
    model()
    Image.new("RGB", size, (90, 90, 90)).save("p.png")
    assert run(with_(LINE, image="p.png")) == 0
    assert Image.open("m.png").size == size


def test_the_picture_is_turned_as_it_is_seen():
    model()
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.new("RGB", (61, 47), (90, 90, 90)).save("p.jpg", exif=tags)
    assert run(with_(LINE, image="p.jpg")) == 0
    assert Image.open("m.png").size == (47, 61)


def test_a_picture_beyond_pillows_limit_says_how_it_is_allowed(capsys, monkeypatch):
    model()
    Image.new("1", (400, 300)).save("p.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    err = refused(capsys, with_(LINE, image="p.png"))
    assert (
        "p.png has more than 2,000 pixels" in err and "MAX_IMAGE_PIXELS = None" in err
    )


def test_where_tiles_are_not_exact_it_is_said_once(capsys):
    write_photos(3)
    model("exact.pt", exact=True)
    model("wide.pt", exact=False)
    assert run(with_(LINE, model="exact.pt", image="photos", out="one")) == 0
    assert "note" not in capsys.readouterr().err
    assert run(with_(LINE, model="wide.pt", image="photos", out="two")) == 0
    err = capsys.readouterr().err
    assert err.startswith("note: the network sees farther than its margin of 32 around")
    assert err.count("\n") == 1 and "seams are possible" in err


def test_a_folder_becomes_a_folder(capsys):
    write_photos(3)
    Path("photos/letter.txt").write_text("x")
    Path("photos/scan.001.v1.2.png").write_bytes(Path("photos/0.png").read_bytes())
    model()
    assert run(with_(LINE, image="photos", out="new")) == 0
    out, err = capsys.readouterr()
    assert "note: 1 file or folder is not read: photos/letter.txt" in err
    names = sorted(path.name for path in Path("new").iterdir())
    assert names == ["0.png", "1.png", "2.png", "scan.001.v1.2.png"]
    assert out.startswith("1 of 4: new/0.png: found ")


def test_a_bad_file_in_a_folder_is_named_and_the_others_are_done(capsys):
    write_photos(3)
    model()
    Path("photos/1.png").write_text("<html>")
    assert run(with_(LINE, image="photos", out="new")) == 2
    err = capsys.readouterr().err
    assert "1 of 3 pictures refused, the others done: photos/1.png cannot be" in err
    assert sorted(path.name for path in Path("new").iterdir()) == ["0.png", "2.png"]
    Path("photos/2.png").write_text("<html>")
    err = refused(capsys, with_(LINE, image="photos", out="newer"))
    assert "2 of 3 pictures refused" in err
    assert "photos/1.png cannot" in err and "photos/2.png cannot" in err


def test_the_pages_of_a_stack_where_the_training_took_stacks(capsys):
    Path("photos").mkdir()
    pages = np.random.default_rng(0).integers(0, 255, (3, 20, 30), dtype=np.uint8)
    tifffile.imwrite("photos/s.tif", pages, photometric="minisblack")
    model(stacks=True)
    assert run(with_(LINE, image="photos", out="new")) == 0
    names = sorted(path.name for path in Path("new").iterdir())
    assert names == ["s_page1.png", "s_page2.png", "s_page3.png"]
    line = with_(LINE, image="photos/s.tif")
    assert run(with_(line, out="pages")) == 0
    assert sorted(path.name for path in Path("pages").iterdir()) == names
    assert "m.png is one file: name a new folder" in refused(capsys, line)
    Image.new("L", (30, 20)).save("photos/s_page2.png")
    err = refused(capsys, with_(LINE, image="photos", out="twins"))
    assert "photos has two answers called s_page2: rename a file" in err
    assert not Path("twins").exists()
    model()
    assert "photos/s.tif has 3 pages" in refused(capsys, line)


def test_classes_are_a_palette_of_class_numbers_that_reads_back(capsys):
    write_photos(4, classes=3)
    assert run(with_(FILES, classes="3", steps="30", every="30", lr="0.02")) == 0
    line = with_(LINE, model="run/model.pt")
    assert run(line) == 0
    image = Image.open("m.png")
    assert image.mode == "P" and image.size == (48, 40)
    labels = masks.Classes(3).read("m.png")
    assert np.array_equal(labels[0], np.asarray(image))
    assert "m.png: class 0 " in capsys.readouterr().out


def test_colours_of_16_bits_are_written_in_8(capsys):
    write_photos(4, classes=3)
    colours = np.array([(0, 0, 0), (65535, 0, 0), (0, 65535, 0)], np.uint16)
    for k in range(4):
        mask = np.asarray(Image.open(f"masks/{k}_mask.png"))
        Path(f"masks/{k}_mask.png").unlink()
        tifffile.imwrite(f"masks/{k}_mask.tif", colours[mask], photometric="rgb")
    rows = 'ground = [0, 0, 0]\nred = [65535, 0, 0]\n"green" = [0, 65535, 0]\n'
    Path("deep.toml").write_text(rows)
    assert run(with_(FILES, colours="deep.toml")) == 0 and run("report run") == 0
    assert run(with_(LINE, model="run/model.pt")) == 0
    assert Image.open("m.png").getpalette()[3:9] == [255, 0, 0, 0, 255, 0]


def test_the_authors_weights_find_what_stands_out(capsys):
    """Prepared as chapter 06 prepares a picture for them, in any wrapping."""
    chapter = chapters.load("06_u2net")
    torch.manual_seed(0)
    net = chapter.U2NetSmall().eval()
    state = {f"module.{key}": value for key, value in net.state_dict().items()}
    torch.save(dict(state_dict=state), "u2netp.pth")
    write_photos(1)
    assert run(with_(LINE, model="u2netp.pth")) == 0
    picture = folders.read_image("photos/0.png")
    expected = chapter.saliency(net, picture)[0] > 0.5
    assert np.array_equal(np.asarray(Image.open("m.png")) > 0, expected)
    line = with_(LINE, model="other.pth", out="n.png")
    torch.save({"a": torch.zeros(1)}, "other.pth")
    err = refused(capsys, line)
    assert "other.pth is no model.pt of a training, and does not fit as the" in err
    assert "no name is the same (a there, stage1." in err
    Path("other.pth").write_text("<html>")
    assert "other.pth is a web page, a failed download" in refused(capsys, line)
    state.pop("module.outconv.weight")
    torch.save(state, "other.pth")
    assert "names are missing, first outconv.weight" in refused(capsys, line)


# --- volumes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "classes"),
    [
        ("03_vnet.VNet", "3"),
        ("08_lineage.UNet3d", "3"),
        ("03_vnet.small_vnet", None),
        ("08_lineage.small_unet3d", None),
    ],
)
def test_volumes_train_and_the_answer_has_the_inputs_place(capsys, network, classes):
    write_volumes()
    widths = "widths=2,4,8" if "small_v" in network else "widths=2,4"
    line = with_(VOLUMES, network=network, set=widths, classes=classes)
    if not classes:
        line += " --instances"
    assert run(line) == 0
    assert "crops of 8 x 16 x 16 voxels" in capsys.readouterr().out
    order = "predict --model run/model.pt --image scans/case.0.nii.gz --out a.nii.gz"
    assert run(order) == 0
    answer = nibabel.load("a.nii.gz")
    assert answer.shape == (20, 18, 7) and np.allclose(answer.affine, AFFINE)
    assert " mm3) of the voxels" in capsys.readouterr().out
    assert run("predict --model run/model.pt --image scans --out new") == 0
    names = sorted(path.name for path in Path("new").iterdir())
    assert names == [f"case.{k}.nii.gz" for k in range(3)]


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (dict(size="16"), "volumes keep their scale: no --size"),
        (dict(crop="16x16"), "--crop is 16x16, and volumes have three"),
        (dict(crop="9"), "refuses a batch of 2 x 1 x 9 x 9 x 9"),
        (
            dict(network="02_unet.small_unet", set="widths=4,8"),
            "expected a batch (N, 1, H, W), got (2, 1, 8, 16, 16)): volumes need a net",
        ),
        (
            dict(network="03_vnet.small_vnet", set="widths=2,4,8"),
            "need 3 maps: --classes says how many classes masks have, and it cannot be",
        ),
        (dict(classes="2"), "holds 3 values: 0 (2331 px), 1 (144 px), 2 (45 px)"),
    ],
)
def test_volumes_are_refused(capsys, change, answer):
    write_volumes()
    line = with_(VOLUMES, **(dict(classes="3") | change))
    if "crop" not in change and "size" in change:
        line = with_(line, crop=None)
    assert answer in refused(capsys, line)


def test_a_volume_of_another_place_is_refused_and_a_mixed_folder(capsys):
    write_volumes()
    path = "labels/case.1.nii.gz"
    values = np.asarray(nibabel.load(path).dataobj)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    assert "labels/case.1.nii.gz has voxels of 1 x 1 x 1 mm" in refused(
        capsys, with_(VOLUMES, classes="3")
    )
    Image.new("L", (8, 8)).save("scans/p.png")
    assert "scans holds NIfTI volumes and pictures: part them" in refused(
        capsys, VOLUMES
    )


def test_a_model_of_pictures_refuses_a_volume(capsys):
    write_volumes()
    model()
    model("v.pt", volumes=True)
    write_photos()
    for image in ("scans/case.0.nii.gz", "scans"):
        err = refused(capsys, with_(LINE, image=image))
        assert f"{image}: the model was trained on pictures, these are volumes" in err
    for image in ("photos/0.png", "photos"):
        err = refused(capsys, with_(LINE, model="v.pt", image=image))
        assert f"{image}: the model was trained on volumes, these are pictures" in err
    line = with_(LINE, model="v.pt", image="scans/case.0.nii.gz")
    assert "m.png is no .nii.gz" in refused(capsys, line)
    assert not Path("m.png").exists()


def test_a_volume_that_is_cut_off_is_named(capsys):
    write_volumes()
    path = Path("scans/case.0.nii.gz")
    path.write_bytes(path.read_bytes()[:-2000])
    model("v.pt", volumes=True)
    line = with_(LINE, model="v.pt", image=str(path), out="m.nii.gz")
    assert "scans/case.0.nii.gz cannot be read as NIfTI" in refused(capsys, line)
    assert not Path("m.nii.gz").exists()
    assert run("inspect --images scans --masks labels --classes 3") == 1
    assert "odd: scans/case.0.nii.gz cannot be read" in capsys.readouterr().out
