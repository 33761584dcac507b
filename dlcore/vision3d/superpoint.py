"""SuperPoint: keypoints of an image and a descriptor of each, by one convolutional network.

DeTone, Malisiewicz & Rabinovich, "SuperPoint: self-supervised interest point detection and description" (2018),
arXiv:1712.07629.

    f = encoder(x)                                          a cell of f is 8x8 pixels
    score = softmax(conv1x1(relu(conv3x3 f)))               65 classes: one of a cell's 64 pixels, or none
    keypoints = local maxima of score above a threshold
    descriptor(p) = normalize(interpolate(normalize(conv1x1(relu(conv3x3 f))), p))

Weights are those of transformers' SuperPointForKeypointDetection (`magic-leap-community/superpoint`).
"""

import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.nn import Conv
from dlcore.ops.checks import check_shapes
from dlcore.ops.grid_sample import grid_sample
from dlcore.ops.l2_normalize import l2_normalize
from dlcore.ops.pooling import max_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["SuperPoint", "local_maxima"]

CELL = 8
"""Side in pixels of a cell of the encoder's map."""


def local_maxima(scores: jax.Array, radius: int) -> jax.Array:
    """Keep the scores that are the largest of their window, and set the others to 0.

    Two more rounds find maxima among the pixels that no maximum's window covers.

    Args:
      scores: [B, H, W].
      radius: pixels on each side of a window's center.

    Returns:
      [B, H, W].
    """
    check_shapes(scores=(scores, "B H W"))

    def pool(x: jax.Array) -> jax.Array:
        return max_pool(x[..., None], (2 * radius + 1,) * 2, (1, 1), "SAME")[..., 0]

    is_maximum = scores == pool(scores)
    for _ in range(2):
        covered = pool(is_maximum.astype(scores.dtype)) > 0
        rest = jnp.where(covered, 0, scores)
        is_maximum |= (rest == pool(rest)) & ~covered
    return jnp.where(is_maximum, scores, 0)


class SuperPoint(CheckedFields):
    """Keypoints and descriptors of [B, H, W, C] in [0, 1], whose first channel is read; sides are multiples of 8.

    Args:
      widths: channels of the encoder's four blocks.
      head_features: channels of the hidden layer of both heads.
      descriptor_features: D, channels of a descriptor.
      threshold: least score of a keypoint.
      max_keypoints: most keypoints of an image, those of the largest scores; None for all.
      radius: of the windows in which a keypoint is the maximum, in pixels.
      border: pixels along the upper and the left edge without keypoints.
    """

    widths: tuple[int, ...] = (64, 64, 128, 128)
    head_features: Annotated[int, Range(1)] = 256
    descriptor_features: Annotated[int, Range(1)] = 256
    threshold: Annotated[float, Range(0)] = 0.005
    max_keypoints: Annotated[int, Range(1)] | None = None
    radius: Annotated[int, Range(0)] = 4
    border: Annotated[int, Range(0)] = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Find keypoints.

        Args:
          x: [B, H, W, C], images.
          train: accepted as by other networks; nothing differs.

        Returns:
          keypoints [B, K, 2], (x, y) in pixels, scores [B, K], descriptors [B, K, D] and mask [B, K], True where there
          is a keypoint, these first. They are sorted by score where there are more than max_keypoints, else by rows. K
          is max_keypoints; None: as many as fit beside each other.
        """
        x = x[..., :1]
        for i, width in enumerate(self.widths):
            for layer in "ab":
                name = f"encoder_conv_blocks_{i}_conv_{layer}"
                x = nn.relu(Conv(width, (3, 3), padding=1, dtype=self.dtype, name=name)(x))
            if i < len(self.widths) - 1:
                x = max_pool(x, (2, 2), (2, 2))
        # Scores: [B, h, w, 64 + 1] -> [B, H, W].
        cells = to_acc_dtype(self._head(x, CELL**2 + 1, "score", "keypoint"))
        cells = nn.softmax(cells)[..., :-1]
        size = (len(x), *x.shape[1:3], CELL, CELL)
        scores = cells.reshape(size).swapaxes(2, 3).reshape(len(x), CELL * x.shape[1], CELL * x.shape[2])
        keypoints, scores, mask = self._select(local_maxima(scores, self.radius))
        # Descriptors at the keypoints.
        maps = l2_normalize(to_acc_dtype(self._head(x, self.descriptor_features, "descriptor", "descriptor")))
        extent = CELL * jnp.array([x.shape[2], x.shape[1]]) - CELL / 2 - 0.5
        grid = 2 * (keypoints - CELL / 2 + 0.5) / extent - 1
        descriptors = l2_normalize(grid_sample(maps, grid[:, None], align_corners=True)[:, 0])
        descriptors *= mask[..., None]
        return {"keypoints": keypoints, "scores": scores, "descriptors": descriptors, "mask": mask}

    def _head(self, x: jax.Array, features: int, kind: str, prefix: str) -> jax.Array:
        name = f"{prefix}_decoder_conv_{kind}"
        hidden = Conv(self.head_features, (3, 3), padding=1, dtype=self.dtype, name=f"{name}_a")(x)
        return Conv(features, (1, 1), dtype=self.dtype, name=f"{name}_b")(nn.relu(hidden))

    def _select(self, scores: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(Keypoints [B, K, 2] in pixels, their scores [B, K], mask [B, K]) of the local maxima [B, H, W]."""
        batch, height, width = scores.shape
        # transformers compares with eight times the image's size, so that the lower and the right edge have no border.
        inside = (jnp.arange(height)[:, None] >= self.border) & (jnp.arange(width) >= self.border)
        flat = jnp.where(inside & (scores > self.threshold), scores, -1.0).reshape(batch, -1)
        fit = math.prod(-(-side // (self.radius + 1)) for side in (height, width))
        capacity = min(height * width, fit if self.max_keypoints is None else self.max_keypoints)
        scores, index = jax.lax.top_k(flat, capacity)
        # Rows of the image order keypoints, unless some were left out.
        in_rows = jnp.argsort(jnp.where(scores > 0, index, flat.shape[1]), -1)
        all_of_them = (flat > 0).sum(-1, keepdims=True) <= capacity
        order = jnp.where(all_of_them, in_rows, jnp.arange(capacity))
        scores, index = (jnp.take_along_axis(value, order, -1) for value in (scores, index))
        mask = scores > 0
        keypoints = jnp.stack([index % width, index // width], -1).astype(scores.dtype) * mask[..., None]
        return keypoints, scores * mask, mask


TORCH_NAMES = ((r"^encoder_conv_blocks\.(\d+)_", r"encoder.conv_blocks.\1."), (r"_decoder_conv", "_decoder.conv"))
