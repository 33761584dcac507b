"""The rates that are used, what counts as lost, the verdict, and a network that only a warm-up saves."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import warmup as study


@pytest.mark.covers("TR-24")
def test_the_schedule_rises_to_the_peak_and_falls_from_there():
    warm, cold = study.schedule(0.4, 400, 100), study.schedule(0.4, 400, 0)
    np.testing.assert_allclose([warm(t) for t in (0, 25, 50, 100)], [0, 0.1, 0.2, 0.4], rtol=1e-6)
    assert float(warm(250)) == pytest.approx(0.2)  # half way down the cosine of 300 steps
    assert float(cold(0)) == pytest.approx(0.4)
    assert float(cold(200)) == pytest.approx(0.2)


def test_the_gain_is_that_of_the_first_weights():
    x = jnp.zeros((1, 8, 8, 1))
    kernels = [
        study.DeepNet(2, gain).init(jax.random.key(0), x, False)["params"]["dense1"]["kernel"] for gain in (1, 1.5)
    ]
    assert float(kernels[0].std()) == pytest.approx(math.sqrt(2 / 64), rel=0.03)
    np.testing.assert_allclose(kernels[1], 1.5 * kernels[0], rtol=1e-5)


@pytest.mark.covers("TR-24")
def test_a_run_is_lost_at_chance_or_where_it_is_not_finite():
    ends = np.array([[0.1, 2.25, 2.3026, math.nan, math.inf]])
    results = np.stack([np.full_like(ends, 1.0), ends], -1)[..., None].repeat(2, -1)
    np.testing.assert_array_equal(study.diverged(results), [[False, False, True, True, True]])


def runs(losses):
    """[rates, seeds, 2 parts, 2] with these last losses and accuracies of .9."""
    losses = np.asarray(losses, float)
    last = np.stack([losses, np.full_like(losses, 0.9)], -1)
    return np.stack([last, last], 2)


@pytest.mark.covers("TR-24")
def test_the_verdict_counts_what_is_lost_and_what_is_not_finite():
    learning_rates = np.array([0.1, 0.2])
    arms = {"without": runs([[0.1, 0.1], [np.nan, 2.31]]), "with": runs([[0.1, 0.1], [0.1, np.nan]])}
    same = {"without": runs([[0.1, 0.1]] * 2), "with": runs([[0.1, 0.1]] * 2)}
    verdict, holds = study.judge(learning_rates, {"good": same, "large": arms})
    assert holds
    assert (
        "From large weights 2 of 4 runs are lost without the warm-up (1 not finite) and 1 with it (1); the" in verdict
    )
    assert "90.0% at rate 0.1 without" in verdict
    assert not study.judge(learning_rates, {"good": arms, "large": same})[1]
    moved = {"without": runs([[0.1, 0.1], [np.nan] * 2]), "with": runs([[0.1, np.nan], [0.1, 0.1]])}
    assert not study.judge(learning_rates, {"good": same, "large": moved})[1]  # fewer in all, but more at one rate
    assert len(study.draw(learning_rates, {"good": same, "large": arms}, 40).axes) == 6


@pytest.mark.weekly
@pytest.mark.covers("TR-24")
def test_a_warm_up_saves_a_net_with_large_weights():
    """Rate .06, eight layers, 1.5 times He's: the study's settings, shorter and on one seed."""
    net, learning_rates = study.DeepNet(8, 1.5), np.array([0.06])
    without, with_it = (study.runs(net, learning_rates, 1, 120, warm, num_evaluations=2) for warm in (0, 60))
    chex.assert_shape(without, (1, 1, 2, 2))
    assert study.diverged(without).all()
    assert not study.diverged(with_it).all()
