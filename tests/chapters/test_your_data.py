"""What the functions of chapter 10 must do."""

import math
import warnings

import pytest
import torch

from helpers import chapters, data, folders, metrics

chapter = chapters.load("10_your_data")
inception = chapters.load("05_inception_unet")
unet = chapters.load("02_unet")


def square():
    mask = torch.zeros(1, 1, 12, 12)
    mask[..., 3:7, 4:9] = 1
    return mask


def test_masks_are_one_pixel_off():
    off = chapter.one_off(square())
    assert [off[name].sum() for name in off] == [42, 6, 20]
    for mask in off.values():
        assert mask.shape == square().shape and set(mask.unique().tolist()) <= {0, 1}
    assert metrics.iou(off["wider"], square()) == pytest.approx(20 / 42)
    assert metrics.boundary_f1(off["wider"], square()) == 1
    assert torch.equal(off["shifted"][..., 1:], square()[..., :-1])


def test_pictures_are_written_as_they_are(tmp_path):
    picture = torch.arange(24.0).reshape(1, 4, 6) / 255
    for image in (picture, picture.expand(3, 4, 6)):
        chapter.write_png(tmp_path / "new" / "a.png", image)
        read = folders.read_image(tmp_path / "new" / "a.png")
        assert torch.allclose(read, picture.expand(3, 4, 6))


def test_quarters_make_the_picture_again():
    picture = torch.rand(3, 8, 6)
    a, b, c, d = chapter.quarters(picture)
    assert torch.equal(
        torch.cat([torch.cat([a, b], 2), torch.cat([c, d], 2)], 1), picture
    )


def test_a_site_is_painted_from_its_defects():
    tiles = chapter.site(4, seed=3)
    assert tiles.tensors[0].shape == (16, 3, 96, 96)
    images, masks = chapter.to_paint(tiles).tensors
    marked = masks.flatten(1).any(1).tolist()
    assert marked == sorted(marked, reverse=True) and len(images) == 16
    for k in range(min(4, sum(tiles.tensors[1][::4].flatten(1).any(1)))):
        assert any(torch.equal(images[k], tile) for tile in tiles.tensors[0][::4])


def test_each_seed_paints_masks_of_its_own():
    sets = chapter.painted(0, 5)(100)
    wide = chapter.painted(0, 5, wide=True)(100)
    assert [len(part) for part in sets] == [5, 40, 80]
    for own, others in zip(sets, wide):
        assert torch.equal(own.tensors[0], others.tensors[0])
    exact = sets.train.tensors[1]
    assert torch.equal(wide.train.tensors[1], chapter.one_off(exact)["wider"])
    assert torch.equal(wide.test.tensors[1], sets.test.tensors[1])
    again = chapter.painted(0, 5)(101)
    assert not torch.equal(again.train.tensors[0], sets.train.tensors[0])


def test_a_texture_is_left_out():
    def read(texture, split, seed):
        level = data.PHOTOGRAPHS.index(texture) + 10 * seed
        images = torch.full((6, 3, 8, 8), float(level))
        return torch.utils.data.TensorDataset(images, torch.ones(6, 1, 8, 8))

    three = data.PHOTOGRAPHS
    without = chapter.all_but("gravel", three, read)(2)
    both = chapter.all_but(None, three, read)(2)
    assert set(without.train.tensors[0].unique().tolist()) == {20, 22}
    assert set(without.validation.tensors[0].unique().tolist()) == {20, 22}
    assert set(both.train.tensors[0].unique().tolist()) == {20, 21, 22}
    assert len(both.train) == len(without.train) == 12
    assert set(both.test) == set(without.test) == set(three)


def test_a_category_is_drawn_anew_for_each_seed():
    first = chapter.category("grass", "validation", 100)
    other = chapter.category("grass", "validation", 101)
    assert len(first) == len(other) == 25
    assert first.tensors[1].flatten(1).any(1).sum() == 24
    assert not torch.equal(first.tensors[0], other.tensors[0])


