"""The small convolutional network of robust MNIST classifiers.

Wong & Kolter 2018, arXiv:1711.00851; also of Wong, Rice & Kolter 2020, arXiv:2001.03994.

    28x28 -> conv 4x4 / 2, 16 -> conv 4x4 / 2, 32 -> 100 -> C                 166,406 parameters (1 channel, 10 classes)

Both convolutions are padded by 1 and halve the sides; ReLU after every layer. The head starts at zero (initial loss
log C), unlike in the original.
"""

import functools

import jax
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_images
from dlcore.nn import Conv, Dense
from dlcore.nn.precision import compute_dtype
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "SmallCNN"]


class SmallCNN(Backbone):
    """Strided convolutions and one hidden layer, on [B, H, W, C]. Stages: stage1 [B, H/2, W/2, .], stage2, ...

    Args:
      widths: output channels of each 4x4 convolution of stride 2.
      hidden: units of the hidden layer.
    """

    num_classes: int = 10
    widths: tuple[int, ...] = (16, 32)
    hidden: int = 100

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(The last map, that after each convolution)."""
        check_images(self, x, "conv1", smallest=2 ** len(self.widths))
        dtype = compute_dtype(self.dtype, x, self.variables)
        init, stages = nn.initializers.he_normal(), {}
        for i, width in enumerate(self.widths, 1):
            x = Conv(width, (4, 4), strides=2, padding=1, dtype=dtype, kernel_init=init, name=f"conv{i}")(x)
            x = stages[f"stage{i}"] = self.perturb(f"stage{i}", nn.relu(x))
        return x, stages

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        dense = Dense(self.hidden, dtype=x.dtype, kernel_init=nn.initializers.he_normal(), name="dense1")
        x = nn.relu(dense(x.reshape(x.shape[0], -1)))
        return self._linear(to_acc_dtype(x))


MODELS = {"small_cnn": functools.partial(SmallCNN)}
INPUT_SHAPES = dict.fromkeys(MODELS, (28, 28, 1))
