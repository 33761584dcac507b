"""Network in network: perceptrons slid over the map, and an average of each class's map in place of dense layers.

Lin, Chen & Yan, "Network in network" (2013), arXiv:1312.4400: its network for CIFAR, 966,986 parameters for 10 classes.

    mlpconv = conv k x k -> relu -> conv 1x1 -> relu -> conv 1x1 -> relu: one perceptron at every place
    mlpconv 5x5 (192, 160, 96) -> pool -> mlpconv 5x5 (192, 192, 192) -> pool -> mlpconv 3x3 (192, 192, C)
    logit c = the mean of map c                                        global average pooling: no parameters

Poolings take the largest of 3x3 at stride 2, and 32 becomes 16 and 8, with the window that hangs over the edge. The
paper sets initial weights by hand; here they are He normal. The class maps end in a ReLU as in the paper, behind which
classes that start at zero never learn, and most of those that start near it die: so their kernel starts at zero and
their bias at one, which makes the initial loss log C all the same.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.inputs import check_images
from dlcore.nn import Conv, initializers
from dlcore.nn.precision import compute_dtype, logits_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool, max_pool

__all__ = ["MODELS", "MLPConv", "NetworkInNetwork"]


class MLPConv(nn.Module):
    """A perceptron of layers `features`, each with a ReLU, on every patch of `size` x `size` pixels."""

    features: tuple[int, ...]
    kernel_size: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, features[-1]]."""
        conv = functools.partial(Conv, dtype=self.dtype, kernel_init=initializers.kaiming_normal())
        x = nn.relu(conv(self.features[0], (self.kernel_size, self.kernel_size), padding=self.kernel_size // 2, name="conv")(x))
        for i, features in enumerate(self.features[1:]):
            x = nn.relu(conv(features, (1, 1), name=f"mlp_{i}")(x))
        return x


class NetworkInNetwork(nn.Module):
    """The network on [B, H, W, C]; stages stage1 to stage3 with strides 1, 2 and 4.

    stages: layers of each mlpconv; the class maps are the last layer of the last one. sizes: of their patches.
    dropout: after each pooling. remat: recompute each mlpconv in the backward pass.
    `axis_name` is accepted as in every model and unused: there is no batch normalisation.
    """

    num_classes: int = 10
    stages: tuple[tuple[int, ...], ...] = ((192, 160, 96), (192, 192, 192), (192, 192))
    kernel_sizes: tuple[int, ...] = (5, 5, 3)
    dropout: float = 0.5
    dtype: Any = None
    axis_name: str | None = None
    remat: Remat = "none"
    head_init: Any = nn.initializers.zeros

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits [B, num_classes], at least float32; with `train`, values are dropped under the rng "dropout"."""
        return self._forward(x, train)[0]

    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """The map at the end of each stage, before its pooling; the last is what the class maps are made from."""
        return self._forward(x, train)[1]

    @nn.compact
    def _forward(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if len(self.stages) != len(self.kernel_sizes):
            raise ValueError(f"stages is {self.stages} and sizes {self.kernel_sizes}: one size is needed for each stage")
        check_images(self, x, "mlpconv1/conv", smallest=2 ** len(self.stages))
        dtype = compute_dtype(self.dtype, x, self.variables)
        block = remat(MLPConv, self.remat)
        maps = {}
        for i, (features, size) in enumerate(zip(self.stages, self.kernel_sizes, strict=True), 1):
            if i > 1:
                x = max_pool(x, (3, 3), (2, 2), ceil_mode=True)
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = maps[f"stage{i}"] = block(features, size, dtype, name=f"mlpconv{i}")(x)
        head = Conv(
            self.num_classes, (1, 1), dtype=logits_dtype(x.dtype), kernel_init=self.head_init,
            bias_init=initializers.ones, name="head",
        )  # fmt: skip
        return global_avg_pool(nn.relu(head(x))), maps


MODELS = {"nin_cifar": functools.partial(NetworkInNetwork)}
INPUT_SHAPES = {"nin_cifar": (32, 32, 3)}
