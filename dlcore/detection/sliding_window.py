"""Sliding window: a classifier looks at every crop of an image.

Dalal & Triggs 2005, "Histograms of oriented gradients for human detection"; CS231n, lecture 11.

    an image of H x W pixels has H (H + 1) / 2 * W (W + 1) / 2 crops: two edges of H + 1 lines, and two of W + 1
    detections = suppress { (crop, class, score) : score of the class > threshold }

Each crop is warped to the classifier's input (`roi_align`), so that the cost is one call a crop: 90,000 for 24 x 24
pixels, 21.7 million for 96 x 96. Windows of a few sizes on a grid of places are the affordable part of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.detection.dense import select, topk_by_class
from dlcore.ops.checks import check_boxes, check_shapes, check_size
from dlcore.ops.roi import roi_align

__all__ = ["all_boxes", "count_boxes", "score_crops", "sliding_window", "window_boxes"]

MOST = 2**24
"""Boxes of one image at most; more take more memory than a machine has to spare."""


def count_boxes(height: int, width: int) -> int:
    """Count the crops of an image.

    Args:
      height: height in pixels.
      width: width in pixels.

    Returns:
      H (H + 1) / 2 * W (W + 1) / 2.
    """
    check_size("height, width", (height, width))
    return height * (height + 1) // 2 * (width * (width + 1) // 2)


def all_boxes(height: int, width: int) -> np.ndarray:
    """List every crop of an image.

    Args:
      As `count_boxes`.

    Returns:
      [N, 4] float32 corners in pixels, N = `count_boxes(height, width)`.
    """
    if count_boxes(height, width) > MOST:
        raise ValueError(
            f"height={height}, width={width}: {count_boxes(height, width):,} crops; allowed: at most {MOST:,}"
        )
    (top, bottom), (left, right) = (np.triu_indices(side + 1, 1) for side in (height, width))
    vertical, horizontal = (g.ravel() for g in np.meshgrid(np.arange(len(top)), np.arange(len(left)), indexing="ij"))
    corners = left[horizontal], top[vertical], right[horizontal], bottom[vertical]
    return np.stack(corners, 1).astype(np.float32)


def window_boxes(size: tuple[int, int], windows: Sequence[tuple[int, int]], stride: int) -> np.ndarray:
    """List windows of some sizes on a grid of places.

    Args:
      size: (height, width) of the image.
      windows: (height, width) of each window; those larger than the image have no place.
      stride: pixels from one place to the next.

    Returns:
      [N, 4] float32 corners in pixels, window by window and row by row.
    """
    check_size("size", size)
    for i, window in enumerate(windows):
        check_size(f"windows[{i}]", window)
    check_whole_number("stride", stride, 1)
    per_size = []
    for height, width in windows:
        y, x = (np.arange(0, side - length + 1, stride) for side, length in zip(size, (height, width), strict=True))
        y, x = (g.ravel() for g in np.meshgrid(y, x, indexing="ij"))
        per_size.append(np.stack([x, y, x + width, y + height], 1))
    boxes = np.concatenate(per_size) if per_size else np.zeros((0, 4))
    if not len(boxes):
        raise ValueError(f"windows={tuple(windows)}: none fits into {size}; allowed: at least one that does")
    return boxes.astype(np.float32)


def score_crops(
    score: Callable[[jax.Array], jax.Array],
    image: jax.Array,
    boxes: jax.Array,
    output_size: tuple[int, int],
    batch_size: int = 1024,
    sampling_ratio: int = 2,
) -> jax.Array:
    """Warp each crop of an image to one size, and score it.

    Args:
      score: crops [B, h, w, C] -> scores [B, K].
      image: [H, W, C] float.
      boxes: [N, 4] corners in pixels.
      output_size: (h, w) of the classifier's input.
      batch_size: B, crops at a time.
      sampling_ratio: sampling points per bin, see `roi_align`; 1 keeps the pixels of a crop that has the output's size.

    Returns:
      [N, K].
    """
    check_shapes(image=(image, "H W C"), boxes=(boxes, "N 4"))
    check_boxes("boxes", boxes)
    check_size("output_size", output_size)
    check_whole_number("batch_size", batch_size, 1)
    check_whole_number("sampling_ratio", sampling_ratio, 1)
    if not len(boxes):
        raise ValueError("boxes: there are none; allowed: at least one")
    count = len(boxes)
    batches = -(-count // batch_size)
    padded = jnp.pad(jnp.asarray(boxes), ((0, batches * batch_size - count), (0, 0))).reshape(batches, batch_size, 4)
    scores = jax.lax.map(
        lambda part: score(roi_align(image, part, output_size, 1.0, sampling_ratio, aligned=True)), padded
    )
    return scores.reshape(batches * batch_size, -1)[:count]


def sliding_window(
    score: Callable[[jax.Array], jax.Array],
    image: jax.Array,
    boxes: jax.Array,
    output_size: tuple[int, int],
    *,
    batch_size: int = 1024,
    sampling_ratio: int = 2,
    topk_candidates: int = 500,
    **thresholds: Any,
) -> dict[str, jax.Array]:
    """Detect objects by a classifier of crops.

    Args:
      score: crops [B, h, w, C] -> scores [B, K] of K classes, without one for the background.
      boxes: [N, 4] corners in pixels, of `all_boxes` or `window_boxes`.
      batch_size: crops at a time.
      sampling_ratio: as for `score_crops`.
      topk_candidates: best crops of each class that go on to suppression.
      **thresholds: arguments of `dlcore.detection.dense.select`.
      As `score_crops`.

    Returns:
      As `dlcore.detection.dense.select`.

    Raises:
      ValueError: see `score_crops`, `dlcore.detection.dense.topk_by_class` and `dlcore.detection.dense.select`.
    """
    scores = score_crops(score, image, boxes, output_size, batch_size, sampling_ratio)
    return select(topk_by_class(scores, jnp.asarray(boxes), topk_candidates), image.shape[:2], **thresholds)
