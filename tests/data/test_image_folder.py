import logging
import zipfile

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data.decoding import load_image
from dlcore.data.image_classification import folder_source, folder_splits, load, unlabeled_source
from dlcore.data.image_folder import list_images
from dlcore.data.workers import unreadable

RNG = np.random.default_rng(0)


def put(path, size=(8, 8), mode="RGB", pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (*size, 3), np.uint8) if pixels is None else pixels
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return pixels


@pytest.fixture
def pets(tmp_path):
    """Three cats and two dogs of 8 x 8: the folder and its pixels, in order."""
    root = tmp_path / "pets"
    pixels = [put(root / "cat" / f"{i}.png") for i in range(3)] + [put(root / "dog" / f"{i}.png") for i in range(2)]
    return root, np.stack(pixels)


def test_classes_are_folders_and_images_their_pixels(pets):
    root, pixels = pets
    source = folder_source(root)
    np.testing.assert_array_equal(source.arrays["image"], pixels)
    np.testing.assert_array_equal(source.arrays["label"], [0, 0, 0, 1, 1])
    assert (source.class_names, source.name, source.notes) == (("cat", "dog"), "pets/all", ())
    assert source.arrays["label"].dtype == np.int32


def test_a_zip_of_a_folder_equals_the_folder(pets, tmp_path):
    root, pixels = pets
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for file in sorted(root.rglob("*"), reverse=True):
            archive.write(file, f"wrapped/twice/{file.relative_to(root)}")
        archive.writestr("__MACOSX/wrapped/twice/cat/._0.png", "junk")
    source = folder_source(tmp_path / "pets.zip")
    np.testing.assert_array_equal(source.arrays["image"], pixels)
    assert source.class_names == ("cat", "dog")


def test_every_format_is_read(tmp_path):
    names = ["a.png", "b.JPG", "c.jpeg", "d.bmp", "e.gif", "f.webp", "g.ppm", "h.tif"]
    names += ["i.jfif", "j.jpe", "k.avif", "l.tga", "m.apng", "n.dib"]
    flat = np.full((8, 8, 3), 128, np.uint8)
    for i, name in enumerate(names):
        put(tmp_path / "xy"[i % 2] / name, pixels=flat)
    (tmp_path / "x" / "notes.txt").write_text("not an image")
    source = folder_source(tmp_path)
    assert len(source) == len(names)
    assert np.abs(source.arrays["image"].astype(int) - 128).max() <= 2


def test_hidden_files_are_ignored_and_strays_are_noted(pets):
    root, pixels = pets
    put(root / ".thumbs" / "a.png")
    put(root / "cat" / ".a.png")
    put(root / "__MACOSX" / "cat" / "a.png")
    put(root / "logo.png")
    for folder in (".old", "notes"):
        (root / folder).mkdir()
    put(root / ".old" / "a.png")
    (root / "notes" / "a.txt").write_text("")
    source = folder_source(root)
    np.testing.assert_array_equal(source.arrays["image"], pixels)
    assert source.notes == (
        f"{root}: images outside the class folders, left out: 1",
        f"{root}: folders without an image, left out: .old (hidden), .thumbs (hidden), notes (.txt)",
    )


def test_nested_class_folders_keep_their_path(tmp_path):
    for name in ("set/animal/cat", "set/animal/dog", "set/car"):
        put(tmp_path / name / "a.png")
    assert folder_source(tmp_path).class_names == ("animal/cat", "animal/dog", "car")


