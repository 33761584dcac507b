"""Stop at the next step boundary after SIGTERM or SIGINT: save, then exit with a status for schedulers.

Python handles a signal between two of its own instructions. A step that never returns would keep it waiting forever, so
a thread reads the signals too, and ends the process after a time of grace.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["REQUEUE", "Preempted", "Preemption"]

REQUEUE = 75
"""Exit status after a preemption: EX_TEMPFAIL, "run me again". Schedulers should requeue on 75, 134 and 143."""
IMPATIENT = 1.0
"""Seconds of grace after a second Ctrl-C."""
SAVES, STOP = b"\x00", b"\xff"
"""What the process itself writes into the pipe of signals: that it saves, and that nothing is watched any longer."""


class Preempted(SystemExit):
    """A signal stopped the run, which has saved and can be resumed by the same command.

    Args:
      step: the last saved step.
    """

    def __init__(self, step: int):
        super().__init__(REQUEUE)
        self.step = step

    def __str__(self) -> str:
        return f"stopped by a signal after step {self.step}, saved; the same command resumes"


class Preemption:
    """Catches signals, and tells after every step whether to stop.

    In one process a signal sets a flag. With several processes jax's notifier catches it, and its sync point makes all
    processes stop after the same step.

    Args:
      grace_seconds: time that a signal leaves for the step or the evaluation to end, and again for the checkpoint to be
        written; then the process ends with 128 + the signal's number.
      saved_step: () -> the last step on disk, or None; for the line that is then printed.
    """

    def __init__(self, grace_seconds: float = 60.0, saved_step: Callable[[], int | None] = lambda: None):
        import jax

        self._flag = threading.Event()
        self._several = jax.process_count() > 1
        self._previous: dict[int, Any] = {}
        self._grace, self._saved_step = grace_seconds, saved_step

    def __enter__(self) -> "Preemption":
        if not self._several and threading.current_thread() is threading.main_thread():
            self._reading, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
            self._wakeup_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._received)
            os.register_at_fork(after_in_child=self._leave_to_parent)
            self._thread = threading.Thread(target=self._watch, name="preemption", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if not self._previous:
            return
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        signal.set_wakeup_fd(self._wakeup_before)
        self._previous = {}
        os.write(self._writing, STOP)
        self._thread.join()
        os.close(self._writing)
        os.close(self._reading)

    def _leave_to_parent(self) -> None:
        """Give a forked process, such as a worker that may be terminated, the signals that it had before."""
        if self._previous:
            signal.set_wakeup_fd(-1)
            for number, previous in self._previous.items():
                signal.signal(number, previous)

    def _received(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT and self._flag.is_set():  # a second Ctrl-C does not wait
            raise KeyboardInterrupt
        self._flag.set()

    def _watch(self) -> None:
        """Read the signals of the process, pass them on, and end it where the time of grace is over."""
        deadline, first = None, 0
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._reading], [], [], left)[0]:
                self._end(first)
            numbers = os.read(self._reading, 64)
            if STOP in numbers:
                return
            if self._wakeup_before >= 0 and (signals := numbers.replace(SAVES, b"")):
                with contextlib.suppress(BlockingIOError):
                    os.write(self._wakeup_before, signals)
            now, caught = time.monotonic(), [n for n in numbers if n in (signal.SIGTERM, signal.SIGINT)]
            if caught and deadline is None:
                first, deadline = caught[0], now + self._grace
            elif deadline is not None and signal.SIGINT in caught:
                deadline = min(deadline, now + IMPATIENT)
            elif deadline is not None and SAVES in numbers:
                deadline = now + self._grace

    def _end(self, number: int) -> None:
        step = self._saved_step()
        saved = "nothing is saved" if step is None else f"saved after step {step}; the same command resumes"
        text = f"stopped by a signal: what was running did not end within {self._grace:g} s; {saved}"
        os.write(2, f"\n{text}\n".encode())
        os._exit(128 + number)

    def begin_saving(self) -> None:
        """Give a checkpoint its own time of grace, after the step has ended."""
        if self._previous:
            os.write(self._writing, SAVES)

    def requested(self, step: int) -> bool:
        """Return whether to save and stop.

        Args:
          step: number of steps done; all processes must call it at the same steps.

        Returns:
          Whether a signal arrived, the same on all processes.
        """
        if self._several:
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return self._flag.is_set()
