"""Pairs without building them, coordinates, and states at the last word."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.words import PAD
from dlcore.vision_language.networks import (
    GridEncoder,
    PairLayer,
    SentenceEncoder,
    append_coordinates,
    last_valid,
    relation_pairs,
)
from tests.wiring import assert_wiring


def test_pairs_by_hand():
    pairs = relation_pairs(jnp.array([[[1.0], [2.0], [3.0]]]))
    chex.assert_shape(pairs, (1, 3, 3, 2))
    np.testing.assert_array_equal(pairs[0, 0, 2], [1, 3])
    np.testing.assert_array_equal(pairs[0, 2, 1], [3, 2])


@pytest.mark.covers("CP-08")
def test_the_pair_layer_equals_a_dense_layer_over_pairs():
    rng = np.random.default_rng(0)
    objects, context = rng.normal(size=(2, 4, 3)).astype(np.float32), rng.normal(size=(2, 5)).astype(np.float32)
    layer = PairLayer(6)
    variables = layer.init(jax.random.key(0), objects, context)
    about = np.broadcast_to(context[:, None, None], (2, 4, 4, 5))
    joined = np.concatenate([relation_pairs(objects), about], -1)
    want = joined @ variables["params"]["kernel"] + variables["params"]["bias"]
    np.testing.assert_allclose(layer.apply(variables, objects, context), want, atol=1e-5)


def test_coordinates_say_where_a_position_is():
    grid = append_coordinates(jnp.zeros((1, 2, 3, 4)))
    chex.assert_shape(grid, (1, 6, 6))
    np.testing.assert_array_equal(grid[0, :, 4:], [[-1, -1], [-1, 0], [-1, 1], [1, -1], [1, 0], [1, 1]])


@pytest.mark.slow
def test_padding_does_not_reach_a_sentence():
    h = jnp.arange(6.0).reshape(2, 3, 1)
    np.testing.assert_array_equal(last_valid(h, jnp.array([[5, 6, PAD], [PAD, PAD, PAD]]))[:, 0], [1, 3])
    encoder = SentenceEncoder(9, 4, 3)
    tokens = np.array([[5, 6, PAD, PAD]], np.int32)
    variables = encoder.init(jax.random.key(0), tokens)
    np.testing.assert_allclose(encoder.apply(variables, tokens), encoder.apply(variables, tokens[:, :2]), atol=1e-6)


def test_the_grid_and_what_is_refused():
    shapes = jax.eval_shape(GridEncoder((8, 16), (2, 4)).init_with_output, jax.random.key(0), jnp.zeros((1, 16, 8, 3)))
    chex.assert_shape(shapes[0], (1, 2, 1, 16))
    with pytest.raises(ValueError, match=r"strides=\(2,\): 1 layers; allowed: 2, as in channels"):
        GridEncoder((8, 8), (2,)).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_the_wiring_of_encoders_of_grids_and_sentences_is_as_it_was():
    """A regression: the numbers hold the code as it was."""
    assert_wiring(GridEncoder((8, 16), (2, 1)), (2, 8, 12, 3), [21.7453, 18.0345])
    tokens = np.array([[1, 4, 5, 6], [1, 6, 2, PAD]], np.int32)
    assert_wiring(SentenceEncoder(7, 4, 3), tokens, [0.856615, 0.355441])
