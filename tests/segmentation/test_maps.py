"""Padding and its undoing, logits before arg-max, and a normalization that needs no batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.segmentation.maps import ConvNormRelu, crop_to, enlarge, named_map, pad_to_multiple


@pytest.mark.parametrize("size", [(5, 8), (8, 16), (9, 1)])
def test_cropping_undoes_padding(size):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *size, 3)))
    padded = pad_to_multiple(x, 8)
    assert all(side % 8 == 0 and side - n < 8 for side, n in zip(padded.shape[1:3], size, strict=True))
    np.testing.assert_array_equal(crop_to(padded, size), x)


def test_padding_repeats_the_edge_on_both_sides():
    padded = np.asarray(pad_to_multiple(jnp.arange(1.0, 6)[None, :, None, None], 8))[0, :, 0, 0]
    np.testing.assert_array_equal(padded, [1, 1, 2, 3, 4, 5, 5, 5])  # 3 pixels: 1 before, 2 behind


def test_logits_are_enlarged_by_half_pixel_centers():
    # Two pixels to four: centers at -.25, .25, .75 and 1.25 of the input's, clipped to its ends.
    x = jnp.array([0.0, 1.0], jnp.bfloat16)[None, :, None, None]
    out = enlarge(x, (4, 1))
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out[0, :, 0, 0], [0, 0.25, 0.75, 1])


@pytest.mark.slow
def test_group_norm_is_the_same_in_training_and_alone():
    layer = ConvNormRelu(16, norm="group")
    x = jax.random.normal(jax.random.key(0), (3, 6, 6, 2))
    variables = layer.init(jax.random.key(1), x, False)
    assert set(variables) == {"params"}
    together = layer.apply(variables, x, True)
    np.testing.assert_allclose(layer.apply(variables, x[:1], False), together[:1], atol=1e-5)


def test_a_stage_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="stage='layer5': not in the backbone; allowed: stem, layer1"):
        named_map({"stem": jnp.zeros(1), "layer1": jnp.zeros(1)}, "layer5")
