"""Modulated convolutions against the weights of each example, and what each part of the networks adds, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.style_gan2_networks import (
    Discriminator,
    Generator,
    StyledSynthesis,
    minibatch_deviation,
    modulated_conv,
)
from tests.wiring import assert_wiring

RNG = np.random.default_rng(0)
X, KERNEL = RNG.normal(size=(2, 5, 4, 3)), RNG.normal(size=(3, 3, 3, 2))
STYLES = np.array([[0.5, -2.0, 1.0], [3.0, 0.1, 0.0]])


def drawn(network, *inputs):
    """NumPy's random kernels, and zeros for all else: no program to compile."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda s: rng.normal(size=s.shape) * (s.ndim > 1), shapes)


@pytest.mark.covers("GE-44")
@pytest.mark.parametrize("demodulate", [True, False])
def test_the_scaled_convolution_equals_that_by_weights_of_each_example(demodulate):
    """NumPy, float64: weights s_i w_kio by example, divided by their norm over k and i, on maps padded by zeros."""
    weights = STYLES[:, None, None, :, None] * KERNEL  # [B, 3, 3, I, O]
    if demodulate:
        weights = weights / np.sqrt(np.square(weights).sum((1, 2, 3), keepdims=True))
    padded = np.pad(X, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))  # [B, H, W, I, 3, 3]
    expected = np.einsum("bhwikl,bklio->bhwo", windows, weights)
    args = (jnp.asarray(values, jnp.float32) for values in (X, KERNEL, STYLES))
    np.testing.assert_allclose(modulated_conv(*args, demodulate), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.covers("GE-44")
def test_demodulated_outputs_have_unit_variance():
    """Of 3,844 inner pixels of normal maps: the standard error of a variance is about sqrt(2 / 3844) = 2.3 %."""
    x = jax.random.normal(jax.random.key(0), (2, 64, 64, 3))
    args = (jnp.asarray(values, jnp.float32) for values in (KERNEL, 40 * STYLES))
    y = np.asarray(modulated_conv(x, *args))[:, 1:-1, 1:-1]
    np.testing.assert_allclose(y.var((1, 2)), 1, atol=0.12)
    # Exactly: the answers to a unit impulse of each input channel have squares that sum to 1.
    impulses = jnp.zeros((3, 2, 5, 5, 3)).at[jnp.arange(3), :, 2, 2, jnp.arange(3)].set(1)
    answers = np.stack([modulated_conv(x, jnp.float32(KERNEL), jnp.float32(STYLES)) for x in impulses])
    np.testing.assert_allclose(np.square(answers).sum((0, 2, 3)), 1, rtol=1e-5)


def test_shapes_that_do_not_fit_are_named():
    x, kernel = jnp.zeros((2, 4, 4, 3)), jnp.zeros((3, 3, 3, 2))
    with pytest.raises(ValueError, match="styles"):
        modulated_conv(x, kernel, jnp.ones((2, 4)))


def test_the_deviation_of_groups_by_hand():
    """0 and 2 deviate by 1, 5 and 5 by 0 (the root of 1e-8 is 1e-4); features (1, 0) average to 1/2."""
    x = jnp.array([[0.0, 3.0], [2.0, 3.0], [5.0, 1.0], [5.0, 1.0]])
    np.testing.assert_allclose(minibatch_deviation(x, 2), [0.50005, 0.50005, 1e-4, 1e-4], rtol=1e-5)
    # Three images make no groups of two: each is alone.
    np.testing.assert_allclose(minibatch_deviation(x[:3], 2), 1e-4, rtol=1e-4)
    # One group of four: (0, 2, 5, 5) has the variance 13.5 - 9 = 4.5, (3, 3, 1, 1) has 1.
    np.testing.assert_allclose(minibatch_deviation(x, 4), (np.sqrt(4.5) + 1) / 2, rtol=1e-5)


def test_the_image_is_the_sum_of_those_of_the_resolutions():
    """Without kernels the RGB layers of 4 x 4 and 8 x 8 give their biases 0.1 and 0.2; noise has scale 0."""
    network = StyledSynthesis((8, 8, 1), width=2)
    w, noise = jnp.ones((1, 3)), jnp.ones((1, 16 + 2 * 64))
    params = drawn(network, w, noise)["params"]
    apply = jax.jit(network.apply)
    assert {name for name in params if name.startswith(("conv", "rgb", "noise"))} == {
        *(f"conv{k}" for k in range(3)),
        *(f"noise{k}" for k in range(3)),
        *(f"rgb{k}" for k in range(2)),
    }

    def biased(k, bias):
        return {**params[f"rgb{k}"], "kernel": 0 * params[f"rgb{k}"]["kernel"], "bias": jnp.array([bias])}

    both = {**params, "rgb0": biased(0, 0.1), "rgb1": biased(1, 0.2)}
    np.testing.assert_allclose(apply({"params": both}, w, noise), np.full((1, 8, 8, 1), 0.3), rtol=1e-6)
    # The coarse image alone, on a ramp: enlarged by bilinear weights, so that neighbors never differ by a whole pixel.
    coarse = {**params, "rgb1": biased(1, 0.0)}
    image = np.asarray(apply({"params": coarse}, w, noise))[0, :, 0, 0]
    small = np.interp((np.arange(8) - 0.5) / 2, [0, 1, 2, 3], (image[0], *_inner(image), image[-1]))
    np.testing.assert_allclose(image, small, atol=1e-5)


def _inner(image: np.ndarray) -> tuple[float, float]:
    """Pixels 1 and 2 of the four that eight are interpolated from: y_1 = 3/4 a + 1/4 b lies a quarter beyond a."""
    second = image[0] + 4 * (image[1] - image[0])
    third = image[-1] + 4 * (image[-2] - image[-1])
    return second, third


def test_noise_alone_changes_the_image_of_its_pixel_and_the_latents_length_does_not():
    network = Generator((8, 8, 1), width=2, mapping_depth=1)
    assert network.num_noise == 16 + 2 * 64
    z = jax.random.normal(jax.random.key(0), (2, 3 + network.num_noise))
    variables = drawn(network, z)
    draw = jax.jit(network.apply)
    np.testing.assert_array_equal(draw(variables, z), draw(variables, z.at[:, 3:].set(0)))
    np.testing.assert_allclose(draw(variables, z), draw(variables, z.at[:, :3].multiply(4.0)), atol=1e-4)
    synthesis = {**variables["params"]["synthesis"], "noise2": jnp.ones(())}
    noisy = {"params": {**variables["params"], "synthesis": synthesis}}
    # Number 5 of row 2 of the last layer's noise.
    change = draw(noisy, z.at[:, 3 + 16 + 64 + 2 * 8 + 5].add(3.0)) - draw(noisy, z)
    assert {tuple(point[1:3]) for point in np.argwhere(np.abs(change) > 1e-5).tolist()} == {(2, 5)}


def test_the_discriminator_reads_the_group_in_training_alone():
    network, x = Discriminator(2, 2), jnp.asarray(RNG.normal(size=(4, 8, 8, 1)), jnp.float32)
    variables = drawn(network, x)
    other = x.at[1].set(0)
    evaluate = jax.jit(network.apply)
    np.testing.assert_allclose(evaluate(variables, x)[0], evaluate(variables, other)[0], rtol=1e-5)
    train = jax.jit(lambda x: network.apply(variables, x, train=True, mutable=["batch_stats"]))
    logits, updated = train(x)
    assert abs(logits[0] - train(other)[0][0]) > 1e-5
    np.testing.assert_allclose(logits[2:], train(other)[0][2:], rtol=1e-5)  # another group
    # From 0 the running deviation takes 1 % of the way.
    assert 0 < float(updated["batch_stats"]["deviation"]) < 0.1


@pytest.mark.slow
def test_the_wiring_of_discriminator_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(Discriminator(4, 2), (4, 8, 16, 3), [0.654893, -0.239698])


@pytest.mark.slow
def test_the_wiring_of_the_generator_is_as_it_was():
    """A regression: the number holds the code as it was, of maps of 4 x 8 and 8 x 16 with noise of 32 + 2 128."""
    assert_wiring(Generator((8, 16, 1), width=2, mapping_depth=1), (2, 3 + 288), [5.88721, -0.53986])
