"""Percentage of correct keypoints (PCK), those within a share of their object's size, and keypoint similarity (OKS).

Yang & Ramanan, "Articulated human detection with flexible mixtures of parts" (2013). A keypoint is right where

    |predicted - true| <= alpha max(width, height)

of its object's box. Keypoints that are not labeled do not count; hidden ones that are labeled do. COCO's measure of a
pose, from 0 to 1, is the mean over labeled keypoints of

    exp(-d^2 / (2 s^2 k^2))          d: distance, s^2: area of the object, k: twice the keypoint's sigma

and its AP counts a pose as right above thresholds of it (`dlcore.evaluators.coco`).
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.learner import Metric
from dlcore.ops.checks import check_range, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["KeypointAccuracy", "object_keypoint_similarity"]


class KeypointAccuracy(Metric):
    """Right and labeled keypoints, by keypoint.

    Args:
      right: [K] int32.
      labeled: [K] int32.
    """

    right: jax.Array
    labeled: jax.Array

    @classmethod
    def of(cls, predicted: jax.Array, truth: jax.Array, boxes: jax.Array, found: jax.Array, alpha: float = 0.1) -> Self:
        """Count a batch.

        Args:
          predicted: [..., K, 2] (x, y) in pixels.
          truth: [..., K, 3] (x, y, visibility), 0 where a keypoint is not labeled.
          boxes: [..., 4] corners of the objects.
          found: [...] bool; the keypoints of an object that was not found are wrong.
          alpha: share of the longer side of the box.

        Returns:
          The metric.
        """
        check_shapes(alpha=(alpha, "> 0"), found=(found, "..."), boxes=(boxes, "... 4"))
        if predicted.shape[:-1] != truth.shape[:-1] or boxes.shape[:-1] != truth.shape[:-2]:
            raise ValueError(
                f"predicted={predicted.shape}, boxes={boxes.shape}: do not fit; allowed: [..., K, 2] and [..., 4] for "
                f"truth [..., K, 3] of {truth.shape}"
            )
        # Tolerance relative to the box's longer side.
        boxes, target = to_acc_dtype(boxes), to_acc_dtype(truth)[..., :2]
        reach = alpha * (boxes[..., 2:] - boxes[..., :2]).max(-1)
        near = jnp.linalg.norm(to_acc_dtype(predicted) - target, axis=-1) <= reach[..., None]  # [..., K]
        labeled = truth[..., 2] > 0
        axes = tuple(range(labeled.ndim - 1))
        right = (near & labeled & found[..., None]).sum(axes, dtype=jnp.int32)
        return cls(right, labeled.sum(axes, dtype=jnp.int32))

    def compute(self) -> dict[str, Any] | None:
        """Read the shares.

        Returns:
          pck: float, of all labeled keypoints; pck_by_keypoint: [K] float64, NaN for one that is never labeled. None
          where nothing is labeled.
        """
        right, labeled = np.asarray(self.right, np.float64), np.asarray(self.labeled, np.float64)
        if not labeled.any():
            return None
        fractions = np.divide(right, labeled, out=np.full(len(right), np.nan), where=labeled > 0)
        return {"pck": float(right.sum() / labeled.sum()), "pck_by_keypoint": fractions}


def object_keypoint_similarity(
    predicted: jax.Array, target: jax.Array, areas: jax.Array, sigmas: jax.Array
) -> jax.Array:
    """Compute the object keypoint similarity (OKS) of poses.

    Args:
      predicted: [..., K, 2] (x, y) in pixels.
      target: [..., K, 3] (x, y, visibility), 0 where a keypoint is not labeled.
      areas: [...], areas of the true objects in square pixels.
      sigmas: [K], sigmas of the keypoints as fractions of the root of the area, above 0.

    Returns:
      [...] in [0, 1], the mean over labeled keypoints; 0 where none is labeled.
    """
    check_shapes(
        predicted=(predicted, "... K 2"), target=(target, "... K 3"), areas=(areas, "..."), sigmas=(sigmas, "K")
    )
    check_shapes(sigmas=(sigmas, "... > 0"))
    check_range("areas", areas, 0)
    predicted, target, areas, sigmas = map(to_acc_dtype, (predicted, target, areas, sigmas))
    is_labeled = target[..., 2] > 0
    # The addend keeps an area of 0 finite, as in COCO's tools.
    squares = jnp.square(predicted - jnp.where(is_labeled[..., None], target[..., :2], 0)).sum(-1)  # [..., K]
    similarity = jnp.exp(-squares / (2 * (areas[..., None] + np.spacing(1)) * jnp.square(2 * sigmas)))
    return jnp.where(is_labeled, similarity, 0).sum(-1) / jnp.maximum(is_labeled.sum(-1), 1)
