"""COCO's form, read from a folder and from a zip: scaled boxes, masks and keypoints, crowds, and what is refused."""

import json
import zipfile

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data.augment import channel_statistics
from dlcore.data.coco import coco_source, coco_splits
from dlcore.data.coco_annotations import (
    box_corners,
    fits_box,
    list_ids,
    object_area,
    object_keypoints,
    points_leave_box,
    segmentation_misses_box,
)
from dlcore.data.masks import masks_to_rles, unpack_masks
from dlcore.data.resizing import ShortestEdge


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name, shade in (("a.png", 50), ("b.png", 200)):
        Image.fromarray(np.full((20, 40, 3), shade, np.uint8)).save(tmp_path / "images" / name)
    content = {
        "images": [
            {"id": 7, "file_name": "b.png", "width": 40, "height": 20},
            {"id": 0, "file_name": "a.png", "width": 40, "height": 20},
        ],
        "categories": [{"id": 9, "name": "late"}, {"id": 2, "name": "early"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 9, "bbox": [4, 2, 8, 10], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 40, 20], "iscrowd": 1},
            {"id": 3, "image_id": 0, "category_id": 2, "bbox": [5, 5, 0, 9], "iscrowd": 0},
            {"id": 4, "image_id": 0, "category_id": 2, "bbox": [1, 1, 2, 2]},
        ],
    }
    (tmp_path / "instances_train.json").write_text(json.dumps(content))
    (tmp_path / "instances_val.json").write_text(json.dumps({**content, "annotations": []}))
    return tmp_path


def test_boxes_move_with_the_images_and_ids_may_be_anything(folder):
    source = coco_splits(folder, (40, 20), 3)["train"]  # twice as high, half as wide
    assert source.class_names == ("early", "late")
    np.testing.assert_array_equal(source.arrays["image_id"], [7, 0])
    np.testing.assert_array_equal(source.arrays["image"][:, 0, 0, 0], [200, 50])
    chex.assert_shape(source.arrays["image"], (2, 40, 20, 3))
    np.testing.assert_allclose(source.arrays["boxes"][1], [[2, 4, 6, 24], [0.5, 2, 1.5, 6], [0, 0, 0, 0]])
    np.testing.assert_array_equal(source.arrays["labels"], [[0, -1, -1], [1, 0, -1]])
    np.testing.assert_array_equal(source.arrays["box_mask"], [[False] * 3, [True, True, False]])
    np.testing.assert_array_equal(source.arrays["crowd"], [[True, False, False], [False] * 3])
    assert source.notes == ("1 boxes without area in instances_train.json were left out: annotation 3",)


def test_the_area_of_an_object_is_stretched_with_its_image(folder):
    annotate(folder, area=40)
    area = coco_splits(folder, (40, 10), 3)["train"].arrays["area"]
    # Twice as high and a quarter as wide: 40 square pixels become 20; the box without area counts whole, 8 by 10: 40.
    np.testing.assert_allclose(area, [[0, 0, 0], [40, 20, 0]])
    annotate(folder, area=float("nan"))
    with pytest.raises(ValueError, match="annotation 31: area=nan: not an area; allowed: 0 or more"):
        coco_splits(folder, 16, 3)


def test_a_zip_is_as_good_as_a_folder_and_an_image_may_have_no_box(folder):
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for path in (folder / "images").iterdir():
            archive.write(path, path.name)
    splits = coco_splits(folder, 16, 2)
    assert set(splits) == {"train", "valid"}
    assert not splits["valid"].arrays["box_mask"].any()
    plain = coco_source(folder / "instances_train.json", folder / "images", 16, 2)
    np.testing.assert_array_equal(splits["train"].arrays["image"], plain.arrays["image"])


def test_annotations_may_have_a_byte_order_mark_and_any_letters(folder):
    path = folder / "instances_train.json"
    content = json.loads(path.read_text()) | {"categories": [{"id": 9, "name": "Über"}, {"id": 2, "name": "鳥"}]}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8-sig")
    assert coco_source(path, folder / "images", 16, 3).class_names == ("鳥", "Über")


