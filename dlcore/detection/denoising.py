"""Denoising queries: true boxes with noise enter the decoder beside the others, which learns to take the noise away.

Zhang et al. 2022, arXiv:2203.03605 (DINO), as RT-DETR trains, arXiv:2304.08069.

    group        each true box twice: corners moved by up to s/2 of the sides (positive), and by s/2 to s (negative)
    label        another one, by chance, of half of `label_noise` of the queries
    attention    a group sees itself and the other queries; those see no group

Without targets for matching, since each positive query knows its box; a negative one is to say that it has none.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.ops.boxes import box_convert
from dlcore.ops.checks import check_boxes, check_class_ids, check_shapes, check_size

__all__ = ["NoisyQueries", "Targets", "noise_boxes", "of_image_fractions"]


class Targets(NamedTuple):
    """True boxes of a batch.

    Args:
      boxes: [B, M, 4], center and size in fractions of the image's sides.
      labels: [B, M] int.
      valid: [B, M] bool, False for padding.
    """

    boxes: jax.Array
    labels: jax.Array
    valid: jax.Array


def of_image_fractions(boxes: jax.Array, labels: jax.Array, valid: jax.Array, size: tuple[int, int]) -> Targets:
    """Convert boxes in pixels to targets.

    Args:
      boxes: [B, M, 4] pixels, corners.
      labels: [B, M] int.
      valid: [B, M] bool, False for padding, whose boxes may be anything.
      size: (height, width) of the images.
    """
    check_shapes(boxes=(boxes, "B M 4"), labels=(labels, "int B M"), valid=(valid, "mask B M"))
    check_boxes("boxes", boxes, valid)
    check_size("size", size)
    height, width = size
    boxes = jnp.where(valid[..., None], boxes, 0) / jnp.array([width, height, width, height], jnp.float32)
    return Targets(box_convert(boxes, "xyxy", "cxcywh"), labels, valid)


class NoisyQueries(NamedTuple):
    """Denoising queries, group by group: the positive ones of the M boxes, then the negative ones.

    Args:
      boxes: [B, G 2 M, 4], center and size.
      labels: [B, G 2 M] int; C, "no class", for padding.
      mask: [B, 1, G 2 M + Q, G 2 M + Q] bool, True where a query may attend to a query; Q others follow the groups.
    """

    boxes: jax.Array
    labels: jax.Array
    mask: jax.Array


def noise_boxes(
    key: jax.Array,
    targets: Targets,
    num_classes: int,
    num_queries: int,
    num_denoising: int = 100,
    label_noise: float = 0.5,
    box_noise: float = 1.0,
) -> NoisyQueries:
    """Make denoising queries of true boxes.

    Args:
      key: [] PRNG key.
      num_classes: C.
      num_queries: Q, other queries.
      num_denoising: positive queries of an image, at most, or M where that is more.
      label_noise: twice the fraction of labels that are drawn anew.
      box_noise: s, the largest move of a negative corner in half sides.

    Returns:
      The queries, of G = max(1, num_denoising // M) groups.
    """
    check_shapes(
        **{"targets.boxes": (targets.boxes, "B M 4"), "targets.labels": (targets.labels, "int B M")},
        **{"targets.valid": (targets.valid, "mask B M")},
        label_noise=(label_noise, "0 to 1"),
    )
    check_shapes(box_noise=(box_noise, ">= 0"))
    check_whole_number("num_classes", num_classes, 1)
    check_class_ids("targets.labels", targets.labels, num_classes, valid=targets.valid)
    check_whole_number("num_queries", num_queries, 0)
    check_whole_number("num_denoising", num_denoising, 0)
    if not targets.labels.shape[1]:
        raise ValueError("targets: no room for a box; allowed: at least one, which `valid` may leave out")
    batch, size = targets.labels.shape
    groups = max(1, num_denoising // size)
    count = groups * 2 * size
    by_sign, by_size, by_class, by_label = jax.random.split(key, 4)
    boxes, labels, valid = (jnp.tile(part, (1, 2 * groups, *(1,) * (part.ndim - 2))) for part in targets)
    is_negative = jnp.arange(count) // size % 2 == 1  # [G 2 M]
    # Labels.
    replace = jax.random.uniform(by_label, labels.shape) < label_noise / 2
    labels = jnp.where(replace, jax.random.randint(by_class, labels.shape, 0, num_classes), labels)
    labels = jnp.where(valid, labels, num_classes)
    # Corners.
    move = jax.random.uniform(by_size, boxes.shape) + is_negative[:, None]
    move = move * jnp.where(jax.random.bernoulli(by_sign, shape=boxes.shape), 1, -1)
    half = jnp.tile(boxes[..., 2:] / 2, (1, 1, 2)) * box_noise
    corners = jnp.clip(box_convert(boxes, "cxcywh", "xyxy") + move * half, 0, 1)
    boxes = box_convert(corners, "xyxy", "cxcywh")
    boxes = jnp.where(valid[..., None], boxes, 0.5)
    # Who sees whom: [G 2 M + Q], the number of the group, G for the others.
    group = jnp.concatenate([jnp.arange(count) // (2 * size), jnp.full(num_queries, groups)])
    sees = (group[:, None] == group) | (group == groups)
    present = jnp.concatenate([valid, jnp.ones((batch, num_queries), bool)], 1)  # [B, G 2 M + Q]
    return NoisyQueries(boxes, labels, (sees & present[:, None])[:, None])
