"""RANSAC: fit a model to data of which a large part is wrong.

Fischler & Bolles 1981, "Random sample consensus", CACM 24.

    N = log(1 - confidence) / log(1 - inlier_ratio^s)                samples of s, of which one has no outlier
    model = the one of N with the most data within the threshold, fitted again to these

The N hypotheses are fixed beforehand and evaluated by one vmap, so that all of it is one program. Degenerate samples
(equal or collinear points) give NaN models, which nothing agrees with. Deterministic by the key.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_shapes, check_spread, check_weights
from dlcore.ops.precision import acc_dtype_of, product, to_acc_dtype, to_namespace

__all__ = ["Consensus", "fit_line", "line_residual", "ransac", "ransac_line", "required_hypotheses"]


class Consensus(NamedTuple):
    """Result of RANSAC: the model, its inliers and their number.

    Args:
      model: pytree of `fit`; NaN where no sample gave a model.
      inliers: [N] bool, data within the threshold of the model.
      num_inliers: int32.
    """

    model: Any
    inliers: jax.Array
    num_inliers: jax.Array


def required_hypotheses(inlier_ratio: float, sample_size: int, confidence: float = 0.99) -> int:
    """Count the samples that contain one without outliers, with a given confidence.

    Args:
      inlier_ratio: part of the data that follows the model.
      sample_size: data for one fit.
      confidence: probability.

    Returns:
      At least 1; 72 for half outliers and 4 points.
    """
    check_whole_number("sample_size", sample_size)
    check_finite("inlier_ratio, confidence", (inlier_ratio, confidence))
    if not 0 < inlier_ratio < 1 or not 0 < confidence < 1 or sample_size < 1:
        raise ValueError(
            f"inlier_ratio={inlier_ratio}, sample_size={sample_size}, confidence={confidence}: out of range; allowed: "
            "between 0 and 1, at least 1, between 0 and 1"
        )
    return max(1, math.ceil(math.log(1 - confidence) / math.log(1 - inlier_ratio**sample_size)))


def ransac(
    key: jax.Array,
    data: Any,
    fit: Callable[[Any], Any],
    residual: Callable[[Any, Any], jax.Array],
    *,
    sample_size: int,
    threshold: float,
    num_hypotheses: int,
    refit: Callable[[Any, jax.Array], Any] | None = None,
    refits: int = 2,
    mask: jax.Array | None = None,
) -> Consensus:
    """Find the model that most of the data agree with.

    Args:
      key: PRNG key.
      data: pytree of [N, ...].
      fit: function from `sample_size` data to a model; NaN where they are degenerate.
      residual: function from a model and all data to errors [N].
      sample_size: data for one fit.
      threshold: largest error of an inlier.
      num_hypotheses: number of samples (`required_hypotheses`).
      refit: function from all data and weights [N] to a model, for the inliers; None to keep the best hypothesis.
      refits: number of refits, each to the inliers of the last; one that loses half of them is not taken.
      mask: [N] bool, which data count; None for all.

    Returns:
      The consensus.
    """
    leaves = jax.tree.leaves(data)
    total = len(leaves[0])
    if total < sample_size:
        raise ValueError(f"data: {total} rows; allowed: at least {sample_size}, of which one model is fitted")
    if num_hypotheses < 1 or not threshold > 0:
        raise ValueError(
            f"num_hypotheses={num_hypotheses}, threshold={threshold}: out of range; allowed: at least 1, above 0"
        )
    if any(len(leaf) != total for leaf in leaves) or (mask is not None and mask.shape != (total,)):
        lengths = [len(leaf) for leaf in leaves] + ([] if mask is None else [len(mask)])
        raise ValueError(f"data: lengths {lengths}; allowed: one length of all, and of the mask")
    for leaf in leaves:
        if not any(isinstance(x, jax.core.Tracer) for x in (leaf, mask)):
            check_finite("data", leaf if mask is None else np.asarray(leaf)[np.asarray(mask) > 0])
    if mask is not None:  # what it leaves out may hold anything
        data = jax.tree.map(lambda x: x if isinstance(x, jax.core.Tracer) else jnp.where(jnp.isfinite(x), x, 0), data)
    mask = jnp.ones(total, bool) if mask is None else mask
    samples = _samples(key, mask, sample_size, num_hypotheses)
    # One hypothesis for each minimal sample; the most inliers win.
    models = jax.vmap(lambda index: fit(jax.tree.map(lambda x: jnp.asarray(x)[index], data)))(samples)

    def inliers_of(model: Any) -> jax.Array:
        return mask & (residual(model, data) <= threshold)

    # A sample can only be drawn without repetition where enough data count.
    counts = jax.vmap(lambda model: inliers_of(model).sum())(models) * (mask.sum() >= sample_size)
    model = jax.tree.map(lambda x: x[counts.argmax()], models)
    inliers = inliers_of(model) & (counts.max() > 0)
    for _ in range(refits if refit is not None else 0):
        # Refit to all inliers; a degenerate fit that loses most of them is rejected.
        candidate = refit(data, inliers.astype(acc_dtype_of(*leaves)))
        agrees = inliers_of(candidate)
        accepted = 2 * agrees.sum() > inliers.sum()
        model = jax.tree.map(lambda new, old, accepted=accepted: jnp.where(accepted, new, old), candidate, model)
        inliers = jnp.where(accepted, agrees, inliers)
    return Consensus(model, inliers, inliers.sum().astype(jnp.int32))


def fit_line(points: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Fit a line by total least squares: a x + b y + c = 0 with a² + b² = 1.

    Args:
      points: [N, 2].
      weights: [N]; None for ones.

    Returns:
      [3], (a, b, c), NumPy's float64 of arrays of the host; NaN under jit where all points are one.
    """
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
        raise ValueError(f"points.shape={points.shape}: no line; allowed: [N, 2], N at least 2")
    check_finite("points", points)
    check_spread("points", points, 1, "points of which two differ")
    check_shapes(points=(points, "N 2"), weights=(weights, "mask N or None"))
    check_weights(weights, 2)
    xp, points, weights = to_namespace(points, weights)
    weights = xp.ones(len(points), points.dtype) if weights is None else weights
    mean = (weights[:, None] * points).sum(0) / weights.sum()
    x, y = (points - mean).T
    xx, xy, yy = (weights * x * x).sum(), (weights * x * y).sum(), (weights * y * y).sum()
    # The normal is the direction of the least variance.
    angle = 0.5 * xp.arctan2(2 * xy, xx - yy) + np.pi / 2
    normal = xp.stack([xp.cos(angle), xp.sin(angle)])
    return xp.where(xx + yy > 0, xp.append(normal, -(normal * mean).sum()), xp.nan)


