"""k nearest neighbors: store the examples and predict the majority label of the k closest.

Cover & Hart, "Nearest neighbor pattern classification", IEEE Trans. Information Theory 13 (1967).

    L1: Σ |a - b|        L2: sqrt(Σ (a - b)²)        cosine: 1 - a·b / |a| |b|        label: the majority vote

Training costs nothing, predicting costs N distances per query, most of which can be a matrix product:

    |a - b|² = |a|² - 2 (a·b - |b|² / 2),    so the nearest b has the largest a·b - |b|² / 2

The difference of large numbers loses digits, so the product only selects candidates, k and a few more; their distances
are then computed by definition. Where another row could be nearer than the k-th, as in data of two far groups, a block
of queries is searched again by the definition. With u of length 1, 1 - u·v = |u - v|² / 2, which keeps the digits of
small angles. Of equal distances the earlier example counts as nearer, of equal votes the smaller label wins, as in
scikit-learn. Queries and examples are processed in blocks, so memory does not grow with their product.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.classic_ml.examples import as_examples, as_rows
from dlcore.classic_ml.points import product_rounding
from dlcore.ops.checks import check_class_ids, check_shapes
from dlcore.ops.l2_normalize import l2_normalize
from dlcore.ops.precision import to_acc_dtype, to_same_origin

__all__ = [
    "METRICS",
    "NearestNeighborModel",
    "cosine_distance",
    "l1_distance",
    "l2_distance",
    "nearest",
    "predict",
    "predict_for_each_k",
    "train",
    "vote",
]

Metric = Callable[[jax.Array, jax.Array], jax.Array]

_QUERIES, _ROWS, _GROUP, _SPARE = 256, 4096, 32, 16


def l1_distance(query: jax.Array, rows: jax.Array) -> jax.Array:
    """L1 distance, which depends on the coordinate frame.

    Args:
      query: [D].
      rows: [B, D].

    Returns:
      [B], sums of |differences|.
    """
    check_shapes(query=(query, "D"), rows=(rows, "B D"))
    query, rows = to_same_origin(query, rows)
    return jnp.abs(rows - query).sum(-1)


def l2_distance(query: jax.Array, rows: jax.Array) -> jax.Array:
    """L2 distance, the same in every rotated frame.

    Args:
      query: [D].
      rows: [B, D].

    Returns:
      [B], roots of the sums of squared differences.
    """
    check_shapes(query=(query, "D"), rows=(rows, "B D"))
    query, rows = to_same_origin(query, rows)
    return jnp.sqrt(jnp.square(rows - query).sum(-1))


def cosine_distance(query: jax.Array, rows: jax.Array) -> jax.Array:
    """Cosine distance, one minus the cosine of the angle.

    Args:
      query: [D].
      rows: [B, D].

    Returns:
      [B]; 1 where one of the two vectors is zero.
    """
    check_shapes(query=(query, "D"), rows=(rows, "B D"))
    return jnp.square(_unit(rows, (0, 1)) - _unit(query, (1, 0))).sum(-1) / 2


METRICS: dict[str, Metric] = {"l1": l1_distance, "l2": l2_distance, "cosine": cosine_distance}


class NearestNeighborModel(NamedTuple):
    """The stored examples of a nearest-neighbor classifier.

    Args:
      rows: [N, D].
      label: [N], indices into `classes`.
      classes: [C], labels.
      k: number of neighbors that vote.
      metric: a name in METRICS, or (query [D], rows [B, D]) -> distances [B].
    """

    rows: np.ndarray
    label: np.ndarray
    classes: np.ndarray
    k: int
    metric: str | Metric


def train(images: Any, labels: Any, *, k: int = 1, metric: str | Metric = "l2") -> NearestNeighborModel:
    """Store the examples.

    Args:
      images: [N, ...].
      labels: [N] integers.
      k: number of neighbors that vote, in [1, N].
      metric: l1, l2, cosine, or (query [D], rows [B, D]) -> distances [B].

    Returns:
      NearestNeighborModel.
    """
    examples = as_examples(images, labels)
    _check(k, metric, len(examples.rows))
    return NearestNeighborModel(*examples, k, metric)


def predict(model: NearestNeighborModel, images: Any) -> np.ndarray:
    """Predict the majority label of the k nearest examples.

    Args:
      model: model from `train`.
      images: [M, ...].

    Returns:
      [M], labels.
    """
    return predict_for_each_k(model, images, (model.k,))[0]


def predict_for_each_k(model: NearestNeighborModel, images: Any, ks: Sequence[int]) -> np.ndarray:
    """Predict labels for several k at the cost of the largest.

    Args:
      model: model from `train`; its own k is not used.
      images: [M, ...].
      ks: numbers of neighbors.

    Returns:
      [len(ks), M], labels.
    """
    queries = as_rows(images, model.rows.shape[1])
    if np.ndim(ks) != 1 or not len(ks):
        raise ValueError(f"ks={ks}: no list or empty; allowed: at least one number of neighbors")
    for k in ks:
        _check(k, model.metric, len(model.rows))
    indices = nearest(model.rows, queries, max(ks), model.metric)[1]
    return np.stack([model.classes[vote(model.label[indices[:, :k]], len(model.classes))] for k in ks])


def vote(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Take the majority vote of neighbors; the smallest label wins a tie.

    Args:
      labels: [M, k] int in [0, num_classes), of each query's neighbors.
      num_classes: C.

    Returns:
      [M], the most frequent label of each row.
    """
    check_whole_number("num_classes", num_classes, 1)
    check_shapes(labels=(labels, "int M k"))
    labels = np.asarray(labels)
    if not labels.shape[1]:
        raise ValueError(f"labels.shape={labels.shape}: no neighbors; allowed: at least one")
    check_class_ids("labels", labels, num_classes)
    m = len(labels)
    cell = np.arange(m)[:, None] * num_classes + labels
    return np.bincount(cell.ravel(), minlength=m * num_classes).reshape(m, num_classes).argmax(1)


