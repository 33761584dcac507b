"""VGG networks: stacks of 3x3 convolutions between poolings.

Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition" (2014), arXiv:1409.1556;
batch normalisation after each convolution as everybody trains them since.

    stage i:  (conv 3x3, min(2^i, 8) width -> BN -> relu) x n_i -> max pool 2x2;   then average -> C

`vgg9_cifar` is the form for 32x32 images: four stages of two, a global average in place of the hidden layers (662,386
parameters at 3 channels and 10 classes). The features are named as in the literature on style transfer: relu3_1 is the
first map of the third stage.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.inputs import check_images
from dlcore.nn import BatchNorm, Conv
from dlcore.nn.precision import compute_dtype, logits_dtype
from dlcore.ops import avg_pool, global_avg_pool, max_pool

__all__ = ["MODELS", "VGG"]

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
POOLINGS = {"max": max_pool, "avg": avg_pool}


class VGG(nn.Module):
    """A VGG on [B, H, W, C], with sides of at least 2^(stages - 1).

    stages: convolutions in each stage. width: channels of the first; each stage doubles them, up to eight times.
    pooling: max, or avg, which Gatys et al. prefer where gradients run back to the image; weights serve either.
    axis_name: where batch statistics are averaged under pmap.
    """

    num_classes: int = 10
    stages: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 24
    pooling: str = "max"
    dtype: Any = None
    axis_name: str | None = None
    head_init: Any = nn.initializers.zeros

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits [B, num_classes], at least float32; with `train`, batch statistics are used and updated."""
        return self._forward(x, train)[0]

    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Every map after its relu, as relu1_1, relu1_2, ..., and the last of each stage as stage1, ..."""
        return self._forward(x, train)[1]

    @nn.compact
    def _forward(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is {self.pooling!r}: {', '.join(POOLINGS)} are allowed")
        check_images(self, x, "conv1_1", smallest=2 ** (len(self.stages) - 1))
        dtype = compute_dtype(self.dtype, x, self.variables)
        conv = functools.partial(
            Conv, kernel_size=(3, 3), padding=1, use_bias=False, dtype=dtype, kernel_init=KERNEL_INIT
        )
        norm = functools.partial(BatchNorm, not train, dtype=dtype, axis_name=self.axis_name)
        maps = {}
        for i, count in enumerate(self.stages, 1):
            if i > 1:
                x = POOLINGS[self.pooling](x, (2, 2), (2, 2))
            for j in range(1, count + 1):
                x = conv(self.width * min(2 ** (i - 1), 8), name=f"conv{i}_{j}")(x)
                x = maps[f"relu{i}_{j}"] = nn.relu(norm(name=f"bn{i}_{j}")(x))
            maps[f"stage{i}"] = x
        x = global_avg_pool(x.astype(logits_dtype(x.dtype)))
        return nn.Dense(self.num_classes, dtype=x.dtype, kernel_init=self.head_init, name="head")(x), maps


MODELS = {"vgg9_cifar": functools.partial(VGG)}
INPUT_SHAPES = {"vgg9_cifar": (32, 32, 3)}
