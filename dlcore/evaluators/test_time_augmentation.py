"""Test-time augmentation: the mean of a classifier's probabilities over several views of each image.

    p(x) = 1/V sum_v softmax(f(view_v(x)))

    flip        the image and its mirror image, V = 2
    five_crop   four corners and the center, each 7/8 of the image's sides, resized to the image's size, V = 5
    ten_crop    five_crop of the image and of its mirror image, V = 10

Krizhevsky, Sutskever & Hinton 2012 average ten crops of 224 pixels from images of 256, a ratio of 7/8.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice
from dlcore.data.augment.crops import average_over_crops, five_crop, resized_crop, ten_crop
from dlcore.learner import Batch, Learner, Metrics, Sum, mask_of
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.metrics import Calibration, ConfusionMatrix, accuracy, top_k_accuracy
from dlcore.ops.checks import check_shapes

__all__ = ["Views", "by_probabilities", "test_time_augmentation", "views"]

Views = Literal["none", "flip", "five_crop", "ten_crop"]

CROP = 7 / 8
"""Side of a crop as a fraction of the image's."""


def views(image: jax.Array, kind: Views) -> jax.Array:
    """Build the views of an image.

    Args:
      image: [H, W, C], floats or uint8.
      kind: "none", "flip", "five_crop" or "ten_crop".

    Returns:
      [V, H, W, C], with the image's dtype.
    """
    check_choice("kind", kind, Views)
    check_shapes(image=(image, "H W C"))
    if kind == "none":
        return image[None]
    if kind == "flip":
        return jnp.stack([image, image[:, ::-1]])
    height, width = image.shape[:2]
    cut = five_crop if kind == "five_crop" else ten_crop
    crops = cut(image, (round(CROP * height), round(CROP * width)))
    return jax.vmap(lambda crop: resized_crop(crop, 0, 0, *crop.shape[:2], (height, width)))(crops)


def test_time_augmentation(learner: Learner, kind: Views, example: Batch) -> Learner:
    """Build a classifier that averages its probabilities over the views of each image.

    Args:
      learner: learner whose `predict` returns `probabilities` [B, K].
      kind: kind of the views, as in `views`.
      example: a batch with `image` [B, H, W, C] and `label` [B].

    Returns:
      The learner, see `by_probabilities`.
    """
    check_choice("kind", kind, Views)
    if kind == "none":
        return learner
    outputs = jax.eval_shape(lambda b: learner.predict(learner.init(jax.random.key(0), b), b), example)
    is_image = "image" in example and example["image"].ndim == 4 and "label" in example
    if not is_image or "probabilities" not in outputs or outputs["probabilities"].ndim != 2:
        raise ValueError(f"tta={kind}: this is no classifier of images; allowed: none")

    def probabilities(state: Any, batch: Batch) -> jax.Array:
        def of_images(images: jax.Array) -> jax.Array:
            repeated = {"image": images}  # other entries of a batch, such as `index`, do not apply to a view
            return learner.predict(state, repeated)["probabilities"]

        return average_over_crops(of_images, lambda image: views(image, kind))(batch["image"])

    return by_probabilities(learner, probabilities)


def by_probabilities(learner: Learner, probabilities_of: Callable[[Any, Batch], jax.Array]) -> Learner:
    """Build a classifier that evaluates and predicts with given probabilities.

    Args:
      learner: a classifier.
      probabilities_of: (state, batch) -> [B, K].

    Returns:
      The learner, with an `evaluate` of these probabilities (loss, accuracy, top5, confusion, calibration) and a
      `predict` that returns `probabilities` and their logarithms, `logits`.
    """

    def predict(state: Any, batch: Batch) -> dict[str, jax.Array]:
        probabilities = probabilities_of(state, batch)
        return {"logits": jnp.log(jnp.maximum(probabilities, 1e-30)), "probabilities": probabilities}

    def evaluate(state: Any, batch: Batch) -> Metrics:
        logits, label, mask = predict(state, batch)["logits"], batch["label"], mask_of(batch)
        return {
            "loss": Sum.of(softmax_cross_entropy_loss(logits, label), mask),
            "accuracy": accuracy(logits, label, mask),
            # Of five classes or fewer every label is among the best five.
            **({"top5": top_k_accuracy(logits, label, 5, mask)} if logits.shape[-1] > 20 else {}),
            "confusion": ConfusionMatrix.of(logits, label, mask),
            "calibration": Calibration.of(logits, label, mask),
        }

    return learner._replace(evaluate=evaluate, predict=predict)
