"""A single-stage detector: each anchor predicts one of C classes or background, and how its box deviates.

After Liu et al. 2016 (SSD), arXiv:1512.02325, over a feature pyramid with shared heads.

    L = 1/N+ [ sum_{a in P or H} CE(s_a, c_a) + sum_{a in P} smoothL1(t_a, t*_a) ]
    c_a = 0 (background) where a is on no box;   t* = 10 (b_x - p_x) / p_w, ..., 5 log(b_w / p_w), ...
    P: foreground anchors, N+ of them in the whole batch.   H: 3 background anchors to one of P, those of largest loss

An anchor is foreground where its IoU with a box is at least 0.5, or no anchor overlaps that box more; it is background
below 0.4, and ignored between.
"""

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.detection.anchor_detector import AnchorDetector, Matching, Outputs, check_matching, detect
from dlcore.detection.anchors import BACKGROUND, IGNORED, Anchors, check_targets, match_anchors
from dlcore.detection.dense import Thresholds, detector_learner
from dlcore.detection.padding import ImageSize
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.losses.regression import smooth_l1_loss
from dlcore.ops.boxes import box_iou, encode_boxes
from dlcore.ops.checks import check_finite, check_indices, check_shapes

__all__ = ["Outputs", "SingleStage", "hardest", "image_losses", "learner", "mined_losses", "postprocess"]

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class SingleStage(AnchorDetector):
    """An `AnchorDetector` with logits of the background and the classes; the fields are its own.

    Args:
      stages: stages of the backbone in the pyramid, finest first.
      num_groups: groups of the towers' group normalization; None for no normalization.
      scales: sides of the anchors, in strides of their level.
      prior_probability: probability of an object at initialization.
    """

    loss: ClassVar[Literal["focal", "mined_softmax"]] = "mined_softmax"

    stages: tuple[str, ...] = ("stage2", "stage3", "stage4")
    num_groups: Annotated[int, Range(1)] | None = 32
    scales: tuple[float, ...] = (4.0, 5.04, 6.35)
    prior_probability: float = 0.01


def hardest(losses: jax.Array, among: jax.Array, count: jax.Array) -> jax.Array:
    """Mark the largest losses; of equal ones the first.

    Args:
      losses: [L].
      among: [L] bool, which may be marked.
      count: how many to mark, at most.

    Returns:
      [L] bool.
    """
    check_finite("losses", losses)
    check_shapes(losses=(losses, "L"), among=(among, "mask L"), count=(count, ">= 0"))
    # Rank of each loss among the candidates.
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
    fg_iou_thresh: float | jax.Array = 0.5,
    bg_iou_thresh: float | jax.Array = 0.4,
    neg_to_pos_ratio: float | jax.Array = 3.0,
) -> dict[str, jax.Array]:
    """Sum the losses over the anchors of one image.

    Args:
      As `dlcore.detection.anchors.check_targets`.
      fg_iou_thresh: see `match_anchors`.
      bg_iou_thresh: see `match_anchors`.
      neg_to_pos_ratio: background anchors in the loss, to one of the foreground; an image without an object counts as
        having one foreground anchor.

    Returns:
      {"classification", "box": sums, "num_foreground": int}.
    """
    check_targets(boxes, valid, labels, outputs.logits.shape[-1] - 1)
    iou = box_iou(boxes, anchors.boxes)
    matched = match_anchors(iou, fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches=True, valid=valid)
    return mined_losses(outputs, anchors, boxes, labels, matched, neg_to_pos_ratio)