def test_images_of_any_size_are_scaled_and_their_center_is_cut(tmp_path):
    # Left to right: 20 columns of black, 40 of gray, 20 of white; the central square of 40 is gray,
    # but for the outermost pixels, into which the filter mixes an eighth of their neighbors.
    bands = np.repeat([0, 128, 255], [20, 40, 20])[None, :, None] * np.ones((40, 1, 3))
    put(tmp_path / "wide" / "a.png", pixels=bands.astype(np.uint8))
    put(tmp_path / "tall" / "a.png", pixels=bands.transpose(1, 0, 2).astype(np.uint8))
    source = folder_source(tmp_path, image_size=10)
    chex.assert_shape(source.arrays["image"], (2, 10, 10, 3))
    assert (source.arrays["image"][:, 1:-1, 1:-1] == 128).all()
    np.testing.assert_allclose(source.arrays["image"][1, 5, [0, -1], 0], [112, 144], atol=1)
    tall = folder_source(tmp_path, image_size=(20, 10)).arrays["image"]
    chex.assert_shape(tall, (2, 20, 10, 3))
    # The tall one, 80 x 40, fits (20, 10) whole: rows 0-4 black, 5-14 gray, 15-19 white, up to the filter's width.
    np.testing.assert_array_equal(tall[0, [0, 3, 7, 12, 16, 19], 5, 0], [0, 0, 128, 128, 255, 255])


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(12, 17)] * 3, (12, 17)),
        ([(12, 17), (14, 13), (15, 40)], (13, 13)),
        ([(30, 90), (47, 50), (200, 100)], (40, 40)),
        ([(300, 400)] * 3, (224, 224)),
    ],
)
def test_the_default_size(tmp_path, sizes, expected):
    # Short sides 12, 13, 15: median 13. Short sides 30, 47, 100: median 47, to 40 by eights.
    for i, size in enumerate(sizes):
        put(tmp_path / "ab"[i % 2] / f"{i}.png", size)
    assert folder_source(tmp_path).arrays["image"].shape[1:] == (*expected, 3)


def test_gray_stays_gray_and_mixtures_become_rgb(pets, tmp_path, caplog):
    gray = tmp_path / "gray"
    pixels = [put(gray / name / "0.png", mode="L") for name in "ab"]
    source = folder_source(gray)
    chex.assert_shape(source.arrays["image"], (2, 8, 8, 1))
    np.testing.assert_array_equal(source.arrays["image"][1, ..., 0], Image.fromarray(pixels[1]).convert("L"))
    chex.assert_shape(folder_source(gray, channels=3).arrays["image"], (2, 8, 8, 3))

    root, pixels = pets
    put(root / "dog" / "2.png", mode="L", pixels=np.full((8, 8, 3), 7, np.uint8))
    put(root / "dog" / "3.png", mode="RGBA", pixels=pixels[0])
    with caplog.at_level(logging.WARNING):
        source = folder_source(root)
    chex.assert_shape(source.arrays["image"], (7, 8, 8, 3))
    assert (source.arrays["image"][5] == 7).all()
    np.testing.assert_array_equal(source.arrays["image"][6], pixels[0])
    assert source.notes == (f"{root}: gray and color images together, all converted to RGB",)


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    for name, value in (("a", 0x8080), ("b", 0xFFFF)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((4, 4), value, np.uint16)).save(tmp_path / name / "0.png")
    image = folder_source(tmp_path).arrays["image"]
    chex.assert_shape(image, (2, 4, 4, 1))
    np.testing.assert_array_equal(image[:, 0, 0, 0], [0x80, 0xFF])


