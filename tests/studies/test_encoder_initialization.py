"""The arms by what they start from, a short run, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.autoencoder import Autoencoder
from experiments.studies import encoder_initialization as study
from experiments.studies.small_runs import shuffled_digits


@pytest.mark.slow
@pytest.mark.covers("GE-06")
def test_each_arm_starts_from_its_own_weights(monkeypatch):
    """Where the untrained encoder is dead, scratch answers one class; swapped arms would fail."""

    def dead_before(model, images, key, steps, learning_rate):
        params = model.init(key, images[:1])["params"]
        return jax.tree.map(jnp.zeros_like, params), params

    monkeypatch.setattr(study, "pretrained", dead_before)
    monkeypatch.setattr(study, "Autoencoder", lambda shape, **_: Autoencoder(shape, hidden=(32,), latent_dim=16))
    results = study.accuracies(num_seeds=2, num_labels=100, pretrain_steps=0, steps=40, learning_rate=3e-3)
    np.testing.assert_allclose(results["scratch"], 0.1, atol=0.03)
    assert (results["encoder"] > 0.4).all(), results
    assert study.report(results, 100).holds


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


@pytest.mark.covers("GE-06")
def test_scratch_is_from_the_weights_before_the_autoencoder_and_encoder_from_those_after(monkeypatch):
    """Weights are 0 before and 1 after; a classifier answers with its weights, and every label of the test is 1."""
    data = shuffled_digits()
    monkeypatch.setattr(study, "shuffled_digits", lambda: data._replace(test_labels=np.ones(500, int)))
    monkeypatch.setattr(study, "pretrained", lambda *_: (jnp.int32(0), jnp.int32(1)))
    monkeypatch.setattr(study, "fine_tuned", lambda model, params, *_: (params,))
    monkeypatch.setattr(study, "classifier", lambda model, params, images: jax.nn.one_hot(params, 10))
    settings = {"num_labels": 10, "pretrain_steps": 1, "steps": 1, "learning_rate": 0.1}
    found = study.accuracies(num_seeds=2, **settings)
    assert {arm: values.tolist() for arm, values in found.items()} == {"scratch": [0, 0], "encoder": [1, 1]}
