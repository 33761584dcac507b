"""Label propagation: points pass their labels on to their neighbors in a graph, until nothing changes.

Zhu & Ghahramani 2002, "Learning from labeled and unlabeled data with label propagation"; Zhou et al. 2003, "Learning
with local and global consistency" (spreading).

    W_ij = exp(-gamma |x_i - x_j|^2)
    propagation   F <- rows of D^-1 W F that sum to 1, the labeled ones set to their labels again;    D_ii = sum_j W_ij
    spreading     F <- alpha S F + (1 - alpha) Y,    S = D^-1/2 W D^-1/2,    W_ii = 0
    a new point   F(x) = rows of exp(-gamma |x - x_i|^2) F that sum to 1

Y holds a one for each label and is 0 elsewhere. Propagation believes the labels; spreading may overrule one, the more
the larger alpha. Both equal scikit-learn's `LabelPropagation` and `LabelSpreading`, whose W of propagation keeps its
diagonal. The graph is dense: N^2 numbers.
"""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml.points import check_points, squared_distances
from dlcore.ops.checks import check_finite, check_range, check_shapes
from dlcore.ops.precision import centered

__all__ = ["MOST", "UNLABELED", "Propagated", "extend", "propagate"]

UNLABELED = -1
"""The label of a point without one."""

MOST = 5000
"""Points of a graph, at most."""


class Propagated(NamedTuple):
    """Result of label propagation.

    Args:
      points: [N, D], its nodes.
      classes: [C], the labels that occur, ascending.
      distributions: [N, C], rows that sum to 1; 0 where no label reaches.
      labels: [N], the most probable ones.
      gamma: coefficient gamma of the kernel.
      steps: until nothing changed.
    """

    points: np.ndarray
    classes: np.ndarray
    distributions: np.ndarray
    labels: np.ndarray
    gamma: float
    steps: int


def propagate(
    points: Any,
    labels: Any,
    *,
    method: Literal["propagation", "spreading"] = "propagation",
    gamma: float = 20.0,
    alpha: float = 0.2,
    tolerance: float = 1e-3,
    max_steps: int = 1000,
) -> Propagated:
    """Give every point of a graph a label.

    Args:
      points: [N, D], finite, N of at most MOST; float64 is computed in float64.
      labels: [N] integers, UNLABELED where a point has none.
      method: whether labels are kept (propagation) or may be overruled (spreading).
      gamma: coefficient gamma of the kernel, positive; 1 / (2 h^2) for neighbors at a distance of about h.
      alpha: spreading: what a point takes from its neighbors, in (0, 1).
      tolerance: stop where the distributions change by less, summed over all.
      max_steps: stop at the latest.

    Returns:
      The distributions and labels.
    """
    labels = np.asarray(labels)
    shape = np.shape(points)
    if shape and shape[0] > MOST:
        raise ValueError(f"points={shape[0]:,}: the graph would have N^2 edges; allowed: at most {MOST:,} points")
    if method not in ("propagation", "spreading"):
        raise ValueError(f"method={method!r}: unknown; allowed: propagation or spreading")
    check_shapes(tolerance=(tolerance, ">= 0"), max_steps=(max_steps, "int >= 1"))
    for name, value, high in (("gamma", gamma, np.inf), ("alpha", alpha, 1)):
        check_finite(name, value)
        if not 0 < value < high:
            raise ValueError(f"{name}={value}: out of range; allowed: above 0{', below 1' if high == 1 else ''}")
    with jax.enable_x64(np.asarray(points).dtype == np.float64):
        x = check_points("points", points)
        if labels.shape != x.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"labels={labels.dtype}{list(labels.shape)}: does not fit points; allowed: [{len(x)}] integers"
            )
        check_range("labels", labels, UNLABELED)
        classes = np.unique(labels[labels != UNLABELED])
        if not len(classes):
            raise ValueError(f"labels={UNLABELED}: of every point; allowed: at least one label")
        # One-hot labels; unlabeled rows are zero.
        clamped = jnp.asarray(labels[:, None] == classes[None], x.dtype)  # [N, C]
        x = centered(points)[0]
        distributions, steps = _fixed_point(x, clamped, gamma, alpha, tolerance, max_steps, method == "spreading")
        distributions = np.asarray(distributions)
    return Propagated(
        np.asarray(points), classes, distributions, classes[distributions.argmax(1)], float(gamma), int(steps)
    )


def extend(graph: Propagated, queries: Any) -> np.ndarray:
    """Give new points the labels of the graph's points near them.

    Args:
      graph: graph from `propagate`.
      queries: [M, D], finite.

    Returns:
      [M, C], rows that sum to 1.
    """
    with jax.enable_x64(graph.points.dtype == np.float64):
        x = check_points("points", graph.points)
        check_points("queries", queries, dim=x.shape[1])
        x, queries, _ = centered(graph.points, queries)
        logits = -graph.gamma * squared_distances(queries, x)
        near = jax.nn.softmax(logits, axis=1)  # far from all points the kernel alone would underflow
        return np.asarray(_to_one(near @ jnp.asarray(graph.distributions)))


@functools.partial(jax.jit, static_argnames=("spreads",))
def _fixed_point(x, clamped, gamma, alpha, tolerance, max_steps, spreads: bool):
    weights = jnp.exp(-gamma * squared_distances(x, x))
    labeled = clamped.sum(1, keepdims=True) > 0
    if spreads:
        weights = weights * (1 - jnp.eye(len(x), dtype=x.dtype))
        degree = weights.sum(1)
        root = jnp.where(degree > 0, jnp.sqrt(degree), 1)
        weights = weights / root[:, None] / root[None]
    else:
        weights = weights / weights.sum(1, keepdims=True)

    def step(carry):
        current, _, count = carry
        # Propagation clamps the labeled points; spreading pulls them back.
        new = jnp.matmul(weights, current, precision=jax.lax.Precision.HIGHEST)
        new = alpha * new + (1 - alpha) * clamped if spreads else jnp.where(labeled, clamped, _to_one(new))
        return new, jnp.abs(new - current).sum(), count + 1

    def not_converged(carry):
        _, change, count = carry
        return (change >= tolerance) & (count < max_steps)

    distributions, _, count = jax.lax.while_loop(
        not_converged, step, (clamped, jnp.asarray(jnp.inf, x.dtype), jnp.int32(0))
    )
    return _to_one(distributions), count


def _to_one(rows):
    total = rows.sum(1, keepdims=True)
    return rows / jnp.where(total > 0, total, 1)
