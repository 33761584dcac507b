"""Labeled training images followed by the images to classify, in one source: one `predict` returns features of both."""

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.source import Source, check_seed, concatenate

__all__ = ["bank_and_queries"]


def bank_and_queries(train: Source, queries: Source, size: int | None = None, seed: int = 0) -> Source:
    """Concatenate a bank of labeled training examples, as k-NN needs it, and the examples to classify.

    Args:
      train: source that the bank is drawn from.
      queries: source of the examples to classify; all are used.
      size: number of examples in the bank; None takes all of `train`.
      seed: random seed of the choice of the bank's examples.

    Returns:
      The bank in the order of `train`, then the queries, with `bank: [N] int32`, 1 in the bank and 0 for queries.
    """
    check_seed(seed)
    if size is not None:
        check_whole_number("size", size, 1)
    if set(train.arrays) != set(queries.arrays):
        raise ValueError(f"queries: its arrays are {sorted(queries.arrays)}; allowed: {sorted(train.arrays)}")
    count = len(train) if size is None else min(size, len(train))
    rows = np.sort(np.random.default_rng((seed, 3)).permutation(len(train))[:count])
    bank = train.subset(rows)
    arrays = {name: concatenate(bank.arrays[name], queries.arrays[name]) for name in queries.arrays}
    flag = np.concatenate([np.ones(count, np.int32), np.zeros(len(queries), np.int32)])
    return Source({**arrays, "bank": flag}, class_names=queries.class_names, name=f"bank and {queries.name}")
