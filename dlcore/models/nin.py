"""Network in network: MLPs slid over the map, and an average of each class's map in place of dense layers.

Lin, Chen & Yan, "Network in network" (2013), arXiv:1312.4400: its network for CIFAR, 966,986 parameters for 10 classes.

    mlpconv = conv k x k -> relu -> conv 1x1 -> relu -> conv 1x1 -> relu: one MLP at every pixel
    mlpconv 5x5 (192, 160, 96) -> pool -> mlpconv 5x5 (192, 192, 192) -> pool -> mlpconv 3x3 (192, 192, C)
    logit c = the mean of map c                                        global average pooling: no parameters

Poolings are 3x3 maxima of stride 2, including the window that overlaps the edge, so 32 becomes 16 and 8. The paper sets
initial weights by hand; here they are He normal. The class maps end in a ReLU as in the paper, so classes that start at
zero never learn and most of those that start near zero die: their kernel starts at zero and their bias at one, which
also makes the initial loss log C.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import Conv, initializers
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import max_pool

__all__ = ["MODELS", "MLPConv", "NetworkInNetwork"]


class MLPConv(CheckedFields):
    """A perceptron, with a ReLU after each layer, on every patch of the map.

    Args:
      features: units of each layer.
      kernel_size: side in pixels of a patch.
    """

    features: tuple[int, ...]
    kernel_size: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the layers.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, features[-1]].
        """
        conv = functools.partial(Conv, dtype=self.dtype, kernel_init=initializers.kaiming_normal())
        x = nn.relu(
            conv(self.features[0], (self.kernel_size, self.kernel_size), padding=self.kernel_size // 2, name="conv")(x)
        )
        for i, features in enumerate(self.features[1:]):
            x = nn.relu(conv(features, (1, 1), name=f"mlp_{i}")(x))
        return x


class NetworkInNetwork(Backbone):
    """Network in network on [B, H, W, C]. Stages stage1 to stage3, of strides 1, 2 and 4.

    Args:
      stages: units of each layer of each mlpconv; the class maps follow as the last layer of the last one.
      kernel_sizes: side in pixels of the patches of each stage.
      dropout: probability of dropping a value after each pooling in training.
      remat: recomputation of each mlpconv in the backward pass, to save memory: none, products, weights or full.
    """

    num_classes: int = 10
    stages: tuple[tuple[int, ...], ...] = ((192, 160, 96), (192, 192, 192), (192, 192))
    kernel_sizes: tuple[int, ...] = (5, 5, 3)
    dropout: float = 0.5
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(The last map, that at the end of each stage before its pooling)."""
        if len(self.stages) != len(self.kernel_sizes):
            raise ValueError(f"kernel_sizes={self.kernel_sizes}: wrong length; allowed: {len(self.stages)}")
        check_images(self, x, "mlpconv1/conv", smallest=2 ** len(self.stages))
        dtype = compute_dtype(self.dtype, x, self.variables)
        block = remat(MLPConv, self.remat)
        maps = {}
        for i, (features, size) in enumerate(zip(self.stages, self.kernel_sizes, strict=True), 1):
            if i > 1:
                x = max_pool(x, (3, 3), (2, 2), ceil_mode=True)
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = maps[f"stage{i}"] = self.perturb(f"stage{i}", block(features, size, dtype, name=f"mlpconv{i}")(x))
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        return self._class_maps(x)


MODELS = {"nin_cifar": functools.partial(NetworkInNetwork)}
INPUT_SHAPES = {"nin_cifar": (32, 32, 3)}
