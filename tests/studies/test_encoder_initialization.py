"""The autoencoder learns, the draw of the labels, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.autoencoder import Autoencoder
from experiments.studies import encoder_initialization as study
from experiments.studies.small_runs import shuffled_digits


@pytest.mark.weekly
@pytest.mark.covers("GE-06")
def test_the_encoder_learns_before_its_labels():
    model = Autoencoder((8, 8, 1), hidden=(16,), latent_dim=8)
    images = jnp.asarray(shuffled_digits().images[:200])
    parts = jax.jit(lambda key: study.pretrained(model, images, key, 60, 3e-3))(jax.random.key(0))
    errors = [float(jnp.square(model.apply({"params": params}, images) - images).mean()) for params in parts]
    assert errors[1] < 0.7 * errors[0], errors


@pytest.mark.covers("GE-06")
def test_the_verdict_turns_with_the_arms():
    arms = {"scratch": np.array([0.8, 0.82, 0.84]), "encoder": np.array([0.85, 0.84, 0.86])}
    good = study.report(arms, 100)
    assert good.holds
    assert "82.0% from scratch, 85.0% from the encoder of an autoencoder (+3.0 points), over 3 seeds" in good.verdict
    np.testing.assert_allclose(good.headline.values, [0.05, 0.02, 0.02])
    swapped = study.report({"scratch": arms["encoder"], "encoder": arms["scratch"]}, 100)
    assert not swapped.holds
    assert "does NOT help" in swapped.verdict


def test_labels_are_of_all_classes_and_change_with_the_seed():
    labels = np.arange(1000) % 10
    rows = study.few_labels(labels, 100, 0)
    assert np.bincount(labels[rows]).tolist() == [10] * 10
    assert len(set(rows.tolist())) == 100
    assert (rows != study.few_labels(labels, 100, 1)).any()
