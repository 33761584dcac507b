"""The mean of probabilities over views, against numbers by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.evaluators import test_time_augmentation as tta
from dlcore.learner import Learner


def test_views_by_hand():
    image = np.arange(64 * 3, dtype=np.float32).reshape(8, 8, 3)
    none, flip, five, ten = jax.device_get(
        jax.jit(lambda x: [tta.views(x, name) for name in ("none", "flip", "five_crop", "ten_crop")])(image)
    )
    np.testing.assert_array_equal(none, image[None])
    np.testing.assert_array_equal(flip, np.stack([image, image[:, ::-1]]))
    chex.assert_shape(ten, (10, 8, 8, 3))
    np.testing.assert_array_equal(ten[:5], five)
    # A crop of 7 of 8 pixels, resized: its corner pixel stays, and the slope shrinks to 7/8.
    np.testing.assert_allclose(ten[0, 0, 0], image[0, 0], atol=1e-5)
    np.testing.assert_allclose(ten[3, -1, -1], image[-1, -1], atol=1e-5)
    np.testing.assert_allclose(np.diff(ten[0, 4, 1:-1, 0]), 3 * 7 / 8, atol=1e-5)
    # The sixth is the upper left crop of the mirrored image: the upper right one of the image, mirrored.
    np.testing.assert_allclose(ten[5], ten[1, :, ::-1], atol=1e-4)
    whole = jax.ShapeDtypeStruct((8, 8, 3), jnp.uint8)
    assert jax.eval_shape(lambda x: tta.views(x, "ten_crop"), whole).dtype == jnp.uint8


def classifier():
    """Two classes; the score of the first is the image's top left pixel."""

    def predict(state, batch):
        logits = jnp.stack([batch["image"][:, 0, 0, 0], jnp.zeros(batch["image"].shape[0])], -1)
        return {"logits": logits, "probabilities": jax.nn.softmax(logits)}

    return Learner(init=lambda key, batch: {}, update=None, evaluate=None, predict=predict)


def test_probabilities_and_not_logits_are_averaged():
    """Corners 2 and -4: (sigma(2) + sigma(-4)) / 2 = (0.880797 + 0.017986) / 2 = 0.449392; the logits' mean is -1."""
    image = np.zeros((1, 2, 2, 1), np.float32)
    image[0, 0, :, 0] = 2, -4
    batch = {"image": image, "label": np.array([1]), "index": np.array([0])}
    learner = tta.test_time_augmentation(classifier(), "flip", batch)
    predicted, metrics = jax.jit(lambda batch: (learner.predict({}, batch), learner.evaluate({}, batch)))(batch)
    np.testing.assert_allclose(predicted["probabilities"], [[0.449392, 0.550608]], atol=1e-6)
    assert float(metrics["loss"].compute()) == pytest.approx(-np.log(0.550608), abs=1e-5)
    assert float(metrics["accuracy"].compute()) == 1.0  # the image alone says class 0
    assert tta.test_time_augmentation(learner, "none", batch) is learner


def test_learners_without_images_or_logits_are_refused():
    batch = {"tokens": jnp.zeros((1, 4), jnp.int32)}
    learner = classifier()._replace(predict=lambda state, batch: {"nll": batch["tokens"]})
    with pytest.raises(ValueError, match="tta=flip: this is no classifier of images; allowed: none"):
        tta.test_time_augmentation(learner, "flip", batch)


def test_padding_is_not_measured_and_the_best_five_are_of_more_than_twenty_classes():
    """The first row's label has the smallest of the probabilities 6 / 21 to 1 / 21; the second row is padding."""

    def by(number):
        probabilities = jnp.tile(jnp.arange(number, 0.0, -1) / (number * (number + 1) / 2), (2, 1))
        return tta.by_probabilities(classifier(), lambda state, batch: probabilities)

    batch = {"label": jnp.array([5, 0]), "mask": jnp.array([1, 0]), "index": jnp.arange(2)}
    metrics = jax.jit(lambda batch: by(21).evaluate({}, batch))(batch)
    assert metrics["loss"].compute() == pytest.approx(np.log(231 / 16), rel=1e-5)
    assert metrics["accuracy"].compute() == metrics["top5"].compute() == 0
    assert np.argwhere(metrics["confusion"].compute()).tolist() == [[5, 0]]
    assert "top5" not in jax.eval_shape(lambda batch: by(20).evaluate({}, batch), batch)


def test_logits_are_logarithms_of_probabilities_of_at_least_1e_30():
    impossible = tta.by_probabilities(classifier(), lambda state, batch: np.array([[0.75, 0.25], [1, 0]], np.float32))
    found = impossible.predict({}, {})["logits"]
    np.testing.assert_allclose(found, [[np.log(0.75), np.log(0.25)], [0, np.log(1e-30)]], rtol=1e-5)


def test_crops_of_a_wide_image_are_seven_eighths_of_each_side():
    """Of 8 by 16 pixels that rise by 3 a column and 50 a row: the crops of 7 by 14 rise by 7/8 of it a pixel."""
    image = 3 * np.arange(16.0)[None, :, None] + 50 * np.arange(8.0)[:, None, None] + np.zeros((8, 16, 1))
    crops = jax.jit(lambda x: tta.views(x, "five_crop"))(image.astype(np.float32))
    chex.assert_shape(crops, (5, 8, 16, 1))
    np.testing.assert_allclose(np.diff(crops[:, 4, 1:-1, 0]), 3 * 7 / 8, atol=1e-3)
    np.testing.assert_allclose(np.diff(crops[:, 1:-1, 4, 0]), 50 * 7 / 8, atol=1e-3)
