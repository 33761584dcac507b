"""The convolution layer: flax's `nn.Conv` on `dlcore.ops.conv_general_dilated`.

y[n, p, o] = b[o] + sum_{k, c} x[n, s p + r k - l, c] w[k, c, o]        stride s, dilation r, low padding l
"""

from typing import Any

from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.ops.convolution import conv_general_dilated

__all__ = ["Conv"]


class Conv(nn.Conv):
    """Convolution layer over any number of axes: flax's `nn.Conv`, with fast gradients on a CPU inside `scan`.

    [B, H, W, C] -> [B, H', W', features] for a `kernel_size` of two numbers; one, two and three axes have the fast
    gradients. Fields, parameter names (`kernel: [kh, kw, C / groups, features]`, `bias: [features]`) and initial values
    are flax's. `kernel_size` is a tuple: an int means one axis. `padding` is "SAME" by default, which is not torch's:
    "SAME" pads an even size under a 3x3 kernel with stride 2 by (0, 1), `padding=1` by (1, 1), so layers that take
    weights from torch have numbers.

    Differentiable in forward and reverse mode to any order (see `dlcore.ops.convolution`).

    Args:
      conv_general_dilated: the convolution function, with the arguments of `jax.lax.conv_general_dilated`.

    Raises:
      ValueError: `features` is no whole number from 1.
    """

    conv_general_dilated: Any = conv_general_dilated

    def __post_init__(self) -> None:
        check_whole_number("features", self.features, 1)
        super().__post_init__()
