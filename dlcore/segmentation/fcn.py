"""Fully convolutional networks: a classifier's maps, scored at every location, enlarged to the size of the image.

Long, Shelhamer & Darrell, "Fully convolutional networks for semantic segmentation" (2015), arXiv:1411.4038.

    s_K = head(map_K),   s_k = conv1x1(map_k) + up2(s_{k+1}) for each finer map in `skips`,   logits = up(s_k)

`up` is a transposed convolution of stride f and kernel 2 f that starts as bilinear interpolation and is learnt, or
bilinear interpolation itself. Without skips and with bilinear interpolation this is torchvision's `fcn_resnet50`, whose
ResNet keeps a stride of 8 by dilation (`ResNet.dilate`); with the two next finer maps and transposed convolutions it
is the paper's FCN-8s, on another backbone. Two more deviations from the paper: the head is torchvision's, and maps of
odd sizes are cut at the end, where stride-2 layers rounded up, not in the middle of an image padded by 100.
"""

import math
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.nn import BatchNorm, Conv, ConvTranspose, Dropout
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_size
from dlcore.ops.replica import REPLICA
from dlcore.segmentation.maps import KERNEL_INIT, enlarge, named_map, score

__all__ = ["FCN", "FCNHead", "bilinear_kernel"]


def bilinear_kernel(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Initialize a transposed convolution of kernel 2 f and stride f as bilinear interpolation, channel by channel.

    Args:
      key: ignored.
      shape: [2 f, 2 f, O, C].
      dtype: dtype of the kernel.

    Returns:
      The kernel: away from the border the layer equals `resize` by f with half-pixel centers.
    """
    check_size("shape", shape, "2 f, 2 f, O, C")
    if shape[0] != shape[1] or shape[0] % 2:
        raise ValueError(f"shape={shape}: taps are unequal or odd; allowed: (2 f, 2 f, O, C)")
    del key
    taps = shape[0]
    ramp = 1 - np.abs((np.arange(taps) + 0.5) / (taps / 2) - 1)
    return jnp.asarray(ramp[:, None, None, None] * ramp[:, None, None] * np.eye(*shape[2:]), dtype)


class FCNHead(nn.Module):
    """Torchvision's: a 3x3 convolution to a quarter of the channels, dropout, and a 1x1 convolution to the classes.

    Args:
      num_classes: C.
      dropout: probability of dropping a value in training.
    """

    num_classes: int
    dropout: float = 0.1
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Score every location: [B, h, w, K] -> [B, h, w, C] logits, at least float32."""
        width, dtype = max(1, x.shape[-1] // 4), self.dtype
        x = Conv(width, (3, 3), padding=1, use_bias=False, dtype=dtype, kernel_init=KERNEL_INIT, name="0")(x)
        x = nn.relu(BatchNorm(not train, dtype=dtype, axis_name=self.axis_name, name="1")(x))
        x = Dropout(self.dropout, deterministic=not train)(x)
        return score(self.num_classes, "4", x)


class FCN(nn.Module):
    """Backbone, head, and transposed convolutions back to the size of the image.

    Args:
      num_classes: C.
      stage: the map that the head scores.
      skips: finer maps that are scored too, the coarsest first, each twice as large as the one before.
      aux_stage: a map that an auxiliary head scores, for the loss; None for none.
      upsampling: bilinear; or transposed, learnt from a bilinear start.
      dropout: probability of dropping a value before the scores in training.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stage", "skips", "aux_stage")
    """Fields that name maps of the backbone."""

    backbone: nn.Module
    num_classes: int
    stage: str = "layer4"
    skips: tuple[str, ...] = ()
    aux_stage: str | None = None
    upsampling: Literal["bilinear", "transposed"] = "bilinear"
    dropout: Annotated[float, Range(0, 0.99)] = 0.1
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Classify every pixel.

        [B, H, W, C'], images of any size from twice the stride of `stage` -> {"out": [B, H, W, C] logits, at least
        float32, "aux": of the auxiliary head, if there is one}.
        """
        check_choice("upsampling", self.upsampling, ("bilinear", "transposed"))
        size, dtype = x.shape[1:3], compute_dtype(self.dtype, x, self.variables)
        maps = self.backbone.features(x, train)
        head = {"num_classes": self.num_classes, "dropout": self.dropout, "dtype": dtype, "axis_name": self.axis_name}
        # Head on the coarsest map.
        out = FCNHead(**head, name="classifier")(named_map(maps, self.stage), train)
        # Skips: add the scores of finer maps (FCN-16s, FCN-8s).
        for name in self.skips:
            finer = score(self.num_classes, f"score_{name}", named_map(maps, name))
            out = finer + self._up(out, finer.shape[1:3], f"up_{name}")
        outputs = {"out": self._up(out, size, "up")}
        if self.aux_stage is not None:
            aux = FCNHead(**head, name="aux_classifier")(named_map(maps, self.aux_stage), train)
            outputs["aux"] = enlarge(aux, size)
        return outputs

    def _up(self, x: jax.Array, size: tuple[int, int], name: str) -> jax.Array:
        if self.upsampling == "bilinear":
            return enlarge(x, size)
        # A stride-2 layer makes ceil(n / 2) of n, so the factor is the power of 2 that reaches the size or a bit more.
        factor = 2 ** math.ceil(math.log2(max(target / have for target, have in zip(size, x.shape[1:3], strict=True))))
        if factor == 1:
            return x
        layer = ConvTranspose(
            self.num_classes,
            (2 * factor,) * 2,
            factor,
            padding=factor // 2,
            use_bias=False,
            kernel_init=bilinear_kernel,
            name=name,
        )
        return layer(x)[:, : size[0], : size[1]]
