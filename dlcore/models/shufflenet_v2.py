"""ShuffleNetV2: half of the channels pass a block untouched, and a shuffle mixes the halves.

Zhang, Zhou, Lin & Sun, "ShuffleNet: an extremely efficient convolutional neural network for mobile devices" (2017),
arXiv:1707.01083 (the shuffle, after grouped 1x1 convolutions); Ma, Zhang, Zheng & Sun, "ShuffleNet V2: practical
guidelines for efficient CNN architecture design" (2018), arXiv:1807.11164 (this network).

    F(x) = relu BN conv1x1(BN depthwise3x3(relu BN conv1x1(x)))
    unit:  x = [a, b],  y = shuffle([a, F(b)])                                         halves a, b of the channels
    unit of stride 2:   y = shuffle([relu BN conv1x1(BN depthwise3x3(x)), F(x)])       twice the channels
    shuffle in G groups:  channel g n + i of G groups of n goes to i G + g             a G x n table, transposed

Without the shuffle, a half would never meet the other. Names are torchvision's; the head is `head`, not `fc`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.inputs import check_images
from dlcore.nn import BatchNorm, Conv
from dlcore.nn.precision import compute_dtype, logits_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool, max_pool

__all__ = ["MODELS", "ShuffleNetV2", "ShuffleUnit", "channel_shuffle"]

KERNEL_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # torch's default
TORCH_NAMES = ((r"^head\.", "fc."),)


def channel_shuffle(x: jax.Array, groups: int) -> jax.Array:
    """Take the channels of [..., C] from `groups` blocks in turn: channel g n + i goes to i groups + g, n = C / groups.

    Shuffling the result in C / groups gives x again. Raises ValueError where groups does not divide C.
    """
    channels = x.shape[-1]
    if groups < 1 or channels % groups:
        raise ValueError(f"groups is {groups}: it must divide the {channels} channels of x")
    return x.reshape(*x.shape[:-1], groups, channels // groups).swapaxes(-1, -2).reshape(x.shape)


class ShuffleUnit(nn.Module):
    """A unit of the network; `features` is even, and with stride 1 what x has."""

    features: int
    stride: int = 1
    dtype: Any = None
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), features]; ValueError for other features."""
        if self.features % 2 or (self.stride == 1 and x.shape[-1] != self.features):
            raise ValueError(
                f"features is {self.features}: an even number is needed, at stride 1 the {x.shape[-1]} channels of x"
            )
        half = self.features // 2
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT)
        norm = functools.partial(BatchNorm, not train, dtype=self.dtype, axis_name=self.axis_name)

        def depthwise(x: jax.Array, name: str) -> jax.Array:
            channels = x.shape[-1]
            layer = conv(channels, (3, 3), strides=self.stride, padding=1, feature_group_count=channels, name=name)
            return layer(x)

        if self.stride == 1:
            kept, y = jnp.split(x, 2, -1)
        else:
            kept = norm(name="branch1_1")(depthwise(x, "branch1_0"))
            kept, y = nn.relu(norm(name="branch1_3")(conv(half, (1, 1), name="branch1_2")(kept))), x
        y = nn.relu(norm(name="branch2_1")(conv(half, (1, 1), name="branch2_0")(y)))
        y = norm(name="branch2_4")(depthwise(y, "branch2_3"))
        y = nn.relu(norm(name="branch2_6")(conv(half, (1, 1), name="branch2_5")(y)))
        return channel_shuffle(jnp.concatenate([kept, y], -1), 2)


class ShuffleNetV2(nn.Module):
    """A ShuffleNetV2 on [B, H, W, C]. Stages: stem (stride 2), stage2, stage3, stage4 (8, 16, 32), last (32).

    stages: units in each stage, the first of stride 2. widths: channels of each stage. last: those of the last
    convolution; width: those of the stem. remat: recompute each unit in the backward pass. axis_name: where batch
    statistics are averaged under pmap.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (4, 8, 4)
    widths: tuple[int, ...] = (116, 232, 464)
    last_channel: int = 1024
    stem_width: int = 24
    dtype: Any = None
    axis_name: str | None = None
    remat: Remat = "none"
    head_init: Any = nn.initializers.zeros

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits [B, num_classes], at least float32; with `train`, batch statistics are used and updated."""
        return self._forward(x, train)[0]

    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """The map at the end of each stage."""
        return self._forward(x, train)[1]

    @nn.compact
    def _forward(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if len(self.stages) != len(self.widths):
            raise ValueError(f"widths is {self.widths}: one for each of {len(self.stages)} stages is needed")
        check_images(self, x, "conv1_0", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        conv = functools.partial(Conv, use_bias=False, dtype=dtype, kernel_init=KERNEL_INIT)
        norm = functools.partial(BatchNorm, not train, dtype=dtype, axis_name=self.axis_name)
        x = nn.relu(norm(name="conv1_1")(conv(self.stem_width, (3, 3), 2, padding=1, name="conv1_0")(x)))
        maps = {"stem": x}
        x = max_pool(x, (3, 3), (2, 2), padding=1)
        unit = remat(ShuffleUnit, self.remat, static_argnums=(2,))
        for i, (units, features) in enumerate(zip(self.stages, self.widths, strict=True), 2):
            for j in range(units):
                x = unit(
                    features, 2 if j == 0 else 1, dtype=dtype, axis_name=self.axis_name, name=f"stage{i}_{j}"
                )(x, train)  # fmt: skip
            maps[f"stage{i}"] = x
        x = maps["last"] = nn.relu(norm(name="conv5_1")(conv(self.last_channel, (1, 1), name="conv5_0")(x)))
        x = global_avg_pool(x.astype(logits_dtype(x.dtype)))
        return nn.Dense(self.num_classes, dtype=x.dtype, kernel_init=self.head_init, name="head")(x), maps


MODELS = {
    "shufflenet_v2_x0_5": functools.partial(ShuffleNetV2, widths=(48, 96, 192)),
    "shufflenet_v2_x1_0": functools.partial(ShuffleNetV2),
    "shufflenet_v2_x1_5": functools.partial(ShuffleNetV2, widths=(176, 352, 704)),
    "shufflenet_v2_x2_0": functools.partial(ShuffleNetV2, widths=(244, 488, 976), last_channel=2048),
}
