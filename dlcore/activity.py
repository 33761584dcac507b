"""Say what the program is doing wherever nothing else has been printed for ten seconds.

Long work names itself by `activity`. `heartbeat` starts a thread that prints the innermost activity, its count and its
time once the console has been silent for `SILENCE` seconds: also where the main thread waits for a device, a compiler
or scikit-learn. A process has one console, so the activities are those of the process.
"""

import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["SILENCE", "Activities", "activity", "heartbeat", "note_output", "show_live"]

SILENCE = 9.0
"""Seconds without a line after which one is due."""

INTERVAL = 0.5
"""Seconds between two looks at the console."""


@dataclasses.dataclass(eq=False)
class _Entry:
    what: str
    total: int | None
    since: float
    count: int = 0

    def set_count(self, count: int) -> None:
        self.count = count


class Activities:
    """What a process is doing, the innermost last, and when its console last showed something.

    Args:
      clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._entries: list[_Entry] = []
        self._last_output = clock()
        self.live = False

    @contextlib.contextmanager
    def activity(self, what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Name the work of a block.

        Args:
          what: a phrase such as "fine-tuning with 60 labels".
          total: number of its parts; None where there are none to count.

        Returns:
          Context of a function that takes the number of parts done.
        """
        entry = _Entry(what, total, self._clock())
        self._entries.append(entry)
        try:
            yield entry.set_count
        finally:
            self._entries.remove(entry)  # a generator that is not exhausted may end after an outer one

    def note_output(self) -> None:
        """Note that a line was printed, so that none is due for `SILENCE` seconds."""
        self._last_output = self._clock()

    def due_line(self) -> str | None:
        """Return the line that is due, and note that it is printed.

        Returns:
          The text; None while the console is not silent, or shows a live bar.
        """
        now = self._clock()
        if self.live:
            self._last_output = now
        if now - self._last_output < SILENCE:
            return None
        self._last_output = now
        if not self._entries:
            return "working"
        entry = self._entries[-1]
        minutes, seconds = divmod(int(now - entry.since), 60)
        total = f"/{entry.total:,}" if entry.total else ""
        parts = f" {entry.count:,}{total}" if entry.count else ""
        return f"{entry.what}{parts}, {minutes}:{seconds:02}"


_CONSOLE = Activities()
activity, note_output = _CONSOLE.activity, _CONSOLE.note_output


def show_live(shows: bool) -> None:
    """Say whether the console shows a live bar, which is never silent.

    Args:
      shows: whether it does.
    """
    _CONSOLE.live = shows


@contextlib.contextmanager
def heartbeat(is_shown: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Print what is going on after `SILENCE` seconds without output, to the standard error stream, during a block.

    Args:
      is_shown: whether this process prints; asked when a line is due, once devices are known.

    Returns:
      The context.
    """
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(INTERVAL):
            if (line := _CONSOLE.due_line()) and is_shown():
                print(f"... {line}", file=sys.stderr, flush=True)

    note_output()
    thread = threading.Thread(target=watch, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(2.0)
