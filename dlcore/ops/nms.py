"""Greedy non-maximum suppression with static shapes, inside jit.

    repeat: keep the highest-scoring remaining box, suppress all others that overlap it by more than the threshold

With the boxes sorted by score, k_i = no j < i has k_j and IoU(i, j) > t. Starting from k = 1 and applying this to all i
at once, the first n boxes are final after n rounds. The result no longer changes after as many rounds as the longest
chain of boxes that suppress one another: a handful, where a loop over the boxes takes N. The N x N bits "j suppresses
i" are kept 32 to a word. The greedy rule is that of Girshick et al. 2014, arXiv:1311.2524.
"""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.ops.boxes import box_iou
from dlcore.ops.checks import check_boxes, check_shapes
from dlcore.ops.precision import to_same_origin

__all__ = ["nms", "top_detections"]


def nms(
    boxes: jax.Array,
    scores: jax.Array,
    iou_threshold: float | jax.Array,
    *,
    groups: jax.Array | None = None,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Greedy non-maximum suppression: keep boxes that no higher-scoring kept box overlaps by more than a threshold.

    Args:
      boxes: [N, 4] (x0, y0, x1, y1).
      scores: [N]; of equal scores the earlier box has priority.
      iou_threshold: largest IoU that two kept boxes may have.
      groups: [N] int, such as classes or pyramid levels: boxes of different groups do not suppress each other. None
        means one group.
      valid: [N] bool, False for padding, which is never kept and suppresses nothing. None means that all are valid.

    Returns:
      [N] bool, whether each box is kept, in the order of `boxes`.
    """
    check_shapes(
        boxes=(boxes, "N 4"), scores=(scores, "N"), groups=(groups, "int N or None"), valid=(valid, "N or None")
    )
    check_shapes(iou_threshold=(iou_threshold, "0 to 1"))
    check_boxes("boxes", boxes, valid)
    _check_ranks(scores, valid)
    count = boxes.shape[0]
    valid = jnp.ones(count, bool) if valid is None else jnp.asarray(valid, bool)
    order = _best_first(valid, scores)
    (boxes,) = to_same_origin(boxes, dim=2)
    boxes, valid = jnp.where(valid[:, None], boxes, 0)[order], valid[order]
    groups = jnp.zeros(count, jnp.int32) if groups is None else groups[order]
    position, extra = jnp.arange(count), -count % 32

    def suppresses(first, rows, row_groups):
        """Of 32 boxes from place `first` on, in bits: [N] uint32, which of them each box must yield to."""
        bits = jnp.zeros(count, jnp.uint32)
        for k in range(32):
            overlaps = box_iou(rows[k, None], boxes)[0] > iou_threshold
            hit = overlaps & (row_groups[k] == groups) & (position > first + k)
            bits |= hit.astype(jnp.uint32) << k
        return bits

    def by_words(x):
        return jnp.pad(x, ((0, extra), *((0, 0),) * (x.ndim - 1))).reshape(-1, 32, *x.shape[1:])

    words = jax.vmap(suppresses)(32 * jnp.arange((count + extra) // 32), by_words(boxes), by_words(groups))

    def settle(carry):
        keep_mask, _ = carry
        packed_mask = (by_words(keep_mask).astype(jnp.uint32) << jnp.arange(32, dtype=jnp.uint32)).sum(
            1, dtype=jnp.uint32
        )
        return valid & ~(words & packed_mask[:, None] != 0).any(0), keep_mask

    start = settle((valid, valid))
    keep_mask, _ = jax.lax.while_loop(lambda carry: (carry[0] != carry[1]).any(), settle, start)
    return jnp.zeros(count, bool).at[order].set(keep_mask)


def top_detections(keep: jax.Array, scores: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Indices of the highest-scoring kept boxes, padded to a fixed number.

    Args:
      keep: [N] bool, from `nms`.
      scores: [N]; of equal scores the earlier comes first.
      count: number of indices to return.

    Returns:
      ([count] int32 indices, best first; [count] bool, False for padding where fewer boxes are kept).
    """
    check_shapes(keep=(keep, "N"), scores=(scores, "N"), count=(count, "int >= 0"))
    _check_ranks(scores, keep)
    order = _best_first(keep.astype(bool), scores)
    order = jnp.pad(order, (0, max(0, count - order.shape[0])))[:count].astype(jnp.int32)
    return order, jnp.arange(count) < keep.sum()


def _check_ranks(scores: jax.Array, valid: jax.Array | None) -> None:
    """Refuse a concrete NaN, which has no rank; an invalid box needs none."""
    if isinstance(scores, jax.core.Tracer) or isinstance(valid, jax.core.Tracer):
        return
    is_nan = np.isnan(np.asarray(scores, np.float32))
    if valid is not None:
        is_nan &= np.asarray(valid, bool)
    if is_nan.any():
        raise ValueError(f"scores[{is_nan.argmax()}]=nan: no rank; allowed: numbers")


def _best_first(valid: jax.Array, scores: jax.Array) -> jax.Array:
    """Sort by score from the highest down, equal ones in their order; those that are not valid come last."""
    if jnp.issubdtype(scores.dtype, jnp.floating):
        return jnp.argsort(jnp.where(valid, -scores, jnp.inf), stable=True)
    # An unsigned integer has no negative, and the lowest one of a signed type has none either; ~ reverses the order.
    return jnp.lexsort((~scores, ~valid))
