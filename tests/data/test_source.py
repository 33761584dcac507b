import numpy as np
import pytest

from dlcore.data.carving import complete_splits, shared_images, split_test, split_validation
from dlcore.data.fingerprint import hash_texts
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source, concatenate, join, shuffle_labels


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
        ({"arrays": {"image": np.zeros(3), "label": np.zeros(2)}}, "leading lengths .*; allowed: 3 for each array"),
        ({"arrays": {"image": np.zeros(3)}, "length": 4}, "leading lengths .*; allowed: 4 for each array"),
        ({"arrays": {"index": np.zeros(3)}}, "reserved"),
        ({}, "length"),
        ({"length": -1}, "length=-1: too small; allowed: at least 0"),
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


def test_of_equal_classes_the_first_have_one_more_example_to_validate():
    """Sixty classes of two and three examples in turn: a tenth of 150 goes to 15 of the larger ones."""
    label = np.repeat(np.arange(60), [2, 3] * 30)
    valid = split_validation(Source({"label": label}), 0.1, 0)[1]
    np.testing.assert_array_equal(valid.arrays["label"], np.arange(1, 31, 2))


def test_validation_split_depends_on_the_seed_alone():
    def ids(seed):
        return split_validation(Source({"id": np.arange(200)}), 0.2, seed)[1].arrays["id"].tolist()

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


def named(count, classes=1):
    names = np.array([f"{i % classes}/{i}.png" for i in range(count)], object)
    return Source({"label": np.arange(count, dtype=np.int32) % classes}, names=names)


def test_carving_by_name_keeps_every_example_in_its_part_when_others_come_or_go():
    everything = named(300, classes=3)
    assert set(everything.subset([5, 3]).names) == {"2/5.png", "0/3.png"}
    train, valid = (set(part.names) for part in split_validation(everything, 0.2, 7))
    for rows in (np.arange(200), np.arange(100, 300), np.arange(300)[::-1]):
        smaller_train, smaller_valid = (set(part.names) for part in split_validation(everything.subset(rows), 0.2, 7))
        assert smaller_train <= train
        assert smaller_valid <= valid
    assert set(split_validation(everything, 0.2, 8)[1].names) != valid


def test_carving_by_name_keeps_the_shares_of_the_classes():
    # Of 2,000 examples of a class 200 are expected, with a standard deviation of sqrt(2000 * 0.1 * 0.9) = 13.4.
    for seed in range(5):
        _, valid = split_validation(named(20_000, classes=10), 0.1, seed)
        assert np.abs(np.bincount(valid.arrays["label"]) - 200).max() < 4 * 13.4
    # Six of a class: without a least of one, 0.9 ** 6 = 53 % of the classes would be left out.
    train, valid = split_validation(named(120, classes=20), 0.1, 0)
    assert np.bincount(valid.arrays["label"], minlength=20).min() >= 1
    assert np.bincount(train.arrays["label"], minlength=20).min() >= 3


def test_parts_of_other_names_are_carved_independently():
    _, test = split_validation(named(2000), 0.3, 0, "test")
    _, valid = split_validation(named(2000), 0.3, 0)
    # A third of one is in the other: 180 of 600 on average, give or take 11.
    assert abs(len(set(test.names) & set(valid.names)) - 180) < 45


def test_names_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"names=.*: not one an example; allowed: 3"):
        Source({"label": np.zeros(3, np.int32)}, names=np.array(["a", "b"], object))


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


@pytest.mark.parametrize(
    ("key", "labels", "message"),
    [
        ("label", [0, 2, 1], r"^label\[1\]=2: has no name; allowed: 0 to 1, of class_names$"),
        ("labels", [[0, -1], [1, 5]], r"^labels\[1, 1\]=5: has no name; allowed: 0 to 1, of class_names$"),
    ],
)
def test_a_label_without_a_class_name_is_refused(key, labels, message):
    labels = np.array(labels)
    with pytest.raises(ValueError, match=message):
        Source({key: labels}, class_names=("cat", "dog"))
    Source({key: np.minimum(labels, 1)}, class_names=("cat", "dog"))
    Source({key: labels})


