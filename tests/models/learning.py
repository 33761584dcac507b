"""A few steps of Adam on one tiny batch, as one program: every class of models must be able to learn it.

first, *_, last = losses(create_model("resnet18", stages=(1, 1), width=4, num_classes=3), side=16)
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax


def losses(model, side, steps=10, rate=0.01, batch=4, channels=3, gain=1, dropout=0):
    """The loss before each of `steps` updates on noise images with labels 0, 1, ...

    gain: on the initial kernels. dropout: the seed of its masks.
    """
    x = jnp.asarray(np.random.default_rng(0).normal(size=(batch, side, side, channels)), jnp.float32)
    labels, optimizer = jnp.arange(batch) % model.num_classes, optax.adam(rate)

    def step(carry, i):
        params, stats, state = carry

        def loss(params):
            rngs = {"dropout": jax.random.fold_in(jax.random.key(dropout), i)}
            logits, updated = model.apply({"params": params, **stats}, x, True, mutable=["batch_stats"], rngs=rngs)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), dict(updated)

        (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), stats, state), value

    @jax.jit
    def run():
        variables = dict(model.init(jax.random.key(0), x))
        params = jax.tree.map(lambda p: gain * p if p.ndim > 1 else p, variables.pop("params"))
        return jax.lax.scan(step, (params, variables, optimizer.init(params)), jnp.arange(steps))[1]

    return np.asarray(run())
