"""The spread of angles, and the image that the classifier sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import spatial_transformer as study


def test_spread_ignores_a_common_turn():
    angles = np.random.default_rng(0).uniform(-1, 1, 500)
    assert study.spread(angles + 2.5) == pytest.approx(study.spread(angles))
    assert study.spread(np.full(5, 1.0)) == pytest.approx(0, abs=1e-6)
    # Uniform in [-1, 1]: |mean| is about sin(1) / 1 = .84, so (-2 log .84)^1/2 = .587.
    assert study.spread(angles) == pytest.approx(0.587, abs=0.03)


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
