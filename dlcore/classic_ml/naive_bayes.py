"""Gaussian naive Bayes: within a class each pixel is normally distributed and independent of the others.

    p(c | x) ∝ p(c) Π_d N(x_d; μ_cd, σ²_cd),    μ and σ² of the examples of c, p(c) their fraction

Each variance gets a small fraction of the largest one added, as in scikit-learn: a pixel that is always black has none.
Duda & Hart 1973, Pattern Classification and Scene Analysis.
"""

from typing import Any, NamedTuple

import numpy as np

from dlcore.classic_ml.examples import as_examples, as_rows
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["NaiveBayesModel", "predict", "predict_log_probability", "train"]


class NaiveBayesModel(NamedTuple):
    """A trained Gaussian naive Bayes classifier.

    Args:
      mean: [C, D].
      variance: [C, D].
      log_share: [C], logarithm of each class's fraction of the examples.
      classes: [C], labels.
    """

    mean: np.ndarray
    variance: np.ndarray
    log_share: np.ndarray
    classes: np.ndarray


def train(images: Any, labels: Any, *, smoothing: float = 1e-9) -> NaiveBayesModel:
    """Fit the mean and the variance of every pixel in every class.

    Args:
      images: [N, ...].
      labels: [N] integers.
      smoothing: fraction of the largest pixel variance added to every variance.

    Returns:
      NaiveBayesModel.
    """
    x, label, classes = as_examples(images, labels)
    check_shapes(smoothing=(smoothing, ">= 0"))
    check_finite("smoothing", smoothing)
    x = x.astype(np.float64)
    member = np.eye(len(classes))[label]  # [N, C], one-hot
    count = member.sum(0)[:, None]
    mean = member.T @ x / count
    # Smoothing relative to the largest variance: pixels that never change need it.
    variance = member.T @ (x - mean[label]) ** 2 / count + smoothing * x.var(0).max()
    if not (variance > 0).all():
        raise ValueError(
            f"smoothing={smoothing}: too small for a pixel that is constant in a class; allowed: larger values"
        )
    return NaiveBayesModel(mean, variance, np.log(count[:, 0] / len(x)), classes)


def predict(model: NaiveBayesModel, images: Any) -> np.ndarray:
    """Predict the most probable class.

    Args:
      model: model from `train`.
      images: [M, ...].

    Returns:
      [M], labels.
    """
    return model.classes[predict_log_probability(model, images).argmax(1)]


def predict_log_probability(model: NaiveBayesModel, images: Any) -> np.ndarray:
    """Predict the log-probability of every class.

    Args:
      model: model from `train`.
      images: [M, ...].

    Returns:
      [M, C], log p(c | x).
    """
    from scipy.special import logsumexp

    x = as_rows(images, model.mean.shape[1]).astype(np.float64)
    # (x - μ)² / σ² summed over d; as products of matrices, the terms of far classes would cancel.
    classes = zip(model.mean, model.variance, strict=True)
    distance = np.stack([(x - mean) ** 2 @ (1 / variance) for mean, variance in classes], 1)
    # log p(c) + log p(x | c), up to nothing: both are normalized.
    joint = model.log_share - (distance + np.log(2 * np.pi * model.variance).sum(1)) / 2
    return joint - logsumexp(joint, axis=1, keepdims=True)
