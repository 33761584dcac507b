"""Batches made ahead of their use, by one background thread."""

import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Prefetch", "prefetch"]


class Prefetch(Iterator[tuple[int, Any]]):
    """An iterator of (step, put(batch_at(step))) for step in [start, stop), made at most `size` ahead of the consumer.

    An exception in the thread is raised to the consumer with its own traceback, after the batches before it.
    `close()` (or leaving a `with` block, or dropping the object) stops the thread and waits for it.

    wait_seconds: how long the consumer has waited for batches so far.
    """

    def __init__(
        self,
        batch_at: Callable[[int], Any],
        start: int,
        stop: int | None,
        size: int = 2,
        put: Callable[[Any], Any] = lambda batch: batch,
    ):
        if size < 1:
            raise ValueError(f"size is {size}; at least one batch must be allowed ahead")
        self.wait_seconds = 0.0
        self._ready: queue.SimpleQueue = queue.SimpleQueue()
        self._free = threading.Semaphore(size)
        self._finished = False
        halt = threading.Event()
        # The thread must not hold `self`: a dropped iterator could then never be collected.
        work = (batch_at, start, stop, put, self._ready, self._free, halt)
        self._thread = threading.Thread(target=_fill, args=work, name="dlcore-prefetch", daemon=True)
        self._shut = weakref.finalize(self, _shut, self._thread, self._free, halt)
        self._thread.start()

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
        """Stop the thread and wait until it has ended; batches made but not taken are dropped."""
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
    """`Prefetch` over the steps [start, stop); without an end where `stop` is None.

    put: applied to each batch in the thread, to move it to the device.
    """
    return Prefetch(batch_at, start, stop, size, put)


def _fill(batch_at, start, stop, put, ready, free, halt) -> None:
    error = None
    try:
        step = start
        while stop is None or step < stop:
            free.acquire()
            if halt.is_set():
                break
            ready.put((step, put(batch_at(step)), None))
            step += 1
    except BaseException as caught:
        error = caught
    ready.put((None, None, error))


def _shut(thread: threading.Thread, free: threading.Semaphore, halt: threading.Event) -> None:
    halt.set()
    free.release()
    if thread is not threading.current_thread():
        thread.join()
