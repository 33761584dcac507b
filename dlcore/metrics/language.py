"""Perplexity and bits per dimension: how surprised a model is by what came.

    perplexity = exp(mean nats)      bits = mean nats / ln 2

The mean runs over tokens (or pixels), so it is exact whatever the batch split. A uniform guess over V tokens has
perplexity V, and over 256 values 8 bits.
"""

import math
from typing import Self

import jax
import numpy as np

from dlcore.learner import Sum

__all__ = ["BitsPerDim", "Perplexity"]


class _MeanNats(Sum):
    @classmethod
    def of(cls, nats: jax.Array, mask: jax.Array | None = None) -> Self:
        """nats: -log p of each token, any shape. mask: of the same shape; what it leaves out is not counted.

        Raises: ValueError for a mask of another shape.
        """
        if mask is not None and mask.shape != nats.shape:
            raise ValueError(f"mask has shape {mask.shape}; it must be {nats.shape}, as nats")
        return super().of(nats.reshape(-1), None if mask is None else mask.reshape(-1))


class Perplexity(_MeanNats):
    """exp of the mean nats a token; None where nothing was counted."""

    def compute(self) -> float | None:
        """The perplexity, at least 1."""
        mean = super().compute()
        return None if mean is None else float(np.exp(mean))


class BitsPerDim(_MeanNats):
    """Mean nats a token, pixel or dimension, in bits; None where nothing was counted."""

    def compute(self) -> float | None:
        """The mean in bits."""
        mean = super().compute()
        return None if mean is None else mean / math.log(2)
