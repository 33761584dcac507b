"""Average gradients over the replicas of `pmap` or `shard_map`, around any optimizer."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from dlcore.ops.replica import is_replicated, pmean

__all__ = ["cross_replica"]


def cross_replica(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Feed an optimizer with gradients averaged over the replicas; where there is one, it stays as it is.

    Line searches get global quantities too: `value` is averaged and `value_fn` returns an average, so that all replicas
    take the same step. With `shard_map` over `dlcore.ops.REPLICA`, use `check_vma=False`: under the default the
    gradient of a replicated parameter is already a sum over devices.

    Args:
      tx: any optax transformation.

    Returns:
      The optax transformation.
    """
    tx = optax.with_extra_args_support(tx)

    def update(updates, state, params=None, **extra):
        extra |= {name: pmean(extra[name]) for name in ("grad", "value") if name in extra}
        if "value_fn" in extra and is_replicated():
            extra["value_fn"] = _averaged(extra["value_fn"])
        return tx.update(pmean(updates), state, params, **extra)

    return optax.GradientTransformationExtraArgs(tx.init, update)


def _averaged(function: Callable[[Any], jax.Array]) -> Callable[[Any], jax.Array]:
    """`function` averaged over the replicas, with the average of the local gradients as its gradient."""

    @jax.custom_vjp
    def averaged(params):
        return pmean(function(params))

    def forward(params):
        return pmean(jax.value_and_grad(function)(params))

    def backward(gradient, cotangent):
        return (jax.tree.map(lambda g: cotangent * g, gradient),)

    averaged.defvjp(forward, backward)
    return averaged
