"""Answers that need both image and question, blind models, and where an answer comes from."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.words import PAD
from dlcore.learner import State
from dlcore.vision_language import vqa
from tests.wiring import assert_wiring

ROWS = 64


def left_or_right(seed=0):
    """Two different colors side by side; the question (token 4 or 5) asks for the one on the left or on the right."""
    rng = np.random.default_rng(seed)
    first, asked = rng.integers(0, 2, (2, ROWS))
    colors = np.stack([first, 1 - first], 1)
    image = np.zeros((ROWS, 8, 16, 3), np.float32)
    image[:, 2:6, 2:6, 0], image[:, 2:6, 10:14, 0] = (2 * colors[:, k, None, None] - 1 for k in (0, 1))
    return {
        "image": image,
        "question": np.stack([4 + asked, np.zeros(ROWS, int)], 1).astype(np.int32),
        "answer": colors[np.arange(ROWS), asked].astype(np.int32),
        "kind": asked.astype(np.int32),
        "index": np.arange(ROWS, dtype=np.int32),
    }


def toy(blind="none", tx=None, augment=None):
    model = vqa.RelationNetwork(6, 2, channels=(8,), strides=(4,), hidden_size=16, embedding_dim=4, num_heads=2)
    learner = vqa.learner(
        model=model, optimizer=tx or optax.adam(0.01), augment=augment, kinds=("left", "right"), blind=blind
    )
    return learner._replace(**{n: jax.jit(getattr(learner, n)) for n in ("init", "update", "evaluate", "predict")})


def trained(blind, steps=150):
    learner, batch = toy(blind), left_or_right()
    state = learner.init(jax.random.key(0), batch)
    for _ in range(steps):
        state, _ = learner.update(state, batch)
    return learner, state


@pytest.mark.slow
@pytest.mark.covers("CP-08")
def test_both_image_and_question_are_needed():
    learner, state = trained("none")
    metrics = learner.evaluate(state, left_or_right(1))
    assert metrics["accuracy"].compute() > 0.95
    assert metrics["accuracy/left"].compute() > 0.9
    for blind, changed in (("image", "image"), ("question", "question")):
        learner, state = trained(blind)
        assert learner.evaluate(state, left_or_right(1))["accuracy"].compute() < 0.5 + 0.25  # of 64: 4 deviations
        batch = left_or_right(1)
        other = {**batch, changed: left_or_right(2)[changed]}
        np.testing.assert_array_equal(learner.predict(state, batch)["logits"], learner.predict(state, other)["logits"])


@pytest.mark.slow
def test_masked_rows_weights_and_kinds():
    learner, batch = toy(), left_or_right()
    state = learner.init(jax.random.key(1), batch)
    mask = (np.arange(ROWS) < 7).astype(np.float32)
    metrics = learner.evaluate(state, {**batch, "mask": mask})
    seven = {name: values[:7] for name, values in batch.items()}
    assert metrics["loss"].compute() == pytest.approx(learner.evaluate(state, seven)["loss"].compute(), rel=1e-5)
    assert int(metrics["accuracy"].count) == 7
    assert int(metrics["accuracy/left"].count) + int(metrics["accuracy/right"].count) == 7
    outputs = learner.predict(state, batch)
    chex.assert_shape(outputs["attention"], (ROWS, 2, 2, 4))
    np.testing.assert_allclose(outputs["attention"].sum((2, 3)), 1, rtol=1e-5)
    np.testing.assert_allclose(outputs["probabilities"].sum(1), 1, rtol=1e-5)
    assert learner.classes(state, batch) == {"answer": 2}


@pytest.mark.weekly
def test_training_images_are_augmented_and_others_are_not():
    batch = left_or_right()
    plain, black = toy(tx=optax.sgd(0.1)), toy(tx=optax.sgd(0.1), augment=lambda key, image: 0 * image)
    state = plain.init(jax.random.key(0), batch)
    unseen = plain.update(state, {**batch, "image": 0 * batch["image"]})[0].params
    chex.assert_trees_all_close(black.update(state, batch)[0].params, unseen, atol=1e-6)
    np.testing.assert_allclose(black.predict(state, batch)["attention"], plain.predict(state, batch)["attention"])


def test_unknown_settings_are_named():
    model = vqa.RelationNetwork(6, 2, channels=(8,), strides=(4,), hidden_size=6)
    with pytest.raises(ValueError, match="hidden_size=6: no multiple of num_heads=4"):
        jax.eval_shape(vqa.learner(model=model, optimizer=optax.sgd(0.1)).init, jax.random.key(0), left_or_right())


class Parts(nn.Module):
    """Logits: the image's colors by a matrix, and a row for the first word."""

    @nn.compact
    def __call__(self, image, question):
        colors = image.mean((1, 2)) @ self.param("colors", nn.initializers.zeros, (3, 2))
        return colors + self.param("words", nn.initializers.zeros, (6, 2))[question[:, 0]], jnp.zeros((1, 2, 1, 1))


