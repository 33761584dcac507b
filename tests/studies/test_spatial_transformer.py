"""The study of the spatial transformer: what it measures, in a few steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import spatial_transformer as study


@pytest.mark.weekly
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


def test_each_column_is_of_its_network(monkeypatch):
    """The transformer undoes nine tenths of each angle and is right more often."""

    def run(transformer, seed, steps, batch_size, limit, learning_rate):
        angles = np.linspace(-limit, limit, 50)
        images = np.zeros((12, 4, 4))
        return 0.5 + 0.4 * transformer, angles, -0.9 * angles * transformer, images, images

    monkeypatch.setattr(study, "run", run)
    result = study.study(num_seeds=2)
    assert result.numbers["accuracy with"] == [0.9, 0.9]
    assert result.numbers["accuracy without"] == [0.5, 0.5]
    # uniform in [-t, t]: |mean| is sin(t) / t, of which the deviation is (-2 log)^1/2
    left, all_ = (np.sqrt(-2 * np.log(np.sin(t) / t)) for t in (0.05 * np.pi, 0.5 * np.pi))
    np.testing.assert_allclose(result.headline.values, left / all_, rtol=0.05)
    assert result.holds


@pytest.mark.slow
def test_the_transformer_shows_the_classifier_a_turned_image():
    x = jax.random.uniform(jax.random.key(0), (2, 16, 16, 1))
    for transformer in (False, True):
        model = study.Classifier(transformer)
        variables = jax.jit(model.init)(jax.random.key(1), x)
        turned = jax.tree.map(lambda v: v + 0.1, variables)
        _, seen, theta = jax.jit(model.apply)(turned, x)
        assert bool(jnp.abs(seen - x).max() > 0.05) == transformer
        assert bool(jnp.abs(theta - jnp.eye(2, 3)).max() > 0.05) == transformer
