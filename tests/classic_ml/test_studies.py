"""The experiments in small: numbers that their verdicts stand on."""

import inspect

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classic_ml import linear
from dlcore.classic_ml.classifiers import CLASSIFIERS
from experiments.bench import knn
from experiments.classic_ml import choose_k, classifiers, distances, hard_cases, universal_approximation, viewpoints


@pytest.mark.covers("DD-04", "DD-07", "DD-08")
def test_distances():
    result = distances.study(**distances.experiment.smoke)
    assert result.holds
    assert result.numbers["largest change of L2 under a rotation"] < 1e-10
    assert result.numbers["largest change of L1 under a rotation"] > 0.01
    assert result.numbers["1-NN accuracy, original"] > 0.9


@pytest.mark.weekly
@pytest.mark.covers("DD-12", "DD-13")
def test_hard_cases():
    result = hard_cases.study(points=300, steps=2000, bits=4)
    assert result.holds
    assert result.numbers["annulus, linear in polar coordinates"] == 1
    assert list(result.figures) == ["regions"]


@pytest.mark.covers("DD-21")
def test_universal_approximation():
    result = universal_approximation.study(max_stairs=16)
    assert result.holds
    assert result.numbers["hidden neurons"] == [4, 8, 16, 32]
    assert result.numbers["step"][-1] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.covers("DD-11")
def test_three_viewpoints_of_one_classifier():
    """Geometric: w x + b = 0 is a plane; algebraic: [W b] [x 1]; visual: each row of W is a template."""
    model = linear.Linear(jnp.diag(jnp.array([2.0, 1.0, 4.0])), jnp.array([-1.0, 0.0, -2.0]))
    x = jnp.eye(3)
    np.testing.assert_array_equal(linear.scores(model, x).argmax(1), [0, 1, 2])  # each mean on its own template
    folded = linear.append_one(x) @ linear.fold_bias(model).T
    np.testing.assert_allclose(folded, linear.scores(model, x))
    # The plane of class 0, 2 x_0 - 1 = 0, lies at |b| / |w| = 1/2 from the origin, along w.
    np.testing.assert_allclose(linear.scores(model, jnp.array([[0.5, 7.0, -3.0]]))[0, 0], 0)


@pytest.mark.weekly
@pytest.mark.covers("DD-11", "DD-17")
def test_viewpoints():
    result = viewpoints.study(steps=1500, tries=200)
    assert result.holds
    assert result.numbers["class means matched"] == 10
    assert result.numbers["W x + b against [W b] [x 1]"] < 1e-5
    assert result.numbers["test accuracy, linear"] > 0.9
    with pytest.raises(ValueError, match="hidden=15: not a multiple of 10"):
        viewpoints.study(hidden=15)


@pytest.mark.slow
@pytest.mark.covers("DD-06")
def test_choose_k():
    result = choose_k.study(folds=3, limit=300)
    assert "3 folds choose k = " in result.verdict
    assert result.numbers["test accuracy of the chosen"] > 0.9


@pytest.mark.slow
def test_a_table_of_classifiers():
    result = classifiers.study(only="nearest")
    assert list(result.numbers) == ["nearest neighbor, L1", "nearest neighbor, L2", "nearest neighbor, cosine"]
    assert result.numbers["nearest neighbor, L1"].startswith("test 95.20%")
    assert result.numbers["nearest neighbor, L2"].startswith("test 96.00%")
    assert set(classifiers.SETTINGS) <= set(classifiers.CLASSIFIERS)


@pytest.mark.slow
def test_the_bench_measures_a_ratio_for_each_metric():
    result = knn.measure(rows=64, queries=4, num_repeats=1, k=2)
    for metric in ("l1", "l2", "cosine"):
        assert any(name.startswith(f"{metric}: scikit-learn over ours") and v > 0 for name, v in result.numbers.items())
    assert "4 queries of 64 rows, k = 2" in result.verdict


def test_each_classifier_is_tried_with_settings_of_its_own():
    """Newton's penalty counts against the sum of the losses, that of gradient descent against their mean."""
    for name, settings in classifiers.SETTINGS.items():
        assert set(settings) <= set(inspect.signature(CLASSIFIERS[name].train).parameters), name
    penalties = {name: values["l2"] for name, values in classifiers.SETTINGS.items() if "l2" in values}
    assert {name for name, values in penalties.items() if values == (0.1, 1.0, 10.0)} == {"logistic, by Newton"}
    assert all(values == (1e-5, 1e-4, 1e-3, 1e-2) for name, values in penalties.items() if "Newton" not in name)


def test_the_annulus_is_asked_of_each_method(monkeypatch):
    """The linear classifier is right on the first of two points, the network on both."""
    monkeypatch.setattr(hard_cases.linear_training, "train", lambda x, label, **_: "linear")
    monkeypatch.setattr(hard_cases.mlp, "train", lambda x, label, **_: "network")
    monkeypatch.setattr(hard_cases.linear_training, "predict", lambda model, x: np.array([0, 0, model == "network"]))
    monkeypatch.setattr(hard_cases.mlp, "predict", lambda model, x: np.array([0, 1, model == "network"]))
    x, label = np.zeros((3, 2)), np.array([0, 1, 1])
    answers = hard_cases.accuracies(x, label, x, label, 4, 5)
    assert {name: right for name, (right, _) in answers.items()} == {
        "linear": pytest.approx(1 / 3),
        "two layers": pytest.approx(1),
    }
