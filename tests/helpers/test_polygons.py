"""Outlines as label maps: by hand, and against what COCO's own code encodes."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as outside

from helpers.masks import Classes
from helpers.polygons import coco, labelme, run_lengths, write_masks
from tests.helpers.files import must_say, refusal

NAMES = ["cat", "dog", "person"]


def shape(label, points, kind="polygon"):
    return dict(label=label, points=points, shape_type=kind)


def labelme_file(path, *shapes):
    content = dict(shapes=shapes, imageHeight=12, imageWidth=20)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


BOX = [[2, 1], [6, 1], [6, 4], [2, 4]]
BOX_OF_COCO = [2, 1, 6, 1, 6, 4, 2, 4]
PACKED = outside.encode(np.ones((5, 5), np.uint8, order="F"))["counts"].decode()


def test_shapes_of_labelme_take_in_their_outline(tmp_path):
    path = labelme_file(
        tmp_path / "a.json",
        shape("cat", BOX),
        shape("person", [[10, 3], [15, 8]], "rectangle"),
        shape("dog", [[6, 9], [8, 9]], "circle"),
    )
    labels = labelme(path, NAMES)
    expected = np.zeros((12, 20), np.uint8)
    expected[1:5, 2:7] = 1
    expected[3:9, 10:16] = 3
    y, x = np.mgrid[:12, :20]
    expected[np.hypot(y - 9, x - 6) <= 2.5] = 2
    assert np.array_equal(labels, expected)


def test_a_class_has_one_number_in_all_files_and_later_shapes_cover(tmp_path):
    first = labelme_file(tmp_path / "a.json", shape("cat", BOX), shape("person", BOX))
    second = labelme_file(tmp_path / "b.json", shape("person", BOX), shape("dog", BOX))
    assert labelme(first, NAMES).max() == 3
    assert set(labelme(second, NAMES).flat) == {0, 2}


def test_a_file_may_begin_with_the_mark_of_windows(tmp_path):
    path = labelme_file(tmp_path / "a.json", shape("cat", BOX))
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert labelme(path, NAMES).max() == 1


def test_masks_are_written_for_the_loader(tmp_path):
    (tmp_path / "json").mkdir()
    for name in ("a", "scan.001"):
        labelme_file(tmp_path / "json" / f"{name}.json", shape("dog", BOX))
    paths = write_masks(tmp_path / "json", tmp_path / "masks", NAMES)
    assert [path.name for path in paths] == ["a.png", "scan.001.png"]
    found = Classes(4).read(paths[1])
    assert set(found.flatten().tolist()) == {0, 2} and (found == 2).sum() == 20
    message = refusal(write_masks, ValueError, "json", tmp_path / "masks", NAMES)
    must_say(message, tmp_path / "masks", "holds something already")


def coco_file(path, *annotations, categories=("cat", "dog")):
    content = dict(images=[], annotations=[], categories=[])
    for k, name in enumerate(categories):
        content["categories"].append(dict(id=10 * k + 5, name=name))
    for k, name in enumerate(("a.jpg", "folder/b.jpg")):
        picture = dict(id=k, file_name=name, height=12, width=20)
        content["images"].append(picture)
    for k, (image, category, segmentation) in enumerate(annotations):
        what = dict(id=k, image_id=image, category_id=category)
        content["annotations"].append(what | dict(segmentation=segmentation))
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_coco_polygons_count_from_the_corner_of_a_pixel(tmp_path):
    boxes = [[2, 1, 6, 1, 6, 4, 2, 4], [10, 5, 12, 5, 12, 7, 10, 7]]
    maps = coco(coco_file(tmp_path / "c.json", (0, 15, boxes)), NAMES)
    expected = np.zeros((12, 20), np.uint8)
    expected[1:4, 2:6] = expected[5:7, 10:12] = 2
    assert np.array_equal(maps["a"], expected)
    assert not maps["b"].any() and maps["b"].shape == (12, 20)


def test_run_lengths_go_down_the_columns(tmp_path):
    """30 pixels are none, 5 are, the rest is none: columns of 12."""
    runs = dict(size=[12, 20], counts=[30, 5, 205])
    maps = coco(coco_file(tmp_path / "c.json", (1, 5, runs)), NAMES)
    assert maps["b"].T.ravel().nonzero()[0].tolist() == [30, 31, 32, 33, 34]
    assert maps["b"].max() == 1


def test_packed_run_lengths_are_unpacked(tmp_path):
    truth = np.random.default_rng(0).random((12, 20)) > 0.5
    runs = outside.encode(np.asfortranarray(truth.astype(np.uint8)))
    runs["counts"] = runs["counts"].decode()
    maps = coco(coco_file(tmp_path / "c.json", (0, 5, runs)), NAMES)
    assert np.array_equal(maps["a"] == 1, truth)


@pytest.mark.parametrize("size", [(12, 20), (1, 1), (70, 300)])
def test_packed_run_lengths_are_those_that_coco_packed(size):
    rng = np.random.default_rng(0)
    for share in (0, 0.01, 0.5, 1):
        truth = (rng.random(size) < share).astype(np.uint8)
        packed = outside.encode(np.asfortranarray(truth))["counts"].decode()
        counts = run_lengths(packed, "annotation 0", size)
        values = np.arange(len(counts)) % 2
        assert np.array_equal(values.repeat(counts), truth.T.ravel())


def test_a_class_may_be_spelt_with_other_accents_and_blanks(tmp_path):
    for label in ("é", unicodedata.normalize("NFD", "é"), " é "):
        path = coco_file(tmp_path / "c.json", (0, 5, [BOX_OF_COCO]), categories=[label])
        for name in ("é", unicodedata.normalize("NFD", "é"), "é "):
            assert coco(path, ["cat", name])["a"].max() == 2
    message = refusal(write_masks, ValueError, path, tmp_path / "o", ["é", " é"])
    must_say(message, "each must be there, and once")


def test_json_files_in_capitals_are_drawn_and_what_is_left_out_is_told(tmp_path):
    source = tmp_path / "json"
    (source / "batch2").mkdir(parents=True)
    for name in ("a.json", "B.JSON", "batch2/c.json"):
        labelme_file(source / name, shape("cat", BOX))
    for name in ("a.jpg", "b.png", "notes.txt"):  # pictures lie beside their outlines
        (source / name).touch()
    with pytest.warns(UserWarning) as caught:
        paths = write_masks(source, tmp_path / "masks", NAMES)
    assert [path.name for path in paths] == ["B.png", "a.png"]
    assert str(caught[0].message) == (
        f"2 not drawn: {source / 'batch2'}, {source / 'notes.txt'}; only JSON files "
        f"directly in {source} are"
    )


@pytest.mark.parametrize(
    "names",
    [("A", "a"), ("é", "É"), ("a", "a"), ("é", unicodedata.normalize("NFD", "É"))],
)
def test_masks_that_are_one_file_on_some_disks_are_refused(tmp_path, names):
    path = coco_file(tmp_path / "c.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    for picture, name, ending in zip(content["images"], names, ("jpg", "png")):
        picture["file_name"] = f"{name}.{ending}"
    path.write_text(json.dumps(content), encoding="utf-8")
    message = refusal(write_masks, ValueError, path, tmp_path / "o", NAMES)
    must_say(message, path, f"{names[0]}.jpg and {names[1]}.png would have one mask")
    assert not (tmp_path / "o").exists()


def test_outlines_whose_names_differ_in_case_alone_are_refused(tmp_path):
    (tmp_path / "json").mkdir()
    for name in ("A.json", "a.json"):
        labelme_file(tmp_path / "json" / name, shape("cat", BOX))
    if len(list((tmp_path / "json").iterdir())) < 2:
        pytest.skip("on this disk the two are one")
    message = refusal(write_masks, ValueError, tmp_path / "json", tmp_path / "o", NAMES)
    must_say(message, tmp_path / "json" / "A.json", "would have one mask, a.png")


def test_a_file_of_the_other_kind_is_recognised(tmp_path):
    (tmp_path / "json").mkdir()
    path = labelme_file(tmp_path / "json" / "a.json", shape("cat", BOX))
    message = refusal(write_masks, ValueError, path, tmp_path / "o", NAMES)
    way_out = f"`python -m helpers.app draw {path.parent} ...`"
    must_say(message, f"{path} is a LabelMe file: name the folder", way_out)
    coco_file(path)
    message = refusal(write_masks, ValueError, path.parent, tmp_path / "o", NAMES)
    way_out = f"`python -m helpers.app draw {path} ...`"
    must_say(message, f"{path} is a COCO file: name the file", way_out)


@pytest.mark.parametrize(
    "content",
    [
        '[{"id": 1, "annotations": [], "data": {"image": "a.jpg"}}]',  # Label Studio
        '{"a.jpg12": {"filename": "a.jpg", "size": 12, "regions": []}}',  # VIA
    ],
)
def test_exports_of_other_programs_are_to_be_made_coco(tmp_path, content):
    (tmp_path / "json").mkdir()
    path = tmp_path / "json" / "a.json"
    path.write_text(content)
    for source in (path, path.parent):
        message = refusal(write_masks, ValueError, source, tmp_path / "o", NAMES)
        must_say(message, f"{path} is no LabelMe file", "none of COCO", "export as")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is no LabelMe file"),
        ("{}", "is no LabelMe file"),
        ('{"shapes": []}', "is no LabelMe file (KeyError: 'imageHeight')"),
        ('{"imageHeight": null, "imageWidth": 3, "shapes": []}', "is of None x 3 px"),
        ([dict(points=BOX)], "is no LabelMe file (KeyError: 'label')"),
        ([shape("bird", BOX)], "'bird', which is not among cat, dog, person"),
        ([shape("cat", BOX[:2], "linestrip")], "linestrip of 2 points (cat)"),
        ([shape("cat", BOX[:2])], "polygon of 2 points"),
        ([shape("cat", BOX[:1], "point")], "point of 1 points"),
        ([shape("cat", [[np.nan, 1], *BOX])], "a point of cat is no number"),
        ('{"imageHeight": -4, "imageWidth": 3, "shapes": []}', "is of -4 x 3 px"),
        ('{"imageHeight": 4, "imageWidth": 0, "shapes": []}', "number from 1 up: mend"),
        ([dict(label=3, points=BOX)], "the class 3, which is no text"),
    ],
)
def test_a_file_that_cannot_be_drawn_is_named_and_nothing_is_written(
    tmp_path, content, told
):
    (tmp_path / "json").mkdir()
    labelme_file(tmp_path / "json" / "a.json", shape("cat", BOX))
    path = tmp_path / "json" / "b.json"
    path.write_text(content) if isinstance(content, str) else labelme_file(
        path, *content
    )
    message = refusal(write_masks, ValueError, path.parent, tmp_path / "out", NAMES)
    must_say(message, path, told)
    assert not (tmp_path / "out").exists()


def test_half_a_folder_is_in_nobodys_way(tmp_path, monkeypatch):
    for name in "ab":
        labelme_file(tmp_path / f"{name}.json", shape("cat", BOX))
    whole = Image.Image.save

    def full(image, path):
        if path.stem == "b":
            raise OSError(28, "No space left on device", str(path))
        whole(image, path)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        refusal(write_masks, OSError, tmp_path, tmp_path / "out", NAMES)
    assert len(write_masks(tmp_path, tmp_path / "out", NAMES)) == 2


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        ((7, 5, [[0, 0, 4, 0, 4, 4]]), "names image 7 and category 5"),
        ((0, 6, [[0, 0, 4, 0, 4, 4]]), "names image 0 and category 6"),
        ((0, 5, []), "has no segmentation"),
        ((0, 5, [[0, 0, 4, 4]]), "a polygon of less than 3 points"),
        ((0, 5, [[0, 0, 4, 0, 4, 4, 2]]), "an x without its y"),
        ((0, 5, [[0, 0, 4, np.nan, 4, 4]]), "a point at nan, far outside of its (12,"),
        ((0, 5, [[0, 0, 1e12, 0, 4, 4]]), "a point at 1000000000000.0, far outside"),
        ((0, 5, 3), "is no COCO file"),
        ((0, 5, dict(size=[20, 12], counts=[240])), "is of (20, 12) px"),
        ((0, 5, dict(size=[12, 20], counts=[30, 9])), "run lengths of 39 px in all"),
        ((0, 5, dict(size=[12, 20], counts=[-5, 245])), "-5, no whole number from 0"),
        ((0, 5, dict(size=[12, 20], counts=[10.5, 229.5])), "10.5, no whole number"),
        ((0, 5, dict(size=[12, 20], counts=[np.nan, 240])), "nan, no whole number"),
        ((0, 5, dict(size=[12, 20], counts=[np.inf, 240])), "inf, no whole number"),
        ((0, 5, dict(size=[12, 20], counts="")), "run lengths of 0 px in all"),
        ((0, 5, dict(size=[12, 20], counts=PACKED)), "run lengths of 25 px in all"),
        ((0, 5, dict(size=[12, 20], counts="0~")), "with the sign '~'"),
        ((0, 5, dict(size=[12, 20], counts="0P")), "that are cut off"),
        ((0, 5, dict(size=[12, 20], counts="KO")), "-5, no whole number"),
        ((0, 25, [[0, 0, 4, 0, 4, 4]]), "'bird', which is not among"),
    ],
)
def test_an_annotation_of_coco_that_does_not_fit_is_named(tmp_path, annotation, told):
    path = coco_file(tmp_path / "c.json", annotation, categories=("cat", "dog", "bird"))
    must_say(
        refusal(write_masks, ValueError, path, tmp_path / "out", NAMES), path, told
    )


def test_what_has_no_pixel_of_the_picture_is_told(tmp_path):
    far = labelme_file(tmp_path / "a.json", shape("cat", np.add(BOX, 100).tolist()))
    with pytest.warns(UserWarning, match=r"a\.json: the shape cat has no pixel within"):
        assert not labelme(far, NAMES).any()
    far = coco_file(tmp_path / "c.json", (0, 5, [[50, 50, 54, 50, 54, 54]]))
    with pytest.warns(UserWarning, match="annotation 0 has no pixel within 12 x 20 px"):
        assert not coco(far, NAMES)["a"].any()


def test_a_path_of_windows_has_a_name_too(tmp_path):
    path = coco_file(tmp_path / "c.json")
    path.write_text(path.read_text().replace("folder/b.jpg", "train\\\\b.HEIC"))
    assert list(coco(path, NAMES)) == ["a", "b"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"height": 12', '"height": -3', "a picture is of -3 x 20 px (height, width)"),
        ('"id": 15', '"id": 5', "two categories have the id 5: mend one"),
        ('"id": 1,', '"id": 0,', "two pictures have the id 0: mend one"),
        ("b.jpg", "a.png", "a.jpg and folder/a.png would have one mask, a.png"),
        ("folder/b.jpg", "", "the picture of id 1 has no name"),
    ],
)
def test_a_name_or_number_of_coco_that_is_not_its_own(tmp_path, old, new, told):
    path = coco_file(tmp_path / "c.json")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    must_say(refusal(coco, ValueError, path, NAMES), path, told)


def test_what_is_no_source_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    must_say(refusal(write_masks, ValueError, tmp_path, tmp_path / "o", []), "1 to 254")
    path = coco_file(tmp_path / "none.json")
    path.write_text('{"images": [], "annotations": [], "categories": []}')
    for source, told in (
        ("empty", "holds no .json file: put .json there"),
        ("gone.json", "cannot be read as JSON"),
        ("none.json", "its list of images is empty: export it with its pictures"),
    ):
        message = refusal(
            write_masks, ValueError, tmp_path / source, tmp_path / "o", NAMES
        )
        must_say(message, tmp_path / source, told)
