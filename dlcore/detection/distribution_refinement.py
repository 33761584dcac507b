"""Fine-grained distribution refinement: boxes by distributions over shifts of their sides, and their self-distillation.

Peng et al. 2024, arXiv:2410.13842 (D-FINE), sections 4.1 and 4.2.

    W(n)   0 at n = N/2,   +-(c (a/c + 1)^(|2n - N| / (N - 2)) - c) beside it,   +-2a at both ends;   a = 1/2, c = 1/4
    side   half the side of b_0 plus sum_n softmax(z)_n W(n) times its side, from the center of b_0
    FGL    sum over matched queries and sides of IoU * DFL(z, true shift; W)                distribution focal loss
    DDF    T^2 (r+ mean over matched of IoU KL + r- mean over others of s KL),   T = 5
           KL of the last layer's distribution and an earlier layer's, both of the logits over T;  s the last layer's
           highest score;  r+ = sqrt(M) / (sqrt(M) + sqrt(U)),  r- = 1 - r+,  of M matched and U other queries

FGL is divided by the number of boxes in the batch, and DDF is a mean over the images.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore.choices import check_whole_number
from dlcore.learner import Range, check_arguments
from dlcore.losses.detection import distribution_expectation, distribution_focal_loss
from dlcore.ops.boxes import box_convert, boxes_to_distances, distances_to_boxes, paired_box_iou
from dlcore.ops.checks import check_indices, check_shapes
from dlcore.ops.square_root import safe_sqrt

__all__ = ["RefinementWeights", "refinement_losses", "shift_sides", "weighting_function"]


class RefinementWeights(NamedTuple):
    """Weights of the losses of the distributions.

    Args:
      fine_grained_weight: weight of the fine-grained localization loss (FGL).
      distillation_weight: weight of the decoupled distillation focal loss (DDF).
      distillation_temperature: temperature T of the distillation.
    """

    fine_grained_weight: Annotated[float, Range(0)] = 0.15
    distillation_weight: Annotated[float, Range(0)] = 1.5
    distillation_temperature: Annotated[float, Range(0.01)] = 5.0


def weighting_function(num_bins: int, bound: float | jax.Array = 0.5, curvature: float | jax.Array = 0.25) -> jax.Array:
    """Compute the shifts that a distribution ranges over: dense near 0, sparse far away.

    Args:
      num_bins: N, even and at least 4.
      bound: a, the last shift but one.
      curvature: c; small values draw the shifts closer to 0.

    Returns:
      [N + 1] ascending, in sides of a box.
    """
    check_shapes(bound=(bound, "> 0"), curvature=(curvature, "> 0"))
    check_shapes(bound=(bound, "finite"), curvature=(curvature, "finite"))
    check_whole_number("num_bins", num_bins)
    if num_bins % 2 or num_bins < 4:
        raise ValueError(f"num_bins={num_bins}: odd or below 4; allowed: even numbers from 4")
    n = jnp.arange(num_bins + 1)
    exponent = jnp.abs(2 * n - num_bins) / (num_bins - 2)
    size = jnp.where(exponent > 1, 2 * bound, curvature * ((bound / curvature + 1) ** jnp.minimum(exponent, 1) - 1))
    return jnp.sign(2 * n - num_bins) * size


def shift_sides(initial: jax.Array, side_logits: jax.Array, values: jax.Array) -> jax.Array:
    """Shift the sides of boxes by the means of distributions.

    Args:
      initial: [..., 4], center and size.
      side_logits: [..., 4, K], of the left, top, right and bottom side.
      values: [K], shifts outward in sides of the box.

    Returns:
      [..., 4], center and size; a side that moves inward by more than half flips the box.
    """
    check_shapes(initial=(initial, "... 4"), side_logits=(side_logits, "... 4 K"), values=(values, "K"))
    center, size = initial[..., :2], jnp.tile(initial[..., 2:], 2)
    distances = (0.5 + distribution_expectation(side_logits, values)) * size
    return box_convert(distances_to_boxes(center, distances), "xyxy", "cxcywh")


@check_arguments
def refinement_losses(
    outputs: Any,
    owners: jax.Array,
    noisy_owner: jax.Array,
    noisy_counts: jax.Array,
    targets: jax.Array,
    *,
    weights: RefinementWeights = RefinementWeights(),
) -> dict[str, Any]:
    """Sum the losses of the distributions of one image.

    Args:
      outputs: `dlcore.detection.d_fine.FineOutputs` of one image, without the leading axis.
      owners: [2 + layers, Q] int, index of each query's box, -1 for none.
      noisy_owner: [D] int, the same of the denoising queries.
      noisy_counts: [D] bool, False for denoising queries of padding.
      targets: [M, 4], center and size of the true boxes.
      weights: weights of the losses.

    Returns:
      {"fine_grained": sum, "distillation": (value, 1 image), the same with "denoising_" in front}.
    """
    check_shapes(owners=(owners, "int layers Q"), targets=(targets, "M 4"))
    check_shapes(noisy_owner=(noisy_owner, "int D"), noisy_counts=(noisy_counts, "mask D"))
    check_indices("owners", owners, len(targets), "boxes", -1)
    check_indices("noisy_owner", noisy_owner, len(targets), "boxes", -1)
    queries = (outputs.logits[2:], outputs.boxes[2:], outputs.side_logits, outputs.initial_boxes)
    noisy = (outputs.noisy_logits[1:], outputs.noisy_boxes[1:], outputs.noisy_side_logits, outputs.noisy_initial_boxes)
    all_queries = jnp.ones(owners.shape[1], bool)
    sums = _losses(*queries, outputs.values, owners[2:], all_queries, targets, weights)
    owner = jnp.broadcast_to(noisy_owner, (len(noisy[0]), *noisy_owner.shape))
    of_noise = _losses(*noisy, outputs.values, owner, noisy_counts, targets, weights)
    groups = max(1, len(noisy_owner) // (2 * len(targets)))
    of_noise["fine_grained"] /= groups
    return sums | {f"denoising_{name}": value for name, value in of_noise.items()}


def _losses(
    logits: jax.Array,
    boxes: jax.Array,
    side_logits: jax.Array,
    initial: jax.Array,
    values: jax.Array,
    owners: jax.Array,
    counts: jax.Array,
    targets: jax.Array,
    weights: RefinementWeights,
) -> dict[str, Any]:
    """Losses of the queries [Q] of all layers [layers, ...]; `owners` [layers, Q], -1 for none; `counts` [Q] bool."""
    has_box = owners >= 0  # [layers, Q]
    target_boxes = jnp.where(has_box[..., None], targets[owners], 0.5)  # [layers, Q, 4]
    corners = box_convert(target_boxes, "cxcywh", "xyxy")
    pred_boxes = box_convert(jnp.where(has_box[..., None], boxes, 0.5), "cxcywh", "xyxy")
    iou = jax.lax.stop_gradient(jnp.clip(paired_box_iou(pred_boxes, corners), 0, 1))  # [layers, Q]
    # Fine-grained localization loss: the true shifts of the sides of the initial boxes.
    initial = jax.lax.stop_gradient(initial)
    size = jnp.maximum(jnp.tile(initial[:, 2:], 2), 1e-6)  # [Q, 4]
    shifts = boxes_to_distances(initial[:, :2], corners) / size - 0.5  # [layers, Q, 4]
    fine_grained = iou * distribution_focal_loss(side_logits, shifts, values).sum(-1)  # [layers, Q]
    # Self-distillation: the last layer teaches the earlier ones.
    temperature = weights.distillation_temperature
    student, teacher = (jax.nn.log_softmax(z / temperature) for z in (side_logits[:-1], side_logits[-1:]))
    teacher = jnp.broadcast_to(jax.lax.stop_gradient(teacher), student.shape)
    divergence = optax.losses.kl_divergence_with_log_targets(student, teacher).mean(-1)  # [layers - 1, Q]
    confidence = jax.lax.stop_gradient(jax.nn.sigmoid(logits[-1]).max(-1))  # [Q]
    divergence = divergence * jnp.where(has_box, iou, confidence)[:-1]
    ratio, value = 0.0, 0.0
    for group in (has_box[:-1], counts & ~has_box[:-1]):
        count = group.sum(-1)  # [layers - 1]
        mean = jnp.where(group, divergence, 0).sum(-1) / jnp.maximum(count, 1)
        ratio, value = ratio + safe_sqrt(count * 1.0), value + safe_sqrt(count * 1.0) * mean
    distillation = temperature**2 * (value / jnp.maximum(ratio, 1)).sum()
    return {
        "fine_grained": weights.fine_grained_weight * jnp.where(has_box, fine_grained, 0).sum(),
        "distillation": (weights.distillation_weight * distillation, jnp.ones(())),
    }
