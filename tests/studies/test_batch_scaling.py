"""Rates and batch sizes that runs really use, one step by hand, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from experiments.studies import batch_scaling as study
from experiments.studies.small_runs import SmallNet


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


@pytest.mark.weekly
def test_the_smoke_version(monkeypatch):
    """With a smaller network than the study's, which compiles faster."""
    monkeypatch.setattr(study, "SmallNet", lambda hidden: SmallNet((64,)))
    result = study.study(**study.experiment.smoke)
    assert result.numbers["rates, ramp"] == pytest.approx([0.02, 0.04])
    assert result.numbers["batch sizes, ramp"] == [32, 64]
    assert result.numbers["training loss, small batch"][0] < 2


@pytest.mark.covers("SC-13", "SC-14")
def test_each_way_is_measured_under_its_name(monkeypatch):
    """A run whose logit of class 3 is its number of steps, 16, 4, 4 and 12, and of class 4 100 times its last rate."""

    def run(plan, net, images, labels, key):
        rates = jnp.concatenate([jax.vmap(schedule)(jnp.arange(steps)) for steps, _, schedule in plan])
        sizes = jnp.concatenate([jnp.full(steps, size) for steps, size, _ in plan])
        bias = jnp.zeros(10).at[3].set(len(rates) / 10).at[4].set(10 * rates[-1])
        return {"params": {"bias": bias}}, rates, sizes

    class Bias10(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return jnp.broadcast_to(self.param("bias", nn.initializers.zeros, (10,)), (x.shape[0], 10))

    data = study.shuffled_digits()
    few = data._replace(images=data.images[:50], labels=np.full(50, 3), test_images=data.test_images[:50])
    few = few._replace(test_labels=np.full(50, 3))
    monkeypatch.setattr(study, "shuffled_digits", lambda: few)
    monkeypatch.setattr(study, "SmallNet", lambda hidden: Bias10())
    monkeypatch.setattr(study, "run", run)
    monkeypatch.setattr(study, "draw", lambda *args: None)
    numbers = study.study(num_seeds=1, num_examples=128, batch_size=8, factor=4, learning_rate=0.02).numbers
    # Rates 0.02, and 4 times that; the ramp 8, 16, 32 has 42 examples in each phase: 5, 2 and 1 steps, to rate 0.08.
    assert [numbers[f"steps, {name}"] for name in study.NAMES] == [16, 4, 4, 8]
    for name, steps, rate in zip(study.NAMES, (16, 4, 4, 8), (0.02, 0.02, 0.08, 0.08), strict=True):
        loss = np.log(np.exp(steps / 10) + np.exp(10 * rate) + 8) - steps / 10
        assert numbers[f"training loss, {name}"] == pytest.approx([loss], rel=1e-5), name
    assert numbers["rates, small batch"] == [0.02]
    assert numbers["batch sizes, ramp"] == [8, 16, 32]
