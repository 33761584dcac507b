"""Train, validation and test: choose on validation, and look at the test examples once, at the end.

A choice made on the test examples fits them, and their accuracy no longer says what new images will see. Where there
are thousands of examples, one validation set is enough; of a few hundred, k folds take turns in that part:

    error of a setting = mean over folds of the error on that fold of what was trained on the others
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Split", "TestExamples", "cross_validate", "first_as_validation", "k_folds", "shuffled_split"]


class Split(NamedTuple):
    """Positions of examples, three sets without overlap."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def shuffled_split(n: int, train: float = 0.7, valid: float = 0.15, seed: int = 0) -> Split:
    """n examples in an order of that seed: shares for training and validation, the rest for the test.

    Raises:
      ValueError: train is outside [.5, .9], or a part is empty.
    """
    if not 0.5 <= train <= 0.9:
        raise ValueError(f"train is {train}; it must be in [0.5, 0.9]")
    sizes = round(train * n), round(valid * n)
    if min(*sizes, n - sum(sizes)) < 1:
        raise ValueError(f"train={train} and valid={valid} of {n} examples leave a part empty")
    return Split(*np.split(np.random.default_rng(seed).permutation(n), np.cumsum(sizes)))


def first_as_validation(n: int, valid: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """(train, valid): the first `valid` of n training examples validate; 49,000 and 1,000 of CIFAR-10's 50,000.

    Raises:
      ValueError: nothing is left to train on.
    """
    if not 0 < valid < n:
        raise ValueError(f"valid is {valid}; of {n} examples it must be in [1, {n - 1}]")
    return np.arange(valid, n), np.arange(valid)


class TestExamples:
    """Test examples that can be looked at once.

    evaluate(predict) gives the accuracy of predict(images) -> labels, and raises a RuntimeError the second time.
    """

    __test__ = False  # the name is no test for pytest

    def __init__(self, images: Any, labels: Any):
        self._images, self._labels = np.asarray(images), np.asarray(labels)
        if len(self._images) != len(self._labels) or not len(self._labels):
            raise ValueError(f"there are {len(self._images)} images and {len(self._labels)} labels; allowed are N each")
        self._seen = False

    def evaluate(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        """The share of right answers."""
        if self._seen:
            raise RuntimeError("the test examples have been used: choose settings on the validation examples")
        self._seen = True
        return float((np.asarray(predict(self._images)) == self._labels).mean())


def k_folds(n: int, folds: int, seed: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """[(train, valid), ...]: n positions in consecutive folds, the first n mod folds of them longer by one.

    seed: shuffles first; None keeps the order.

    Raises:
      ValueError: folds is outside [2, n].
    """
    if not 2 <= folds <= n:
        raise ValueError(f"folds is {folds}; of {n} examples it must be in [2, {n}]")
    order = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
    parts = np.array_split(order, folds)
    return [(np.setdiff1d(order, part, assume_unique=True), part) for part in parts]


def cross_validate(
    predict_each: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """Accuracies [settings, folds]; predict_each(images, labels, new images [M]) -> answers [settings, M]."""
    return np.stack([(predict_each(images[t], labels[t], images[v]) == labels[v]).mean(-1) for t, v in folds], axis=-1)
