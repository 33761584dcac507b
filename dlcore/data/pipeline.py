"""Batches as a pure function of the step.

The stream of examples is the concatenation, over epochs e = 0, 1, ..., of a permutation of the source drawn from
(seed, e). Step t takes the B examples at positions [t B, (t + 1) B) of the stream: each example comes exactly once an
epoch whatever B is, and a batch may cross the end of an epoch. Process p of P takes rows [p B / P, (p + 1) B / P) of
the global batch, which therefore does not depend on P. The position to save is the step; `settings` goes beside it.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore.data.prefetch import prefetch
from dlcore.data.source import Source

__all__ = ["Pipeline", "Transform", "batch_at", "padded_batches", "settings", "steps_per_epoch"]

Transform = Callable[[dict, np.random.Generator], dict]


@dataclass(frozen=True, eq=False)
class Pipeline:
    """Shuffled batches of a source for ever.

    batch_size: the global batch, over all processes.
    seed: of the epochs' permutations and of `transform`; two loaders that are to differ take two seeds.
    shuffle: False keeps the order of the source in every epoch.
    transform: host-side work on ONE example, a dict of its arrays without the batch axis (and its `index`), with a
        generator seeded by (seed, epoch, index): the result is the same in any batch and on any number of processes.

    Raises: ValueError for a batch larger than the source, one that the processes cannot share equally, a negative
    seed, or a process_index outside [0, process_count).
    """

    source: Source
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    process_index: int = 0
    process_count: int = 1
    transform: Transform | None = None

    def __post_init__(self):
        _share(self.batch_size, self.process_index, self.process_count)
        if self.batch_size > len(self.source):
            raise ValueError(
                f"batch_size is {self.batch_size}, more than the {len(self.source)} examples of "
                f"{self.source.name or 'the source'}; at most {len(self.source)} is allowed"
            )
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must not be negative")

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every example was seen once, rounded up."""
        return steps_per_epoch(len(self.source), self.batch_size)

    @property
    def settings(self) -> dict[str, Any]:
        """What the stream depends on, JSON-able, to compare on resume; the process count is not part of it."""
        return {
            "source": self.source.name,
            "length": len(self.source),
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
        """The place in the stream of the first example of `step`."""
        if step < 0:
            raise ValueError(f"step is {step}; it must not be negative")
        return int(step) * self.batch_size

    def epoch_of(self, step: int) -> int:
        """The epoch that the first example of `step` belongs to, from 0."""
        return self.position(step) // len(self.source)

    def order(self, epoch: int) -> np.ndarray:
        """The permutation of `epoch`: [N] int32, not to be written to. The last two are kept."""
        return self._orders(epoch)

    @functools.cached_property
    def _orders(self) -> Callable[[int], np.ndarray]:
        return functools.lru_cache(maxsize=2)(functools.partial(_order, len(self.source), self.seed, self.shuffle))

    def batch_at(self, step: int) -> dict[str, np.ndarray]:
        """This process' rows of the batch of `step`, [B / P, ...] each, with `index: [B / P] int32`."""
        first, count = self.rows
        place = self.position(step) + first + np.arange(count)
        epoch, offset = np.divmod(place, len(self.source))
        index = np.empty(count, np.int32)
        for each in np.unique(epoch):
            index[epoch == each] = self.order(int(each))[offset[epoch == each]]
        batch = self.source.drawn(index, self.seed, epoch)
        return batch if self.transform is None else self._transformed(batch, epoch, self.transform)

    def _transformed(
        self, batch: dict[str, np.ndarray], epoch: np.ndarray, transform: Transform
    ) -> dict[str, np.ndarray]:
        examples = []
        for row, index in enumerate(batch["index"]):
            rng = np.random.default_rng((self.seed, int(epoch[row]), int(index)))
            example = transform({key: value[row] for key, value in batch.items()}, rng)
            examples.append({**example, "index": index})
        return {key: np.stack([example[key] for example in examples]) for key in examples[0]}


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """ceil(num_examples / batch_size): 1000 examples in batches of 100 are 10 steps."""
    if num_examples < 0 or batch_size < 1:
        raise ValueError(
            f"num_examples is {num_examples} and batch_size {batch_size}; at least 0 and at least 1 are allowed"
        )
    return -(-num_examples // batch_size)


def batch_at(pipelines: Any, step: int) -> Any:
    """The batch of `step` of a pipeline, or of each pipeline in a (nested) dict of them."""
    if isinstance(pipelines, Mapping):
        return {name: batch_at(pipeline, step) for name, pipeline in pipelines.items()}
    return pipelines.batch_at(step)


def settings(pipelines: Any) -> dict[str, Any]:
    """`Pipeline.settings` of a pipeline, or of each pipeline in a (nested) dict of them."""
    if isinstance(pipelines, Mapping):
        return {name: settings(pipeline) for name, pipeline in pipelines.items()}
    return pipelines.settings


def padded_batches(
    source: Source, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[dict[str, np.ndarray]]:
    """The source once, in order, in batches of one shape with `mask: [B / P] float32` (1 example, 0 padding).

    Padding repeats example 0 (its `index` too) under mask 0. Every process yields the same number of batches.

    Raises: ValueError as `Pipeline` does; a batch larger than the source is padded.
    """
    first, count = _share(batch_size, process_index, process_count)
    return _padded(source, batch_size, first, count)


def _padded(source: Source, batch_size: int, first: int, count: int) -> Iterator[dict[str, np.ndarray]]:
    def rows(step: int) -> dict[str, np.ndarray]:
        place = step * batch_size + first + np.arange(count)
        real = place < len(source)
        return source[np.where(real, place, 0)] | {"mask": real.astype(np.float32)}

    steps = steps_per_epoch(len(source), batch_size)
    if not any(hasattr(array, "drawn") for array in source.arrays.values()):
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
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if process_count < 1 or not 0 <= process_index < process_count:
        raise ValueError(
            f"process_index is {process_index} of process_count {process_count}; it must be in [0, process_count)"
        )
    if batch_size % process_count:
        raise ValueError(f"batch_size is {batch_size}; it must be a multiple of process_count {process_count}")
    count = batch_size // process_count
    return process_index * count, count
