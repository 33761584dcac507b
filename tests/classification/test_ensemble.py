"""Averages by hand, Jensen's inequality for any members, and which steps a snapshot ensemble keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcore.classification.ensemble import ensemble_log_probabilities, snapshot_steps
from dlcore.optim import schedules


@pytest.mark.covers("RG-22")
def test_two_members_by_hand():
    members = np.log(np.float32([[[0.9, 0.1]], [[0.3, 0.7]]]))
    # (.9 + .3) / 2 = .6;  sqrt(.9 * .3) = .5196, sqrt(.1 * .7) = .2646: .5196 / .7842 = .6626.

    @jax.jit
    def run(x):
        averages = [ensemble_log_probabilities(x, *over) for over in ((), ("logits",))]
        return [jnp.exp(average) for average in (*averages, ensemble_log_probabilities(x.swapaxes(0, 1), axis=1))]

    found = run(members)
    np.testing.assert_allclose(found[0], [[0.6, 0.4]], rtol=1e-5)
    np.testing.assert_allclose(found[1], [[0.66259, 0.33741]], rtol=1e-4)
    # The members may stand along another axis.
    np.testing.assert_allclose(found[2], [[0.6, 0.4]], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("RG-22")
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), members=st.integers(1, 5), scale=st.sampled_from([0.1, 3.0, 100.0]))
def test_the_log_loss_is_never_above_the_members_mean(seed, members, scale):
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(rng.normal(size=(members, 8, 4)) * scale, jnp.float32)
    label = rng.integers(0, 4, 8)
    each = -np.asarray(jax.nn.log_softmax(logits))[:, np.arange(8), label].mean(0)
    for average in ("probabilities", "logits"):
        log_p = np.asarray(ensemble_log_probabilities(logits, average))
        np.testing.assert_allclose(np.exp(log_p).sum(-1), 1, rtol=1e-4)
        assert (-log_p[np.arange(8), label] <= each + 1e-4 * (1 + each)).all()


@pytest.mark.covers("RG-24")
def test_snapshots_are_taken_at_the_lowest_rate_of_each_cosine_cycle():
    steps, cycles = 40, 4
    rate = schedules.cosine_restarts(0.1, steps // cycles)
    snapshots = snapshot_steps(steps, cycles)
    assert snapshots == (10, 20, 30, 40)
    values = np.array([float(rate(t)) for t in range(steps)])  # update t + 1 uses rate(t)
    for end in snapshots:
        assert values[end - 1] == values[end - 10 : end].min()
        assert values[end - 1] < 0.003
        if end < steps:
            assert values[end] == pytest.approx(0.1)
    assert snapshot_steps(10, 4) == (3, 6, 9, 10)
    assert snapshot_steps(5, 1) == (5,)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"logits=\(0,.*: no member"):
        ensemble_log_probabilities(jnp.zeros((0, 3)))
    with pytest.raises(ValueError, match="cycles=0"):
        snapshot_steps(5, 0)
    for axis in (-1, 1, 2, -3):
        with pytest.raises(ValueError, match=f"axis={axis}: not the members'; allowed: 0 to 0"):
            ensemble_log_probabilities(jnp.zeros((2, 3)), axis=axis)
    assert ensemble_log_probabilities(jnp.zeros((2, 3), jnp.bfloat16)).dtype == jnp.float32
