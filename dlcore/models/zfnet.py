"""ZFNet: AlexNet with a first layer of smaller kernels and stride, found by looking at what its layers see.

Zeiler & Fergus, "Visualizing and understanding convolutional networks" (2013), arXiv:1311.2901.

    conv 7x7/2 -> pool -> LRN -> conv 5x5/2 -> pool -> LRN -> three conv 3x3 -> pool -> 4096 -> 4096 -> C
    96, 256, 384, 384 and 256 channels; a ReLU after every layer but the last; poolings are 3x3 of stride 2

AlexNet's 11x11 kernels of stride 4 were seen to miss the middle frequencies and to alias. Every convolution sees all
maps before it, unlike those of AlexNet's two towers. Images of 224x224 give maps of 110, 55, 26, 13 and 6, as the paper
draws them, with one pixel of padding in the first convolution and the first two poolings.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.inputs import check_images
from dlcore.nn import Conv, initializers, local_response_norm
from dlcore.nn.precision import compute_dtype, logits_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import adaptive_avg_pool, max_pool

__all__ = ["MODELS", "ZFNet"]

LAYERS = ((7, 2, 1), (5, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1))


class ZFNet(nn.Module):
    """ZFNet on [B, H, W, C], with sides of at least 53.

    widths: channels of the five convolutions. hidden: units of the two dense layers, with dropout after each.
    remat: recompute each layer in the backward pass.
    `axis_name` is accepted as in every model and unused: there is no batch normalisation.
    """

    num_classes: int = 1000
    widths: tuple[int, ...] = (96, 256, 384, 384, 256)
    hidden: int = 4096
    dropout: float = 0.5
    dtype: Any = None
    axis_name: str | None = None
    remat: Remat = "none"
    head_init: Any = nn.initializers.zeros

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits [B, num_classes], at least float32; with `train`, values are dropped under the rng "dropout"."""
        return self._forward(x, train)[0]

    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """The map after each ReLU, relu1 to relu5, and the last after its pooling, pool5."""
        return self._forward(x, train)[1]

    @nn.compact
    def _forward(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "conv1", smallest=53)
        dtype = compute_dtype(self.dtype, x, self.variables)
        layer = remat(ZFNet._convolve, self.remat, static_argnums=(2, 3))
        maps = {}
        for i in range(5):
            maps[f"relu{i + 1}"], x = layer(self, x, i, dtype)
        maps["pool5"] = x
        x = adaptive_avg_pool(x, 6).reshape(x.shape[0], -1)
        dense = functools.partial(nn.Dense, self.hidden, dtype=dtype, kernel_init=initializers.normal(0.01))
        for name in ("fc6", "fc7"):
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(dense(name=name)(x)))
        x = x.astype(logits_dtype(x.dtype))
        return nn.Dense(self.num_classes, dtype=x.dtype, kernel_init=self.head_init, name="head")(x), maps

    def _convolve(self, x: jax.Array, i: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
        """Convolution i: its map after the ReLU, and what the next layer takes."""
        size, stride, padding = LAYERS[i]
        conv = functools.partial(Conv, self.widths[i], (size, size), stride, padding=padding, dtype=dtype)
        found = x = nn.relu(conv(kernel_init=initializers.normal(0.01), name=f"conv{i + 1}")(x))
        if i < 2:
            x = max_pool(x, (3, 3), (2, 2), padding=1)
            x = local_response_norm(x, size=5, alpha=5e-4, beta=0.75, k=2.0)
        return found, max_pool(x, (3, 3), (2, 2)) if i == 4 else x


MODELS = {"zfnet": functools.partial(ZFNet)}
