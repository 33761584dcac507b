"""A run that moves the net, and the verdict."""

import jax
import numpy as np
import pytest

from experiments.studies import projection_head as study


@pytest.mark.covers("SS-14")
def test_the_verdict_turns_when_the_arms_are_swapped():
    results = {"h": np.array([0.95, 0.96, 0.94]), "z": np.array([0.90, 0.91, 0.93]), "untrained h": np.full(3, 0.9)}
    good = study.report(results)
    assert good.holds
    assert "reads 95.0% off h, before the head, and 91.3% off z" in good.verdict
    np.testing.assert_allclose(good.headline.values, [0.05, 0.05, 0.01])
    assert not study.report(results | {"h": results["z"], "z": results["h"]}).holds
    assert not study.report(results | {"z": np.array([0.90, 0.91, 0.945])}).holds, "every seed must agree"


@pytest.mark.slow
def test_training_moves_f_and_the_head():
    before, after = study.train(1, 2, 8, 1e-3, 0.1)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before, after)
    assert min(max(jax.tree.leaves(part)) for part in moved.values()) > 1e-4
