"""The consistency loss by hand: its target, its mask, and who gets a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import consistency_loss

PLAIN = jnp.log(jnp.array([0.9, 0.1]))
HEAVY = jnp.log(jnp.array([0.5, 0.5]))


@pytest.mark.covers("RG-25")
def test_by_hand():
    # tau = .5 squares the odds: (.81, .01) / .82 = (.98780, .01220). KL to (.5, .5) is log 2 - H:
    # .69315 + .98780 log .98780 + .01220 log .01220 = .69315 - .01212 - .05374 = .62729.
    assert float(consistency_loss(HEAVY, PLAIN, 0.5, 0.8)) == pytest.approx(0.62729, abs=2e-5)
    # Without sharpening: .69315 + .9 log .9 + .1 log .1 = .69315 - .09482 - .23026 = .36806.
    assert float(consistency_loss(HEAVY, PLAIN, 1.0, 0.8)) == pytest.approx(0.36806, abs=2e-5)
    assert float(consistency_loss(PLAIN, PLAIN, 1.0, 0.8)) == pytest.approx(0, abs=1e-6)


@pytest.mark.covers("RG-25")
def test_examples_that_are_not_sure_do_not_count():
    assert float(consistency_loss(HEAVY, PLAIN, 0.5, 0.95)) == 0.0
    slope = jax.jit(jax.grad(lambda a, b: consistency_loss(a, b, 0.5, 0.95)))
    assert np.abs(slope(HEAVY, PLAIN)).max() == 0
    assert float(consistency_loss(HEAVY, PLAIN, 0.5, 0.85)) > 0


@pytest.mark.covers("RG-25")
def test_only_the_augmented_view_learns():
    slopes = jax.jit(jax.grad(lambda a, b: consistency_loss(a, b, 0.5, 0.8), (0, 1)))
    student, teacher = slopes(HEAVY, PLAIN)
    np.testing.assert_array_equal(teacher, 0)
    np.testing.assert_allclose(student, [0.5 - 0.98780, 0.5 - 0.01220], atol=1e-4)  # softmax(s) - q


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_large_scores_are_finite(dtype):
    a, b = jnp.array([1e4, -1e4, 0], dtype), jnp.array([-1e4, 1e4, 0], dtype)
    value, gradient = jax.jit(jax.value_and_grad(consistency_loss))(a, b)
    assert value.dtype == jnp.float32
    assert np.isfinite(float(value))
    assert np.isfinite(np.asarray(gradient, np.float32)).all()
