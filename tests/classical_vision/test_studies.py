"""The experiments of features in smoke settings, and verdicts on numbers that were written for them."""

import types
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.image_classification import load
from dlcore.evaluators.knn import knn_predict
from experiments.classical_vision import features, flow, learned_features, match, retrieval
from experiments.studies.small_runs import Digits
from tests.random_weights import random_like


@pytest.mark.covers("FE-04")
def test_the_verdict_on_features_turns():
    def results(pixels, words, valid):
        return {
            "pixels": {"test": pixels, "valid": 1.0},
            "HOG": {"test": 0.1, "valid": 0.2},
            "words": {"test": words, "valid": valid},
            "all, two layers": {"test": 0.99, "valid": 1.0},
        }

    verdict, holds = features.judge(results(0.9, 0.95, 0.97))
    assert holds
    assert verdict.endswith("A linear classifier on words is 5.0% above one on pixels.")
    assert not features.judge(results(0.9, 0.85, 0.97))[1]
    assert not features.judge(results(0.9, 0.95, 0.1))[1]  # chosen by validation, not by what wins the test


@pytest.mark.weekly
@pytest.mark.covers("FE-04")
def test_features_smoke():
    result = features.study(**features.experiment.smoke | {"hidden": 0})
    assert result.numbers["HOG, dimensions"] == 324
    assert result.numbers["all by hand, dimensions"] == 324 + 4 * 9
    assert result.numbers["all by hand, test"] > 0.6
    assert set(result.figures) == {"features"}


@pytest.mark.weekly
def test_all_features_of_color_images():
    images = np.random.default_rng(0).uniform(size=(12, 16, 16, 3)).astype(np.float32)
    found, codebook = features.extract([images, images[:2]], 0, 5, 100, 2)
    chex.assert_shape(codebook, (5, 3, 3, 3))
    assert {name: x[1].shape for name, x in found.items()} == {
        "pixels": (2, 768),
        "color histogram": (2, 8),
        "HOG": (2, 7 * 7 * 36),
        "visual words": (2, 20),
        "HOG, color": (2, 7 * 7 * 36 + 8),
        "all by hand": (2, 7 * 7 * 36 + 28),
    }
    assert features.pixels_of(load("digits").test).max() == 1


@pytest.mark.covers("FE-05")
def test_learned_features_are_the_last_layer_before_the_logits():
    """The logits are 16 times the cosine of an image's features with each class, so features sort images by class."""
    net = learned_features.SmallConvNet(num_classes=3, width=5)
    images = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype(np.float32)
    shapes = jax.eval_shape(lambda key: net.init(key, images, False), jax.random.key(0))
    variables = random_like(shapes, 0.3, np.random.default_rng(1))
    run = jax.jit(lambda v: (net.apply(v, images, method="features"), net.apply(v, images, False)))
    features, logits = map(np.asarray, run(variables))
    chex.assert_shape(features, (4, 5))
    head = np.asarray(variables["params"]["head"])
    cosines = features / np.linalg.norm(features, axis=1, keepdims=True) @ (head / np.linalg.norm(head, axis=0))
    np.testing.assert_allclose(logits, 16 * cosines, rtol=1e-4, atol=1e-4)
    # Doubled images keep their direction: they are their own nearest neighbors by cosine.
    np.testing.assert_array_equal(knn_predict(features, np.arange(4), 2 * features, 1), np.arange(4))


@pytest.mark.weekly
@pytest.mark.covers("FE-05")
def test_learned_features_smoke():
    result = learned_features.study(steps=150, num_seeds=1)
    assert result.numbers["k-NN on pixels"][0] == pytest.approx(0.964, abs=0.01)
    assert result.numbers["k-NN on learned"][0] > 0.9
    assert result.holds == all(
        result.numbers[f"{how} on learned"][0] > result.numbers[f"{how} on pixels"][0] for how in ("k-NN", "linear")
    )


@pytest.mark.weekly
@pytest.mark.covers("FE-06")
def test_retrieval_smoke_holds_out_classes_and_people():
    data = retrieval.held_out_digits(0)
    assert set(data.labels) == set(data.test_labels) == set(range(5))
    many = retrieval.rotated(data)
    assert set(many.labels) == set(range(40))
    assert len(many.images) == 8 * len(data.images)
    result = retrieval.study(**retrieval.experiment.smoke)
    assert result.numbers["pixels: recall at 1"] == pytest.approx(0.976, abs=0.002)
    assert set(result.figures) == {"roc"}


