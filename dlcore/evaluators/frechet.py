"""Distances of generated from real images in a network's features: Fréchet, kernel, inception score.

Heusel et al. 2017, arXiv:1706.08500 (Fréchet, "FID"); Bińkowski et al. 2018, arXiv:1801.01401 (kernel, "KID");
Salimans et al. 2016, arXiv:1606.03498 (inception score).

    FID = |m_f - m_g|^2 + tr(S_f + S_g - 2 (S_f S_g)^1/2)               means and covariances (n - 1) of the features
    KID = unbiased MMD^2 with the kernel (x.y / d + 1)^3
    IS  = exp(mean_x KL(p(y|x) || p(y)))

Published numbers use 2,048 features of an Inception network and 50,000 samples. Other features have another scale, and
the distance falls with the number of samples (its bias is about 1 / n): report both with every number. Experiments
downscale larger images with antialiasing, as clean-fid (Parmar et al. 2022, arXiv:2104.11222); pytorch-fid does not,
which changes the numbers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.learner import Evaluator
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["frechet_distance", "frechet_evaluator", "frechet_of_features", "inception_score", "kid", "moments"]

_BLOCK = 2048
"""Examples of a block of kernels: 32 MB in float64."""


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and covariance of features.

    Args:
      features: [N, D], N at least 2.

    Returns:
      (mean [D], covariance [D, D] divided by N - 1), float64.

    Raises:
      ValueError: the shape is wrong, or a value is not finite.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features has shape {features.shape}; allowed: [N, D] with N at least 2")
    check_finite("features", features)
    return features.mean(0), np.atleast_2d(np.cov(features, rowvar=False))


def frechet_distance(mean_f: np.ndarray, cov_f: np.ndarray, mean_g: np.ndarray, cov_g: np.ndarray) -> float:
    """Compute the squared Fréchet (2-Wasserstein) distance of two Gaussians.

    tr (S_f S_g)^1/2 is the sum of the square roots of the eigenvalues of S_f^1/2 S_g S_f^1/2, which is symmetric: no
    complex parts, and no failure for singular covariances.

    Args:
      mean_f: [D].
      cov_f: [D, D].
      mean_g: [D].
      cov_g: [D, D].

    Returns:
      The distance, 0 or more.

    Raises:
      ValueError: a moment is not finite, or a covariance is not symmetric.
    """
    check_shapes(mean_f=(mean_f, "D"), cov_f=(cov_f, "D D"), mean_g=(mean_g, "D"), cov_g=(cov_g, "D D"))
    for name, moment in (("mean_f", mean_f), ("cov_f", cov_f), ("mean_g", mean_g), ("cov_g", cov_g)):
        check_finite(name, moment)
    for name, cov in (("cov_f", cov_f), ("cov_g", cov_g)):
        if cov.shape[0] != cov.shape[1] or np.abs(cov - np.transpose(cov)).max() > 1e-3 * np.abs(cov).max():
            raise ValueError(f"{name}={np.shape(cov)}: not symmetric; allowed: a covariance, [D, D]")
    values, vectors = np.linalg.eigh(cov_f)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    inner = np.linalg.eigvalsh(root @ cov_g @ root)
    gap = np.square(np.asarray(mean_f) - mean_g).sum()
    return float(max(0.0, gap + np.trace(cov_f) + np.trace(cov_g) - 2 * np.sqrt(inner.clip(0)).sum()))


def frechet_of_features(f: np.ndarray, g: np.ndarray) -> float:
    """Compute the Fréchet distance of two sets of features.

    Args:
      f: [N, D].
      g: [M, D].

    Returns:
      The distance, 0 or more.

    Raises:
      ValueError: see `moments`, or the widths differ.
    """
    if np.shape(f)[-1:] != np.shape(g)[-1:]:
        raise ValueError(f"g.shape={np.shape(g)}: another width than f, {np.shape(f)}; allowed: [N, D] and [M, D]")
    return frechet_distance(*moments(f), *moments(g))


def kid(f: np.ndarray, g: np.ndarray) -> float:
    """Compute the kernel distance of two sets of features; unbiased, so it may be below 0.

    The kernels are added up in blocks, so that the memory does not grow with the square of the examples.

    Args:
      f: [N, D], N at least 2.
      g: [M, D], M at least 2.

    Returns:
      The distance.

    Raises:
      ValueError: a set has fewer than two examples, their widths differ, or a value is not finite.
    """
    f, g = np.asarray(f, np.float64), np.asarray(g, np.float64)
    if f.ndim != 2 or g.ndim != 2 or f.shape[1] != g.shape[1] or min(len(f), len(g)) < 2:
        raise ValueError(f"features have shapes {f.shape} and {g.shape}; allowed: [N, D] and [M, D], N, M at least 2")

    check_finite("f", f)
    check_finite("g", g)

    def total(x, y):
        """Add up the kernel of all pairs."""
        starts = ((i, j) for i in range(0, len(x), _BLOCK) for j in range(0, len(y), _BLOCK))
        return sum(_cube(x[i : i + _BLOCK] @ y[j : j + _BLOCK].T / x.shape[1] + 1).sum() for i, j in starts)

    def within(x):
        itself = _cube(np.square(x).sum(1) / x.shape[1] + 1).sum()
        return (total(x, x) - itself) / (len(x) * (len(x) - 1))

    return float(within(f) + within(g) - 2 * total(f, g) / (len(f) * len(g)))


def _cube(x: np.ndarray) -> np.ndarray:
    return x * x * x


def inception_score(probabilities: np.ndarray) -> float:
    """Compute exp of the mean KL divergence of class probabilities from their mean.

    Args:
      probabilities: [N, K], rows that add up to 1.

    Returns:
      The score, from 1 (all equal) to K.

    Raises:
      ValueError: the shape is wrong, a number is negative, or a row does not add up to 1.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not len(p) or (p < 0).any() or not np.allclose(p.sum(1), 1, atol=1e-3):
        raise ValueError(f"probabilities has shape {p.shape}; allowed: [N, K] with rows that add up to 1")
    log = np.log(p, where=p > 0, out=np.zeros_like(p))
    average = p.mean(0)
    log_average = np.log(average, where=average > 0, out=np.zeros_like(average))
    return float(np.exp((p * (log - log_average)).sum(1).mean()))


def frechet_evaluator(
    features: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]],
    reference: np.ndarray,
    source: Any,
    name: str = "sample",
) -> Evaluator:
    """Build the evaluator of generated samples: `frechet_distance`, `kid` and `inception_score`.

    Args:
      features: images -> (features [B, D], class probabilities [B, K] or None, which leaves out the inception score).
      reference: [M, D] features of the real images.
      source: inputs of `predict`, one per sample.
      name: name of the images among the outputs of `predict`.

    Returns:
      The evaluator.

    Raises:
      ValueError: there are fewer than two samples.
    """
    if len(source) < 2:
        raise ValueError(f"source holds {len(source)} examples; a distance needs at least 2 samples")
    reference_moments = moments(reference)

    def add(acc, outputs, rows):
        return [*(acc or []), features(outputs[name])]

    def finish(acc):
        features = np.concatenate([f for f, _ in acc])
        numbers = {
            "frechet_distance": frechet_distance(*moments(features), *reference_moments),
            "kid": kid(features, reference),
        }
        if acc[0][1] is not None:
            numbers["inception_score"] = inception_score(np.concatenate([p for _, p in acc]))
        return numbers

    return Evaluator(add, finish, source, ("frechet_distance", "kid", "inception_score"))