def change(path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_categories_are_numbered_by_train(folder):
    # In val "late" has the lowest id, and a category that train lacks comes between.
    boxes = [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [4, 2, 8, 10]}]
    categories = [{"id": 1, "name": "late"}, {"id": 3, "name": "never"}, {"id": 5, "name": "early"}]
    change(folder / "instances_val.json", categories=categories, annotations=boxes)
    splits = coco_splits(folder, 16, 3)
    assert splits["train"].class_names == splits["valid"].class_names == ("early", "late")
    assert splits["valid"].arrays["labels"][1, 0] == splits["train"].arrays["labels"][1, 0] == 1
    assert splits["valid"].notes == ("instances_val.json: categories that train lacks, and that no box has: never",)
    change(folder / "instances_val.json", annotations=[{**boxes[0], "category_id": 3}])
    with pytest.raises(
        ValueError, match=r"val.json: annotation 1: category 'never' is not one of train; allowed: 'early', 'late'"
    ):
        coco_splits(folder, 16, 3)


def test_a_name_that_is_there_twice_is_refused(folder):
    """Measures have the names of classes: one of two would be lost."""
    twice = [{"id": 2, "name": "crane"}, {"id": 9, "name": "crane"}]
    change(folder / "instances_train.json", categories=twice)
    with pytest.raises(ValueError, match="categories 2 and 9 are both called 'crane'; allowed: each name once"):
        coco_splits(folder, 16, 3)
    with pytest.raises(ValueError, match="both called 'crane'"):
        coco_source(folder / "instances_val.json", folder / "images", 16, 3, twice)


def test_ids_that_are_there_twice_are_refused(folder):
    images = [{"id": 7, "file_name": name, "width": 40, "height": 20} for name in ("b.png", "a.png")]
    change(folder / "instances_train.json", images=images)
    with pytest.raises(ValueError, match=r"two images have the id 7, 'b\.png' and 'a\.png'"):
        coco_splits(folder, 16, 3)


def test_a_zip_that_is_none_is_named(folder):
    (folder / "images.zip").write_text("<html>")
    with pytest.raises(ValueError, match=r"images.zip': no .zip, or damaged \(.*\); allowed: a whole .zip"):
        coco_splits(folder, 16, 3)


def test_a_file_that_is_there_twice_is_refused(folder):
    """Each of its two entries would lack the objects of the other, which it then learns as background."""
    images = [{"id": k, "file_name": name, "width": 40, "height": 20} for k, name in ((7, "b.png"), (0, "./b.png"))]
    change(folder / "instances_train.json", images=images)
    with pytest.raises(
        ValueError, match=r"images 7 and 0 are both the file '\./b\.png', .*; allowed: one entry of each"
    ):
        coco_splits(folder, 16, 3)


def test_images_are_known_by_file_and_size(folder):
    train = coco_splits(folder, 16, 3)["train"]
    assert list(train.names) == ["b.png", "a.png"]
    assert train.sizes.tolist() == [(folder / "images" / name).stat().st_size for name in train.names]
    assert train.fingerprint.by == "path and size"