@pytest.mark.parametrize("n", [3, 4, 9, 10, 25])
@pytest.mark.parametrize("seed", range(5))
def test_no_object_is_in_two_splits(n, seed):
    objects = [f"wall{i % n}" for i in range(4 * n + 1)]
    parts = chapter.split_by_object(objects, seed)
    held, all_indices = {}, []
    for part, indices in parts.items():
        held[part] = {objects[i] for i in indices}
        all_indices += indices
    assert sorted(all_indices) == list(range(4 * n + 1))
    assert sum(map(len, held.values())) == n
    assert len(held["validation"]) == len(held["test"]) == max(1, n // 5)
    assert parts == chapter.split_by_object(objects, seed)


def test_two_objects_are_too_few():
    with pytest.raises(ValueError, match="2 objects: three splits need at least three"):
        chapter.split_by_object(["a", "b", "a"])


def test_crops_keep_images_and_masks_together():
    images = torch.rand(2, 1, 40, 30)
    for seed in range(20):
        torch.manual_seed(seed)
        image, mask = chapter.crops(images, images.clone(), 24)
        assert image.shape == (2, 1, 24, 24) and torch.equal(image, mask)
    with pytest.raises(ValueError, match="20 x 60 px hold no crop of 48 px"):
        chapter.crops(torch.rand(1, 3, 20, 60), torch.rand(1, 1, 20, 60))


def test_every_place_can_be_cropped():
    place = torch.arange(9.0).reshape(1, 1, 3, 3)
    seen = {chapter.crops(place, place, 1)[0].item() for _ in range(200)}
    assert seen == set(range(9))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A small category in MVTec AD's layout."""
    root = tmp_path_factory.mktemp("mvtec")
    chapter.write_category(root, "brick", each=6, good=4)
    return root


def test_the_tree_is_read_as_mvtec_ad(tree):
    sets = {s: folders.MVTecAD(tree, "brick", s) for s in folders.SPLITS}
    # Of 6: 1 validation, 1 test, 4 train, thrice; of 4 good: 1, 1, 2, and 8 spare.
    assert {s: len(d) for s, d in sets.items()} == dict(validation=4, test=4, train=22)
    for dataset in sets.values():
        for (_, mask_path), (image, mask) in zip(dataset.pairs, dataset):
            assert image.shape == (3, 64, 64)
            assert mask.any() == (mask_path is not None)


def test_the_splits_of_the_tree_share_no_pixel(tree, monkeypatch):
    """Every picture was cut from the rows that belong to the split it is read in."""
    asked = []

    def spy(n, texture, split, kind=None, size=64):
        asked.append(split)
        grey = folders.SPLITS.index(split) / 4
        mask = torch.zeros(n, 1, size, size)
        mask[..., :8, :8] = 1
        return torch.full((n, 3, size, size), grey), mask

    monkeypatch.setattr(chapter, "drawn", spy)
    chapter.write_category(tree / "spied", "grass", each=7, good=5)
    for split in folders.SPLITS:
        for image, _ in folders.MVTecAD(tree / "spied", "grass", split):
            assert math.isclose(image[0, 0, 0], folders.SPLITS.index(split) / 4,
                                abs_tol=1 / 255)  # fmt: skip
    assert set(asked) == set(folders.SPLITS)


def test_drawn_pictures_have_a_defect_or_none():
    for texture in data.PHOTOGRAPHS:
        for kind in (*data.DEFECTS, None):
            images, masks = chapter.drawn(5, texture, "test", kind)
            assert len(images) == len(masks) == 5
            assert (masks.flatten(1).any(1) == bool(kind)).all()


@pytest.mark.parametrize("side", [8, 11, 16])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_pool_by_matrices_is_the_pool_by_waves(side, stride):
    torch.manual_seed(0)
    pool = inception.HybridPool(3, stride)
    x = torch.randn(2, 3, side, 2 * side)
    with torch.no_grad():
        waves = pool(x)
        pool.__class__ = chapter.MatrixPool
        assert torch.allclose(pool(x), waves, atol=1e-5)
    assert pool.matrix(side).shape == (side, side // stride)


def test_onnx_with_open_and_with_frozen_sizes(tmp_path, capfd):
    torch.manual_seed(0)
    net = unet.small_unet(widths=(2, 4)).eval()
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chapter.to_onnx(net, torch.rand(1, 3, 8, 8), path, step=2)
    for size in ((8, 8), (12, 20)):
        image = torch.randn(1, 3, *size)
        with torch.no_grad():
            assert torch.allclose(chapter.run_onnx(path, image), net(image), atol=1e-4)
    with pytest.raises(Exception, match="mismatched"):
        chapter.run_onnx(path, torch.rand(1, 3, 9, 9))
    chapter.to_onnx(net, torch.rand(1, 3, 8, 8), path)
    assert chapter.run_onnx(path, torch.rand(1, 3, 8, 8)).shape == (1, 1, 8, 8)
    with pytest.raises(Exception, match="Expected: 8"):
        chapter.run_onnx(path, torch.rand(1, 3, 12, 8))
    assert capfd.readouterr() == ("", "")
