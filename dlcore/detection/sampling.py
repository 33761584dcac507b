"""Balanced samples of fixed size for two-stage detectors: some positives, the rest negatives, at random.

Girshick, "Fast R-CNN" (2015), arXiv:1504.08083: of R candidates at most a share f is positive, the others negative.

Each candidate draws a number; the best f R positives come first, then the best negatives, until R slots are full or
nobody is left. The numbers of slots are known beforehand, and a mask tells which are filled, so that shapes are static.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.detection.anchors import check_targets, match_anchors
from dlcore.ops.boxes import box_iou
from dlcore.ops.checks import check_shapes

__all__ = ["Sampled", "balanced_sample", "sample_proposals"]


def balanced_sample(
    key: jax.Array, positive: jax.Array, negative: jax.Array, count: int, positive_fraction: float
) -> tuple[jax.Array, jax.Array]:
    """Draw candidates without replacement, at most a share of them positive.

    Args:
      key: PRNG key of the draw.
      positive: [L] bool.
      negative: [L] bool; a candidate that is neither is not drawn.
      count: slots, R; where there are fewer candidates, as many as they are.
      positive_fraction: largest share of R that positives take; negatives fill what they leave.

    Returns:
      (index [R] int32 of candidates, valid [R] bool); positives first, so that they are among the first f R slots.
    """
    check_shapes(
        positive=(positive, "mask L"), negative=(negative, "mask L"), positive_fraction=(positive_fraction, "0 to 1")
    )
    check_whole_number("count", count, 1)
    length = positive.shape[0]
    # Random priorities: positives first, up to their share, then negatives.
    number = jax.random.uniform(key, (length,))  # [N]
    best, index = jax.lax.top_k(jnp.where(positive, number, -1.0), min(int(count * positive_fraction), length))
    is_positive = jnp.zeros(length, bool).at[index].set(best >= 0)  # [N]
    priority = jnp.where(is_positive, 1 + number, jnp.where(negative & ~positive, number, -1.0))
    best, index = jax.lax.top_k(priority, min(count, length))
    return index.astype(jnp.int32), best >= 0


class Sampled(NamedTuple):
    """Proposals of one image that the second stage learns from.

    Args:
      boxes: [R, 4] pixels.
      matched: [R] int32, the true box of each; 0 for background.
      target: [R] int32, 1 + the label of that box; 0 for background.
      valid: [R] bool, whether the slot is filled.
    """

    boxes: jax.Array
    matched: jax.Array
    target: jax.Array
    valid: jax.Array


def sample_proposals(
    key: jax.Array,
    proposals: jax.Array,
    proposal_mask: jax.Array,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    count: int,
    positive_fraction: float,
    fg_iou_thresh: float | jax.Array = 0.5,
    bg_iou_thresh: float | jax.Array = 0.5,
) -> Sampled:
    """Label the proposals of one image by the true boxes, add these to them, and draw a sample.

    Without the true boxes nearly no proposal would be positive at the start.

    Args:
      key: PRNG key of the draw.
      proposals: [P, 4] pixels.
      proposal_mask: [P] bool, False for padding.
      boxes: [M, 4] pixels, the true ones.
      labels: [M] int.
      valid: [M] bool, False for padding.
      count: slots, R.
      positive_fraction: largest share of positives; they are in the first `int(R positive_fraction)` slots.
      fg_iou_thresh: see `match_anchors`.
      bg_iou_thresh: see `match_anchors`; between the two a proposal is not drawn.

    Returns:
      The sample; no gradient goes through it.
    """
    check_shapes(proposals=(proposals, "P 4"), proposal_mask=(proposal_mask, "mask P"))
    check_targets(boxes, valid, labels)
    candidates = jnp.concatenate([proposals, boxes])  # [P + M, 4]
    filled = jnp.concatenate([proposal_mask, valid]).astype(bool)
    matched = match_anchors(box_iou(boxes, candidates), fg_iou_thresh, bg_iou_thresh, valid=valid)  # [P + M]
    index, valid_slots = balanced_sample(
        key, filled & (matched >= 0), filled & (matched == -1), count, positive_fraction
    )
    matched_idx = matched[index]
    positive = valid_slots & (matched_idx >= 0)
    matched_idx = jnp.where(positive, matched_idx, 0)
    target = jnp.where(positive, 1 + labels[matched_idx], 0).astype(jnp.int32)
    return jax.lax.stop_gradient(Sampled(candidates[index], matched_idx, target, valid_slots))