def test_errors_name_the_broken_file_or_annotation(folder):
    with pytest.raises(ValueError, match=r"max_boxes=1: image a.png .* has 2 boxes, annotation 4 is"):
        coco_splits(folder, 16, 1)
    (folder / "images" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"image a\.png is not in"):
        coco_splits(folder, 16)
    (folder / "instances_train.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"instances_train.json is not COCO's: not JSON \(.*recursion"):
        coco_source(folder / "instances_train.json", folder / "images", 16, 3)
    (folder / "instances_train.json").write_text("{}")
    with pytest.raises(ValueError, match=r"it has no \['annotations', 'categories', 'images'\]$"):
        coco_splits(folder, 16)
    (folder / "instances_train.json").write_text('{"images": 1, "categories": 2, "annotations": 3}')
    with pytest.raises(ValueError, match="annotations is of type int; allowed: a list"):
        coco_splits(folder, 16)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        coco_splits(folder / "nowhere", 16)
    (folder / "instances_train.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"holds no instances_train.json; allowed: instances_train.json in COCO"
    ):
        coco_splits(folder, 16)
    (folder / "instances_more.json").touch()
    with pytest.raises(
        FileNotFoundError, match=r"no instances_train.json but instances_more.json; allowed names of spl"
    ):
        coco_splits(folder, 16)


def annotate(folder, **entries):
    """Write one annotation of image a.png, 40 wide and 20 high, besides a good one."""
    good = {
        "id": 1,
        "image_id": 0,
        "category_id": 9,
        "bbox": [4, 2, 8, 10],
        "segmentation": [[4, 2, 12, 2, 12, 12, 4, 12]],
    }
    change(folder / "instances_train.json", annotations=[good, {**good, "id": 31, **entries}])


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"bbox": [float("nan"), 2, 8, 10]}, r"bbox=\[nan, 2, 8, 10\]: not finite"),
        ({"bbox": [4, 2, -8, 10]}, "a negative side"),
        ({"bbox": [4, 2, 8]}, "not a box; allowed: .x, y, width, height."),
        ({"bbox": [33, 2, 9, 10]}, "outside image a.png; allowed: within 40 by 20 pixels"),
        ({"bbox": ["4", "2", "8", "10"]}, "not a box"),
        ({"image_id": "0"}, "image_id='0': not an id; allowed: the id of an entry, an int"),
        ({"category_id": [9]}, "category_id=.9.: not an id"),
        ({"iscrowd": "0"}, "iscrowd='0': unknown; allowed: 0, 1"),
        ({"segmentation": [4, 2, 12, 2, 12, 12]}, "a polygon 4; allowed: a list of polygons"),
        ({"segmentation": {"counts": [800]}}, "run lengths with counts; allowed: size and counts"),
        ({"category_id": 77}, "category_id=77: no such category; allowed: 2, 9"),
        ({"image_id": 5}, "image_id=5: no such image"),
        ({"segmentation": []}, "it has no segmentation"),
        ({"segmentation": [[4, 2, 12, 2]]}, "a polygon of 4 coordinates; allowed: three points"),
        ({"segmentation": {"size": [40, 20], "counts": [800]}}, r"size \(40, 20\); allowed: .* \(20, 40\)"),
        ({"segmentation": {"size": [20, 40], "counts": [1, 800]}}, "add up to 801; allowed: 800"),
    ],
)
def test_a_wrong_annotation_is_named_with_its_file(folder, entries, problem):
    annotate(folder, **entries)
    with pytest.raises(ValueError, match=rf"^\S*instances_train\.json: annotation 31: .*{problem}") as refused:
        coco_source(folder / "instances_train.json", folder / "images", 16, 3, masks=True)
    assert "\n" not in str(refused.value)


def write_turned(path, number):
    block = Image.Exif()
    block[0x0112] = number
    Image.fromarray(np.full((20, 40, 3), 50, np.uint8)).save(path, exif=block)


