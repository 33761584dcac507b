"""A labelled bank and the examples asked about in one source: one pass of `predict` gives the features of both."""

import numpy as np

from dlcore.data.source import Source, followed_by

__all__ = ["with_bank"]


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
    some = train.subset(chosen)
    arrays = {name: followed_by(some.arrays[name], split.arrays[name]) for name in split.arrays}
    flag = np.concatenate([np.ones(count, np.int32), np.zeros(len(split), np.int32)])
    return Source({**arrays, "bank": flag}, class_names=split.class_names, name=f"bank and {split.name}")
