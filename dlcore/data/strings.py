"""Synthetic sequence-to-sequence tasks: copy, reverse or sort a random string.

    copy     c a b -> c a b          reverse   c a b -> b a c          sort   c a b -> a b c

Example i of a seed is the same whatever the number of examples.
"""

import string

import numpy as np

from dlcore.choices import check_choice, check_pair
from dlcore.data.source import Source, check_seed, whole_numbers
from dlcore.data.words import SPECIAL, Words, pad_sequences
from dlcore.ops.checks import check_shapes

__all__ = ["STRING_TASKS", "strings", "symbols"]

STRING_TASKS = {"copy": lambda s: s, "reverse": lambda s: s[::-1], "sort": np.sort}
"""Name of a task -> function from a string's symbols to the target's."""


@whole_numbers
def symbols(vocabulary: int = 20) -> Words:
    """Build the vocabulary of strings: letters, or numbers if there are more than 26 symbols.

    Args:
      vocabulary: number of different symbols.

    Returns:
      The vocabulary, which begins with the special tokens.
    """
    check_shapes(vocabulary=(vocabulary, "int >= 1"))
    return Words(tuple(string.ascii_lowercase[:vocabulary] if vocabulary <= 26 else map(str, range(vocabulary))))


@whole_numbers
def strings(task: str, count: int, seed: int = 0, *, length: tuple[int, int] = (1, 20), vocabulary: int = 20) -> Source:
    """Draw strings of equally probable symbols, with the target of each.

    The arrays are `source: [N, high + 1] int32` (w1 .. wn END PAD) and `target: [N, high + 2] int32`
    (START w1 .. wn END PAD).

    Args:
      task: "copy", "reverse" or "sort".
      count: N, number of strings.
      seed: string i of a seed is the same whatever `count`.
      length: (low, high), symbols of the shortest and the longest string; all lengths are equally probable.
      vocabulary: number of different symbols; symbol i has the token i + 4.

    Returns:
      The source.
    """
    check_pair("length", length)
    low, high = length
    check_shapes(low=(low, "int >= 0"), high=(high, "int >= 0"))
    check_choice("task", task, STRING_TASKS)
    if not 1 <= low <= high:
        raise ValueError(f"length={low},{high}: no range; allowed: 1 <= low <= high")
    check_shapes(vocabulary=(vocabulary, "int >= 1"))
    check_seed(seed)
    samples = []
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        samples.append(rng.integers(0, vocabulary, rng.integers(low, high + 1)) + len(SPECIAL))
    arrays = {
        "source": pad_sequences(samples, high + 1, start=False),
        "target": pad_sequences([STRING_TASKS[task](s) for s in samples], high + 2),
    }
    return Source(arrays, count, name=f"strings to {task}")
