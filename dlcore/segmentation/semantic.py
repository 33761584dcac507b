"""Semantic segmentation: softmax classification of every pixel.

    L = sum_{pixels that count} w_y CE(s, y) / sum_{pixels that count} w_y  +  v D(s, y)  +  a L_aux

The sums run over all pixels of the batch, on all devices: a mean of the means of images would weigh the pixels of an
image that is mostly void above the others. Pixels of the void label count nowhere; a batch of nothing else has the loss
0. w are weights of the classes (`median_frequency_weights`, `enet_weights`; torch's weighted mean too divides by the
weights of the labels). D is the dice or Tversky loss, image by image and averaged over images with a pixel that counts.
The auxiliary head of FCN, DeepLab and PSPNet adds a = 1/2 of its own cross-entropy in training, as in torchvision's
reference, and has no part in use.
Long, Shelhamer & Darrell 2015, arXiv:1411.4038.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.data.augment.examples import augment_examples
from dlcore.learner import Labels, Learner, Metrics, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.losses.segmentation import multiclass_dice_loss, multiclass_tversky_loss
from dlcore.metrics import MeanIoU
from dlcore.metrics.segmentation import BoundaryIoU
from dlcore.nn.apply import apply_model
from dlcore.ops.checks import check_class_ids, check_range, check_shapes
from dlcore.ops.replica import psum, replica_count, replica_key
from dlcore.optim import apply_gradients, init_model_state

__all__ = ["Overlaps", "learner", "pixel_loss"]


class Overlaps(MeanIoU):
    """Mean IoU, and beside it the IoU of each class."""

    def compute(self) -> dict[str, Any] | None:
        """Read the IoU.

        Returns:
          The mean over the classes that occur, under the metric's own name; by_class: [C], NaN for a class that does
          not occur; mean_accuracy and frequency_weighted. None where nothing was counted.
        """
        values = super().compute()
        if values is None:
            return None
        names = {"": "mean_iou", "mean_accuracy": "mean_accuracy", "frequency_weighted": "frequency_weighted_iou"}
        return {name: values[key] for name, key in names.items()} | {"by_class": values["iou"]}


def _pixel_cross_entropy(
    logits: jax.Array, labels: jax.Array, valid: jax.Array, class_weights: Any
) -> tuple[jax.Array, jax.Array]:
    """(sum of the weighted cross-entropy of valid pixels [B, H, W], sum of their weights)."""
    weights = jnp.ones(labels.shape, jnp.int32) if class_weights is None else jnp.asarray(class_weights)[labels]
    losses = softmax_cross_entropy_loss(jnp.where(valid[..., None], logits, 0), labels)  # [B, H, W]
    return jnp.where(valid, weights * losses, 0).sum(), jnp.where(valid, weights, 0).sum()


def _overlap_loss(
    overlap: Literal["dice", "tversky"], logits: jax.Array, labels: jax.Array, valid: jax.Array
) -> tuple[jax.Array, Sum]:
    """(the loss of this replica over the images with labels of all replicas, metric)."""
    function = multiclass_dice_loss if overlap == "dice" else multiclass_tversky_loss
    losses, has_labels = function(logits, labels, mask=valid), valid.any((1, 2))  # [B], [B]
    mean = jnp.where(has_labels, losses, 0).sum() / jnp.maximum(psum(has_labels.sum()), 1)
    return mean, Sum.of(losses, has_labels)


def pixel_loss(
    outputs: dict[str, jax.Array],
    labels: jax.Array,
    valid: jax.Array,
    class_weights: Any = None,
    overlap: Literal["none", "dice", "tversky"] = "none",
    overlap_weight: float | jax.Array = 1.0,
    auxiliary_weight: float | jax.Array | None = None,
) -> tuple[jax.Array, Metrics]:
    """Compute L over the pixels that count, of all replicas.

    Args:
      outputs: {"out": logits [B, H, W, C], and perhaps "aux": those of an auxiliary head}.
      labels: [B, H, W] int32, in [0, C).
      valid: [B, H, W] bool, the pixels that count.
      class_weights: [C]; None weighs all classes alike.
      overlap: the loss of each image's overlap.
      overlap_weight: weight of that loss.
      auxiliary_weight: weight of the auxiliary head's cross-entropy; None leaves it out.

    Returns:
      (L, {"loss": cross-entropy, "overlap": where there is one, "accuracy"}).
    """
    check_choice("overlap", overlap, ("none", "dice", "tversky"))
    if "out" not in outputs:
        raise ValueError(f"outputs: {', '.join(outputs)}; allowed: a dict with `out`, the logits")
    check_shapes(
        **{f"outputs[{name!r}]": (logits, "B H W C") for name, logits in outputs.items() if name in ("out", "aux")},
        class_weights=(class_weights, "C or None"),
        labels=(labels, "int B H W"),
        valid=(valid, "mask B H W"),
    )
    check_shapes(overlap_weight=(overlap_weight, ">= 0"), auxiliary_weight=(auxiliary_weight, ">= 0 or None"))
    check_class_ids("labels", labels, outputs["out"].shape[-1], valid=valid)
    if class_weights is not None:
        check_range("class_weights", class_weights, 0)
    # Pixel-wise cross-entropy: a weighted mean over the pixels.
    total, weight = _pixel_cross_entropy(outputs["out"], labels, valid, class_weights)
    divisor, replicas = jnp.where(psum(weight) > 0, psum(weight), 1), replica_count()
    value, metrics = replicas * total / divisor, {"loss": Sum(total.astype(jnp.float32), weight)}
    if overlap != "none":
        # Dice or Tversky loss of each image that has labels.
        mean, metrics["overlap"] = _overlap_loss(overlap, outputs["out"], labels, valid)
        value = value + overlap_weight * replicas * mean
    if auxiliary_weight is not None and "aux" in outputs:
        # Auxiliary head (FCN head of PSPNet and DeepLab).
        auxiliary, _ = _pixel_cross_entropy(outputs["aux"], labels, valid, class_weights)
        value = value + auxiliary_weight * replicas * auxiliary / divisor
    correct = jnp.where(valid, outputs["out"].argmax(-1) == labels, False)  # [B, H, W]
    metrics["accuracy"] = Sum(correct.sum(dtype=jnp.int32), valid.sum(dtype=jnp.int32))
    return value, metrics


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    augment: Any = None,
    weights: Any = None,
    void_label: Annotated[int, Range(0, 255)] = 255,
    overlap: Literal["none", "dice", "tversky"] = "none",
    overlap_weight: Annotated[float, Range(0)] = 1.0,
    auxiliary_weight: Annotated[float, Range(0)] = 0.5,
) -> Learner:
    """Train a segmenter of `{"image": [B, H, W, K], "semantic": [B, H, W] uint8, "index": [B]}`.

    Args:
      model: `__call__(x, train: bool) -> logits [B, H, W, C]`, or {"out": logits, "aux": those of an auxiliary head}.
      augment: `(key, example) -> example` of one preprocessed training example, which holds image and semantic
        (`dlcore.data.augment.examples`); None for none.
      weights: [C], of the classes in the loss; None weighs all alike.
      void_label: label of pixels that count nowhere.
      overlap: a loss of each image's overlap with its truth, added to the cross-entropy; Tversky's alpha is 0.3 and its
        beta 0.7, so that a missed pixel costs more than a false one.
      overlap_weight: weight of that loss.
      auxiliary_weight: weight of the auxiliary head's cross-entropy in training.

    Returns:
      The learner; predict returns `{"classes": [B, H, W] uint8}`.
    """
    check_shapes(weights=(weights, "C or None"))

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, preprocess(batch["image"]))

    def forward(params, model_state, images, dropout=None):
        """({"out": logits, ...}, model_state), in training where there is a key for dropout."""
        outputs, model_state = apply_model(model, params, model_state, images, train=dropout is not None, rng=dropout)
        return (outputs if isinstance(outputs, dict) else {"out": outputs}), model_state

    def objective(params, state, images, labels, batch, dropout=None):
        outputs, model_state = forward(params, state.model_state, images, dropout)
        if outputs["out"].shape[:-1] != labels.shape:
            raise ValueError(f"model: logits {outputs['out'].shape} for labels {labels.shape}; allowed: one a pixel")
        # Void pixels and padded examples count for nothing.
        valid = (labels != void_label) & (mask_of(batch) > 0)[:, None, None]  # [B, H, W]
        labels = jnp.where(valid, labels.astype(jnp.int32), 0)
        # The auxiliary head counts in training alone.
        terms = overlap, overlap_weight, None if dropout is None else auxiliary_weight
        value, metrics = pixel_loss(outputs, labels, valid, weights, *terms)
        return value, (model_state, metrics, outputs["out"])

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (_, metrics, _) = objective(params, state, preprocess(batch["image"]), batch["semantic"], batch)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # Augment images and label maps together.
        keys = example_keys(jax.random.fold_in(rng, 0), batch)
        example = augment_examples(augment, keys, preprocess(batch["image"]), batch)
        # Replicas draw different dropout masks.
        dropout = replica_key(jax.random.fold_in(rng, 1))
        # Gradient of the weighted cross-entropy and the overlap loss.
        gradient, inputs = jax.grad(objective, has_aux=True), (example["image"], example["semantic"])
        gradients, (model_state, metrics, _) = gradient(state.params, state, *inputs, batch, dropout)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        images, labels = preprocess(batch["image"]), batch["semantic"]
        _, (_, metrics, logits) = objective(state.params, state, images, labels, batch)
        classes, labels, mask = logits.argmax(-1), labels.astype(jnp.int32), mask_of(batch)
        shared = {"num_classes": logits.shape[-1], "mask": mask, "void_label": void_label}
        metrics["mean_iou"] = Overlaps.of(classes, labels, **shared)
        metrics["boundary"] = BoundaryIoU.of(classes, labels, **shared)
        return metrics

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        outputs, _ = forward(state.params, state.model_state, preprocess(batch["image"]))
        return {"classes": outputs["out"].argmax(-1).astype(jnp.uint8)}

    def classes(state: ModelState, batch: dict) -> dict[str, Labels]:
        images = jax.eval_shape(preprocess, batch["image"])
        outputs, _ = jax.eval_shape(forward, state.params, state.model_state, images)
        return {"semantic": Labels(outputs["out"].shape[-1], void_label)}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss, classes=classes)
