"""Input pipelines: read the batches of a training ahead of their use, and move them to the devices.

    dlcore    `Prefetch`: one thread reads the batches, a second one moves them
    grain     grain.MapDataset.range(start, stop).map(batch_at).to_iter_dataset(ReadOptions(size, size)): each of
              `size` threads reads a batch and moves it

Grain (Google; package `grain`) numbers the elements of a data set and computes element t from t alone, as
`Pipeline.batch_at` does. Both therefore give the same batches bit by bit, from whatever step a run resumes, and a
checkpoint of dlcore, which holds the step, suffices for both. Grain's processes are not used: its threads read the
arrays where they lie, while each process would take a copy.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from dlcore.choices import check_choice
from dlcore.data.prefetch import Prefetch
from dlcore.extras import require
from dlcore.ops.checks import check_shapes

__all__ = ["INPUT_PIPELINES", "GrainBatches", "check_input_pipeline", "open_batches"]

INPUT_PIPELINES = ("dlcore", "grain")
"""Names of the input pipelines."""


class GrainBatches(Iterator[tuple[int, Any]]):
    """An iterator of (step, put(batch_at(step))), computed by grain at most `size` batches ahead of the consumer.

    An exception in a thread is raised to the consumer, after the batches before it. `close()` (or leaving a `with`
    block) drops the batches that no thread has begun. `wait_seconds` is the time that the consumer has waited for
    batches so far.

    Args:
      batch_at: function from the step to the batch; several threads call it at once.
      start: first step.
      stop: step after the last one.
      size: largest number of batches computed ahead, and number of threads, at least 1.
      put: function from the batch to the yielded value, called in the same thread, to move the batch to the device.
    """

    def __init__(
        self,
        batch_at: Callable[[int], Any],
        start: int,
        stop: int,
        size: int = 2,
        put: Callable[[Any], Any] = lambda batch: batch,
    ):
        check_shapes(start=(start, "int >= 0"), stop=(stop, "int >= 0"), size=(size, "int >= 1"))
        check_input_pipeline("grain")
        import grain  # pyright: ignore[reportMissingImports]

        self.wait_seconds = 0.0
        # The threads must not hold `self`: a dropped iterator could then never be collected.
        self._halt = halt = threading.Event()

        def read(step: int) -> tuple[int, Any]:
            return (step, None) if halt.is_set() else (step, put(batch_at(step)))

        options = grain.ReadOptions(num_threads=size, prefetch_buffer_size=size)
        self._batches = iter(grain.MapDataset.range(start, stop).map(read).to_iter_dataset(options))

    def __next__(self) -> tuple[int, Any]:
        if self._halt.is_set():
            raise StopIteration
        begin = time.perf_counter()
        try:
            return next(self._batches)
        except BaseException:
            self.close()
            raise
        finally:
            self.wait_seconds += time.perf_counter() - begin

    def close(self) -> None:
        """Stop reading; batches computed ahead are dropped."""
        self._halt.set()
        self._batches.close()

    def __enter__(self) -> "GrainBatches":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def check_input_pipeline(name: str) -> None:
    """Check an input pipeline before any work.

    Args:
      name: "dlcore" or "grain".
    """
    check_choice("input_pipeline", name, INPUT_PIPELINES)
    if name == "grain":
        require("grain", what="input_pipeline=grain")


def open_batches(
    input_pipeline: str,
    batch_at: Callable[[int], Any],
    start: int,
    stop: int,
    size: int = 2,
    put: Callable[[Any], Any] = lambda batch: batch,
) -> Prefetch | GrainBatches:
    """Read batches ahead by the named input pipeline.

    Args:
      input_pipeline: "dlcore" or "grain".
      batch_at: function from the step to the batch, a pure one.
      start: first step.
      stop: step after the last one.
      size: largest number of batches computed ahead, at least 1.
      put: function from the batch to the yielded value, to move the batch to the device.

    Returns:
      An iterator of (step, put(batch_at(step))).
    """
    check_input_pipeline(input_pipeline)
    kind = {"dlcore": Prefetch, "grain": GrainBatches}[input_pipeline]
    return kind(batch_at, start, stop, size, put)
