"""The TensorBoard event file of a run."""

import os
import pathlib
import time

import numpy as np

__all__ = ["EventFile"]


class EventFile:
    """A TensorBoard event file, written synchronously: tensorboardX's SummaryWriter cannot wait for its queue.

    tensorboardX (1.7 s to import) is imported and the file created at the first use.

    Args:
      folder: the run's folder.
      purge_step: first step of a resumed run, from which TensorBoard hides earlier events; None hides none.
    """

    name = "tensorboard"

    def __init__(self, folder: pathlib.Path, purge_step: int | None):
        self._folder, self._purge_step = folder, purge_step
        self._writer = None

    def _open(self) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

        self._event = Event
        # Event files are named by host and second: the suffix keeps a quick restart from overwriting its predecessor.
        self._writer = EventsWriter(str(self._folder / "events"), f".{os.getpid()}.{time.time_ns()}")
        if self._purge_step is not None:
            self._write(self._purge_step, session_log=SessionLog(status=SessionLog.START))

    def add(self, scalars: dict[str, float], images: dict[str, np.ndarray], step: int) -> None:
        """Add numbers and pictures.

        Args:
          scalars: {tag: number}.
          images: {tag: [H, W, C] array, uint8 or float in [0, 1]}.
          step: training step.
        """
        from tensorboardX import summary

        if self._writer is None:
            self._open()
        for tag, value in scalars.items():
            self._write(step, summary=summary.scalar(tag, value))
        for tag, array in images.items():
            self._write(step, summary=summary.image(tag, array, dataformats="HWC"))

    def flush(self) -> None:
        """Write what is buffered."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, step: int, **content) -> None:
        assert self._writer is not None
        self._writer.write_event(self._event(wall_time=time.time(), step=step, **content))
