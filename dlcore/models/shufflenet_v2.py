"""ShuffleNetV2: half of the channels skip each block, and a shuffle mixes the halves.

Zhang, Zhou, Lin & Sun, "ShuffleNet: an extremely efficient convolutional neural network for mobile devices" (2017),
arXiv:1707.01083 (the shuffle, after grouped 1x1 convolutions); Ma, Zhang, Zheng & Sun, "ShuffleNet V2: practical
guidelines for efficient CNN architecture design" (2018), arXiv:1807.11164 (this network).

    F(x) = relu BN conv1x1(BN depthwise3x3(relu BN conv1x1(x)))
    unit:  x = [a, b],  y = shuffle([a, F(b)])                                         halves a, b of the channels
    unit of stride 2:   y = shuffle([relu BN conv1x1(BN depthwise3x3(x)), F(x)])       twice the channels
    shuffle in G groups:  channel g n + i of G groups of n goes to i G + g             a G x n table, transposed

Without the shuffle the halves would never mix. Names are torchvision's; the head is `head`, not `fc`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import BatchNorm, Conv
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import max_pool
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "ShuffleNetV2", "ShuffleUnit", "channel_shuffle"]

KERNEL_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # torch's default
TORCH_NAMES = ((r"^head\.", "fc."),)


def channel_shuffle(x: jax.Array, groups: int) -> jax.Array:
    """Take the channels of each of `groups` groups in turn.

    Args:
      x: [..., C].
      groups: number of groups, a divisor of C.

    Returns:
      [..., C]: channel g n + i of x, n = C / groups, is channel i groups + g. Shuffling it in C / groups gives x
      again.
    """
    channels = x.shape[-1]
    check_whole_number("groups", groups)
    if groups < 1 or channels % groups:
        raise ValueError(f"groups={groups}: unequal groups; allowed: divisors of the {channels} channels of x")
    return x.reshape(*x.shape[:-1], groups, channels // groups).swapaxes(-1, -2).reshape(x.shape)


class ShuffleUnit(CheckedFields):
    """A unit of the network: half of the channels (or, at stride 2, all) are convolved, then all are shuffled.

    Args:
      features: output channels, an even number; at stride 1 those of x.
      stride: stride of the depthwise convolutions, 1 or 2.
    """

    features: int
    stride: int = 1
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the unit.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        if self.features % 2 or (self.stride == 1 and x.shape[-1] != self.features):
            raise ValueError(f"features={self.features}: the halves do not fit x; allowed: even, or {x.shape[-1]}")
        half = self.features // 2
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT)
        norm = functools.partial(BatchNorm, not train, dtype=self.dtype, axis_name=self.axis_name)

        def depthwise(x: jax.Array, name: str) -> jax.Array:
            channels = x.shape[-1]
            layer = conv(channels, (3, 3), strides=self.stride, padding=1, feature_group_count=channels, name=name)
            return layer(x)

        if self.stride == 1:
            shortcut, y = jnp.split(x, 2, -1)
        else:
            shortcut = norm(name="branch1_1")(depthwise(x, "branch1_0"))
            shortcut, y = nn.relu(norm(name="branch1_3")(conv(half, (1, 1), name="branch1_2")(shortcut))), x
        y = nn.relu(norm(name="branch2_1")(conv(half, (1, 1), name="branch2_0")(y)))
        y = norm(name="branch2_4")(depthwise(y, "branch2_3"))
        y = nn.relu(norm(name="branch2_6")(conv(half, (1, 1), name="branch2_5")(y)))
        return channel_shuffle(jnp.concatenate([shortcut, y], -1), 2)


class ShuffleNetV2(Backbone):
    """A ShuffleNetV2 on [B, H, W, C]. Stages: stem, stage2, stage3, stage4, last (strides 2, 8, 16, 32, 32).

    Args:
      stages: units in each stage, the first of stride 2.
      last_channel: channels of the last convolution.
      stem_width: channels of the stem.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (4, 8, 4)
    widths: tuple[int, ...] = (116, 232, 464)
    last_channel: int = 1024
    stem_width: int = 24
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if len(self.stages) != len(self.widths):
            raise ValueError(f"widths={self.widths}: wrong length; allowed: one for each of {len(self.stages)} stages")
        check_images(self, x, "conv1_0", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        conv = functools.partial(Conv, use_bias=False, dtype=dtype, kernel_init=KERNEL_INIT)
        norm = functools.partial(BatchNorm, not train, dtype=dtype, axis_name=self.axis_name)
        x = nn.relu(norm(name="conv1_1")(conv(self.stem_width, (3, 3), 2, padding=1, name="conv1_0")(x)))
        x = self.perturb("stem", x)
        maps = {"stem": x}
        x = max_pool(x, (3, 3), (2, 2), padding=1)
        unit = remat(ShuffleUnit, self.remat, static_argnums=(2,))
        for i, (units, features) in enumerate(zip(self.stages, self.widths, strict=True), 2):
            for j in range(units):
                x = unit(features, 2 if j == 0 else 1, dtype=dtype, axis_name=self.axis_name, name=f"stage{i}_{j}")(
                    x, train
                )
            x = maps[f"stage{i}"] = self.perturb(f"stage{i}", x)
        x = nn.relu(norm(name="conv5_1")(conv(self.last_channel, (1, 1), name="conv5_0")(x)))
        x = maps["last"] = self.perturb("last", x)
        return x, maps


MODELS = {
    "shufflenet_v2_x0_5": functools.partial(ShuffleNetV2, widths=(48, 96, 192)),
    "shufflenet_v2_x1_0": functools.partial(ShuffleNetV2),
    "shufflenet_v2_x1_5": functools.partial(ShuffleNetV2, widths=(176, 352, 704)),
    "shufflenet_v2_x2_0": functools.partial(ShuffleNetV2, widths=(244, 488, 976), last_channel=2048),
}
