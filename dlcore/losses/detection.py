"""Losses of detectors: focal loss of class scores, overlap losses of boxes, distribution focal loss of their sides.

    focal:  L = -sum_c alpha_c (1 - p_c)^gamma log p_c,   p = sigmoid(s) where the target is 1, 1 - sigmoid(s) where 0,
            alpha_c = alpha for target 1, 1 - alpha for 0          Lin et al. 2017, arXiv:1708.02002
    GIoU:   L = 1 - IoU(a, b) + (|hull| - |a or b|) / |hull|       Rezatofighi et al. 2019, arXiv:1902.09630
    DIoU:   L = 1 - IoU(a, b) + |center a - center b|^2 / diagonal(hull)^2          Zheng et al. 2019, arXiv:1911.08287
    CIoU:   L = DIoU loss + k v,   v = 4 / pi^2 (atan(w_b / h_b) - atan(w_a / h_a))^2,   k = v / (1 - IoU + v) fixed
    DFL:    L = -w log S_i - (1 - w) log S_{i+1},   S = softmax(logits),   w = (v_{i+1} - y) / (v_{i+1} - v_i),
            v_i <= y <= v_{i+1}; the prediction is sum_i S_i v_i      Li et al. 2020, arXiv:2006.04388

Every quotient of areas has 1e-7 added to its denominator, as in torchvision, so that empty boxes have finite losses and
gradients. The overlap losses compare box i with target i; for all pairs, add the axes: `boxes[:, None]` broadcast to
[N, M, 4]. Region proposals are trained by the smooth L1 loss of box deltas (regression.py), or by GIoU
(`dlcore.detection.rpn.image_losses`).
"""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.ops.boxes import box_angle, box_area, box_union
from dlcore.ops.checks import check_boxes, check_finite, check_range, check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.safe_product import safe_product

__all__ = [
    "complete_iou_loss",
    "distance_iou_loss",
    "distribution_expectation",
    "distribution_focal_loss",
    "generalized_iou_loss",
    "iou_loss",
    "sigmoid_focal_loss",
]

_EPSILON = 1e-7


def sigmoid_focal_loss(
    logits: jax.Array, targets: jax.Array, alpha: float | jax.Array | None = 0.25, gamma: float | jax.Array = 2.0
) -> jax.Array:
    """Focal loss summed over an example's C yes-or-no questions: easy ones are down-weighted.

    Args:
      logits: [..., C], one score per class.
      targets: [..., C] in [0, 1], the answers; all 0 for background.
      alpha: weight of the target 1, in [0, 1]; the target 0 weighs 1 - alpha. None weighs both by 1.
      gamma: focusing exponent; 0 gives the weighted cross-entropy.

    Returns:
      [...], one loss an example (an anchor), in nats.
    """
    logits = to_acc_dtype(logits)
    check_shapes(logits=(logits, "... C"), targets=(targets, "... C"), alpha=(alpha, "0 to 1 or None"))
    check_shapes(gamma=(gamma, ">= 0"))
    check_range("targets", targets, 0, 1)
    p = jax.nn.sigmoid(logits)  # [..., C]
    # 1 - p_t, kept above 0 for a finite gradient of its power.
    error = jnp.maximum(p + targets - 2 * p * targets, jnp.finfo(p.dtype).tiny)  # [..., C]
    positive = safe_product(targets, jax.nn.log_sigmoid(logits))  # [..., C]
    negative = safe_product(1 - targets, jax.nn.log_sigmoid(-logits))  # [..., C]
    loss = -(positive + negative) * error**gamma  # [..., C]
    if alpha is not None:
        loss = loss * (alpha * targets + (1 - alpha) * (1 - targets))
    return loss.sum(-1)


def iou_loss(boxes: jax.Array, targets: jax.Array) -> jax.Array:
    """1 - IoU; it has no gradient where box and target are disjoint.

    Args:
      boxes: [..., 4], corners x1, y1, x2, y2.
      targets: [..., 4], the true box of each.

    Returns:
      [...], one loss a box, in [0, 1].
    """
    boxes, targets = _pairs(boxes, targets)
    intersection, union = box_union(boxes, targets)  # [...], [...]
    return 1 - intersection / (union + _EPSILON)


def generalized_iou_loss(boxes: jax.Array, targets: jax.Array) -> jax.Array:
    """1 - GIoU; it pulls box and target together where they are disjoint.

    Args:
      boxes: [..., 4], corners x1, y1, x2, y2.
      targets: [..., 4], the true box of each.

    Returns:
      [...], one loss a box, in [0, 2].
    """
    boxes, targets = _pairs(boxes, targets)
    _, union = box_union(boxes, targets)  # [...]
    # Area of the smallest box around both.
    hull = box_area(_hull(boxes, targets))  # [...]
    return iou_loss(boxes, targets) + (hull - union) / (hull + _EPSILON)


