"""Localization: one network predicts the class and the box of the single object in an image.

Sermanet et al. 2014 (OverFeat), arXiv:1312.6229, section 4; the form is that of CS231n's lectures on detection.

    L = 1/N sum_i [ CE(s_i, c_i) + lambda d(b_i, b*_i) ],     b = (x, y, w, h) as shares of the image's sides
    d = sum_k (b_k - b*_k)^2 (l2)  or  sum_k smoothL1(b_k - b*_k) (smooth_l1)

x, y is the box's center. Each place of the last map says scores, a box and how much it counts, and the answer is the
mean over the places by a softmax of the last: dense layers on the whole map, as in the lectures, must learn every place
anew, and a plain average forgets places. Images without a box have no part in the loss: this network cannot say that
there is nothing.
"""

import functools
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.data.augment import ExampleAugmentation, augment_examples
from dlcore.detection.dense import label_classes, named_maps, steps_of
from dlcore.detection.padding import add_image_sizes
from dlcore.learner import Learner, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.losses.regression import l2_loss, smooth_l1_loss
from dlcore.metrics import accuracy
from dlcore.nn import Conv, Dense
from dlcore.nn.apply import apply_model
from dlcore.ops.boxes import box_convert, clip_boxes, paired_box_iou
from dlcore.ops.checks import check_boxes, check_shapes, check_size
from dlcore.ops.precision import to_acc_dtype, to_same_origin
from dlcore.optim import init_model_state

__all__ = ["Localizer", "Outputs", "box_distance", "learner", "mean_size_boxes"]

BETA = 0.01
"""Of the smooth L1 distance: below a hundredth of the image's side it is a square."""


class Outputs(NamedTuple):
    """Predictions for each image: class logits and one box.

    Args:
      logits: [B, C].
      box: [B, 4], center x, center y, width and height as shares of the image's sides.
    """

    logits: jax.Array
    box: jax.Array


class Localizer(nn.Module):
    """A backbone with one head for the class and one for the box.

    Args:
      num_classes: C.
      stage: stage of the backbone, whose map the heads read.
      channels: number of channels of the convolution that the heads share.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stage",)

    backbone: nn.Module
    num_classes: int
    stage: str = "stage4"
    channels: Annotated[int, Range(1)] = 128
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> Outputs:
        """Name and locate the object of each image.

        Args:
          x: [B, H, W, C].
        """
        (last,) = named_maps(self.backbone.features(x, train=train), (self.stage,))
        shared = nn.relu(Conv(self.channels, (3, 3), padding=1, dtype=self.dtype, name="shared")(last))
        shared = to_acc_dtype(shared)
        height, width = shared.shape[1:3]
        # Every cell predicts classes, a box and a weight; the output is their weighted mean.
        logits = Dense(self.num_classes, name="cls_score")(shared)
        box, weight = (
            Dense(features, name=name, kernel_init=nn.initializers.normal(0.01))(shared)
            for name, features in (("bbox_pred", 4), ("weight", 1))
        )
        y, x = ((jnp.arange(count) + 0.5) / count for count in (height, width))
        y, x = jnp.meshgrid(y, x, indexing="ij")
        # Boxes start at their cell.
        box = box + jnp.stack([x, y, jnp.full_like(x, 0.3), jnp.full_like(x, 0.3)], -1)
        weight = jax.nn.softmax(weight, (1, 2))
        return Outputs((weight * logits).sum((1, 2)), (weight * box).sum((1, 2)))


def box_distance(box: jax.Array, target: jax.Array, kind: Literal["l2", "smooth_l1"] = "l2") -> jax.Array:
    """Measure how far boxes are from the true ones.

    Args:
      box: [..., 4].
      target: [..., 4].
      kind: sum of the squares, or of the smooth L1 distances.

    Returns:
      [...].
    """
    check_shapes(box=(box, "... 4"), target=(target, "... 4"))
    check_choice("kind", kind, ("l2", "smooth_l1"))
    return l2_loss(box, target) if kind == "l2" else 4 * smooth_l1_loss(box, target, BETA)


def mean_size_boxes(boxes: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Predict without looking: a box of the mean size at the center of the image (trivial baseline).

    Args:
      boxes: [N, 4] corners in pixels, of the training images.
      size: (height, width) of the images.

    Returns:
      [4] corners in pixels.
    """
    check_size("size", size)
    check_shapes(boxes=(boxes, "N 4"))
    check_boxes("boxes", boxes)
    if not len(boxes):
        raise ValueError("boxes: none; allowed: at least one")
    (boxes,) = to_same_origin(boxes, dim=2)
    half, center = (boxes[:, 2:] - boxes[:, :2]).mean(0) / 2, jnp.array(size[::-1]) / 2
    return jnp.concatenate([center - half, center + half])