@pytest.mark.covers("CP-08")
@pytest.mark.parametrize("blind", ["none", "image", "question"])
def test_one_update_by_hand(blind):
    """Images are scaled by a draw of each key, then halved; the third question does not count."""
    rate, rng = 0.5, np.random.default_rng(0)
    learner = vqa.learner(
        model=Parts(), optimizer=optax.sgd(rate), preprocess=lambda image: image / 2, blind=blind,
        augment=lambda key, image: image * jax.random.uniform(key),
    )  # fmt: skip
    before = {"colors": rng.normal(size=(3, 2)).astype(np.float32), "words": rng.normal(size=(6, 2)).astype(np.float32)}
    image, question = rng.normal(size=(3, 1, 2, 3)).astype(np.float32), np.array([[4, 0], [5, 0], [4, 0]])
    batch = {"image": image, "question": question, "answer": np.array([1, 0, 1]), "index": np.array([5, 6, 8])}
    state = State(np.int32(4), jax.random.key(3), before, optax.sgd(rate).init(before))
    after, metrics = jax.jit(learner.update)(state, batch | {"mask": np.float32([1, 1, 0])})
    root = jax.random.fold_in(jax.random.key(3), 4)
    draws = jax.jit(lambda: jnp.stack([jax.random.uniform(jax.random.fold_in(root, i)) for i in (5, 6)]))()
    seen = np.asarray(draws)[:, None] * image[:2].mean((1, 2)) / 2 * (blind != "image")
    words = np.full(2, PAD) if blind == "question" else question[:2, 0]
    p = np.exp(seen @ before["colors"] + before["words"][words])
    p /= p.sum(-1, keepdims=True)
    slope = (p - np.eye(2)[[1, 0]]) / 2
    rows = before["words"].copy()
    np.subtract.at(rows, words, rate * slope)
    np.testing.assert_allclose(after.params["colors"], before["colors"] - rate * seen.T @ slope, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after.params["words"], rows, rtol=1e-4, atol=1e-6)
    assert metrics["loss"].compute() == pytest.approx(-np.log(p[[0, 1], [1, 0]]).mean(), rel=1e-5)


def test_an_answer_that_is_none_costs_nothing_and_trains_no_class():
    """Logits 1e8 and 1e8 of the first: log 2, and of the second, whose answer is -1, nothing."""
    learner = vqa.learner(model=Parts(), optimizer=optax.sgd(1.0))
    params = {"colors": np.zeros((3, 2), np.float32), "words": np.full((6, 2), 1e8, np.float32)}
    batch = {"image": np.zeros((2, 1, 1, 3)), "question": np.array([[4], [5]]), "answer": np.array([0, -1])}
    batch["index"] = np.arange(2)
    state = State(np.int32(0), jax.random.key(0), params, optax.sgd(1.0).init(params))
    gradients, metrics = jax.jit(jax.grad(learner.loss, has_aux=True))(params, state, batch)
    assert metrics["loss"].compute() == pytest.approx(np.log(2) / 2)
    assert metrics["accuracy"].compute() == 0.5
    np.testing.assert_allclose(gradients["words"][4:], [[-0.25, 0.25], [0, 0]])


def test_the_wiring_of_the_relation_network_is_as_it_was():
    """A regression: the numbers are of the network that the slow tier trains."""
    network = vqa.RelationNetwork(6, 5, (8, 8), (2, 2), hidden_size=8, embedding_dim=4, num_heads=2)
    questions = np.array([[1, 3, 2, 0], [4, 1, 0, 0]], np.int32)
    assert_wiring(network, (2, 8, 16, 3), questions, [5.54962, 3.52578])


def test_answers_of_each_kind_are_counted_and_given_with_their_probabilities():
    """Three questions of two kinds: the second is answered wrongly, a fourth does not count."""
    learner = vqa.learner(model=Parts(), optimizer=optax.sgd(0.5), kinds=("color", "shape"))
    words = np.zeros((6, 2), np.float32)
    words[4], words[5] = [0, np.log(3)], [np.log(4), 0]  # 1 with 3/4, 0 with 4/5
    params = {"colors": np.zeros((3, 2), np.float32), "words": words}
    state = State(np.int32(0), jax.random.key(3), params, ())
    batch = {
        "image": np.zeros((4, 1, 2, 3), np.float32), "question": np.array([[4, 0], [5, 0], [5, 0], [5, 0]]),
        "answer": np.array([1, 1, 0, 0]), "kind": np.array([0, 0, 1, 1]), "index": np.arange(4),
        "mask": np.float32([1, 1, 1, 0]),
    }  # fmt: skip
    evaluated, predicted = jax.jit(lambda s, b: (learner.evaluate(s, b), learner.predict(s, b)))(state, batch)
    values = {name: float(metric.compute()) for name, metric in evaluated.items()}
    loss = -(np.log(3 / 4) + np.log(1 / 5) + np.log(4 / 5)) / 3
    assert values == pytest.approx({"loss": loss, "accuracy": 2 / 3, "accuracy/color": 0.5, "accuracy/shape": 1})
    np.testing.assert_allclose(predicted["probabilities"][:2], [[1 / 4, 3 / 4], [4 / 5, 1 / 5]], rtol=1e-5)
    np.testing.assert_allclose(predicted["logits"][:2], [[0, np.log(3)], [np.log(4), 0]], rtol=1e-5)
    chex.assert_shape(predicted["attention"], (1, 2, 1, 1))
    assert learner.classes(state, batch) == {"answer": 2}
    started = jax.eval_shape(learner.init, jax.random.key(0), batch)
    assert {name: leaf.shape for name, leaf in started.params.items()} == {"colors": (3, 2), "words": (6, 2)}
