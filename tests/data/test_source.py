import numpy as np
import pytest

from dlcore.data.source import Source, shuffle_labels, split_validation


def source(length=20, classes=2):
    image = np.arange(length * 4, dtype=np.uint8).reshape(length, 2, 2, 1)
    return Source({"image": image, "label": np.arange(length, dtype=np.int32) % classes}, name="toy")


def test_rows_carry_their_position():
    rows = source()[np.array([3, 0, 3])]
    np.testing.assert_array_equal(rows["index"], [3, 0, 3])
    assert rows["index"].dtype == np.int32
    np.testing.assert_array_equal(rows["image"][:, 0, 0, 0], [12, 0, 12])
    np.testing.assert_array_equal(rows["label"], [1, 0, 1])


def test_rows_are_copies():
    data = source()
    data[np.array([0])]["image"][:] = 99
    data[:2]["image"][:] = 99
    data.take(2).arrays["image"][:] = 99
    assert data.arrays["image"][0, 0, 0, 0] == 0


def test_positions_outside_are_refused():
    for bad in ([20], [-1], np.zeros((2, 2), int), np.array([0.5]), np.array([True] * 20)):
        with pytest.raises(IndexError, match=r"idx"):
            source()[bad]


def test_subsets_are_sources_of_their_own():
    part = source().subset([5, 7])
    assert len(part) == 2
    np.testing.assert_array_equal(part[[1]]["image"][0, 0, 0, 0], 28)
    np.testing.assert_array_equal(part[[0, 1]]["index"], [0, 1])
    assert part.name == "toy"
    assert len(source().take(3)) == 3
    assert len(source().take(300)) == 20
    assert len(source().subset([])) == 0


def test_a_source_of_indices_alone():
    data = Source.indices(5)
    rows = data[np.array([4, 1])]
    assert list(rows) == ["index"]
    np.testing.assert_array_equal(rows["index"], [4, 1])
    assert len(data.subset([2, 3])) == 2
    train, valid = split_validation(Source.indices(10), 0.3, 0)
    assert (len(train), len(valid)) == (7, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arrays": {"image": np.zeros(3), "label": np.zeros(2)}}, "leading length 3"),
        ({"arrays": {"image": np.zeros(3)}, "length": 4}, "leading length 4"),
        ({"arrays": {"index": np.zeros(3)}}, "reserved"),
        ({}, "length"),
        ({"length": -1}, "negative"),
    ],
)
def test_inconsistent_sources_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Source(**arguments)


def test_validation_split_is_stratified_disjoint_and_complete():
    label = np.repeat([0, 1, 2], [600, 300, 101]).astype(np.int32)
    data = Source({"label": label, "id": np.arange(1001)})
    train, valid = split_validation(data, 0.1, seed=4)
    ids = np.concatenate([train.arrays["id"], valid.arrays["id"]])
    np.testing.assert_array_equal(np.sort(ids), np.arange(1001))
    assert len(valid) == 100
    counts = np.bincount(valid.arrays["label"])
    assert np.abs(counts - 0.1 * np.array([600, 300, 101])).max() < 1
    np.testing.assert_array_equal(valid.arrays["label"], label[valid.arrays["id"]])
    assert (np.diff(valid.arrays["id"]) > 0).all()
    assert valid.name != train.name


def test_validation_split_depends_on_the_seed_alone():
    def ids(seed):
        return split_validation(Source({"id": np.arange(200)}), 0.2, seed)[1].arrays["id"].tolist()

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


def test_bad_fractions_are_refused():
    for fraction in (-0.1, 1.0, 0.99):
        with pytest.raises(ValueError, match="fraction"):
            split_validation(source(), fraction, 0)
    with pytest.raises(ValueError, match="seed"):
        split_validation(source(), 0.1, -1)
    assert len(split_validation(source(), 0.0, 0)[1]) == 0
    assert len(split_validation(source(), 0.001, 0)[1]) == 1


def test_shuffled_labels_keep_their_counts_and_leave_the_images():
    data = source(1000, classes=4)
    shuffled = shuffle_labels(data, 3)
    np.testing.assert_array_equal(np.bincount(shuffled.arrays["label"]), [250] * 4)
    agreement = np.mean(shuffled.arrays["label"] == data.arrays["label"])
    assert abs(agreement - 0.25) < 0.06
    np.testing.assert_array_equal(shuffled.arrays["image"], data.arrays["image"])
    np.testing.assert_array_equal(shuffled.arrays["label"], shuffle_labels(data, 3).arrays["label"])
    assert shuffled.name != data.name
    with pytest.raises(ValueError, match="label"):
        shuffle_labels(Source.indices(3), 0)
