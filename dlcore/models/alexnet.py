"""AlexNet: five convolutions and three dense layers, with ReLUs, max pooling and dropout.

Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural networks" (2012); one tower as
in Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (2014), arXiv:1404.5997.

    conv 11x11/4 -> [LRN] -> pool -> conv 5x5 -> [LRN] -> pool -> three conv 3x3 -> pool -> 4096 -> 4096 -> C
    a ReLU after every layer but the last; poolings are 3x3 of stride 2, which overlap

`alexnet` is torchvision's, one tower of 64, 192, 384, 256 and 256 channels without local response normalization.
`alexnet_two_tower` is the network of 2012 with 96, 256, 384, 384 and 256: each of two GPUs held half of the channels,
and only the third convolution and the dense layers saw both halves, so the second, fourth and fifth are convolutions in
two groups. Its images are 227x227, which an 11x11 kernel of stride 4 takes to the paper's 55x55; the paper's 224x224 do
not give that. The paper crops its training images at random from 256x256 ones, flips them, and shifts their colors
along the principal components of the pixels.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_images
from dlcore.nn import Conv, Dense, initializers, local_response_norm
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import adaptive_avg_pool, max_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "AlexNet"]

TORCH_NAMES = ((r"^head\.", "classifier.6."),)
KERNELS, CONVOLUTIONS, POOLED = (11, 5, 3, 3, 3), (0, 3, 6, 8, 10), (0, 1, 4)


class AlexNet(Backbone):
    """AlexNet on [B, H, W, C], with sides of at least 63, or 67 for two towers.

    Args:
      widths: channels of the five convolutions.
      towers: 1, or 2 for the network of 2012: the second, fourth and fifth convolution in two groups, local response
        normalization, an unpadded image, and that paper's initial values.
      hidden: units of each of the two hidden dense layers.
      dropout: probability of dropping a unit of the dense layers in training.
      remat: recomputation of each convolution in the backward pass, to save memory: none, products, weights or full.
    """

    num_classes: int = 1000
    widths: tuple[int, int, int, int, int] = (64, 192, 384, 256, 256)
    towers: int = 1
    hidden: int = 4096
    dropout: float = 0.5
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(The last map, that after each ReLU, relu1 to relu5, and the last after its pooling, pool5)."""
        if self.towers not in (1, 2):
            raise ValueError(f"towers={self.towers}: no such network; allowed: 1, 2")
        check_images(self, x, "features_0", smallest=63 if self.towers == 1 else 67)
        dtype = compute_dtype(self.dtype, x, self.variables)
        layer = remat(AlexNet._convolve, self.remat, static_argnums=(2, 3))
        maps = {}
        for i in range(5):
            maps[f"relu{i + 1}"], x = layer(self, x, i, dtype)
        x = maps["pool5"] = self.perturb("pool5", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = adaptive_avg_pool(x, 6).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        dropout = functools.partial(nn.Dropout, self.dropout, deterministic=not train)
        for name in ("classifier_1", "classifier_4"):
            x = dropout()(x) if self.towers == 1 else x
            x = nn.relu(Dense(self.hidden, dtype=x.dtype, name=name, **self._inits(x.shape[-1], 1.0))(x))
            x = dropout()(x) if self.towers == 2 else x
        x = to_acc_dtype(x)
        return self._linear(x)

    def _convolve(self, x: jax.Array, i: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
        """Return the map of convolution i after its ReLU, and the input of the next layer."""
        groups, size = self.towers if i in (1, 3, 4) else 1, KERNELS[i]
        padding = size // 2 if i else (2 if self.towers == 1 else 0)
        conv = Conv(
            self.widths[i],
            (size, size),
            1 if i else 4,
            padding=padding,
            feature_group_count=groups,
            dtype=dtype,
            name=f"features_{CONVOLUTIONS[i]}",
            **self._inits(size**2 * x.shape[-1] // groups, float(i in (1, 3, 4))),
        )
        rectified = x = self.perturb(f"relu{i + 1}", nn.relu(conv(x)))
        if self.towers == 2 and i < 2:
            x = local_response_norm(x, size=5, alpha=5e-4, beta=0.75, k=2.0)
        return rectified, max_pool(x, (3, 3), (2, 2)) if i in POOLED else x

    def _inits(self, inputs: int, bias: float) -> dict[str, Any]:
        """Return a layer's initializers: torch's for one tower; for two, 0.01 randn and biases of `bias`."""
        if self.towers == 1:
            return {"kernel_init": initializers.torch_default(), "bias_init": initializers.uniform(inputs**-0.5)}
        return {"kernel_init": initializers.normal(0.01), "bias_init": initializers.constant(bias)}


MODELS = {
    "alexnet": functools.partial(AlexNet),
    "alexnet_two_tower": functools.partial(AlexNet, widths=(96, 256, 384, 384, 256), towers=2),
}
INPUT_SHAPES = {"alexnet_two_tower": (227, 227, 3)}
