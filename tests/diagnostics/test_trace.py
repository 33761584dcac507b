"""Every operation is seen, with its module; the value stays what it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.diagnostics.trace import draws_random_numbers, first_reads, run_traced
from dlcore.models import create_model


def seen(function, *args):
    operations = []
    return run_traced(function, *args, visit=operations.append), operations


@pytest.mark.slow
def test_a_model_runs_as_it_is_and_its_layers_are_named():
    model = create_model("resnet8_cifar", num_classes=10)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    variables = model.init(jax.random.key(1), x)
    logits, operations = jax.jit(lambda v: seen(model.apply, v, x)[0])(variables), []
    np.testing.assert_allclose(logits, model.apply(variables, x), atol=1e-6)
    jax.eval_shape(lambda v: run_traced(model.apply, v, x, visit=operations.append), variables)
    relus = [op.module.rpartition("/")[2] for op in operations if op.name == "relu" and not op.inside]
    assert relus[0].startswith("CifarResNet"), "after the stem"
    assert relus[1:] == [f"stage{stage}_block0" for stage in (1, 1, 2, 2, 3, 3)]
    convolutions = [op for op in operations if op.name == "conv_general_dilated"]
    assert sum("stem_conv" in op.module for op in convolutions) == 1


def test_inner_functions_are_opened_and_loops_are_not():
    @jax.jit
    def inner(x):
        return jnp.tanh(x) + 1

    def outer(x):
        y = jax.checkpoint(inner)(x)
        return jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y), y) * jax.lax.cond(x > 0, jnp.cos, jnp.exp, x)

    value, operations = seen(outer, jnp.float32(0.3))
    np.testing.assert_allclose(value, outer(0.3), rtol=1e-6)
    tanh = next(op for op in operations if op.name == "tanh")
    assert tanh.inside[-1] == "inner"
    np.testing.assert_allclose(tanh.outputs[0], np.tanh(0.3), rtol=1e-6)
    assert not any(op.name == "sin" for op in operations)


def test_operations_behind_stop_gradient_are_marked():
    def f(x):
        return x * jax.lax.stop_gradient(jnp.exp(x)) + jnp.cos(x)

    found = {op.name: op.stopped for op in seen(f, jnp.float32(1.0))[1]}
    assert found["exp"]
    assert not found["cos"]


def test_random_draws_are_found_wherever_they_are():
    key = jax.random.key(0)
    assert not draws_random_numbers(lambda x: jnp.sin(x), 1.0)
    assert draws_random_numbers(lambda x: jax.random.normal(key) * x, 1.0)
    assert draws_random_numbers(
        lambda x: jax.lax.scan(lambda c, k: (c + jax.random.uniform(k), 0), x, key[None])[0], 1.0
    )
    assert draws_random_numbers(lambda x: jax.lax.cond(x > 0, lambda: jax.random.uniform(key), lambda: 0.0), 1.0)
    drop = nn.Dropout(0.5)
    assert draws_random_numbers(lambda x: drop.apply({}, x, deterministic=False, rngs={"dropout": key}), jnp.ones(3))
    assert not draws_random_numbers(lambda x: drop.apply({}, x, deterministic=True), jnp.ones(3))


def test_the_first_reader_of_each_argument_by_hand():
    """Two operations, the sine of b and its product with a; only the return reads c, and nothing d."""
    tree = {"a": 1.0, "b": 2.0}
    assert first_reads(lambda tree, c, d: (jnp.sin(tree["b"]) * tree["a"], c), tree, 3.0, 4.0) == [1, 0, 2, None]
