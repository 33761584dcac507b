"""Losses of detectors whose queries have a logit for each class and no "no object", and the learner that trains them.

Zhu et al. 2020, arXiv:2010.04159 (Deformable DETR); Zhang et al. 2020, arXiv:2008.13367 (varifocal loss); Zhao et al.
2023, arXiv:2304.08069 (RT-DETR).

    match        distinct queries q_m with least sum_m [ 2 (F1(p(c_m)) - F0(p(c_m))) + 5 |b - b_m|_1 - 2 GIoU(b, b_m) ]
                 F1 = -a (1 - p)^2 log p,   F0 = -(1 - a) p^2 log(1 - p),   a = 1/4
    focal        weight * sum over queries and classes of F1 where the class is the query's, F0 elsewhere
    varifocal    weight * sum of w BCE(p, t);  w = t = IoU(b, b_m) for the class of a match, t = 0 and w = 3/4 p^2 else
    boxes        sum_m [ 5 |b - b_m|_1 + 2 (1 - GIoU(b, b_m)) ]

All sums are divided by the number of boxes in the batch. They are taken after every layer, each with a matching of its
own, and of denoising queries, whose boxes are known, as the mean over the groups.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.detection.anchors import check_targets
from dlcore.detection.dense import best_detections, check_postprocess, detector_learner
from dlcore.detection.padding import ImageSize
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses.detection import generalized_iou_loss, sigmoid_focal_loss
from dlcore.ops.assignment import assign
from dlcore.ops.boxes import box_convert, clip_boxes, generalized_box_iou, paired_box_iou
from dlcore.ops.checks import check_shapes

__all__ = ["QueryCosts", "QueryWeights", "image_losses", "match", "postprocess", "query_learner"]

Classification = Literal["focal", "varifocal"]
FOCAL_ALPHA, VARIFOCAL_ALPHA, GAMMA = 0.25, 0.75, 2.0


class QueryCosts(NamedTuple):
    """Weights of the cost of a query for a true box.

    Args:
      class_cost: weight of the focal loss that the class would save.
      bbox_cost: weight of the sum of absolute differences.
      giou_cost: weight of minus the generalized IoU.
    """

    class_cost: Annotated[float, Range(0)] = 2.0
    bbox_cost: Annotated[float, Range(0)] = 5.0
    giou_cost: Annotated[float, Range(0)] = 2.0


class QueryWeights(NamedTuple):
    """Weights of the parts of the loss.

    Args:
      class_weight: weight of the focal or varifocal loss.
      bbox_weight: weight of the sum of absolute differences.
      giou_weight: weight of the generalized IoU's loss.
    """

    class_weight: Annotated[float, Range(0)] = 1.0
    bbox_weight: Annotated[float, Range(0)] = 5.0
    giou_weight: Annotated[float, Range(0)] = 2.0


def match(
    logits: jax.Array, boxes: jax.Array, targets: jax.Array, labels: jax.Array, valid: jax.Array, costs: QueryCosts
) -> jax.Array:
    """Match each true box of an image to a query of its own, at the least total cost.

    Args:
      logits: [Q, C].
      boxes: [Q, 4], center and size.
      targets: [M, 4], center and size of the true boxes.
      labels: [M] int.
      valid: [M] bool, False for padding.
      costs: weights of the cost.

    Returns:
      [M] int32, index of a query; -1 for padding.
    """
    class_logits = logits[:, labels]  # [Q, M]
    p, log_p, log_rest = (
        jax.nn.sigmoid(class_logits),
        jax.nn.log_sigmoid(class_logits),
        jax.nn.log_sigmoid(-class_logits),
    )
    cost_class = (1 - FOCAL_ALPHA) * p**GAMMA * log_rest - FOCAL_ALPHA * (1 - p) ** GAMMA * log_p  # [Q, M]
    cost_bbox = jnp.abs(boxes[:, None] - targets).sum(-1)  # [Q, M]
    cost_giou = generalized_box_iou(*(box_convert(b, "cxcywh", "xyxy") for b in (boxes, targets)))  # [Q, M]
    return assign(costs.class_cost * cost_class + costs.bbox_cost * cost_bbox - costs.giou_cost * cost_giou, valid)


def _sums(
    logits: jax.Array,
    boxes: jax.Array,
    owner: jax.Array,
    counts: jax.Array,
    targets: jax.Array,
    labels: jax.Array,
    weights: QueryWeights,
    classification: Classification,
) -> dict[str, jax.Array]:
    """Sums over the queries [Q]: `owner` [Q] is the index of a query's box, -1 for none; `counts` [Q] bool."""
    has_box = owner >= 0  # [Q]
    target_boxes = jnp.where(has_box[:, None], targets[owner], 0.5)  # [Q, 4]
    pred_boxes = jnp.where(has_box[:, None], boxes, 0.5)
    corners = [box_convert(b, "cxcywh", "xyxy") for b in (pred_boxes, target_boxes)]
    one_hot = jax.nn.one_hot(jnp.where(has_box, labels[owner], -1), logits.shape[-1])  # [Q, C]
    if classification == "focal":
        per_query = sigmoid_focal_loss(logits, one_hot, FOCAL_ALPHA, GAMMA)  # [Q]
    else:
        iou = jax.lax.stop_gradient(jnp.clip(paired_box_iou(*corners), 0, 1))
        target = one_hot * iou[:, None]
        p = jax.lax.stop_gradient(jax.nn.sigmoid(logits))
        weight = VARIFOCAL_ALPHA * p**GAMMA * (1 - one_hot) + target
        per_query = (weight * optax.sigmoid_binary_cross_entropy(logits, target)).sum(-1)  # [Q]
    distance = jnp.abs(pred_boxes - target_boxes).sum(-1)  # [Q]
    return {
        "classification": weights.class_weight * jnp.where(counts, per_query, 0).sum(),
        "box": weights.bbox_weight * jnp.where(has_box, distance, 0).sum(),
        "giou": weights.giou_weight * jnp.where(has_box, generalized_iou_loss(*corners), 0).sum(),
    }


