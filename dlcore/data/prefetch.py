"""Prefetch batches: one thread reads them ahead of their use, a second one moves them to the device."""

import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from dlcore.ops.checks import check_shapes

__all__ = ["Prefetch", "prefetch"]


class Prefetch(Iterator[tuple[int, Any]]):
    """An iterator of (step, put(batch_at(step))), computed at most `size` batches ahead of the consumer.

    An exception in a thread is raised to the consumer with its own traceback, after the batches before it. `close()`
    (or leaving a `with` block, or dropping the object) stops the threads and waits for them. `wait_seconds` is the time
    that the consumer has waited for batches so far.

    Args:
      batch_at: function from the step to the batch, called in the first thread.
      start: first step.
      stop: step after the last one; None never ends.
      size: largest number of batches computed ahead, at least 1.
      put: function from the batch to the yielded value, called in the second thread, to move the batch to the device.
    """

    def __init__(
        self,
        batch_at: Callable[[int], Any],
        start: int,
        stop: int | None,
        size: int = 2,
        put: Callable[[Any], Any] = lambda batch: batch,
    ):
        check_shapes(start=(start, "int >= 0"), stop=(stop, "int >= 0 or None"), size=(size, "int >= 1"))
        self.wait_seconds = 0.0
        self._ready: queue.SimpleQueue = queue.SimpleQueue()
        self._free = threading.Semaphore(size)
        self._finished = False
        halt = threading.Event()
        batches: queue.SimpleQueue = queue.SimpleQueue()
        # The threads must not hold `self`: a dropped iterator could then never be collected.
        work = {_read: (batch_at, start, stop, batches, self._free, halt), _move: (put, batches, self._ready, halt)}
        threads = [threading.Thread(target=f, args=a, name="dlcore-prefetch", daemon=True) for f, a in work.items()]
        self._shut = weakref.finalize(self, _shut, threads, self._free, halt)
        for thread in threads:
            thread.start()

    def __next__(self) -> tuple[int, Any]:
        if self._finished:
            raise StopIteration
        begin = time.perf_counter()
        step, batch, error = self._ready.get()
        self.wait_seconds += time.perf_counter() - begin
        if step is None:
            self.close()
            if error is not None:
                raise error
            raise StopIteration
        self._free.release()
        return step, batch

    def close(self) -> None:
        """Stop the threads and wait until they have ended; batches computed ahead are dropped."""
        self._finished = True
        self._shut()

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def prefetch(
    batch_at: Callable[[int], Any],
    start: int,
    stop: int | None,
    size: int = 2,
    put: Callable[[Any], Any] = lambda batch: batch,
) -> Prefetch:
    """Iterate over batches that two threads compute ahead; see `Prefetch`.

    Args:
      batch_at: function from the step to the batch, called in the first thread.
      start: first step.
      stop: step after the last one; None never ends.
      size: largest number of batches computed ahead, at least 1.
      put: function from the batch to the yielded value, called in the second thread, to move the batch to the device.

    Returns:
      An iterator of (step, put(batch_at(step))).
    """
    return Prefetch(batch_at, start, stop, size, put)


def _read(batch_at, start, stop, batches, free, halt) -> None:
    error = None
    try:
        step = start
        while stop is None or step < stop:
            free.acquire()
            if halt.is_set():
                break
            batches.put((step, batch_at(step), None))
            step += 1
    except BaseException as caught:
        error = caught
    batches.put((None, None, error))


def _move(put, batches, ready, halt) -> None:
    step = 0
    while step is not None:
        step, batch, error = batches.get()
        try:
            batch = batch if step is None or halt.is_set() else put(batch)
        except BaseException as caught:
            step, batch, error = None, None, caught
        ready.put((step, batch, error))


def _shut(threads: list[threading.Thread], free: threading.Semaphore, halt: threading.Event) -> None:
    halt.set()
    free.release()
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join()
