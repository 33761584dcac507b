"""Orderly endings: Ctrl-C and closed pipes end a command with one line and an exit status.

with orderly_ending():
    run()

Ctrl-C (SIGINT) prints one line and leaves with 130; while a training runs, `dlcore.run.preemption` answers it instead.
A reader of the output that has gone away, as `head` does, ends the command in silence.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from dlcore.run.preemption import REQUEUE, Preempted

__all__ = ["INTERRUPTED", "one_line_while_importing", "orderly_ending", "resumable"]

INTERRUPTED, PIPE_CLOSED = 130, 141
"""Exit statuses after SIGINT and SIGPIPE, as a shell gives them."""
LINE = "stopped by Ctrl-C"
GRACE = 1.0
"""Seconds that Python gets to answer a SIGINT. It cannot while XLA compiles, which takes up to minutes."""


@contextlib.contextmanager
def orderly_ending() -> Iterator[None]:
    """Turn Ctrl-C into one line and status 130, and a closed pipe into silence and status 141.

    Yields:
      None.

    Raises:
      SystemExit: with the status, in place of KeyboardInterrupt and of a BrokenPipeError of the standard output.
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
    """Have Ctrl-C print one line and leave with 130 where no `orderly_ending` is reached yet: while modules load."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: Any) -> None:
    """Answer SIGINT at once: KeyboardInterrupt may be raised where nobody can catch it, and nothing has begun."""
    os.write(2, f"\n{LINE}\n".encode())
    os._exit(INTERRUPTED)


@contextlib.contextmanager
def resumable(step: int) -> Iterator[None]:
    """Have Ctrl-C leave with 75, "run me again", where a resumed training has not taken a step yet.

    Args:
      step: the last step, which is saved; 0 changes nothing.

    Yields:
      None.

    Raises:
      Preempted: in place of KeyboardInterrupt.
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
    """Write out what is buffered; leave where nobody reads it any more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_pipe()
    except ValueError:  # a file that is closed
        pass


def _has_no_reader() -> bool:
    """Whether the standard output is a pipe that nobody reads any more."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(output)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _leave_pipe() -> None:
    """Leave with 141; Python flushes once more when it ends, which then goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(PIPE_CLOSED)


class _Interrupts:
    """Raises KeyboardInterrupt at SIGINT; a thread ends the process where Python does not come to raising it."""

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
        """Repeat a SIGINT whose KeyboardInterrupt Python dropped, as in a finalizer or a garbage collection."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            self._hook_before(unraisable)

    def _watch(self) -> None:
        """Read the signals that the process gets; SIGINT counts where this object answers it."""
        while numbers := os.read(self._reading, 64):
            if signal.SIGINT in numbers and signal.getsignal(signal.SIGINT) == self._raise:
                if not self._raised.wait(GRACE):
                    os.write(2, f"\n{self.line}\n".encode())
                    os._exit(self.status)
                self._raised.clear()
