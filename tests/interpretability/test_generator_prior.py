"""A linear generator and classifier, whose optimum has a formula, and what is refused."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.experiment.experiment import Experiment
from dlcore.interpretability.generator_prior import ascend_code
from experiments.studies import generator_prior as study

RNG = np.random.default_rng(0)
G, W = RNG.normal(size=(2, 4)).astype(np.float32), RNG.normal(size=(4, 3)).astype(np.float32)


def ascend(codes, labels, **settings):
    return ascend_code(
        lambda z: (z @ G).reshape(-1, 2, 2, 1), lambda x: x.reshape(len(x), -1) @ W, codes, labels, **settings
    )


@pytest.mark.covers("VI-12")
def test_the_code_goes_to_the_optimum_and_the_score_rises():
    """s_c(G(z)) - |z|^2 / 2 = z . (G w_c) - |z|^2 / 2 is greatest at z = G w_c, where the score is |G w_c|^2."""
    labels, start = jnp.array([0, 2]), jnp.asarray(RNG.normal(size=(2, 2)).astype(np.float32))
    codes, scores = jax.jit(lambda z: ascend(z, labels, optimizer=optax.sgd(0.5), steps=20))(start)
    optimum = (G @ W).T[np.array([0, 2])]
    np.testing.assert_allclose(codes, optimum, atol=1e-4)
    np.testing.assert_allclose(scores[-1], np.square(optimum).sum(1), rtol=1e-3)
    np.testing.assert_allclose(scores[0], np.sum(start * optimum, 1), rtol=1e-4)
    # One step: z + 0.5 (G w - z).
    assert np.allclose(scores[1], np.sum((start + optimum) / 2 * optimum, 1), rtol=1e-4)


def test_bad_input_is_named():
    codes, labels = jnp.zeros((1, 2)), np.array([0])
    with pytest.raises(ValueError, match=r"steps=0, weight=0\.5: out of range; allowed: at least 1, and at least 0"):
        ascend(codes, labels, optimizer=optax.sgd(1.0), steps=0)
    with pytest.raises(ValueError, match=r"weight=-0\.5: out of range"):
        ascend(codes, labels, optimizer=optax.sgd(1.0), weight=-0.5)
    once = jax.eval_shape(lambda z: ascend(z, labels, optimizer=optax.sgd(1.0), steps=1)[1], codes)
    chex.assert_shape(once, (2, 1))
    with pytest.raises(ValueError, match=r"labels.*3.*classes"):
        ascend(codes, np.array([3]), optimizer=optax.sgd(1.0))


@pytest.mark.covers("VI-12")
def test_the_verdict_asks_for_confidence_and_for_images_like_real_ones():
    images = np.zeros((10, 8, 8, 1), np.float32)

    def result(start, end, probability, prior, pixels):
        scores = np.stack([np.full(10, start), np.full(10, end)])
        return study.report(scores, [probability], [prior], [pixels], images, images)

    assert result(0.0, 5.0, 0.995, 3.0, 9.0).holds
    assert not result(0.0, 5.0, 0.9, 3.0, 9.0).holds
    assert not result(0.0, 5.0, 0.995, 10.0, 9.0).holds
    assert not result(0.0, -1.0, 0.995, 3.0, 9.0).holds


@pytest.mark.covers("VI-12")
def test_the_distances_belong_to_their_arms(monkeypatch):
    """A generator whose images are all near .9, as the real ones are; free pixels stay where their noise began."""

    class Decoder:
        latent_dim = 2

        def __init__(self, shape):
            pass

        def apply(self, variables, z, method):
            return (jnp.log(9.0) + 0.01 * jnp.tile(z, 2).reshape(-1, 2, 2, 1),)

    kernel = jnp.asarray(RNG.normal(size=(4, 10)).astype(np.float32))
    network = SimpleNamespace(
        model=SimpleNamespace(apply=lambda variables, x: x.reshape(len(x), -1) @ kernel),
        variables={},
        mean=np.zeros(1, np.float32),
        std=np.ones(1, np.float32),
        input_size=None,
    )
    phase = SimpleNamespace(spec={"image_shape": [2, 2, 1]}, flags=SimpleNamespace(group=lambda name: {}), params={})
    real = np.clip(0.9 + 0.001 * RNG.normal(size=(50, 2, 2, 1)), 0, 1).astype(np.float32)
    monkeypatch.setattr(study, "VAE", Decoder)
    monkeypatch.setattr(Experiment, "trained", lambda *args: "run")
    monkeypatch.setattr(study.earlier_run, "load", lambda run: phase)
    monkeypatch.setattr(study, "digits_network", lambda steps, seed: "network")
    monkeypatch.setattr(study, "load_network", lambda source: network)
    splits = SimpleNamespace(test=SimpleNamespace(arrays={"image": real}))
    monkeypatch.setattr(study, "load", lambda name: splits)
    numbers = study.study(steps=1, per_class=3, num_seeds=2).numbers
    assert max(numbers["Fréchet distance, over the code"]) < 0.01
    assert min(numbers["Fréchet distance, over the pixels"]) > 0.1
