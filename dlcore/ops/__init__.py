"""Parameter-free array functions."""

from dlcore.ops.convolution import conv_general_dilated
from dlcore.ops.fractional_pooling import fractional_max_pool, fractional_starts
from dlcore.ops.pooling import avg_pool, global_avg_pool, max_pool

__all__ = [
    "avg_pool",
    "conv_general_dilated",
    "fractional_max_pool",
    "fractional_starts",
    "global_avg_pool",
    "max_pool",
]
