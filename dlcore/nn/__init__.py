"""Flax modules."""

from dlcore.nn.conv import Conv
from dlcore.nn.normalization import BatchNorm
from dlcore.nn.precision import compute_dtype, logits_dtype

__all__ = ["BatchNorm", "Conv", "compute_dtype", "logits_dtype"]
