"""Gaussian naive Bayes: each number of an image is normal within a class, and independent of the others.

    p(c | x) ∝ p(c) Π_d N(x_d; μ_cd, σ²_cd),    μ and σ² of the examples of c, p(c) its share

A variance gets a small part of the largest one added, as in scikit-learn: a pixel that is always black has none.
"""

from typing import Any, NamedTuple

import numpy as np

from dlcore.classic_ml.examples import as_examples, as_rows

__all__ = ["NaiveBayesModel", "predict", "predict_log_probability", "train"]


class NaiveBayesModel(NamedTuple):
    """mean, variance: [C, D]. log_share: [C]. classes: [C] labels."""

    mean: np.ndarray
    variance: np.ndarray
    log_share: np.ndarray
    classes: np.ndarray


def train(images: Any, labels: Any, *, smoothing: float = 1e-9) -> NaiveBayesModel:
    """Means and variances of images [N, ...] by their labels [N]. smoothing: part of the largest variance of a pixel.

    Raises:
      ValueError: see `as_examples`; smoothing is negative, or no pixel varies.
    """
    x, label, classes = as_examples(images, labels)
    if smoothing < 0:
        raise ValueError(f"smoothing is {smoothing}; it must not be negative")
    x = x.astype(np.float64)
    member = np.eye(len(classes))[label]
    count = member.sum(0)[:, None]
    mean = member.T @ x / count
    variance = member.T @ (x - mean[label]) ** 2 / count + smoothing * x.var(0).max()
    if not (variance > 0).all():
        raise ValueError(f"images has a number that does not vary within a class; smoothing is {smoothing}, too small")
    return NaiveBayesModel(mean, variance, np.log(count[:, 0] / len(x)), classes)


def predict(model: NaiveBayesModel, images: Any) -> np.ndarray:
    """Labels [M] of images [M, ...]: the most probable class."""
    return model.classes[predict_log_probability(model, images).argmax(1)]


def predict_log_probability(model: NaiveBayesModel, images: Any) -> np.ndarray:
    """log p(c | x): [M, C]."""
    from scipy.special import logsumexp

    x = as_rows(images, model.mean.shape[1]).astype(np.float64)
    precision = 1 / model.variance
    # (x - μ)² / σ² summed over d as three products, about the mean of the classes to keep the numbers small.
    centre = model.mean.mean(0)
    x, mean = x - centre, model.mean - centre
    distance = x**2 @ precision.T - 2 * x @ (mean * precision).T + (mean**2 * precision).sum(1)
    joint = model.log_share - (distance + np.log(2 * np.pi * model.variance).sum(1)) / 2
    return joint - logsumexp(joint, axis=1, keepdims=True)
