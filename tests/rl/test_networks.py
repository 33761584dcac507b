"""Shapes and first outputs of the networks over observations."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn.recurrent_cells import lstm_cell
from dlcore.rl.networks import ActorCritic, QNetwork, Torso, lstm_sequence


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(4,), (10, 10, 4)])
def test_shapes(shape):
    x = jnp.ones((3, *shape), jnp.float32)
    policy, value = ActorCritic(5).init_with_output(jax.random.key(0), x)[0]
    chex.assert_shape((policy.logits, value), ((3, 5), (3,)))
    chex.assert_shape(QNetwork(5).init_with_output(jax.random.key(0), x)[0], (3, 5))


@pytest.mark.slow
def test_the_first_policy_is_nearly_uniform():
    x = jax.random.normal(jax.random.key(1), (64, 4))
    (policy, _), _ = ActorCritic(3).init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(jax.nn.softmax(policy.logits), 1 / 3, atol=0.02)


def test_vectors_go_through_two_dense_layers():
    x = jax.random.normal(jax.random.key(1), (3, 4))
    out, variables = Torso(5).init_with_output(jax.random.key(0), x)
    params = variables["params"]
    assert set(params) == {"dense1", "dense2"}
    hidden = jnp.tanh(x @ params["dense1"]["kernel"])
    np.testing.assert_allclose(out, jnp.tanh(hidden @ params["dense2"]["kernel"]), rtol=1e-5)


@pytest.mark.slow
def test_images_go_through_a_convolution_and_one_dense_layer():
    x = jax.random.normal(jax.random.key(1), (3, 5, 6, 2))
    out, variables = Torso(5).init_with_output(jax.random.key(0), x)
    params = variables["params"]
    assert {name: leaf["kernel"].shape for name, leaf in params.items()} == {
        "conv": (3, 3, 2, 16),
        "dense1": (3 * 4 * 16, 5),
    }
    maps = jax.lax.conv_general_dilated(
        x, params["conv"]["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    flat = jnp.maximum(maps, 0).reshape(3, -1)
    np.testing.assert_allclose(out, jnp.tanh(flat @ params["dense1"]["kernel"]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_gradients_of_the_lstm_s_loop_are_those_of_its_steps():
    keys = jax.random.split(jax.random.key(0), 5)
    kernel, inputs = 0.5 * jax.random.normal(keys[0], (3, 12)), jax.random.normal(keys[1], (5, 2, 12))
    memory = jax.random.normal(keys[2], (2, 3)), jax.random.normal(keys[3], (2, 3))
    fresh = jnp.array([[False, True], [False, False], [True, False], [False, False], [False, True]])
    weights = jax.random.normal(keys[4], (5, 2, 3))

    def by_steps(kernel, memory, inputs):
        hidden = []
        for a, new in zip(inputs, fresh, strict=True):
            memory = tuple(jnp.where(new[:, None], 0.0, h) for h in memory)
            memory = lstm_cell(memory, a, memory[0] @ kernel)
            hidden.append(memory[0])
        return (jnp.stack(hidden) * weights).sum() + memory[1].sum()

    def at_once(kernel, memory, inputs):
        last, hidden = lstm_sequence(kernel, memory, inputs, fresh)
        return (hidden * weights).sum() + last[1].sum()

    want, got = (jax.value_and_grad(f, (0, 1, 2))(kernel, memory, inputs) for f in (by_steps, at_once))
    chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-6)
