"""The same number of each class, by a seed."""

import numpy as np
import pytest

from dlcore.data.few_labels import few_labels, two_streams
from dlcore.data.source import Source


def source():
    return Source({"label": np.array([0] * 5 + [1] * 3 + [2] * 4, np.int32)}, class_names=("a", "b", "c"))


def test_each_class_has_as_many_and_the_seed_names_the_draw():
    drawn = [few_labels(source(), 3, seed) for seed in (0, 0, 1)]
    assert np.bincount(drawn[0].arrays["label"]).tolist() == [3, 3, 3]
    marked = Source({**source().arrays, "at": np.arange(12)})
    at = [few_labels(marked, 2, seed).arrays["at"].tolist() for seed in (0, 0, 1)]
    assert at[0] == at[1] != at[2]
    assert len({*at[0]}) == 6


def test_more_than_a_class_has_is_refused():
    with pytest.raises(ValueError, match="labels_per_class=4: class 'b' has 3 examples; allowed: at most as many"):
        few_labels(source(), 4, 0)


def images(dtype=np.uint8, side=2, names=("a", "b", "c"), **arrays):
    return Source({"image": np.zeros((3, side, 2, 1), dtype), **arrays}, class_names=names)


def test_two_streams_hide_the_labels_of_the_second():
    labeled = images(label=np.array([0, 1, 1]))
    streams = two_streams(labeled, images(label=np.array([1, 0, 2])))
    assert streams["labeled"] is labeled
    assert set(streams["unlabeled"].arrays) == {"image", "hidden_label"}
    assert streams["unlabeled"].arrays["hidden_label"].tolist() == [1, 0, 2]
    assert set(two_streams(labeled, images())["unlabeled"].arrays) == {"image"}
