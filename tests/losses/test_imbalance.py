"""Class-balanced weights and LDAM margins by hand, and what they do to the loss."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import (
    class_balanced_weights,
    enet_weights,
    ldam_loss,
    ldam_margins,
    median_frequency_weights,
    softmax_cross_entropy_loss,
)


@pytest.mark.covers("LO-22")
def test_weights_by_hand():
    # beta = 1/2, counts 1 and 2: 1 / (1 - 1/2) and 1 / (1 - 1/4) are 2 and 4/3; times 2 / (10/3): 1.2 and 0.8.
    np.testing.assert_allclose(class_balanced_weights(jnp.array([1, 2]), 0.5), [1.2, 0.8], rtol=1e-6)


@pytest.mark.covers("LO-22")
@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999, 0.999999])
def test_weights_sum_to_the_number_of_classes(beta):
    counts = jnp.array([1, 5000, 30, 2, 700])
    weights = class_balanced_weights(counts, beta)
    assert float(weights.sum()) == pytest.approx(5, rel=1e-6)
    wide = -np.expm1(np.asarray(counts, float) * np.log1p(-(1 - beta))) if beta else np.ones(5)
    np.testing.assert_allclose(weights, 5 / wide / (1 / wide).sum(), rtol=2e-5)


def test_weights_between_equal_and_inverse():
    counts = jnp.array([10, 100])
    np.testing.assert_allclose(class_balanced_weights(counts, 0.0), [1, 1], rtol=1e-6)
    np.testing.assert_allclose(class_balanced_weights(counts, 1 - 1e-6), [2 * 10 / 11, 2 / 11], rtol=1e-3)


def test_a_class_without_examples_weighs_nothing():
    np.testing.assert_allclose(class_balanced_weights(jnp.array([0, 4, 4])), [0, 1.5, 1.5], rtol=1e-6)
    np.testing.assert_array_equal(class_balanced_weights(jnp.zeros(2)), 0)
    assert np.isfinite(ldam_margins(jnp.array([0, 4]))).all()


def test_weights_by_median_frequency_by_hand():
    # Shares .5, .2, .01 and none: the median of the three is .2, so 0.4, 1 and 20, cut to 10.
    pixels, beside = jnp.array([50, 20, 1, 0]), jnp.array([100, 100, 100, 0])
    np.testing.assert_allclose(median_frequency_weights(pixels, beside), [0.4, 1, 10, 0], rtol=1e-6)
    np.testing.assert_allclose(median_frequency_weights(pixels, beside, cap=50.0), [0.4, 1, 20, 0], rtol=1e-6)


def test_weights_of_enet_by_hand():
    # 1 / ln(1.02 + .75) and 1 / ln(1.02 + .25); a class without pixels weighs 1 / ln 1.02 = 50.5.
    want = [1 / math.log(1.77), 1 / math.log(1.27), 1 / math.log(1.02)]
    np.testing.assert_allclose(enet_weights(jnp.array([3, 1, 0])), want, rtol=1e-5)
    # A single pixel is all of them: 1 / ln 2.02.
    np.testing.assert_allclose(enet_weights(jnp.array([1, 0, 0]))[0], 1 / math.log(2.02), rtol=1e-5)


@pytest.mark.covers("LO-22")
def test_margins_by_hand():
    # 16^(-1/4) = 1/2, 81^(-1/4) = 1/3, 1: the rarest at 0.5, the others a half and a third of it.
    np.testing.assert_allclose(ldam_margins(jnp.array([16, 81, 1])), [0.25, 0.5 / 3, 0.5], rtol=1e-6)


def test_counts_above_int32_do_not_wrap():
    """A data set of 7e9 pixels: shares of 4/7, 2/7 and 1/7; of the images that hold a class 1/2, 1/4 and 1/8."""
    counts = np.array([4e9, 2e9, 1e9]).astype(np.int64)
    np.testing.assert_allclose(median_frequency_weights(counts, np.full(3, 8 * 10**9)), [0.5, 1, 2], rtol=1e-6)
    np.testing.assert_allclose(enet_weights(counts), [1 / math.log(1.02 + k / 7) for k in (4, 2, 1)], rtol=1e-6)
    # beta^n is 0 for all: equal weights.
    np.testing.assert_allclose(class_balanced_weights(counts, 0.5), 1, rtol=1e-6)
    # Margins grow by 2^(1/4) from class to class.
    np.testing.assert_allclose(ldam_margins(counts), 0.5 / np.array([2**0.5, 2**0.25, 1]), rtol=1e-6)


def test_shares_of_images_of_other_sizes():
    # 30 / 60, 8 / 40 and 9 / 90 are .5, .2 and .1, with a median of .2.
    weights = jax.jit(median_frequency_weights)(np.array([30, 8, 9]), np.array([60, 40, 90]))
    np.testing.assert_allclose(weights, [0.4, 1, 2], rtol=1e-6)
    # One pixel of an image of one: a share of 1, beside .5 and .25.
    weights = jax.jit(median_frequency_weights)(np.array([1, 4, 2]), np.array([1, 8, 8]))
    np.testing.assert_allclose(weights, [0.5, 1, 2], rtol=1e-6)
    with pytest.raises(ValueError, match=r"pixels\[1\]=41: more than all .*; allowed: at most beside\[1\]=40"):
        median_frequency_weights(np.array([60.0, 41.0]), np.array([60.0, 40.0]))


@pytest.mark.covers("LO-22")
def test_the_margin_is_taken_off_the_label_alone():
    # Scale 2, label 1: 2 (.7, .2 - .3, .4) = (1.4, -.2, .8); label 0 with the margin .5: (.4, .4, .8).
    scores, margins = np.float32([[0.7, 0.2, 0.4]] * 2), np.float32([0.5, 0.3, 0.1])
    loss = jax.jit(lambda s: ldam_loss(s, np.array([1, 0]), margins, 2.0))(scores)
    want = [np.log(np.exp([1.4, -0.2, 0.8]).sum()) + 0.2, np.log(np.exp([0.4, 0.4, 0.8]).sum()) - 0.4]
    np.testing.assert_allclose(loss, want, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("LO-22")
def test_ldam_asks_the_label_for_its_margin():
    scores, margins = jnp.array([0.7, 0.2]), jnp.array([0.5, 0.1])
    # label 0: softmax of (0.7 - 0.5, 0.2) is even: log 2. label 1: log(1 + e^{0.7 - 0.1})
    assert float(ldam_loss(scores, 0, margins, 1.0)) == pytest.approx(math.log(2), rel=1e-6)
    assert float(ldam_loss(scores, 1, margins, 1.0)) == pytest.approx(math.log1p(math.exp(0.6)), rel=1e-6)
    # a scale of 30 sharpens: log(1 + e^{30 * 0.6})
    assert float(ldam_loss(scores, 1, margins)) == pytest.approx(18, abs=1e-4)
    plain = softmax_cross_entropy_loss(scores, 0)
    assert float(ldam_loss(scores, 0, jnp.zeros(2), 1.0)) == pytest.approx(float(plain), rel=1e-6)
    assert np.isfinite(jax.grad(ldam_loss)(1e4 * scores, 0, margins)).all()
