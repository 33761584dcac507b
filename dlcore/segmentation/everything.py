"""Masks of everything: a segmenter by points is asked at every point of a grid, and the best masks remain.

Kirillov et al. 2023, arXiv:2304.02643, appendix B.

    stability   |s > o| / |s > -o|            IoU of the masks at two thresholds of the logits s
    remain      predicted IoU >= a,  stability >= b,  then suppression of overlapping boxes by the predicted IoU

Left out: crops of the image, and the removal of small holes and islands.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.learner import Range
from dlcore.ops.boxes import masks_to_boxes
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.nms import nms, top_detections

__all__ = ["MaskFilter", "filter_masks", "grid_points", "segment_everything", "stability_scores"]

POINTS_AT_ONCE = 64
"""Points that are decoded together."""


class MaskFilter(NamedTuple):
    """Which masks of everything remain.

    Args:
      points_per_side: everything: rows and columns of the grid of points
      pred_iou_thresh: everything: least predicted IoU of a mask
      stability_thresh: everything: least stability of a mask
      stability_offset: how far the two thresholds of stability lie from 0
      mask_nms_thresh: everything: largest IoU of the boxes of two masks
      masks_per_img: everything: masks of an image at most
    """

    points_per_side: Annotated[int, Range(1)] = 32
    pred_iou_thresh: Annotated[float, Range(0, 1)] = 0.88
    stability_thresh: Annotated[float, Range(0, 1)] = 0.95
    stability_offset: Annotated[float, Range(0)] = 1.0
    mask_nms_thresh: Annotated[float, Range(0, 1)] = 0.7
    masks_per_img: Annotated[int, Range(1)] = 100


def grid_points(points_per_side: int, image_size: int) -> jax.Array:
    """Place points in the middle of the cells of a grid.

    Args:
      points_per_side: n, rows and columns.
      image_size: side of the image in pixels.

    Returns:
      [n^2, 2], x and y of pixels counted from 0, row by row.
    """
    check_whole_number("points_per_side", points_per_side, 1)
    check_whole_number("image_size", image_size, 1)
    line = (jnp.arange(points_per_side) + 0.5) * image_size / points_per_side - 0.5
    rows, columns = jnp.meshgrid(line, line, indexing="ij")
    return jnp.stack([columns, rows], -1).reshape(-1, 2)


def stability_scores(logits: jax.Array, offset: float | jax.Array = 1.0) -> jax.Array:
    """Measure how little a mask depends on its threshold.

    Args:
      logits: [..., H, W].
      offset: how far the two thresholds lie from 0.

    Returns:
      [...] in [0, 1]; 0 for an empty mask.
    """
    check_shapes(logits=(logits, "... H W"), offset=(offset, ">= 0"))
    check_finite("logits", logits)
    small, large = ((logits > threshold).sum((-2, -1)) for threshold in (offset, -offset))
    return small / jnp.maximum(large, 1)


def filter_masks(logits: jax.Array, iou: jax.Array, filters: MaskFilter) -> dict[str, jax.Array]:
    """Choose the best of the masks of one image.

    Args:
      logits: [N, h, w].
      iou: [N], predicted.
      filters: thresholds, and K masks at most.

    Returns:
      {"mask_logits": [K, h, w], "iou": [K], "stability": [K], "valid": [K] bool}, best first; zeros where there are
      fewer masks.
    """
    check_shapes(
        **{
            f"filters.{name}": (getattr(filters, name), "0 to 1")
            for name in filters._fields
            if name.endswith("_thresh")
        },
        **{"filters.masks_per_img": (filters.masks_per_img, "int >= 1")},
        logits=(logits, "N h w"),
        iou=(iou, "N"),
    )
    stability = stability_scores(logits, filters.stability_offset)
    boxes = masks_to_boxes(logits > 0)
    valid = (iou >= filters.pred_iou_thresh) & (stability >= filters.stability_thresh) & (boxes[:, 2] > boxes[:, 0])
    best, valid = top_detections(nms(boxes, iou, filters.mask_nms_thresh, valid=valid), iou, filters.masks_per_img)
    return {
        "mask_logits": jnp.where(valid[:, None, None], logits[best], 0),
        "iou": jnp.where(valid, iou[best], 0),
        "stability": jnp.where(valid, stability[best], 0),
        "valid": valid,
    }


def segment_everything(
    decode: Callable[[jax.Array], tuple[jax.Array, jax.Array]], image_size: int, filters: MaskFilter
) -> dict[str, jax.Array]:
    """Segment a batch of images at every point of a grid.

    Args:
      decode: a point [2] -> (logits [B, M, h, w], predicted IoU [B, M]) of all images.
      image_size: side of the images in pixels, which points are of.
      filters: grid and thresholds.

    Returns:
      As `filter_masks`, with a leading [B].
    """
    points = grid_points(filters.points_per_side, image_size)
    logits, iou = jax.lax.map(decode, points, batch_size=min(POINTS_AT_ONCE, len(points)))  # [G, B, M, ...]
    logits, iou = (jnp.moveaxis(x, 0, 1) for x in (logits, iou))
    logits, iou = (x.reshape(len(x), -1, *x.shape[3:]) for x in (logits, iou))  # [B, G M, ...]
    return jax.vmap(lambda logits, iou: filter_masks(logits, iou, filters))(logits, iou)
