"""Features of a labelled bank and of the examples asked about, as `predict` gives them batch by batch."""

from typing import Any

import numpy as np

__all__ = ["Gathered", "gather"]


class Gathered(list):
    """(features [B, D], label [B], bank [B]) of each batch."""

    def split(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(bank features, bank labels, features, labels).

        Raises: ValueError where the bank or the examples asked about are missing.
        """
        features, labels, bank = (np.concatenate(parts) for parts in zip(*self, strict=True))
        own = bank > 0
        if own.all() or not own.any():
            raise ValueError("the source must hold a bank and examples to ask about: use dlcore.data.bank.with_bank")
        return features[own], labels[own], features[~own], labels[~own]


def gather(key: str) -> Any:
    """The `add` of an Evaluator: collect `outputs[key]` with labels and bank flags."""

    def add(acc: Gathered | None, outputs: Any, rows: Any) -> Gathered:
        acc = Gathered() if acc is None else acc
        acc.append((np.asarray(outputs[key], np.float32), np.asarray(rows["label"]), np.asarray(rows["bank"])))
        return acc

    return add
