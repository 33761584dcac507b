"""Features of `predict`, collected batch by batch and split into a labeled bank and queries."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.choices import check_choice

__all__ = ["FeatureMemory", "collect_features"]


class FeatureMemory(list):
    """A list of (features [B, D], label [B], bank [B]), one per batch; bank is 1 for examples of the bank."""

    def split(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Split the examples of all batches into the bank and the queries.

        Returns:
          (bank features [N, D], bank labels [N], query features [M, D], query labels [M]).
        """
        features, labels, bank = (np.concatenate(parts) for parts in zip(*self, strict=True))
        in_bank = bank > 0
        if in_bank.all() or not in_bank.any():
            raise ValueError("the source must hold a bank and queries: use dlcore.data.bank_and_queries")
        return features[in_bank], labels[in_bank], features[~in_bank], labels[~in_bank]


def collect_features(key: str) -> Callable[[FeatureMemory | None, Any, Any], FeatureMemory]:
    """Build the `add` of an Evaluator that collects features with their labels.

    Args:
      key: name of the features [B, D] among the outputs of `predict`.

    Returns:
      (memory or None, outputs, rows with `label` and `bank`) -> memory.
    """

    def add(memory: FeatureMemory | None, outputs: Any, rows: Any) -> FeatureMemory:
        check_choice("key", key, outputs)
        memory = FeatureMemory() if memory is None else memory
        memory.append((np.asarray(outputs[key], np.float32), np.asarray(rows["label"]), np.asarray(rows["bank"])))
        return memory

    return add
