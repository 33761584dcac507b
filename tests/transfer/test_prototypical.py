"""Distances by hand, what a query may depend on, and a short training that beats pixels and the untrained network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.episodes import episodes
from dlcore.data.stroke_characters import stroke_characters
from dlcore.learner import ModelState
from dlcore.metrics.interval import HalfInterval
from dlcore.transfer import prototypical
from dlcore.transfer.prototypical import PrototypicalNet, prototype_logits
from tests.passes import PASSED, count_pass, passes

NET = PrototypicalNet(channels=8, blocks=2)


@pytest.fixture(scope="module")
def learner():
    return prototypical.learner(model=NET, optimizer=optax.adam(1e-2))


@pytest.mark.covers("TL-09")
def test_a_logit_is_minus_the_squared_distance():
    """(0, 0) is 3^2 + 4^2 = 25 from (3, 4) and 1 from (0, 1); (3, 3) is 1 and 3^2 + 2^2 = 13 away."""
    logits = prototype_logits(jnp.array([[0.0, 0.0], [3.0, 3.0]]), jnp.array([[3.0, 4.0], [0.0, 1.0]]))
    np.testing.assert_allclose(logits, [[-25, -1], [-1, -13]], atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("TL-09")
def test_a_prototype_is_the_mean_of_its_supports(learner):
    batch = episodes(stroke_characters(range(6), 8, 8), 4, way=3, shot=2, query=2)[:2]
    state = learner.init(jax.random.key(0), batch)
    logits = learner.predict(state, batch)["logits"]
    variables = {"params": state.params, **state.model_state}

    def embedded(images):
        flat = images.reshape(-1, *images.shape[-3:])
        return np.asarray(NET.apply(variables, flat)[0]).reshape(*images.shape[:-3], -1)

    prototypes, asked = embedded(batch["support"]).mean(2), embedded(batch["query"]).reshape(2, 6, -1)
    squared = np.square(asked[:, :, None] - prototypes[:, None]).sum(-1)
    np.testing.assert_allclose(logits, -squared, rtol=1e-4, atol=1e-5)
    (value, metrics) = learner.loss(state.params, state, batch)
    by_hand = -np.asarray(jax.nn.log_softmax(-squared))[:, np.arange(6), np.arange(6) // 2]
    assert float(value) == pytest.approx(by_hand.mean(), rel=1e-4)
    right = (squared.argmin(-1) == np.arange(6) // 2).mean()
    assert metrics["accuracy"].compute() == pytest.approx(right)


@pytest.mark.weekly
@pytest.mark.covers("TL-09")
def test_the_measure_is_inductive(learner):
    """A query's logits do not depend on the other queries of its episode, nor on other episodes."""
    batch = episodes(stroke_characters(range(6), 8, 8), 4, way=3, shot=1, query=2)[:2]
    state = learner.init(jax.random.key(0), batch)
    state, _ = learner.update(state, batch)
    before = learner.predict(state, batch)["logits"]
    query = batch["query"].copy()
    query[0, 1:], query[1] = query[0, 1:] * 5 + 1, 7.0
    after = learner.predict(state, batch | {"query": query})["logits"]
    np.testing.assert_allclose(before[0, :2], after[0, :2], rtol=1e-4, atol=1e-4)
    assert np.abs(before[0, 2:] - after[0, 2:]).max() > 0.1


def trained(learner, shot):
    train, test = (
        episodes(stroke_characters(classes, 8, 8), 300, way=5, shot=shot, query=3, seed=seed)
        for seed, classes in enumerate((range(60, 160), range(60)))
    )
    batches = [train[np.arange(4 * i, 4 * i + 4)] for i in range(60)]
    state = learner.init(jax.random.key(0), batches[0])
    update = jax.jit(learner.update)
    for batch in [*batches, *batches]:
        state, _ = update(state, batch)
    return jax.jit(learner.evaluate)(state, test[:60])


@pytest.mark.slow
@pytest.mark.covers("TL-09")
def test_one_example_of_an_unseen_character_is_enough(learner):
    metrics = trained(learner, 1)
    numbers = {name: value.compute() for name, value in metrics.items()}
    assert numbers["accuracy"] > numbers["pixel_means_accuracy"] + 0.05, numbers
    assert numbers["accuracy"] > numbers["untrained_accuracy"] + 0.05, numbers
    assert 0 < numbers["interval"] < 0.1
    assert numbers["pixel_means_accuracy"] > 0.25


@pytest.mark.slow
@pytest.mark.covers("TL-09")
def test_a_description_of_an_unseen_character_is_better_than_chance(learner):
    metrics = trained(learner, 0)
    accuracy, half = metrics["accuracy"].compute(), metrics["interval"].compute()
    assert accuracy - 4 * half > 0.2, "five classes"
    assert "pixel_means_accuracy" not in metrics


@pytest.mark.slow
def test_half_of_an_interval_by_hand():
    """1, 2, 3, 4: s^2 = 5/3, so 1.96 sqrt(5/12) = 1.2652; masked values do not count, and two parts add up."""
    whole = HalfInterval.of(jnp.array([1.0, 2, 3, 4, jnp.nan]), jnp.array([1, 1, 1, 1, 0]))
    assert whole.compute() == pytest.approx(1.2652, abs=1e-4)
    parts = HalfInterval.of(jnp.array([1.0, 2])).merge(HalfInterval.of(jnp.array([3.0, 4])))
    assert parts.compute() == pytest.approx(whole.compute())
    assert HalfInterval.of(jnp.ones(1)).compute() is None


