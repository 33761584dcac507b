"""Segmentation sources on small trees: layouts, classes, sizes, and one error for each thing that is wrong."""

import io
import json
import zipfile

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data.augment.examples import VOID
from dlcore.data.scenes import SHAPES, STUFF, scenes
from dlcore.data.segmentation import ADE20K_CLASSES, CITYSCAPES, class_pixels, scene_maps, segmentation_splits


def png(array, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(array, np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def picture(seed, size=(4, 6)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def pairs(root, masks, sizes=None):
    """images/ and masks/ below a folder, one of each a mask."""
    for i, mask in enumerate(masks):
        write(root / "images" / f"{i}.png", png(picture(i, np.shape(mask)[:2] if sizes is None else sizes[i])))
        write(root / "masks" / f"{i}.png", png(mask))


MASK = np.array([[0, 1, 2, 2, 255, 0]] * 4)


@pytest.mark.covers("SG-11")
def test_zips_of_splits_with_classes(tmp_path):
    """As CamVid lies in shared/data: train.zip, val.zip, test.zip and classes.json beside them."""
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        with zipfile.ZipFile(tmp_path / f"{split}.zip", "w") as archive:
            for i in range(count):
                archive.writestr(f"images/{i}.jpg", png(picture(i), "JPEG"))
                archive.writestr(f"masks/{i}.png", png(MASK))
    (tmp_path / "classes.json").write_text(json.dumps({"classes": ["sky", "road", "car"], "void": 255}))
    splits = segmentation_splits(tmp_path)
    assert {name: len(source) for name, source in splits.items()} == {"train": 3, "valid": 1, "test": 2}
    assert splits["train"].class_names == ("sky", "road", "car")
    np.testing.assert_array_equal(splits["test"].arrays["semantic"][1], MASK)
    chex.assert_shape(splits["train"].arrays["image"], (3, 4, 6, 3))
    assert list(splits["test"].names) == ["test/images/0.jpg", "test/images/1.jpg"]


@pytest.mark.covers("SG-11")
def test_a_folder_without_splits_is_training_data_and_another_void_is_255(tmp_path):
    pairs(tmp_path, [np.where(MASK == 255, 3, MASK)])
    (tmp_path / "classes.json").write_text('{"classes": ["a", "b", "c"], "void": 3}')
    splits = segmentation_splits(tmp_path)
    assert list(splits) == ["train"]
    np.testing.assert_array_equal(splits["train"].arrays["semantic"][0], MASK)


def test_without_names_classes_are_numbers(tmp_path):
    pairs(tmp_path / "train", [MASK, 0 * MASK])
    pairs(tmp_path / "val", [0 * MASK])
    splits = segmentation_splits(tmp_path)
    assert splits["train"].class_names == splits["valid"].class_names == ("0", "1", "2")
    pairs(tmp_path / "test", [MASK + (MASK == 2)])  # a class that train lacks
    with pytest.raises(ValueError, match=r"test/masks/0.png: value 3; allowed: 0 to 2, or 255 for void"):
        segmentation_splits(tmp_path)


@pytest.mark.covers("SG-11")
def test_cityscapes_has_19_classes_and_the_rest_is_void(tmp_path):
    ids = np.arange(34).reshape(2, 17)
    for split in ("train", "val"):
        write(tmp_path / f"leftImg8bit/{split}/aachen/aachen_0_leftImg8bit.png", png(picture(0, (2, 17))))
        write(tmp_path / f"gtFine/{split}/aachen/aachen_0_gtFine_labelIds.png", png(ids))
    splits = segmentation_splits(tmp_path)
    assert set(splits) == {"train", "valid"}
    names, labels = splits["train"].class_names, splits["train"].arrays["semantic"][0].reshape(-1)
    assert len(names) == 19
    assert names[labels[7]] == "road"  # the official table: id 7 is train id 0, 33 is 18
    assert (labels[7], labels[33], names[18]) == (0, 18, "bicycle")
    assert sorted(labels[labels != VOID]) == list(range(19))
    assert (labels == VOID).sum() == 34 - 19
    assert [names[labels[i]] for i in CITYSCAPES] == list(CITYSCAPES.values())
    places = ["aachen/aachen_0", "bonn/bonn_0", "aachen/aachen_3", "zurich/zurich_1", "aachen/aachen_1", "bonn/bonn_2"]
    for place in places:
        write(tmp_path / f"leftImg8bit/train/{place}_leftImg8bit.png", png(picture(0, (2, 17))))
        write(tmp_path / f"gtFine/train/{place}_gtFine_labelIds.png", png(ids))
    found = segmentation_splits(tmp_path)["train"].names
    assert list(found) == [f"leftImg8bit/train/{place}_leftImg8bit.png" for place in sorted(places)]
    write(tmp_path / "gtFine/val/aachen/aachen_0_gtFine_labelIds.png", png(ids + 1))
    with pytest.raises(ValueError, match=r"labelIds.png: value 34; allowed: label ids, 0 to 33"):
        segmentation_splits(tmp_path)


@pytest.mark.covers("SG-11")
def test_ade20k_has_150_classes_from_1(tmp_path):
    ids = np.arange(152).reshape(8, 19)
    for split in ("training", "validation"):
        write(tmp_path / f"images/{split}/ADE_1.jpg", png(picture(0, (8, 19)), "JPEG"))
        write(tmp_path / f"annotations/{split}/ADE_1.png", png(np.minimum(ids, 150)))
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName"]
    listed = {1: "wall", 131: "screen", 142: "screen"}
    rows += [f"{k}\t0.1\t1\t1\t1\t{listed.get(k, f'thing {k}')}, other" for k in range(1, ADE20K_CLASSES + 1)]
    (tmp_path / "objectInfo150.txt").write_text("\n".join(rows))
    train = segmentation_splits(tmp_path)["train"]
    labels = train.arrays["semantic"][0].reshape(-1)
    assert len(train.class_names) == 150
    assert train.class_names[:2] == ("wall", "thing 2")
    assert train.class_names[130:142:11] == ("screen (131)", "screen (142)")  # by number: measures have these names
    assert (labels[0], labels[1], labels[150]) == (VOID, 0, 149)
    for k in (5, 3, 2, 4):
        write(tmp_path / f"images/training/ADE_{k}.jpg", png(picture(0, (8, 19)), "JPEG"))
        write(tmp_path / f"annotations/training/ADE_{k}.png", png(np.minimum(ids, 150)))
    assert list(segmentation_splits(tmp_path)["train"].names) == [f"images/training/ADE_{k}.jpg" for k in range(1, 6)]
    write(tmp_path / "annotations/training/ADE_1.png", png(ids))
    with pytest.raises(ValueError, match=r"ADE_1.png: value 151; allowed: 1 to 150, or 0 for others"):
        segmentation_splits(tmp_path)


def test_images_and_masks_are_resized_together_and_labels_stay_labels(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps({"classes": list("abcdefgh")}))
    mask = np.zeros((8, 12))
    mask[:, 6:] = 7
    pairs(tmp_path, [mask, mask[:4, 4:8]])
    source = segmentation_splits(tmp_path, (4, 6))["train"]
    chex.assert_shape(source.arrays["image"], (2, 4, 6, 3))
    want = np.repeat([[0, 0, 0, 7, 7, 7]], 4, 0)
    np.testing.assert_array_equal(source.arrays["semantic"], [want, want])
    with pytest.raises(ValueError, match=r"image_size=None: .*images/1.png has \(4, 4\) pixels.*allowed: height,width"):
        segmentation_splits(tmp_path)


@pytest.mark.parametrize(
    ("mask", "size", "problem"),
    [
        (np.full((4, 6), 3), (4, 6), r"masks/0.png: value 3; allowed: 0 to 2, or 255"),
        (np.zeros((4, 5)), (4, 6), r"masks/0.png: a mask of \(4, 5\) pixels; allowed: its image's \(4, 6\)"),
        (np.zeros((4, 6, 3)), (4, 6), r"masks/0.png: a mask of mode RGB; allowed: one channel"),
    ],
)
def test_a_wrong_mask_is_named(tmp_path, mask, size, problem):
    pairs(tmp_path, [mask], [size])
    (tmp_path / "classes.json").write_text('{"classes": ["a", "b", "c"]}')
    with pytest.raises(ValueError, match=problem):
        segmentation_splits(tmp_path)


@pytest.mark.parametrize(
    ("masks", "problem"),
    [
        ([[0, 255]], "the training masks hold 0, 255, fewer than two classes besides void .255"),
        ([[0, 0]], "the training masks hold 0, fewer than two"),
        ([[0, 200]], r"hold 2 values, 0, 200; allowed: .* numbered from 0 without gaps"),
        ([list(range(65))], r"hold 65 values, .*; allowed: without classes.json up to 64 classes"),
        ([list(range(256))], r"hold 256 values, 0, 1, .* and 248 more, to 255; allowed: .*resized or smoothed"),
    ],
)
def test_masks_without_two_classes_or_with_shades_say_what_they_hold_and_what_to_write(tmp_path, masks, problem):
    pairs(tmp_path, [np.array([mask]) for mask in masks])
    with pytest.raises(ValueError, match=problem) as refused:
        segmentation_splits(tmp_path)
    assert '"values": [0, 255]' in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_size_that_loses_the_classes_is_blamed_and_not_the_masks(tmp_path):
    pairs(tmp_path, [np.eye(6, dtype=np.uint8)] * 2, [(6, 6)] * 2)
    with pytest.raises(ValueError, match=r"image_size=\(1, 1\): leaves 1 classes of train; allowed: 2"):
        segmentation_splits(tmp_path, (1, 1))


def test_the_values_of_classes_may_be_stated(tmp_path):
    """Foreground 255 and void 128, as many tools draw them."""
    pairs(tmp_path, [np.array([[0, 255, 128, 255]])])
    described = {"classes": ["background", "crack"], "values": [0, 255], "void": 128}
    (tmp_path / "classes.json").write_text(json.dumps(described))
    train = segmentation_splits(tmp_path)["train"]
    assert train.class_names == ("background", "crack")
    np.testing.assert_array_equal(train.arrays["semantic"][0], [[0, 1, VOID, 1]])
    pairs(tmp_path, [np.array([[0, 255, 7, 3]])])
    with pytest.raises(ValueError, match=r"masks/0\.png: value 7; allowed: 0, 255, or 128 for void"):
        segmentation_splits(tmp_path)


@pytest.mark.parametrize(
    ("described", "problem"),
    [
        ({"classes": ["a"]}, "has classes a; allowed: two or more"),
        ({"classes": ["a", "b", "a"]}, "has classes a, b, a; allowed: two or more, each name once"),
        ({"classes": ["a", "b"], "values": [0, 255], "void": 255}, "has void 255, which is also class 'b'"),
        ({"classes": ["a", "b"], "values": [0, 256]}, "has values 0, 256; allowed: 2 different ones from 0 to 255"),
        ({"classes": ["a", "b"], "values": [0.9, 1.9]}, "classes.json is no .*0.9 is no integer"),
        ({"classes": ["a", "b"], "void": 7.5}, "classes.json is no .*7.5 is no integer"),
        ([], "classes.json is no"),
        ({"classes": ["a", "b"], "void": -1}, "has void -1 and 2 classes; allowed: void 0 to 255, at most 255"),
        ({"classes": [str(k) for k in range(256)]}, "has void None and 256 classes"),
        ({"classes": ["a", "b"], "values": [3, 3]}, "has values 3, 3; allowed: 2 different ones"),
    ],
)
def test_classes_that_contradict_themselves_are_refused(tmp_path, described, problem):
    pairs(tmp_path, [MASK])
    (tmp_path / "classes.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=problem):
        segmentation_splits(tmp_path)


def test_a_class_without_a_pixel_is_noted_and_a_split_of_void_refused(tmp_path):
    pairs(tmp_path / "train", [np.array([[0, 1]])])
    pairs(tmp_path / "test", [np.array([[0, 0]])])
    (tmp_path / "classes.json").write_text('{"classes": ["sky", "road", "car"]}')
    splits = segmentation_splits(tmp_path)
    assert splits["train"].notes[-1].endswith("classes without a pixel: car")
    assert splits["test"].notes[-1].endswith("classes without a pixel: road, car")
    pairs(tmp_path / "test", [np.array([[255, 255]])])
    with pytest.raises(ValueError, match="the test masks hold 255, no class besides void"):
        segmentation_splits(tmp_path)
    pairs(tmp_path / "train", [np.array([[0, 255]])])
    with pytest.raises(ValueError, match="the training masks hold 0, 255, fewer than two classes"):
        segmentation_splits(tmp_path)


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize(("valid", "test"), [("val", "test"), ("Validation", "TESTING"), ("dev", "eval")])
def test_splits_are_folders_above_or_below_images_and_masks(tmp_path, inner, valid, test):
    for k, name in enumerate(("Training", valid, test)):
        for kind, content in (("images", picture(k)), ("masks", MASK)):
            folder = tmp_path / kind / name if inner else tmp_path / name / kind
            write(folder / "a.png", png(content))
    splits = segmentation_splits(tmp_path)
    assert list(splits) == ["train", "valid", "test"]
    for k, source in enumerate(splits.values()):
        assert len(source) == 1
        np.testing.assert_array_equal(source.arrays["image"][0], picture(k))


def test_a_folder_that_is_no_split_is_refused_beside_splits_and_noted_without(tmp_path):
    pairs(tmp_path / "north", [MASK])
    pairs(tmp_path / "south", [MASK])
    source = segmentation_splits(tmp_path)["train"]
    assert len(source) == 2
    assert "training data is all of north, south" in source.notes[0]
    pairs(tmp_path / "train", [MASK])
    with pytest.raises(ValueError, match=r"north/.* is in no split, and train are there; allowed .*training, val"):
        segmentation_splits(tmp_path)
    pairs(tmp_path / "b" / "train", [MASK])
    pairs(tmp_path / "b" / "Training", [MASK])
    with pytest.raises(ValueError, match="'Training' and 'train' are both the train split"):
        segmentation_splits(tmp_path / "b")
    pairs(tmp_path / "c" / "train" / "test", [MASK])
    with pytest.raises(ValueError, match="is below train and below test; allowed: one split"):
        segmentation_splits(tmp_path / "c")


def turned(array, number=6):
    block = Image.Exif()
    block[0x0112] = number
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(array, np.uint8)).save(buffer, "PNG", exif=block)
    return buffer.getvalue()


def test_masks_are_turned_by_their_own_exif_as_images_are(tmp_path):
    write(tmp_path / "images" / "0.png", turned(picture(0)))
    write(tmp_path / "masks" / "0.png", turned(MASK))
    train = segmentation_splits(tmp_path)["train"]
    np.testing.assert_array_equal(train.arrays["image"][0], np.rot90(picture(0), -1))
    np.testing.assert_array_equal(train.arrays["semantic"][0], np.rot90(MASK, -1))
    assert not any("EXIF" in note for note in train.notes)
    write(tmp_path / "masks" / "0.png", png(MASK))
    with pytest.raises(ValueError, match=r"of \(4, 6\) pixels; allowed: its image's \(6, 4\) .which its EXIF"):
        segmentation_splits(tmp_path)
    write(tmp_path / "images" / "0.png", turned(picture(0), 3))  # 180 degrees: no size tells
    source = segmentation_splits(tmp_path)["train"]
    np.testing.assert_array_equal(source.arrays["semantic"][0], MASK)
    assert any("1 images are turned as their EXIF orientation says" in note for note in source.notes)


def test_a_lossy_mask_is_refused(tmp_path):
    pairs(tmp_path, [MASK])
    (tmp_path / "masks" / "0.png").unlink()
    write(tmp_path / "masks" / "0.jpg", png(200 * (MASK == 1), "JPEG"))
    with pytest.raises(ValueError, match=r"masks/0.jpg: a mask in JPEG, which does not keep numbers; allowed: PNG"):
        segmentation_splits(tmp_path)


def test_a_link_to_a_split_is_followed(tmp_path):
    for split in ("train", "far"):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        Image.new("RGB", (2, 1)).save(tmp_path / split / "images" / "a.png")
        Image.fromarray(np.array([[0, 1]], np.uint8)).save(tmp_path / split / "masks" / "a.png")
    data = tmp_path / "data"
    data.mkdir()
    (data / "train").symlink_to(tmp_path / "train")
    (data / "val").symlink_to(tmp_path / "far")
    assert set(segmentation_splits(data)) == {"train", "valid"}


def test_errors_name_missing_folders_masks_and_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder or .zip"):
        segmentation_splits(tmp_path / "none")
    with pytest.raises(
        ValueError, match=r"no training images with masks; allowed: images/ and masks/ with files of the same"
    ):
        segmentation_splits(tmp_path)
    pairs(tmp_path, [MASK, MASK])
    for k in (5, 1, 3, 4, 2):
        write(tmp_path / "images" / f"{k}.png", png(picture(0)))
    (tmp_path / "masks" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"images/1.png has no file of its name in masks"):
        segmentation_splits(tmp_path)
    for k in (5, 3, 4, 2):
        (tmp_path / "images" / f"{k}.png").unlink()
    (tmp_path / "masks" / "1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"masks/1.png cannot be read as an image"):
        segmentation_splits(tmp_path)
    write(tmp_path / "city/leftImg8bit/train/a/a_0_leftImg8bit.png", png(picture(0)))
    with pytest.raises(ValueError, match=r"a_0_leftImg8bit.png: has no mask; allowed: .*a_0_gtFine_labelIds.png"):
        segmentation_splits(tmp_path / "city")


def test_scene_maps_are_of_the_scenes():
    fields = {"size": 48, "max_boxes": 4, "largest": 24}
    plain, maps = scenes(12, 3, **fields), scene_maps(12, 3, **fields)
    np.testing.assert_array_equal(maps.arrays["image"], plain.arrays["image"])
    assert maps.class_names == ("background", *SHAPES)
    for semantic, boxes, labels in zip(
        maps.arrays["semantic"], plain.arrays["boxes"], plain.arrays["labels"], strict=True
    ):
        assert set(np.unique(semantic)) <= {0, *(labels[labels >= 0] + 1)}
        covered = np.zeros(semantic.shape, bool)
        for (x0, y0, x1, y1), label in zip(boxes[labels >= 0].astype(int), labels, strict=False):
            covered[y0:y1, x0:x1] = True
            assert (semantic[y0:y1, x0:x1] == label + 1).any()
        assert (semantic[~covered] == 0).all()


def test_scene_maps_may_tell_textures_apart():
    source = scene_maps(3, 0, stuff=True, size=48, largest=24)
    assert source.class_names == (*STUFF, *SHAPES)
    assert (source.arrays["semantic"] < len(STUFF)).any(axis=(1, 2)).all()


def test_pixels_are_counted_by_class():
    source = scene_maps(2, 0, size=48, largest=24)
    source.arrays["semantic"][:] = 0
    source.arrays["semantic"][0, :2] = 2  # 96 pixels
    source.arrays["semantic"][1, 0] = VOID  # 48 pixels
    own, beside = class_pixels(source, 3)
    # Class 0 is in both images, of 2,304 and 2,256 pixels that count; class 2 in the first.
    np.testing.assert_array_equal(own, [2304 - 96 + 2256, 0, 96])
    np.testing.assert_array_equal(beside, [4560, 0, 2304])


def test_one_zip_holds_a_data_set(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, content in (("images/a.png", png(picture(0))), ("masks/a.png", png(MASK))):
            archive.writestr(f"road/{name}", content)
        described = json.dumps({"classes": ["sky", "straße", "car"]}, ensure_ascii=False)
        archive.writestr("road/classes.json", f"\ufeff{described}".encode())
    (train,) = segmentation_splits(tmp_path / "all.zip").values()
    assert (train.class_names, train.name, list(train.names)) == (
        ("sky", "straße", "car"), "all (train)", ["road/images/a.png"],
    )  # fmt: skip
    np.testing.assert_array_equal(train.arrays["semantic"][0], MASK)
    (tmp_path / "none.zip").write_text("<html>")
    with pytest.raises(ValueError, match=r"none.zip': neither a folder nor a .zip"):
        segmentation_splits(tmp_path / "none.zip")


def test_two_files_of_a_name_two_lists_of_classes_and_two_sizes_are_refused(tmp_path):
    pairs(tmp_path / "train", [MASK])
    pairs(tmp_path / "val", [MASK[:2]])
    with pytest.raises(
        ValueError, match="image_size=None: the splits have images of different sizes; allowed: height,"
    ):
        segmentation_splits(tmp_path)
    for split, names in (("train", ["a", "b", "c"]), ("val", ["a", "b", "d"])):
        (tmp_path / split / "classes.json").write_text(json.dumps({"classes": names}))
    with pytest.raises(ValueError, match=r"several classes.json that differ; allowed: one, or the same in each folder"):
        segmentation_splits(tmp_path)
    (tmp_path / "val" / "classes.json").write_text(json.dumps({"classes": ["a", "b", "c"]}))
    assert segmentation_splits(tmp_path, 4)["valid"].class_names == ("a", "b", "c")
    write(tmp_path / "train" / "images" / "0.bmp", png(picture(0), "BMP"))
    with pytest.raises(ValueError, match=r"train/images/0\.bmp and train/images/0\.png have the same name"):
        segmentation_splits(tmp_path)


def test_a_mask_of_wide_numbers_or_that_is_cut_off_is_named(tmp_path):
    pairs(tmp_path, [MASK, MASK])
    Image.fromarray(np.where(MASK == 2, 256 + 2, 0).astype(np.uint16)).save(tmp_path / "masks" / "1.png")
    with pytest.raises(ValueError, match=r"masks/1\.png: value 258; allowed: 0 to 254, or 255 for void"):
        segmentation_splits(tmp_path)
    large = png(np.random.default_rng(0).integers(0, 3, (64, 64)))
    write(tmp_path / "images" / "1.png", png(picture(1, (64, 64))))
    write(tmp_path / "masks" / "1.png", large[: len(large) // 2])
    with pytest.raises(ValueError, match=r"masks/1.png cannot be read as an image"):
        segmentation_splits(tmp_path, 4)


def test_a_list_of_ade20k_has_150_names(tmp_path):
    write(tmp_path / "annotations/training/a.png", png(MASK))
    rows = ["Idx\tName", *(f"{k}\tthing {k}" for k in range(ADE20K_CLASSES - 1))]
    (tmp_path / "objectInfo150.txt").write_text("\n".join(rows))
    with pytest.raises(ValueError, match=r"objectInfo150.txt: 149 classes; allowed: 150"):
        segmentation_splits(tmp_path)
