"""Parameter-free array functions."""

from dlcore.ops.adaptive_pooling import adaptive_avg_pool, adaptive_max_pool
from dlcore.ops.arithmetic import (
    conv_macs,
    conv_output_size,
    conv_parameters,
    conv_transpose_output_size,
    effective_kernel_size,
    receptive_field,
    same_padding,
)
from dlcore.ops.convolution import conv_general_dilated
from dlcore.ops.deformable_convolution import deform_conv
from dlcore.ops.fft_convolution import conv_fft
from dlcore.ops.fractional_pooling import fractional_max_pool, fractional_starts
from dlcore.ops.grid_sample import affine_grid, bilinear_sample, grid_sample
from dlcore.ops.im2col import col2im, conv_im2col, im2col
from dlcore.ops.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from dlcore.ops.pooling import avg_pool, global_avg_pool, max_pool
from dlcore.ops.resize import resize
from dlcore.ops.transposed_convolution import conv_transpose
from dlcore.ops.unpooling import bed_of_nails, max_pool_with_indices, max_unpool, nearest_unpool
from dlcore.ops.winograd import conv_winograd

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "affine_grid",
    "avg_pool",
    "bed_of_nails",
    "bilinear_sample",
    "col2im",
    "conv_fft",
    "conv_general_dilated",
    "conv_im2col",
    "conv_macs",
    "conv_output_size",
    "conv_parameters",
    "conv_transpose",
    "conv_transpose_output_size",
    "conv_winograd",
    "deform_conv",
    "effective_kernel_size",
    "fractional_max_pool",
    "fractional_starts",
    "global_avg_pool",
    "grid_sample",
    "im2col",
    "max_pool",
    "max_pool_with_indices",
    "max_unpool",
    "nearest_unpool",
    "pixel_shuffle",
    "pixel_unshuffle",
    "receptive_field",
    "resize",
    "same_padding",
]