def nearest(
    rows: np.ndarray, queries: np.ndarray, k: int, metric: str | Metric = "l2"
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest rows to each query, in float64 if either array is, else in float32.

    Args:
      rows: [N, D].
      queries: [M, D].
      k: in [1, N].
      metric: l1, l2, cosine, or (query [D], rows [B, D]) -> distances [B].

    Returns:
      (distances [M, k] ascending, indices [M, k] of the rows).
    """
    check_shapes(rows=(rows, "N D finite"), queries=(queries, "M D finite"))
    rows, queries = as_rows(rows), as_rows(queries)
    _check(k, metric, len(rows))
    if not len(queries):
        raise ValueError(f"queries.shape={queries.shape}: none; allowed: at least one")
    if callable(metric) and (shape := getattr(jax.eval_shape(metric, queries[0], rows), "shape", None)) != (len(rows),):
        raise ValueError(f"metric: gives distances of shape {shape}; allowed: ({len(rows)},), one for each row")
    dtype = np.float64 if np.float64 in (rows.dtype, queries.dtype) else np.float32
    with jax.enable_x64(dtype == np.float64):
        distances, positions = search(jnp.asarray(rows, dtype), jnp.asarray(queries, dtype), k=k, metric=metric)
        return np.asarray(distances), np.asarray(positions)


@functools.partial(jax.jit, static_argnames=("k", "metric"))
def search(rows: jax.Array, queries: jax.Array, *, k: int, metric: str | Metric) -> tuple[jax.Array, jax.Array]:
    """Find the nearest rows as `nearest` does, traceable inside jit."""
    n, m, distance = len(rows), len(queries), METRICS.get(metric, metric)
    size, width, num_candidates = min(_ROWS, n), min(_QUERIES, m), min(k + _SPARE, n)
    if metric == "cosine":
        # Cosines are distances of vectors of length 1.
        rows, queries, distance = (
            _unit(rows, (0, 1)),
            _unit(queries, (1, 0)),
            lambda q, r: jnp.square(q - r).sum(-1) / 2,
        )
    # Rounded, the center takes an offset out of the data and leaves whole numbers whole.
    center = jnp.round(rows.mean(0))
    centered_rows = rows - center
    half = jnp.square(centered_rows).sum(1) / 2

    def best(score, count):
        """Return the rows with the `count` largest scores of each query, from score(start) [Q, size]."""

        def step(best, start):
            start_in = jnp.minimum(start, n - size)  # the last block reaches back rather than beyond the end
            scores = jnp.where(start_in + jnp.arange(size) >= start, score(start_in), -jnp.inf)
            values, at = jax.vmap(_largest, (0, None))(scores, count)
            values, at = (jnp.concatenate(two, 1) for two in zip(best, (values, at + start_in), strict=True))
            values, index = jax.lax.top_k(values, count)
            return (values, jnp.take_along_axis(at, index, 1)), None

        none = jnp.full((width, count), -jnp.inf, rows.dtype), jnp.zeros((width, count), int)
        return jax.lax.scan(step, none, jnp.arange(0, n, size))[0]

    def of_block(x, start):
        return jax.lax.dynamic_slice_in_dim(x, start, size)

    def by_definition(query):
        scores, position = best(lambda start: -jax.vmap(distance, (0, None))(query, of_block(rows, start)), k)
        return -scores, position

    def block(query):
        """Return the nearest of one block of queries."""
        if metric not in ("l2", "cosine"):
            return by_definition(query)
        about = query - center

        def score(start):
            product = jnp.einsum("qd,nd->qn", about, of_block(centered_rows, start), precision="highest")
            return product - of_block(half, start)

        scores, candidates = best(score, num_candidates)
        distances = jax.lax.map(lambda one: distance(one[0], rows[one[1]]), (query, candidates))
        distances, position = (x[:, :k] for x in jax.lax.sort((distances, candidates), num_keys=2))
        # |a - b|² = |a|² - 2 score of every other row is at least that of the last candidate, but for the rounding.
        bound = jnp.square(about).sum(1) - 2 * scores[:, -1] - product_rounding(about, centered_rows)
        farthest = jnp.square(distances[:, -1]) if metric == "l2" else 2 * distances[:, -1]
        certain = (farthest < bound).all() | (num_candidates == n)
        return jax.lax.cond(certain, lambda: (distances, position), lambda: by_definition(query))

    blocks = jnp.pad(queries, ((0, -m % width), (0, 0)), mode="edge").reshape(-1, width, queries.shape[1])
    return tuple(x.reshape(-1, k)[:m] for x in jax.lax.map(block, blocks))


def _largest(values: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k largest of [B] and their indices, the first of equals first, from the k groups of largest maxima."""
    k = min(k, len(values))
    groups = jnp.pad(values, (0, -len(values) % _GROUP), constant_values=-jnp.inf).reshape(-1, _GROUP)
    group_idx = jnp.sort(jax.lax.top_k(groups.max(1), min(k, len(groups)))[1])
    top, at = jax.lax.top_k(groups[group_idx].ravel(), k)
    return top, group_idx[at // _GROUP] * _GROUP + at % _GROUP


def _unit(x: jax.Array, zero: tuple[int, int]) -> jax.Array:
    """Return [..., D + 2] of length 1; vectors of zeros point in a direction of their own, at right angles to all."""
    x = to_acc_dtype(x)
    is_zero = (x == 0).all(-1, keepdims=True)
    return jnp.concatenate([l2_normalize(x, floor=0), is_zero * jnp.array(zero, x.dtype)], -1)


def _check(k: int, metric: str | Metric, n: int) -> None:
    check_whole_number("k", k)
    if not 1 <= k <= n:
        raise ValueError(f"k={k}: out of range; allowed: [1, {n}]")
    if not callable(metric) and metric not in tuple(METRICS):
        raise ValueError(f"metric={metric!r}: unknown; allowed: {', '.join(METRICS)}, or a function (query, rows)")
