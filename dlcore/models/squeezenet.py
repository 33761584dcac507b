"""SqueezeNet: AlexNet's accuracy with 1/50 of its parameters.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size" (2016),
arXiv:1602.07360.

    Fire(x) = [relu conv1x1(s), relu conv3x3(s)],  s = relu conv1x1(x)            few channels in s
    conv -> pool -> eight fires with two poolings between them -> dropout -> relu conv1x1, C -> average

1.0 has the 7x7 stem of the paper; 1.1, by its authors, a 3x3 one and earlier poolings: 2.4x fewer operations.
Names are torchvision's; the head is a 1x1 convolution. Its maps end in a ReLU, so classes that start at zero never
learn and most of those that start near zero die: their kernel starts at zero and their bias at one, which also makes
the initial loss log C. (torchvision: 0.01 randn and zero.)
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import Conv, initializers
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import max_pool

__all__ = ["MODELS", "Fire", "SqueezeNet"]

TORCH_NAMES = ((r"^head\.", "classifier.1."),)


class Fire(CheckedFields):
    """A 1x1 convolution to few channels, and 1x1 and 3x3 ones from there, each with a ReLU.

    Args:
      squeeze: channels between.
      expand: channels of the 1x1 and of the 3x3 output each.
    """

    squeeze: int
    expand: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the module.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, 2 expand].
        """
        conv = functools.partial(Conv, dtype=self.dtype, kernel_init=initializers.kaiming_uniform())
        x = nn.relu(conv(self.squeeze, (1, 1), name="squeeze")(x))
        small = conv(self.expand, (1, 1), name="expand1x1")(x)
        large = conv(self.expand, (3, 3), padding=1, name="expand3x3")(x)
        return nn.relu(jnp.concatenate([small, large], -1))


class SqueezeNet(Backbone):
    """SqueezeNet on [B, H, W, C], sides of at least 29 (1.1: 25). Stages: stem, stage1 to stage3 (2, 4, 8, 16).

    Args:
      stem_conv: channels, kernel size and stride of the first convolution.
      stages: (squeeze, expand) of the fire modules after each pooling.
      remat: recomputation of each fire module in the backward pass, to save memory: none, products, weights or full.
    """

    num_classes: int = 1000
    stem_conv: tuple[int, int, int] = (96, 7, 2)
    stages: tuple[tuple[tuple[int, int], ...], ...] = (
        ((16, 64), (16, 64), (32, 128)),
        ((32, 128), (48, 192), (48, 192), (64, 256)),
        ((64, 256),),
    )
    dropout: float = 0.5
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(The last map, that at the end of each stage before its pooling)."""
        channels, size, stride = self.stem_conv
        smallest = 3 * 2 ** (len(self.stages) - 1)  # of the stem's map, so that three pixels are left to pool last
        check_images(self, x, "features_0", smallest=(smallest - 1) * stride + size)
        dtype = compute_dtype(self.dtype, x, self.variables)
        stem = functools.partial(Conv, channels, (size, size), stride, padding="VALID", dtype=dtype)
        x = nn.relu(stem(kernel_init=initializers.kaiming_uniform(), name="features_0")(x))
        x = self.perturb("stem", x)
        maps, layer = {"stem": x}, 2
        block = remat(Fire, self.remat)
        for i, fires in enumerate(self.stages, 1):
            x, layer = max_pool(x, (3, 3), (2, 2), ceil_mode=True), layer + 1
            for squeeze, expand in fires:
                x, layer = block(squeeze, expand, dtype, name=f"features_{layer}")(x), layer + 1
            x = maps[f"stage{i}"] = self.perturb(f"stage{i}", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return self._class_maps(x)


MODELS = {
    "squeezenet1_0": functools.partial(SqueezeNet),
    "squeezenet1_1": functools.partial(
        SqueezeNet,
        stem_conv=(64, 3, 2),
        stages=(((16, 64),) * 2, ((32, 128),) * 2, ((48, 192), (48, 192), (64, 256), (64, 256))),
    ),
}
