"""What is made of an origin's files: merged nuclei, block means, every second label."""

import numpy as np
import pytest

from helpers import real
from helpers.app import prepare
from tests.helpers import trees


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder for a tree in the layout of an origin."""
    trees.few(monkeypatch, tmp_path)
    yield tmp_path / "source"
    real.sums.cache_clear()


def test_nuclei_are_numbered_in_the_order_of_their_files(source):
    opaque = trees.picture((2, 3, 4))
    trees.save(source / "abcdef" / "images" / "abcdef.png", opaque)
    for name, column in (("c", 0), ("a", 2)):
        mask = np.zeros((2, 3), np.uint8)
        mask[:, column] = 255
        trees.save(source / "abcdef" / "masks" / f"{name}.png", mask)
    picture, numbers = prepare.nuclei(source, "abc")
    assert np.array_equal(picture, opaque[..., :3])
    assert numbers.dtype == np.uint16
    assert numbers.tolist() == [[2, 0, 1], [2, 0, 1]]


def test_a_head_is_where_half_of_the_block_is_and_the_rest_is_cut(source):
    # The means of the blocks are 2.5, which goes to 2, and 3.5, which goes to 4.
    picture = np.repeat([[2] * 4 + [3] * 4 + [9]], 5, 0).astype(np.uint8)
    picture[:2, :8] += 1
    label = np.zeros((5, 9, 3), np.uint8)
    label[:2, :8] = 255  # 8 of 16 in both blocks
    label[0, 4] = 0  # 7 of 16 in the second one
    trees.save(source / "1_HC.png", picture)
    trees.save(source / "1_HC_Annotation.png", label)
    made, mask = prepare.head(source, "1_HC")
    assert made.tolist() == [[2, 4]] and made.dtype == np.uint8
    assert mask.tolist() == [[255, 0]] and mask.dtype == np.uint8


def test_a_street_has_means_and_the_first_label_of_each_block(source):
    picture = np.zeros((2, 4, 3), np.uint8)
    picture[0, :2] = (4, 40, 80)  # half of the first block
    trees.save(source / "train" / "1.png", picture)
    trees.save(
        source / "trainannot" / "1.png",
        np.array([[1, 9, 2, 9], [9, 9, 9, 9]], np.uint8),
    )
    made, label = prepare.street(source, "train/1")
    assert made.tolist() == [[[2, 20, 40], [0, 0, 0]]]
    assert label.tolist() == [[1, 2]]


@pytest.mark.parametrize("name", list(real.FACTS))
def test_a_tree_in_the_layout_of_the_origin_becomes_the_set(source, tmp_path, name):
    expected = trees.origin(name, source)
    out = tmp_path / "out"
    prepare.prepare(name, source / real.FACTS[name]["folder"], out, True)
    for pair, both in expected.items():
        for pixels, wanted in zip(real.read(name, pair, out), both):
            assert np.array_equal(pixels, wanted) and pixels.dtype == wanted.dtype
    again = tmp_path / "again"
    prepare.prepare(name, out, again, False)
    files = {path.relative_to(out) for path in out.rglob("*.*")}
    assert files == {path.relative_to(again) for path in again.rglob("*.*")}
    assert len(files) == 2 * len(expected)


# --- refused ----------------------------------------------------------------------


def spoil_nuclei(root, kind):
    folder = root / "0bffff"
    masks = sorted((folder / "masks").iterdir())
    if kind == "missing":
        (folder / "images" / "0bffff.png").unlink()
        return "0bffff.png is missing"
    if kind == "no masks":
        for path in masks:
            path.unlink()
        return "0bffff.masks holds no mask"
    if kind == "size":
        trees.save(masks[0], np.zeros((4, 5), np.uint8))
        return "m1.png is 4 x 5 px, its picture 4 x 6"
    if kind == "twice":
        (root / "0b0000").mkdir()
        return "has 2 folders 0b...: one is needed"
    masks[1].unlink()
    return "0b of .*the content is another"


def spoil_heads(root, kind):
    path = root / "002_HC_Annotation.png"
    if kind == "missing":
        path.unlink()
        return "002_HC_Annotation.png is missing"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:70])
        return "002_HC_Annotation.png is damaged"
    if kind == "size":
        trees.save(path, np.zeros((8, 24), np.uint8))
        return "002_HC_Annotation.png is 8 x 24 px, its picture 16 x 24"
    trees.save(path, np.full((16, 24), 7, np.uint8))
    return r"002_HC_Annotation.png has the label 7; there are \[0, 255\]"


def spoil_streets(root, kind):
    image, label = real.paths("camvid", "train/0006R0_1", root)
    if kind == "large":
        trees.save(image, trees.picture((16, 12, 3)))
        trees.save(label, np.zeros((16, 12), np.uint8))
        return r"train/0006R0_1 of .* it has \[8, 6\] px, .* and not \[4, 6\]"
    trees.save(label, np.full((8, 12), 12, np.uint8))
    return "trainannot/0006R0_1.png has the label 12; there are"


@pytest.mark.parametrize(
    ("name", "spoil", "kind"),
    [
        ("dsb2018", spoil_nuclei, "missing"),
        ("dsb2018", spoil_nuclei, "no masks"),
        ("dsb2018", spoil_nuclei, "size"),
        ("dsb2018", spoil_nuclei, "twice"),
        ("dsb2018", spoil_nuclei, "a nucleus less"),
        ("hc18", spoil_heads, "missing"),
        ("hc18", spoil_heads, "truncated"),
        ("hc18", spoil_heads, "size"),
        ("hc18", spoil_heads, "label"),
        ("camvid", spoil_streets, "large"),
        ("camvid", spoil_streets, "label"),
    ],
)
def test_what_is_wrong_in_the_origins_tree_is_named(
    source, tmp_path, name, spoil, kind
):
    trees.origin(name, source)
    root = source / real.FACTS[name]["folder"]
    told = spoil(root, kind)
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        prepare.prepare(name, root, tmp_path / "out", True)
