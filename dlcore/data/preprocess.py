"""Preprocessing by statistics of the training split: fit on it alone, apply to every split.

    standardize   (x - mean) / std         per number (its mean is AlexNet's mean image), per channel (VGG's) or for all
    PCA           (x - mean) U_k        U: eigenvectors of cov = X^T X / N, the largest eigenvalue first
    whitening     (x - mean) U_k / sqrt(S + 1e-5)                     S: the eigenvalues, so that the covariance is I

Pearson 1901 (PCA); LeCun, Bottou, Orr & Müller, "Efficient BackProp" (1998), section 4.3; Krizhevsky, Sutskever &
Hinton 2012 (mean image); Simonyan & Zisserman 2014, arXiv:1409.1556 (mean of each channel).

The singular values of a covariance are its eigenvalues: whitening divides by their square roots. Deviations and
covariances divide by N, as in scikit-learn's StandardScaler; its PCA divides by N - 1. Fitting is float64 on the host;
what was fitted applies to numpy and jax arrays, inside jit too, keeps float16, bfloat16, float32 and float64, and takes
integers to float32. For augmentation pipelines on [0, 1] there are `to_float`, `channel_statistics` and `normalize`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

__all__ = [
    "PCA",
    "Standardizer",
    "channel_mean",
    "fit_on_first",
    "fit_pca",
    "fit_standardizer",
    "fit_whitening",
    "mean_image",
    "to_signed",
]

Array = Any
_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Standardizer:
    """(x - mean) / std; mean and std broadcast against examples [N, ...]."""

    mean: np.ndarray
    std: np.ndarray

    def __call__(self, x: Array) -> Array:
        """[N, ...] or one example -> the same shape."""
        x = _floating(x)
        return (x - self.mean.astype(x.dtype)) / self.std.astype(x.dtype)

    def inverse(self, y: Array) -> Array:
        """What `y` was made from."""
        y = _floating(y)
        return y * self.std.astype(y.dtype) + self.mean.astype(y.dtype)


@dataclass(frozen=True, eq=False)
class PCA:
    """The leading directions of the training split's variance.

    mean: [D]. basis: [D, K], orthonormal columns. variance: [K], the eigenvalues of the covariance, falling. shape: of
    an example. whiten: divide each of the K numbers by sqrt(variance + epsilon).
    """

    mean: np.ndarray
    basis: np.ndarray
    variance: np.ndarray
    shape: tuple[int, ...]
    whiten: bool = False
    epsilon: float = 1e-5

    def __call__(self, x: Array) -> Array:
        """[N, ...] -> [N, K]. Raises ValueError for examples of another size than those of the fit."""
        x = _floating(x)
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"x has shape {tuple(x.shape)}: {('N', *self.shape)} is needed, as in the fit")
        x = x.reshape(x.shape[0], self.mean.size)
        return (x - self.mean.astype(x.dtype)) @ (self.basis / self._scale()).astype(x.dtype)

    def inverse(self, y: Array) -> Array:
        """[N, K] -> [N, ...], the nearest point that the K directions reach."""
        y = _floating(y)
        x = y @ (self.basis * self._scale()).T.astype(y.dtype) + self.mean.astype(y.dtype)
        return x.reshape(y.shape[0], *self.shape)

    def _scale(self) -> np.ndarray:
        return np.sqrt(self.variance + self.epsilon) if self.whiten else np.ones_like(self.variance)


def fit_standardizer(train: np.ndarray, per: Literal["feature", "channel", "all"] = "feature") -> Standardizer:
    """Mean and standard deviation of train: [N, ...], for each number of an example, each channel (last axis) or all.

    What is constant gets std 1, so that it becomes 0. Raises ValueError for no examples, values that are not finite,
    or another `per`.
    """
    if per not in ("feature", "channel", "all"):
        raise ValueError(f"per is {per!r}; allowed are feature, channel, all")
    mean = _mean(train, per)
    chunks = _chunks(train)
    squares = sum(np.square(chunk - mean).sum(_axes(chunk, per)) for chunk in chunks)
    std = np.sqrt(squares * (mean.size / np.size(train)))
    return Standardizer(mean, np.where(std <= 1e-12 * np.abs(mean), 1.0, std))


def mean_image(train: np.ndarray) -> np.ndarray:
    """The mean example [H, W, C] of train: [N, H, W, C], as AlexNet subtracts it."""
    return _mean(train, "feature")


def channel_mean(train: np.ndarray) -> np.ndarray:
    """The mean of each channel [C] of train: [N, H, W, C], as VGG subtracts it."""
    return _mean(train, "channel")


def fit_pca(train: np.ndarray, num_components: int | None = None) -> PCA:
    """The `num_components` (None: all D) leading eigenvectors of the covariance of train: [N, ...], D numbers each.

    Signs are chosen so that each column's largest entry is positive. Raises ValueError for no examples, values that
    are not finite, or a number of components outside [1, D].
    """
    train = np.asarray(train)
    mean = _mean(train, "feature")
    size = mean.size
    count = size if num_components is None else num_components
    if not 1 <= count <= size:
        raise ValueError(f"num_components is {num_components}; it must be from 1 to {size}, the size of an example")
    centerd = (chunk.reshape(-1, size) - mean.reshape(-1) for chunk in _chunks(train))
    covariance = sum(x.T @ x for x in centerd) / len(train)
    variance, basis = np.linalg.eigh(covariance)
    variance, basis = variance[::-1][:count].clip(0), basis[:, ::-1][:, :count]
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(count)])
    return PCA(mean.reshape(-1), basis, variance, train.shape[1:])


def fit_whitening(train: np.ndarray, num_components: int | None = None, epsilon: float = 1e-5) -> PCA:
    """`fit_pca` whose numbers have variance 1, as far as epsilon (added to the eigenvalues) is small beside them.

    Raises ValueError as `fit_pca` does, and for an epsilon that is negative, or 0 where a variance is.
    """
    found = fit_pca(train, num_components)
    if not (epsilon >= 0 and found.variance.min() + epsilon > 0):
        raise ValueError(f"epsilon is {epsilon}; positive is needed for a smallest variance of {found.variance.min()}")
    return PCA(found.mean, found.basis, found.variance, found.shape, whiten=True, epsilon=epsilon)


def fit_on_first(
    fit: Callable[[np.ndarray], Callable[[Array], Array]], train: np.ndarray, *others: np.ndarray
) -> tuple[Array, ...]:
    """All splits preprocessed by what was fitted on the first: the others' values reach no statistic.

    fit: `fit_standardizer`, `fit_pca`, `fit_whitening`, or any function from examples to a transform.
    """
    transform = fit(train)
    return tuple(transform(split) for split in (train, *others))


def to_signed(pixels: Array) -> Array:
    """Pixels in [0, 255] -> [-1, 1], by x / 127.5 - 1; any shape."""
    return _floating(pixels) / 127.5 - 1


def _floating(x: Array) -> Array:
    x = x if hasattr(x, "dtype") else np.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(np.float32)


def _mean(train: np.ndarray, per: str) -> np.ndarray:
    train = np.asarray(train)
    if train.ndim < 1 or not train.size:
        raise ValueError(f"train has shape {train.shape}; at least one example is needed")
    total = sum(chunk.sum(_axes(chunk, per)) for chunk in _chunks(train))
    mean = total * (np.size(total) / train.size)
    if not np.isfinite(mean).all():
        raise ValueError("train has values that are not finite; statistics need finite ones")
    return np.asarray(mean)


def _axes(x: np.ndarray, per: str) -> tuple[int, ...]:
    return {"feature": (0,), "channel": tuple(range(x.ndim - 1)), "all": tuple(range(x.ndim))}[per]


def _chunks(train: np.ndarray) -> Iterator[np.ndarray]:
    """Pieces in float64, made one at a time."""
    train = np.asarray(train)
    return (train[i : i + _CHUNK].astype(np.float64) for i in range(0, len(train), _CHUNK))
