"""A dense layer."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.ops.cpu.dense import dense_dot_general

__all__ = ["Dense"]


class Dense(nn.Dense):
    """flax's dense layer, whose weight gradient is fast on a CPU for inputs of three and more dimensions.

    Fields, parameters and results are flax's; only the order of sums in the gradient of the weights differs.

    Args:
      dot_general: the product, `dlcore.ops.dense_dot_general`.
    """

    dot_general: Callable[..., jax.Array] | Any = dense_dot_general

    def __post_init__(self) -> None:
        check_whole_number("features", self.features, 1)
        super().__post_init__()
