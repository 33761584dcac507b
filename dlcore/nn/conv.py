"""The convolution layer: flax's `nn.Conv` on `dlcore.ops.conv_general_dilated`.

y[n, p, o] = b[o] + sum_{k, c} x[n, s p + r k - l, c] w[k, c, o]        stride s, dilation r, low padding l
"""

import inspect
from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number, is_whole_number
from dlcore.ops.convolution import conv_general_dilated

__all__ = ["Conv"]

_convolve = inspect.unwrap(nn.Conv.__call__)
"""flax's method without its wrapper, which would enter the layer a second time."""

_PADDINGS = ("SAME", "VALID", "SAME_LOWER", "CAUSAL", "CIRCULAR", "REFLECT")


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
    """

    conv_general_dilated: Any = conv_general_dilated

    def __post_init__(self) -> None:
        check_whole_number("features", self.features, 1)
        check_whole_number("feature_group_count", self.feature_group_count, 1)
        axes = len(self.kernel_size) if isinstance(self.kernel_size, Sequence) else 1
        for name in ("kernel_size", "strides", "input_dilation", "kernel_dilation"):
            value = 1 if getattr(self, name) is None and name != "kernel_size" else getattr(self, name)
            numbers = value if isinstance(value, Sequence) else (value,) * axes
            if len(numbers) != axes or not all(is_whole_number(number) and number >= 1 for number in numbers):
                raise ValueError(f"{name}={value}: does not fit {axes} axes; allowed: whole numbers of at least 1")
        self._check_padding(axes)
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Convolve.

        Args:
          inputs: [B, H, W, C] for a `kernel_size` of two numbers; more batch axes, or none, are allowed.

        Returns:
          [B, H', W', features].
        """
        axes = len(self.kernel_size) if isinstance(self.kernel_size, Sequence) else 1
        if inputs.ndim <= axes:
            raise ValueError(f"inputs.shape={inputs.shape}: too few axes; allowed: {axes} spatial ones and channels")
        groups, channels = self.feature_group_count, inputs.shape[-1]
        if channels % groups or self.features % groups:
            raise ValueError(f"feature_group_count={groups}: not a divisor; allowed: of {channels} and {self.features}")
        y = _convolve(self, inputs)
        if y.size == 0 < inputs.size:
            raise ValueError(f"{inputs.shape=}: no place for kernel_size={self.kernel_size}; allowed: larger sides")
        return y

    @nn.nowrap
    def _check_padding(self, axes: int) -> None:
        if isinstance(self.padding, str):
            check_choice("padding", self.padding.upper(), _PADDINGS)
            return
        sides = self.padding if isinstance(self.padding, Sequence) else (self.padding,) * axes
        numbers = [number for side in sides for number in (side if isinstance(side, tuple) else (side, side))]
        if len(sides) != axes or len(numbers) != 2 * axes or not all(map(is_whole_number, numbers)):
            raise ValueError(f"padding={self.padding}: does not fit {axes} axes; allowed: {', '.join(_PADDINGS)}, ints")
