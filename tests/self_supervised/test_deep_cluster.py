"""Clusters without empty ones, a head that starts anew, and a run that goes on after a kill as if nothing had been."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.learner import example_keys
from dlcore.metrics.clustering import normalized_mutual_information
from dlcore.run import Placement, Saving, fit, make_mesh
from dlcore.self_supervised import deep_cluster
from dlcore.self_supervised.deep_cluster import Reclustering, cluster, reset_head, split_largest, whiten
from dlcore.self_supervised.pretext import PieceClassifier
from tests.passes import PASSED, count_pass, passes

CLUSTERS = 3


class Backbone(nn.Module):
    @nn.compact
    def features(self, x, train=False):
        return {"last": nn.Dense(6)(x.reshape(len(x), 1, 1, -1))}


def source(n=45):
    """Three kinds of image, and noise."""
    rng = np.random.default_rng(0)
    label = (np.arange(n) % 3).astype(np.int32)
    image = 0.3 * rng.random((n, 2, 2, 1), np.float32)
    image.reshape(n, 4)[np.arange(n), label] += 0.7
    return Source({"image": image, "label": label})


def noisy(key, image):
    return image + 0.1 * jax.random.normal(key, image.shape)


def toy(n=45, clusters=CLUSTERS, augment=noisy):
    return deep_cluster.learner(
        model=PieceClassifier(Backbone(), clusters),
        optimizer=optax.adam(1e-2),
        augment=augment,
        train_size=n,
        num_clusters=clusters,
    )


@pytest.mark.covers("SS-10")
def test_an_empty_cluster_takes_half_of_the_largest():
    """Six points on a line are cluster 0, two are cluster 1; 2 is empty and takes the three at one end."""
    x = np.array([[0.0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [5, 0], [0, 9], [1, 9]])
    found = split_largest(x, np.array([0, 0, 0, 0, 0, 0, 1, 1]), 3)
    assert sorted(map(tuple, (np.flatnonzero(found == c) for c in (0, 2)))) == [(0, 1, 2), (3, 4, 5)]
    np.testing.assert_array_equal(found[6:], 1)
    # Of five clusters 2, 3 and 4 are empty; all are filled, though all points are the same.
    assert set(split_largest(np.zeros((8, 2)), np.zeros(8, int), 5)) == set(range(5))
    full = np.array([0, 1, 2, 0])
    np.testing.assert_array_equal(split_largest(x[:4], full, 3), full)


@pytest.mark.slow
@pytest.mark.covers("SS-10")
def test_clusters_of_features():
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3
    features = 5 * np.eye(4)[truth] * [1, 100, 1, 1] + rng.normal(0, 0.1, (60, 4)) * [1, 100, 1, 1]
    found = cluster(jax.random.key(0), features, 3, dims=2)
    assert normalized_mutual_information(truth, found) > 0.9
    np.testing.assert_array_equal(found, cluster(jax.random.key(0), features, 3, dims=2))
    assert set(cluster(jax.random.key(0), np.ones((10, 4)), 4)) == set(range(4))
    with pytest.raises(ValueError, match="num_clusters=61: more than examples; allowed: at most 60"):
        cluster(jax.random.key(0), features, 61)


def test_whitened_features_have_equal_variance_and_length_one():
    x = np.random.default_rng(0).normal(size=(500, 3)) * [1, 10, 0] + 7
    z = whiten(x, 5)
    chex.assert_shape(z, (500, 2))  # the third has no variance
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.abs(z).mean(0), np.abs(z).mean(), rtol=0.1)
    # One direction is that of the largest variance, nearly the second number's.
    (main,) = whiten(x, 1).T
    assert np.abs((main * np.sign(x[:, 1] - x[:, 1].mean())).mean()) > 0.98


@pytest.mark.slow
@pytest.mark.covers("SS-10")
def test_a_new_head_forgets_its_moments_and_nothing_else():
    learner, rows = toy(), source()[np.arange(8)]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    state, _ = jax.jit(learner.update)(state, rows)
    after = reset_head(state, jax.random.key(5))
    assert np.abs(after.params["head"]["kernel"] - state.params["head"]["kernel"]).max() > 0.1
    chex.assert_trees_all_equal(after.params["backbone"], state.params["backbone"])
    adam, before = after.opt_state[0], state.opt_state[0]
    assert adam.count == before.count == 1
    assert all((leaf == 0).all() for leaf in jax.tree.leaves((adam.mu["head"], adam.nu["head"])))
    chex.assert_trees_all_equal(adam.mu["backbone"], before.mu["backbone"])
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(before.mu["head"]))


@pytest.mark.slow
def test_labels_are_the_clusters_by_index_and_small_clusters_weigh_more():
    """Of 45 examples 40 are in cluster 0, 4 in 1 and 1 in 2: weights 45 / (3 n), by the index of each row."""
    learner, rows = toy(), source()[np.array([44, 0, 41])]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    clusters = np.zeros(45, np.int32)
    clusters[40:44], clusters[44] = 1, 2
    head = {"kernel": jnp.zeros((6, 3)), "bias": jnp.log(jnp.array([0.5, 0.25, 0.25]))}
    state = state.replace(clusters=jnp.asarray(clusters), params={**state.params, "head": head})
    want = (15 / 1 * np.log(4) + 15 / 40 * np.log(2) + 15 / 4 * np.log(4)) / 3
    assert learner.loss(state.params, state, rows)[0] == pytest.approx(want, rel=1e-5)


class Line(nn.Module):
    """Logits of one layer, and the image as features; elsewhere than in training, of the image plus 1."""

    @nn.compact
    def __call__(self, pieces, train=False):
        count_pass(self, train, draws=True)
        flat = pieces.reshape(len(pieces), -1) + (not train)
        return nn.Dense(3)(flat), flat


@pytest.mark.covers("SS-10")
def test_one_update_by_hand():
    """Cross-entropy of views against the clusters by index, weighted N / (K n) by the size n of the cluster."""
    learner = deep_cluster.learner(
        model=Line(),
        optimizer=optax.sgd(0.1),
        augment=lambda key, image: image + jax.random.uniform(key),
        prepare=lambda images: images / 2,
        normalize=lambda images: images - 0.1,
        train_size=6,
        num_clusters=3,
    )
    rng, clusters = np.random.default_rng(0), np.array([0, 1, 0, 2, 0, 1], np.int32)
    image, index = rng.random((4, 1, 2, 1), np.float32), np.array([5, 0, 3, 2], np.int32)
    rows = {"image": image, "index": index, "label": np.array([0, 1, 1, 1]), "mask": np.array([1, 1, 1, 0])}
    kernel, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3), 3))
    params = {"Dense_0": {"kernel": kernel, "bias": bias}}
    state = deep_cluster.DeepClusterState(
        np.int32(3), jax.random.key(0), params, optax.sgd(0.1).init(params), PASSED, clusters
    )

    @jax.jit
    def step(state):
        keys = example_keys(jax.random.fold_in(jax.random.fold_in(state.rng, state.step), 0), rows)
        shown = state.replace(rng=jax.random.fold_in(jax.random.fold_in(state.rng, state.step), 0))
        after, metrics = learner.update(state, rows)
        value = learner.loss(params, shown, rows)[0], metrics["accuracy"]
        return after.replace(rng=None), jax.vmap(jax.random.uniform)(keys), value

    after, light, (value, accuracy) = jax.device_get(step(state))
    assert passes(after.model_state) == 3 + 1
    after = after.params["Dense_0"]
    x = image.reshape(4, 2) / 2 + light[:, None] - 0.1
    p = np.exp(x @ kernel + bias)
    weight = np.array([6 / (3 * 2), 6 / (3 * 3), 6 / (3 * 1), 0])  # of clusters 1, 0 and 2
    shown = np.exp((x + 1) @ kernel + bias)
    nats = -np.log(shown[np.arange(4), [1, 0, 2, 0]] / shown.sum(-1))
    assert value == pytest.approx((weight * nats).sum() / 3, rel=1e-5)
    assert accuracy.compute() == pytest.approx((p[:3].argmax(-1) == [1, 0, 2]).mean())
    error = (p / p.sum(-1, keepdims=True) - np.eye(3)[[1, 0, 2, 0]]) * weight[:, None] / 3
    np.testing.assert_allclose(after["kernel"], kernel - 0.1 * x.T @ error, atol=1e-5)
    np.testing.assert_allclose(after["bias"], bias - 0.1 * error.sum(0), atol=1e-5)


class Pixels(nn.Module):
    """Logits of one layer, and the pixels of each piece as features."""

    def features(self, images):
        return images.reshape(len(images), -1)

    @nn.compact
    def __call__(self, pieces, train=False):
        flat = pieces.reshape(*pieces.shape[:2], -1)
        return nn.Dense(3)(flat[:, 0]), flat


@pytest.mark.covers("SS-10")
def test_each_image_is_clustered_by_its_own_features(monkeypatch):
    """Ten images in chunks of four, whose pixels are their features; image i is in cluster i mod 3."""
    learner = deep_cluster.learner(
        model=Pixels(), optimizer=optax.sgd(0.1), augment=noisy, train_size=10, num_clusters=3
    )
    images = np.random.default_rng(0).random((10, 1, 2, 1), np.float32)
    clustered = []

    def by_index(key, features, num_clusters, dims):
        clustered.append((features, num_clusters, dims))
        return np.arange(len(features)) % num_clusters

    monkeypatch.setattr(deep_cluster, "_CHUNK", 4)
    monkeypatch.setattr(deep_cluster, "cluster", by_index)
    monkeypatch.setattr(deep_cluster, "reset_head", lambda state, key: state)
    rows = {"image": images, "index": np.arange(10, dtype=np.int32)}
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes).replace(rng=jax.random.key(0))
    state = Reclustering(learner, Source({"image": images}), 3, 100, dims=7).begin(state)
    [(features, *settings)] = clustered
    np.testing.assert_allclose(features, images.reshape(10, 2), rtol=1e-6)
    assert settings == [3, 7]
    np.testing.assert_array_equal(state.clusters, np.arange(10) % 3)


def test_a_drawn_head_is_new_to_the_optimizer_and_all_else_stays():
    params = {"backbone": np.ones((2, 2)), "head": {"kernel": np.ones((400, 3), np.float32), "bias": np.ones(3)}}
    opt_state = jax.tree.map(lambda x: x + 1, jax.tree.map(np.asarray, optax.adam(0.1).init(params)))
    state = deep_cluster.DeepClusterState(np.int32(3), None, params, opt_state, {}, np.zeros(2, np.int32))
    after = reset_head(state, jax.random.key(0))
    kernel = after.params["head"]["kernel"]
    assert kernel.std() == pytest.approx(400**-0.5, rel=0.1)
    assert not after.params["head"]["bias"].any()
    assert after.params["backbone"] is params["backbone"]
    moments, before = after.opt_state[0], opt_state[0]
    assert moments.count == before.count == 1
    for new, old in ((moments.mu, before.mu), (moments.nu, before.nu)):
        assert not any(leaf.any() for leaf in jax.tree.leaves(new["head"]))
        np.testing.assert_array_equal(new["backbone"], old["backbone"])


def test_clusters_are_renewed_at_each_validation_but_the_last():
    """Six examples in two clusters: first 0 1 0 1 0 1, after step 4 all but one in cluster 0, as the classes are."""
    labels, first, second = np.array([0, 0, 0, 0, 0, 1]), np.arange(6) % 2, np.array([0, 0, 0, 0, 0, 1])
    state = deep_cluster.DeepClusterState(np.int32(0), None, {}, None, {}, first)
    hook = Reclustering(None, [0] * 6, 2, 9, labels=labels)
    hook._clustered = lambda state, step: state.replace(clusters=second, step=step)
    assert hook(2, state, {"train/loss": 1.0}) is None
    assert hook(4, state, {"valid/loss": 1.0}).clusters is second
    assert hook(9, state, {"valid/loss": 1.0}) is None
    agreement = normalized_mutual_information(labels, first)
    assert (hook.memory["step"], hook.memory["smallest"]) == ([0, 4], [3, 1])
    assert hook.memory["nmi"] == pytest.approx([agreement, 1])
    assert hook.memory["kept"] == [None, pytest.approx(agreement)]
    unlabeled = Reclustering(None, [0] * 6, 2, 9)
    unlabeled(9, state, {"valid/loss": 1.0})
    assert unlabeled.memory == {"step": [0], "nmi": [None], "kept": [None], "smallest": [3]}


@pytest.mark.covers("SS-10")
def test_a_prediction_is_the_likeliest_cluster_of_the_image_itself(monkeypatch):
    """Logits are the pixels 2 x - 1 by the unit matrix, with a third class at 1/2."""
    learner = deep_cluster.learner(
        model=Pixels(), optimizer=optax.sgd(0.1), augment=noisy, train_size=3, num_clusters=3,
        prepare=lambda images: 2 * images, normalize=lambda images: images - 1,
    )  # fmt: skip
    layer = {"kernel": np.eye(2, 3, dtype=np.float32), "bias": np.float32([0, 0, 0.5])}
    params = {"Dense_0": layer}
    state = deep_cluster.DeepClusterState(np.int32(0), jax.random.key(0), params, None, {}, np.arange(3))
    monkeypatch.setattr(deep_cluster, "init_variables", lambda model, rng, images: {"params": params})
    x = np.float32([[1, 0], [0.5, 1], [0.5, 0.25]])
    rows = {"image": x.reshape(3, 1, 2, 1), "index": np.arange(3), "mask": np.array([1, 1, 0])}
    out, metrics = jax.jit(lambda s: (learner.predict(s, rows), learner.evaluate(s, rows)))(state)
    logits = np.column_stack([2 * x - 1, np.full(3, 0.5)])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert learner.classes(state, rows)["index"].count == 3
    np.testing.assert_array_equal(out["guess"], [0, 1, 2])
    np.testing.assert_allclose(out["confidence"], p.max(1), rtol=1e-5)
    np.testing.assert_allclose(out["features"], 2 * x - 1, rtol=1e-6)
    np.testing.assert_allclose(out["untrained"], 2 * x - 1, rtol=1e-6)
    assert metrics["confidence"].compute() == pytest.approx(p.max(1)[:2].mean(), rel=1e-5)


class Killed(Exception):
    pass


class Mortal(Pipeline):
    """A pipeline that fails before the batch of step 5."""

    def batch_at(self, step):
        if step == 5:
            raise Killed
        return super().batch_at(step)


def run(folder, pipeline=Pipeline, steps=6):
    learner, train = toy(), source()
    hook = Reclustering(learner, train, CLUSTERS, steps, labels=train.arrays["label"])
    result = fit(
        learner,
        pipeline(train, 16),
        steps=steps,
        valid=train.take(9),
        eval_every=2,
        start=hook.begin,
        hooks=[hook],
        placement=Placement(make_mesh("data:1", jax.devices()[:1])),
        progress=False,
        folder=folder,
        saving=Saving(steps=2),
    )
    return result.state, hook


@pytest.mark.weekly
@pytest.mark.covers("SS-10")
def test_a_run_that_was_killed_goes_on_with_the_same_clusters(tmp_path):
    whole, first = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "cut", Mortal)
    resumed, second = run(tmp_path / "cut")
    plain = [jax.tree.map(np.asarray, s.replace(rng=jax.random.key_data(s.rng))) for s in (whole, resumed)]
    chex.assert_trees_all_equal(*plain)
    assert first.memory["step"] == [0, 2, 4]
    assert second.memory == first.memory
    assert min(first.memory["smallest"]) > 0


@pytest.mark.weekly
@pytest.mark.covers("SS-10")
def test_each_clustering_follows_the_features_and_says_how_it_agrees_with_the_classes():
    """At first the network sees the last pixel alone, which is noise, and then the three that tell the classes."""
    learner, train = toy(), source()
    hook = Reclustering(learner, train, CLUSTERS, 100, dims=3, labels=train.arrays["label"])
    rows = {k: v for k, v in train[slice(None)].items() if k != "label"}
    state = jax.jit(learner.init)(jax.random.key(3), rows)

    def seeing(state, pixels):
        layer = {"kernel": jnp.eye(4, 6) * jnp.asarray(pixels)[:, None], "bias": jnp.zeros(6)}
        return state.replace(params={**state.params, "backbone": {"Dense_0": layer}})

    blind = hook.begin(seeing(state, [0.0, 0, 0, 1]))
    assert hook(1, blind, {"train/loss": 1.0}) is None  # no validation
    assert hook(100, blind, {"valid/confidence": 1.0}) is None  # the end
    assert hook(20, blind, {"valid/confidence": 1.0}) is not None
    after = hook(40, seeing(blind, [1.0, 1, 1, 0]), {"valid/confidence": 1.0})
    nmi = hook.memory["nmi"]
    assert hook.memory["step"] == [0, 20, 40]
    assert max(nmi[:2]) < 0.3
    assert nmi[2] > 0.95
    assert normalized_mutual_information(train.arrays["label"], after.clusters) == pytest.approx(nmi[2])


@pytest.mark.slow
@pytest.mark.covers("SS-10")
def test_a_network_learns_its_clusters():
    learner, train = toy(), source()
    rows = {k: v for k, v in train[slice(None)].items() if k != "label"}
    state, update = jax.jit(learner.init)(jax.random.key(3), rows), jax.jit(learner.update)
    state = state.replace(clusters=jnp.asarray(train.arrays["label"]))
    for _ in range(100):
        state, metrics = update(state, rows)
    assert metrics["accuracy"].compute() > 0.9


def test_clusters_are_those_of_k_means_with_no_empty_one(monkeypatch):
    """Of the whitened features, which are one number each: rows 0 to 3 are cluster 1, and 0 is empty."""

    def kmeans(key, x, num_clusters, **options):
        asked.append((key, x, num_clusters, options))
        return SimpleNamespace(labels=jnp.array([1, 1, 1, 1, 2]))

    asked = []
    monkeypatch.setattr(deep_cluster, "kmeans", kmeans)
    features = np.array([[0, 1.0], [1, 0], [6, 2], [7, 1], [50, 1]])
    labels = cluster("key", features, 3, dims=1)
    assert labels.dtype == np.int32
    assert set(labels[:4]) == {0, 1}
    assert labels[4] == 2
    ((key, x, num_clusters, options),) = asked
    assert (key, num_clusters, options) == ("key", 3, {"restarts": 1, "max_iterations": 50})
    chex.assert_shape(x, (5, 1))
    with pytest.raises(ValueError, match="num_clusters=6: more than examples; allowed: at most 5"):
        cluster("key", features, 6)


def test_features_that_are_all_the_same_become_zeros():
    z = whiten(np.full((4, 3), 7.0), 2)
    np.testing.assert_array_equal(z, np.zeros((4, 1)))
    assert z.dtype == np.float32