@check_arguments
def image_losses(
    outputs: Any,
    sides: jax.Array,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    costs: QueryCosts = QueryCosts(),
    weights: QueryWeights = QueryWeights(),
    classification: Classification = "varifocal",
    auxiliary: bool = True,
    more_losses: Callable[..., dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Sum the losses over the queries of one image.

    Args:
      outputs: `dlcore.detection.detr.Outputs` or `dlcore.detection.rt_detr.QueryOutputs` of one image, without the
        leading axis.
      sides: [4], (width, height, width, height) of the image in pixels.
      boxes: [M, 4] pixels, corners.
      costs: costs in `match`.
      weights: weights of the losses.
      classification: focal or varifocal.
      auxiliary: take the losses of the proposals and the earlier decoder layers, too.
      more_losses: `(outputs, owners [layers, Q], noisy_owner [D], noisy_counts [D], targets) -> {name: sum}` of one
        image: the index of each query's box, -1 for none, whether a denoising query is no padding, and center and size
        of the true boxes; None for none.
      As `match`.

    Returns:
      {"classification", "box", "giou": sums, the same with "auxiliary_" in front: over all earlier layers, and with
      "denoising_" where the outputs have denoising queries, "num_foreground": number of true boxes}.
    """
    check_shapes(sides=(sides, "4"))
    check_shapes(sides=(sides, "... > 0"))
    check_choice("classification", classification, ("focal", "varifocal"))
    check_targets(boxes, valid, labels, outputs.logits.shape[-1])
    targets = box_convert(boxes / sides, "xyxy", "cxcywh")  # [M, 4]

    of_layer = partial(_sums, targets=targets, labels=labels, weights=weights, classification=classification)

    def match_layer(logits: jax.Array, pred_boxes: jax.Array) -> jax.Array:
        # One query for each true box.
        query_idx = match(logits, pred_boxes, targets, labels, valid, costs)  # [M]
        pairs = query_idx[:, None] == jnp.arange(len(pred_boxes))  # [M, Q]
        return jnp.where(pairs.any(0), pairs.argmax(0), -1)  # [Q]

    # Losses of every decoder layer, each with a matching of its own.
    owners = jax.vmap(match_layer)(outputs.logits, outputs.boxes)  # [layers, Q]
    layers = jax.vmap(of_layer)(outputs.logits, outputs.boxes, owners, jnp.ones_like(owners, bool))
    sums = {name: values[-1] for name, values in layers.items()}
    # Auxiliary losses of the proposals and the earlier layers.
    if auxiliary and len(outputs.logits) > 1:
        sums |= {f"auxiliary_{name}": values[:-1].sum() for name, values in layers.items()}
    # Denoising queries know their boxes.
    if (noisy := getattr(outputs, "noisy_logits", None)) is not None:
        size, count = len(labels), noisy.shape[1]
        index = jnp.arange(count) % size
        counts = valid[index] if count else jnp.zeros(0, bool)  # [D]
        owner = jnp.where(counts & (jnp.arange(count) // size % 2 == 0), index, -1)
        groups = max(1, count // (2 * size))
        noise = jax.vmap(of_layer, (0, 0, None, None))(noisy, outputs.noisy_boxes, owner, counts)
        sums |= {f"denoising_{name}": values.sum() / groups for name, values in noise.items()}
        if more_losses is not None:
            sums |= more_losses(outputs, owners, owner, counts, targets)
    return {**sums, "num_foreground": valid.sum(dtype=jnp.int32)}


def postprocess(
    outputs: Any, sides: jax.Array, size: ImageSize, *, score_thresh: float = 0.05, detections_per_img: int
) -> dict[str, jax.Array]:
    """Detect the objects of one image: the best pairs of a query and a class, without suppression.

    Args:
      outputs: outputs of one image, without the leading axis.
      sides: [4], (width, height, width, height) of the image in pixels.
      size: (height, width) that boxes are clipped to.
      score_thresh: detections score more than this.
      detections_per_img: K.

    Returns:
      As `dlcore.detection.dense.select`.
    """
    check_postprocess(sides, score_thresh, detections_per_img)
    scores = jax.nn.sigmoid(outputs.logits[-1])  # [Q, C]
    num_queries, num_classes = scores.shape
    boxes = clip_boxes(box_convert(outputs.boxes[-1], "cxcywh", "xyxy") * sides, size)  # [Q, 4]
    boxes = jnp.repeat(boxes, num_classes, axis=0)  # [Q C, 4]
    labels = jnp.tile(jnp.arange(num_classes), num_queries)
    scores = scores.reshape(-1)
    return best_detections(boxes, scores, labels, scores > score_thresh, detections_per_img)


@check_arguments
def query_learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Any,
    augment: Any,
    costs: QueryCosts,
    weights: QueryWeights,
    classification: Classification,
    auxiliary: bool,
    score_thresh: Annotated[float, Range(0, 1)],
    detections_per_img: Annotated[int, Range(1)],
    more_losses: Callable[..., dict[str, Any]] | None = None,
) -> Learner:
    """Train a detector of queries on the batches of `dlcore.detection.dense.detector_learner`.

    Args:
      model: a `DeformableDETR` or `RTDETR`.
      costs: weights of the matching.
      weights: weights of the loss.
      classification: focal or varifocal.
      auxiliary: take the loss of the proposals and of every decoder layer, not of the last alone.
      score_thresh: least score of a detection.
      detections_per_img: K, detections of an image at most.
      more_losses: further losses, see `image_losses`; None for none.
    """
    losses = partial(image_losses, costs=costs, weights=weights, classification=classification)
    losses = partial(losses, auxiliary=auxiliary, more_losses=more_losses)
    detect = partial(postprocess, score_thresh=score_thresh, detections_per_img=detections_per_img)
    return detector_learner(
        model=model, optimizer=optimizer, preprocess=preprocess, augment=augment, losses=losses, postprocess=detect
    )