def test_images_of_floats_up_to_255_are_refused():
    """Networks divide uint8 by 255 and take floats as they are; normalized images, about -3 to 3, pass."""
    image = np.zeros((2, 4, 4, 1), np.float32)
    image[1, 2, 3] = 200
    with pytest.raises(ValueError, match=r"^image: float32 up to 200; allowed: uint8, or floats in \[0, 1\]$"):
        Source({"image": image})
    Source({"image": image.astype(np.uint8)})
    Source({"image": image / 255})
    Source({"image": image / 50 - 2})
    Source({"image": np.full_like(image, np.nan)})
    for dtype in (np.int32, np.uint16, ">i8"):
        with pytest.raises(ValueError, match=r"^image: \S+ up to 200; allowed: uint8, or floats in \[0, 1\]$"):
            Source({"image": np.full((3, 2, 2, 1), 200, dtype)})
    Source({"image": np.ones((3, 2, 2, 1), np.int32)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Source({"image": [1, 2]}), r"^arrays: image is list; allowed: arrays \[N, ...\]$"),
        (lambda: Source(length=2.5), r"^length=2\.5: no whole number; allowed: integers from 0"),
        (lambda: Source(np.zeros(3)), "^arrays=ndarray: no dict; allowed: name -> array"),
        (
            lambda: Source({"label": np.zeros(3, int)}, class_names="cat"),
            "^class_names='cat': no names; allowed: a list of names",
        ),
        (lambda: Source({"label": np.array([0, 0.5])}, class_names=("a", "b")), "^label=0.5: no class; allowed: 0"),
        (lambda: join(source(), np.zeros(3)), "^second=ndarray: no source; allowed"),
        (lambda: split_validation(source(), "0.1", 0), "^fraction='0.1': no number; allowed: numbers"),
        (lambda: complete_splits({"valid": source()}, 0.1, 0), r"^splits=\['valid'\]: holds no train; allowed"),
        (lambda: Source(length=3, names="abc"), "^names='abc': not one an example; allowed: 3 of them"),
        (lambda: concatenate(np.zeros((2, 3)), np.zeros((2, 4))), r"^second.shape=\(2, 4\): other examples; allowed: "),
        (lambda: Pipeline(source(), 1.5), "^batch_size=1.5: no whole number; allowed: integers$"),
        (lambda: Pipeline(np.zeros(3), 2), r"^source=ndarray: no source; allowed: Source\(arrays\)$"),
    ],
)
def test_errors_name_arguments_of_a_wrong_type(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sources_of_other_classes_are_not_joined():
    label = {"label": np.array([0, 1])}
    first, second = (Source(label, class_names=names, name="toy") for names in (("cat", "dog"), ("dog", "cat")))
    with pytest.raises(ValueError, match=r"^second='toy': other classes; allowed: cat, dog, those of the first$"):
        join(first, second)
    assert len(join(first, first)) == len(join(first, Source(label))) == 4


def test_sources_that_do_not_fit_are_not_joined():
    first = Source({"image": np.zeros((2, 8, 8, 1))}, name="one")
    with pytest.raises(ValueError, match=r"second='two': holds image, label; allowed: image, the arrays of the first"):
        join(first, Source({"image": np.zeros((2, 8, 8, 1)), "label": np.zeros(2, int)}, name="two"))
    with pytest.raises(ValueError, match=r"second='two': image of \[4, 4, 1\]; allowed: \[8, 8, 1\], as in the first"):
        join(first, Source({"image": np.zeros((2, 4, 4, 1))}, name="two"))


def numbered(first, count, labels=None, names=None):
    """Images of one pixel each, of the values first, first + 1, ..."""
    image = np.arange(first, first + count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    arrays = {"image": image} if labels is None else {"image": image, "label": np.array(labels)}
    return Source(arrays, name="toy", names=None if names is None else np.array(names))


def test_splits_that_a_data_set_lacks_are_carved_from_train():
    splits = {"train": numbered(0, 10), "valid": numbered(20, 4), "test": numbered(40, 5)}
    lacks_test = "no test split: the validation split is tested"
    for given, sizes, messages in (
        ("train", (7, 3, 3), (lacks_test,)),
        ("train valid", (7, 3, 4), (f"{lacks_test}, and validation is carved from train",)),
        ("train test", (7, 3, 5), ()),
        ("train valid test", (10, 4, 5), ()),
    ):
        train, valid, test, said = complete_splits({name: splits[name] for name in given.split()}, 0.3, 0)
        assert (tuple(map(len, (train, valid, test))), said) == (sizes, messages)
        assert train.arrays["image"].max() < 10
        assert valid.name == ("toy" if given == "train valid test" else "toy (validation)")
    assert test is splits["test"]


def test_images_of_two_splits_and_of_two_classes_are_counted():
    train, apart = numbered(0, 4, [0, 1, 0, 1]), numbered(20, 3, [0, 0, 0])
    shared = numbered(2, 3, [0, 0, 1], names=["a", "b", "c"])  # pixels 2, 3 and 4; 3 is of class 1 in train
    optimistic = (
        "2 of the 3 {0} images have the pixels of a training image (a is one): the {0} metrics are too optimistic"
    )
    twice = "1 images appear in several classes with the same pixels"
    assert shared_images(train, apart, apart) == ()
    assert shared_images(train, shared, apart) == (optimistic.format("validation"), twice)
    assert shared_images(train, apart, shared) == (optimistic.format("test"), twice)
    assert shared_images(train, shared, shared) == (optimistic.format("validation"), twice)
    several = Source({"image": train.arrays["image"], "label": np.zeros((4, 2), int)}, name="toy")
    assert shared_images(several, apart, apart) == ()  # an example of several labels has no single class
    assert shared_images(numbered(0, 4), numbered(3, 2), apart)[0].startswith("1 of the 2 validation images have the")


def test_the_carved_part_has_an_example_and_leaves_one():
    for fraction, sizes in ((0.0, (10, 0)), (0.01, (9, 1)), (0.25, (8, 2)), (0.35, (6, 4)), (0.9, (1, 9))):
        parts = split_validation(numbered(0, 10), fraction, 0)
        assert tuple(map(len, parts)) == sizes, fraction  # 2.5 and 3.5 are rounded to even
    assert tuple(map(len, split_validation(numbered(0, 2), 0.5, 0))) == (1, 1)
    # Without classes and names, the first ones of NumPy's permutation by (seed, 1).
    carved = split_validation(numbered(0, 10), 0.3, 5)[1].arrays["image"].ravel()
    assert carved.tolist() == sorted(np.random.default_rng((5, 1)).permutation(10)[:3])
    for source, fraction, problem in (
        (numbered(0, 2), 0.99, "leaves nothing of 2 examples to train on; allowed: less"),
        (numbered(0, 1), 0.5, "leaves nothing of 1 examples to train on; allowed: 0"),
        (numbered(0, 9), 1.0, "out of range"),
        (numbered(0, 9), -0.1, "out of range"),
    ):
        with pytest.raises(ValueError, match=rf"fraction={fraction}: {problem}"):
            split_validation(source, fraction, 0)


def test_a_class_of_five_is_in_the_part_that_is_carved_by_name_and_one_of_four_need_not_be():
    labels = np.repeat([0, 1], [5, 4])
    found = []
    for seed in range(30):
        names = [f"{k}.png" for k in range(9)]
        train, valid = split_validation(numbered(0, 9, labels, names), 1e-6, seed)
        found.append(np.bincount(valid.arrays["label"], minlength=2).tolist())
        assert len(train) + len(valid) == 9
    # The smallest number of the larger class, and that of all, which is of the other class in 4 of 9 draws.
    assert {tuple(counts) for counts in found} == {(1, 0), (1, 1)}
    two = numbered(0, 2, names=["a", "b"])
    assert {tuple(map(len, split_validation(two, 0.999999, seed))) for seed in range(5)} == {(1, 1)}
    # Of three that are all below the fraction, the one of the largest number stays.
    for seed in range(5):
        names = ["a", "b", "c"]
        largest = names[int(np.argmax(hash_texts(names, f"{seed} validation")))]
        assert split_validation(numbered(0, 3, names=names), 0.999999, seed)[0].names.tolist() == [largest]
    many = numbered(0, 100, names=[str(k) for k in range(100)])
    parts = [split_validation(many, 0.5, 0, part)[1].names.tolist() for part in ("validation", "validation", "test")]
    assert parts[0] == parts[1] != parts[2]


def test_the_first_examples_are_taken():
    source = Source({"id": np.arange(3)})
    assert [len(source.take(n)) for n in (0, 2, 9)] == [0, 2, 3]
    with pytest.raises(ValueError, match="n=-1: too small; allowed: at least 0"):
        source.take(-1)


def test_a_test_split_has_a_fifth_of_each_class_and_depends_on_no_order():
    """Of 10, 20 and 35 images 2, 4 and 7; of four classes of one image at most one is taken, a fifth of four."""
    label = np.repeat(np.arange(3, dtype=np.int32), (10, 20, 35))
    names = np.array([f"{k}/{i}.png" for i, k in enumerate(label)], object)
    source = Source({"label": label}, len(label), names=names)
    rest, test = split_test(source, 0.2)
    assert np.bincount(test.arrays["label"]).tolist() == [2, 4, 7]
    assert sorted([*rest.names, *test.names]) == sorted(names)
    order = np.random.default_rng(0).permutation(len(label))
    assert set(split_test(source.subset(order), 0.2)[1].names) == set(test.names)
    single = Source({"label": np.arange(4, dtype=np.int32)}, 4, names=names[:4])
    assert [len(part) for part in split_test(single, 0.2)] == [3, 1]
    plain = Source({"label": label}, len(label))
    assert np.bincount(split_test(plain, 0.2)[1].arrays["label"]).tolist() == [2, 4, 7]
