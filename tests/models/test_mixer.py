"""The MLP-Mixer against timm, and what its two perceptrons mix."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from dlcore.models import create_model, feature_info
from dlcore.models.mixer import MixerBlock
from tests.models.parity import check_golden, parameter_count
from tests.models.training import losses


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.slow
@pytest.mark.covers("AT-25")
def test_the_mixer_equals_timm():
    check_golden("timm_mixer_s16_224", "mixer_s16_224", {f"blocks.{i}": f"blocks_{i}" for i in (0, 4)})


@pytest.mark.covers("AT-25")
@pytest.mark.parametrize(("name", "count"), [("mixer_s16_224", 18_528_264), ("mixer_b16_224", 59_880_472)])
def test_parameter_counts(name, count):
    assert parameter_count(name) == count


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


@pytest.mark.weekly
def test_a_step_of_training_lowers_the_loss_and_other_sizes_are_named():
    model = create_model("mixer_s16_224", patch_size=4, depth=1, width=8, num_classes=5, remat="full")
    values = losses(model, side=8, steps=5, batch=8)
    assert values[0] == pytest.approx(np.log(5), rel=1e-5)
    assert values[-1] < values[0]
    variables = jax.jit(model.init)(jax.random.key(0), images(1, 8, 8, 3))
    with pytest.raises(ValueError, match="6 patches do not fit this Mixer; allowed: 4"):
        model.apply(variables, images(1, 8, 12, 3))
    with pytest.raises(ValueError, match=r"x.shape=\(1, 8, 10, 3\): .*multiples of patch_size=4"):
        model.apply(variables, images(1, 8, 10, 3))


def test_features_are_maps_of_patches():
    info = feature_info(create_model("mixer_s32_224", depth=2))
    assert info == {f"block{i}": {"stride": 32, "channels": 512} for i in (1, 2)}
