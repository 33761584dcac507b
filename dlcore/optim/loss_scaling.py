"""Loss scaling: gradients that a narrow float would round to zero are computed s times as large.

    g = ∇(s L) / s                          the same gradient, with s in the exponents on the way
    not finite:   no update, s <- s / factor
    finite `period` times in a row:         s <- s · factor

Micikevicius et al., "Mixed precision training" (2018), arXiv:1710.03740, with the dynamic rule of its section 3.2.
float16 has 5 bits of exponent and loses what is below 6e-8; bfloat16 has float32's 8 and needs no scaling.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore.choices import is_whole_number

__all__ = ["DynamicLossScale", "dynamic_loss_scale", "loss_scale"]


class DynamicLossScale(NamedTuple):
    """The state of `dynamic_loss_scale`.

    Args:
      inner: state of the wrapped optimizer.
      scale: [] float32, factor to multiply the loss with.
      good: [] int32, finite gradients since the scale last changed.
    """

    inner: Any
    scale: jax.Array
    good: jax.Array


def dynamic_loss_scale(
    inner: optax.GradientTransformation, initial: float = 2.0**15, factor: float = 2.0, period: int = 2000
) -> optax.GradientTransformationExtraArgs:
    """Unscale the gradients of a scaled loss, skip steps that are not finite, and adapt the scale.

    `update` takes the gradients of `loss_scale(opt_state) * loss`. Where one is not finite, the parameters and the
    state of `inner` stay as they are. The scale never falls below 1.

    Args:
      inner: optimizer, fed with unscaled gradients.
      initial: first scale, at least 1.
      factor: what the scale is divided by after an overflow and multiplied by after `period` good steps; above 1.
      period: finite gradients in a row before the scale grows.

    Returns:
      The optax transformation.
    """
    is_period = is_whole_number(period) and period >= 1
    if not (1 <= initial < math.inf and 1 < factor < math.inf and is_period):
        raise ValueError(
            f"initial={initial}, factor={factor}, period={period}: out of range; "
            "allowed: initial 1 or more, factor above 1, period 1 or more"
        )
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> DynamicLossScale:
        return DynamicLossScale(inner.init(params), jnp.float32(initial), jnp.int32(0))

    def update(grads: Any, state: DynamicLossScale, params: Any = None, **extra: Any) -> tuple[Any, DynamicLossScale]:
        grads = jax.tree.map(lambda g: g.astype(jnp.float32) / state.scale, grads)
        finite = jnp.all(jnp.array([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]))
        updates, new = inner.update(grads, state.inner, params, **extra)
        updates = jax.tree.map(lambda u: jnp.where(finite, u, jnp.zeros_like(u)), updates)
        new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state.inner)
        good = jnp.where(finite, state.good + 1, 0)
        grown = jnp.where(good >= period, state.scale * factor, state.scale)
        scale = jnp.where(finite, grown, jnp.maximum(state.scale / factor, 1.0))
        return updates, DynamicLossScale(new, scale, jnp.where(good >= period, 0, good))

    return optax.GradientTransformationExtraArgs(init, update)


def loss_scale(opt_state: Any) -> jax.Array:
    """Read the scale from an optimizer's state.

    Args:
      opt_state: state of any optimizer.

    Returns:
      [] float32; 1 where the optimizer scales no loss.
    """
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, DynamicLossScale))
    return next((x.scale for x in leaves if isinstance(x, DynamicLossScale)), jnp.float32(1))