@pytest.mark.parametrize(
    ("kind", "position", "entries", "problem"),
    [
        ("images", 1, {"width": None}, r"images\[1\], id 0: width is None; allowed: a positive int"),
        ("images", 1, {"height": "20"}, "height is '20'; allowed: a positive int"),
        ("images", 0, {"file_name": ""}, r"images\[0\], id 7: file_name is ''; allowed: a text"),
        ("images", 0, {"id": "7"}, r"images\[0\], id '7': id is '7'; allowed: an int"),
        ("images", 0, {"id": 10**20}, "id is 100000000000000000000; allowed: an int of 64 bits"),
        ("categories", 0, {"name": None}, r"categories\[0\], id 9: name is None; allowed: a text"),
        ("categories", 0, {"id": 2.5}, "id is 2.5; allowed: an int"),
        ("images", 1, {"file_name": "../secret.png"}, "file_name='../secret.png' leaves .*images"),
        ("images", 1, {"file_name": "sub/../../secret.png"}, "leaves .*images; allowed: a path below it"),
        ("images", 1, {"file_name": "..\\secret.png"}, "leaves .*images"),
        ("images", 1, {"width": 20, "height": 40}, "a.png .id 0. is said to be 20 wide and 40 high; .* 40 wide and 20"),
    ],
)
def test_a_wrong_entry_is_named_with_its_file(folder, kind, position, entries, problem):
    Image.new("RGB", (40, 20)).save(folder / "secret.png")
    path = folder / "instances_train.json"
    content = json.loads(path.read_text())
    content[kind][position] |= entries
    change(path, **{kind: content[kind]}, annotations=[])
    with pytest.raises(ValueError, match=rf"^\S*instances_train\.json: .*{problem}") as refused:
        coco_source(path, folder / "images", 16, 3)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"images": None}, "images is null; allowed: a list"),
        ({"images": []}, "images is empty"),
        ({"annotations": [None]}, "annotation number 0 is null"),
        ({"images": [{"id": 1}]}, r"images\[0\], id 1: file_name is missing"),
    ],
)
def test_a_file_of_another_form_is_refused(folder, entries, problem):
    change(folder / "instances_train.json", **entries)
    with pytest.raises(ValueError, match=problem):
        coco_splits(folder, 16, 3)


def test_a_turned_image_has_the_size_after_the_turn(folder):
    write_turned(folder / "images" / "a.png", 6)
    path = folder / "instances_train.json"
    with pytest.raises(ValueError, match=r"a\.png .* as the file, once turned as its EXIF .*, 20 wide and 40 high"):
        coco_source(path, folder / "images", 16, 3)
    content = json.loads(path.read_text())
    content["images"][1] |= {"width": 20, "height": 40}
    boxes = [{"id": 1, "image_id": 0, "category_id": 9, "bbox": [5, 10, 10, 20]}]
    change(path, images=content["images"], annotations=boxes)
    source = coco_source(path, folder / "images", (40, 40), 3)
    np.testing.assert_allclose(source.arrays["boxes"][1, 0], [10, 10, 30, 30])  # twice as wide, as high
    assert any("1 images are turned as their EXIF orientation says" in note for note in source.notes)


def test_a_train_file_without_objects_is_refused_and_another_noted(folder):
    path = folder / "instances_train.json"
    crowd = {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 40, 20], "iscrowd": 1}
    change(folder / "instances_val.json", annotations=[crowd])
    assert "no box in 2 images (0 boxes, 1 of groups, iscrowd=1)" in coco_splits(folder, 16, 3)["valid"].notes[-1]
    for annotations, crowds in (([], 0), ([crowd], 1), ([{**crowd, "iscrowd": 0, "bbox": [1, 1, 0, 5]}], 0)):
        change(path, annotations=annotations)
        with pytest.raises(ValueError, match=rf"train.json: no box in 2 images \(0 boxes, {crowds} of groups"):
            coco_splits(folder, 16, 3)


def test_a_category_without_a_box_to_learn_from_is_noted(folder):
    assert not any("without a box" in note for note in coco_splits(folder, 16, 3)["train"].notes)
    annotate(folder)  # two of category 9
    assert coco_splits(folder, 16, 3)["train"].notes[-1].endswith("categories without a box to learn from: early")


def test_boxes_under_a_pixel_are_noted(folder):
    # 20 by 40 becomes 5 by 10: a quarter. 3.9 pixels become 0.975, 4 become 1.
    annotate(folder, bbox=[4, 2, 3.9, 10])
    source = coco_source(folder / "instances_train.json", folder / "images", (5, 10), 3)
    assert source.notes == (
        "instances_train.json: 1 boxes are less than a pixel wide or high at 5 by 10: annotation 31",
    )
    annotate(folder, bbox=[4, 2, 4, 10])
    assert not coco_source(folder / "instances_train.json", folder / "images", (5, 10), 3).notes


