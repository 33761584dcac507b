"""Checks of prompts of segmenters: points and boxes in pixels of photographs."""

import numpy as np

from dlcore.ops.checks import check_shapes

__all__ = ["check_boxes", "check_points"]

LABELS = (1, 0, -1, -10)


def check_points(points: np.ndarray, labels: np.ndarray | None, limits: np.ndarray, prefix: str = "") -> None:
    """Refuse points outside their photograph, and labels that do not fit.

    Args:
      points: [B, P, N, 2], x and y in pixels.
      labels: [B, P, N] int, 1 for a point on the object, 0 for one beside it, -1 or -10 for none; None: all are on it.
      limits: [B, 2], width and height of each photograph.
      prefix: text before `points` and `labels` in messages.
    """
    check_shapes(**{f"{prefix}points": (points, "B P N 2"), "limits": (limits, "B 2")})
    shape = points.shape[:-1]
    if labels is not None and (labels.shape != shape or not np.isin(labels, LABELS).all()):
        raise ValueError(
            f"{prefix}labels={labels.tolist()}: do not fit; allowed: of shape {shape}, 1 for a point on the object, 0 "
            "for one beside it, -1 or -10 for none"
        )
    is_point = np.ones(shape, bool) if labels is None else labels >= 0
    outside = ((points < 0) | (points > limits[:, None, None])).any(-1) & is_point
    if outside.any() or not np.isfinite(points).all():
        image, *_ = index = tuple(np.argwhere(outside | ~np.isfinite(points).all(-1))[0])
        width, height = limits[image]
        raise ValueError(
            f"{prefix}points={points[index].tolist()}: outside the photograph; allowed: x from 0 to {width:g}, y from "
            f"0 to {height:g}"
        )


def check_boxes(boxes: np.ndarray, limits: np.ndarray, prefix: str = "") -> None:
    """Refuse boxes that are empty or leave their photograph.

    Args:
      boxes: [B, P, 4], x1, y1, x2, y2 in pixels.
      limits: [B, 2], width and height of each photograph.
      prefix: text before `boxes` in messages.
    """
    check_shapes(**{f"{prefix}boxes": (boxes, "B P 4"), "limits": (limits, "B 2")})
    for image, prompts in enumerate(boxes):
        width, height = limits[image]
        for x1, y1, x2, y2 in prompts:
            if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
                raise ValueError(
                    f"{prefix}boxes=[{x1:g}, {y1:g}, {x2:g}, {y2:g}]: no box of the photograph; allowed: x1 < x2 from "
                    f"0 to {width:g}, y1 < y2 from 0 to {height:g}"
                )