@check_arguments
def learner(
    *,
    model: Localizer,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: ExampleAugmentation | None = None,
    box_loss: Literal["l2", "smooth_l1"] = "l2",
    box_weight: Annotated[float, Range(0)] = 50.0,
) -> Learner:
    """Train on `{"image": [B, H, W, C], "boxes": [B, 1, 4] pixels, "labels": [B, 1] int, "box_mask": [B, 1]}`.

    Args:
      model: a `Localizer`.
      box_loss: distance of the boxes.
      box_weight: lambda.

    Returns:
      The learner; evaluate measures `accuracy` and `iou`, and predict returns one detection an image, as
      `dlcore.detection.dense.select` does: `{"boxes": [B, 1, 4] in pixels, "scores", "labels", "valid": [B, 1]}`.
    """

    def init(rng: jax.Array, batch: dict) -> ModelState:
        if batch["boxes"].shape[1] != 1:
            raise ValueError(f"boxes.shape={batch['boxes'].shape}: not one box an image; allowed: --max_boxes=1")
        return init_model_state(model, optimizer, rng, preprocess(batch["image"]))

    def objective(params, state, batch, train):
        images, size = preprocess(batch["image"]), batch["image"].shape[1:3]
        boxes, valid = batch["boxes"], batch["box_mask"]
        if train and augment is not None:
            keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)
            moved = augment_examples(augment, keys, images, {"boxes": boxes, "box_mask": valid})
            images, boxes, valid = (moved[name] for name in ("image", "boxes", "box_mask"))
        outputs, model_state = apply_model(model, params, state.model_state, images, train=train)
        boxes, labels, mask = boxes[:, 0], batch["labels"][:, 0], mask_of(batch) * valid[:, 0].astype(jnp.float32)
        sides = jnp.array([size[1], size[0]] * 2, outputs.box.dtype)
        target = box_convert(boxes.astype(outputs.box.dtype) / sides, "xyxy", "cxcywh")
        entropy = softmax_cross_entropy_loss(outputs.logits, jnp.maximum(labels, 0))
        box_losses = box_distance(outputs.box, target, box_loss)  # [B]
        losses = entropy + box_weight * box_losses  # [B]
        metrics = {
            "loss": Sum.of(losses, mask),
            "classification": Sum.of(entropy, mask),
            "box": Sum.of(box_losses, mask),
            "accuracy": accuracy(outputs.logits, jnp.maximum(labels, 0), mask),
            "iou": Sum.of(paired_box_iou(_corners(outputs.box, size), boxes), mask),
        }
        return masked_mean(losses, mask), (metrics, model_state)

    # Gradient of cross-entropy plus weighted box loss, then the optimizer step.
    loss, update, evaluate = steps_of(objective, optimizer)

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        outputs, _ = apply_model(model, state.params, state.model_state, preprocess(batch["image"]), train=False)
        probs, size = jax.nn.softmax(outputs.logits), batch["image"].shape[1:3]
        detections = {
            "boxes": _corners(outputs.box, size)[:, None],
            "scores": probs.max(-1, keepdims=True),
            "labels": probs.argmax(-1, keepdims=True).astype(jnp.int32),
            "valid": jnp.ones((probs.shape[0], 1), bool),
        }
        return add_image_sizes(detections, batch)

    return Learner(init, update, evaluate, predict, loss, classes=functools.partial(label_classes, model))


def _corners(box: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Corners in pixels [B, 4], clipped to the image, of centers and sides relative to its (H, W)."""
    sides = jnp.array([size[1], size[0]] * 2, box.dtype)
    return clip_boxes(box_convert(box, "cxcywh", "xyxy") * sides, size)
