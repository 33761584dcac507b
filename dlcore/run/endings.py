"""Orderly endings: Ctrl-C and closed pipes end a command with one line and an exit status.

with orderly_ending():
    run()

Ctrl-C (SIGINT) prints one line and exits with 130; during a training, `dlcore.run.preemption` handles it instead. A
closed output pipe, as after `head`, ends the command silently.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from dlcore.choices import repeated_options
from dlcore.run.preemption import REQUEUE, Preempted

__all__ = ["INTERRUPTED", "note_repeats", "one_line_while_importing", "orderly_ending", "resumable"]

INTERRUPTED, PIPE_CLOSED = 130, 141
"""Exit statuses after SIGINT and SIGPIPE, as in a shell."""
LINE = "stopped by Ctrl-C"
GRACE = 1.0
"""Seconds that Python has to handle a SIGINT; it cannot while XLA compiles, which may take minutes."""


def note_repeats(argv: Sequence[str]) -> None:
    """Say on standard error which options of a command line are given twice; the last value counts.

    Programs that put words behind those of a list stay silent: they call `resolve` or `dlcore.main.run`.

    Args:
      argv: the command line that a process was started with.
    """
    for message in repeated_options(argv):
        print(f"note: {message}", file=sys.stderr)


@contextlib.contextmanager
def orderly_ending() -> Iterator[None]:
    """Convert Ctrl-C to one line and status 130, and a closed pipe to status 141 without a message.

    Yields:
      None.

    Raises:
      SystemExit: the status, instead of KeyboardInterrupt and of a BrokenPipeError of the standard output.
    """
    try:
        with _Interrupts():
            try:
                yield
            except BrokenPipeError:
                if not _has_no_reader():  # another pipe, of a worker
                    raise
                _leave_pipe()
            finally:
                _flush()
    except KeyboardInterrupt:
        print(f"\n{LINE}", file=sys.stderr, flush=True)
        raise SystemExit(INTERRUPTED) from None


def one_line_while_importing() -> None:
    """Make Ctrl-C print one line and exit with 130 while modules load, before `orderly_ending`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: Any) -> None:
    """Exit at SIGINT: a KeyboardInterrupt could be raised where it cannot be caught, and nothing has begun."""
    os.write(2, f"\n{LINE}\n".encode())
    os._exit(INTERRUPTED)


@contextlib.contextmanager
def resumable(step: int) -> Iterator[None]:
    """Make Ctrl-C exit with 75, "run me again", before the first step of a resumed training.

    Args:
      step: the last saved step; 0 changes nothing.

    Yields:
      None.

    Raises:
      Preempted: instead of KeyboardInterrupt.
    """
    interrupts = getattr(signal.getsignal(signal.SIGINT), "__self__", None)
    if not step or not isinstance(interrupts, _Interrupts):
        yield
        return
    interrupts.line, interrupts.status = str(Preempted(step)), REQUEUE
    try:
        yield
    except KeyboardInterrupt:
        raise Preempted(step) from None
    finally:
        interrupts.line, interrupts.status = LINE, INTERRUPTED


def _flush() -> None:
    """Flush the standard output; exit if the pipe is closed."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_pipe()
    except ValueError:  # a file that is closed
        pass


def _has_no_reader() -> bool:
    """Return whether the standard output is a closed pipe."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(output)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _leave_pipe() -> None:
    """Exit with 141; Python's last flush goes to /dev/null."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(PIPE_CLOSED)


class _Interrupts:
    """Raises KeyboardInterrupt at SIGINT; a thread ends the process if Python cannot raise it in time."""

    line, status = LINE, INTERRUPTED

    def __enter__(self) -> "_Interrupts":
        self._active = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) in (
            signal.default_int_handler,
            _leave,
        )
        if not self._active:
            return self
        self._raised = threading.Event()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._before = signal.signal(signal.SIGINT, self._raise)
        self._hook_before, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self._wakeup_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="Ctrl-C", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if not self._active:
            return
        signal.set_wakeup_fd(self._wakeup_before)
        signal.signal(signal.SIGINT, self._before)
        sys.unraisablehook = self._hook_before
        os.close(self._writing)
        self._thread.join()
        os.close(self._reading)

    def _raise(self, number: int, frame: Any) -> None:
        self._raised.set()
        raise KeyboardInterrupt

    def _unraisable(self, unraisable: Any) -> None:
        """Repeat a SIGINT whose KeyboardInterrupt Python dropped, for example in a finalizer."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            self._hook_before(unraisable)

    def _watch(self) -> None:
        """Read the signals of the process, and handle SIGINT while this object is active."""
        while numbers := os.read(self._reading, 64):
            if signal.SIGINT in numbers and signal.getsignal(signal.SIGINT) == self._raise:
                if not self._raised.wait(GRACE):
                    os.write(2, f"\n{self.line}\n".encode())
                    os._exit(self.status)
                self._raised.clear()
