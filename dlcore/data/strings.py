"""Synthetic sequence-to-sequence tasks: copy, reverse or sort a random string.

    copy     c a b -> c a b          reverse   c a b -> b a c          sort   c a b -> a b c

Example i of a seed is the same whatever the number of examples.
"""

import dataclasses
import string
from typing import Annotated, ClassVar

import numpy as np

from dlcore.choices import check_choice, check_pair
from dlcore.data.sentence_pairs import SHORTEST
from dlcore.data.source import Source, whole_numbers
from dlcore.data.splits import Splits
from dlcore.data.words import SPECIAL, Words, pad_sequences
from dlcore.learner import CheckedRecord, Range
from dlcore.ops.checks import check_shapes
from dlcore.setting import FlagError, PositiveInt

__all__ = ["STRING_TASKS", "Strings", "strings", "symbols"]

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
    samples = []
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        samples.append(rng.integers(0, vocabulary, rng.integers(low, high + 1)) + len(SPECIAL))
    arrays = {
        "source": pad_sequences(samples, high + 1, start=False),
        "target": pad_sequences([STRING_TASKS[task](s) for s in samples], high + 2),
    }
    return Source(arrays, count, name=f"strings to {task}")


@dataclasses.dataclass(frozen=True)
class Strings(CheckedRecord):
    """Random strings, and what a program makes of each.

    Args:
      task: what to make of a string: copy, reverse, sort
      vocabulary: number of different symbols
      lengths: symbols of the shortest and the longest string
      train_size: strings to train on, less those of the other splits
      valid_size: strings to validate on
      test_size: strings to test on
    """

    task: Annotated[str, "essential"] = "reverse"
    vocabulary: Annotated[int, Range(2)] = 20
    lengths: Annotated[tuple[int, int], Range(1)] = (4, 16)
    train_size: PositiveInt = 50_000
    valid_size: PositiveInt = 1_000
    test_size: PositiveInt = 10_000

    reads_files: ClassVar[bool] = False

    def load(self) -> Splits:
        """Draw the strings of three splits; training leaves out what the other two hold."""
        low, high = self.lengths
        if self.task not in STRING_TASKS:
            raise FlagError(f"--task={self.task}: unknown; allowed: {', '.join(STRING_TASKS)}")
        if low > high:
            raise FlagError(f"--lengths={low},{high}: no range; allowed: the shorter first")
        train, valid, test = (
            strings(self.task, count, seed, length=self.lengths, vocabulary=self.vocabulary)
            for seed, count in enumerate((self.train_size, self.valid_size, self.test_size))
        )
        held_out = {row.tobytes() for split in (valid, test) for row in split.arrays["source"]}
        train_idx = [i for i, row in enumerate(train.arrays["source"]) if row.tobytes() not in held_out]
        if not train_idx:
            raise FlagError(f"--lengths={low},{high}: all strings are held out; allowed: longer")
        spec = {
            "dataset": f"{self.task}, {low} to {high} of {self.vocabulary} symbols",
            "vocabulary": symbols(self.vocabulary).to_dict(),
            "window": high,
            "batch": SHORTEST,
        }
        return Splits(train.subset(np.array(train_idx)), valid, test, spec)
