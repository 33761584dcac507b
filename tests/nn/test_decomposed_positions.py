"""Decomposed relative positions against the sum that defines them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import DecomposedRelativePositions


def test_the_bias_is_the_product_of_the_query_with_two_vectors():
    """A 2 x 3 map, 2 heads, 4 channels: q_i . R[y_i - y_j] + q_i . S[x_i - x_j], place by place."""
    height, width = 2, 3
    rng = np.random.default_rng(0)
    query = rng.normal(size=(2, 6, 2, 4))
    rows, columns = rng.normal(size=(3, 4)), rng.normal(size=(5, 4))
    expected = np.zeros((2, 2, 6, 6))
    for i in range(6):
        for j in range(6):
            down, right = i // width - j // width, i % width - j % width
            expected[:, :, i, j] = query[:, i] @ (rows[down + height - 1] + columns[right + width - 1])
    params = {"rows": jnp.asarray(rows, jnp.float32), "columns": jnp.asarray(columns, jnp.float32)}
    bias = DecomposedRelativePositions((height, width)).apply({"params": params}, jnp.asarray(query, jnp.float32))
    np.testing.assert_allclose(bias, expected, atol=1e-5)


def test_tables_are_resized_linearly():
    """Tables of 3 offsets 0, 1, 2 at 5 points: centers 0.6 (i + 1/2) - 1/2 = -0.2, 0.4, 1, 1.6, 2.2, cut to 0 and 2."""
    params = {"rows": np.float32([[0], [1], [2]]), "columns": np.zeros((3, 1), np.float32)}
    apply = jax.jit(DecomposedRelativePositions((2, 2)).apply, static_argnums=2)
    bias = apply({"params": params}, np.ones((3, 1, 1), np.float32), (3, 1))
    np.testing.assert_allclose(bias[0], [[1.0, 0.4, 0.0], [1.6, 1.0, 0.4], [2.0, 1.6, 1.0]], atol=1e-6)


def test_tables_start_at_zero_and_the_bias_has_the_dtype_of_the_query():
    query = jnp.ones((1, 6, 2, 4), jnp.bfloat16)
    bias, variables = DecomposedRelativePositions((2, 3)).init_with_output(jax.random.key(0), query)
    chex.assert_type(bias, jnp.bfloat16)
    chex.assert_trees_all_equal(variables["params"], {"rows": jnp.zeros((3, 4)), "columns": jnp.zeros((5, 4))})
    assert not bias.any()


def test_queries_of_another_grid_are_refused():
    with pytest.raises(
        ValueError, match=r"query.shape=\(1, 5, 1, 4\): does not fit grid=\(2, 3\); allowed: 2 x 3 places"
    ):
        DecomposedRelativePositions((2, 3)).init(jax.random.key(0), jnp.zeros((1, 5, 1, 4)))
