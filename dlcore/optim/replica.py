"""Average gradients over the replicas of `pmap` or `shard_map`, around any optimizer."""

import jax
import optax

__all__ = ["cross_replica"]


def cross_replica(tx: optax.GradientTransformation, axis: str | None) -> optax.GradientTransformationExtraArgs:
    """Feed an optimizer with gradients averaged over a mapped axis.

    Line searches get global quantities too: `value` is averaged and `value_fn` returns an average, so that all replicas
    take the same step. With `shard_map`, use `check_vma=False`: under the default the gradient of a replicated
    parameter is already a sum over devices.

    Args:
      tx: any optax transformation.
      axis: name of the mapped axis; None leaves `tx` as it is.

    Returns:
      The optax transformation.
    """
    tx = optax.with_extra_args_support(tx)
    if axis is None:
        return tx

    def update(updates, state, params=None, **extra):
        updates = jax.lax.pmean(updates, axis)
        if "grad" in extra:
            extra["grad"] = jax.lax.pmean(extra["grad"], axis)
        if "value" in extra:
            extra["value"] = jax.lax.pmean(extra["value"], axis)
        if "value_fn" in extra:
            local = extra["value_fn"]
            extra["value_fn"] = _averaged(local, axis)
        return tx.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(tx.init, update)


def _averaged(function, axis):
    """`function` averaged over the axis, with the average of the local gradients as its gradient."""

    @jax.custom_vjp
    def averaged(params):
        return jax.lax.pmean(function(params), axis)

    def forward(params):
        value, gradient = jax.value_and_grad(function)(params)
        return jax.lax.pmean(value, axis), jax.lax.pmean(gradient, axis)

    def backward(gradient, cotangent):
        return (jax.tree.map(lambda g: cotangent * g, gradient),)

    averaged.defvjp(forward, backward)
    return averaged
