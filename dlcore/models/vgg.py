"""VGG networks: stacks of 3x3 convolutions between poolings.

Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition" (2014), arXiv:1409.1556.

    stage i:  (conv 3x3, min(2^i, 8) width -> [BN] -> relu) x n_i -> max pool 2x2
    n = 1 1 2 2 2 (VGG-11), 2 2 2 2 2 (13), 2 2 3 3 3 (16), 2 2 4 4 4 (19);   then 7x7 -> 4096 -> 4096 -> C

Sides other than 224 are averaged to 7x7 before the first dense layer, as torchvision does; names are torchvision's. The
`_bn` networks have batch normalization after each convolution.

`vgg9_cifar` is the variant for 32x32 images: four stages of two, with batch normalization, and global average pooling
in place of the hidden layers (662,386 parameters at 3 channels and 10 classes). Features have the names of the style
transfer literature: relu3_1 is the first map of the third stage.

With a `pool_ratio` below 2 each max pooling is fractional (Graham 2014, arXiv:1412.6071): sides shrink by that ratio,
and training draws the borders of the regions for each batch. Use takes one fixed draw; the paper averages several.
"""

import functools
from typing import Annotated, Any

import jax
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import root_key
from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_images
from dlcore.models.torch_weights import Layout
from dlcore.nn import BatchNorm, Conv, Dense
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import adaptive_avg_pool, avg_pool, fractional_max_pool, max_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "VGG", "from_torch"]

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
POOLINGS = {"max": max_pool, "avg": avg_pool}
TORCH_NAMES = ((r"^head\.", "classifier.6."),)
TORCH_LAYOUTS = (
    Layout(
        r"^pre_logits\.fc1\.",
        names=(
            (r"^classifier\.0\.", "pre_logits.fc1."),
            (r"^classifier\.3\.", "pre_logits.fc2."),
            (r"^head\.", "head.fc."),
        ),
    ),
)
"""timm's names."""


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Flatten the kernels of timm's hidden layers, which are convolutions of 7 x 7 and 1 x 1."""
    return value.reshape(len(value), -1).T if len(shape) == 2 and value.ndim == 4 else None


class VGG(Backbone):
    """A VGG on [B, H, W, C], with sides of at least 2^(stages - 1), or 2^stages with hidden layers.

    Args:
      stages: convolutions in each stage.
      width: channels of the first stage; each further one doubles them, up to eight times.
      hidden: units of each of the two dense layers before the head, as published; 0 averages the last map instead,
        and names the convolutions conv1_1, ... in place of torchvision's features_0, ...
      batch_norm: batch norm after each convolution.
      pooling: max, or avg, which Gatys et al. prefer where gradients reach the image; weights serve either.
      dropout: probability of dropping a hidden unit of the dense layers in training.
      pool_ratio: factor by which each max pooling shrinks the sides; below 2 it is fractional, over regions of 2 x 2
        whose places are drawn in training.
    """

    num_classes: int = 10
    stages: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 24
    hidden: int = 0
    batch_norm: bool = True
    pooling: str = "max"
    dropout: float = 0.5
    remat: Remat = "none"
    pool_ratio: Annotated[float, "if changed"] = 2.0

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(The last map, every one after its ReLU, relu1_1, relu1_2, ..., and the last of each stage, stage1, ...)."""
        check_choice("pooling", self.pooling, POOLINGS)
        if not 1 < self.pool_ratio <= 2 or (self.pool_ratio < 2 and self.pooling != "max"):
            raise ValueError(f"pool_ratio={self.pool_ratio}, {self.pooling}: no pooling; allowed: 2, max from above 1")
        published = self.hidden > 0
        first, poolings = ("features_0", len(self.stages)) if published else ("conv1_1", len(self.stages) - 1)
        check_images(self, x, first, smallest=2**poolings)
        dtype = compute_dtype(self.dtype, x, self.variables)
        stage = remat(VGG._stage, self.remat, static_argnums=(2, 3, 4, 5))
        maps, layer = {}, 0
        for i, count in enumerate(self.stages, 1):
            stage_maps = stage(self, x, train, i, layer, dtype)
            maps |= stage_maps
            x = maps[f"stage{i}"] = self.perturb(f"stage{i}", stage_maps[f"relu{i}_{count}"])
            layer += count * (3 if self.batch_norm else 2) + 1
            x = self._pool(x, train, i) if i <= poolings else x
        return x, maps

    def _pool(self, x: jax.Array, train: bool, i: int) -> jax.Array:
        """Shrink the map of stage i."""
        if self.pool_ratio == 2:
            return POOLINGS[self.pooling](x, (2, 2), (2, 2))
        key = self.make_rng("dropout") if train else root_key(i)
        return fractional_max_pool(key, x, self.pool_ratio)

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        if self.hidden == 0:
            return super()._head(x, train)
        x = adaptive_avg_pool(x, 7).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        dense = functools.partial(Dense, self.hidden, dtype=x.dtype, kernel_init=nn.initializers.normal(0.01))
        for name in ("classifier_0", "classifier_3"):
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(dense(name=name)(x)))
        return self._linear(to_acc_dtype(x))

    def _stage(self, x: jax.Array, train: bool, i: int, layer: int, dtype: Any) -> dict[str, jax.Array]:
        """Return the maps of stage i, whose first layer is torchvision's features[layer]."""
        published, maps = self.hidden > 0, {}
        for j in range(1, self.stages[i - 1] + 1):
            conv = Conv(
                self.width * min(2 ** (i - 1), 8),
                (3, 3),
                padding=1,
                use_bias=published,
                dtype=dtype,
                kernel_init=KERNEL_INIT,
                name=f"features_{layer}" if published else f"conv{i}_{j}",
            )
            x = conv(x)
            if self.batch_norm:
                name = f"features_{layer + 1}" if published else f"bn{i}_{j}"
                x = BatchNorm(not train, dtype=dtype, axis_name=self.axis_name, name=name)(x)
            x = maps[f"relu{i}_{j}"] = self.perturb(f"relu{i}_{j}", nn.relu(x))
            layer += 3 if self.batch_norm else 2
        return maps


STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
MODELS = {"vgg9_cifar": functools.partial(VGG)} | {
    f"vgg{depth}{'_bn' if norm else ''}": functools.partial(
        VGG, num_classes=1000, stages=stages, width=64, hidden=4096, batch_norm=norm
    )
    for norm in (False, True)
    for depth, stages in STAGES.items()
}
INPUT_SHAPES = {"vgg9_cifar": (32, 32, 3)}
