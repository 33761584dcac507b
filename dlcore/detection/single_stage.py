"""A single-stage detector: every anchor says which of the C classes it is on, or background, and how to move.

After Liu et al. 2016 (SSD), arXiv:1512.02325, over a feature pyramid with shared heads.

    L = 1/N+ [ sum_{a in P or H} CE(s_a, c_a) + sum_{a in P} smoothL1(t_a, t*_a) ]
    c_a = 0 (background) where a is on no box;   t* = 10 (b_x - p_x) / p_w, ..., 5 log(b_w / p_w), ...
    P: anchors on boxes, N+ of them in the whole batch.   H: 3 background anchors to one of P, those that cost most

An anchor is on the box that it overlaps most, where the IoU is at least 0.5 or no anchor overlaps the box more; it is
background below 0.4, and not learnt from between.
"""

from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.detection.dense import Anchors, best_by_level, by_place, head_conv, named_maps, select, tower
from dlcore.detection.detector import detector_learner
from dlcore.detection.fpn import Extra, FeaturePyramid
from dlcore.detection.matching import BACKGROUND, match_anchors
from dlcore.learner import Learner, Range
from dlcore.losses.regression import smooth_l1_loss
from dlcore.ops.boxes import box_iou, decode_boxes, encode_boxes

__all__ = ["Outputs", "SingleStage", "hardest", "image_losses", "learner", "postprocess"]

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class Outputs(NamedTuple):
    """What the heads say of L anchors. logits: [B, L, 1 + C], background first. deltas: [B, L, 4]."""

    logits: jax.Array
    deltas: jax.Array


class SingleStage(nn.Module):
    """Backbone, pyramid and heads on [B, H, W, C]; the heads share their parameters over levels.

    backbone: a model with `features`; its own classifier is not used. stages: names of the maps taken, finest first.
    per_place: anchors at each place. extra: see `FeaturePyramid`. convs: depth of each head's tower. groups: of its
    group normalisation, None for none. prior: what the chance of an object starts at.
    """

    backbone: nn.Module
    num_classes: int
    per_place: int
    stages: tuple[str, ...]
    channels: int = 256
    extra: Extra = "p6p7"
    convs: int = 4
    groups: int | None = 32
    prior: float = 0.01
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[Outputs, tuple[tuple[int, int], ...]]:
        """(outputs, (h, w) of each level). Raises ValueError for a stage that the backbone does not have."""
        maps = named_maps(self.backbone.features(x, train=train), self.stages)
        levels = FeaturePyramid(self.channels, self.extra, self.dtype, name="fpn")(maps)
        classify, locate = (
            tower(kind, self.convs, self.channels, self.groups, self.dtype) for kind in ("classification", "regression")
        )

        def start(key, shape, dtype=jnp.float32):
            odds = (1 - self.prior) / self.prior * self.num_classes
            first = jnp.arange(shape[0]) % (1 + self.num_classes) == 0
            return jnp.where(first, jnp.log(odds), 0).astype(dtype)

        cls_logits = head_conv("cls_logits", self.per_place * (1 + self.num_classes), self.dtype, start)
        bbox_reg = head_conv("bbox_reg", self.per_place * 4, self.dtype)
        logits = by_place([cls_logits(classify(level)) for level in levels], self.per_place)
        deltas = by_place([bbox_reg(locate(level)) for level in levels], self.per_place)
        return Outputs(logits, deltas), tuple(level.shape[1:3] for level in levels)


def hardest(losses: jax.Array, among: jax.Array, count: jax.Array) -> jax.Array:
    """Which of losses [L] are the `count` largest where `among` [L] is true: [L] bool. Of equal ones the first."""
    order = jnp.argsort(jnp.where(among, -losses, jnp.inf))
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.size, dtype=order.dtype))
    return among & (rank < count)


