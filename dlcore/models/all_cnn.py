"""The all-convolutional network: strides in place of pooling.

Springenberg, Dosovitskiy, Brox & Riedmiller, "Striving for simplicity: the all convolutional net" (2014),
arXiv:1412.6806: All-CNN-C for CIFAR, 1,369,738 parameters for 10 classes.

    (conv 3x3, 96) x 2, conv 3x3/2, 96, (conv 3x3, 192) x 2, conv 3x3/2, 192, conv 3x3, 192, conv 1x1, 192, conv 1x1, C
    a ReLU after each; logit c = the mean of map c

The last 3x3 convolution is not padded, which makes the paper's 6x6 maps of 32x32 images. Initial values are He normal;
the class maps, which end in a ReLU, start at one everywhere (see `dlcore.models.nin`).
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_images
from dlcore.nn import Conv, initializers
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat

__all__ = ["MODELS", "AllCNN"]

STAGES = (((3, 1, 1), (3, 1, 1)), ((3, 2, 1), (3, 1, 1), (3, 1, 1)), ((3, 2, 1), (3, 1, 0), (1, 1, 0)))
"""(kernel, stride, padding) of the convolutions of each stage."""


class AllCNN(Backbone):
    """All-CNN-C on [B, H, W, C], with sides of at least 9. Stages stage1 to stage3, of strides 1, 2 and 4.

    Args:
      width: channels of the first three convolutions; the others have twice as many.
      dropout: probability of dropping a value after each convolution of stride 2.
      input_dropout: probability of dropping a value of the image.
    """

    num_classes: int = 10
    width: int = 96
    dropout: float = 0.5
    input_dropout: float = 0.2
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "conv1", smallest=9)
        dtype = compute_dtype(self.dtype, x, self.variables)
        stage = remat(AllCNN._stage, self.remat, static_argnums=(2, 3, 4))
        x, maps = nn.Dropout(self.input_dropout, deterministic=not train)(x), {}
        for i in range(len(STAGES)):
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", stage(self, x, train, i, dtype))
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        return self._class_maps(x)

    def _stage(self, x: jax.Array, train: bool, i: int, dtype: Any) -> jax.Array:
        first = 1 + sum(map(len, STAGES[:i]))
        for number, (size, stride, padding) in enumerate(STAGES[i], first):
            conv = Conv(
                self.width if number <= 3 else 2 * self.width,
                (size, size),
                stride,
                padding=padding,
                dtype=dtype,
                kernel_init=initializers.kaiming_normal(),
                name=f"conv{number}",
            )
            x = nn.relu(conv(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x) if stride == 2 else x
        return x


MODELS = {"all_cnn_c": functools.partial(AllCNN)}
INPUT_SHAPES = {"all_cnn_c": (32, 32, 3)}
