"""Styles and noise: sizes by hand, the statistics that a style sets, and what noise and latents change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.style_gan import Generator, noise_sizes
from dlcore.nn import AdaptiveInstanceNorm
from tests.generative.by_rule import check_filled, filled
from tests.random_weights import random_like


def test_each_resolution_takes_noise_twice():
    assert noise_sizes((8, 8, 1)) == [(4, 4), (4, 4), (8, 8), (8, 8)]
    assert noise_sizes((16, 8, 1)) == [(8, 4), (8, 4), (16, 8), (16, 8)]  # the short side says how many levels
    assert noise_sizes((8, 16, 1)) == [(4, 8), (4, 8), (8, 16), (8, 16)]
    assert Generator((8, 8, 1)).num_noise == 2 * 16 + 2 * 64


@pytest.mark.slow
@pytest.mark.covers("GE-17")
def test_a_style_sets_mean_and_deviation_of_each_channel():
    """After the layer the mean is b(w) and the deviation 1 + a(w), to 1e-5 relative to their size."""
    layer = AdaptiveInstanceNorm(epsilon=1e-12)
    x, w = 3 + 5 * jax.random.normal(jax.random.key(0), (2, 6, 6, 3)), jax.random.normal(jax.random.key(1), (2, 4))
    variables = layer.init(jax.random.key(2), x, w)
    affine = variables["params"]["affine"]
    a, b = np.split(np.asarray(w @ affine["kernel"] + affine["bias"]), 2, -1)
    y = np.asarray(layer.apply(variables, x, w))
    np.testing.assert_allclose(y.mean((1, 2)), b, atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2)), np.abs(1 + a), atol=1e-5)


@pytest.fixture(scope="module")
def drawing():
    network = Generator((8, 8, 1), width=2, mapping_depth=2)
    z = jax.random.normal(jax.random.key(0), (3, 6 + network.num_noise))
    variables = jax.jit(network.init)(jax.random.key(1), z)
    return network, z, variables, jax.jit(network.apply)


@pytest.mark.weekly
@pytest.mark.covers("GE-17")
def test_noise_changes_nothing_at_first_and_later_its_layer_alone(drawing):
    _, z, variables, draw = drawing
    other = z.at[:, 6:].set(0)
    np.testing.assert_array_equal(draw(variables, z), draw(variables, other))
    scales = variables["params"]["synthesis"]
    assert [name for name in scales if name.startswith("noise")] == ["noise0", "noise1", "noise2", "noise3"]
    last = {**variables["params"], "synthesis": {**scales, "noise3": jnp.ones(2)}}
    # One number of the last layer's noise: one pixel more than the others, which the layer's norm shifts a little.
    one = z.at[:, 6 + 96 + 8 * 2 + 5].add(3.0)
    change = np.abs(draw({"params": last}, one) - draw({"params": last}, z))
    assert (change[:, 2, 5] > 5 * np.median(change, (1, 2))).all()
    unused = z.at[:, 6 + 20].add(3.0)
    np.testing.assert_array_equal(draw({"params": last}, unused), draw({"params": last}, z))


@pytest.mark.slow
@pytest.mark.covers("GE-17")
def test_latents_are_mapped_by_their_direction_alone():
    network = Generator((8, 8, 1), width=2, mapping_depth=1)
    z = np.random.default_rng(0).normal(size=(3, 6 + network.num_noise)).astype(np.float32)
    params = random_like(jax.eval_shape(network.init, jax.random.key(1), z)["params"], 0.5)

    @jax.jit
    def run(z):
        longer = jnp.concatenate([4 * z[:, :6], z[:, 6:]], 1)
        w = network.apply({"params": params}, longer[:, :6], method="styles")
        drawn = network.apply({"params": params}, w, z[:, 6:], method="synthesize")
        return drawn, network.apply({"params": params}, z)

    drawn, expected = run(z)
    np.testing.assert_allclose(drawn, expected, atol=1e-5)
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3


def test_an_input_of_noise_alone_is_named():
    network = Generator((8, 8, 1), width=2)
    with pytest.raises(ValueError, match=r"no latent beside the noise; allowed: more than 160 numbers"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 160)))


@pytest.mark.covers("GE-17")
def test_the_generator_by_the_weight_rule():
    found = filled(Generator((8, 8, 1), width=2, mapping_depth=2), (2, 6 + 160))
    check_filled(found, 591, (2, 8, 8, 1), [0.565909, 0.646589, 0.998263, -0.690457])
