"""Write the metrics of a run to metrics.jsonl, the record, and to trackers such as TensorBoard, views of it.

metrics.jsonl holds one JSON object per line, `{"step": 100, "split": "train", "loss": 0.31}`. Floats are written by
`repr`, so that they are read back exactly. JSON has no NaN and no infinities: they are the strings "nan", "inf" and
"-inf", which `read_metrics` converts back to floats. None, a metric without examples, is null.
"""

import json
import math
import os
import pathlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from absl import logging

from dlcore.run.event_file import EventFile
from dlcore.run.trackers import Tracking, row_scalars

__all__ = ["METRICS_FILE", "MetricsWriter", "read_metrics"]

METRICS_FILE = "metrics.jsonl"
DEFAULT_TRACKING = Tracking()
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class MetricsWriter:
    """Appends rows to `folder/metrics.jsonl`, and shows them in TensorBoard and other trackers.

    The operating system has a row when `write` returns; `flush` waits until it is on disk. Trackers are imported and
    written in a separate thread; one that fails is a warning, and gets nothing more. In a run of several processes only
    one may open a writer. Half-written and damaged lines are removed.

    Args:
      folder: the run's folder.
      resume_step: restored step; later rows are removed, in TensorBoard too; -1 removes every row, None none. The rows
        that stay are published.
      tracking: which trackers show the rows.
    """

    def __init__(
        self, folder: str | os.PathLike, resume_step: int | None = None, tracking: Tracking = DEFAULT_TRACKING
    ):
        self._folder = pathlib.Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder / METRICS_FILE
        _truncate(self._path, math.inf if resume_step is None else resume_step)
        self._file = self._path.open("a", encoding="utf-8")
        self._thread = ThreadPoolExecutor(1, "trackers")
        self._failed: set[str] = set()
        self._events: EventFile | None = None
        if tracking.to_tensorboard:
            self._events = EventFile(self._folder, None if resume_step is None else resume_step + 1)
        self._feeds = tracking.feeds(self._folder)
        self._rows: list[dict[str, Any]] = []
        if self._feeds:
            self._rows = read_metrics(self._path)
            self.publish()

    def write(self, row: dict[str, Any]) -> None:
        """Append one row: `step` (int), `split` and any numbers; TensorBoard gets each number as `split/name`.

        Args:
          row: values may be numbers, None, strings, arrays (lists in the file; not for trackers) or dicts of these,
            which are flattened: {"calibration": {"ece": 0.1}} is "calibration/ece".
        """
        row = dict(_flatten(row))
        if not isinstance(row.get("step"), int):
            raise ValueError(f"row['step']={row.get('step')!r}: wrong type; allowed: int")
        self._file.write(json.dumps({k: _to_json(v) for k, v in row.items()}, allow_nan=False) + "\n")
        self._file.flush()
        if self._feeds:
            self._rows.append(row)
        if self._events is not None and (scalars := row_scalars(row)):
            self._submit(self._events.name, self._events.add, scalars, {}, row["step"])

    def publish(self, step: int | None = None) -> None:
        """Give the trackers besides TensorBoard the rows that no resume will write again.

        Args:
          step: step of a checkpoint on disk: rows up to the first of a later step; None for all rows.
        """
        count = len(self._rows)
        if step is not None:
            count = next((number for number, row in enumerate(self._rows) if row.get("step", 0) > step), count)
        for feed in self._feeds if count else ():
            self._submit(feed.name, feed.publish, self._rows[:count])

    def image(self, tag: str, array: Any, step: int) -> None:
        """Add a picture to TensorBoard.

        Args:
          tag: name of the picture.
          array: [H, W], [H, W, 1] or [H, W, 3], uint8 or float in [0, 1].
          step: training step of the picture.
        """
        array = np.array(array)
        if array.ndim == 2:
            array = array[..., None]
        if array.ndim != 3 or array.shape[-1] not in (1, 3):
            raise ValueError(f"array.shape={array.shape}: not an image; allowed: [H, W], [H, W, 1] or [H, W, 3]")
        if self._events is not None:
            self._submit(self._events.name, self._events.add, {}, {tag: array}, step)

    def flush(self) -> None:
        """Wait until the file is on disk and the trackers have what they were given."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._events is not None:
            self._submit(self._events.name, self._events.flush)
        self._thread.submit(lambda: None).result()

    def close(self) -> None:
        """Flush and close the files and trackers; a second call does nothing."""
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()
            for view in (*self._feeds, *([] if self._events is None else [self._events])):
                self._submit(view.name, view.close)
            self._thread.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _submit(self, name: str, function: Callable, *args) -> None:
        self._thread.submit(self._attempt, name, function, *args)

    def _attempt(self, name: str, function: Callable, *args) -> None:
        """Call a tracker, in the thread; its first failure is a warning and its last call."""
        if name in self._failed:
            return
        try:
            function(*args)
        except Exception as error:
            self._failed.add(name)
            text = f"{type(error).__name__}: {str(error)[:300]}"
            logging.warning("the tracker %s failed, and gets nothing more; the run goes on: %s", name, text)


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
