"""Distances of generated from real images in a network's features: Fréchet, kernel, inception score.

Heusel et al. 2017, arXiv:1706.08500 (Fréchet, "FID"); Bińkowski et al. 2018, arXiv:1801.01401 (kernel, "KID");
Salimans et al. 2016, arXiv:1606.03498 (inception score).

    FID = |m_f - m_g|^2 + tr(S_f + S_g - 2 (S_f S_g)^1/2)               means and covariances (n - 1) of the features
    KID = unbiased MMD^2 with the kernel (x.y / d + 1)^3; its interval by leaving out one example at a time
    IS  = exp(mean_x KL(p(y|x) || p(y)))

Published numbers use 2,048 features of an Inception network and 50,000 samples. Other features have another scale, and
the distance falls with the number of samples (its bias is about 1 / n): report both with every number. Experiments
downscale larger images with antialiasing, as clean-fid (Parmar et al. 2022, arXiv:2104.11222); pytorch-fid does not,
which changes the numbers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.evaluators.manifold import half_interval, neighborhoods
from dlcore.learner import Evaluator
from dlcore.ops.checks import check_finite, check_shapes

__all__ = [
    "frechet_distance",
    "frechet_evaluator",
    "frechet_of_features",
    "inception_score",
    "kid",
    "kid_of_subsets",
    "kid_with_interval",
    "moments",
]

_BLOCK = 2048
"""Examples of a block of kernels: 32 MB in float64."""

_NEIGHBORS = ("sample_precision", "sample_recall", "density", "coverage")
"""Measures by the neighborhoods of points, in the order of `Neighborhoods`."""


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and covariance of features.

    Args:
      features: [N, D], N at least 2.

    Returns:
      (mean [D], covariance [D, D] divided by N - 1), float64.
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
    """
    check_shapes(mean_f=(mean_f, "D"), cov_f=(cov_f, "D D"), mean_g=(mean_g, "D"), cov_g=(cov_g, "D D"))
    mean_f, cov_f, mean_g, cov_g = (np.asarray(moment, np.float64) for moment in (mean_f, cov_f, mean_g, cov_g))
    for name, moment in (("mean_f", mean_f), ("cov_f", cov_f), ("mean_g", mean_g), ("cov_g", cov_g)):
        check_finite(name, moment)
    for name, cov in (("cov_f", cov_f), ("cov_g", cov_g)):
        if np.abs(cov - np.transpose(cov)).max() > 1e-3 * np.abs(cov).max():
            raise ValueError(f"{name}={np.shape(cov)}: not symmetric; allowed: a covariance, [D, D]")
        if (least := np.linalg.eigvalsh(cov)[0]) < -1e-3 * np.abs(cov).max():
            raise ValueError(f"{name}: has the eigenvalue {least:g}; allowed: a covariance, none negative")
    values, vectors = np.linalg.eigh(cov_f)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    inner = np.linalg.eigvalsh(root @ cov_g @ root)
    gap = np.square(mean_f - mean_g).sum()
    return float(max(0.0, gap + np.trace(cov_f) + np.trace(cov_g) - 2 * np.sqrt(inner.clip(0)).sum()))


