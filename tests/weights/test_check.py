"""What weights are asked before they are used, on a few keys and facts."""

from pathlib import Path

import numpy as np
import pytest

from dlcore.data.fingerprint import Fingerprint
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.run_data import EARLIER, collect_training_keys
from dlcore.setting import FlagError
from dlcore.weights.check import check_origins, check_saved, take_normalization
from dlcore.weights.open import Weights

IMAGES = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2, 1)
FOUND = Weights("init_from", Path("w"))


def keyed(*keys, by="content"):
    return Fingerprint(len(keys), "digest", by, np.array(keys, np.uint64))


def source(*rows):
    return Source({"image": IMAGES[list(rows)]})


def test_training_keys_are_those_of_all_training_sources_and_of_earlier_training_each_once():
    prints = {
        "train/labeled": keyed(5, 1),
        "train/unlabeled": keyed(1, 9),
        EARLIER: keyed(7),
        "valid": keyed(2),
        "test": keyed(3),
        "train/drawn": Fingerprint(4, "digest", "number"),
    }
    keys = collect_training_keys(prints)
    np.testing.assert_array_equal(keys, [1, 5, 7, 9])
    assert keys.dtype == np.uint64
    none = collect_training_keys({"test": keyed(3)})
    assert (none.shape, none.dtype) == ((0,), np.uint64)


def test_a_run_needs_a_checkpoint_and_a_file_of_weights_none():
    check_saved(FOUND)
    check_saved(FOUND._replace(page="a.page", checkpoint=0))  # step 0 is a checkpoint, too
    with pytest.raises(FileNotFoundError, match=r"^init_from='w': there is no checkpoint in it; allowed: a run that"):
        check_saved(FOUND._replace(page="a.page"))


def test_an_unfinished_run_is_said_with_its_step_and_its_length():
    splits = Splits(source(0), None, source(1), {})
    for checkpoint, settings, said in (
        (1500, {"steps": 20000}, "saved at step 1,500 of 20,000"),
        (None, {}, "saved at step 0"),
    ):
        origin = FOUND._replace(finished=False, checkpoint=checkpoint, settings=settings)
        assert check_origins([origin], splits, False) == [f"init_from='w': an unfinished run, {said}"]


def test_the_lines_of_several_origins_begin_with_their_own_flags():
    others = [FOUND._replace(finished=False), Weights("teacher", Path("t"), finished=False)]
    lines = check_origins(others, Splits(source(0), None, None, {}), False)
    assert [line.split(":")[0] for line in lines] == ["init_from='w'", "teacher='t'"]


def test_splits_without_keys_or_of_several_sources_are_not_compared():
    known = {"train": source(0, 1, 2).fingerprint}
    for test in (None, {"a": source(0)}, Source.indices(3)):
        assert check_origins([FOUND._replace(known=known)], Splits(source(0), None, test, {}), False) == []


def test_test_examples_count_as_seen_where_the_run_recorded_its_own_without_keys():
    """Images 1 and 2 of the three were trained on; a test split that is only numbered excuses none of them."""
    known = {"train": source(0, 1, 2).fingerprint, "test": Fingerprint(3, "digest", "number")}
    with pytest.raises(FlagError, match=r"trained on 2 of the 3 test examples"):
        check_origins([FOUND._replace(known=known)], Splits(source(0), None, source(1, 2, 3), {}), False)


def test_seen_validation_examples_are_said_and_need_no_flag():
    known = {"train": source(0, 1, 2).fingerprint}
    (line,) = check_origins([FOUND._replace(known=known)], Splits(source(0), source(2, 4), source(5), {}), False)
    assert line.endswith("trained on 1 of the 2 valid examples, on which measures are too good")


@pytest.mark.parametrize(
    ("by", "before", "now", "said"),
    [
        ("content", [4, 4, 1], [2, 2, 1], True),  # the rows of another size have other keys
        ("content", [2, 2, 1], [2, 2, 1], False),
        ("content", None, [2, 2, 1], False),
        ("content", [4, 4, 1], None, False),
        ("path and size", [2, 2, 1], [2, 2, 1], True),  # keys of files against keys of rows
    ],
)
def test_examples_of_the_same_data_set_are_compared_by_keys_of_one_kind_and_size(by, before, now, said):
    specs = [{"dataset": "d"} | ({} if shape is None else {"image_shape": shape}) for shape in (before, now)]
    known = {"train": keyed(1, by=by), EARLIER: keyed(2, by="")}
    origin = FOUND._replace(known=known, spec=specs[0])
    lines = check_origins([origin], Splits(source(0), None, source(1), specs[1]), False)
    assert [line.partition(": ")[2] for line in lines] == said * [
        "trained on this data set in another size, so that its examples cannot be compared"
    ]
    assert check_origins([origin], Splits(None, None, None, specs[1]), False) == []


def test_files_of_another_size_have_the_same_keys():
    """A path and a size in bytes do not change with the size that the image is read in."""
    files = Source({"image": IMAGES[:1]}, names=np.array(["a.png"]), sizes=np.array([7]))
    known = {"train": keyed(1, by="path and size")}
    origin = FOUND._replace(known=known, spec={"dataset": "d", "image_shape": [4, 4, 1]})
    assert check_origins([origin], Splits(files, None, files, {"dataset": "d", "image_shape": [2, 2, 1]}), False) == []


def test_the_first_weights_with_a_normalization_give_it():
    spec = {"image_shape": [2, 2, 1], "mean": [0.1], "std": [0.2], "dataset": "d"}
    splits = Splits(source(0), None, source(1), spec)
    origins = [
        FOUND._replace(mean=(0.9,), std=(0.9,), initializes=False),
        FOUND,
        FOUND._replace(mean=(0.5, 0.4), std=(0.3, 0.2)),
        FOUND._replace(mean=(0.7,), std=(0.8,)),
    ]
    assert take_normalization(splits, origins).spec == {**spec, "mean": [0.5, 0.4], "std": [0.3, 0.2]}
    assert take_normalization(splits, origins[:2]) is splits
    plain = splits._replace(spec={"image_shape": [2, 2, 1]})
    assert take_normalization(plain, origins) is plain
    two = splits._replace(spec={**spec, "image_shape": [2, 2, 2]})
    assert take_normalization(two, origins).spec["std"] == [0.3, 0.2]
    with pytest.raises(ValueError, match=r"^init_from='w': trained on images of 1 channels; allowed: 2"):
        take_normalization(two, origins[3:])
