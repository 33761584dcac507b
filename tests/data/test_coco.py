"""COCO's form, read from a folder and from a zip: scaled boxes, masks and keypoints, crowds, and what is refused."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from dlcore.data.coco import coco_source, coco_splits
from dlcore.data.masks import masks_to_rles, unpack_masks


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
    assert source.arrays["image"].shape == (2, 40, 20, 3)
    np.testing.assert_allclose(source.arrays["boxes"][1], [[2, 4, 6, 24], [0.5, 2, 1.5, 6], [0, 0, 0, 0]])
    np.testing.assert_array_equal(source.arrays["labels"], [[0, -1, -1], [1, 0, -1]])
    np.testing.assert_array_equal(source.arrays["box_mask"], [[False] * 3, [True, True, False]])
    np.testing.assert_array_equal(source.arrays["crowd"], [[True, False, False], [False] * 3])
    assert source.notes == ("1 boxes without area in instances_train.json were left out: annotation 3",)


def test_a_zip_is_as_good_as_a_folder_and_an_image_may_have_no_box(folder):
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for path in (folder / "images").iterdir():
            archive.write(path, path.name)
    splits = coco_splits(folder, 16, 2)
    assert set(splits) == {"train", "valid"}
    assert not splits["valid"].arrays["box_mask"].any()
    plain = coco_source(folder / "instances_train.json", folder / "images", 16, 2)
    np.testing.assert_array_equal(splits["train"].arrays["image"], plain.arrays["image"])


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


def test_a_name_that_is_there_twice_is_told_by_its_id(folder):
    twice = [{"id": 2, "name": "crane"}, {"id": 9, "name": "crane"}]
    change(folder / "instances_train.json", categories=twice)
    change(folder / "instances_val.json", categories=twice)
    boxes = [{"id": 1, "image_id": 0, "category_id": 9, "bbox": [4, 2, 8, 10]}]
    change(folder / "instances_val.json", annotations=boxes)
    assert coco_splits(folder, 16, 3)["valid"].arrays["labels"][1, 0] == 1


def test_ids_that_are_there_twice_are_refused(folder):
    images = [{"id": 7, "file_name": name, "width": 40, "height": 20} for name in ("b.png", "a.png")]
    change(folder / "instances_train.json", images=images)
    with pytest.raises(ValueError, match=r"two images have the id 7, 'b\.png' and 'a\.png'"):
        coco_splits(folder, 16, 3)


def test_images_are_known_by_file_and_size(folder):
    train = coco_splits(folder, 16, 3)["train"]
    assert list(train.names) == ["b.png", "a.png"]
    assert train.sizes.tolist() == [(folder / "images" / name).stat().st_size for name in train.names]
    assert train.fingerprint.by == "path and size"


def test_what_is_wrong_is_named(folder):
    with pytest.raises(ValueError, match=r"max_boxes=1: image a.png .* has 2 boxes, annotation 4 is"):
        coco_splits(folder, 16, 1)
    (folder / "images" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"image a\.png is not in"):
        coco_splits(folder, 16)
    (folder / "instances_train.json").write_text("{}")
    with pytest.raises(ValueError, match="it has no"):
        coco_splits(folder, 16)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        coco_splits(folder / "nowhere", 16)
    (folder / "instances_train.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no instances_train.json"):
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
        ({"bbox": None}, "not a box"),
        ({"bbox": [33, 2, 9, 10]}, "outside image a.png; allowed: within 40 by 20 pixels"),
        ({"bbox": [-2, 2, 9, 10]}, "outside image a.png"),
        ({"bbox": [50, 2, 9, 10]}, "outside image a.png"),
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
    for keypoints, problem in (
        ([10, 4, 2], "keypoints: 3 numbers; allowed: 6"),
        ([10, 4, 2, 41, 3, 1], "keypoint 'right_eye': outside image a.png"),
        ([10, float("inf"), 2, 0, 0, 0], "keypoints: not finite"),
    ):
        annotate(folder, keypoints=keypoints)
        with pytest.raises(ValueError, match=f"annotation 31: {problem}"):
            coco_source(folder / "instances_train.json", folder / "images", 16, 3, keypoints=True)
    categories[1]["keypoints"] = ["tail"]
    change(folder / "instances_train.json", categories=categories)
    with pytest.raises(ValueError, match="'early' and 'late': they have different keypoints"):
        coco_source(folder / "instances_train.json", folder / "images", 16, 3, keypoints=True)


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
