"""Linear attention: a sum by hand, both forms, causality, and a memory of one size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn.fast_weights import FastWeightAttention, FastWeights, linear_attention, linear_attention_step

ROWS = np.random.default_rng(0).normal(size=(3, 7, 4)).astype(np.float32)


@pytest.mark.covers("SQ-22")
def test_two_steps_by_hand():
    """phi(0) = 1, phi(1) = 2, phi(-log 2) = 1/2. Keys 1 and -log 2, values 3 and 9, query 0 at the second step:
    (2 * 3 + 1/2 * 9) / (2 + 1/2) = 4.2; at the first step there is but one value."""
    query, key = jnp.zeros((2, 1)), jnp.array([[1.0], [-np.log(2)]])
    value = jnp.array([[3.0], [9.0]])
    np.testing.assert_allclose(linear_attention(query, key, value), [[3.0], [4.2]], rtol=1e-6)
    memory = FastWeights(jnp.zeros((1, 1)), jnp.zeros(1))
    memory, first = linear_attention_step(memory, query[0], key[0], value[0])
    memory, second = linear_attention_step(memory, query[1], key[1], value[1])
    np.testing.assert_allclose([first[0], second[0]], [3.0, 4.2], rtol=1e-6)
    np.testing.assert_allclose(memory.matrix, [[10.5]], rtol=1e-6)
    np.testing.assert_allclose(memory.norm, [2.5], rtol=1e-6)


@pytest.mark.covers("SQ-22")
def test_the_recurrent_form_equals_the_parallel_one():
    layer, other = FastWeightAttention(5), FastWeightAttention(5, recurrent=True)
    params = jax.jit(layer.init)(jax.random.key(0), ROWS)

    def total(params, net):
        outputs = net.apply(params, ROWS)
        return jnp.square(outputs).sum(), outputs

    run = jax.jit(lambda params: [jax.grad(total, has_aux=True)(params, net) for net in (layer, other)])
    (gradient, outputs), (other_gradient, other_outputs) = run(params)
    np.testing.assert_allclose(other_outputs, outputs, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, other_gradient)


@pytest.mark.covers("SQ-22")
def test_later_steps_change_no_earlier_output():
    query, key, value = ROWS
    changed = jax.jit(linear_attention)(query, key.copy(), value + 100.0 * (np.arange(7) >= 4)[:, None])
    plain = jax.jit(linear_attention)(query, key, value)
    np.testing.assert_array_equal(changed[:4], plain[:4])
    assert np.abs(changed[4:] - plain[4:]).min() > 0.1


@pytest.mark.covers("SQ-22")
def test_the_memory_does_not_grow():
    text = [
        jax.jit(FastWeightAttention(3, recurrent=True).apply)
        .lower(
            {"params": {n: {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)} for n in ("query", "key", "value")}},
            jnp.ones((1, t, 4)),
        )
        .as_text()
        for t in (5, 11)
    ]
    for t, lowered in zip((5, 11), text, strict=True):
        assert f"{t}x{t}x" not in lowered
        assert f"{t}x1x3x3x" not in lowered, "a matrix is kept for every step"
        assert "1x3x3xf32" in lowered
