"""Splits that do not overlap, a test set that is used once, and folds."""

import numpy as np
import pytest

from dlcore.classic_ml import nearest_neighbor, splits
from dlcore.data.digits import digits


@pytest.mark.covers("DD-05")
def test_the_first_thousand_of_cifar_validate():
    train, valid = splits.first_as_validation(50_000)
    assert (len(train), len(valid)) == (49_000, 1000)
    np.testing.assert_array_equal(valid, np.arange(1000))
    assert not np.intersect1d(train, valid).size
    assert [part.tolist() for part in splits.first_as_validation(3, 1)] == [[1, 2], [0]]
    assert [len(part) for part in splits.shuffled_split(4, 0.5, 0.3)] == [2, 1, 1]


@pytest.mark.covers("DD-05")
@pytest.mark.parametrize(("train", "valid"), [(0.5, 0.25), (0.7, 0.15), (0.9, 0.05)])
def test_a_shuffled_split_is_a_partition(train, valid):
    parts = splits.shuffled_split(1000, train, valid, seed=1)
    assert [len(part) for part in parts] == [1000 * train, 1000 * valid, round(1000 * (1 - train - valid))]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(1000))
    np.testing.assert_array_equal(parts.train, splits.shuffled_split(1000, train, valid, seed=1).train)
    assert (parts.train[:50] != splits.shuffled_split(1000, train, valid, seed=2).train[:50]).any()


@pytest.mark.covers("DD-05")
def test_the_test_examples_can_be_used_once():
    test = splits.TestExamples(np.arange(8).reshape(4, 2), np.array([0, 1, 1, 1]))
    assert test.evaluate(lambda images: np.ones(len(images), int)) == 0.75
    with pytest.raises(RuntimeError, match="evaluate: the test examples have been used; allowed: once"):
        test.evaluate(lambda images: np.ones(len(images), int))


@pytest.mark.covers("DD-06")
@pytest.mark.parametrize(("n", "folds"), [(12, 3), (13, 5), (104, 10), (5, 5)])
def test_folds_are_scikit_learns(n, folds):
    from sklearn.model_selection import KFold

    for ours, theirs in zip(splits.k_folds(n, folds), KFold(folds).split(np.zeros(n)), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
    shuffled = splits.k_folds(n, folds, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([valid for _, valid in shuffled])), np.arange(n))
    for train, valid in shuffled:
        np.testing.assert_array_equal(np.union1d(train, valid), np.arange(n))
        assert len(train) + len(valid) == n


@pytest.mark.covers("DD-06")
def test_every_setting_is_scored_on_the_held_out_part_of_each_fold():
    """Setting 0 says the first label that it trained on, setting 1 the new number itself, which is its label but once.

    Of numbers 0 to 4 in folds 0 1 2 | 3 4 the labels are 0 1 1 3 4: trained on 3 4 it says 3, and on 0 1 2 it says 0.
    """
    numbers, labels = np.arange(5), np.array([0, 1, 1, 3, 4])
    predict_each = lambda x, y, new: np.stack([np.full(len(new), y[0]), new])  # noqa: E731
    found = splits.cross_validate(predict_each, numbers, labels, splits.k_folds(5, 2))
    np.testing.assert_allclose(found, [[0, 0], [2 / 3, 1]])


@pytest.mark.slow
@pytest.mark.covers("DD-06")
def test_k_is_chosen_by_cross_validation_as_scikit_learn_scores_it():
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    data = digits("train").take(400).arrays
    images, labels = data["image"].reshape(-1, 64).astype(float), data["label"]
    images += np.random.default_rng(0).normal(0, 0.01, images.shape)
    ks = (1, 3, 20, 100)

    def predict_each(images, labels, new):
        return nearest_neighbor.predict_for_each_k(nearest_neighbor.train(images, labels), new, ks)

    found = splits.cross_validate(predict_each, images, labels, splits.k_folds(400, 5))
    expected = [cross_val_score(KNeighborsClassifier(k), images, labels, cv=KFold(5)) for k in ks]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert ks[found.mean(1).argmax()] in (1, 3)
