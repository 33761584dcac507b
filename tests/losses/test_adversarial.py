"""The two players' losses at hand-worked points, and their slopes where the discriminator is sure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses.adversarial import (
    discriminator_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
)


@pytest.mark.covers("GE-13")
def test_the_value_at_the_optimum_is_minus_log_four():
    # D = 1/2 everywhere: log 1/2 + log 1/2 = -log 4 = -1.386294.
    assert -discriminator_loss(0.0, 0.0) == pytest.approx(-1.386294, abs=1e-6)
    # D(x) = 3/4 (logit log 3), D(G(z)) = 1/4: log 3/4 + log 3/4.
    assert -discriminator_loss(jnp.log(3.0), -jnp.log(3.0)) == pytest.approx(2 * np.log(0.75), rel=1e-6)


@pytest.mark.covers("GE-13")
def test_the_best_discriminator_is_the_share_of_the_data():
    """Of p real and q fake samples at one point, V is largest at D = p / (p + q): slope 0 at logit log(p / q)."""
    p, q = 0.3, 0.1
    slope = jax.grad(lambda s: p * discriminator_loss(s, -1e9) + q * discriminator_loss(1e9, s))
    assert slope(jnp.log(p / q)) == pytest.approx(0, abs=1e-6)


@pytest.mark.covers("GE-14")
def test_the_non_saturating_loss_is_steep_where_the_discriminator_is_sure():
    # D = sigmoid(-10) = 4.54e-5: slopes -D and D - 1.
    saturated, steep = (jax.grad(f)(-10.0) for f in (minimax_generator_loss, non_saturating_generator_loss))
    assert saturated == pytest.approx(-4.54e-5, rel=1e-3)
    assert steep == pytest.approx(-0.99995, rel=1e-4)


@pytest.mark.covers("GE-14")
def test_both_generators_want_a_higher_score():
    """Descent on -log D raises D (to ascend it, as some lectures have it, would lower D)."""
    for loss in (minimax_generator_loss, non_saturating_generator_loss):
        assert jax.grad(loss)(0.3) < 0
    assert non_saturating_generator_loss(0.0) == pytest.approx(np.log(2), rel=1e-6)
    assert minimax_generator_loss(0.0) == pytest.approx(-np.log(2), rel=1e-6)


def test_losses_and_slopes_are_finite_for_any_logit():
    for logit in (-1e4, 1e4):
        for f in (minimax_generator_loss, non_saturating_generator_loss, lambda s: discriminator_loss(s, -s)):
            assert np.isfinite(f(logit))
            assert np.isfinite(jax.grad(f)(logit))


@pytest.mark.covers("GE-22")
def test_the_hinge_rests_beyond_its_margins():
    # Real .25 and fake -.5: .75 + .5. Beyond 1 and -1 there is no slope.
    assert hinge_discriminator_loss(0.25, -0.5) == pytest.approx(1.25)
    assert hinge_discriminator_loss(1.5, -2.0) == 0
    assert jax.grad(hinge_discriminator_loss)(1.5, 0.0) == 0
    assert jax.grad(hinge_discriminator_loss)(0.5, 0.0) == -1
    assert hinge_generator_loss(0.25) == -0.25


@pytest.mark.covers("GE-20")
def test_least_squares_pull_real_to_one_and_fake_to_zero():
    # Real .5 and fake .2: (.25 + .04) / 2 = .145; the generator wants 1: .64 / 2.
    assert least_squares_discriminator_loss(0.5, 0.2) == pytest.approx(0.145)
    assert least_squares_generator_loss(0.2) == pytest.approx(0.32)
    assert least_squares_discriminator_loss(1.0, 0.0) == least_squares_generator_loss(1.0) == 0
