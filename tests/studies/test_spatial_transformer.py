"""The study of the spatial transformer: what it measures, in a few steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import spatial_transformer as study


@pytest.mark.covers("CV-32")
def test_it_measures_accuracies_and_angles(monkeypatch):
    """The network without a transformer is traced, not compiled: its run is stood in for by the other's."""
    run = functools.cache(study.run)
    monkeypatch.setattr(study, "run", lambda transformer, *settings: run(True, *settings))
    shapes = jax.eval_shape(study.Classifier(False).init, jax.random.key(0), jnp.zeros((2, 16, 16, 1)))["params"]
    assert "transformer" not in shapes
    result = study.study(**study.experiment.smoke)
    assert set(result.numbers) == {"accuracy with", "accuracy without", "angles left"}
    assert result.numbers["angles left"][0] == pytest.approx(1, abs=0.1)  # five steps undo nothing
    assert not result.holds
    assert list(result.figures) == ["digits"]


def test_spread_ignores_a_common_turn():
    angles = np.random.default_rng(0).uniform(-1, 1, 500)
    assert study.spread(angles + 2.5) == pytest.approx(study.spread(angles))
    assert study.spread(np.full(5, 1.0)) == pytest.approx(0, abs=1e-6)
    # Uniform in [-1, 1]: |mean| is about sin(1) / 1 = .84, so (-2 log .84)^1/2 = .587.
    assert study.spread(angles) == pytest.approx(0.587, abs=0.03)