def test_names_of_splits_are_those_of_all_readers(folder):
    (folder / "instances_val.json").rename(folder / "instances_Validation.json")
    (folder / "instances_more.json").write_text("{}")
    splits = coco_splits(folder, 16, 3)
    assert list(splits) == ["train", "valid"]
    assert splits["train"].notes[0].endswith("testing, eval): instances_more.json")
    (folder / "instances_dev.json").write_text("{}")
    with pytest.raises(ValueError, match="'Validation' and 'dev' are both the valid split"):
        coco_splits(folder, 16, 3)


def test_a_box_far_on_the_right_is_no_flat_one(folder):
    annotate(folder, bbox=[30, 2, 4, 5])
    source = coco_source(folder / "instances_train.json", folder / "images", (20, 40), 3)
    np.testing.assert_array_equal(source.arrays["boxes"][1, 1], [30, 2, 34, 7])
    assert source.notes == ("instances_train.json: 1 masks lie beside their boxes: annotation 31",)


def test_a_box_may_reach_out_by_a_pixel(folder):
    annotate(folder, bbox=[-0.5, 2, 41, 18.2])
    boxes = coco_source(folder / "instances_train.json", folder / "images", (20, 40), 3).arrays["boxes"]
    np.testing.assert_allclose(boxes[1, 1], [0, 2, 40, 20])


def test_masks_are_resized_with_their_image(folder):
    mask = np.zeros((20, 40), bool)
    mask[4:12, 8:24] = mask[18, 36] = True
    annotate(folder, segmentation=masks_to_rles(mask[None])[0])
    same = coco_source(folder / "instances_train.json", folder / "images", (20, 40), 3, masks=True).arrays
    read = unpack_masks(same["masks"][1], 40)
    np.testing.assert_array_equal(read[1], mask)
    assert read[0].sum() == 80  # 8 by 10
    assert read[0, 2:12, 4:12].all()
    assert not read[2].any()
    half = coco_source(folder / "instances_train.json", folder / "images", (10, 20), 3, masks=True).arrays
    np.testing.assert_array_equal(unpack_masks(half["masks"][1, 1], 20), mask[::2, ::2] & mask[1::2, 1::2])
    annotate(folder, segmentation=[[8, 8, 8.2, 8, 8.2, 8.2]])
    tiny = coco_source(folder / "instances_train.json", folder / "images", (10, 20), 3, masks=True)
    assert tiny.notes == ("instances_train.json: 1 masks have no pixel at 10 by 20: annotation 31",)


def test_keypoints_move_with_their_image(folder):
    names = ["left_eye", "right_eye"]
    categories = [{"id": 9, "name": "late", "keypoints": names}, {"id": 2, "name": "early"}]
    change(folder / "instances_train.json", categories=categories)
    annotate(folder, keypoints=[10, 4, 2, 0, 0, 0])
    points = coco_source(folder / "instances_train.json", folder / "images", (40, 20), 3, keypoints=True)
    # Half as wide, twice as high; the center of pixel (10, 4) is (10.5, 4.5).
    np.testing.assert_allclose(points.arrays["keypoints"][1, 1], [[5.25, 9, 2], [0, 0, 0]])
    assert not points.arrays["keypoints"][1, [0, 2]].any()


def test_a_category_needs_names_to_have_keypoints(folder):
    with pytest.raises(ValueError, match="no category has keypoints"):
        coco_splits(folder, 16, 3, keypoints=True)


def test_the_only_zip_of_a_folder_may_have_any_name(folder):
    with zipfile.ZipFile(folder / "images_masks.zip", "w") as archive:
        for path in sorted((folder / "images").iterdir()):
            archive.write(path, f"images/{path.name}")
            path.unlink()
    (folder / "images").rmdir()
    source = coco_splits(folder, (20, 40), 3)["train"]
    np.testing.assert_array_equal(source.arrays["image"][:, 0, 0, 0], [200, 50])
    assert (source.sizes > 0).all()


