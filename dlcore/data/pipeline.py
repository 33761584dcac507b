"""Batches as a pure function of the step.

The stream of examples is the concatenation, over epochs e = 0, 1, ..., of a permutation of the source drawn from
(seed, e). Step t takes the B examples at positions [t B, (t + 1) B) of the stream: each example comes exactly once per
epoch for every B, and a batch may cross the end of an epoch. Process p of P takes rows [p B / P, (p + 1) B / P) of the
global batch, which therefore does not depend on P. To resume, a checkpoint needs the step only; `settings` is saved
with it to check that the stream is the same.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.prefetch import prefetch
from dlcore.data.source import Source, check_source
from dlcore.ops.checks import check_shapes

__all__ = ["Pipeline", "Transform", "batch_at", "epochs", "padded_batches", "settings", "steps_per_epoch"]

Transform = Callable[[dict, np.random.Generator], dict]


@dataclass(frozen=True, eq=False)
class Pipeline:
    """An endless stream of shuffled batches of a source.

    Args:
      source: source of the examples.
      batch_size: size of the global batch, over all processes.
      seed: random seed of the epochs' permutations and of `transform`.
      shuffle: False keeps the order of the source in every epoch.
      process_index: index of this process.
      process_count: number of processes that share a batch equally.
      transform: function (example, rng) -> example, run on the host: a dict of the arrays of one example without the
        batch axis (and its `index`), and a NumPy generator seeded by (seed, epoch, index), so that the result does not
        depend on the batch or the number of processes. None for none.
    """

    source: Source
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    process_index: int = 0
    process_count: int = 1
    transform: Transform | None = None

    def __post_init__(self):
        check_source("source", self.source)
        if not isinstance(self.shuffle, bool | np.bool_):
            raise ValueError(f"shuffle={self.shuffle!r}: neither; allowed: True, False")
        if self.transform is not None and not callable(self.transform):
            raise ValueError(f"transform={self.transform!r}: no function; allowed: (example, rng) -> example, or None")
        check_whole_number("batch_size", self.batch_size)
        check_whole_number("seed", self.seed)
        _share(self.batch_size, self.process_index, self.process_count)
        if self.batch_size > len(self.source):
            raise ValueError(
                f"batch_size={self.batch_size}: more than the {len(self.source)} examples of "
                f"{self.source.name or 'the source'}; allowed: at most {len(self.source)}{self._fitting()}"
            )
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: negative; allowed: 0 or more")

    def _fitting(self) -> str:
        """Return a hint for the error message: the largest power of two that fits the source."""
        fitting = 2 ** (len(self.source).bit_length() - 1) if len(self.source) else 0
        return f"; batch_size={fitting} fits" if fitting and fitting % self.process_count == 0 else ""

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps per epoch, rounded up."""
        return steps_per_epoch(len(self.source), self.batch_size)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the stream depends on (not the process count), JSON-able, to compare on resume."""
        return {
            "source": self.source.name,
            "length": len(self.source),
            "digest": self.source.fingerprint.digest,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": self.shuffle,
            **{name: array.settings for name, array in self.source.arrays.items() if hasattr(array, "settings")},
        }

    @property
    def rows(self) -> tuple[int, int]:
        """(first, count) of this process' rows in the global batch."""
        return _share(self.batch_size, self.process_index, self.process_count)

    def position(self, step: int) -> int:
        """Return the position in the stream of the first example of a step.

        Args:
          step: step, from 0.

        Returns:
          The position, from 0.
        """
        if step is None or isinstance(step, str) or not step >= 0 or step % 1:
            raise ValueError(f"step={step}: no step; allowed: whole numbers of 0 or more")
        return int(step) * self.batch_size

    def epoch_of(self, step: int) -> int:
        """Return the epoch that the first example of a step belongs to.

        Args:
          step: step, from 0.

        Returns:
          The epoch, from 0.
        """
        return self.position(step) // len(self.source)

    def order(self, epoch: int) -> np.ndarray:
        """Return the order of the examples in an epoch; the last two orders are cached.

        Args:
          epoch: epoch, from 0.

        Returns:
          [N] int32, a read-only permutation of the examples (0, 1, ... without `shuffle`).
        """
        check_whole_number("epoch", epoch, 0)
        return self._orders(epoch)

    @functools.cached_property
    def _orders(self) -> Callable[[int], np.ndarray]:
        return functools.lru_cache(maxsize=2)(functools.partial(_order, len(self.source), self.seed, self.shuffle))

    def batch_at(self, step: int) -> dict[str, np.ndarray]:
        """Read this process' rows of the batch of a step.

        Args:
          step: step, from 0.

        Returns:
          Arrays [B / P, ...], with `index: [B / P] int32`.
        """
        first, count = self.rows
        position = self.position(step) + first + np.arange(count)
        epoch, offset = np.divmod(position, len(self.source))
        index = np.empty(count, np.int32)
        for each in np.unique(epoch):
            index[epoch == each] = self.order(int(each))[offset[epoch == each]]
        batch = self.source.sample(index, self.seed, epoch)
        return batch if self.transform is None else self._transformed(batch, epoch, self.transform)

    def _transformed(
        self, batch: dict[str, np.ndarray], epoch: np.ndarray, transform: Transform
    ) -> dict[str, np.ndarray]:
        examples = []
        for row, index in enumerate(batch["index"]):
            rng = np.random.default_rng((self.seed, int(epoch[row]), int(index)))
            example = transform({key: value[row] for key, value in batch.items()}, rng)
            if not isinstance(example, Mapping):
                raise ValueError(f"transform: returned {type(example).__name__}; allowed: a dict of arrays")
            examples.append({**example, "index": index})
            for key in examples[0].keys() | examples[-1].keys():
                shapes = [np.shape(one[key]) if key in one else None for one in (examples[0], examples[-1])]
                if shapes[0] != shapes[1]:
                    raise ValueError(
                        f"transform: {key} is {shapes[1]} for example {index} and {shapes[0]} for the one before; "
                        "allowed: arrays of the same names and shapes for all examples"
                    )
        return {key: np.stack([example[key] for example in examples]) for key in examples[0]}


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Return the number of steps per epoch: ceil(num_examples / batch_size).

    Args:
      num_examples: number of examples of the source.
      batch_size: size of the global batch.

    Returns:
      The number of steps; 1000 examples in batches of 100 are 10.
    """
    check_shapes(num_examples=(num_examples, "int >= 0"), batch_size=(batch_size, "int >= 1"))
    return -(-num_examples // batch_size)


def batch_at(pipelines: Any, step: int) -> Any:
    """Read the batch of a step of one pipeline, or of each in a (nested) dict.

    Args:
      pipelines: a pipeline or a dict of them.
      step: step, from 0.

    Returns:
      A batch, or a dict of batches of the same structure.
    """
    if isinstance(pipelines, Mapping):
        return {name: batch_at(pipeline, step) for name, pipeline in pipelines.items()}
    if not hasattr(pipelines, "batch_at"):
        raise ValueError(f"pipelines={type(pipelines).__name__}: no pipeline; allowed: a Pipeline, or a dict of them")
    return pipelines.batch_at(step)


def settings(pipelines: Any) -> dict[str, Any]:
    """Collect `Pipeline.settings` of one pipeline, or of each in a (nested) dict.

    Args:
      pipelines: a pipeline or a dict of them.

    Returns:
      JSON-able settings of the same structure.
    """
    if isinstance(pipelines, Mapping):
        return {name: settings(pipeline) for name, pipeline in pipelines.items()}
    return pipelines.settings


def epochs(settings: Mapping[str, Any], step: int, batch_size: int) -> float | None:
    """Return the number of epochs after a step; with several sources, the smallest of their numbers.

    Args:
      settings: `Pipeline.settings` of one pipeline, or of each in a (nested) dict.
      step: number of training steps so far.
      batch_size: batch size for pipelines whose settings lack it.

    Returns:
      The number of epochs, a fraction; None where no source has a length.
    """
    check_shapes(step=(step, "int >= 0"), batch_size=(batch_size, "int >= 1"))
    if isinstance(settings.get("length"), int):
        taken = step * settings.get("batch_size", batch_size)
        return taken / settings["length"] if settings["length"] else None
    parts = [epochs(part, step, batch_size) for part in settings.values() if isinstance(part, Mapping)]
    return min((part for part in parts if part is not None), default=None)


def padded_batches(
    source: Source, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[dict[str, np.ndarray]]:
    """Iterate over a source once, in order, in batches of one shape.

    The last batch is padded by copies of example 0 (its `index` too) with mask 0. Every process yields the same number
    of batches.

    Args:
      source: source of the examples.
      batch_size: size of the global batch, over all processes; it may be larger than the source.
      process_index: index of this process.
      process_count: number of processes that share a batch equally.

    Returns:
      Batches with `mask: [B / P] float32`, 1 for examples and 0 for padding.
    """
    check_source("source", source)
    first, count = _share(batch_size, process_index, process_count)
    return _padded(source, batch_size, first, count)


def _padded(source: Source, batch_size: int, first: int, count: int) -> Iterator[dict[str, np.ndarray]]:
    def rows(step: int) -> dict[str, np.ndarray]:
        position = step * batch_size + first + np.arange(count)
        real = position < len(source)
        return source[np.where(real, position, 0)] | {"mask": real.astype(np.float32)}

    steps = steps_per_epoch(len(source), batch_size)
    if not any(hasattr(array, "sample") for array in source.arrays.values()):
        yield from map(rows, range(steps))
        return
    with prefetch(rows, 0, steps) as batches:
        yield from (batch for _, batch in batches)


def _order(length: int, seed: int, shuffle: bool, epoch: int) -> np.ndarray:
    order = np.arange(length, dtype=np.int32)
    if shuffle:
        np.random.default_rng((seed, epoch)).shuffle(order)
    order.flags.writeable = False
    return order


def _share(batch_size: int, process_index: int, process_count: int) -> tuple[int, int]:
    check_shapes(process_index=(process_index, "int >= 0"), process_count=(process_count, "int >= 1"))
    check_whole_number("batch_size", batch_size, 1)
    if process_index >= process_count:
        raise ValueError(f"{process_index=}: out of range; allowed: in [0, {process_count=})")
    if batch_size % process_count:
        raise ValueError(f"batch_size={batch_size}: invalid; allowed: a multiple of process_count {process_count}")
    count = batch_size // process_count
    return process_index * count, count
