"""The data-driven approach: collect images and labels, train, and predict the labels of new images.

    train(images [N, ...], labels [N]) -> model        predict(model, images [M, ...]) -> labels [M]

Every classifier of this folder is such a pair; CLASSIFIERS lists them with their settings. Images should have values
of about unit size.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dlcore.classic_ml import kernel_svm, linear_training, logistic, mlp, naive_bayes, nearest_neighbor, perceptron

__all__ = ["CLASSIFIERS", "Classifier"]


class Classifier(NamedTuple):
    """A classifier as a pair of functions.

    Args:
      train: (images, labels, **settings) -> model.
      predict: (model, images) -> labels.
    """

    train: Callable[..., Any]
    predict: Callable[[Any, Any], np.ndarray]


def _with(module: Any, **settings: Any) -> Classifier:
    return Classifier(functools.partial(module.train, **settings), module.predict)


CLASSIFIERS: dict[str, Classifier] = {
    "nearest neighbor, L1": _with(nearest_neighbor, metric="l1"),
    "nearest neighbor, L2": _with(nearest_neighbor, metric="l2"),
    "nearest neighbor, cosine": _with(nearest_neighbor, metric="cosine"),
    "Gaussian naive Bayes": _with(naive_bayes, smoothing=1e-2),
    "perceptron": _with(perceptron),
    "softmax": _with(linear_training, loss="softmax"),
    "logistic, one against rest": _with(linear_training, loss="logistic"),
    "logistic, by Newton": _with(logistic),
    "hinge": _with(linear_training, loss="hinge", learning_rate=0.02),
    "squared hinge, one against rest": _with(linear_training, loss="squared_hinge", learning_rate=0.01),
    "support vectors, RBF kernel": _with(kernel_svm),
    "two layers": _with(mlp, hidden=(100,)),
    "three layers": _with(mlp, hidden=(100, 100)),
}
