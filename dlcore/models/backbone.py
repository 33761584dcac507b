"""The frame of an image classifier: maps of stages, which detectors and segmenters read, and a head on the last.

    logits = head(x),    x, {stage: map} = stages(image)

A family writes `_stages`, and `_head` where it is not an average over places and a linear layer. Who reads the maps
alone (`method="features"`) makes no parameters of the head.
"""

from typing import Any

import jax
from flax import linen as nn

from dlcore.nn import Conv, Dense
from dlcore.nn.precision import logits_dtype
from dlcore.ops import global_avg_pool

__all__ = ["Backbone"]


class Backbone(nn.Module):
    """An image classifier with stages.

    A family has at least the fields `num_classes` and `head_init`, initializer of the head's kernel.
    """

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify images.

        Args:
          x: [B, H, W, C], images.
          train: use the batch's statistics and update the running ones, and apply dropout, which needs the rng
            "dropout"; otherwise use the running ones.

        Returns:
          [B, num_classes], the logits, at least float32.
        """
        return self._forward(x, train, True)[0]

    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Return the map at the end of each stage; nothing of the head is computed.

        Args:
          x: [B, H, W, C], images.
          train: as in `__call__`.

        Returns:
          {stage: [B, h, w, channels]}, from the image to the head.
        """
        return self._forward(x, train, False)[1]

    @nn.compact
    def _forward(self, x: jax.Array, train: bool, head: bool) -> tuple[jax.Array | None, dict[str, jax.Array]]:
        x, maps = self._stages(x, train)
        return self._head(x, train) if head else None, maps

    def _stages(self, x: jax.Array, train: bool) -> tuple[Any, dict[str, jax.Array]]:
        """(What the head reads, {stage: map}) of images."""
        raise NotImplementedError

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        """Average over places and classify."""
        return self._linear(global_avg_pool(x.astype(logits_dtype(x.dtype))))

    def _class_maps(self, x: jax.Array) -> jax.Array:
        """Classify each place by a 1x1 convolution, and average the rectified maps: a head without a linear layer."""
        maps = Conv(
            self.num_classes,
            (1, 1),
            dtype=logits_dtype(x.dtype),
            kernel_init=self.head_init,
            bias_init=nn.initializers.ones,
            name="head",
        )
        return global_avg_pool(nn.relu(maps(x)))

    def _linear(self, x: jax.Array) -> jax.Array:
        return Dense(self.num_classes, dtype=x.dtype, kernel_init=self.head_init, name="head")(x)
