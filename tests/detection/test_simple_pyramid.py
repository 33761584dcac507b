"""The simple feature pyramid of ViTDet, layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.detection.simple_pyramid import FACTORS, SimpleFeaturePyramid, rescale
from tests.wiring import assert_wiring


@pytest.mark.slow
def test_the_simple_feature_pyramid_is_its_layers():
    """NumPy in float64: transposed convolutions of 2 x 2 put four products beside each other."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 2, 2, 8))
    pyramid = SimpleFeaturePyramid(3)
    params = jax.eval_shape(lambda: pyramid.init(jax.random.key(0), jnp.zeros(x.shape)))["params"]
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params)

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * params[name]["scale"] + params[name]["bias"]

    def up(x, name):
        b, h, w, _ = x.shape
        y = np.einsum("bhwc,ijoc->bhiwjo", x, params[name]["kernel"]) + params[name]["bias"]
        return y.reshape(b, 2 * h, 2 * w, -1)

    def level(x, i):
        x = norm(x @ params[f"inner{i}"]["kernel"][0, 0], f"inner_norm{i}")
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        _, h, w, _ = x.shape
        taps = [
            padded[:, i1 : i1 + h, j1 : j1 + w] @ params[f"layer{i}"]["kernel"][i1, j1]
            for i1 in range(3)
            for j1 in range(3)
        ]
        return norm(sum(taps), f"layer_norm{i}")

    hidden = np.asarray(jax.nn.gelu(norm(up(x, "up4_0"), "up4_norm"), approximate=False))
    scales = [up(hidden, "up4_1"), up(x, "up8_0"), x, x.max((1, 2), keepdims=True)]
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    levels = jax.jit(pyramid.apply)({"params": single}, jnp.asarray(x, jnp.float32))
    assert [y.shape for y in levels] == [(1, side, side, 3) for side in (8, 4, 2, 1)]
    for i, scale in enumerate(scales):
        np.testing.assert_allclose(levels[i], level(scale, i), rtol=1e-3, atol=1e-3)


def test_maps_that_a_pyramid_does_not_take_are_refused():
    with pytest.raises(ValueError, match=r"x.shape=\(1, 1, 2, 8\): no map for factor=0.5; allowed: C its multiple"):
        jax.eval_shape(SimpleFeaturePyramid().init, jax.random.key(0), jnp.zeros((1, 1, 2, 8)))


class Scales(nn.Module):
    @nn.compact
    def __call__(self, x):
        return [rescale(x, factor) for factor in FACTORS]


def test_the_wiring_of_the_scales_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(Scales(), (1, 2, 4, 8), [17.550678, 13.285259])