@pytest.mark.covers("FE-06")
def test_one_example_a_class():
    # two classes on two axes: one example of each is enough; labels that say nothing are right by chance
    x = np.repeat(np.eye(2), 20, 0) + 0.01 * np.random.default_rng(0).normal(size=(40, 2))
    assert retrieval.one_shot(x, np.repeat([0, 1], 20), 5, 0) == 1
    assert 0.2 < retrieval.one_shot(x, np.tile([0, 1], 20), 20, 0) < 0.8
    numbers, _ = retrieval.measure(np.repeat(np.eye(4), 5, 0), np.repeat(range(4), 5), 2, 0)
    assert numbers["recall at 1"] == numbers["verification, area"] == 1
    assert numbers["same accepted"] == 1
    assert numbers["different accepted"] == 0


def test_images_without_matches_are_refused():
    match.check_matches(np.ones(4, bool), "a.png,b.png")
    with pytest.raises(ValueError, match=r"input=a.png,b.png: 3 matches; allowed: at least 4, images of one scene"):
        match.check_matches(np.ones(3, bool), "a.png,b.png")


def test_where_omniglot_is_not():
    with pytest.raises(FileNotFoundError, match=r"data_dir=.nowhere.: has no omniglot28.npz"):
        retrieval.omniglot("nowhere")


def test_pixels_and_learned_features_are_read_by_both_classifiers(monkeypatch):
    """Pixels are 64 numbers, learned features two; k-NN says 1 to all on the first, the linear classifier 0."""
    few = np.zeros((5, 8, 8, 1), np.float32)
    digits = Digits(few, np.zeros(5, int), few, np.array([0, 1, 1, 2, 2]))
    says = {("k-NN", 64): 0, ("linear", 64): 1, ("k-NN", 2): [0, 1, 1, 0, 0], ("linear", 2): [0, 1, 1, 2, 2]}

    def predict(how):
        return lambda gallery, labels, queries, *_: np.full(5, says[how, gallery.shape[1]])

    monkeypatch.setattr(learned_features, "shuffled_digits", lambda seed: digits)
    monkeypatch.setattr(learned_features, "train_features", lambda *_, **__: lambda images: images[:, 0, :2, 0])
    monkeypatch.setattr(learned_features, "knn_predict", predict("k-NN"))
    monkeypatch.setattr(learned_features, "probe_predict", predict("linear"))
    result = learned_features.study(num_seeds=1)
    assert "k-NN: 20.0% on pixels, 60.0% on learned features; a linear classifier: 40.0% and 100.0%" in result.verdict
    assert result.holds


def test_pixels_and_the_embedding_are_measured_under_their_names(monkeypatch):
    few = np.zeros((4, 16, 16, 1), np.float32)
    digits = Digits(few, np.zeros(4, int), few, np.zeros(4, int))
    curve = types.SimpleNamespace(false_accept=np.arange(2), true_accept=np.arange(2), auc=0.5)
    monkeypatch.setattr(retrieval, "omniglot", lambda folder: digits)
    monkeypatch.setattr(retrieval, "train_features", lambda *_: lambda images: images[:, 0, :3, 0])

    def measure(features, labels, draws, seed):
        number = float(features.shape[1])
        names = ("recall at 1", "one example a class", "verification, area", "verification, equal error")
        return dict.fromkeys((*names, "same accepted", "different accepted"), number), curve

    monkeypatch.setattr(retrieval, "measure", measure)
    numbers = retrieval.study(data_dir="own").numbers
    assert (numbers["pixels: recall at 1"], numbers["embedding: recall at 1"]) == (256, 3)


@pytest.mark.slow
def test_each_flow_is_of_its_method(monkeypatch):
    """Of a motion by (2, 1), Lucas-Kanade finds all and Horn-Schunck half: sqrt(1 + 1/4) is left."""

    def lucas_kanade(first, *_):
        return Local(jnp.broadcast_to(jnp.array([2.0, 1]), (*first.shape, 2)), jnp.ones(first.shape, bool))

    monkeypatch.setattr(flow, "dense_lucas_kanade", lucas_kanade)
    monkeypatch.setattr(flow, "horn_schunck", lambda a, *_: jnp.broadcast_to(jnp.array([1.0, 0.5]), (*a.shape, 2)))
    numbers = flow.study(height=48, right=2.0, down=1.0).numbers
    errors = {name: numbers[f"{name}: endpoint error"] for name in ("Lucas-Kanade", "Horn-Schunck", "no motion")}
    assert errors == pytest.approx({"Lucas-Kanade": 0, "Horn-Schunck": 1.25**0.5, "no motion": 5**0.5}, abs=1e-6)


class Local(NamedTuple):
    """What dense_lucas_kanade returns."""

    flow: jax.Array
    mask: jax.Array
