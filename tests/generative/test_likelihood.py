"""Likelihoods by hand: what each rule draws, and nats and bits of distributions that can be counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.likelihood import (
    bayes_rule,
    bernoulli_log_likelihood,
    binarize,
    categorical_log_likelihood,
    check_intensities,
    independent_log_likelihood,
    likelihood_metrics,
    nats_to_bits,
    quantize,
)
from dlcore.learner import root_key

GRAY = jnp.asarray(np.random.default_rng(0).random((6, 4, 4, 1), np.float32))
INDEX = jnp.arange(6)


def test_dynamic_draws_change_with_the_key_and_static_ones_do_not():
    keys = [jax.random.key(k) for k in (0, 1)]
    dynamic = [binarize(key, GRAY, "dynamic", INDEX) for key in keys]
    static = [binarize(key, GRAY, "static", INDEX) for key in keys]
    assert (dynamic[0] != dynamic[1]).any()
    np.testing.assert_array_equal(*static)
    assert (binarize(keys[0], GRAY, "static", INDEX + 6) != static[0]).any()
    # The seed of static draws is 2008, so that all runs have the same data.
    again = jax.vmap(lambda i, image: jax.random.bernoulli(jax.random.fold_in(root_key(2008), i), image))(INDEX, GRAY)
    np.testing.assert_array_equal(static[0], again)
    np.testing.assert_array_equal(binarize(keys[0], GRAY, "threshold", INDEX), GRAY > 0.5)


@pytest.mark.parametrize("rule", ["dynamic", "static"])
def test_a_draw_depends_on_the_image_and_not_on_its_batch(rule):
    key, order = jax.random.key(3), jnp.array([4, 1])
    whole = binarize(key, GRAY, rule, INDEX)
    np.testing.assert_array_equal(binarize(key, GRAY[order], rule, INDEX[order]), whole[order])


def test_pixels_are_one_as_often_as_they_are_bright():
    """4,000 draws of p = 51/255 = .2 have a mean of .2 +- 5 sqrt(.2 x .8 / 4000) = .032."""
    image = jnp.full((4000, 1), 51, jnp.uint8)
    drawn = binarize(jax.random.key(0), image, "dynamic", jnp.arange(4000))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert abs(float(drawn.mean()) - 0.2) < 0.032


def test_log_likelihoods_by_hand():
    """p = sigmoid(ln 3) = 3/4: log p(1, 0) = ln(3/4) + ln(1/4); the softmax of logits (0, ln 3) is the same."""
    expected = np.log(3 / 16)
    logits, x = np.full((1, 2), np.log(3), np.float32), np.array([[1, 0]])
    np.testing.assert_allclose(jax.jit(bernoulli_log_likelihood)(logits, x), [expected], rtol=1e-6)
    pairs = np.stack([np.zeros_like(logits), logits], -1)
    np.testing.assert_allclose(jax.jit(categorical_log_likelihood)(pairs, x), [expected], rtol=1e-6)


@pytest.mark.covers("GE-01")
def test_bayes_rule_by_hand():
    """p(x | y) = 1/2, 1/8 and p(y) = 1/4, 3/4: joint 4/32 and 3/32, p(x) = 7/32, p(y | x) = 4/7 and 3/7."""
    posterior, evidence = bayes_rule(jnp.log(jnp.array([[1 / 2, 1 / 8]])), jnp.log(jnp.array([1 / 4, 3 / 4])))
    np.testing.assert_allclose(np.exp(posterior), [[4 / 7, 3 / 7]], rtol=1e-6)
    np.testing.assert_allclose(np.exp(evidence), [7 / 32], rtol=1e-6)


def test_independent_pixels_have_their_training_frequencies():
    """Of 3 images pixel 0 is on twice: (2 + 1) / (3 + 2) = 3/5; pixel 1 never: off has (3 + 1) / 5."""
    train = jnp.array([[1, 0], [1, 0], [0, 0]])
    measured = jax.jit(independent_log_likelihood)(train, np.array([[1, 0], [0, 1]]))
    np.testing.assert_allclose(measured, [np.log(12 / 25), np.log(2 / 25)], rtol=1e-6)


def test_a_uniform_guess_has_one_bit_a_binary_pixel_and_four_at_sixteen_levels():
    nats = -jax.jit(bernoulli_log_likelihood)(np.zeros((2, 8, 8, 1), np.float32), np.ones((2, 8, 8, 1), np.float32))
    np.testing.assert_allclose(nats_to_bits(nats, 64), 1.0, rtol=1e-6)
    metrics = likelihood_metrics(nats, 64, "dynamic", jnp.array([1.0, 0.0]))
    assert metrics["nll_nats_dynamic"].compute() == pytest.approx(64 * np.log(2), rel=1e-6)
    assert metrics["bits_per_dim_dynamic"].compute() == pytest.approx(1.0, rel=1e-6)
    levels = -jax.jit(categorical_log_likelihood)(np.zeros((2, 5, 16), np.float32), np.zeros((2, 5), np.int32))
    np.testing.assert_allclose(nats_to_bits(levels, 5), 4.0, rtol=1e-6)


def test_levels_have_equal_width_and_keep_the_ends():
    assert quantize(jnp.array([0.0, 0.24, 0.25, 0.5, 0.99, 1.0]), 4).tolist() == [0, 0, 1, 2, 3, 3]
    assert quantize(jnp.array([0, 63, 64, 255], jnp.uint8), 256).tolist() == [0, 63, 64, 255]


def test_images_that_are_no_probabilities_and_unknown_rules_are_refused():
    check_intensities(np.zeros((1, 2), np.uint8))
    check_intensities(np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match=r"image: values from -1 to 1, .*allowed: uint8, or \[0, 1\]"):
        check_intensities(np.array([-1.0, 1.0]))
    check_intensities(np.zeros((0, 2)))


def test_three_levels_have_their_frequencies_too():
    """Of 2 images a pixel is 2 twice: (0 + 1, 0 + 1, 2 + 1) of 5."""
    measured = jax.jit(independent_log_likelihood, static_argnums=2)(np.array([[2], [2]]), np.array([[0], [2]]), 3)
    np.testing.assert_allclose(measured, np.log([1 / 5, 3 / 5]), rtol=1e-6)
