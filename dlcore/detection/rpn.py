"""The region proposal network: for each anchor, whether there is an object, and how its box deviates.

Ren, He, Girshick & Sun, "Faster R-CNN" (2015), arXiv:1506.01497; on a pyramid, Lin et al. 2017, arXiv:1612.03144.

    L = 1/N sum_{a sampled} BCE(s_a, [a on an object])  +  1/N sum_{a sampled, on an object} smoothL1(t_a, t*_a; 1/9)
    box_loss giou:  1/N sum_{a sampled, on an object} 1 - GIoU(box of t_a, true box)         arXiv:1902.09630

An anchor is on an object where its IoU with a box is at least 0.7, or no anchor overlaps that box more; it is
background below 0.3, and ignored between. Of each image 256 anchors are sampled, at most half of them on an object; N
is their number in the whole batch. Equal to torchvision's `RegionProposalNetwork`.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.detection.anchors import BACKGROUND, Anchors, check_targets, match_anchors
from dlcore.detection.dense import flatten_levels, head_conv, select, topk_by_level
from dlcore.detection.padding import ImageSize
from dlcore.detection.sampling import balanced_sample
from dlcore.losses.detection import generalized_iou_loss
from dlcore.losses.regression import smooth_l1_loss
from dlcore.nn import Conv
from dlcore.ops.boxes import box_iou, decode_boxes, encode_boxes
from dlcore.ops.checks import check_shapes

__all__ = ["Outputs", "RegionProposalNetwork", "image_losses", "propose"]

BETA = 1 / 9
"""Error at which the parabola of the box losses ends."""


class Outputs(NamedTuple):
    """Predictions for L anchors.

    Args:
      objectness: [B, L] logits.
      deltas: [B, L, 4].
    """

    objectness: jax.Array
    deltas: jax.Array


class RegionProposalNetwork(nn.Module):
    """A 3x3 convolution and two of 1x1, shared by all levels.

    Args:
      scales: sides of the anchors, in strides of their level.
      aspect_ratios: height over width of the anchors.
    """

    scales: tuple[float, ...] = (8.0,)
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    dtype: Any = None

    @nn.compact
    def __call__(self, levels: list[jax.Array], size: tuple[int, int]) -> tuple[Outputs, Anchors]:
        """Predict for every anchor.

        levels [B, h, w, C], finest first; size (height, width) of the images -> (outputs, their anchors).
        """
        num_anchors = len(self.scales) * len(self.aspect_ratios)
        conv = head_conv("conv", levels[0].shape[-1], self.dtype)

        def last(name, features):
            init = nn.initializers.normal(0.01)
            return Conv(features, (1, 1), padding=0, dtype=self.dtype, kernel_init=init, name=name)

        cls_logits, bbox_pred = last("cls_logits", num_anchors), last("bbox_pred", 4 * num_anchors)
        # One 3x3 convolution, then objectness and deltas; all levels share them.
        hidden = [nn.relu(conv(level)) for level in levels]
        objectness = flatten_levels([cls_logits(x) for x in hidden], num_anchors).squeeze(-1)  # [B, L]
        deltas = flatten_levels([bbox_pred(x) for x in hidden], num_anchors)  # [B, L, 4]
        anchors = Anchors.of([level.shape[1:3] for level in levels], size, self.scales, self.aspect_ratios)
        return Outputs(objectness, deltas), anchors


def image_losses(
    key: jax.Array,
    outputs: Outputs,
    anchors: Anchors,
    boxes: jax.Array,
    valid: jax.Array,
    *,
    count: int = 256,
    positive_fraction: float = 0.5,
    fg_iou_thresh: float | jax.Array = 0.7,
    bg_iou_thresh: float | jax.Array = 0.3,
    box_loss: Literal["smooth_l1", "giou"] = "smooth_l1",
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Sum the losses over a sample of the anchors of one image.

    Args:
      key: PRNG key of the sample.
      boxes: [M, 4] pixels.
      valid: [M] bool, False for padding.
      count: anchors sampled.
      positive_fraction: largest share of them that is on an object.
      fg_iou_thresh: see `match_anchors`.
      bg_iou_thresh: see `match_anchors`.
      box_loss: smooth_l1 of the deltas, as in the paper, or giou of the boxes that the deltas give.

    Returns:
      {"rpn_objectness", "rpn_box": (sum, what the sum of a batch is divided by)}.
    """
    check_shapes(
        **{
            "anchors.boxes": (anchors.boxes, "L 4"),
            "outputs.objectness": (outputs.objectness, "L"),
            "outputs.deltas": (outputs.deltas, "L 4"),
        }
    )
    check_targets(boxes, valid)
    check_choice("box_loss", box_loss, ("smooth_l1", "giou"))
    at = jnp.asarray(anchors.boxes)
    iou = box_iou(boxes, at)
    # Anchors above the IoU threshold, and the best of each box.
    matched = match_anchors(iou, fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches=True, valid=valid)
    # A random sample, at most a fraction of it positive.
    index, sampled = balanced_sample(key, matched >= 0, matched == BACKGROUND, count, positive_fraction)
    matched, at = matched[index], at[index]
    positive = sampled & (matched >= 0)
    # Objectness over the sample, box regression over its positives.
    entropy = optax.sigmoid_binary_cross_entropy(outputs.objectness[index], positive.astype(jnp.float32))  # [count]
    box = jnp.where(positive[:, None], boxes[matched], at)
    deltas = outputs.deltas[index]
    if box_loss == "giou":
        error = generalized_iou_loss(decode_boxes(deltas, at), box)  # [count]
    else:
        error = 4 * smooth_l1_loss(deltas, encode_boxes(box, at), BETA)  # [count]
    number = sampled.sum(dtype=jnp.int32)
    return {
        "rpn_objectness": (jnp.where(sampled, entropy, 0).sum(), number),
        "rpn_box": (jnp.where(positive, error, 0).sum(), number),
    }


def propose(
    outputs: Outputs,
    anchors: Anchors,
    size: ImageSize,
    *,
    topk_candidates: int = 1000,
    num_proposals: int = 1000,
    nms_thresh: float | jax.Array = 0.7,
) -> tuple[jax.Array, jax.Array]:
    """Choose the boxes of one image that the second stage looks at.

    Args:
      size: (height, width) of the image.
      topk_candidates: best anchors of each level that go on to suppression.
      num_proposals: P, boxes kept over all levels.
      nms_thresh: largest IoU of two proposals of one level.

    Returns:
      (boxes [P, 4] best first, valid [P] bool); no gradient goes through them.
    """
    check_whole_number("num_proposals", num_proposals, 1)
    # No gradient from the second stage to proposals.
    outputs = jax.lax.stop_gradient(outputs)
    boxes = decode_boxes(outputs.deltas, jnp.asarray(anchors.boxes))
    # Best anchors of each level.
    candidates = topk_by_level(jax.nn.sigmoid(outputs.objectness)[:, None], boxes, anchors.counts, topk_candidates)
    # NMS within each level.
    proposals = select(
        candidates,
        size,
        score_thresh=0.0,
        nms_thresh=nms_thresh,
        detections_per_img=num_proposals,
        min_size=1e-3,
        within="levels",
    )
    return proposals["boxes"], proposals["valid"]
