"""The layer of deformable attention: where it looks at first, and points beside boxes as references."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import DeformableAttention
from dlcore.nn.deformable_attention import star_offsets


def test_points_lie_on_a_star_at_first():
    """Four heads: right, down, left, up; the second point twice as far."""
    star = star_offsets(4, (2, 1))
    np.testing.assert_allclose(star[0], [[1, 0], [2, 0], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(star[:, 0], [[1, 0], [0, 1], [-1, 0], [0, -1]], atol=1e-6)


def test_a_box_of_the_right_size_is_a_point():
    """An offset of a level of K points reaches K pixels, and half of a box of two pixels by K: equal for K = 1."""
    layer = DeformableAttention(2, (1, 1))
    key, shapes = jax.random.key(0), ((4, 4), (4, 4))
    query, value = jax.random.normal(key, (1, 3, 4)), jax.random.normal(key, (1, 32, 4))
    center = jnp.full((1, 3, 1, 2), 0.4)
    box = jnp.concatenate([center, jnp.full_like(center, 2 / 4)], -1)
    variables = layer.init(key, query, center, value, shapes)
    by_point = layer.apply(variables, query, center, value, shapes)
    chex.assert_trees_all_close(by_point, layer.apply(variables, query, box, value, shapes), atol=1e-6)
    hidden = jnp.zeros((1, 32), bool)
    bias = variables["params"]["output_proj"]["bias"]
    assert (layer.apply(variables, query, center, value, shapes, hidden) == bias).all()


def test_bad_heads_and_references_are_named():
    query, value = jnp.zeros((1, 3, 4)), jnp.zeros((1, 4, 4))
    with pytest.raises(ValueError, match="num_heads=3: not a divisor; allowed: divisors of the 4 features"):
        DeformableAttention(3).init(jax.random.key(0), query, jnp.zeros((1, 3, 1, 2)), value, ((2, 2),))
    with pytest.raises(ValueError, match=r"reference.shape=\(1, 3, 1, 3\): does not fit 1 levels"):
        DeformableAttention(2).init(jax.random.key(0), query, jnp.zeros((1, 3, 1, 3)), value, ((2, 2),))
