"""End a run whose training step never returns.

A step hangs where

    idle > max(10 usual n, 60 s)      idle: seconds of one wait for the device in which the process computed nothing
                                      usual: seconds a step, the most that earlier waits took
                                      n: steps that were dispatched since the device was last waited for

Libraries below JAX can wait forever: collectives for a lost peer, pools of threads for their own workers. Nothing in
Python returns then, and a scheduler sees a process that runs. Compilation, evaluation, reading data and saving are not
watched, nor the first wait, which has nothing to be compared with. Time in which the process was stopped (Ctrl-Z) does
not count.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

from dlcore.run.preemption import REQUEUE

__all__ = ["Watchdog"]

TIMES, LEAST, INTERVAL, BUSY = 10.0, 60.0, 1.0, 0.02
"""Usual waits and least seconds of a hang; seconds between two looks; processor time over time of a process at work."""


class Watchdog:
    """Watches the steps of a training, in a thread of its own.

    Args:
      saved_step: () -> the last step on disk, or None.
    """

    def __init__(self, saved_step: Callable[[], int | None]):
        self._saved_step = saved_step
        self._stopped = threading.Event()
        self._step: int | None = None
        self._waited = self._usual = 0.0
        self._dispatched = self._waits = 0

    def __enter__(self) -> "Watchdog":
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        self._thread.join()

    @contextlib.contextmanager
    def waiting(self, step: int, returns: bool) -> Iterator[None]:
        """Watch a block that dispatches a step or waits for the device.

        Args:
          step: number of the step, for the message.
          returns: whether the block ends when the device has computed all that was dispatched.

        Yields:
          Nothing.
        """
        began, self._step, self._waits = time.monotonic(), step, self._waits + 1
        self._dispatched += not returns
        try:
            yield
        finally:
            self._step = None
            self._waited += time.monotonic() - began
            if returns:
                self._usual = max(self._usual, self._waited / max(1, self._dispatched))
                self._waited, self._dispatched = 0.0, 0

    def _watch(self) -> None:
        idle, waits, looked, computed = 0.0, 0, time.monotonic(), time.process_time()
        while not self._stopped.wait(INTERVAL):
            passed = min(time.monotonic() - looked, 2 * INTERVAL)
            works = time.process_time() - computed > BUSY * passed
            looked, computed = time.monotonic(), time.process_time()
            step, usual = self._step, self._usual * max(1, self._dispatched)
            is_same = waits == self._waits
            waits = self._waits
            idle = 0.0 if works or step is None or not usual or not is_same else idle + passed
            if idle > max(TIMES * usual, LEAST) and step is not None:
                self._end(step, idle)

    def _end(self, step: int, idle: float) -> None:
        saved = self._saved_step()
        state = "nothing is saved" if saved is None else f"saved after step {saved}; the same command resumes"
        text = f"step {step} hangs: the process has computed nothing for {idle:.0f} s; {state}"
        os.write(2, f"\nerror: {text}\n".encode())
        os._exit(1 if saved is None else REQUEUE)