def test_exif_orientation_is_honoured(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    pixels = put(tmp_path / "a" / "0.png", (4, 6), exif=exif)
    put(tmp_path / "b" / "0.png", (6, 4))
    image = folder_source(tmp_path).arrays["image"]
    np.testing.assert_array_equal(image[0], np.rot90(pixels, -1))


def test_unreadable_images_are_named_or_left_out(pets):
    root, pixels = pets
    (root / "cat" / "text.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"cat/text\.png cannot be read.*skip_bad"):
        folder_source(root)
    put(root / "cat" / "1half.png", (64, 64))
    whole = (root / "cat" / "1half.png").read_bytes()
    (root / "cat" / "1half.png").write_bytes(whole[: len(whole) // 2])
    (root / "cat" / "text.png").write_bytes(b"")
    source = folder_source(root, image_size=8, skip_bad=True)
    np.testing.assert_array_equal(source.arrays["image"], pixels)
    np.testing.assert_array_equal(source.arrays["label"], [0, 0, 0, 1, 1])
    assert source.notes == ("pets/all: 2 of 7 files could not be read and were left out",)
    (root / "cat" / "text.png").unlink()
    with pytest.raises(ValueError, match=r"cat/1half\.png cannot be read"):
        folder_source(root)


def test_notes_are_said_once(pets, monkeypatch):
    notes = []
    monkeypatch.setattr("absl.logging.warning", lambda form, *values: notes.append(form % values))
    (pets[0] / "cat" / "text.png").write_text("not an image")
    folder_source(pets[0], skip_bad=True)
    assert notes == ["pets/all: 1 of 6 files could not be read and were left out"]


def test_folders_without_two_classes_of_images_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such"):
        folder_source(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        folder_source(tmp_path / "empty")
    put(tmp_path / "flat" / "0.png")
    with pytest.raises(ValueError, match="no class folders"):
        folder_source(tmp_path / "flat")
    put(tmp_path / "one" / "cat" / "0.png")
    with pytest.raises(ValueError, match="'cat' is the only class"):
        folder_source(tmp_path / "one")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(ValueError, match=r"neither a folder nor a \.zip"):
        folder_source(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("a/b.txt", "x")
    with pytest.raises(ValueError, match="holds no image"):
        folder_source(tmp_path / "empty.zip")
    for name in "ab":
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "0.png").write_text("x")
    with pytest.raises(ValueError, match="none of its 2 images"):
        folder_source(tmp_path / "bad", skip_bad=True)


def test_bad_settings_are_refused(pets):
    for size in (0, -3, (4,), (4, 0), 2.5):
        with pytest.raises(ValueError, match="image_size="):
            folder_source(pets[0], image_size=size)
    with pytest.raises(ValueError, match="channels=4"):
        folder_source(pets[0], channels=4)
    # 5 images x 8 x 8 x 3 = 960 bytes; 5 x s x s x 3 <= 800 holds to s = 7.
    with pytest.raises(ValueError, match="image_size=7 or less"):
        folder_source(pets[0], limit_bytes=800)
    chex.assert_shape(folder_source(pets[0], image_size=7, limit_bytes=800).arrays["image"], (5, 7, 7, 3))


def test_split_folders_are_splits(tmp_path):
    for split, count in (("Train", 4), ("val", 2), ("test", 3)):
        for name in ("cat", "dog"):
            for i in range(count):
                put(tmp_path / "root" / split / name / f"{i}.png")
    (tmp_path / "root" / "test" / "cat" / "0.png").unlink()
    splits = folder_splits(tmp_path / "root")
    assert {split: len(source) for split, source in splits.items()} == {"train": 8, "valid": 4, "test": 5}
    np.testing.assert_array_equal(splits["test"].arrays["label"], [0, 0, 1, 1, 1])
    loaded = load("folder", tmp_path / "root")
    assert [len(source) for source in loaded[:3]] == [8, 4, 5]
    with pytest.raises(ValueError, match="allowed: a folder without splits"):
        folder_source(tmp_path / "root")
    for name in ("owl", "hen", "emu", "fox"):
        put(tmp_path / "root" / "test" / name / "0.png")
    with pytest.raises(ValueError, match="class 'emu' of test is not in train"):
        folder_splits(tmp_path / "root")
    put(tmp_path / "root" / "test" / "0.png")
    with pytest.raises(ValueError, match="images lie in 'test' itself"):
        folder_splits(tmp_path / "root")


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("Training", "Testing"), ["train", "test"]),
        (("train", "eval"), ["train", "test"]),
        (("TRAIN", "Dev", "test"), ["train", "valid", "test"]),
        (("training", "validation"), ["train", "valid"]),
    ],
)
def test_the_usual_names_are_splits_in_any_case(tmp_path, names, splits):
    for name in names:
        for label in "ab":
            put(tmp_path / "root" / name / label / "0.png")
    found = folder_splits(tmp_path / "root")
    assert sorted(found) == sorted(splits)
    assert all(source.class_names == ("a", "b") and len(source) == 2 for source in found.values())


@pytest.mark.parametrize(
    ("folders", "problem"),
    [
        (("train/a", "train/b", "test/a", "holdout/a"), "'holdout' is no split; allowed: "),
        (("train/a", "train/b", "holdout/a"), "'holdout' is no split; allowed: train, training, "),
        (("val/a", "val/b", "test/a", "test/b"), "test, val and no training split; allowed: 'train', too"),
        (("train/a", "Training/a", "val/a"), "'Training' and 'train' are both the train split"),
        (("fold1/a", "fold1/b", "fold2/a", "fold2/b"), "the classes 'a', 'b' are below 'fold1' and below 'fold2'"),
        (("fold1/a", "fold1/b", "fold1/c", "fold2/a", "fold2/b", "fold2/d"), "'a', 'b' are below 'fold1'"),
        (("pets/train/a", "pets/test/a", "samples"), "test, train below 'pets', which is not all"),
        (("x/fold1/a", "x/fold1/b", "x/fold2/a", "x/fold2/b", "y"), "'a', 'b' are below 'fold1' and below 'fold2'"),
        (("cat/train", "cat/test", "dog/train", "dog/test"), "'test', 'train' are below 'cat' and below 'dog'"),
    ],
)
def test_folders_that_would_be_merged_or_become_classes_are_refused(tmp_path, folders, problem):
    for folder in folders:
        put(tmp_path / "root" / folder / "0.png")
    with pytest.raises(ValueError, match=problem):
        folder_splits(tmp_path / "root")


def test_a_class_may_be_called_train_and_classes_may_share_a_folder_name(tmp_path):
    for folder in ("train", "bus", "car"):
        put(tmp_path / "vehicles" / folder / "0.png")
    assert folder_source(tmp_path / "vehicles").class_names == ("bus", "car", "train")
    for folder in ("x/images", "y/images", "z/healthy", "z/scab", "w/healthy", "w/blight"):
        put(tmp_path / "nested" / folder / "0.png")
    assert len(folder_source(tmp_path / "nested").class_names) == 6


def test_a_class_folder_without_images_is_noted(pets, tmp_path):
    root, _ = pets
    (root / "emu").mkdir()
    (root / "emu" / "0.raw").write_bytes(b"pixels")
    (root / "cat" / "list.txt").write_text("0.png")
    (root / "README").write_text("pets")
    expected = "folders without an image, left out: emu (.raw)"
    assert folder_source(root).notes == (f"{root}: {expected}",)
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for file in sorted(root.rglob("*.*")):
            archive.write(file, file.relative_to(root))
    assert folder_source(tmp_path / "pets.zip").notes[0].endswith(expected)


def test_load_splits_a_folder_without_splits(tmp_path):
    """A fifth of each class is tested, whatever the seed; validation is drawn from the rest by seed."""
    for i in range(50):
        put(tmp_path / "ab"[i % 2] / f"{i}.png", (2, 2))
    splits = load("folder", tmp_path, valid_fraction=0.1, seed=1)
    sizes = [len(source) for source in splits[:3]]
    assert sum(sizes) == 50
    assert np.bincount(splits.test.arrays["label"]).tolist() == [5, 5]
    # Of the rest a tenth, 4 on average with a standard deviation of 1.9.
    assert abs(sizes[1] - 4) < 3 * 1.9
    rows = np.concatenate([source.arrays["image"] for source in splits[:3]]).reshape(50, -1)
    assert len(np.unique(rows, axis=0)) == 50
    assert all(len(np.unique(source.arrays["label"])) == 2 for source in splits[:3])
    assert any(f"{sizes[2]} examples were set aside" in note for note in splits.notes)
    again = load("folder", tmp_path, valid_fraction=0.1, seed=1)
    np.testing.assert_array_equal(again.test.arrays["image"], splits.test.arrays["image"])
    other = load("folder", tmp_path, valid_fraction=0.1, seed=2)
    assert set(other.valid.names) != set(splits.valid.names)
    assert set(other.test.names) == set(splits.test.names)
    assert any(note == "few test examples, 10: an accuracy moves in steps of 10.0 %" for note in splits.notes)


@pytest.mark.parametrize("streamed", [False, True])
def test_images_that_are_added_leave_almost_all_others_in_their_splits(tmp_path, streamed):
    def names():
        splits = load("folder", tmp_path, valid_fraction=0.2, limit_bytes=0 if streamed else 2**20, image_size=4)
        for source in splits[:3]:
            labels = [splits.class_names[label] for label in source.arrays["label"]]
            assert labels == [name.split("/")[0] for name in source.names]
        return [set(source.names) for source in splits[:3]]

    for i in range(60):
        put(tmp_path / "ab"[i % 2] / f"{i}.png", (4, 4))
    before = names()
    assert all(before)
    for i in range(7):
        put(tmp_path / "a" / f"0{i}.png", (4, 4))
    after = names()
    assert sum(map(len, after)) == 67
    moved = set().union(*(old - new for old, new in zip(before, after, strict=True)))
    assert all(name.startswith("a/") for name in moved), "the other class stays as it is"
    assert len(moved) <= 2


def test_a_zip_is_carved_as_the_folder_is(tmp_path):
    for i in range(30):
        put(tmp_path / "pets" / "ab"[i % 2] / f"{i}.png", (4, 4))
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for file in sorted((tmp_path / "pets").rglob("*.png")):
            archive.write(file, f"wrapped/{file.relative_to(tmp_path / 'pets')}")
    folder, archive = load("folder", tmp_path / "pets"), load("folder", tmp_path / "pets.zip")
    for one, other in zip(folder[:3], archive[:3], strict=True):
        assert one.fingerprint.digest == other.fingerprint.digest
        assert one.fingerprint.by == "path and size"


def test_a_folder_that_links_lead_to_again_is_listed_once(pets):
    root, _ = pets
    (root / "cat" / "up").symlink_to(root, target_is_directory=True)
    (root / "a_link_to_dog").symlink_to(root / "dog", target_is_directory=True)
    assert folder_source(root).class_names == ("cat", "dog")
    assert len(list_images(root)) == 5
    (root / "emu").symlink_to(root.parent / "elsewhere", target_is_directory=True)
    put(root.parent / "elsewhere" / "0.png")
    assert folder_source(root).class_names == ("cat", "dog", "emu")


def test_all_bad_files_are_listed(pets):
    root, _ = pets
    for i in range(12):
        (root / "dog" / f"bad{i:02}.png").write_text("no image")
    with pytest.raises(ValueError, match=r"12 files are no images: .*bad00\.png.*bad09\.png, and 2 more") as error:
        load("folder", root)
    assert "bad10" not in str(error.value)
    assert "skip_bad" in str(error.value)


def test_unreadable_files_are_counted_ten_are_named_and_the_first_error_is_told():
    bad = [(f"{i}.png", OSError(f"error {i}")) for i in range(12)]
    skip = ", or leave such files out by --skip_bad (skip_bad=True)"
    assert unreadable(bad[:1]) == f"0.png cannot be read as an image (error 0); remove it{skip}"
    assert unreadable(bad[:1], False) == "0.png cannot be read as an image (error 0); remove it"
    two = "2 files are no images: 0.png cannot be read as an image (error 0), 1.png; remove them"
    assert (unreadable(bad[:2]), unreadable(bad[:2], False)) == (two + skip, two)
    assert unreadable(bad[:10], False).endswith("8.png, 9.png; remove them")
    assert unreadable(bad, False).endswith("8.png, 9.png, and 2 more; remove them")


def test_one_class_is_enough_where_the_caller_says_so(tmp_path):
    put(tmp_path / "dog" / "0.png")
    with pytest.raises(ValueError, match="'dog' is the only class"):
        folder_splits(tmp_path)
    assert folder_splits(tmp_path, min_classes=1)["all"].class_names == ("dog",)


def test_the_error_of_too_few_classes_names_them_and_how_many_are_needed(tmp_path):
    put(tmp_path / "dog" / "0.png")
    put(tmp_path / "cat" / "0.png")
    with pytest.raises(ValueError, match="'cat', 'dog' are the only classes; allowed: at least 3 class folders"):
        folder_splits(tmp_path, min_classes=3)


def test_single_images_for_predict(pets):
    root, pixels = pets
    files = list_images(root)
    assert [str(file.relative_to(root)) for file in files] == [
        "cat/0.png",
        "cat/1.png",
        "cat/2.png",
        "dog/0.png",
        "dog/1.png",
    ]
    assert list_images(files[0]) == [files[0]]
    np.testing.assert_array_equal(load_image(files[3]), pixels[3])
    chex.assert_shape(load_image(files[0], 5, 1), (5, 5, 1))
    assert load_image(str(files[0]), (3, 4), 3).dtype == np.uint8
    with pytest.raises(FileNotFoundError, match="missing"):
        load_image(root / "missing.png")
    (root / "bad.png").write_text("x")
    with pytest.raises(ValueError, match=r"bad\.png cannot be read"):
        load_image(root / "bad.png")
    with pytest.raises(FileNotFoundError, match="missing"):
        list_images(root / "missing")


@pytest.mark.parametrize("below", [("a.png", "b.png", "c.png"), ("trip/a.png", "trip/b.png", "c.png")])
def test_images_without_class_folders_have_one_class_where_labels_are_not_needed(tmp_path, below):
    for name in below:
        put(tmp_path / "photos" / name)
    (source,) = folder_splits(tmp_path / "photos", min_classes=0).values()
    assert len(source) == 3
    assert source.class_names == ("unlabeled",)
    np.testing.assert_array_equal(source.arrays["label"], [0, 0, 0])
    with pytest.raises(ValueError, match=r"class"):
        folder_splits(tmp_path / "photos")


def test_of_images_without_labels_none_is_left_out(tmp_path):
    for name in ("a.png", "trip/b.png"):
        put(tmp_path / "photos" / name)
    source = unlabeled_source(tmp_path / "photos")
    assert (source.notes, set(source.arrays), list(source.names)) == ((), {"image"}, ["a.png", "trip/b.png"])


def test_splits_without_class_folders(tmp_path):
    for name in ("train/a.png", "train/b.png", "test/c.png"):
        put(tmp_path / "photos" / name)
    splits = folder_splits(tmp_path / "photos", min_classes=0)
    assert {name: len(source) for name, source in splits.items()} == {"train": 2, "test": 1}
    assert list(splits["test"].names) == ["test/c.png"]


def test_class_folders_stay_classes_where_labels_are_not_needed(pets):
    root, _ = pets
    (source,) = folder_splits(root, min_classes=0).values()
    assert source.class_names == ("cat", "dog")
    np.testing.assert_array_equal(source.arrays["label"], [0, 0, 0, 1, 1])


def test_an_image_that_is_trained_on_and_tested_is_noted(tmp_path):
    """Of two test images one is a training image under another name and in another class."""
    rng = np.random.default_rng(0)
    for place in ("train/a/1", "train/b/2", "train/b/3", "val/a/4", "test/a/5"):
        path = tmp_path / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    assert not [note for note in load("folder", tmp_path).notes if "training image" in note]
    Image.open(tmp_path / "train/b/3.png").save(tmp_path / "test/a/copy.png", compress_level=0)
    (note,) = [note for note in load("folder", tmp_path).notes if "training image" in note]
    assert note.startswith("1 of the 2 test images have the pixels of a training image (test/a/copy.png is one): ")


def test_an_image_in_two_classes_is_noted(tmp_path):
    for i, place in enumerate(("cat/0", "cat/1", "dog/0", "dog/1")):
        path = tmp_path / f"{place}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), 50 * i, np.uint8)).save(path)
    assert not [note for note in load("folder", tmp_path).notes if "several" in note]
    Image.open(tmp_path / "cat/1.png").save(tmp_path / "dog/2.png")
    assert "1 images appear in several classes with the same pixels" in load("folder", tmp_path).notes


def test_a_class_that_a_split_lacks_an_empty_folder_and_names_alike_are_noted(tmp_path):
    for place in ("train/Cat/0", "train/cat/0", "train/dog/0", "test/dog/1"):
        path = tmp_path / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), len(place), np.uint8)).save(path)
    (tmp_path / "train/emu").mkdir()
    assert folder_splits(tmp_path)["train"].notes == (
        f"{tmp_path}: folders without an image, left out: train/emu (empty)",
        f"{tmp_path}: classes whose names differ in upper and lower case alone: Cat, cat",
        f"{tmp_path}: no image in test of the classes Cat, cat",
    )


def test_names_that_differ_in_their_unicode_form_are_noted(tmp_path):
    for place in ("caf\u00e9/0", "cafe\u0301/1", "tea/2"):
        put(tmp_path / f"{place}.png")
    assert folder_source(tmp_path).notes == (
        f"{tmp_path}: classes whose names differ in Unicode form (NFC and NFD) alone: cafe\u0301, caf\u00e9",
    )


def test_splits_without_class_folders_may_lie_in_outer_folders(tmp_path):
    for split in ("train", "val"):
        put(tmp_path / "a" / "b" / split / "1.png")
    splits = folder_splits(tmp_path, min_classes=0)
    assert {split: list(source.names) for split, source in splits.items()} == {
        "train": ["train/1.png"],
        "valid": ["valid/1.png"],
    }
    put(tmp_path / "photos" / "trip" / "2.png")
    assert list(folder_splits(tmp_path / "photos", min_classes=0)["all"].names) == ["2.png"]


def test_a_broken_link_is_named(tmp_path):
    for name in ("cat", "dog"):
        put(tmp_path / name / "1.png")
    (tmp_path / "dog" / "2.png").symlink_to(tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"dog/2.png cannot be read"):
        folder_splits(tmp_path)
