"""The four assumptions by hand, what unlabeled points change in a small run, and the verdict."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.semi_supervised import two_moons as study


@pytest.mark.covers("SE-13")
def test_moons_meet_all_four_assumptions_and_halves_but_two():
    x, moon = study.two_moons(600, 0.05, np.random.default_rng(0))
    by_moon = study.measure_assumptions(x, moon, moon)
    by_half = study.measure_assumptions(x, study.halves(x), moon)
    assert by_moon["smoothness"] == 1
    assert by_half["smoothness"] > 0.95
    assert by_moon["cluster"] == 1
    assert by_half["cluster"] < 0.55, "P(label | moon) = 1/2"
    assert by_moon["low density"] < 0.25
    assert by_half["low density"] > 0.8
    assert by_moon["manifold"] == by_half["manifold"] > 0.75
    noise = np.random.default_rng(0).normal(size=(600, 2))
    assert study.measure_assumptions(noise, moon, moon)["manifold"] < 0.75, "a disc is no curve"


def test_each_class_gets_its_labels():
    label = np.arange(20) % 2
    given = study.draw_labels(label, 3, np.random.default_rng(0))
    assert (given != -1).sum() == 6
    assert (given[given != -1] == label[given != -1]).all()
    assert np.bincount(given[given != -1]).tolist() == [3, 3]


@pytest.mark.weekly
@pytest.mark.covers("SE-13")
def test_the_network_learns_from_unlabeled_points_by_its_weights_alone():
    """With weight 0 points without a label change nothing; with more its answers to them become surer."""
    x, _ = study.two_moons(20, 0.1, np.random.default_rng(0))
    given = jnp.asarray(np.where(np.arange(20) < 4, np.arange(20) % 2, -1))[None]
    keys, points = jax.random.split(jax.random.key(0), 1), jnp.asarray(x, jnp.float32)[None]
    moved = points.at[0, 4:].add(0.5)

    def train(points, *weights):
        return study.train_networks(keys, points, given, jnp.array(weights), 0.1, 30)

    def entropy(params):
        logits = study.NETWORK.apply({"params": jax.tree.map(lambda leaf: leaf[0], params)}, points[0])
        return float(study.entropy_loss(logits).mean())

    alone, same, sure = train(points, 0.0, 0.0), train(moved, 0.0, 0.0), train(points, 2.0, 0.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), alone, same)
    assert entropy(sure) < 0.7 * entropy(alone)
    assert not np.allclose(*(jax.tree.leaves(p)[1] for p in (alone, train(points, 0.0, 5.0))))


def test_the_verdict_turns():
    def judged(moon, half):
        """Accuracies of (1-NN, propagation, network, network with unlabeled points)."""
        names = [name for pair in study.TWINS.items() for name in reversed(pair)]
        arms = {"moon": moon, "half": half}
        numbers = {
            arm: {name: [a, a] for name, a in zip(names, values, strict=True)} | {"logistic": [0.5, 0.5]}
            for arm, values in arms.items()
        }
        return study.report(numbers, {arm: {} for arm in arms})

    good = judged((0.8, 0.9, 0.8, 0.95), (0.8, 0.8, 0.9, 0.7))
    assert good.holds
    assert "1-NN 80.0%, propagation 90.0% (+10.0 points), network 80.0%, network, unlabeled too 95.0%" in good.verdict
    assert "(-20.0 points)" in good.verdict
    np.testing.assert_allclose(good.headline.values, [0.1, 0.1])
    assert not judged((0.8, 0.84, 0.8, 0.95), (0.8, 0.8, 0.9, 0.7)).holds
    assert not judged((0.8, 0.9, 0.8, 0.95), (0.8, 0.82, 0.9, 0.7)).holds


@pytest.mark.slow
def test_a_small_run():
    result = study.study(num_seeds=1, points=40, steps=2)
    assert list(result.figures) == ["regions"]
    assert 0.5 < result.numbers["accuracy by moon, propagation"][0] <= 1


def test_each_name_is_its_classifier_and_one_network_sees_unlabeled_points(monkeypatch):
    """Classifiers answer 1 to 5, in the order of their names; a network's answer is the sum of its weights."""
    monkeypatch.setattr(study.logistic, "train", lambda x, label, l2: len(x))
    monkeypatch.setattr(study.logistic, "predict", lambda count, q: np.full(len(q), count - 1))
    monkeypatch.setattr(study.nearest_neighbor, "train", lambda x, label: len(x))
    monkeypatch.setattr(study.nearest_neighbor, "predict", lambda count, q: np.full(len(q), count))
    graph = types.SimpleNamespace(classes=np.array([9, 3, 9]))
    monkeypatch.setattr(study, "propagate", lambda points, given, gamma: graph)
    monkeypatch.setattr(study, "extend", lambda graph, q: np.tile([0, 1, 0], (len(q), 1)))
    monkeypatch.setattr(study, "train_networks", lambda keys, x, given, w, *_: np.full(len(keys), 4 + w.sum()))
    network = types.SimpleNamespace(apply=lambda tree, q: np.eye(9)[[int(tree["params"])] * len(q)])
    monkeypatch.setattr(study, "NETWORK", network)
    points = np.zeros((4, 2))
    arm = study.Arm(points, np.array([0, 1, study.UNLABELED, study.UNLABELED]), points, np.zeros(4))
    (answers,) = study.train_all([arm], 1, (0.25, 0.75), 0.1, 1.0)
    assert {name: predict(np.zeros((1, 2))).tolist() for name, predict in answers.items()} == {
        "logistic": [1],
        "1-NN": [2],
        "propagation": [3],
        "network": [4],
        "network, unlabeled too": [5],
    }
