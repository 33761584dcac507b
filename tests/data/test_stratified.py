"""A small sample has every class, in turn."""

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.data.stratified import stratified_sample


def folder(*counts):
    """Sorted by class, as a folder is read."""
    label = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    return Source({"label": label, "position": np.arange(len(label))}, name="folder")


def drawn(source, size, seed=0):
    return stratified_sample(source, size, seed).arrays


def test_classes_are_as_equal_as_they_can_be():
    np.testing.assert_array_equal(np.bincount(drawn(folder(50, 50, 50), 9)["label"]), [3, 3, 3])
    assert sorted(np.bincount(drawn(folder(50, 50, 50), 8)["label"])) == [2, 3, 3]
    # A class of 2 is used up after two turns: 10 = 2 + 4 + 4.
    np.testing.assert_array_equal(np.bincount(drawn(folder(100, 2, 30), 10)["label"]), [4, 2, 4])
    assert len(set(drawn(folder(*[5] * 1000), 20)["label"])) == 20


def test_examples_are_drawn_by_seed_and_once():
    source = folder(40, 40)
    first = drawn(source, 10, 0)["position"]
    assert len(set(first)) == 10
    np.testing.assert_array_equal(first, drawn(source, 10, 0)["position"])
    np.testing.assert_array_equal(first[:4], drawn(source, 4, 0)["position"])
    assert set(first) != set(drawn(source, 10, 1)["position"])
    np.testing.assert_array_equal(np.sort(drawn(folder(3, 4), 7)["position"]), np.arange(7))
    assert len(drawn(source, 0)["position"]) == 0


def test_examples_of_a_class_come_as_they_do_without_classes():
    label = np.arange(900) % 2
    plain = drawn(Source({"position": np.arange(900)}), 900)["position"]
    got = drawn(Source({"position": np.arange(900), "label": label}), 900)["position"]
    for i in (0, 1):
        np.testing.assert_array_equal(got[label[got] == i], plain[label[plain] == i])
    turns = np.argsort(plain)[got].reshape(450, 2)  # the places of both examples of a turn
    assert (turns[:, 0] < turns[:, 1]).all()
    assert (label[got].reshape(450, 2).sum(1) == 1).all()


@pytest.mark.parametrize("label", [None, np.zeros((12, 3), np.int32), np.linspace(0, 1, 12)])
def test_without_one_integer_label_an_example_all_are_one_class(label):
    arrays = {"position": np.arange(12)} | ({} if label is None else {"label": label})
    got = drawn(Source(arrays), 6)["position"]
    assert len(set(got)) == 6
    assert not np.array_equal(got, np.arange(6))
    assert len(stratified_sample(Source.indices(5), 3, 0)) == 3


def test_bad_arguments():
    with pytest.raises(ValueError, match="size=-1: out of range; allowed: 0 to the 3 examples"):
        stratified_sample(folder(3), -1, 0)
