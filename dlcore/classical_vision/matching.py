"""Matching of descriptors: the nearest by Euclidean distance, where it is clearly nearer than the second.

Lowe 2004, "Distinctive image features from scale-invariant keypoints", section 7.1.

    match(a) = argmin_b |a - b|,   kept where |a - b₁| < ratio |a - b₂|   and, mutually, where a is the nearest of b₁

All distances come from one matrix product.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_finite
from dlcore.ops.moments import squared_distances

__all__ = ["Matches", "match_descriptors"]


class Matches(NamedTuple):
    """The match of each descriptor of the first image in the second.

    Args:
      index: [N] int32, rows of the second image's descriptors.
      mask: [N] bool; False where nothing matches.
      distance: [N], to the nearest.
    """

    index: jax.Array
    mask: jax.Array
    distance: jax.Array


def match_descriptors(
    first: jax.Array,
    second: jax.Array,
    ratio: float = 0.8,
    mutual: bool = True,
    first_mask: jax.Array | None = None,
    second_mask: jax.Array | None = None,
) -> Matches:
    """Match descriptors by the ratio test.

    Args:
      first: [N, D].
      second: [M, D].
      ratio: largest distance to the nearest, relative to the distance to the second; 1 accepts all but ties.
      mutual: keep only pairs where each is the nearest of the other.
      first_mask: [N] bool, which rows count; None for all.
      second_mask: [M] bool, which rows count; None for all.

    Returns:
      Matches of N rows.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or len(second) < 2:
        raise ValueError(
            f"first.shape={first.shape} and second.shape={second.shape}: do not fit; allowed: [N, D] and [M, D], M at "
            "least 2"
        )
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio={ratio}: out of range; allowed: above 0, at most 1")
    for name, rows, mask in (("first", first, first_mask), ("second", second, second_mask)):
        if not any(isinstance(x, jax.core.Tracer) for x in (rows, mask)):
            check_finite(name, rows if mask is None else np.where(np.asarray(mask)[:, None], np.asarray(rows), 0))
    squared = squared_distances(first, second)
    squared = squared if second_mask is None else jnp.where(second_mask, squared, jnp.inf)
    squared = squared if first_mask is None else jnp.where(first_mask[:, None], squared, jnp.inf)
    nearest, index = jax.lax.top_k(-squared, 2)
    best, index = -nearest[:, 0], index[:, 0].astype(jnp.int32)
    # Ratio test on squared distances.
    mask = best < ratio**2 * -nearest[:, 1]
    if mutual:
        mask &= squared.argmin(0)[index] == jnp.arange(len(first))  # each is the other's nearest
    return Matches(index, mask, jnp.sqrt(jnp.where(jnp.isfinite(best), best, 0)))
