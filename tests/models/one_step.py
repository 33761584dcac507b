"""One step of training, of a model small enough to compile in seconds.

check_step(create_model("densenet121", stages=(2, 1), growth=4, width=8), (4, 32, 32, 3))
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn


def check_step(model, shape, still=(), momentum=0.9):
    """The loss is finite and falls along its gradient, which reaches every parameter and is the same with remat.

    model: its head is made random and its classes 4. still: parts of the paths of parameters that get no gradient.
    momentum: of every batch norm. The batch's mean b does not depend on the running one: two steps from 0 leave
    (1 - momentum) b and 1 + momentum times that.
    Returns the variables and the gradient.
    """
    model = model.clone(num_classes=4, head_init=nn.initializers.lecun_normal())
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    labels, rngs = jnp.arange(shape[0]) % 4, {"dropout": jax.random.key(1)}
    variables = jax.jit(model.init)(jax.random.key(0), x)

    def loss(model, params, state):
        logits, state = model.apply({"params": params, **state}, x, train=True, rngs=rngs, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state

    step = jax.jit(jax.value_and_grad(loss, argnums=1, has_aux=True), static_argnums=0)
    state = {name: values for name, values in variables.items() if name != "params"}
    (value, first), gradient = step(model, variables["params"], state)
    assert jnp.isfinite(value)
    paths = {jax.tree_util.keystr(p, simple=True, separator="/"): g for p, g in jax.tree.leaves_with_path(gradient)}
    dead = [p for p, g in paths.items() if not jnp.any(g != 0) and not any(part in p for part in still)]
    assert not dead, dead
    size = jnp.sqrt(sum(jnp.square(g).sum() for g in jax.tree.leaves(gradient)))
    params = jax.tree.map(lambda p, g: p - 0.02 * g / size, variables["params"], gradient)
    (after, _), _ = step(model, params, state)
    assert after < value
    (_, second), _ = step(model, variables["params"], first)
    for (path, a), b in zip(jax.tree.leaves_with_path(first), jax.tree.leaves(second), strict=True):
        if path[-1].key == "mean":
            assert jnp.any(a != 0)
            np.testing.assert_allclose(b, (1 + momentum) * a, rtol=1e-4, atol=1e-7)
    again = model.clone(remat="full")
    (recomputed, _), regradient = step(again, variables["params"], state)
    assert "remat" in str(jax.make_jaxpr(lambda p: loss(again, p, state)[0])(variables["params"]))
    np.testing.assert_allclose(recomputed, value, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * float(size)), regradient, gradient)
    return variables, gradient
