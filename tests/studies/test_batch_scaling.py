"""Rates and batch sizes that runs really use, one step by hand, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from experiments.studies import batch_scaling as study


class Bias(nn.Module):
    """Logits that do not depend on the input."""

    @nn.compact
    def __call__(self, x, train):
        return jnp.broadcast_to(self.param("bias", nn.initializers.zeros, (2,)), (x.shape[0], 2))


@pytest.mark.covers("SC-13", "SC-14")
def test_every_plan_sees_the_same_examples_at_the_rates_of_its_batches():
    plans = study.plans(0.02, 32, 8, 25600)
    assert set(plans) == set(study.NAMES)
    for plan in plans.values():
        assert sum(steps * size for steps, size, _ in plan) == 25600
    for name, wanted in (("small batch", (800, 32)), ("large batch, same rate", (100, 256))):
        ((steps, size, schedule),) = plans[name]
        assert (steps, size) == wanted, name
        assert [float(schedule(t)) for t in (0, 50)] == pytest.approx([0.02, 0.02]), name
    steps, size, schedule = plans["large batch, scaled rate"][0]
    assert (steps, size) == (100, 256)
    assert float(schedule(0)) == 0
    assert float(schedule(50)) == pytest.approx(8 * 0.02)
    assert [(n, size, round(float(f(0)), 6)) for n, size, f in plans["ramp"]] == [
        (200, 32, 0.02),
        (100, 64, 0.04),
        (50, 128, 0.08),
        (25, 256, 0.16),
    ]


@pytest.mark.slow
@pytest.mark.covers("SC-14")
def test_the_run_reports_what_it_used_and_the_momentum_goes_from_phase_to_phase():
    """Label 1 always, logits (0, 0): the first gradient is (1/2, -1/2) whatever the batch."""
    images, labels = jnp.zeros((8, 4)), jnp.ones(8, jnp.int32)
    plan = [(1, 2, optax.constant_schedule(0.1)), (1, 4, optax.constant_schedule(0.2))]
    variables, learning_rates, sizes = jax.jit(lambda key: study.run(plan, Bias(), images, labels, key))(
        jax.random.key(0)
    )
    np.testing.assert_allclose(learning_rates, [0.1, 0.2])
    np.testing.assert_array_equal(sizes, [2, 4])
    first = np.array([-0.05, 0.05])
    p = np.exp(first) / np.exp(first).sum()
    second = first - 0.2 * (0.9 * np.array([0.5, -0.5]) + p - np.array([0, 1]))
    np.testing.assert_allclose(variables["params"]["bias"], second, rtol=1e-5)


def measured(same=0.3, scaled=0.1, ramp=0.12):
    losses = dict(zip(study.NAMES, (np.full(3, v) for v in (0.1, same, scaled, ramp)), strict=True))
    learning_rates = {name: np.array([0.02, 0.04]) for name in study.NAMES}
    sizes = {name: np.array([32, 64]) for name in study.NAMES}
    return losses, losses, learning_rates, sizes


@pytest.mark.covers("SC-13", "SC-14")
def test_the_verdict_turns():
    good = study.report(*measured())
    assert good.holds
    assert "0.300 with the large one at the same rate and 0.100 at the scaled rate: scaling helps" in good.verdict
    assert "from batch 32 at rate 0.02 to 64 at 0.04" in good.verdict
    assert not study.report(*measured(same=0.05)).holds
    assert not study.report(*measured(ramp=0.5)).holds
