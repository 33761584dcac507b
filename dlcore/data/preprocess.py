"""Preprocessing by statistics that are fitted on the training split alone and applied to every split.

    standardize   (x - mean) / std      per feature (the mean is AlexNet's mean image), per channel (VGG's) or overall
    PCA           (x - mean) U_k        U: eigenvectors of cov = X^T X / N (X centered), the largest eigenvalue first
    whitening     (x - mean) U_k / sqrt(S + 1e-5)             S: the eigenvalues, so that the covariance becomes I

Pearson 1901 (PCA); LeCun, Bottou, Orr & Müller, "Efficient BackProp" (1998), section 4.3; Krizhevsky, Sutskever &
Hinton 2012 (mean image); Simonyan & Zisserman 2014, arXiv:1409.1556 (mean of each channel).

Standard deviations and covariances divide by N, as in scikit-learn's StandardScaler; its PCA divides by N - 1. Fitting
runs in float64 on the host. The transforms take NumPy and JAX arrays, also under jit; they keep float16, bfloat16,
float32 and float64, and convert integers to float32. For augmentation pipelines on [0, 1] there are `to_float`,
`channel_statistics` and `normalize`; `normalization` uses given statistics.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_shapes

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
    """The transform (x - mean) / std; mean and std broadcast against examples [N, ...].

    Args:
      mean: mean of the training split.
      std: standard deviation of the training split, positive.
    """

    mean: np.ndarray
    std: np.ndarray

    def __post_init__(self):
        if np.shape(self.mean) != np.shape(self.std) or not np.all(np.asarray(self.std) > 0):
            raise ValueError(f"std.shape={np.shape(self.std)}: no deviations; allowed: {np.shape(self.mean)}, above 0")

    def _checked(self, name: str, x: Array) -> Array:
        x = _floating(x)
        if x.shape[max(0, x.ndim - self.mean.ndim) :] != self.mean.shape:
            raise ValueError(f"{name}.shape={x.shape}: other features; allowed: (..., {str(self.mean.shape)[1:]}")
        return x

    def __call__(self, x: Array) -> Array:
        """Standardize examples.

        Args:
          x: [N, ...] or one example, numpy or jax.

        Returns:
          The same shape, floating.
        """
        x = self._checked("x", x)
        dtype = np.promote_types(x.dtype, np.float32)
        return ((x.astype(dtype) - self.mean.astype(dtype)) / self.std.astype(dtype)).astype(x.dtype)

    def inverse(self, y: Array) -> Array:
        """Undo the standardization.

        Args:
          y: output of `__call__`.

        Returns:
          The same shape, on the scale of the data.
        """
        y = self._checked("y", y)
        dtype = np.promote_types(y.dtype, np.float32)
        return (y.astype(dtype) * self.std.astype(dtype) + self.mean.astype(dtype)).astype(y.dtype)


@dataclass(frozen=True, eq=False)
class PCA:
    """The projection on the K leading principal components of the training split.

    Args:
      mean: [D], mean of the training split.
      basis: [D, K], the principal components, orthonormal columns.
      variance: [K], the largest eigenvalues of the covariance, descending.
      shape: shape of an example, of D numbers in all.
      whiten: whether to divide each of the K numbers by sqrt(variance + epsilon).
      epsilon: number that is added to the variance before the division.
    """

    mean: np.ndarray
    basis: np.ndarray
    variance: np.ndarray
    shape: tuple[int, ...]
    whiten: bool = False
    epsilon: float = 1e-5

    def __call__(self, x: Array) -> Array:
        """Project examples.

        Args:
          x: [N, ...], numpy or jax.

        Returns:
          [N, K].
        """
        x = _floating(x)
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"x has shape {tuple(x.shape)}; allowed: {('N', *self.shape)}, as in the fit")
        x = x.reshape(x.shape[0], self.mean.size)
        dtype = np.promote_types(x.dtype, np.float32)
        return ((x.astype(dtype) - self.mean.astype(dtype)) @ (self.basis / self._scale()).astype(dtype)).astype(
            x.dtype
        )

    def inverse(self, y: Array) -> Array:
        """Reconstruct examples from their projections.

        Args:
          y: [N, K].

        Returns:
          [N, ...], the points with these projections in the span of the K components through the mean.
        """
        y = _floating(y)
        check_shapes(y=(y, f"N {self.variance.size}"))
        dtype = np.promote_types(y.dtype, np.float32)
        x = y.astype(dtype) @ (self.basis * self._scale()).T.astype(dtype) + self.mean.astype(dtype)
        return x.astype(y.dtype).reshape(y.shape[0], *self.shape)

    def _scale(self) -> np.ndarray:
        return np.sqrt(self.variance + self.epsilon) if self.whiten else np.ones_like(self.variance)


def fit_standardizer(train: np.ndarray, per: Literal["feature", "channel", "all"] = "feature") -> Standardizer:
    """Fit mean and standard deviation; a constant feature gets std 1, so that it becomes 0.

    Args:
      train: [N, ...], the training split.
      per: "feature" fits a mean and std for each number of an example, "channel" for each index of the last axis, and
        "all" one for all numbers.

    Returns:
      The transform.
    """
    check_choice("per", per, ("feature", "channel", "all"))
    mean = _mean(train, per)
    chunks = _chunks(train)
    squares = sum(np.square(chunk - mean).sum(_axes(chunk, per)) for chunk in chunks)
    std = np.sqrt(squares * (mean.size / np.size(train)))
    return Standardizer(mean, np.where(std <= 1e-12 * np.abs(mean), 1.0, std))


def mean_image(train: np.ndarray) -> np.ndarray:
    """Return the mean image, which AlexNet subtracts from its input.

    Args:
      train: [N, H, W, C], the training split.

    Returns:
      [H, W, C].
    """
    check_shapes(train=(train, "N H W C"))
    return _mean(train, "feature")


def channel_mean(train: np.ndarray) -> np.ndarray:
    """Return the mean of each channel, which VGG subtracts from its input.

    Args:
      train: [N, H, W, C], the training split.

    Returns:
      [C].
    """
    check_shapes(train=(train, "N H W C"))
    return _mean(train, "channel")


def fit_pca(train: np.ndarray, num_components: int | None = None) -> PCA:
    """Fit a PCA: the leading eigenvectors of the covariance.

    The sign of each eigenvector is chosen so that its entry of largest absolute value is positive.

    Args:
      train: [N, ...], the training split, D numbers per example.
      num_components: number of components K, 1 to D; None takes all D.

    Returns:
      The projection.
    """
    train = np.asarray(train)
    if num_components is not None:
        check_whole_number("num_components", num_components)
    mean = _mean(train, "feature")
    size = mean.size
    count = size if num_components is None else num_components
    if not 1 <= count <= size:
        raise ValueError(f"num_components={num_components}: out of range; allowed: 1 to {size}")
    centered = (chunk.reshape(-1, size) - mean.reshape(-1) for chunk in _chunks(train))
    covariance = sum(x.T @ x for x in centered) / len(train)
    variance, basis = np.linalg.eigh(covariance)
    variance, basis = variance[::-1][:count].clip(0), basis[:, ::-1][:, :count]
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(count)])
    return PCA(mean.reshape(-1), basis, variance, train.shape[1:])


def fit_whitening(train: np.ndarray, num_components: int | None = None, epsilon: float = 1e-5) -> PCA:
    """Fit a PCA whose outputs are divided by their standard deviations (whitening).

    The outputs have variance eigenvalue / (eigenvalue + epsilon): 1 where epsilon is small against the eigenvalue.

    Args:
      train: [N, ...], the training split, D numbers per example.
      num_components: number of components K, 1 to D; None takes all D.
      epsilon: number that is added to the eigenvalues, at least 0; above 0 where an eigenvalue is 0.

    Returns:
      The projection.
    """
    pca = fit_pca(train, num_components)
    if not (epsilon >= 0 and pca.variance.min() + epsilon > 0):
        raise ValueError(f"{epsilon=}: too small for a variance of {pca.variance.min()}; allowed: positive")
    return PCA(pca.mean, pca.basis, pca.variance, pca.shape, whiten=True, epsilon=epsilon)


def fit_on_first(
    fit: Callable[[np.ndarray], Callable[[Array], Array]], train: np.ndarray, *others: np.ndarray
) -> tuple[Array, ...]:
    """Fit a transform on the training split alone and apply it to all splits.

    Args:
      fit: function from examples to a transform: `fit_standardizer`, `fit_pca`, `fit_whitening` or another.
      train: [N, ...], training split, which is fitted and transformed.
      others: other splits, which are transformed only.

    Returns:
      The transformed splits, train first.
    """
    for i, split in enumerate(others):
        if np.shape(split)[1:] != np.shape(train)[1:]:
            raise ValueError(f"others[{i}].shape={np.shape(split)}: other examples; allowed: as train's")
    transform = fit(train)
    return tuple(transform(split) for split in (train, *others))


def to_signed(pixels: Array) -> Array:
    """Map pixels to [-1, 1], by x / 127.5 - 1.

    Args:
      pixels: any shape, in [0, 255].

    Returns:
      Floats of the same shape.
    """
    return _floating(pixels) / 127.5 - 1


def _floating(x: Array) -> Array:
    x = x if hasattr(x, "dtype") else np.asarray(x)
    if x.dtype.kind in "OSU":
        raise ValueError(f"x={x.dtype}: no numbers; allowed: arrays of numbers")
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(np.float32)


def _mean(train: np.ndarray, per: str) -> np.ndarray:
    train = np.asarray(train)
    if train.dtype.kind in "OSU":
        raise ValueError(f"train={train.dtype}: no numbers; allowed: arrays of numbers")
    if train.ndim < 1 or not train.size:
        raise ValueError(f"train has shape {train.shape}; allowed: [N, ...] with at least one example")
    total = sum(chunk.sum(_axes(chunk, per)) for chunk in _chunks(train))
    mean = total * (np.size(total) / train.size)
    if not np.isfinite(mean).all():
        raise ValueError("train has values that are not finite; allowed: finite values")
    return np.asarray(mean)


def _axes(x: np.ndarray, per: str) -> tuple[int, ...]:
    return {"feature": (0,), "channel": tuple(range(x.ndim - 1)), "all": tuple(range(x.ndim))}[per]


def _chunks(train: np.ndarray) -> Iterator[np.ndarray]:
    """Yield pieces of the examples in float64, one at a time."""
    train = np.asarray(train)
    return (train[i : i + _CHUNK].astype(np.float64) for i in range(0, len(train), _CHUNK))
