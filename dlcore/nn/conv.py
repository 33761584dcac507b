"""The convolution layer: flax's `nn.Conv` on `dlcore.ops.conv_general_dilated`.

y[n, p, o] = b[o] + sum_{k, c} x[n, s p + r k - l, c] w[k, c, o]        stride s, dilation r, low padding l
"""

from typing import Any

from flax import linen as nn

from dlcore.ops.convolution import conv_general_dilated

__all__ = ["Conv"]


class Conv(nn.Conv):
    """Convolve [B, H, W, C] -> [B, H', W', features]; any number of spatial axes, as many as `kernel_size` has.

    Fields, parameter names (`kernel: [kh, kw, C / groups, features]`, `bias: [features]`) and initial values are
    flax's. `kernel_size` is a tuple: an int means one axis. `padding` is "SAME" by default, which is not torch's:
    a 3x3 kernel with stride 2 on an even size is padded (0, 1) by "SAME" and (1, 1) by `padding=1`, so layers that take
    weights from torch give numbers.

    Gradients are fast on a CPU inside `scan`, and forward mode is not available (see `dlcore.ops.convolution`).
    """

    conv_general_dilated: Any = conv_general_dilated
