"""Average gradients over the replicas of `pmap` or `shard_map`, around any optimiser."""

import jax
import optax

__all__ = ["cross_replica"]


def cross_replica(tx: optax.GradientTransformation, axis: str | None) -> optax.GradientTransformationExtraArgs:
    """`tx` fed with the mean of the gradients over the mapped axis; `tx` itself where `axis` is None.

    Line searches are given global quantities too: `value` is averaged and `value_fn` returns an average, so that all
    replicas take the same step. With `shard_map`, use `check_vma=False`: under the default the gradient of a
    replicated parameter is already a sum over devices.
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
