"""Train, validation and test: choose on the validation examples, and evaluate the test examples once, at the end.

A choice made on the test examples fits them, and their accuracy no longer predicts that on new images. With thousands
of examples one validation set is enough; with a few hundred, k folds take turns as validation set:

    error of a setting = mean over the folds of its error on that fold, trained on the others

Stone 1974, Cross-validatory choice and assessment of statistical predictions.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_indices, check_shapes

__all__ = ["Split", "TestExamples", "cross_validate", "first_as_validation", "k_folds", "shuffled_split"]


class Split(NamedTuple):
    """Indices of examples, three disjoint sets.

    Args:
      train: split for fitting parameters.
      valid: split for choosing settings.
      test: split for one final evaluation.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def shuffled_split(n: int, train: float = 0.7, valid: float = 0.15, seed: int = 0) -> Split:
    """Split shuffled examples into training, validation and test; the test set gets the rest.

    Args:
      n: number of examples.
      train: share for training, in [0.5, 0.9].
      valid: share for validation.
      seed: random seed of the order.

    Returns:
      Split.
    """
    check_whole_number("n", n)
    check_whole_number("seed", seed, 0)
    check_finite("train", train)
    check_finite("valid", valid)
    if not 0.5 <= train <= 0.9:
        raise ValueError(f"train={train}: out of range; allowed: [0.5, 0.9]")
    if not 0 < valid < 1:
        raise ValueError(f"valid={valid}: out of range; allowed: above 0, below 1")
    sizes = round(train * n), round(valid * n)
    if min(*sizes, n - sum(sizes)) < 1:
        raise ValueError(
            f"train={train} and valid={valid} for n={n}: leave a part empty; allowed: at least one example in each"
        )
    return Split(*np.split(np.random.default_rng(seed).permutation(n), np.cumsum(sizes)))


def first_as_validation(n: int, valid: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Hold out the first training examples for validation: 1,000 of CIFAR-10's 50,000, say.

    Args:
      n: number of training examples.
      valid: how many of them to hold out, in [1, n - 1].

    Returns:
      (train, valid), indices.
    """
    check_whole_number("n", n)
    check_whole_number("valid", valid)
    if not 0 < valid < n:
        raise ValueError(f"valid={valid}: out of range; allowed: [1, {n - 1}]")
    return np.arange(valid, n), np.arange(valid)


class TestExamples:
    """Test examples that can be evaluated only once.

    Args:
      images: [N, ...].
      labels: [N].

    Raises:
      ValueError: the lengths differ, or are 0.
    """

    __test__ = False  # the name is no test for pytest

    def __init__(self, images: Any, labels: Any):
        self._images, self._labels = np.asarray(images), np.asarray(labels)
        counts = [array.shape[0] if array.ndim else 0 for array in (self._images, self._labels)]
        if counts[0] != counts[1] or not counts[0]:
            raise ValueError(f"images[{counts[0]}] and labels[{counts[1]}]: do not fit; allowed: N > 0 of each")
        self._seen = False

    def evaluate(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        """Compute the test accuracy.

        Args:
          predict: images [N, ...] -> labels [N].

        Returns:
          Accuracy in [0, 1].

        Raises:
          RuntimeError: the examples have been evaluated before.
          ValueError: there is not a prediction for each label.
        """
        if self._seen:
            raise RuntimeError(
                "evaluate: the test examples have been used; allowed: once, after choosing settings on validation"
            )
        predictions = np.asarray(predict(self._images))
        if predictions.shape != self._labels.shape:
            raise ValueError(f"predict={predictions.shape}: wrong shape; allowed: {self._labels.shape}, as the labels")
        self._seen = True
        return float((predictions == self._labels).mean())


def k_folds(n: int, folds: int, seed: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split indices into consecutive folds; the first n mod folds of them are longer by one.

    Args:
      n: number of examples.
      folds: number of folds, in [2, n].
      seed: random seed of the order; None does not shuffle.

    Returns:
      (train, valid) indices of each fold.
    """
    check_whole_number("n", n)
    if seed is not None:
        check_whole_number("seed", seed, 0)
    check_whole_number("folds", folds)
    if not 2 <= folds <= n:
        raise ValueError(f"folds={folds}: out of range; allowed: [2, {n}]")
    order = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
    # Each fold validates once; the others train.
    parts = np.array_split(order, folds)
    return [(np.setdiff1d(order, part, assume_unique=True), part) for part in parts]


def cross_validate(
    predict_each: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """Compute the accuracy of several settings on every fold.

    Args:
      predict_each: (images, labels, new images [M]) -> predictions [settings, M].
      images: [N, ...].
      labels: [N].
      folds: folds from `k_folds`.

    Returns:
      [settings, folds], accuracies.
    """
    if not len(folds):
        raise ValueError("folds=[]: none; allowed: at least one")
    images, labels = np.asarray(images), np.asarray(labels)
    if not images.ndim or labels.shape != (len(images),):
        raise ValueError(f"labels.shape={labels.shape}: not one label an image; allowed: ({len(images)},)")
    for i, fold in enumerate(folds):
        for part, indices in zip(("train", "valid"), fold, strict=True):
            if np.ndim(indices) != 1 or not len(indices):
                raise ValueError(f"folds[{i}]: no {part} indices; allowed: at least one in each part")
            check_shapes(**{f"folds[{i}], {part}": (indices, "int M")})
            check_indices(f"folds[{i}], {part}", indices, len(labels), "examples")

    def accuracy(train, valid):
        predictions = np.asarray(predict_each(images[train], labels[train], images[valid]))
        if predictions.ndim != 2 or predictions.shape[1] != len(valid):
            raise ValueError(f"predict_each={predictions.shape}: wrong shape; allowed: (settings, {len(valid)})")
        return (predictions == labels[valid]).mean(-1)

    return np.stack([accuracy(train, valid) for train, valid in folds], axis=-1)