def mined_losses(
    outputs: Outputs,
    anchors: Anchors,
    boxes: jax.Array,
    labels: jax.Array,
    matched: jax.Array,
    neg_to_pos_ratio: float | jax.Array = 3.0,
    min_positives: int | jax.Array = 1,
) -> dict[str, jax.Array]:
    """Sum the losses over the foreground anchors of one image and its hardest background anchors.

    Args:
      boxes: [M, 4] pixels.
      labels: [M] int, from 0 on without the background.
      matched: [L] int, the box of each anchor, BACKGROUND or IGNORED.
      neg_to_pos_ratio: background anchors in the loss, to one of the foreground.
      min_positives: foreground anchors that an image counts as having at least, for the number of background ones.

    Returns:
      {"classification", "box": sums, "num_foreground": int}.
    """
    check_shapes(
        **{"outputs.logits": (outputs.logits, "L C"), "outputs.deltas": (outputs.deltas, "L 4")},
        matched=(matched, "int L"),
        boxes=(boxes, "M 4"),
        labels=(labels, "int M"),
    )
    check_shapes(neg_to_pos_ratio=(neg_to_pos_ratio, ">= 0"), min_positives=(min_positives, ">= 0"))
    check_shapes(**{"anchors.boxes": (anchors.boxes, f"{len(matched)} 4")})
    check_indices("matched", matched, len(boxes), "true boxes", (BACKGROUND, IGNORED))
    if not isinstance(matched, jax.core.Tracer):
        check_targets(boxes, np.isin(np.arange(len(boxes)), matched), labels, outputs.logits.shape[-1] - 1)
    foreground = matched >= 0  # [L]
    # Softmax over the background and the classes.
    target = jnp.where(foreground, 1 + labels[matched], 0)  # [L]
    entropy = softmax_cross_entropy_loss(outputs.logits, target)  # [L]
    # Hard negative mining: the background with the largest losses, `neg_to_pos_ratio` for each foreground.
    count = neg_to_pos_ratio * jnp.maximum(foreground.sum(), min_positives)
    selected = foreground | hardest(jax.lax.stop_gradient(entropy), matched == BACKGROUND, count)  # [L]
    box = jnp.where(foreground[:, None], boxes[matched], anchors.boxes)
    deltas = encode_boxes(box, jnp.asarray(anchors.boxes), WEIGHTS)  # [L, 4]
    error = 4 * smooth_l1_loss(outputs.deltas, deltas)  # [L]
    return {
        "classification": jnp.where(selected, entropy, 0).sum(),
        "box": jnp.where(foreground, error, 0).sum(),
        "num_foreground": foreground.sum(dtype=jnp.int32),
    }


def postprocess(
    outputs: Outputs, anchors: Anchors, size: ImageSize, *, topk_candidates: int = 1000, **thresholds: Any
) -> dict[str, jax.Array]:
    """Detect the objects of one image.

    Args:
      size: (height, width) of the image.
      topk_candidates: best scores of each level that go on to suppression.
      **thresholds: arguments of `dlcore.detection.dense.select`.

    Returns:
      As `dlcore.detection.dense.select`.

    Raises:
      ValueError: the shapes do not fit together, or a setting is out of range, see `dlcore.detection.dense.select`.
    """
    scores = jax.nn.softmax(outputs.logits)[:, 1:]
    return detect(scores, outputs.deltas, anchors, size, WEIGHTS, topk_candidates, **thresholds)


@check_arguments
def learner(
    *,
    model: SingleStage,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    matching: Matching = Matching(),
    neg_to_pos_ratio: Annotated[float, Range(0)] = 3.0,
    thresholds: Thresholds = Thresholds(),
) -> Learner:
    """Train a single-stage detector on the batches of `dlcore.detection.dense.detector_learner`.

    Args:
      model: a `SingleStage`.
      neg_to_pos_ratio: background anchors in the loss, to one of the foreground.
    """
    check_matching(matching)
    losses = partial(image_losses, **matching._asdict(), neg_to_pos_ratio=neg_to_pos_ratio)
    detect = partial(postprocess, **thresholds._asdict())
    return detector_learner(
        model=model, optimizer=optimizer, preprocess=preprocess, augment=augment, losses=losses, postprocess=detect
    )
