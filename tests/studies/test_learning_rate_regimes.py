"""Curves at known rates, their names, and the verdict."""

import chex
import numpy as np
import pytest

from dlcore.diagnostics.lr_range import RangeTest
from experiments.studies import learning_rate_regimes as study


def curve(name):
    t = np.arange(100)
    return {
        "too low": 2.3 - 0.0005 * t,
        "good": 0.1 + 2.2 * np.exp(-t / 20),
        "high": 1.0 + 1.3 * np.exp(-t / 4),
        "too high": np.where(t < 2, 2.3, np.nan),
    }[name]


def story(*names, best=0.1):
    learning_rates = 10.0 ** np.arange(-3, -3 + len(names))
    losses = np.array([[curve(name), curve(name)] for name in names])
    return study.judge(learning_rates, losses, [RangeTest(0.01, 0.1, 1.0), RangeTest(best, best, None)])


@pytest.mark.covers("TR-11")
def test_the_verdict_follows_the_curves():
    verdict, holds = story("too low", "good", "high", "too high")
    assert holds
    assert "too low 0.001 to 0.001, good 0.01 to 0.01, high 0.1 to 0.1, too high 1 to 1." in verdict
    assert "at 0.01, called good on 2" in verdict
    assert "lies between on 1." in verdict  # [.01, 1] holds .01, [.1, inf] does not
    assert not story("good", "good", "too high")[1]
    assert not story("too low", "good", "high")[1]
    assert not story("too low", "too high", "good", "too high")[1]
    assert not story("too low", "high", "too high")[1]


@pytest.mark.slow
@pytest.mark.covers("TR-11")
def test_real_curves_get_their_names():
    losses = study.curves(np.array([1e-6, 0.03, 30.0]), 1, 2, 100, 32)
    chex.assert_shape(losses, (3, 1, 100))
    np.testing.assert_allclose(losses[:, :, 0], losses[0, 0, 0], rtol=1e-5)  # the same weights and first batch
    assert study.names(losses).ravel().tolist() == ["too low", "good", "too high"]


@pytest.mark.weekly
def test_the_smoke_version():
    result = study.study(**study.experiment.smoke)
    assert result.numbers["rate 1e-06"] == "too low"
    assert result.numbers["range test, steepest"][0] > 0
