"""The distillation loss by hand, its scale over temperatures, and who learns."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import distillation_loss, hard_distillation_loss


@pytest.mark.covers("LO-20")
def test_by_hand():
    # tau = 2, student [0, 0], teacher [2 log 3, 0]: softmax (1/2, 1/2) and (3/4, 1/4).
    # KL = 3/4 log(3/2) + 1/4 log(1/2) = 0.304099 - 0.173287 = 0.130812; times 4 = 0.523248.
    student, teacher = jnp.zeros(2), jnp.array([2 * math.log(3), 0])
    assert float(distillation_loss(student, teacher, 2.0)) == pytest.approx(0.523248, abs=2e-6)
    # the slope is tau (p - t): 2 (1/2 - 3/4)
    np.testing.assert_allclose(jax.grad(distillation_loss)(student, teacher, 2.0), [-0.5, 0.5], atol=1e-6)


@pytest.mark.covers("LO-20")
def test_an_equal_student_has_nothing_to_learn():
    scores = jnp.array([3.0, -1.0, 0.5])
    value, slope = jax.value_and_grad(distillation_loss)(scores, scores + 7)
    assert float(value) == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(slope, 0, atol=1e-5)


@pytest.mark.covers("LO-20")
def test_the_teacher_does_not_learn():
    assert not jax.grad(distillation_loss, 1)(jnp.zeros(3), jnp.array([3.0, 1.0, 0.0])).any()


@pytest.mark.covers("LO-20")
def test_a_high_temperature_matches_scores():
    # tau -> inf: (s - t) / C for scores that average to 0
    student, teacher = jnp.array([1.0, -1.0, 0.0]), jnp.array([-2.0, 0.5, 1.5])
    slope = jax.grad(distillation_loss)(student, teacher, 1e3)
    np.testing.assert_allclose(slope, (student - teacher) / 3, atol=5e-3)


@pytest.mark.covers("LO-20")
@pytest.mark.parametrize("temperature", [1.0, 100.0, 1000.0])
def test_a_high_temperature_keeps_digits(temperature):
    """float64: .15470, .33166 and .33317; the divergence itself is 3e-7 at 1000, in reach of float32's rounding."""
    student, teacher = np.array([1.0, 2, 3]), np.array([2.0, 1, 3])
    q, p = (np.exp(x / temperature) / np.exp(x / temperature).sum() for x in (student, teacher))
    want = temperature**2 * (p * np.log(p / q)).sum()
    found = distillation_loss(jnp.asarray(student), jnp.asarray(teacher), temperature)
    assert float(found) == pytest.approx(want, rel=1e-3)


def test_classes_that_the_teacher_excludes_cost_nothing():
    """Teacher (1/2, 1/2, 0), student (1/2, 1/4, 1/4): 1/2 log 2, with the gradient p - t."""
    student, teacher = jnp.log(jnp.array([0.5, 0.25, 0.25])), jnp.array([0, 0, -jnp.inf])
    value, slope = jax.value_and_grad(distillation_loss)(student, teacher, 1.0)
    assert float(value) == pytest.approx(math.log(2) / 2, rel=1e-5)
    np.testing.assert_allclose(slope, [0, -0.25, 0.25], atol=1e-6)


@pytest.mark.covers("AT-23")
def test_hard_distillation_by_hand():
    # class logits (0, log 3): -log p_0 = log 4; distillation logits (log 2, 0), teacher says 0: -log(2/3) = log 1.5
    # (1.386294 + .405465) / 2
    own, taught, teacher = np.float32([0, math.log(3)]), np.float32([math.log(2), 0]), np.float32([5, 4.9])
    loss = jax.jit(jax.value_and_grad(lambda *logits: hard_distillation_loss(*logits, np.int32(0)), (0, 1, 2)))
    value, slopes = loss(own, taught, teacher)
    assert float(value) == pytest.approx(0.895880, abs=1e-6)
    value, _ = loss(own, taught, teacher[::-1])
    assert float(value) == pytest.approx((math.log(4) + math.log(3)) / 2, abs=1e-6)
    np.testing.assert_allclose(slopes[0], [-0.375, 0.375], atol=1e-6)  # (p - y) / 2 = (1/4 - 1) / 2
    np.testing.assert_allclose(slopes[1], [-1 / 6, 1 / 6], atol=1e-6)
    assert not slopes[2].any()
