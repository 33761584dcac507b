"""Losses for wrong labels: by hand, their limits, and where their minimum lies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import forward_corrected_loss, generalized_cross_entropy_loss, softmax_cross_entropy_loss

SCORES = np.log(np.float32([0.5, 0.25, 0.25]))


@pytest.mark.covers("SE-14")
def test_generalized_cross_entropy_by_hand_and_in_its_limits():
    assert float(generalized_cross_entropy_loss(SCORES, 1, 0.5)) == pytest.approx((1 - 0.5) / 0.5)
    assert float(generalized_cross_entropy_loss(SCORES, 0, 1.0)) == pytest.approx(1 - 0.5)
    assert float(generalized_cross_entropy_loss(SCORES, 1, 0.0)) == pytest.approx(np.log(4))
    assert float(generalized_cross_entropy_loss(SCORES, 1, 1e-4)) == pytest.approx(np.log(4), rel=1e-3)


@pytest.mark.covers("SE-14")
@pytest.mark.parametrize("q", [0.0, 0.3, 0.7, 1.0])
def test_its_gradient_is_that_of_the_cross_entropy_times_p_to_the_q(q):
    slope = jax.jit(jax.grad(lambda scores: generalized_cross_entropy_loss(scores, 1, q)))
    # That of the cross-entropy is softmax - onehot.
    np.testing.assert_allclose(slope(SCORES), 0.25**q * np.array([0.5, -0.75, 0.25]), rtol=1e-5)


@pytest.mark.covers("SE-14")
def test_forward_correction_by_hand():
    # The label is 1 with probability .5 * .1 + .25 * .7 + .25 * 0 = .225.
    transition = np.float32([[0.9, 0.1, 0], [0, 0.7, 0.3], [0.2, 0, 0.8]])
    loss = jax.jit(jax.value_and_grad(forward_corrected_loss))
    assert float(loss(SCORES, 1, transition)[0]) == pytest.approx(-np.log(0.225), rel=1e-5)
    # Without noise it is the cross-entropy, -log p.
    value, slope = loss(SCORES, 2, np.eye(3, dtype=np.float32))
    assert float(value) == pytest.approx(-np.log(0.25))
    assert np.isfinite(slope).all()
    with pytest.raises(ValueError, match="transition"):
        forward_corrected_loss(SCORES, 1, np.eye(2))


@pytest.mark.covers("SE-14")
def test_at_its_minimum_the_prediction_is_the_class_and_not_the_label():
    """Labels of class 0 under 40 % noise are (.6, .2, .2): cross-entropy ends there, the corrected one at (1, 0, 0)."""
    transition, labels = np.float32(0.4 * np.eye(3) + 0.2), np.array([0, 0, 0, 1, 2])

    def descend(loss):
        def step(scores, _):
            return scores - jax.grad(lambda s: loss(jnp.tile(s, (5, 1))).mean())(scores), None

        return jax.nn.softmax(jax.lax.scan(step, jnp.zeros(3), length=2000)[0])

    @jax.jit
    def both():
        plain = descend(lambda s: softmax_cross_entropy_loss(s, labels))
        return plain, descend(lambda s: forward_corrected_loss(s, labels, transition))

    plain, corrected = both()
    np.testing.assert_allclose(plain, [0.6, 0.2, 0.2], atol=1e-3)
    np.testing.assert_allclose(corrected, [1, 0, 0], atol=0.02)
