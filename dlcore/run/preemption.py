"""Stop at the next step boundary after SIGTERM or SIGINT: save, then exit with a status for schedulers."""

import signal
import threading
from typing import Any

__all__ = ["REQUEUE", "Preempted", "Preemption"]

REQUEUE = 75
"""Exit status after a preemption: EX_TEMPFAIL, "run me again". Schedulers should requeue on 75, 134 and 143."""


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
    """

    def __init__(self):
        import jax

        self._flag = threading.Event()
        self._several = jax.process_count() > 1
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Preemption":
        if not self._several and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    def _received(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT and self._flag.is_set():  # a second Ctrl-C does not wait
            raise KeyboardInterrupt
        self._flag.set()

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
