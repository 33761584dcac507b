"""ZFNet: AlexNet with a smaller first kernel and stride, chosen by visualizing its layers.

Zeiler & Fergus, "Visualizing and understanding convolutional networks" (2013), arXiv:1311.2901.

    conv 7x7/2 -> pool -> LRN -> conv 5x5/2 -> pool -> LRN -> three conv 3x3 -> pool -> 4096 -> 4096 -> C
    96, 256, 384, 384 and 256 channels; a ReLU after every layer but the last; poolings are 3x3 of stride 2

The paper observes that AlexNet's 11x11 kernels of stride 4 miss the middle frequencies and alias. Every convolution
sees all maps before it, unlike in AlexNet's two towers. Images of 224x224 give the paper's maps of 110, 55, 26, 13 and
6, with one pixel of padding in the first convolution and the first two poolings.
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

__all__ = ["MODELS", "ZFNet"]

LAYERS = ((7, 2, 1), (5, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1))


class ZFNet(Backbone):
    """ZFNet on [B, H, W, C], with sides of at least 53.

    Args:
      widths: channels of the five convolutions.
      hidden: units of each of the two hidden dense layers.
      dropout: probability of dropping a unit of the hidden dense layers in training.
      remat: recomputation of each convolution in the backward pass, to save memory: none, products, weights or full.
    """

    num_classes: int = 1000
    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    hidden: int = 4096
    dropout: float = 0.5
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(The last map, that after each ReLU, relu1 to relu5, and the last after its pooling, pool5)."""
        check_images(self, x, "conv1", smallest=53)
        dtype = compute_dtype(self.dtype, x, self.variables)
        layer = remat(ZFNet._convolve, self.remat, static_argnums=(2, 3))
        maps = {}
        for i in range(5):
            maps[f"relu{i + 1}"], x = layer(self, x, i, dtype)
        x = maps["pool5"] = self.perturb("pool5", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = adaptive_avg_pool(x, 6).reshape(x.shape[0], -1)
        dense = functools.partial(Dense, self.hidden, dtype=x.dtype, kernel_init=initializers.normal(0.01))
        for name in ("fc6", "fc7"):
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(dense(name=name)(x)))
        x = to_acc_dtype(x)
        return self._linear(x)

    def _convolve(self, x: jax.Array, i: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
        """Return the map of convolution i after its ReLU, and the input of the next layer."""
        size, stride, padding = LAYERS[i]
        conv = functools.partial(Conv, self.widths[i], (size, size), stride, padding=padding, dtype=dtype)
        x = nn.relu(conv(kernel_init=initializers.normal(0.01), name=f"conv{i + 1}")(x))
        rectified = x = self.perturb(f"relu{i + 1}", x)
        if i < 2:
            x = max_pool(x, (3, 3), (2, 2), padding=1)
            x = local_response_norm(x, size=5, alpha=5e-4, beta=0.75, k=2.0)
        return rectified, max_pool(x, (3, 3), (2, 2)) if i == 4 else x


MODELS = {"zfnet": functools.partial(ZFNet)}
