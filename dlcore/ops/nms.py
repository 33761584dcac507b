"""Greedy non-maximum suppression of a fixed number of boxes, inside jit.

    keep the highest-scoring box that is left, drop every other that overlaps it by more than the threshold, repeat

With the boxes sorted by score, k_i = no j < i has k_j and IoU(i, j) > t. Starting from k = 1 and applying this to all i
at once, the first n boxes are settled after n rounds, and the result no longer changes after as many rounds as the
longest chain of boxes that drop one another: a handful, where a loop over the boxes takes N.
"""

import jax
import jax.numpy as jnp

from dlcore.ops.boxes import box_iou

__all__ = ["nms", "top_detections"]


def nms(
    boxes: jax.Array,
    scores: jax.Array,
    threshold: float | jax.Array,
    *,
    groups: jax.Array | None = None,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Which boxes are kept: [N] bool, in the order given.

    boxes: [N, 4]. scores: [N]; of equal scores the earlier box goes first. threshold: the largest IoU that two kept
    boxes may have. groups: [N] int, a class or a level: boxes of different groups leave each other alone. valid: [N]
    bool, False for padding, which is never kept and drops nothing.

    Raises ValueError where the shapes do not fit together.
    """
    count = boxes.shape[0]
    if boxes.shape != (count, 4) or scores.shape != (count,):
        raise ValueError(f"boxes and scores have shapes {boxes.shape} and {scores.shape}; they must be [N, 4] and [N]")
    valid = jnp.ones(count, bool) if valid is None else valid.astype(bool)
    order = jnp.argsort(jnp.where(valid, -scores, jnp.inf), stable=True)
    boxes, valid = boxes[order], valid[order]
    drops = (box_iou(boxes, boxes) > threshold) & jnp.tri(count, k=-1, dtype=bool).T
    if groups is not None:
        drops &= groups[order][:, None] == groups[order][None]

    def settle(carry):
        kept, _ = carry
        return valid & ~(kept[:, None] & drops).any(0), kept

    start = settle((valid, valid))
    kept, _ = jax.lax.while_loop(lambda carry: (carry[0] != carry[1]).any(), settle, start)
    return jnp.zeros(count, bool).at[order].set(kept)


def top_detections(keep: jax.Array, scores: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """(positions [count] int32 of the best kept boxes, best first, and whether each is one: [count] bool).

    keep: [N] bool. scores: [N]; of equal scores the earlier goes first. Where fewer are kept the rest is padding.
    """
    order = jnp.argsort(jnp.where(keep, -scores, jnp.inf), stable=True)
    order = jnp.pad(order, (0, max(0, count - order.shape[0])))[:count].astype(jnp.int32)
    return order, jnp.arange(count) < keep.sum()
