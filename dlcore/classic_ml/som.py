"""Self-organising map: a grid of prototypes that unfolds over the data, neighbours of the grid near each other.

Kohonen 1982, "Self-organized formation of topologically correct feature maps"; the batch rule is that of Kohonen 1995,
"Self-Organizing Maps", section 3.14.

    winner    b(x) = argmin_i |x - w_i|
    nearness  h_ij = exp(-|r_i - r_j|^2 / 2σ^2)            r: places on the grid; σ shrinks from epoch to epoch
    online    w_i += α h_(i, b(x)) (x - w_i)               one example after the other
    batch     w_i = Σ_n h_(i, b(x_n)) x_n / Σ_n h_(i, b(x_n))        where the online rule stands still

Training is by the batch rule, which needs no rate and no order of the examples.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore.classic_ml.points import check_points, squared_distances

__all__ = ["SOM", "grid_places", "quantization_error", "som", "som_batch_update", "topographic_error", "winners"]


class SOM(NamedTuple):
    """prototypes: [rows, columns, D]. quantization, topographic: [epochs + 1], the errors before and after each."""

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
    """Train a map of `shape` (rows, columns) on x: [N, D], from noise around the mean.

    sigma: the neighbourhood's width in the first and the last epoch, geometric between; half the longer side and .5.

    Raises:
      ValueError: x is not finite [N, D]; fewer than two prototypes; epochs below 1; a sigma that is not positive.
    """
    x = check_points("x", x)
    rows, columns = shape
    if min(shape) < 1 or rows * columns < 2:
        raise ValueError(f"shape is {shape}; it must be (rows, columns) with two prototypes or more")
    first, last = (max(max(shape) / 2, 0.5), 0.5) if sigma is None else sigma
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; it must be at least 1")
    if not min(first, last) > 0:
        raise ValueError(f"sigma is {sigma}; both widths must be positive")
    noise = jax.random.normal(key, (rows * columns, x.shape[1]), x.dtype)
    start = x.mean(0) + 0.01 * x.std() * noise
    w, quantization, topographic = _train(x, start, jnp.geomspace(first, last, epochs), shape)
    return SOM(w.reshape(rows, columns, -1), quantization, topographic)


def som_batch_update(x: jax.Array, w: jax.Array, places: jax.Array, sigma: float | jax.Array) -> jax.Array:
    """One epoch of the batch rule: x: [N, D], w: [M, D], places: [M, 2] -> [M, D]."""
    best = winners(x, w)[0]
    total = jax.ops.segment_sum(x, best, len(w))
    count = jax.ops.segment_sum(jnp.ones(len(x), x.dtype), best, len(w))
    near = jnp.exp(-squared_distances(places, places) / (2 * sigma**2)).astype(x.dtype)
    weight = near @ count
    moved = jnp.matmul(near, total, precision=jax.lax.Precision.HIGHEST) / jnp.maximum(weight, 1e-30)[:, None]
    return jnp.where(weight[:, None] > 1e-30, moved, w)


def winners(x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The nearest and the second nearest of w: [M, D] to each of x: [N, D] -> ([N], [N])."""
    best = jax.lax.top_k(-squared_distances(x, w), 2)[1]
    return best[:, 0], best[:, 1]


def quantization_error(x: jax.Array, w: jax.Array) -> jax.Array:
    """The mean distance of x: [N, D] to the nearest of w: [M, D]."""
    return jnp.linalg.norm(x - w[winners(x, w)[0]], axis=1).mean()


def topographic_error(x: jax.Array, w: jax.Array, places: jax.Array) -> jax.Array:
    """The share of x: [N, D] whose two nearest prototypes are no neighbours: further than sqrt 2 on the grid."""
    a, b = winners(x, w)
    return (jnp.square(places[a] - places[b]).sum(1) > 2.5).mean()


def grid_places(shape: tuple[int, int]) -> jax.Array:
    """(row, column) of each prototype of a square grid -> [rows columns, 2]."""
    return jnp.stack(jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in shape), indexing="ij"), -1).reshape(-1, 2)


@functools.partial(jax.jit, static_argnums=3)
def _train(x, start, sigmas, shape):
    places = grid_places(shape)

    def errors(w):
        return quantization_error(x, w), topographic_error(x, w, places)

    def epoch(w, sigma):
        w = som_batch_update(x, w, places, sigma)
        return w, errors(w)

    w, after = jax.lax.scan(epoch, start, sigmas)
    before = errors(start)
    return w, *(jnp.concatenate([b[None], a]) for b, a in zip(before, after, strict=True))
