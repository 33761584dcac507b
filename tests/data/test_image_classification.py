import chex
import numpy as np
import pytest
from sklearn.datasets import load_digits

from dlcore.data import image_classification
from dlcore.data.digits import digits
from dlcore.data.image_classification import DATASETS, check_labels, load
from dlcore.data.image_folder import ImageFile, ImageFolder
from dlcore.data.image_headers import ImageHeaders, _default_size, default_crop_pct, take_evenly, target_size
from dlcore.data.photographs import photo_crops
from dlcore.data.source import Source


def test_digits_are_scikit_learns():
    reference = load_digits()
    train, test = digits("train"), digits("test")
    assert (len(train), len(test)) == (1297, 500)
    image = np.concatenate([train.arrays["image"], test.arrays["image"]])
    assert (image.shape, image.dtype) == ((1797, 8, 8, 1), np.float32)
    np.testing.assert_array_equal(image[..., 0] * 16, reference.images)
    assert (image.min(), image.max()) == (0, 1)
    label = np.concatenate([train.arrays["label"], test.arrays["label"]])
    np.testing.assert_array_equal(label, reference.target)
    assert label.dtype == np.int32
    assert train.class_names == tuple("0123456789")
    with pytest.raises(ValueError, match="'validation': unknown; allowed"):
        digits("validation")


def test_digits_cannot_be_spoilt_for_the_next_caller():
    digits("train").arrays["image"][:] = -1
    assert digits("train").arrays["image"].min() == 0


def test_load_digits():
    splits = load("digits", seed=3, valid_fraction=0.2)
    assert [len(source) for source in splits[:3]] == [1038, 259, 500]
    assert splits.image_shape == (8, 8, 1)
    np.testing.assert_array_equal(splits.test.arrays["image"], digits("test").arrays["image"])
    other = load("digits", seed=4, valid_fraction=0.2)
    assert (other.valid.arrays["image"] != splits.valid.arrays["image"]).any()
    assert "digits" in DATASETS
    assert load("digits", image_size=8).image_shape == (8, 8, 1)
    with pytest.raises(ValueError, match=r"image_size=16: the digits are in memory, 8 x 8; allowed: None .*input_size"):
        load("digits", image_size=16)


def test_labels_outside_the_classes_are_named():
    source = Source({"label": np.array([0, 1, 7, 2, -1])}, name="toy")
    with pytest.raises(ValueError, match=r"label 7 of example 2 in 'toy' is outside \[0, 3\)"):
        check_labels(source, 3)
    check_labels(source.take(2), 2)


def test_errors_of_load_say_what_to_pass(tmp_path):
    for name in ("parquet", "webdataset"):
        with pytest.raises(ValueError, match=f"data_dir=None: dataset '{name}' needs one; allowed: a folder of shards"):
            load(name)
    with pytest.raises(ValueError, match=r"'mnits'.*did you mean 'mnist'"):
        load("mnits")
    with pytest.raises(ValueError, match=r"allowed: digits, photographs, folder"):
        load("xqzw", tmp_path)
    with pytest.raises(
        ValueError, match=r"dataset 'mnist' needs the folder .*\. Prepare it, .*tfds\.builder\('mnist', data_dir"
    ):
        load("mnist")
    with pytest.raises(ValueError, match=r"data_dir=None: dataset 'folder' needs"):
        load("folder")
    with pytest.raises(FileNotFoundError, match=r"'mnist' is not prepared.*download_and_prepare"):
        load("mnist", tmp_path)
    assert not list(tmp_path.iterdir())


def test_photographs_are_embedded_crops_with_splits_of_their_own():
    splits = load("photographs", image_size=8)
    chex.assert_shape(splits.train.arrays["image"], (4800, 8, 8, 3))
    chex.assert_shape(splits.valid.arrays["image"], (600, 8, 8, 3))
    chex.assert_shape(splits.test.arrays["image"], (1200, 8, 8, 3))
    np.testing.assert_array_equal(splits.test.arrays["image"], photo_crops("test", 1200, size=8).arrays["image"])
    assert len(splits.class_names) == 12
    for size in (3, 41, (8, 16)):
        with pytest.raises(ValueError, match=r"no crop of the photographs; allowed: one side, 4 to 40"):
            load("photographs", image_size=size)


def test_crops_of_photographs_have_sides_from_4_to_40(monkeypatch):
    def one_crop(split, count, size):
        asked.append((split, count))
        image = np.zeros((1, size, size, 3), np.uint8)
        return Source({"image": image, "label": np.zeros(1, np.int32)}, class_names=("a",), name=split)

    monkeypatch.setattr(image_classification, "photo_crops", one_crop)
    for size, side in ((None, 32), (4, 4), (40, 40), ((8, 8), 8)):
        asked = []
        assert load("photographs", image_size=size).image_shape == (side, side, 3)
        assert asked == [("train", 4800), ("valid", 600), ("test", 1200)]


def test_five_folders_without_images_are_listed():
    headers = ImageHeaders({}, (8, 8, 3), 0, 0.875, False)
    for count, listed in ((5, "0, 1, 2, 3, 4"), (6, "0, 1, 2, 3, 4 and 1 more")):
        folder = ImageFolder("f", "f", {}, (), 0, "all", False, tuple(map(str, range(count))))
        assert image_classification._notes(folder, headers) == (f"f: folders without an image, left out: {listed}",)


@pytest.mark.parametrize(("count", "more"), [(20, ""), (21, " and 1 more")])
def test_changes_of_images_and_absent_classes_are_noted(count, more):
    names = tuple(map(str, range(count + 1)))
    files = [ImageFile("a", count, open)]
    for channels, mode in ((1, "gray"), (3, "RGB")):
        folder = ImageFolder("f", "f", {"train": files}, names, 3, "train", False)
        found = image_classification._notes(folder, ImageHeaders({}, (8, 8, channels), 0, 0.875, True))
        absent = ", ".join(map(str, range(20)))
        assert found == (
            f"f: gray and color images together, all converted to {mode}",
            "f: images outside the class folders, left out: 3",
            f"f: no image in train of the classes {absent}{more}",
        )


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(224, 300)] * 2, (224, 300)),  # one size, the shorter side of at most 224
        ([(30, 40)], (30, 40)),
        ([(225, 300)] * 2, (224, 224)),
        ([(30, 40), (50, 20)], (24, 24)),  # the median of 30 and 20, to a multiple of 8
        ([(15, 20), (15, 30)], (15, 15)),  # below 16 as it is
        ([(16, 20), (18, 30)], (16, 16)),
    ],
)
def test_the_size_of_images_without_a_size(sizes, expected):
    assert _default_size(sizes) == expected


def test_a_size_is_a_side_or_a_pair_of_sides():
    assert [target_size(size) for size in (1, (2, 1), [3, 4])] == [(1, 1), (2, 1), (3, 4)]


def test_samples_are_even_and_whole_images_are_not_cropped():
    assert take_evenly(range(10), 4) == [0, 3, 6, 9]
    assert take_evenly(range(3), 10) == [0, 1, 2]
    assert take_evenly(range(3), 1) == [0]
    for sizes, size, share in (
        ({(8, 9)}, (8, 9), 1.0),
        ({(8, 9)}, (9, 9), 1.0),
        ({(8, 9)}, (8, 8), 0.875),
        ({(8, 8), (9, 9)}, (9, 9), 0.875),
    ):
        assert default_crop_pct(sizes, size) == share
