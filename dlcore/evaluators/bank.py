"""A labelled bank and the examples asked about in one source: one pass of `predict` gives the features of both."""

from typing import Any

import numpy as np

from dlcore.data.source import Source

__all__ = ["Gathered", "gather", "with_bank"]


def with_bank(train: Source, split: Source, size: int | None = None, seed: int = 0) -> Source:
    """`size` examples of `train` (all by default), drawn by seed, then all of `split`; `bank: [N]` is 1 for the former.

    Raises: ValueError for a size below 1, or sources of different arrays.
    """
    if size is not None and size < 1:
        raise ValueError(f"size is {size}; it must be at least 1")
    if set(train.arrays) != set(split.arrays):
        raise ValueError(
            f"train has the arrays {sorted(train.arrays)} and split {sorted(split.arrays)}; they must agree"
        )
    count = len(train) if size is None else min(size, len(train))
    chosen = np.sort(np.random.default_rng((seed, 3)).permutation(len(train))[:count])
    arrays = {name: np.concatenate([train.arrays[name][chosen], split.arrays[name]]) for name in split.arrays}
    flag = np.concatenate([np.ones(count, np.int32), np.zeros(len(split), np.int32)])
    return Source({**arrays, "bank": flag}, class_names=split.class_names, name=f"bank and {split.name}")


class Gathered(list):
    """(features [B, D], label [B], bank [B]) of each batch."""

    def split(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(bank features, bank labels, features, labels).

        Raises: ValueError where the bank or the examples asked about are missing.
        """
        features, labels, bank = (np.concatenate(parts) for parts in zip(*self, strict=True))
        own = bank > 0
        if own.all() or not own.any():
            raise ValueError("the source of this evaluator must hold a bank and examples to ask about: use with_bank")
        return features[own], labels[own], features[~own], labels[~own]


def gather(key: str) -> Any:
    """The `add` of an Evaluator: collect `outputs[key]` with labels and bank flags."""

    def add(acc: Gathered | None, outputs: Any, rows: Any) -> Gathered:
        acc = Gathered() if acc is None else acc
        acc.append((np.asarray(outputs[key], np.float32), np.asarray(rows["label"]), np.asarray(rows["bank"])))
        return acc

    return add
