"""MnasNet: inverted residuals found by a search for accuracy and latency on a phone.

Tan, Chen, Pang, Vasudevan, Sandler, Howard & Le, "MnasNet: platform-aware neural architecture search for mobile"
(2018), arXiv:1807.11626: the network B1, without squeeze-and-excitation.

    F(x) = BN conv1x1(relu BN depthwise(relu BN conv1x1(x)))        t C channels inside, kernels of 3 or 5
    y = x + F(x)                                                    where the stride is 1 and the channels stay

Channels are `width_mult` times the paper's, rounded to multiples of 8, except for the last convolution's 1280. Batch
norm has momentum 0.9997. Names are torchvision's; the head is `head`, not `classifier.1`.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import round_channels
from dlcore.nn import BatchNorm, Conv, Dropout
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "MNASNet", "MnasBlock"]

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
MOMENTUM = 0.9997
TORCH_NAMES = ((r"^head\.", "classifier.1."),)
SETTINGS = (
    (3, 24, 3, 2, 3),
    (3, 40, 5, 2, 3),
    (6, 80, 5, 2, 3),
    (6, 96, 3, 1, 2),
    (6, 192, 5, 2, 4),
    (6, 320, 3, 1, 1),
)


class MnasBlock(CheckedFields):
    """An inverted residual: 1x1, depthwise and linear 1x1, plus x where the shapes agree.

    Args:
      kernel_size: side of the depthwise kernel.
      stride: stride of the depthwise convolution.
      expansion: inner channels as a multiple of the input's.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    expansion: int = 6
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        layer = _layers(self.dtype, self.axis_name, train)
        hidden_channels = self.expansion * x.shape[-1]
        y = nn.relu(layer(x, "layers_", 0, hidden_channels, 1))
        y = nn.relu(layer(y, "layers_", 3, hidden_channels, self.kernel_size, self.stride, hidden_channels))
        y = layer(y, "layers_", 6, self.features, 1)
        return x + y if self.stride == 1 and x.shape[-1] == self.features else y


def _layers(dtype: Any, axis_name: str | None, train: bool) -> Any:
    """Return a convolution named `prefix + index` and the batch norm after it, named by the next index."""

    def layer(x, prefix, index, features, size, stride=1, groups=1):
        conv = Conv(
            features,
            (size, size),
            strides=stride,
            padding=size // 2,
            feature_group_count=groups,
            use_bias=False,
            dtype=dtype,
            kernel_init=KERNEL_INIT,
            name=f"{prefix}{index}",
        )
        return BatchNorm(not train, MOMENTUM, axis_name=axis_name, dtype=dtype, name=f"{prefix}{index + 1}")(conv(x))

    return layer


class MNASNet(Backbone):
    """A MnasNet-B1 on [B, H, W, C]. Stages: stem, stage1 to stage6, last (strides 2 4 8 16 16 32 32 32).

    Args:
      settings: (expansion, channels, kernel, stride, blocks) of each stage.
      width_mult: multiplier of all channels but the last 1280, rounded to multiples of 8 (the paper's alpha).
    """

    num_classes: int = 1000
    settings: tuple[tuple[int, int, int, int, int], ...] = SETTINGS
    width_mult: float = 1.0
    dropout: float = 0.2
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "layers_0", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        layer = _layers(dtype, self.axis_name, train)
        width = round_channels(32 * self.width_mult)
        x = nn.relu(layer(x, "layers_", 0, width, 3, 2))
        x = nn.relu(layer(x, "layers_", 3, width, 3, 1, width))
        x = layer(x, "layers_", 6, round_channels(16 * self.width_mult), 1)
        x = self.perturb("stem", x)
        maps = {"stem": x}
        block = remat(MnasBlock, self.remat, static_argnums=(2,))
        for i, (expansion, channels, size, stride, blocks) in enumerate(self.settings):
            for j in range(blocks):
                x = block(
                    round_channels(channels * self.width_mult),
                    size,
                    stride if j == 0 else 1,
                    expansion,
                    dtype=dtype,
                    axis_name=self.axis_name,
                    name=f"layers_{8 + i}_{j}",
                )(x, train)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        x = maps["last"] = self.perturb("last", nn.relu(layer(x, "layers_", 8 + len(self.settings), 1280, 1)))
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))
        x = Dropout(self.dropout, deterministic=not train)(x)
        return self._linear(x)


MODELS = {
    "mnasnet0_5": functools.partial(MNASNet, width_mult=0.5),
    "mnasnet0_75": functools.partial(MNASNet, width_mult=0.75),
    "mnasnet1_0": functools.partial(MNASNet),
    "mnasnet1_3": functools.partial(MNASNet, width_mult=1.3),
}
