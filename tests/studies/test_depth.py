"""The study in smoke settings, and its verdict on numbers that were written for it."""

import numpy as np
import pytest

from experiments.studies import depth


@pytest.mark.covers("ZO-12", "ZO-25")
def test_the_verdict_follows_the_numbers():
    loss = {
        "plain 20": np.array([0.02, 0.04]),
        "plain 56": np.array([0.5, 0.3]),
        "residual 20": np.array([0.01, 0.01]),
        "residual 56": np.array([0.02, 0.005]),
    }
    verdict, holds = depth.judge(loss)
    assert holds
    assert "plain 20 layers 0.0300, plain 56 layers 0.4000" in verdict
    assert "deeper plain network is worse on 2 of 2 seeds, the deeper residual one on 1" in verdict
    assert "at 56 layers the residual one is better on 2" in verdict
    assert not depth.judge({**loss, "plain 56": np.array([0.5, 0.03])})[1]
    assert not depth.judge({**loss, "residual 56": np.array([0.2, 0.2])})[1]  # degraded as the plain one


@pytest.mark.covers("ZO-12", "ZO-25")
def test_smoke():
    result = depth.experiment.function(**depth.experiment.smoke)
    assert {"depth", "landscape"} == set(result.figures)
    losses = [v for name, v in result.numbers.items() if name.endswith("loss")]
    assert len(losses) == 4
    assert all(np.isfinite(v).all() for v in losses)
