"""The small convolutional network of robust MNIST classifiers.

Wong & Kolter 2018, arXiv:1711.00851; also of Wong, Rice & Kolter 2020, arXiv:2001.03994.

    28x28 -> conv 4x4 / 2, 16 -> conv 4x4 / 2, 32 -> 100 -> C                 166,406 parameters (1 channel, 10 classes)

Both convolutions are padded by 1 and halve the sides; ReLU after every layer. The head starts at zero (initial loss
log C), unlike in the original.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.inputs import check_images
from dlcore.nn import Conv, Dense
from dlcore.nn.precision import compute_dtype, logits_dtype

__all__ = ["MODELS", "SmallCNN"]


class SmallCNN(nn.Module):
    """Strided convolutions and one hidden layer, on [B, H, W, C]. Stages: stage1 [B, H/2, W/2, .], stage2, ...

    Args:
      num_classes: number of classes, the length of the logits.
      widths: output channels of each 4x4 convolution of stride 2.
      hidden: units of the hidden layer.
      dtype: what to compute in, such as bfloat16; None: the type that x and the parameters promote to.
      axis_name: unused; every model has this field, and this one has no batch normalization.
      head_init: initializer of the head's kernel; zeros make the initial loss log(num_classes).
    """

    num_classes: int = 10
    widths: tuple[int, ...] = (16, 32)
    hidden: int = 100
    dtype: Any = None
    axis_name: str | None = None
    head_init: Any = nn.initializers.zeros

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify images.

        Args:
          x: [B, H, W, C], images.
          train: unused; nothing differs in training.

        Returns:
          [B, num_classes], the logits, at least float32.
        """
        return self._forward(x)[0]

    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Return the map after each convolution."""
        return self._forward(x)[1]

    @nn.compact
    def _forward(self, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "conv1", smallest=2 ** len(self.widths))
        dtype = compute_dtype(self.dtype, x, self.variables)
        init, stages = nn.initializers.he_normal(), {}
        for i, width in enumerate(self.widths, 1):
            x = Conv(width, (4, 4), strides=2, padding=1, dtype=dtype, kernel_init=init, name=f"conv{i}")(x)
            x = stages[f"stage{i}"] = nn.relu(x)
        x = nn.relu(Dense(self.hidden, dtype=dtype, kernel_init=init, name="dense1")(x.reshape(x.shape[0], -1)))
        head = Dense(self.num_classes, dtype=logits_dtype(x.dtype), kernel_init=self.head_init, name="head")
        return head(x), stages


MODELS = {"small_cnn": functools.partial(SmallCNN)}
INPUT_SHAPES = dict.fromkeys(MODELS, (28, 28, 1))
