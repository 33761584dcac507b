"""Lookup tables beside flax's, and the sums of their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.nn import Embed


def test_equals_flax_in_float32():
    tokens = jnp.arange(12).reshape(3, 4) % 5
    ours, theirs = Embed(5, 6), nn.Embed(5, 6)
    variables = ours.init(jax.random.key(0), tokens)
    np.testing.assert_array_equal(ours.apply(variables, tokens), theirs.apply(variables, tokens))
    x = ours.apply(variables, tokens)
    # Ours is another form of the product, whose sums are in another order on processors without AVX-512.
    logits = (layer.apply(variables, x, method="attend") for layer in (ours, theirs))
    np.testing.assert_allclose(*logits, rtol=2e-6, atol=2e-7)


def test_a_frequent_token_gets_the_whole_sum_of_its_gradients():
    """In bfloat16 a sum of 1,000 ones stops at 256."""
    layer, tokens = Embed(3, 2, dtype=jnp.bfloat16), jnp.zeros(1000, jnp.int32)
    variables = layer.init(jax.random.key(0), tokens)
    assert layer.apply(variables, tokens).dtype == jnp.bfloat16
    gradient = jax.grad(lambda v: layer.apply(v, tokens).astype(jnp.float32).sum())(variables)["params"]["embedding"]
    np.testing.assert_array_equal(gradient, [[1000, 1000], [0, 0], [0, 0]])


def test_indices_that_are_no_integers_are_named():
    with pytest.raises(ValueError, match="inputs=float32: not an index; allowed: integers below 3"):
        Embed(3, 2).init(jax.random.key(0), jnp.zeros(4))


def test_an_index_outside_the_table_never_reads_another_row():
    """-1 is not the last row, and 3 of 3 no row; a traced one gives NaN."""
    layer = Embed(3, 2)
    variables = layer.init(jax.random.key(0), jnp.zeros(1, jnp.int32))
    rows = jax.jit(layer.apply)(variables, jnp.array([-1, 0, 2, 3]))
    np.testing.assert_array_equal(np.isnan(rows), [[True] * 2, [False] * 2, [False] * 2, [True] * 2])
