"""Write the metrics of a run to metrics.jsonl, the record, and to TensorBoard events, a view of it.

metrics.jsonl holds one JSON object per line, `{"step": 100, "split": "train", "loss": 0.31}`. Floats are written by
`repr`, so that they are read back exactly. JSON has no NaN and no infinities: they are the strings "nan", "inf" and
"-inf", which `read_metrics` converts back to floats. None, a metric without examples, is null.
"""

import json
import math
import os
import pathlib
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from absl import logging

__all__ = ["METRICS_FILE", "MetricsWriter", "read_metrics"]

METRICS_FILE = "metrics.jsonl"
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class MetricsWriter:
    """Appends rows to `folder/metrics.jsonl` and to a TensorBoard event file.

    The operating system has a row when `write` returns; `flush` waits until it is on disk. tensorboardX (1.7 s to
    import) is imported and writes in a separate thread; the next `flush` or `close` raises its errors. In a run of
    several processes only one may open a writer. Half-written and damaged lines are removed.

    Args:
      folder: the run's folder.
      resume_step: restored step; later rows are removed, in TensorBoard too; -1 removes every row, None none.
    """

    def __init__(self, folder: str | os.PathLike, resume_step: int | None = None):
        self._folder = pathlib.Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder / METRICS_FILE
        _truncate(self._path, math.inf if resume_step is None else resume_step)
        self._file = self._path.open("a", encoding="utf-8")
        self._purge_step = None if resume_step is None else resume_step + 1
        self._thread = ThreadPoolExecutor(1, "tensorboard")
        self._pending: list[Future] = []
        self._events: _EventFile | None = None

    def write(self, row: dict[str, Any]) -> None:
        """Append one row: `step` (int), `split` and any numbers; TensorBoard gets each number as `split/name`.

        Args:
          row: values may be numbers, None, strings, arrays (lists in the file; not for TensorBoard) or dicts of
            these, which are flattened: {"calibration": {"ece": 0.1}} is "calibration/ece".

        Raises:
          ValueError: `step` is missing or not an int.
        """
        row = dict(_flatten(row))
        if not isinstance(row.get("step"), int):
            raise ValueError(f"row['step']={row.get('step')!r}: wrong type; allowed: int")
        self._file.write(json.dumps({k: _to_json(v) for k, v in row.items()}, allow_nan=False) + "\n")
        self._file.flush()
        prefix = f"{row['split']}/" if row.get("split") else ""
        scalars = {
            prefix + name: float(value)
            for name, value in row.items()
            if name not in ("step", "split") and isinstance(value, int | float)
        }
        if scalars:
            self._submit(self._add_scalars, scalars, row["step"])

    def image(self, tag: str, array: Any, step: int) -> None:
        """Add a picture to TensorBoard.

        Args:
          tag: name of the picture.
          array: [H, W], [H, W, 1] or [H, W, 3], uint8 or float in [0, 1].
          step: training step of the picture.

        Raises:
          ValueError: `array` has another shape.
        """
        array = np.array(array)
        if array.ndim == 2:
            array = array[..., None]
        if array.ndim != 3 or array.shape[-1] not in (1, 3):
            raise ValueError(f"array.shape={array.shape}: not an image; allowed: [H, W], [H, W, 1] or [H, W, 3]")
        self._submit(self._add_image, tag, array, step)

    def flush(self) -> None:
        """Wait until everything is on disk, and raise errors of TensorBoard's thread."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._events is not None or self._pending:
            self._submit(lambda: self._event_writer().flush())
        self._wait()

    def close(self) -> None:
        """Flush and close the files; a second call does nothing."""
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()
            if self._events is not None:
                self._submit(self._events.close)
            self._thread.shutdown()
        self._wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _submit(self, function, *args) -> None:
        done = [future for future in self._pending if future.done() and future.exception() is None]
        self._pending = [future for future in self._pending if future not in done]
        self._pending.append(self._thread.submit(function, *args))

    def _wait(self) -> None:
        pending, self._pending = self._pending, []
        for future in pending:
            future.result()

    def _event_writer(self) -> "_EventFile":
        """Return the event file, opened at first use in the thread."""
        if self._events is None:
            self._events = _EventFile(self._folder, self._purge_step)
        return self._events

    def _add_scalars(self, scalars: dict[str, float], step: int) -> None:
        self._event_writer().add(scalars, {}, step)

    def _add_image(self, tag: str, array: np.ndarray, step: int) -> None:
        self._event_writer().add({}, {tag: array}, step)


class _EventFile:
    """A TensorBoard event file, written synchronously: tensorboardX's SummaryWriter cannot wait for its queue."""

    def __init__(self, folder: pathlib.Path, purge_step: int | None):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

        self._event = Event
        # Event files are named by host and second: the suffix keeps a quick restart from overwriting its predecessor.
        self._writer = EventsWriter(str(folder / "events"), f".{os.getpid()}.{time.time_ns()}")
        if purge_step is not None:
            self._write(purge_step, session_log=SessionLog(status=SessionLog.START))
        self.flush = self._writer.flush
        self.close = self._writer.close

    def add(self, scalars: dict[str, float], images: dict[str, np.ndarray], step: int) -> None:
        from tensorboardX import summary

        for tag, value in scalars.items():
            self._write(step, summary=summary.scalar(tag, value))
        for tag, array in images.items():
            self._write(step, summary=summary.image(tag, array, dataformats="HWC"))

    def _write(self, step: int, **content) -> None:
        self._writer.write_event(self._event(wall_time=time.time(), step=step, **content))


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Read the rows of a metrics.jsonl.

    Args:
      path: path of the file, or of its folder.

    Returns:
      The rows in order, without a half-written last line and without damaged lines, which a warning names.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: no line is a JSON object.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        path = path / METRICS_FILE
    return [{k: _from_json(k, v) for k, v in json.loads(line).items()} for line in _complete_lines(path)]


def _complete_lines(path: pathlib.Path) -> list[str]:
    """Return the lines that end in a newline and hold a JSON object; warn about others, which a crash may leave."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    is_complete = [_is_object(line) for line in lines]
    damaged = [number for number, complete in enumerate(is_complete, 1) if not complete]
    if damaged and len(damaged) == len(lines):
        raise ValueError(f"{path}:1: {lines[0][:80]!r} is not a JSON object; allowed: one object a line")
    if damaged:
        logging.warning("%s: damaged, and left out: line %s", path, ", ".join(map(str, damaged)))
    return [line for line, complete in zip(lines, is_complete, strict=True) if complete]


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False


def _truncate(path: pathlib.Path, last_step: float) -> None:
    """Keep the rows up to `last_step` and rows without a step, replacing the file atomically."""
    if not path.exists():
        return
    lines = [line for line in _complete_lines(path) if json.loads(line).get("step", -math.inf) <= last_step]
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _flatten(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten a row to names joined by "/" and plain Python values; arrays become lists."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}/")
        elif value is None or isinstance(value, str):
            yield prefix + name, value
        else:
            yield prefix + name, np.asarray(value).tolist()


def _to_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_json(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _from_json(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(name, v) for v in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) and name != "split" else value
