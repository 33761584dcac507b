"""RetinaNet: a focal loss lets one stage learn from all anchors of a pyramid, the easy background included.

Lin et al. 2017, arXiv:1708.02002.

    L = 1/N+ [ sum_{a in P or B} focal(s_a, c_a) + sum_{a in P} |t_a - t*_a| ]
    focal   one question for each class: -alpha_c (1 - p)^gamma log p; all answers are no where a is background
    P       anchors whose IoU with a box is at least 0.5, or no anchor overlaps that box more; N+ of them
    B       background: IoU below 0.4 with every box; the anchors between have no part

All scores start at the probability 0.01: else the many background anchors drive the first steps. Anchors, heads,
matching and post-processing are those of torchvision's `retinanet_resnet50_fpn`. N+ is that of the whole batch, over
all devices, as in the paper's sum; torchvision divides image by image.
"""

from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from dlcore.detection.anchor_detector import AnchorDetector, Matching, Outputs, check_matching, detect
from dlcore.detection.anchors import IGNORED, Anchors, check_targets, match_anchors
from dlcore.detection.dense import Thresholds, detector_learner
from dlcore.detection.fpn import FPN_OLD_NAMES
from dlcore.detection.padding import ImageSize
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses.detection import sigmoid_focal_loss
from dlcore.ops.boxes import box_iou, encode_boxes
from dlcore.ops.checks import check_shapes

__all__ = ["Outputs", "RetinaNet", "image_losses", "learner", "postprocess"]


class RetinaNet(AnchorDetector):
    """An `AnchorDetector` with a logit for each class; the fields are its own, with torchvision's defaults."""

    TORCH_NAMES = (
        (r"^backbone\.", "backbone.body."),
        (r"^fpn\.(p[67])\.", r"backbone.fpn.extra_blocks.\1."),
        (r"^fpn\.(inner|layer)(\d+)\.", r"backbone.fpn.\1_blocks.\2.0."),
        (r"^(classification|regression)_conv(\d+)\.", r"head.\1_head.conv.\2.0."),
        (r"^(classification|regression)_norm(\d+)\.", r"head.\1_head.conv.\2.1."),
        (r"^cls_logits\.", "head.classification_head.cls_logits."),
        (r"^bbox_reg\.", "head.regression_head.bbox_reg."),
    )
    TORCH_OLD_NAMES = (
        *FPN_OLD_NAMES,
        (
            r"^(head\.(?:classification|regression)_head\.conv)\.(\d+)\.(weight|bias)$",
            lambda m: f"{m[1]}.{int(m[2]) // 2}.0.{m[3]}",
        ),
    )


def image_losses(
    outputs: Outputs,
    anchors: Anchors,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    fg_iou_thresh: float | jax.Array = 0.5,
    bg_iou_thresh: float | jax.Array = 0.4,
    alpha: float | jax.Array = 0.25,
    gamma: float | jax.Array = 2.0,
) -> dict[str, jax.Array]:
    """Sum the losses over the anchors of one image.

    Args:
      As `dlcore.detection.anchors.check_targets`.
      fg_iou_thresh: see `match_anchors`.
      bg_iou_thresh: see `match_anchors`.
      alpha: weight of the focal loss where the class is present.
      gamma: focusing exponent of the focal loss.

    Returns:
      {"classification", "box": sums, "num_foreground": int}.
    """
    check_shapes(boxes=(anchors.boxes, "L 4"), logits=(outputs.logits, "L C"), deltas=(outputs.deltas, "L 4"))
    check_targets(boxes, valid, labels, outputs.logits.shape[-1])
    iou = box_iou(boxes, anchors.boxes)  # [M, L]
    # Match anchors to boxes by IoU; those in between are ignored.
    matched = match_anchors(iou, fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches=True, valid=valid)
    foreground = matched >= 0
    label = jnp.where(foreground, labels[matched], -1)
    target = jax.nn.one_hot(label, outputs.logits.shape[-1], dtype=outputs.logits.dtype)  # [L, C]
    # Focal loss over all anchors that are not ignored.
    focal = sigmoid_focal_loss(outputs.logits, target, alpha, gamma)  # [L]
    box = jnp.where(foreground[:, None], boxes[matched], anchors.boxes)
    # L1 loss over foreground anchors.
    error = jnp.abs(outputs.deltas - encode_boxes(box, jnp.asarray(anchors.boxes))).sum(-1)  # [L]
    return {
        "classification": jnp.where(matched == IGNORED, 0, focal).sum(),
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
    scores = jax.nn.sigmoid(outputs.logits)
    return detect(scores, outputs.deltas, anchors, size, (1.0, 1.0, 1.0, 1.0), topk_candidates, **thresholds)


@check_arguments
def learner(
    *,
    model: RetinaNet,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    matching: Matching = Matching(),
    alpha: Annotated[float, Range(0, 1)] = 0.25,
    gamma: Annotated[float, Range(0)] = 2.0,
    thresholds: Thresholds = Thresholds(detections_per_img=300),
) -> Learner:
    """Train RetinaNet on the batches of `dlcore.detection.dense.detector_learner`.

    Args:
      model: a `RetinaNet`.
      alpha: weight of the focal loss where the class is present.
      gamma: focusing exponent of the focal loss; 0 gives cross-entropy.
    """
    check_matching(matching)
    losses = partial(image_losses, **matching._asdict(), alpha=alpha, gamma=gamma)
    detect = partial(postprocess, **thresholds._asdict())
    return detector_learner(
        model=model, optimizer=optimizer, preprocess=preprocess, augment=augment, losses=losses, postprocess=detect
    )