def image_losses(
    outputs: Outputs,
    anchors: Anchors,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    high: float | jax.Array = 0.5,
    low: float | jax.Array = 0.4,
    negatives: float | jax.Array = 3.0,
) -> dict[str, jax.Array]:
    """Sums over the anchors of one image: classification and box losses, and how many anchors are on objects.

    outputs: of one image, without the leading axis. boxes: [M, 4] pixels. labels: [M] int. valid: [M] bool.
    negatives: background anchors learnt from, to one on an object; an image without an object counts as having one.
    """
    matched = match_anchors(box_iou(boxes, anchors.boxes), high, low, keep_best=True, valid=valid)
    on = matched >= 0
    target = jnp.where(on, 1 + labels[matched], 0)
    entropy = optax.softmax_cross_entropy_with_integer_labels(outputs.logits, target)
    wanted = negatives * jnp.maximum(on.sum(), 1)
    learnt = on | hardest(jax.lax.stop_gradient(entropy), matched == BACKGROUND, wanted)
    box = jnp.where(on[:, None], boxes[matched], anchors.boxes)
    deltas = encode_boxes(box, jnp.asarray(anchors.boxes), WEIGHTS)
    error = 4 * smooth_l1_loss(outputs.deltas, deltas)
    return {
        "classification": jnp.where(learnt, entropy, 0).sum(),
        "box": jnp.where(on, error, 0).sum(),
        "places": on.sum(dtype=jnp.int32),
    }


def postprocess(
    outputs: Outputs,
    anchors: Anchors,
    size: tuple[int, int],
    *,
    score_threshold: float | jax.Array = 0.05,
    nms_threshold: float | jax.Array = 0.5,
    candidates: int = 1000,
    detections: int = 100,
) -> dict[str, jax.Array]:
    """Boxes of one image of `size` (height, width): see `dlcore.detection.dense.select`."""
    scores = jax.nn.softmax(outputs.logits)[:, 1:]
    boxes = decode_boxes(outputs.deltas, jnp.asarray(anchors.boxes), WEIGHTS)
    return select(
        best_by_level(scores, boxes, anchors.counts, candidates), size, score_threshold=score_threshold,
        nms_threshold=nms_threshold, detections=detections,
    )  # fmt: skip


def learner(
    *,
    model: SingleStage,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    scales: tuple[float, ...] = (4.0, 5.04, 6.35),
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
    high: Annotated[float, Range(0, 1)] = 0.5,
    low: Annotated[float, Range(0, 1)] = 0.4,
    negatives: Annotated[float, Range(0)] = 3.0,
    score_threshold: Annotated[float, Range(0, 1)] = 0.05,
    nms_threshold: Annotated[float, Range(0, 1)] = 0.5,
    candidates: Annotated[int, Range(1)] = 1000,
    detections: Annotated[int, Range(1)] = 100,
    axis: str | None = None,
) -> Learner:
    """A detector of the batches of `dlcore.detection.detector.detector_learner`.

    Args:
      model: a `SingleStage` with len(scales) x len(ratios) anchors at a place.
      optimizer: any optax transformation.
      preprocess: batch of images to the model's input, of the same size.
      augment: `(key, image, boxes, box_mask) -> (image, boxes, box_mask)` of one preprocessed training image.
      scales: sides of the anchors, in strides of their level.
      ratios: height over width of the anchors.
      high: IoU from which on an anchor is on a box.
      low: IoU below which an anchor is background, at most `high`.
      negatives: background anchors learnt from, to one on an object.
      score_threshold: least score of a detection.
      nms_threshold: largest IoU of two detections of one class.
      candidates: best scores of each level that go on to suppression.
      detections: most of an image.
      axis: name of the mapped axis under pmap.

    Raises:
      ValueError: low is above high, or the model has another number of anchors.
    """
    if low > high:
        raise ValueError(f"low={low} must be at most high={high}")
    if model.per_place != len(scales) * len(ratios):
        raise ValueError(
            f"the model has {model.per_place} anchors at a place; {len(scales)} scales by {len(ratios)} ratios need "
            f"{len(scales) * len(ratios)}"
        )
    return detector_learner(
        model=model, optimizer=optimizer, preprocess=preprocess, augment=augment, axis=axis,
        places=partial(Anchors.of, scales=scales, ratios=ratios),
        losses=partial(image_losses, high=high, low=low, negatives=negatives),
        postprocess=partial(
            postprocess, score_threshold=score_threshold, nms_threshold=nms_threshold, candidates=candidates,
            detections=detections,
        ),
    )  # fmt: skip
