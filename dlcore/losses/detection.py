"""Losses of detectors: focal loss of class scores, overlap losses of boxes.

    focal:  L = -sum_c alpha_c (1 - p_c)^gamma log p_c,   p = sigmoid(s) where the target is 1, 1 - sigmoid(s) where 0,
            alpha_c = alpha for target 1, 1 - alpha for 0          Lin et al. 2017, arXiv:1708.02002
    GIoU:   L = 1 - IoU(a, b) + (|hull| - |a or b|) / |hull|       Rezatofighi et al. 2019, arXiv:1902.09630
    DIoU:   L = 1 - IoU(a, b) + |centre a - centre b|^2 / diagonal(hull)^2          Zheng et al. 2019, arXiv:1911.08287
    CIoU:   L = DIoU loss + k v,   v = 4 / pi^2 (atan(w_b / h_b) - atan(w_a / h_a))^2,   k = v / (1 - IoU + v) fixed

Every quotient of areas has 1e-7 added below, as in torchvision, so that empty boxes have finite losses and gradients.
Region proposals were first trained by the smooth L1 loss of box deltas (regression.py), not by overlap.
"""

import jax
import jax.numpy as jnp
import optax

from dlcore.losses._precision import at_least_float32
from dlcore.ops.boxes import box_area, box_union

__all__ = ["complete_iou_loss", "distance_iou_loss", "generalized_iou_loss", "iou_loss", "sigmoid_focal_loss"]

_EPSILON = 1e-7


def sigmoid_focal_loss(
    logits: jax.Array, target: jax.Array, alpha: float | jax.Array | None = 0.25, gamma: float | jax.Array = 2.0
) -> jax.Array:
    """The sum over all of `logits: [...]`, each a yes-or-no question with the answer `target: [...]` in [0, 1].

    alpha: weight of the target 1, in [0, 1]; None weighs both sides by 1. gamma: 0 gives the weighted cross-entropy.
    """
    logits = at_least_float32(logits)
    p = jax.nn.sigmoid(logits)
    wrong = jnp.maximum(p + target - 2 * p * target, jnp.finfo(p.dtype).tiny)
    loss = optax.sigmoid_binary_cross_entropy(logits, target) * wrong**gamma
    if alpha is not None:
        loss = loss * (alpha * target + (1 - alpha) * (1 - target))
    return loss.sum()


def iou_loss(box: jax.Array, target: jax.Array) -> jax.Array:
    """1 - IoU of two boxes [4]; no gradient when they are disjoint."""
    intersection, union = box_union(at_least_float32(box), at_least_float32(target))
    return 1 - intersection / (union + _EPSILON)


def generalized_iou_loss(box: jax.Array, target: jax.Array) -> jax.Array:
    """1 - GIoU of two boxes [4], in [0, 2]; pulls them together when they are disjoint."""
    box, target = at_least_float32(box), at_least_float32(target)
    _, union = box_union(box, target)
    hull = box_area(_hull(box, target))
    return iou_loss(box, target) + (hull - union) / (hull + _EPSILON)


def distance_iou_loss(box: jax.Array, target: jax.Array) -> jax.Array:
    """1 - DIoU of two boxes [4], in [0, 2]; pulls their centres together, also where one holds the other."""
    box, target = at_least_float32(box), at_least_float32(target)
    hull = _hull(box, target)
    diagonal = jnp.square(hull[2:] - hull[:2]).sum()
    between = jnp.square((box[:2] + box[2:] - target[:2] - target[2:]) / 2).sum()
    return iou_loss(box, target) + between / (diagonal + _EPSILON)


def complete_iou_loss(box: jax.Array, target: jax.Array) -> jax.Array:
    """1 - CIoU of two boxes [4]; the DIoU loss and a term that makes their shapes alike."""
    box, target = at_least_float32(box), at_least_float32(target)
    v = 4 / jnp.pi**2 * jnp.square(_angle(target) - _angle(box))
    k = jax.lax.stop_gradient(v / (iou_loss(box, target) + v + _EPSILON))
    return distance_iou_loss(box, target) + k * v


def _hull(a: jax.Array, b: jax.Array) -> jax.Array:
    """The smallest box [4] around two."""
    return jnp.concatenate([jnp.minimum(a[:2], b[:2]), jnp.maximum(a[2:], b[2:])])


def _angle(box: jax.Array) -> jax.Array:
    """atan(width / height); a point has the angle 0 and no gradient."""
    width, height = jnp.maximum(box[2:] - box[:2], 0)
    empty = (width == 0) & (height == 0)
    return jnp.arctan2(jnp.where(empty, 0, width), jnp.where(empty, 1, height))
