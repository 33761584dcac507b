"""Perplexity and bits per dimension: how surprised a model is by the data.

    perplexity = exp(mean nats)      bits = mean nats / ln 2

The mean runs over tokens (or pixels), so it is exact whatever the batch split. A uniform guess over V tokens has
perplexity V, and over 256 values 8 bits.
"""

import math
from typing import Self

import jax
import numpy as np

from dlcore.learner import Sum
from dlcore.metrics.classification import class_predictions
from dlcore.ops.checks import check_shapes

__all__ = ["BitsPerDim", "Perplexity", "token_metrics"]


class _MeanNats(Sum):
    @classmethod
    def of(cls, nats: jax.Array, mask: jax.Array | None = None) -> Self:
        """Add up a batch.

        Args:
          nats: -log p of each token, of any shape.
          mask: mask of the same shape; tokens of mask 0 do not count. None counts all.
        """
        if mask is not None and mask.shape != nats.shape:
            raise ValueError(f"mask={mask.shape}: wrong shape; allowed: {nats.shape}, as nats")
        return super().of(nats.reshape(-1), None if mask is None else mask.reshape(-1))


class Perplexity(_MeanNats):
    """Perplexity, exp of the mean nats a token."""

    def compute(self) -> float | None:
        """Read the perplexity.

        Returns:
          At least 1; None where nothing was counted.
        """
        mean = super().compute()
        return None if mean is None else float(np.exp(mean))


class BitsPerDim(_MeanNats):
    """Mean bits per token, pixel or dimension."""

    def compute(self) -> float | None:
        """Read the mean.

        Returns:
          Bits; None where nothing was counted.
        """
        mean = super().compute()
        return None if mean is None else mean / math.log(2)


def token_metrics(
    nats: jax.Array, logits: jax.Array, target: jax.Array, mask: jax.Array | None = None
) -> dict[str, Sum]:
    """Measure predictions of tokens: the mean over tokens, not over the means of sequences.

    Args:
      nats: -log p of each target, [..., T].
      logits: [..., T, V].
      target: [..., T] int.
      mask: [..., T], set where a target counts; None counts all.

    Returns:
      {"loss", "accuracy", "perplexity", "bits"}.
    """
    check_shapes(
        nats=(nats, "... T"),
        target=(target, "int ... T"),
        mask=(mask, "mask ... T or None"),
        logits=(logits, "... T V"),
    )
    mask = None if mask is None else mask.reshape(-1)
    flat = nats.reshape(-1), mask
    return {
        "loss": Sum.of(*flat),
        "accuracy": Sum.of((class_predictions(logits) == target).reshape(-1), mask),
        "perplexity": Perplexity.of(*flat),
        "bits": BitsPerDim.of(*flat),
    }
