"""Walks in a latent space: between two codes on the arc, along one dimension, and along what an attribute follows.

    slerp      sin((1 - s) w) / sin w a + sin(s w) / sin w b,    w: the angle between a and b (Shoemake 1985)
    traversal  z with one dimension after the other set to each of the values
    editing    z + t d,  d: the least-squares direction in which the attribute rises by 1
    subspace   z + t v_k,  v_k: principal components of many codes (GANSpace; Härkönen et al. 2020, arXiv:2004.02546)

A normal code of many dimensions has a length near sqrt(D), which an arc keeps and a straight line loses.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_finite, check_indices, check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["arcs", "attribute_direction", "edit", "principal_directions", "slerp", "traverse"]


def slerp(a: jax.Array, b: jax.Array, share: float | jax.Array) -> jax.Array:
    """Interpolate on the arc from a to b; on the line where their directions are one, or opposite.

    Args:
      a: code or noise of any shape.
      b: of the same shape.
      share: fraction of b, in [0, 1].

    Returns:
      Of the same shape and dtype, computed in float32.
    """
    check_shapes(a=(a, "..."), b=(b, "..."), share=(share, "0 to 1"))
    a, b, dtype = to_acc_dtype(a), to_acc_dtype(b), result_dtype(a, b)
    squared = jnp.square(a).sum(), jnp.square(b).sum()
    # Norms of 1 stand for those of zero, and the right angle for none: neither root nor arccos has a gradient there.
    is_zero = (squared[0] == 0) | (squared[1] == 0)
    lengths = [jnp.sqrt(jnp.where(is_zero, 1, square)) for square in squared]
    cosine = jnp.vdot(a, b) / lengths[0] / lengths[1]
    # Nearly parallel vectors are interpolated on a line.
    is_arc = (jnp.square(cosine) < 1 - 1e-6) & ~is_zero
    angle = jnp.arccos(jnp.where(is_arc, cosine, 0))
    weights = (jnp.where(is_arc, jnp.sin(part * angle) / jnp.sin(angle), part) for part in (1 - share, share))
    first, second = weights
    return (first * a + second * b).astype(dtype)


def arcs(a: jax.Array, b: jax.Array, num_steps: int) -> jax.Array:
    """Walk from each code to another, by equal shares of `slerp`.

    Args:
      a: [B, Z].
      b: [B, Z].
      num_steps: codes on each walk, both ends included, at least 2.

    Returns:
      [B, num_steps, Z].
    """
    check_shapes(a=(a, "B Z"), b=(b, "B Z"), num_steps=(num_steps, "int >= 2"))
    fractions = jnp.linspace(0, 1, num_steps)
    return jax.vmap(lambda a, b: jax.vmap(lambda fraction: slerp(a, b, fraction))(fractions))(a, b)


def traverse(z: jax.Array, dimensions: jax.Array, values: jax.Array) -> jax.Array:
    """Vary some dimensions of a code, one at a time.

    Args:
      z: [Z].
      dimensions: [D] int in [0, Z).
      values: [V], that each takes.

    Returns:
      [D, V, Z].
    """
    check_shapes(z=(z, "Z"), values=(values, "V"))
    check_shapes(dimensions=(dimensions, "D"), number=(len(dimensions), ">= 1"))
    check_indices("dimensions", dimensions, len(z), "dimensions")
    z, dimensions, values = jnp.asarray(z, result_dtype(z)), jnp.asarray(dimensions), jnp.asarray(values)
    return jax.vmap(lambda d: jax.vmap(lambda v: z.at[d].set(v.astype(z.dtype)))(values))(dimensions)


def attribute_direction(codes: np.ndarray, attribute: np.ndarray) -> np.ndarray:
    """Fit the direction that an attribute follows: attribute = c + codes . w, by least squares with a trace of ridge.

    Args:
      codes: [N, Z].
      attribute: [N], such as the position or the size of what is shown, or 0 and 1.

    Returns:
      [Z] float32, w / |w|^2: a step of t along it raises the predicted attribute by t; 0 where codes say nothing.
    """
    codes, attribute = np.asarray(codes, np.float64), np.asarray(attribute, np.float64)
    if codes.ndim != 2 or attribute.shape != codes.shape[:1] or len(codes) < 2:
        raise ValueError(
            f"codes={codes.shape}, attribute={attribute.shape}: do not fit; allowed: [N, Z] and [N], N at least 2"
        )
    check_finite("codes", codes)
    check_finite("attribute", attribute)
    if np.ptp(attribute) == 0:
        raise ValueError(f"attribute={attribute[0]:g} of all codes: no direction; allowed: at least two values")
    centered = codes - codes.mean(0)
    # Ridge regression of the attribute on the codes.
    ridge = 1e-6 * np.trace(centered.T @ centered) / codes.shape[1] + 1e-12
    w = np.linalg.solve(
        centered.T @ centered + ridge * np.eye(codes.shape[1]), centered.T @ (attribute - attribute.mean())
    )
    return (w / max(float(w @ w), 1e-12)).astype(np.float32)


def edit(z: jax.Array, direction: jax.Array, amounts: jax.Array) -> jax.Array:
    """Move codes along a direction.

    Args:
      z: [..., Z].
      direction: [Z], of `attribute_direction`.
      amounts: [A], by which the attribute should change.

    Returns:
      [A, ..., Z].
    """
    check_shapes(z=(z, "... Z"))
    check_shapes(direction=(direction, str(z.shape[-1])), amounts=(amounts, "A"))
    amounts = to_acc_dtype(amounts).reshape(-1, *(1,) * z.ndim)
    return (to_acc_dtype(z) + amounts * direction).astype(result_dtype(z))


def principal_directions(codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the directions in which codes vary most.

    Args:
      codes: [N, Z], N at least 2.
      count: number of directions, at most the smaller of N and Z.

    Returns:
      (directions [count, Z], each as long as the codes' deviation along it; the share of all variance of each [count]).
      Their signs make the largest entry of each positive.
    """
    check_shapes(count=(count, "int >= 0"))
    codes = np.asarray(codes, np.float64)
    if codes.ndim != 2 or len(codes) < 2 or not 1 <= count <= min(codes.shape):
        raise ValueError(f"count={count} of codes={codes.shape}: does not fit; allowed: 1 to the smaller of [N, Z]")
    check_finite("codes", codes)
    centered = codes - codes.mean(0)
    # PCA by an SVD; signs are made unique.
    _, deviations, directions = np.linalg.svd(centered / np.sqrt(len(codes) - 1), full_matrices=False)
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    explained = np.square(deviations) / max(np.square(deviations).sum(), 1e-12)
    scaled = directions * np.sign(largest) * deviations[:, None]
    return scaled[:count].astype(np.float32), explained[:count].astype(np.float32)
