"""Answers that need both image and question, blind models, and where an answer comes from."""

import chex
import jax
import numpy as np
import optax
import pytest

from dlcore.vision_language import vqa

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
    assert outputs["attention"].shape == (ROWS, 2, 2, 4)
    np.testing.assert_allclose(outputs["attention"].sum((2, 3)), 1, rtol=1e-5)
    np.testing.assert_allclose(outputs["probabilities"].sum(1), 1, rtol=1e-5)
    assert learner.classes(state, batch) == {"answer": 2}


@pytest.mark.slow
def test_training_images_are_augmented_and_others_are_not():
    batch = left_or_right()
    plain, black = toy(tx=optax.sgd(0.1)), toy(tx=optax.sgd(0.1), augment=lambda key, image: 0 * image)
    state = plain.init(jax.random.key(0), batch)
    unseen = plain.update(state, {**batch, "image": 0 * batch["image"]})[0].params
    chex.assert_trees_all_close(black.update(state, batch)[0].params, unseen, atol=1e-6)
    np.testing.assert_allclose(black.predict(state, batch)["attention"], plain.predict(state, batch)["attention"])


def test_unknown_settings_are_named():
    with pytest.raises(ValueError, match="blind='both': unknown; allowed: none, image, question"):
        toy("both")
    model = vqa.RelationNetwork(6, 2, channels=(8,), strides=(4,), hidden_size=6)
    with pytest.raises(ValueError, match="hidden_size=6: no multiple of num_heads=4"):
        jax.eval_shape(vqa.learner(model=model, optimizer=optax.sgd(0.1)).init, jax.random.key(0), left_or_right())
