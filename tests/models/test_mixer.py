"""The MLP-Mixer against timm, and what its two perceptrons mix."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from dlcore.models import create_model, feature_info
from dlcore.models.mixer import MixerBlock


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.slow
@pytest.mark.covers("AT-25")
def test_token_mixing_is_one_perceptron_for_all_channels_and_channel_mixing_one_for_all_tokens():
    x, block = images(1, 6, 4), MixerBlock(3, 5)
    variables = jax.jit(block.init)(jax.random.key(0), x)
    p = jax.tree.map(lambda v: np.asarray(v, np.float64), variables["params"])
    chex.assert_shape(p["mlp_tokens"]["fc1"]["kernel"], (6, 3))
    chex.assert_shape(p["mlp_channels"]["fc1"]["kernel"], (4, 5))

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)

    def mlp(x, layers):
        h = x @ layers["fc1"]["kernel"] + layers["fc1"]["bias"]
        return h * scipy.stats.norm.cdf(h) @ layers["fc2"]["kernel"] + layers["fc2"]["bias"]

    z = np.asarray(x[0], np.float64)
    z = z + np.stack([mlp(norm(z)[:, c], p["mlp_tokens"]) for c in range(4)], 1)
    z = z + np.stack([mlp(norm(z)[n], p["mlp_channels"]) for n in range(6)])
    np.testing.assert_allclose(jax.jit(block.apply)(variables, x)[0], z, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-25")
def test_every_patch_reaches_every_other_in_one_block():
    x, block = images(1, 6, 4), MixerBlock(3, 5)
    variables = jax.jit(block.init)(jax.random.key(0), x)
    slope = jax.jit(jax.grad(lambda x: jnp.square(block.apply(variables, x)[0, 0]).sum()))(x)
    assert (np.abs(slope[0]).sum(-1) > 0).all()


def test_features_are_maps_of_patches():
    info = feature_info(create_model("mixer_s32_224", depth=2))
    assert info == {f"block{i}": {"stride": 32, "channels": 512} for i in (1, 2)}
