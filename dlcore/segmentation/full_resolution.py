"""A convolutional network without downsampling: every layer computes at the full size of the image.

    x_0 = image,   x_l = relu(norm(conv3x3(x_{l-1}))),  l = 1, ..., L,   logits = conv1x1(x_L)

A pixel sees 1 + 2 L pixels along each side, so that seeing an object takes as many layers as it has pixels, and each
costs 9 C^2 H W multiply-adds: at 180 x 240 with C = 64, 1.6e9. Downsampling by s divides the cost of a layer by s^2 and
multiplies what it adds to the receptive field by s (`dlcore.segmentation.fcn`). `dlcore.cost` counts both.

With padding VALID and a patch of side 1 + 2 L the network classifies the patch's center pixel, which is how networks
segmented first (Ciresan et al. 2012, "Deep neural networks segment neuronal membranes"). Pixel by pixel that gives the
logits of the dense network with the same weights, and computes each shared value anew for every patch that holds it.
"""

from typing import Annotated, Any, Literal

import jax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.models.inputs import check_images
from dlcore.nn.precision import compute_dtype
from dlcore.ops.replica import REPLICA
from dlcore.segmentation.maps import ConvNormRelu, Norm, score

__all__ = ["FullResolutionNet"]


class FullResolutionNet(nn.Module):
    """L convolutions of 3x3 and one of 1x1, all of stride 1.

    Args:
      num_classes: C.
      layers: L; the receptive field is 1 + 2 L.
      channels: number of channels of every layer.
      norm: batch or group; group norm sees the whole image.
      padding: SAME, a map of the image's size; VALID, for patches: 2 L pixels less along each side.
    """

    num_classes: int
    layers: Annotated[int, Range(1)] = 8
    channels: Annotated[int, Range(1)] = 32
    norm: Norm = "batch"
    padding: Literal["SAME", "VALID"] = "SAME"
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify every pixel.

        [B, H, W, C'], images of any size; with VALID at least 1 + 2 L -> [B, H, W, C] logits, at least float32; [B, H -
        2 L, W - 2 L, C] with VALID.
        """
        check_choice("norm", self.norm, Norm)
        check_choice("padding", self.padding, ("SAME", "VALID"))
        check_images(self, x, "conv1/0", smallest=1 if self.padding == "SAME" else 1 + 2 * self.layers)
        dtype = compute_dtype(self.dtype, x, self.variables)
        shape = {"padding": self.padding, "norm": self.norm, "dtype": dtype, "axis_name": self.axis_name}
        for i in range(self.layers):
            x = ConvNormRelu(self.channels, **shape, name=f"conv{i + 1}")(x, train)
        return score(self.num_classes, "classifier", x)
