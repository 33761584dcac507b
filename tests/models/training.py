"""Tiny models in training: variables without compiling `init`, one checked step, and a few steps of Adam.

variables = draw(block, x, False)
check_step(create_model("densenet121", stages=(2, 1), growth_rate=4, stem_width=8), (4, 32, 32, 3))
first, *_, last = losses(create_model("resnet18", stages=(1, 1), width=4, num_classes=3), side=16)
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

INITIAL = {"scale": 1, "gain": 1, "var": 1, "bias": 0, "mean": 0}


def draw(module, *args):
    """Variables of `module.init(key, *args)`: kernels are LeCun normal, norms as they start."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if path[-1].key in INITIAL:
            return np.full(leaf.shape, INITIAL[path[-1].key], leaf.dtype)
        return (rng.normal(size=leaf.shape) / math.sqrt(math.prod(leaf.shape[:-1]))).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(lambda: module.init(jax.random.key(0), *args)))


def compiled(module, variables, *args):
    """`module.apply(variables, *args)` as one program; flags among `args` are static."""
    arrays = [a for a in args if not isinstance(a, bool)]

    def call(variables, arrays):
        rest = iter(arrays)
        return module.apply(variables, *(a if isinstance(a, bool) else next(rest) for a in args))

    return jax.jit(call)(variables, arrays)


def check_step(model, shape, momentum=0.9):
    """The loss is finite and falls along its gradient, which reaches every parameter; running means follow the batch.

    model: its head is made random and its classes 4. That remat changes no gradient is shown for one model of each kind
    of remat: tests/models/test_resnet_cifar.py (modules) and test_vgg.py (methods); test_registry traces it for all.
    momentum: of every batch norm. The batch's mean b does not depend on the running one: two steps from 0 leave
    (1 - momentum) b and 1 + momentum times that.
    """
    model = model.clone(num_classes=4)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    labels, rngs = np.arange(shape[0]) % 4, {"dropout": jax.random.key(1)}
    variables = draw(model, x)

    def loss(params, state):
        logits, state = model.apply({"params": params, **state}, x, train=True, rngs=rngs, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state

    program = jax.jit(jax.value_and_grad(loss, has_aux=True))
    step = lambda *args: jax.tree.map(np.asarray, program(*args))  # noqa: E731
    state = {name: values for name, values in variables.items() if name != "params"}
    (value, first), gradient = step(variables["params"], state)
    assert np.isfinite(value)
    paths = {jax.tree_util.keystr(p, simple=True, separator="/"): g for p, g in jax.tree.leaves_with_path(gradient)}
    assert not [path for path, g in paths.items() if not g.any()]
    size = math.sqrt(sum(np.square(g).sum() for g in jax.tree.leaves(gradient)))
    params = jax.tree.map(lambda p, g: np.asarray(p) - np.float32(0.02 / size) * g, variables["params"], gradient)
    (after, _), _ = step(params, state)
    assert after < value
    (_, second), _ = step(variables["params"], first)
    for (path, a), b in zip(jax.tree.leaves_with_path(first), jax.tree.leaves(second), strict=True):
        if path[-1].key == "mean":
            assert a.any()
            np.testing.assert_allclose(b, (1 + momentum) * a, rtol=1e-4, atol=1e-7)


def losses(model, side, steps=10, rate=0.01, batch=4, channels=3, gain=1, dropout=0):
    """The loss before each of `steps` updates of Adam on noise images with labels 0, 1, ..., as one program.

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
    def train():
        variables = dict(model.init(jax.random.key(0), x))
        params = jax.tree.map(lambda p: gain * p if p.ndim > 1 else p, variables.pop("params"))
        return jax.lax.scan(step, (params, variables, optimizer.init(params)), jnp.arange(steps))[1]

    return np.asarray(train())
