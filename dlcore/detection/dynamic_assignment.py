"""Dynamic label assignment: a detector's own predictions choose the locations that learn each true box.

task-aligned (Feng et al. 2021, arXiv:2108.07755; YOLOv8 with a = 1/2, b = 6 and K = 10):

    t = s^a u^b              s the score of the box's class at the location, u the IoU of the predicted box
    locations                the K inside the box with the largest t
    shared location          learns the box with the largest u
    quality                  t / max t * max u, the maxima over the locations of the box

SimOTA (Ge et al. 2021, arXiv:2107.08430):

    cost = BCE(p, class) - 3 log u        and 10^5 more at r or more strides from the center of the box
    locations                the k = max(1, floor(sum of the K largest u)) inside the box with the least cost
    shared location          learns the box with the least cost
    quality                  u

Deviates: YOLOX weighs its class scores by an objectness, and its candidates may lie outside the box, near the center.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.detection.anchors import Grid, check_targets
from dlcore.ops.boxes import box_iou, boxes_to_distances
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["Assignment", "sim_ota_assignment", "task_aligned_assignment"]


class Assignment(NamedTuple):
    """The true box that each location of an image learns.

    Args:
      matched: [L] int32, index of a box, -1 for none.
      quality: [L] in [0, 1], the target of the score of the box's class, 0 for no box.
    """

    matched: jax.Array
    quality: jax.Array


def task_aligned_assignment(
    logits: jax.Array,
    pred_boxes: jax.Array,
    grid: Grid,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    topk: int = 10,
    alpha: float | jax.Array = 0.5,
    beta: float | jax.Array = 6.0,
) -> Assignment:
    """Assign the locations that are good at both tasks, class and box.

    Args:
      logits: [L, C].
      pred_boxes: [L, 4] pixels, corners.
      boxes: [M, 4] pixels, the true ones.
      labels: [M] int.
      valid: [M] bool, False for padding.
      topk: K, locations of a box at most.
      alpha: exponent a of the score.
      beta: exponent b of the IoU.

    Returns:
      The assignment, without a gradient.
    """
    check_shapes(alpha=(alpha, ">= 0"), beta=(beta, ">= 0"))
    logits, inside, iou = _candidates(logits, pred_boxes, grid, boxes, labels, valid, topk)  # [L, C], [M, L], [M, L]
    alignment = jax.nn.sigmoid(logits)[:, labels].T ** alpha * iou**beta  # [M, L]
    # The K most aligned locations inside each box, then one box for each location.
    best, index = jax.lax.top_k(jnp.where(inside, alignment, -1.0), min(topk, inside.shape[1]))  # [M, K]
    matched = _resolve(_mark(index, best >= 0, inside.shape), iou)
    # Each box's best location has the box's best IoU as its target.
    is_matched = matched == jnp.arange(len(boxes))[:, None]  # [M, L]
    highest, best_iou = (jnp.where(is_matched, x, 0).max(1, keepdims=True) for x in (alignment, iou))  # [M, 1]
    quality = jnp.where(is_matched, alignment / jnp.where(highest > 0, highest, 1) * best_iou, 0).sum(0)
    return Assignment(matched, quality)


def sim_ota_assignment(
    logits: jax.Array,
    pred_boxes: jax.Array,
    grid: Grid,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    topk: int = 10,
    center_radius: float | jax.Array = 2.5,
    iou_cost: float | jax.Array = 3.0,
) -> Assignment:
    """Assign to each box as many of its cheapest locations as its overlaps add up to.

    Args:
      topk: K, overlaps that are added up; a box has no more locations.
      center_radius: r, locations nearer than so many strides to the center of a box come before all others.
      iou_cost: factor of -log IoU.
      As `task_aligned_assignment`.

    Returns:
      The assignment, without a gradient.
    """
    check_shapes(center_radius=(center_radius, ">= 0"), iou_cost=(iou_cost, ">= 0"))
    logits, inside, iou = _candidates(logits, pred_boxes, grid, boxes, labels, valid, topk)  # [L, C], [M, L], [M, L]
    iou = jnp.where(inside, iou, 0)
    centers = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2  # [M, 1, 2]
    near = jnp.abs(grid.points - centers).max(-1) < center_radius * grid.strides  # [M, L]
    # Binary cross-entropy over all classes: sum_c softplus(x_c) - x_label.
    class_cost = jax.nn.softplus(logits).sum(-1) - logits[:, labels].T  # [M, L]
    cost = class_cost - iou_cost * jnp.log(iou + 1e-8) + jnp.where(near, 0, 1e5)
    cost = jnp.where(inside, cost, jnp.inf)
    # Each box takes k of its cheapest locations, then each location the box for which it is cheapest.
    count = min(topk, inside.shape[1])
    k = jnp.maximum(jax.lax.top_k(iou, count)[0].sum(1).astype(jnp.int32), 1)  # [M]
    negative_cost, index = jax.lax.top_k(-cost, count)  # [M, K]
    mask = (jnp.arange(count) < k[:, None]) & jnp.isfinite(negative_cost)
    matched = _resolve(_mark(index, mask, inside.shape), -cost)
    is_matched = matched == jnp.arange(len(boxes))[:, None]
    return Assignment(matched, jnp.where(is_matched, iou, 0).sum(0))


def _candidates(logits, pred_boxes, grid: Grid, boxes, labels, valid, topk: int) -> tuple[jax.Array, ...]:
    """(Logits [L, C] without a gradient, whether each location is inside each box, IoU with its prediction [M, L])."""
    check_shapes(logits=(logits, f"{len(grid.points)} C"), pred_boxes=(pred_boxes, f"{len(grid.points)} 4"))
    check_targets(boxes, valid, labels, logits.shape[-1])
    check_whole_number("topk", topk, 1)
    logits, pred_boxes = jax.lax.stop_gradient((to_acc_dtype(logits), to_acc_dtype(pred_boxes)))
    inside = (boxes_to_distances(grid.points, boxes[:, None]).min(-1) > 0) & valid.astype(bool)[:, None]
    return logits, inside, box_iou(jnp.where(valid[:, None], boxes, 0), pred_boxes)  # padding may be any numbers


def _mark(index: jax.Array, mask: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Spread a mask of the locations of each box, [M, K], over all locations, [M, L]."""
    return jnp.zeros(shape, bool).at[jnp.arange(shape[0])[:, None], index].set(mask)


def _resolve(claims: jax.Array, priority: jax.Array) -> jax.Array:
    """Give each location, [L], the box of highest priority [M, L] of those that claim it; -1 for none."""
    best = jnp.where(claims, priority, -jnp.inf).argmax(0)
    return jnp.where(claims.any(0), best, -1).astype(jnp.int32)
