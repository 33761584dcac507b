"""Losses of detectors: focal loss of class scores, overlap losses of boxes.

    focal:  L = -sum_c alpha_c (1 - p_c)^gamma log p_c,   p = sigmoid(s) where the target is 1, 1 - sigmoid(s) where 0,
            alpha_c = alpha for target 1, 1 - alpha for 0          Lin et al. 2017, arXiv:1708.02002
    GIoU:   L = 1 - IoU(a, b) + (|hull| - |a or b|) / |hull|       Rezatofighi et al. 2019, arXiv:1902.09630

Every quotient of areas has 1e-7 added below, as in torchvision, so that empty boxes have finite losses and gradients.
"""

import jax
import jax.numpy as jnp
import optax

from dlcore.ops.boxes import box_area, box_union

__all__ = ["generalized_iou_loss", "iou_loss", "sigmoid_focal_loss"]

_EPSILON = 1e-7


def sigmoid_focal_loss(
    logits: jax.Array, target: jax.Array, alpha: float | jax.Array | None = 0.25, gamma: float | jax.Array = 2.0
) -> jax.Array:
    """The sum over all of `logits: [...]`, each a yes-or-no question with the answer `target: [...]` in [0, 1].

    alpha: weight of the target 1, in [0, 1]; None weighs both sides by 1. gamma: 0 gives the weighted cross-entropy.
    """
    p = jax.nn.sigmoid(logits)
    wrong = p + target - 2 * p * target
    loss = optax.sigmoid_binary_cross_entropy(logits, target) * wrong**gamma
    if alpha is not None:
        loss = loss * (alpha * target + (1 - alpha) * (1 - target))
    return loss.sum()


def iou_loss(box: jax.Array, target: jax.Array) -> jax.Array:
    """1 - IoU of two boxes [4]; no gradient when they are disjoint."""
    intersection, union = box_union(box, target)
    return 1 - intersection / (union + _EPSILON)


def generalized_iou_loss(box: jax.Array, target: jax.Array) -> jax.Array:
    """1 - GIoU of two boxes [4], in [0, 2]; pulls them together when they are disjoint."""
    _, union = box_union(box, target)
    hull = box_area(jnp.concatenate([jnp.minimum(box[:2], target[:2]), jnp.maximum(box[2:], target[2:])]))
    return iou_loss(box, target) + (hull - union) / (hull + _EPSILON)