class Embedding(nn.Module):
    """An embedding by one matrix; twice it in training."""

    @nn.compact
    def __call__(self, images, attributes=None, train=False):
        count_pass(self, train)
        return (1 + train) * images @ self.param("matrix", nn.initializers.ones, (3, 2)), None


@pytest.mark.covers("TL-09")
def test_one_update_by_hand():
    """Each query against the means of its own episode's supports; gradients reach supports and queries alike."""
    rate, draws = 0.1, np.random.default_rng(0)
    learner = prototypical.learner(model=Embedding(), optimizer=optax.sgd(rate))
    support, query = draws.normal(size=(2, 2, 2, 2, 3)).astype(np.float32)  # two episodes of two classes, two each
    batch = {"support": support, "query": query, "index": np.arange(2)}
    before = {"matrix": draws.normal(size=(3, 2)).astype(np.float32)}
    state = ModelState(np.int32(0), jax.random.key(0), before, optax.sgd(rate).init(before), PASSED)
    after, metrics = jax.jit(learner.update)(state, batch)

    def loss(matrix):
        centers = 2 * (support @ matrix).mean(2)  # [episode, class, 2]
        asked = 2 * query @ matrix  # [episode, class, query, 2]
        near = np.exp(-((asked[:, :, :, None] - centers[:, None, None]) ** 2).sum(-1))
        right = np.stack([near[:, 0, :, 0], near[:, 1, :, 1]], 1)
        return -np.log(right / near.sum(-1)).mean()

    matrix, h = before["matrix"].astype(np.float64), 1e-6
    moves = h * np.eye(6).reshape(6, 3, 2)
    slope = np.array([loss(matrix + move) - loss(matrix - move) for move in moves]).reshape(3, 2) / (2 * h)
    np.testing.assert_allclose(after.params["matrix"], matrix - rate * slope, rtol=1e-4, atol=1e-6)
    assert metrics["loss"].compute() == pytest.approx(loss(matrix), rel=1e-5)
    assert passes(after.model_state) == 3 + 1


def test_queries_are_measured_by_three_embeddings():
    """The trained matrix, the one at the start (ones), and the pixels; the second of two episodes is padding.

    Three classes have two supports and one query each.
    """
    draws = np.random.default_rng(6)
    learner = prototypical.learner(model=Embedding(), optimizer=optax.sgd(0.1), preprocess=lambda images: 2 * images)
    support, query = (draws.normal(size=(2, 3, k, 3)).astype(np.float32) for k in (2, 1))
    batch = {"support": support, "query": query, "index": np.arange(2), "mask": np.array([1, 0])}
    matrix = draws.normal(size=(3, 2)).astype(np.float32)

    @jax.jit
    def run():
        state = learner.init(jax.random.key(0), batch)
        state = state.replace(params={"matrix": matrix})
        return learner.evaluate(state, batch), learner.predict(state, batch)["logits"]

    metrics, logits = jax.device_get(run())

    def logits_by(matrix):
        centers, asked = (2 * support @ matrix).mean(2), (2 * query @ matrix)[:, :, 0]
        return -np.square(asked[:, :, None] - centers[:, None]).sum(-1)

    np.testing.assert_allclose(logits, logits_by(matrix), rtol=1e-4, atol=1e-5)
    for name, by in (
        ("accuracy", matrix), ("untrained_accuracy", np.ones((3, 2))), ("pixel_means_accuracy", np.eye(3)),
    ):  # fmt: skip
        right, other = (logits_by(by).argmax(-1) == np.arange(3)).mean(1)
        assert right != other
        assert metrics[name].compute() == pytest.approx(right), name
    score = logits_by(matrix)[0]
    loss = np.log(np.exp(score).sum(1)) - np.diag(score)
    assert metrics["loss"].compute() == pytest.approx(loss.mean(), rel=1e-4)


def test_an_embedding_by_hand():
    """Kernels of one pixel, x and -3 x, doubled by the norm and cut at 0; the largest of 2 x 2 pixels, row by row."""
    net, x = PrototypicalNet(channels=2, blocks=1), np.float32([[[1, 2, -3, 4], [0, 1, -1, -2]]])[..., None]
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[1, 1, 0] = 1, -3
    params = {"conv0": {"kernel": kernel}, "norm0": {"scale": np.full(2, 2.0), "bias": np.zeros(2)}}
    weight, bias = np.arange(12.0).reshape(3, 4), np.arange(4.0)
    params["description"] = {"kernel": weight, "bias": bias}
    statistics = {"norm0": {"mean": np.zeros(2), "var": np.ones(2)}}
    words = np.array([[1.0, 0, 2], [0, -1, 0]])
    found, described = jax.jit(net.apply)({"params": params, "batch_stats": statistics}, x, words)
    np.testing.assert_allclose(found, [[4, 0, 8, 18]], rtol=1e-4)
    np.testing.assert_allclose(described, words @ weight + bias, rtol=1e-5)