def test_the_shortest_edge_keeps_the_aspect_ratio_and_pads(folder):
    content = json.loads((folder / "instances_train.json").read_text())
    for note in content["annotations"]:
        x, y, w, h = note["bbox"]
        note["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    path = folder / "instances_train.json"
    path.write_text(json.dumps(content))
    source = coco_source(path, folder / "images", ShortestEdge(30, 45, (48, 64)), 3, masks=True)
    # Of 20 by 40, min(30 / 20, 45 / 40) = 1.125: 22 by 45.
    np.testing.assert_array_equal(source.arrays["image_size"], [[22, 45]] * 2)
    np.testing.assert_array_equal(source.arrays["original_size"], [[20, 40]] * 2)
    image = source.arrays["image"][1]
    chex.assert_shape(image, (48, 64, 3))
    assert (image[:22, :45] == 50).all()
    assert image.sum() == 50 * 22 * 45 * 3
    np.testing.assert_allclose(source.arrays["boxes"][1, 0], [4.5, 2.2, 13.5, 13.2], rtol=1e-6)
    mask = unpack_masks(source.arrays["masks"][1, 0], 64)
    chex.assert_shape(mask, (48, 64))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    np.testing.assert_allclose([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], [4.5, 2.2, 13.5, 13.2], atol=1)
    mean, std = channel_statistics(source)
    np.testing.assert_allclose(mean, 125 / 255, rtol=1e-6)  # of 200 and 50, without the padding
    np.testing.assert_allclose(std, 75 / 255, rtol=1e-6)


def test_an_image_that_the_canvas_does_not_hold_is_named_before_any_is_read(folder):
    (folder / "images" / "a.png").write_bytes(b"no image")
    (folder / "images" / "b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"image b\.png: canvas=48,32: an image becomes 22 by 45"):
        coco_splits(folder, ShortestEdge(30, 45, (48, 32)), 3)


@pytest.mark.parametrize("area", [0, 0.2, 161])
def test_an_area_that_contradicts_its_box_is_noted_and_the_box_counts(folder, area):
    annotate(folder, area=area)  # the box is 8 by 10: a 200th is 0.4, twice is 160
    source = coco_source(folder / "instances_train.json", folder / "images", (20, 40), 3)
    np.testing.assert_allclose(source.arrays["area"][1], [80, 80, 0])
    assert source.notes == (
        "instances_train.json: 1 areas contradict their boxes (0, less than a 200th or more than twice); "
        "the box's area counts: annotation 31",
    )


@pytest.mark.parametrize("box", [[4, 2, 8, 10], [4.0, 2.0, 8.0, 10.0]])
def test_copies_of_annotations_are_left_out_and_noted(folder, box):
    """Also those that write 4 as 4.0."""
    annotate(folder, bbox=box)
    source = coco_source(folder / "instances_train.json", folder / "images", (20, 40), 3)
    np.testing.assert_array_equal(source.arrays["box_mask"], [[False] * 3, [True, False, False]])
    assert source.notes == ("1 copies of annotations in instances_train.json were left out: annotation 31",)
    content = json.loads((folder / "instances_train.json").read_text())
    copy = content["annotations"][-1]
    change(folder / "instances_train.json", annotations=[copy, *({**copy, "id": 90 - i} for i in range(9))])
    (text,) = coco_source(folder / "instances_train.json", folder / "images", (20, 40), 3).notes
    assert "left out: annotations 90, 89, 88, 87, 86 and others" in text


def test_ignored_objects_are_neither_trained_on_nor_counted(folder):
    annotate(folder, ignore=1)
    source = coco_source(folder / "instances_train.json", folder / "images", (20, 40), 3)
    np.testing.assert_array_equal(source.arrays["box_mask"][1], [True, False, False])
    np.testing.assert_array_equal(source.arrays["crowd"][1], [False, True, False])
    assert "1 boxes with ignore=1 are neither trained on nor counted" in source.notes[0]
    annotate(folder, ignore=2)
    with pytest.raises(ValueError, match="annotation 31: ignore=2: unknown; allowed: 0, 1"):
        coco_splits(folder, 16, 3)


@pytest.mark.parametrize("form", ["polygon", "run lengths"])
def test_a_mask_beside_its_box_is_noted(folder, form):
    mask = np.zeros((1, 20, 40), bool)
    mask[0, 14:18, 30:36] = True  # the box ends at (12, 12)
    polygon = [[30, 14, 36, 14, 36, 18, 30, 18]]
    annotate(folder, segmentation=polygon if form == "polygon" else masks_to_rles(mask)[0])
    source = coco_source(folder / "instances_train.json", folder / "images", (20, 40), 3, masks=True)
    assert source.notes == ("instances_train.json: 1 masks lie beside their boxes: annotation 31",)


def with_keypoints(folder, split, names, **entries):
    path = folder / f"instances_{split}.json"
    note = {"id": 1, "image_id": 0, "category_id": 9, "bbox": [4, 2, 14, 10], **entries}
    change(path, categories=[{"id": 9, "name": "late", "keypoints": names}], annotations=[note])


def test_keypoints_of_validation_are_matched_to_the_names_of_train(folder):
    with_keypoints(folder, "train", ["l_eye", "r_eye"], keypoints=[5, 3, 2, 15, 3, 2])
    with_keypoints(folder, "val", ["r_eye", "l_eye"], keypoints=[15, 3, 2, 5, 3, 2])
    splits = coco_splits(folder, (20, 40), 3, keypoints=True)
    for split in ("train", "valid"):
        np.testing.assert_allclose(splits[split].arrays["keypoints"][1, 0], [[5.5, 3.5, 2], [15.5, 3.5, 2]])
    with_keypoints(folder, "val", ["nose", "tail"], keypoints=[15, 3, 2, 5, 3, 2])
    with pytest.raises(ValueError, match=r"val.json: keypoints nose, tail; allowed: l_eye, r_eye, as train"):
        coco_splits(folder, (20, 40), 3, keypoints=True)
    with_keypoints(folder, "val", ["l_eye", "l_eye"], keypoints=[15, 3, 2, 5, 3, 2])
    with pytest.raises(ValueError, match="category 'late': keypoint 'l_eye' stands there twice; allowed: once"):
        coco_splits(folder, (20, 40), 3, keypoints=True)


def test_visible_keypoints_outside_their_box_are_noted(folder):
    # The box ends at x = 18. A hidden keypoint may lie beyond.
    for visibility, count in ((2, 1), (1, 0)):
        with_keypoints(folder, "train", ["l_eye", "r_eye"], keypoints=[5, 3, 2, 30, 3, visibility])
        source = coco_source(folder / "instances_train.json", folder / "images", (20, 40), 3, keypoints=True)
        note = "instances_train.json: 1 boxes do not contain all of their visible keypoints: annotation 1"
        assert source.notes == (note,) * count


PAGE = {"width": 20, "height": 10, "file_name": "a.png"}


def test_areas_are_from_a_200th_to_twice_that_of_the_box():
    np.testing.assert_array_equal(fits_box([0.9, 1, 400, 401], 200), [False, True, True, False])
    box = np.array([0.0, 0, 20, 10])
    assert object_area({}, box) == (200, False)
    assert object_area({"area": 0}, box) == (200, True)
    assert object_area({"area": 399}, box) == (399, False)
    assert object_area({"area": 0, "iscrowd": 1}, box) == (0, False)
    with pytest.raises(ValueError, match=r"area=.*: not an area; allowed: 0 or more square pixels, or no area"):
        object_area({"area": -1}, box)


def test_a_box_leaves_its_image_by_at_most_a_pixel():
    np.testing.assert_array_equal(box_corners([-1, -1, 22, 12], PAGE), [0, 0, 20, 10])
    np.testing.assert_array_equal(box_corners([2, 3, 0, 4], PAGE), [2, 3, 2, 7])


def test_keypoints_are_centers_of_pixels_in_the_order_of_the_training_data():
    values = [-1, -1, 2, 20, 10, 1, 99, 99, 0]
    points = object_keypoints(values, ("a", "b", "c"), PAGE)
    np.testing.assert_array_equal(points, [[-0.5, -0.5, 2], [20.5, 10.5, 1], [0, 0, 0]])
    np.testing.assert_array_equal(object_keypoints(values, ("a", "b", "c"), PAGE, [2, 0, 1]), points[[2, 0, 1]])


def test_a_visible_keypoint_leaves_its_box_by_more_than_a_pixel():
    box = np.array([2.0, 3, 6, 8])
    assert not points_leave_box(np.array([[1.0, 2, 2], [7, 9, 2]]), box)
    for point in ([0.9, 4], [3, 1.9], [7.1, 4], [3, 9.1]):
        assert points_leave_box(np.array([[3.0, 4, 2], [*point, 2]]), box)
        assert not points_leave_box(np.array([[3.0, 4, 2], [*point, 1]]), box)


def test_polygons_lie_beside_a_box_on_any_side():
    box = np.array([4.0, 4, 8, 8])
    for x, y, beside in ((0, 5, True), (8, 5, True), (5, 0, True), (5, 8, True), (3, 5, False), (7, 7, False)):
        polygon = [x, y, x + 4, y, x + 4, y + 4]
        assert segmentation_misses_box({"segmentation": [polygon]}, box) is beside, (x, y)
    assert not segmentation_misses_box({"segmentation": []}, box)


def test_a_note_lists_five_annotations():
    assert list_ids([7]) == "annotation 7"
    assert list_ids([1, 2, 3, 4, 5]) == "annotations 1, 2, 3, 4, 5"
    assert list_ids([1, 2, 3, 4, 5, 6]) == "annotations 1, 2, 3, 4, 5 and others"


@pytest.mark.parametrize(
    ("names", "points", "problem"),
    [
        ("ab", [5, 3, 2, 6, 3, 2], "category 'late': keypoints='ab'; allowed: a list of names"),
        (["a", "b"], [5, 3, 2, "6", 3, 2], "annotation 1: keypoints=.*: not a list of numbers; allowed: x, y, vis"),
        (["a", "b"], [5, 3, 2], "annotation 1: keypoints: 3 numbers; allowed: 6, three for each name"),
        (["a", "b"], [5, 3, 3, 6, 3, 2], "annotation 1: keypoints: visibility 3; allowed: 0"),
        (["a", "b"], [5, float("nan"), 2, 6, 3, 2], "annotation 1: keypoints: not finite"),
        (["a", "b"], [5, 3, 2, 41, 3, 1], "annotation 1: keypoint 'b': outside a.png"),
    ],
)
def test_keypoints_that_are_none_are_named(folder, names, points, problem):
    with_keypoints(folder, "train", names, keypoints=points)
    with pytest.raises(ValueError, match=problem):
        coco_source(folder / "instances_train.json", folder / "images", 16, 3, keypoints=True)


def test_files_that_are_missing_are_named(folder):
    for annotations, images in (("none.json", "images"), ("instances_train.json", "none")):
        with pytest.raises(FileNotFoundError, match=r"no such file: .*none"):
            coco_source(folder / annotations, folder / images, 16, 3)


def test_three_categories_of_other_keypoints_are_refused(folder):
    categories = [{"id": k, "name": name, "keypoints": [name]} for k, name in enumerate(("ape", "bee", "cow"))]
    for count in (2, 3):
        change(folder / "instances_train.json", categories=categories[:count], annotations=[])
        with pytest.raises(ValueError, match="categories 'ape' and 'bee': they have different keypoints"):
            coco_source(folder / "instances_train.json", folder / "images", 16, 3, keypoints=True)
