"""Self-organizing map: a grid of prototypes that unfolds over the data while grid neighbors stay similar.

Kohonen 1982, "Self-organized formation of topologically correct feature maps"; the batch rule is that of Kohonen 1995,
"Self-Organizing Maps", section 3.14.

    winner        b(x) = argmin_i |x - w_i|
    neighborhood  h_ij = exp(-|r_i - r_j|^2 / 2σ^2)            r: positions on the grid; σ shrinks from epoch to epoch
    online        w_i += α h_(i, b(x)) (x - w_i)               one example after the other
    batch         w_i = Σ_n h_(i, b(x_n)) x_n / Σ_n h_(i, b(x_n))        the fixed point of the online rule

Training uses the batch rule, which needs neither a learning rate nor an order of the examples.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number, is_whole_number
from dlcore.classic_ml.points import check_points, squared_distances
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import add_center, centered, to_acc_dtype

__all__ = ["SOM", "grid_positions", "quantization_error", "som", "som_batch_update", "topographic_error", "winners"]


class SOM(NamedTuple):
    """A trained map.

    Args:
      prototypes: [rows, columns, D].
      quantization: [epochs + 1], quantization error before training and after each epoch.
      topographic: [epochs + 1], topographic error before training and after each epoch.
    """

    prototypes: jax.Array
    quantization: jax.Array
    topographic: jax.Array


def som(
    key: jax.Array,
    x: Any,
    shape: tuple[int, int] = (10, 10),
    *,
    epochs: int = 30,
    sigma: tuple[float, float] | None = None,
) -> SOM:
    """Train a self-organizing map from noise around the mean.

    Args:
      key: PRNG key of the noise.
      x: [N, D], finite.
      shape: rows and columns of the grid.
      epochs: number of epochs of the batch rule.
      sigma: width of the neighborhood in the first and the last epoch, geometric between; None takes half the longer
        side, and 0.5.

    Returns:
      SOM.
    """
    check_points("x", x)
    if np.shape(shape) != (2,) or not all(map(is_whole_number, shape)) or min(shape) < 1 or max(shape) < 2:
        raise ValueError(f"shape={shape}: too small; allowed: (rows, columns) of at least two prototypes")
    rows, columns = shape
    check_whole_number("epochs", epochs, 1)
    if sigma is not None and (np.shape(sigma) != (2,) or np.asarray(sigma).dtype.kind not in "iuf"):
        raise ValueError(f"sigma={sigma}: not two numbers; allowed: two positive widths")
    first, last = (max(shape) / 2, 0.5) if sigma is None else sigma
    if not (0 < first < math.inf and 0 < last < math.inf):
        raise ValueError(f"sigma={sigma}: out of range; allowed: two positive widths")
    x, center = centered(x)
    noise = jax.random.normal(key, (rows * columns, x.shape[1]), x.dtype)
    start = x.mean(0) + 0.01 * (x + center).std() * noise
    w, quantization, topographic = _train(x, start, jnp.geomspace(first, last, epochs), tuple(shape))
    return SOM(add_center(w, center).reshape(rows, columns, -1), quantization, topographic)


def som_batch_update(x: jax.Array, w: jax.Array, positions: jax.Array, sigma: float | jax.Array) -> jax.Array:
    """Run one epoch of the batch rule.

    Args:
      x: [N, D].
      w: [M, D], prototypes.
      positions: [M, 2], of the prototypes on the grid.
      sigma: width of the neighborhood, in steps of the grid.

    Returns:
      [M, D], the new prototypes.
    """
    _check(x, w, positions)
    check_shapes(sigma=(sigma, "> 0"))
    check_finite("sigma", sigma)
    x, w, center = centered(x, w)
    return add_center(_batch_update(x, w, to_acc_dtype(positions), sigma), center)


@jax.jit
def _batch_update(x, w, positions, sigma):
    best = _winners(x, w)[0]  # [N]
    total = jax.ops.segment_sum(x, best, len(w))
    count = jax.ops.segment_sum(jnp.ones(len(x), x.dtype), best, len(w))
    # Each prototype moves to the mean of the points of its grid neighbors, weighted by the neighborhood.
    near = jnp.exp(-squared_distances(positions, positions) / (2 * sigma**2)).astype(x.dtype)  # [M, M]
    weight = near @ count
    moved = jnp.matmul(near, total, precision=jax.lax.Precision.HIGHEST) / jnp.maximum(weight, 1e-30)[:, None]
    return jnp.where(weight[:, None] > 1e-30, moved, w)


def winners(x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Find the nearest and the second nearest prototype of each point.

    Args:
      x: [N, D].
      w: [M, D], prototypes.

    Returns:
      (nearest [N], second nearest [N]), indices of prototypes.
    """
    _check(x, w)
    return _winners(*centered(x, w)[:2])


@jax.jit
def _winners(x, w):
    best = jax.lax.top_k(-squared_distances(x, w), 2)[1]
    return best[:, 0], best[:, 1]


def quantization_error(x: jax.Array, w: jax.Array) -> jax.Array:
    """Mean distance of the points to their nearest prototype.

    Args:
      x: [N, D].
      w: [M, D], prototypes.

    Returns:
      The error, in units of x.
    """
    _check(x, w)
    return _quantization_error(*centered(x, w)[:2])


@jax.jit
def _quantization_error(x, w):
    return jnp.linalg.norm(x - w[_winners(x, w)[0]], axis=1).mean()


def topographic_error(x: jax.Array, w: jax.Array, positions: jax.Array) -> jax.Array:
    """Share of the points whose two nearest prototypes are not grid neighbors (farther than sqrt 2 on the grid).

    Args:
      x: [N, D].
      w: [M, D], prototypes.
      positions: [M, 2], of the prototypes on the grid.

    Returns:
      Share in [0, 1].
    """
    _check(x, w, positions)
    return _topographic_error(*centered(x, w)[:2], to_acc_dtype(positions))


@jax.jit
def _topographic_error(x, w, positions):
    a, b = _winners(x, w)
    return (jnp.square(positions[a] - positions[b]).sum(1) > 2.5).mean()


def grid_positions(shape: tuple[int, int]) -> jax.Array:
    """List the positions of the prototypes on a rectangular grid.

    Args:
      shape: rows and columns.

    Returns:
      [rows columns, 2], (row, column) of each.
    """
    if np.shape(shape) != (2,) or not all(map(is_whole_number, shape)) or min(shape) < 1:
        raise ValueError(f"shape={shape}: no grid; allowed: (rows, columns), each at least 1")
    return jnp.stack(jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in shape), indexing="ij"), -1).reshape(-1, 2)


def _check(x: jax.Array, w: jax.Array, positions: jax.Array | None = None) -> None:
    check_shapes(x=(x, "N D finite"), w=(w, "M D finite"), positions=(positions, "M 2 finite or None"))
    if len(w) < 2:
        raise ValueError(f"w.shape={np.shape(w)}: no second nearest; allowed: at least two prototypes")
    if not len(x):
        raise ValueError(f"x.shape={np.shape(x)}: empty; allowed: at least one point")


@functools.partial(jax.jit, static_argnums=3)
def _train(x, start, sigmas, shape):
    positions = grid_positions(shape)

    def errors(w):
        return _quantization_error(x, w), _topographic_error(x, w, positions)

    def epoch(w, sigma):
        w = _batch_update(x, w, positions, sigma)
        return w, errors(w)

    w, after = jax.lax.scan(epoch, start, sigmas)
    before = errors(start)
    return w, *(jnp.concatenate([b[None], a]) for b, a in zip(before, after, strict=True))
