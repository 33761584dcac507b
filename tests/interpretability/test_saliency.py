"""Gradients with respect to pixels: of functions whose gradient is known, and of a ResNet-18 beside PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.interpretability.saliency import (
    gradient_saliency,
    input_gradient,
    integrated_gradients,
    integration_points,
    smooth_gradient,
)


def cubic(x):
    """Scores of [B, 1, 2, 1]: a^3 b of the pixels a and b, and 0."""
    a, b = x[:, 0, 0, 0], x[:, 0, 1, 0]
    return jnp.stack([a**3 * b, 0 * a], -1)


PIXELS = jnp.array([[[[2.0], [3.0]]]])


@pytest.mark.covers("VI-06")
def test_of_a_linear_model_it_is_the_absolute_weight():
    rng = np.random.default_rng(0)
    weights, images = rng.normal(size=(3, 4, 5, 2)), rng.normal(size=(2, 4, 5, 2))
    got = gradient_saliency(lambda x: jnp.einsum("bhwc,khwc->bk", x, weights), jnp.asarray(images), jnp.array([2, 0]))
    np.testing.assert_allclose(got, np.abs(weights[[2, 0]]).max(-1), rtol=1e-5)


@pytest.mark.covers("VI-06")
def test_without_labels_it_is_that_of_the_highest_score_of_each_image():
    """Scores (x_0, 2 x_1) of two pixels: image (5, 1) has 5 > 2, image (1, 5) has 1 < 10."""
    images = jnp.array([[5.0, 1], [1, 5]]).reshape(2, 1, 2, 1)
    got = gradient_saliency(lambda x: x[:, 0, :, 0] * jnp.array([1.0, 2]), images)
    assert got.tolist() == [[[1, 0]], [[0, 2]]]


@pytest.mark.covers("VI-06")
def test_it_is_of_the_score_and_not_of_the_loss():
    """Shifting all scores together changes the saliency; a softmax would not see it."""
    images = jnp.ones((1, 2, 2, 1))
    got = gradient_saliency(lambda x: jnp.stack([x.sum((1, 2, 3))] * 3, -1), images, jnp.array([1]))
    np.testing.assert_array_equal(got, np.ones((1, 2, 2)))


@pytest.mark.weekly
@pytest.mark.covers("VI-06")
def test_of_a_resnet18_both_gradients_are_those_of_torch(resnet18):
    def maps(x):
        steps = integrated_gradients(resnet18.score, x, resnet18.labels, steps=8, rule="right")
        return input_gradient(resnet18.score, x, resnet18.labels), steps

    gradient, integrated = jax.jit(maps)(resnet18.images)
    resnet18.check("saliency", gradient)
    # PyTorch's float32 maps lie 6.1e-4 of the deviation from float64 at this quantile, for a ReLU that is on or off
    # by 1e-7 in one of the eight steps; ours lie 9e-7 from it with AVX-512, and at PyTorch's side without.
    resnet18.check("ig8", integrated, bound=1e-3)


def test_integrated_gradients_by_hand():
    """From (0, 0) to (2, 3): d/da = 3 a^2 b is 54 t^3 * 2/3 on the way: 3 (2t)^2 3t = 36 t^3, times 2: 18; d/db = a^3
    is 8 t^3, times 3: 6. Together 24 = 2^3 * 3. Two points of Gauss-Legendre are exact up to degree 3."""
    got = integrated_gradients(cubic, PIXELS, jnp.array([0]), steps=2)
    np.testing.assert_allclose(got.ravel(), [18, 6], rtol=1e-6)
    for point, weight in (integration_points(1, rule) for rule in ("gauss_legendre", "midpoint")):
        assert (point, weight) == (pytest.approx([0.5]), pytest.approx([1]))
    # Right sums of t^3 with 2 points: (1/8 + 1) / 2 = 9/16 in place of 1/4; midpoints: (1/64 + 27/64) / 2 = 7/32.
    for rule, integral in (("right", 9 / 16), ("midpoint", 7 / 32)):
        got = integrated_gradients(cubic, PIXELS, jnp.array([0]), steps=2, rule=rule)
        np.testing.assert_allclose(got.ravel(), [72 * integral, 24 * integral], rtol=1e-6)


@pytest.mark.slow(unless=["3"])
@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_integrated_gradients_are_complete_from_any_baseline(chunk):
    """a^3 b falls from 24 to 1 * 2 = 2 at the baseline (1, 2)."""
    both, baseline = np.concatenate([PIXELS, PIXELS + 1]), np.float32([[[1], [2]]])
    explain = jax.jit(lambda x: integrated_gradients(cubic, x, baseline=baseline, steps=4, chunk=chunk))
    np.testing.assert_allclose(explain(both).sum((1, 2, 3)), [22, 27 * 4 - 2], rtol=1e-6)


def test_smooth_gradient_is_the_mean_over_the_noisy_copies_of_an_image():
    """d/da = 3 a^2 b and d/db = a^3 at each of three copies; the deviations are half of the ranges, 2 and 3.

    The scores do not read the second row, which widens the first range. The second image has the label 1, whose score
    is 0.
    """
    key, pixels = jax.random.key(4), np.float32([[2, 3, 1, 3], [1, 4, 2, 2]]).reshape(2, 2, 2, 1)

    @jax.jit
    def run():
        draws = jnp.stack([jax.random.normal(k, pixels.shape) for k in jax.random.split(key, 3)])
        got = smooth_gradient(cubic, pixels, key, jnp.array([0, 1]), samples=3, noise=0.5)
        return draws, got, smooth_gradient(cubic, pixels, key, samples=1, noise=0.0)

    draws, got, unlabeled = map(np.asarray, run())
    a, b = (pixels[0, 0].ravel() + draws[:, 0, 0, :, 0]).T
    np.testing.assert_allclose(got[0, 0].ravel(), [np.mean(3 * a**2 * b), np.mean(a**3)], rtol=1e-5)
    np.testing.assert_array_equal(got[1], 0)
    np.testing.assert_allclose(unlabeled[:, 0, :, 0], [[36, 8], [12, 1]], rtol=1e-6)


@pytest.mark.slow
def test_smooth_gradient_averages_the_gradient_over_noise():
    """E (a + n)^2 = a^2 + s^2: with s = .25 of the range 4 - 2, d/da of (2, 4) is 3 (4 + .25) 4 = 51, not 48."""
    pixels = jnp.array([[[[2.0], [4.0]]]])
    got = smooth_gradient(cubic, pixels, jax.random.key(0), jnp.array([0]), samples=20000, noise=0.25)
    np.testing.assert_allclose(got.ravel(), [51, 8 + 3 * 2 * 0.25], rtol=0.02)
    still = smooth_gradient(cubic, pixels, jax.random.key(0), samples=2, noise=0.0)
    np.testing.assert_allclose(still, input_gradient(cubic, pixels), rtol=1e-6)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"rule='left'.*gauss_legendre, right, midpoint"):
        integration_points(4, "left")


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.uint8])
def test_images_of_any_type_have_the_gradients_of_the_same_floats(dtype):
    """Of tanh(x w) many steps are complete, and of a linear score the mean over many noisy copies is the weight."""
    images = jax.random.randint(jax.random.key(0), (2, 3, 3, 1), 0, 3).astype(dtype)
    weights = jax.random.normal(jax.random.key(1), (9, 2)) / 4
    linear = lambda x: x.reshape(len(x), -1) @ weights  # noqa: E731
    score = lambda x: jnp.tanh(linear(x))  # noqa: E731
    labels = jnp.array([0, 1])

    @jax.jit
    def run(x):
        return (
            integrated_gradients(score, x, labels, steps=500, rule="midpoint", baseline=0.5, chunk=50),
            smooth_gradient(linear, x, jax.random.key(2), labels, samples=1000),
            input_gradient(linear, x, labels),
        )

    integrated, smooth, plain = run(images)
    change = score(images.astype(jnp.float32)) - score(0.5 * jnp.ones(images.shape))
    np.testing.assert_allclose(integrated.sum((1, 2, 3)), [change[0, 0], change[1, 1]], atol=1e-5)
    want = weights.T.reshape(images.shape)
    np.testing.assert_allclose(smooth, want, rtol=1e-4)
    np.testing.assert_allclose(plain, want, rtol=1e-6)
