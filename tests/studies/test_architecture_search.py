"""The study in smoke settings, and its verdict on numbers that were written for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classification.architecture_search import Search
from experiments.studies import architecture_search as study
from experiments.studies.small_runs import Digits


@pytest.mark.covers("ZO-23")
def test_the_verdict_follows_the_numbers():
    truth = np.linspace(0, 1, 101)
    verdict, holds = study.judge(truth, np.array([99, 97]), np.array([90, 98]))
    assert holds
    assert "top 5 % of 101 on 2 of 2 seeds (better than it: 1.0%, 3.0%), accuracy 98.0%" in verdict
    assert "children: 94.0%, 9.9%, 2.0%" in verdict
    assert "ahead on 1 of 2 seeds and ahead in the mean" in verdict
    assert not study.judge(truth, np.array([99, 94]), np.array([90, 90]))[1]  # 6 of 101 are better
    lost, holds = study.judge(truth, np.array([97, 97]), np.array([99, 99]))
    assert not holds
    assert "NOT ahead in the mean" in lost


def test_a_cell_is_found_at_its_place():
    everything = study.all_architectures()
    np.testing.assert_array_equal(study.architecture_index(everything), np.arange(729))


@pytest.mark.weekly
def test_smoke(monkeypatch):
    """Children and controller are traced on the study's data, not compiled, which takes 15 s.

    A child's accuracy is its share of convolutions, and the controller tries the cell without operations.
    """
    settings = []

    def reinforce_search(key, reward, **kwargs):
        shapes = jax.eval_shape(lambda key: real_search(key, reward, **kwargs), key)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def train_child(key, architecture, data, **kwargs):
        settings.append(kwargs)
        accuracy = jax.eval_shape(lambda key, data: real_child(key, architecture, data, **kwargs), key, data)
        return (architecture == 2).mean().astype(accuracy.dtype).reshape(accuracy.shape)

    real_child, real_search = study.train_child, study.reinforce_search
    monkeypatch.setattr(study, "reinforce_search", reinforce_search)
    monkeypatch.setattr(study, "train_child", train_child)
    result = study.experiment.function(**study.experiment.smoke)
    truth = result.numbers["truth"]
    assert len(truth) == 729
    np.testing.assert_allclose(truth[:4], [0, 0, 1 / 6, 0])  # the third is the first with a convolution
    assert settings[0]["steps"] == 2
    assert np.isfinite(result.numbers["controller: mean reward, last quarter"]).all()
    assert set(result.figures) == {"architecture_search"}


def test_the_cell_of_the_best_trial_is_proposed(monkeypatch):
    """An accuracy is the share of convolutions; the controller tries none, six and three of them."""
    rows, everything = np.array([0, 728, 364]), jnp.asarray(study.all_architectures())

    def reinforce_search(key, reward, **_):
        return Search(everything[rows], jnp.array([0.0, 1.0, 0.5]), everything[0])

    monkeypatch.setattr(study, "reinforce_search", reinforce_search)
    monkeypatch.setattr(study, "train_child", lambda key, architecture, data, **_: (architecture == 2).mean())
    result = study.study(num_seeds=3, updates=1, children=3, num_repeats=1)
    assert result.numbers["controller: accuracy of the proposed cell"] == [1, 1, 1]
    assert result.numbers["controller: accuracy of its likeliest cell"] == [0, 0, 0]
    at_random = np.array(result.numbers["random: accuracy of the proposed cell"])
    assert (at_random >= np.array(result.numbers["random: mean reward"])).all()
    assert (at_random > np.array(result.numbers["random: mean reward"])).any()
    assert result.holds


def test_children_train_on_the_first_images_and_are_scored_on_the_others(monkeypatch):
    """Of 13 digits 13 * 900 // 1297 = 9 are to train on."""
    images = np.arange(14.0).reshape(14, 1, 1, 1)
    digits = Digits(images, np.arange(14) + 100, images, np.arange(14))
    monkeypatch.setattr(study, "shuffled_digits", lambda seed: digits)
    parts = study.digits_for_children(0, 13)
    assert {name: np.ravel(part).tolist() for name, part in parts.items()} == {
        "image": list(range(9)),
        "label": list(range(100, 109)),
        "valid_image": list(range(9, 13)),
        "valid_label": list(range(109, 113)),
    }