def frechet_of_features(f: np.ndarray, g: np.ndarray) -> float:
    """Compute the Fréchet distance of two sets of features.

    Args:
      f: [N, D].
      g: [M, D].

    Returns:
      The distance, 0 or more.
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
    return kid_with_interval(f, g)[0]


def kid_with_interval(f: np.ndarray, g: np.ndarray) -> tuple[float, float | None]:
    """Compute the kernel distance with its 95 % interval by the jackknife, which leaves out one example at a time.

    Args:
      f: [N, D], N at least 2.
      g: [M, D], M at least 2.

    Returns:
      (distance, half of the interval: 1.96 standard errors; None where a set has two examples).
    """
    f, g = np.asarray(f, np.float64), np.asarray(g, np.float64)
    if f.ndim != 2 or g.ndim != 2 or f.shape[1] != g.shape[1] or min(len(f), len(g)) < 2:
        raise ValueError(f"features have shapes {f.shape} and {g.shape}; allowed: [N, D] and [M, D], N, M at least 2")
    check_finite("f", f)
    check_finite("g", g)
    n, m = len(f), len(g)
    across_f, across_g = _kernel_sums(f, g)
    across = across_f.sum()
    within_f, within_g = (_kernel_sums(x, x)[0] - _cube(np.square(x).sum(1) / x.shape[1] + 1) for x in (f, g))
    mean_f, mean_g = within_f.sum() / (n * (n - 1)), within_g.sum() / (m * (m - 1))
    distance = float(mean_f + mean_g - 2 * across / (n * m))
    if min(n, m) < 3:
        return distance, None
    without_f = (within_f.sum() - 2 * within_f) / ((n - 1) * (n - 2)) - 2 * (across - across_f) / ((n - 1) * m)
    without_g = (within_g.sum() - 2 * within_g) / ((m - 1) * (m - 2)) - 2 * (across - across_g) / ((m - 1) * n)
    variance = (n - 1) * without_f.var() + (m - 1) * without_g.var()
    return distance, float(1.96 * np.sqrt(variance))


def kid_of_subsets(
    f: np.ndarray, g: np.ndarray, num_subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """Compute the kernel distance as published: its mean over random subsets, drawn as torch-fidelity draws them.

    Args:
      f: [N, D].
      g: [M, D].
      num_subsets: number of pairs of subsets.
      subset_size: examples of a subset, from 2 to N and M.
      seed: seed of the subsets.

    Returns:
      (mean, standard deviation over the subsets).
    """
    check_shapes(num_subsets=(num_subsets, "int >= 1"), seed=(seed, "int >= 0"))
    check_whole_number("subset_size", subset_size)
    if not 2 <= subset_size <= min(len(f), len(g)):
        raise ValueError(f"subset_size={subset_size}: out of range; allowed: 2 to {min(len(f), len(g))}, the examples")
    f, g, rng = np.asarray(f), np.asarray(g), np.random.RandomState(seed)
    distances = []
    for _ in range(num_subsets):
        first = f[rng.choice(len(f), subset_size, replace=False)]
        distances.append(kid(first, g[rng.choice(len(g), subset_size, replace=False)]))
    return float(np.mean(distances)), float(np.std(distances))


def _kernel_sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add up the kernel of all pairs: (sums over y [N], sums over x [M])."""
    rows, columns = np.zeros(len(x)), np.zeros(len(y))
    for i in range(0, len(x), _BLOCK):
        for j in range(0, len(y), _BLOCK):
            block = _cube(x[i : i + _BLOCK] @ y[j : j + _BLOCK].T / x.shape[1] + 1)
            rows[i : i + _BLOCK] += block.sum(1)
            columns[j : j + _BLOCK] += block.sum(0)
    return rows, columns


def _cube(x: np.ndarray) -> np.ndarray:
    return x * x * x


def inception_score(probabilities: np.ndarray) -> float:
    """Compute exp of the mean KL divergence of class probabilities from their mean.

    Args:
      probabilities: [N, K], rows that add up to 1.

    Returns:
      The score, from 1 (all equal) to K.
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
    intervals: bool = False,
) -> Evaluator:
    """Build the evaluator of generated samples: `frechet_distance`, `kid` and `inception_score`.

    Args:
      features: images -> (features [B, D], class probabilities [B, K] or None, which leaves out the inception score).
      reference: [M, D] features of the real images.
      source: inputs of `predict`, one per sample.
      name: name of the images among the outputs of `predict`.
      intervals: whether to add `sample_precision`, `sample_recall`, `density` and `coverage` of `neighborhoods`, of as
        many real images as samples, and half of the 95 % interval of these and of `kid`, such as `kid_interval`.

    Returns:
      The evaluator.
    """
    if not hasattr(source, "__len__"):
        raise ValueError(f"source={type(source).__name__}: no source; allowed: Source(arrays)")
    if len(source) < 2:
        raise ValueError(f"source holds {len(source)} examples; a distance needs at least 2 samples")
    reference_moments = moments(reference)
    names = ("frechet_distance", "kid", "inception_score")

    def add(acc, outputs, rows):
        check_choice("name", name, outputs)
        return [*(acc or []), features(outputs[name])]

    def finish(acc):
        features = np.concatenate([f for f, _ in acc])
        distance, half = kid_with_interval(features, reference)
        numbers = {"frechet_distance": frechet_distance(*moments(features), *reference_moments), "kid": distance}
        if intervals:
            numbers |= {"kid_interval": half, **_neighborhood_measures(features, reference)}
        if acc[0][1] is not None:
            numbers["inception_score"] = inception_score(np.concatenate([p for _, p in acc]))
        return numbers

    if intervals:
        names += ("kid_interval", *_NEIGHBORS, *(f"{measure}_interval" for measure in _NEIGHBORS))
    return Evaluator(add, finish, source, names)


def _neighborhood_measures(samples: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Precision, recall, density and coverage with their intervals; none for fewer than three examples."""
    count = min(len(samples), len(reference))
    if count < 3:
        return {}
    real = reference[np.linspace(0, len(reference) - 1, count).round().astype(int)]
    numbers = {}
    for name, values in zip(_NEIGHBORS, neighborhoods(real, samples[:count], min(5, count - 1)), strict=True):
        numbers |= {name: float(values.mean()), f"{name}_interval": half_interval(values)}
    return numbers
