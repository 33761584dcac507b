"""Gradient clipping: by the norm of all gradients as if they were one vector, or each derivative by itself.

Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063.

    by norm:   g <- g min(1, c / ‖g‖)          keeps the direction; ‖g‖ is the root of the sum of squares
    by value:  g <- min(max(g, -c), c)         does not

`optax.clip_by_global_norm` and `optax.clip` are these; what optax lacks is another norm, such as the largest entry.
"""

import jax
import jax.numpy as jnp
import optax

from dlcore.ops.precision import to_acc_dtype
from dlcore.optim._rules import check_above_0

__all__ = ["clip_by_norm", "clip_by_value"]


def clip_by_value(limit: float) -> optax.GradientTransformation:
    """Limit each derivative by itself, as `optax.clip`.

    Args:
      limit: greatest absolute value, above 0.

    Returns:
      The optax transformation.
    """
    check_above_0(limit=limit)
    return optax.clip(limit)


def clip_by_norm(limit: float, order: float = 2.0) -> optax.GradientTransformation:
    """Scale all gradients together so that their norm is at most `limit`.

    Args:
      limit: greatest norm, above 0.
      order: which norm, above 0: 2, 1, or `inf` for the largest entry.

    Returns:
      The optax transformation.
    """
    check_above_0(limit=limit, order=order)

    def update(gradients, state, params=None):
        norms = jnp.stack([jnp.linalg.norm(to_acc_dtype(g).ravel(), order) for g in jax.tree.leaves(gradients)])
        total = jnp.linalg.norm(norms, order)
        scale = jnp.where(total > limit, limit / jnp.where(total > limit, total, 1), 1)
        return jax.tree.map(lambda g: (g * scale).astype(g.dtype), gradients), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
