"""K-means: centers that are the means of the points nearest to them.

Lloyd 1957/1982, "Least squares quantization in PCM"; Arthur & Vassilvitskii 2007, "k-means++".

    assign    a_n = argmin_k |x_n - c_k|^2
    move      c_k = mean of x_n with a_n = k
    inertia   Σ_n |x_n - c_(a_n)|^2           neither step can raise it
    k-means++ the next center is x_n with probability proportional to its squared distance from those chosen so far

A center without points would never move again. Here one such center per iteration moves to the point farthest from its
own center, which cannot raise the inertia either; `reseeded` counts these moves. Points are processed in blocks, so
memory is [block, K] and not [N, K]. Restarts run one after the other, and the best one is returned.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.classic_ml.points import check_points, product_rounding
from dlcore.ops.checks import check_shapes
from dlcore.ops.moments import squared_distances
from dlcore.ops.precision import add_center, centered, to_acc_dtype

__all__ = ["KMeans", "kmeans", "kmeans_plus_plus", "lloyd", "nearest_center"]

_DISTANCES = 2**20
"""Distances in memory at a time, where the block is not given."""
_PAIRED_ROWS = 256
"""Centers whose distances are compared in pairs; more would take long to compile."""


class KMeans(NamedTuple):
    """Result of k-means.

    Args:
      centers: [K, D], NumPy's float64 where points of the host have 64 bits.
      labels: [N], index of each point's center.
      inertia: sum of squared distances to the centers.
      history: [max_iterations + 1], the inertia before each iteration; the final one repeats after convergence.
      num_iterations: until no center moved.
      reseeded: how often an empty center was moved to a far point.
    """

    centers: jax.Array
    labels: jax.Array
    inertia: jax.Array
    history: jax.Array
    num_iterations: jax.Array
    reseeded: jax.Array


def kmeans(
    key: jax.Array,
    x: Any,
    num_clusters: int,
    *,
    restarts: int = 10,
    max_iterations: int = 100,
    block: int | None = None,
) -> KMeans:
    """Cluster points by k-means, the best of several runs from k-means++ starts.

    Args:
      key: PRNG key of the starts.
      x: [N, D], finite.
      num_clusters: K, in [1, N].
      restarts: number of runs.
      max_iterations: largest number of iterations of each run.
      block: points at a time; None: as many as have about a million distances.

    Returns:
      The run with the lowest inertia.
    """
    check_points("x", x)
    check_whole_number("num_clusters", num_clusters)
    _check_counts(restarts=restarts, max_iterations=max_iterations, block=block)
    x, mean = centered(x)
    best = _best_of(key, x, num_clusters, restarts, max_iterations, block)
    return best._replace(centers=add_center(best.centers, mean))


def lloyd(x: Any, centers: Any, *, max_iterations: int = 100, block: int | None = None) -> KMeans:
    """Iterate Lloyd's algorithm from given centers until no center moves.

    Args:
      x: [N, D], finite.
      centers: [K, D], initial centers.
      max_iterations: largest number of iterations.
      block: points at a time; None: as many as have about a million distances.

    Returns:
      KMeans.
    """
    check_points("centers", centers, dim=check_points("x", x).shape[1])
    _check_counts(max_iterations=max_iterations, block=block)
    x, centers, mean = centered(x, centers)
    result = _lloyd(x, centers.astype(x.dtype), max_iterations, block)
    return result._replace(centers=add_center(result.centers, mean))


def nearest_center(x: Any, centers: Any, *, block: int | None = None) -> tuple[jax.Array, jax.Array]:
    """Assign points to their nearest center; of equal distances the first center wins.

    Args:
      x: [N, D], finite.
      centers: [K, D].
      block: points at a time; None: as many as have about a million distances.

    Returns:
      (labels [N], squared distances [N]).
    """
    check_points("centers", centers, dim=check_points("x", x).shape[1])
    _check_counts(block=block)
    centers, x, _ = centered(centers, x)
    return _nearest_center(x, centers.astype(x.dtype), block)


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None:
            check_whole_number(name, value, 1)


def kmeans_plus_plus(key: jax.Array, x: jax.Array, num_clusters: int) -> jax.Array:
    """Choose initial centers far from each other by k-means++.

    Args:
      key: PRNG key of the choice.
      x: [N, D].
      num_clusters: K.

    Returns:
      [K, D], points of x; some stand there again where x has fewer different ones.
    """
    check_shapes(x=(x, "N D finite"))
    check_whole_number("num_clusters", num_clusters)
    if not 1 <= num_clusters <= len(x):
        raise ValueError(f"num_clusters={num_clusters}: out of range; allowed: 1..{len(x)}")
    rows = _plus_plus(key, centered(x)[0], num_clusters)
    if isinstance(x, jax.Array) or isinstance(rows, jax.core.Tracer):
        return to_acc_dtype(x)[rows]
    return np.asarray(x)[np.asarray(rows)]  # jax would wrap or round what 32 bits cannot hold


@functools.partial(jax.jit, static_argnums=2)
def _plus_plus(key: jax.Array, x: jax.Array, num_clusters: int) -> jax.Array:
    keys = jax.random.split(key, num_clusters)
    selected_idx = jnp.zeros(num_clusters, jnp.int32).at[0].set(jax.random.randint(keys[0], (), 0, len(x)))

    def choose(k, carry):
        selected_idx, distance = carry
        distance = jnp.minimum(distance, jnp.square(x - x[selected_idx[k - 1]]).sum(1))
        return selected_idx.at[k].set(jax.random.categorical(keys[k], jnp.log(distance))), distance

    return jax.lax.fori_loop(1, num_clusters, choose, (selected_idx, jnp.full(len(x), jnp.inf, x.dtype)))[0]


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _best_of(key, x, num_clusters, restarts, max_iterations, block) -> KMeans:
    def run(key):
        return _lloyd(x, kmeans_plus_plus(key, x, num_clusters), max_iterations, block)

    # One restart after the other, so that only blocks in doubt are computed twice; the lowest inertia wins.
    runs = jax.lax.map(run, jax.random.split(key, restarts))
    return jax.tree.map(lambda leaf: leaf[runs.inertia.argmin()], runs)


@functools.partial(jax.jit, static_argnums=2)
def _nearest_center(x, centers, block):
    labels, distance, *_ = _assign(*_rows(x, len(centers), block), centers)
    return labels[: len(x)], distance[: len(x)]


@functools.partial(jax.jit, static_argnums=(2, 3))
def _lloyd(x, centers, max_iterations, block) -> KMeans:
    rows, num_blocks = _rows(x, len(centers), block)

    def move(centers):
        """(the next centers, the inertia of these, whether an empty one was moved)."""
        _, distance, total, count = _assign(rows, num_blocks, centers)
        # Update step: each center moves to the mean of its points.
        empty = count[:, 0] == 0
        moved = jnp.where(count > 0, total / jnp.maximum(count, 1), centers)
        # An empty cluster takes the point that is farthest from its center.
        reseed = empty.any() & (distance.max() > 0)
        far = jnp.where(reseed, rows[distance.argmax(), :-1], moved[empty.argmax()])
        return moved.at[empty.argmax()].set(far), distance.sum(), reseed

    def unfinished(carry):
        return (carry[0] < max_iterations) & carry[3]

    def iterate(carry):
        i, centers, history, _, reseeded = carry
        moved, inertia, reseed = move(centers)
        return i + 1, moved, history.at[i].set(inertia), (moved != centers).any(), reseeded + reseed

    start = (jnp.int32(0), centers, jnp.zeros(max_iterations + 1, x.dtype), jnp.bool(True), jnp.int32(0))
    i, centers, history, _, reseeded = jax.lax.while_loop(unfinished, iterate, start)
    labels, distance, *_ = _assign(rows, num_blocks, centers)
    history = jnp.where(jnp.arange(max_iterations + 1) < i, history, distance.sum())
    return KMeans(centers, labels[: len(x)], distance.sum(), history, i, reseeded)


def _rows(x, num_centers, block):
    """(points [n, D + 1] that fill blocks of equal size, their number); the last column is 1, after all points 0."""
    block = max(1, _DISTANCES // num_centers) if block is None else block
    num_blocks = -(-len(x) // block)
    block = -(-len(x) // num_blocks)
    rows = jnp.pad(x, ((0, 0), (0, 1)), constant_values=1)
    return jnp.pad(rows, ((0, num_blocks * block - len(x)), (0, 0))), num_blocks


@functools.partial(jax.jit, static_argnums=1)
def _assign(rows, num_blocks, centers):
    """(labels [n], squared distances, sums of each center's points [K, D], their number [K, 1]).

    A product of matrices, [-2 c, |c|^2]·[x, 1] = |x - c|^2 - |x|^2, finds the two nearest centers of each point, and
    their differences say which is nearer. Far from 0 the product is rounded by more than distances differ: where a
    third center could be the nearest, all distances of the block are sums of differences. On a CPU minima over rows are
    faster than over columns, and adding rows than a product with one-hot labels.
    """
    num_centers = len(centers)
    # |x - c|² - |x|² = -2 x·c + |c|², one product with points that end in 1.
    sides = jnp.concatenate([-2 * centers, jnp.square(centers).sum(1, keepdims=True)], 1)

    def add_rows(rows, labels):
        return jax.ops.segment_sum(rows, labels, num_centers)

    def multiply(rows, labels):
        one_hot = jax.nn.one_hot(labels, num_centers, dtype=rows.dtype)
        return jnp.matmul(one_hot.T, rows, precision=jax.lax.Precision.HIGHEST)

    def one_block(rows):
        points, real = rows[:, :-1], rows[:, -1]
        # [K, block], |x - c|^2 less |x|^2
        farther = jnp.einsum("kd,nd->kn", sides, rows, precision=jax.lax.Precision.HIGHEST)
        best = _lowest_row(farther)
        rest = jnp.where(jnp.arange(num_centers)[:, None] == best, jnp.inf, farther)
        second = _lowest_row(rest)
        third = jnp.where(jnp.arange(num_centers)[:, None] == second, jnp.inf, rest).min(0)
        doubt = (third - farther.min(0) <= 2 * product_rounding(points, centers)) & (real > 0)

        def nearer():
            pair = jnp.stack([jnp.minimum(best, second), jnp.maximum(best, second)])
            first, last = (_squared_norms(points - centers[label]) for label in pair)
            return jnp.where(last < first, pair[1], pair[0])

        def by_differences():
            return squared_distances(points, centers).argmin(1)

        labels = jax.lax.cond(doubt.any(), by_differences, nearer)
        total = jax.lax.platform_dependent(rows, labels, cpu=add_rows, default=multiply)
        return labels, real * _squared_norms(points - centers[labels]), total

    if num_blocks == 1:
        labels, distance, total = one_block(rows)
    else:
        labels, distance, totals = jax.lax.map(one_block, rows.reshape(num_blocks, -1, rows.shape[1]))
        total = totals.sum(0)
    return labels.reshape(-1), distance.reshape(-1), total[:, :-1], total[:, -1:]


def _squared_norms(x: jax.Array) -> jax.Array:
    """Squared lengths of rows [N, D], [N].

    On a CPU the halves of a row are added to each other until one number is left: XLA fuses that with what made the
    row, and gives a sum to YNNPACK, which wants all squares in memory (three times as long for 128 numbers).
    """

    def halve(squares):
        while squares.shape[1] > 1:
            half = -(-squares.shape[1] // 2)
            squares = squares[:, :half] + jnp.pad(squares[:, half:], ((0, 0), (0, 2 * half - squares.shape[1])))
        return squares[:, 0]

    return jax.lax.platform_dependent(jnp.square(x), cpu=halve, default=lambda squares: squares.sum(1))


def _lowest_row(values: jax.Array) -> jax.Array:
    """Return the row of the smallest value of each column [K, N], the first of equal ones.

    Rows that are compared in pairs, and the winners again, are one pass over the values, which takes a fifth of the
    time of a minimum and a comparison with it, and these less than an argmin (100 rows, two cores).
    """
    last = len(values) - 1
    index = jnp.broadcast_to(jnp.arange(len(values))[:, None], values.shape)
    best = [(values[k], index[k]) for k in range(len(values))] if len(values) <= _PAIRED_ROWS else []
    while len(best) > 2:
        pairs = zip(best[::2], best[1::2], strict=False)  # an odd one waits for the next round
        winners = [(jnp.minimum(a, b), jnp.where(b < a, j, i)) for (a, i), (b, j) in pairs]
        best = winners + best[2 * len(winners) :]
    if best:
        values, index = map(jnp.stack, zip(*best, strict=True))
    return jnp.where(values == values.min(0), index, last).min(0)
