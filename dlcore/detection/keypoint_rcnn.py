"""Keypoints of each region: Faster R-CNN with a head that picks, for each keypoint, one of 56 x 56 positions.

He, Gkioxari, Dollar & Girshick, "Mask R-CNN" (2017), arXiv:1703.06870, section 5.

    L = L_faster_rcnn + mean over the visible keypoints k of positives r of CE(m_r[k], position of k in r)

A mask is one-hot: a softmax over its positions, not a sigmoid of each. Head, targets and the reading of the maps equal
those of torchvision's `keypointrcnn_resnet50_fpn`.
"""

from typing import Annotated, Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.learner import Range
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.nn import Conv, ConvTranspose
from dlcore.ops.checks import check_boxes, check_finite, check_indices, check_shapes
from dlcore.ops.mask_paste import heatmaps_to_keypoints
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.resize import resize

__all__ = ["KeypointHead", "image_losses", "keypoint_targets", "read_keypoints"]


class KeypointHead(nn.Module):
    """Eight convolutions on a crop of 14 x 14, a transposed one and a bilinear resize, which double its sides each.

    Args:
      num_keypoints: K.
      channels: number of channels of the convolutions.
      num_convs: convolutions before the transposed one.
    """

    num_keypoints: int
    channels: Annotated[int, Range(1)] = 512
    num_convs: Annotated[int, Range(0)] = 8
    dtype: Any = None

    @nn.compact
    def __call__(self, crops: jax.Array) -> jax.Array:
        """Predict the maps of every crop: [B, R, h, w, C] -> [B, R, 4 h, 4 w, K] logits, at least float32."""
        x = crops.reshape(-1, *crops.shape[2:])
        init = nn.initializers.he_normal()
        for i in range(self.num_convs):
            name = f"conv{i}"
            x = nn.relu(Conv(self.channels, (3, 3), padding=1, dtype=self.dtype, kernel_init=init, name=name)(x))
        x = ConvTranspose(self.num_keypoints, (4, 4), 2, padding=1, dtype=self.dtype, name="kps_score_lowres")(x)
        x = resize(to_acc_dtype(x), (2 * x.shape[1], 2 * x.shape[2]), "bilinear")
        return x.reshape(*crops.shape[:2], *x.shape[1:])


def keypoint_targets(keypoints: jax.Array, boxes: jax.Array, size: int = 56) -> tuple[jax.Array, jax.Array]:
    """Find the position of each keypoint in the map of its proposal.

    Args:
      keypoints: [R, K, 3] (x, y, visibility), pixels.
      boxes: [R, 4] pixels, the proposals.
      size: side of a map.

    Returns:
      (position [R, K] int32, row * size + column; whether it has a loss, [R, K] bool: labeled and inside the proposal).
    """
    check_shapes(keypoints=(keypoints, "R K 3"), boxes=(boxes, "R 4"))
    if not isinstance(keypoints, jax.core.Tracer):
        check_finite("keypoints", np.where((keypoints[..., 2:] == 0) & (np.arange(3) < 2), 0, keypoints))
    check_boxes("boxes", boxes)
    check_whole_number("size", size, 1)
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    sides = high - low
    at = jnp.floor((keypoints[..., :2] - low) * (size / jnp.where(sides > 0, sides, 1)))
    at = jnp.where(keypoints[..., :2] == high, size - 1, at)
    visible = ((at >= 0) & (at < size)).all(-1) & (sides > 0).all(-1) & (keypoints[..., 2] > 0)
    at = jnp.where(visible[..., None], at, 0).astype(jnp.int32)
    return at[..., 1] * size + at[..., 0], visible


def image_losses(
    logits: jax.Array, positions: jax.Array, counted: jax.Array, positive: jax.Array
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Sum the loss of the keypoint head over the proposals of one image that are on an object.

    Args:
      logits: [R, h, w, K].
      positions: [R, K] int, of `keypoint_targets`.
      counted: [R, K] bool, of `keypoint_targets`.
      positive: [R] bool, which proposals are on an object.

    Returns:
      {"keypoint": (sum over keypoints, their number)}.
    """
    check_shapes(
        logits=(logits, "R h w K"),
        positions=(positions, "int R K"),
        counted=(counted, "mask R K"),
        positive=(positive, "mask R"),
    )
    check_indices("positions", positions, logits.shape[1] * logits.shape[2], "pixels")
    maps = jnp.moveaxis(logits, -1, 1).reshape(*positions.shape, -1)  # [R, K, S S]
    weights = counted & positive[:, None]  # [R, K]
    entropy = softmax_cross_entropy_loss(maps, positions)  # [R, K]
    return {"keypoint": (jnp.where(weights, entropy, 0).sum(), weights.sum(dtype=jnp.int32))}


def read_keypoints(maps: jax.Array, boxes: jax.Array, size: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Read the keypoints of one image: resize each map to the pixels of its box, and take the highest.

    Args:
      maps: [R, h, w, K] logits.
      boxes: [R, 4] pixels.
      size: (height, width) of the image; a box is no larger.

    Returns:
      (keypoints [R, K, 3] (x, y, 1) in pixels, their scores [R, K], the highest logits).

    Raises:
      ValueError: the shapes do not fit together, a box is flipped or not finite, or a logit is not finite.
    """

    points, scores = heatmaps_to_keypoints(jnp.moveaxis(maps, -1, 1), boxes, size)
    return jnp.concatenate([points, jnp.ones_like(points[..., :1])], -1), scores
