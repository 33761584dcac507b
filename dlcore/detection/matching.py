"""Which true box each anchor or proposal answers for, by overlap: positive, negative, or neither.

    positive   IoU with its best box >= high              the index of that box
    negative   IoU with its best box <  low               -1, background
    neutral    between                                    -2, not learnt from

As in torchvision's `Matcher` (Girshick et al. 2014, arXiv:1311.2524; Ren et al. 2015, arXiv:1506.01497). With
`keep_best`, the anchors that overlap some true box most are positive whatever their overlap, so that no box is left
without one; as there, such an anchor answers for the box that it itself overlaps most. A box that overlaps no anchor
(one without area) is left alone here, where torchvision would make every anchor that misses it positive.
"""

import jax
import jax.numpy as jnp

__all__ = ["BACKGROUND", "NEUTRAL", "match_anchors"]

BACKGROUND, NEUTRAL = -1, -2


def match_anchors(
    overlap: jax.Array,
    high: float | jax.Array = 0.5,
    low: float | jax.Array = 0.3,
    *,
    keep_best: bool = False,
    valid: jax.Array | None = None,
) -> jax.Array:
    """[L] int32: the place of the true box, BACKGROUND or NEUTRAL.

    overlap: [M, L], IoU of true box m with anchor l; of equal overlaps the first box wins. valid: [M] bool, False for
    padding; without a valid box every anchor is background.
    """
    if valid is not None:
        overlap = jnp.where(valid.astype(bool)[:, None], overlap, -1.0)
    best, box = overlap.max(0), overlap.argmax(0).astype(jnp.int32)
    matched = jnp.where(best < low, BACKGROUND, jnp.where(best < high, NEUTRAL, box))
    if keep_best:
        most = overlap.max(1, keepdims=True)
        matched = jnp.where(((overlap == most) & (most > 0)).any(0), box, matched)
    return matched.astype(jnp.int32)
