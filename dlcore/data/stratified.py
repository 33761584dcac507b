"""Stratified sampling: a small sample with examples of every class."""

import numpy as np

from dlcore.data.source import Source, check_source, whole_numbers

__all__ = ["stratified_sample"]


@whole_numbers
def stratified_sample(source: Source, size: int, seed: int) -> Source:
    """Draw a random example of each class in turn: class counts differ by at most one until a class has no more.

    Args:
      source: source of N examples; without `label: [N]` of ints, all examples are of one class.
      size: number of examples to draw, at most N.
      seed: random seed of the sample.

    Returns:
      A new source of `size` examples; its first n examples are the sample of size n.
    """
    check_source("source", source)
    if not 0 <= size <= len(source):
        raise ValueError(f"size={size}: out of range; allowed: 0 to the {len(source)} examples")
    order = np.random.default_rng((seed, 4)).permutation(len(source))
    label = source.arrays.get("label")
    if label is not None and label.ndim == 1 and np.issubdtype(label.dtype, np.integer):
        shuffled_label = np.asarray(label)[order]
        by_class = np.argsort(shuffled_label, kind="stable")
        _, first, counts = np.unique(shuffled_label[by_class], return_index=True, return_counts=True)
        turn = np.empty(len(order), int)
        turn[by_class] = np.arange(len(order)) - np.repeat(first, counts)
        order = order[np.argsort(turn, kind="stable")]
    return source.subset(order[:size])
