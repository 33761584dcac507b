"""The adding problem: output the sum of the two marked numbers in a long sequence, a test of long-term memory.

Hochreiter & Schmidhuber 1997, "Long short-term memory", with markers 0 and 1 as in Bai et al. 2018, arXiv:1803.01271.

    x_t = (value in [0, 1), marker),  one marker in each half of the sequence;  the target is the sum of the two values

The constant prediction 1 has a mean squared error of 1/6, the variance of the sum of two uniform numbers.
"""

import numpy as np

from dlcore.data.source import Source, whole_numbers
from dlcore.ops.checks import check_shapes

__all__ = ["adding"]


@whole_numbers
def adding(count: int, seed: int = 0, length: int = 100) -> Source:
    """Draw sequences with one marker in each half.

    Args:
      count: N, number of sequences.
      seed: random seed; sequence i depends on (seed, i) and not on `count`.
      length: T, number of steps of a sequence.

    Returns:
      A source of `sequence: [N, T, 2] float32`, each step's (value, marker), and `target: [N] float32`.
    """
    check_shapes(count=(count, ">= 1"), length=(length, ">= 2"))
    sequence = np.zeros((count, length, 2), np.float32)
    for i, row in enumerate(sequence):
        rng = np.random.default_rng((seed, i))
        row[:, 0] = rng.random(length, np.float32)
        row[[rng.integers(length // 2), rng.integers(length // 2, length)], 1] = 1
    return Source({"sequence": sequence, "target": sequence.prod(-1).sum(-1)}, count, name="adding problem")