def distance_iou_loss(boxes: jax.Array, targets: jax.Array) -> jax.Array:
    """1 - DIoU; it pulls the centers together, also where one box contains the other.

    Args:
      boxes: [..., 4], corners x1, y1, x2, y2.
      targets: [..., 4], the true box of each.

    Returns:
      [...], one loss a box, in [0, 2].
    """
    boxes, targets = _pairs(boxes, targets)
    hull = _hull(boxes, targets)  # [..., 4]
    # Squared diagonal of the smallest box around both.
    diagonal = jnp.square(hull[..., 2:] - hull[..., :2]).sum(-1)  # [...]
    centers = (boxes[..., :2] + boxes[..., 2:] - targets[..., :2] - targets[..., 2:]) / 2  # [..., 2]
    return iou_loss(boxes, targets) + jnp.square(centers).sum(-1) / (diagonal + _EPSILON)


def complete_iou_loss(boxes: jax.Array, targets: jax.Array) -> jax.Array:
    """1 - CIoU: the DIoU loss and a term that pulls the aspect ratios together.

    Args:
      boxes: [..., 4], corners x1, y1, x2, y2.
      targets: [..., 4], the true box of each.

    Returns:
      [...], one loss a box.
    """
    boxes, targets = _pairs(boxes, targets)
    # Difference of the aspect ratios; its weight takes no gradient.
    v = 4 / jnp.pi**2 * jnp.square(box_angle(targets) - box_angle(boxes))  # [...]
    k = jax.lax.stop_gradient(v / (iou_loss(boxes, targets) + v + _EPSILON))  # [...]
    return distance_iou_loss(boxes, targets) + k * v


def distribution_focal_loss(logits: jax.Array, targets: jax.Array, values: jax.Array | None = None) -> jax.Array:
    """Distribution focal loss: the cross-entropy with the two values around a number, weighted by their nearness.

    Args:
      logits: [..., K], of a distribution over the values, at least two.
      targets: [...], the number; below the first value it counts as that, above the last as the last.
      values: [K] ascending; None for 0, 1, ..., K - 1.

    Returns:
      [...], one loss a number, in nats.
    """
    logits, values = _distribution(logits, values)
    targets = to_acc_dtype(targets)
    check_shapes(logits=(logits, "... K"), targets=(targets, "..."))
    check_finite("targets", targets)
    if (count := logits.shape[-1]) < 2:
        raise ValueError(f"logits.shape={logits.shape}: {count} value; allowed: at least 2")
    if not isinstance(values, jax.core.Tracer) and not (np.diff(values) > 0).all():
        raise ValueError(f"values={np.asarray(values).tolist()}: do not increase; allowed: each above the one before")
    targets = jnp.clip(targets, values[0], values[-1])  # [...]
    # The values around each target: `left` and the next one.
    left = jnp.clip(jnp.searchsorted(values, targets, side="right") - 1, 0, count - 2)  # [...]
    weight = (values[left + 1] - targets) / (values[left + 1] - values[left])  # [...]
    left_probs, right_probs = (jax.nn.one_hot(left + i, count, dtype=logits.dtype) for i in (0, 1))  # [..., K]
    probs = weight[..., None] * left_probs + (1 - weight[..., None]) * right_probs
    return optax.softmax_cross_entropy(logits, probs)


def distribution_expectation(logits: jax.Array, values: jax.Array | None = None) -> jax.Array:
    """Compute the mean of a distribution over values.

    Args:
      logits: [..., K].
      values: [K]; None for 0, 1, ..., K - 1.

    Returns:
      [...], sum_i softmax(logits)_i values_i, in at least float32.
    """
    logits, values = _distribution(logits, values)
    return (jax.nn.softmax(logits) * values).sum(-1)


def _distribution(logits: jax.Array, values: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Logits and values [K], 0 to K - 1 where there are none, in at least float32."""
    logits = to_acc_dtype(logits)
    check_shapes(logits=(logits, "... K"), values=(values, "K or None"))
    return logits, jnp.asarray(np.arange(logits.shape[-1]) if values is None else values, logits.dtype)


def _pairs(boxes: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    check_shapes(boxes=(boxes, "... 4"), targets=(targets, "... 4"))
    check_boxes("targets", targets)
    return to_acc_dtype(boxes), to_acc_dtype(targets)


def _hull(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the smallest box [..., 4] around two."""
    return jnp.concatenate([jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])], -1)