def line_residual(line: jax.Array, points: jax.Array) -> jax.Array:
    """Distances of points from a line.

    Args:
      line: [3], (a, b, c) with a² + b² = 1.
      points: [N, 2].

    Returns:
      [N].
    """
    _, line, points = to_namespace(line, points)
    return abs((line[:2] * points).sum(-1) + line[2])


def ransac_line(
    key: jax.Array, points: jax.Array, threshold: float, num_hypotheses: int = 72, mask: jax.Array | None = None
) -> Consensus:
    """Find the line that most points lie on.

    Args:
      key: PRNG key.
      points: [N, 2].
      threshold: largest distance of an inlier.
      num_hypotheses: number of pairs of points.
      mask: [N] bool, which points count; None for all.

    Returns:
      The consensus; its model is [3], (a, b, c).
    """
    xp, points = to_namespace(points)
    # On the host, points far from 0 are centered before they are cast to float32.
    counts = True if mask is None or xp is jnp else np.asarray(mask)[:, None] > 0
    center = points.mean(0, where=counts) if xp is np else np.zeros(2)
    consensus = ransac(
        key,
        to_acc_dtype(points - center),
        fit_line,
        line_residual,
        sample_size=2,
        threshold=threshold,
        num_hypotheses=num_hypotheses,
        refit=fit_line,
        mask=mask,
    )
    if xp is jnp:
        return consensus
    model = consensus.model if isinstance(consensus.model, jax.core.Tracer) else np.asarray(consensus.model)
    shift = np.array([[1, 0, -center[0]], [0, 1, -center[1]], [0, 0, 1]])
    return consensus._replace(model=product(model, shift))


def _samples(key: jax.Array, mask: jax.Array, sample_size: int, count: int) -> jax.Array:
    """[count, sample_size] rows that count, none twice in a sample: the i-th is drawn from those that are left."""
    order = jnp.argsort(~mask, stable=True)
    available = mask.sum()
    uniform = jax.random.uniform(key, (count, sample_size))
    sample_idx: list[jax.Array] = []
    for i in range(sample_size):
        left = jnp.maximum(available - i, 1)
        index = jnp.minimum((uniform[:, i] * left).astype(jnp.int32), left - 1)
        # Count on past each of the rows drawn before, in ascending order.
        for earlier in jnp.sort(jnp.stack(sample_idx), 0) if sample_idx else ():
            index += index >= earlier
        sample_idx.append(index)
    return order[jnp.minimum(jnp.stack(sample_idx, 1), len(mask) - 1)]
