"""Trackers: MLflow and Weights & Biases show the rows of metrics.jsonl, offline, each row once.

A tracker gets a row when a checkpoint holds its step, since a resumed run goes back to its newest checkpoint, and
trackers take no row back. `trackers.json` in the run's folder holds the id of each tracker's run and the number of rows
that it has: a resumed run continues the same tracker run with the next row. TensorBoard, which can take rows back, gets
each row at once (`dlcore.run.event_file`).
"""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dlcore.extras import require
from dlcore.run.json_files import read_json, write_json

__all__ = ["MLflowTracker", "TrackedRun", "Tracker", "TrackerFeed", "Tracking", "WandbTracker", "row_scalars"]

TRACKERS_FILE = "trackers.json"
MOST_PARAMS, MOST_PARAM_CHARACTERS = 100, 6000
"""MLflow's limits: parameters of one call, and characters of a value."""


class TrackedRun(NamedTuple):
    """What a tracker is opened with.

    Args:
      folder: folder of the run; its name is the name of the tracker's run.
      settings: {name: JSON-able value}, the settings of the run.
      run_id: id of the tracker's run to continue; None begins one.
    """

    folder: Path
    settings: Mapping[str, Any]
    run_id: str | None


class Tracker(Protocol):
    """A run of a tracker. It is used in one thread; an exception is a warning, and ends its use in this run.

    Args:
      run_id: id of the tracker's run, to continue it.
    """

    run_id: str

    def add(self, scalars: dict[str, float], step: int, number: int) -> None:
        """Add the numbers of a row.

        Args:
          scalars: {"split/name": number}.
          step: training step of the row.
          number: number of the row in metrics.jsonl, from 0.
        """
        ...

    def close(self) -> None:
        """Write what is buffered, and end the run."""
        ...


class MLflowTracker:
    """A run in MLflow: the file store `mlruns` in the run's folder, or the store that MLFLOW_TRACKING_URI names.

    The MLflow experiment is the name of the folder that holds the run's folder. A character that MLflow does not allow
    in a name becomes "_".

    Args:
      run: the run.
    """

    def __init__(self, run: TrackedRun):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
        from mlflow.entities import Metric, Param  # pyright: ignore[reportMissingImports]

        self._metric = Metric
        self._client = MlflowClient(uri or (run.folder.resolve() / "mlruns").as_uri())
        if run.run_id is not None:
            self.run_id = run.run_id
            self._client.update_run(self.run_id, status="RUNNING")
            return
        name = _group(run.folder)
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        self.run_id = self._client.create_run(experiment_id, run_name=run.folder.name).info.run_id
        params = [Param(_mlflow_name(k), str(v)[:MOST_PARAM_CHARACTERS]) for k, v in run.settings.items()]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self.run_id, params=params[first : first + MOST_PARAMS])

    def add(self, scalars: dict[str, float], step: int, number: int) -> None:
        """Add the numbers of a row: see `Tracker`.

        Args:
          scalars: {"split/name": number}.
          step: training step of the row.
          number: number of the row in metrics.jsonl, from 0.
        """
        milliseconds = int(1000 * time.time())
        metrics = [self._metric(_mlflow_name(k), v, milliseconds, step) for k, v in scalars.items()]
        self._client.log_batch(self.run_id, metrics=metrics)

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self.run_id)


class WandbTracker:
    """A run in Weights & Biases, in `wandb` of the run's folder: offline unless WANDB_MODE says otherwise.

    A row of the history is a row of metrics.jsonl. Its `step` is the training step, the x axis of every curve.

    Args:
      run: the run.
    """

    def __init__(self, run: TrackedRun):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb  # pyright: ignore[reportMissingImports]

        self.run_id = run.run_id or secrets.token_hex(4)
        self._run = wandb.init(
            mode=os.environ.get("WANDB_MODE", "offline"),
            dir=run.folder,
            project=_group(run.folder),
            id=self.run_id,
            name=run.folder.name,
            config=dict(run.settings),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="step")

    def add(self, scalars: dict[str, float], step: int, number: int) -> None:
        """Add the numbers of a row: see `Tracker`.

        Args:
          scalars: {"split/name": number}.
          step: training step of the row.
          number: number of the row in metrics.jsonl, from 0.
        """
        self._run.log({"step": step, **scalars}, step=number)

    def close(self) -> None:
        """Write what is buffered, and end the run."""
        self._run.finish()


_OPENERS: dict[str, Callable[[TrackedRun], Tracker]] = {"mlflow": MLflowTracker, "wandb": WandbTracker}
TRACKERS = ("tensorboard", *_OPENERS)
"""Names of the trackers."""


@dataclass(frozen=True)
class Tracking:
    """Which trackers show the metrics of a run.

    Args:
      trackers: names ("tensorboard", "mlflow", "wandb"), or functions TrackedRun -> Tracker for others.
      settings: {name: JSON-able value} that a tracker shows as the run's parameters.

    Raises:
      ValueError: a name is unknown, or the trackers are no list or tuple.
      MissingPackage: the package of a tracker is not installed.
    """

    trackers: Sequence[str | Callable[[TrackedRun], Tracker]] = ("tensorboard",)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if not isinstance(self.trackers, list | tuple):
            raise ValueError(f"tracking.trackers={self.trackers!r}: no list; allowed: names or functions in a tuple")
        for name in self.trackers:
            if isinstance(name, str) and name not in TRACKERS:
                raise ValueError(f"tracking.trackers={name!r}: unknown; allowed: {', '.join(TRACKERS)}, or functions")
            if name in _OPENERS:
                require(str(name), what=f"the tracker {name}")

    @property
    def to_tensorboard(self) -> bool:
        """Whether TensorBoard is among the trackers."""
        return "tensorboard" in self.trackers

    def feeds(self, folder: Path) -> list["TrackerFeed"]:
        """Prepare the other trackers; nothing is imported or written.

        Args:
          folder: folder of the run.

        Returns:
          One feed for each tracker, each tracker once.
        """
        return [
            TrackerFeed(folder, tracker, _OPENERS[tracker], self.settings)
            if isinstance(tracker, str)
            else TrackerFeed(folder, getattr(tracker, "__name__", type(tracker).__name__), tracker, self.settings)
            for tracker in dict.fromkeys(self.trackers)
            if tracker != "tensorboard"
        ]


class TrackerFeed:
    """Gives the rows of a run to one tracker, each row once.

    A row counts as given before the tracker has it: a run that is killed in between leaves it out rather than twice.

    Args:
      folder: folder of the run.
      name: name of the tracker.
      opener: function that opens it.
      settings: settings of the run.
    """

    def __init__(self, folder: Path, name: str, opener: Callable[[TrackedRun], Tracker], settings: Mapping[str, Any]):
        self.name = name
        self._folder, self._opener, self._settings = folder, opener, settings
        self._tracker: Tracker | None = None
        self._count = 0

    def publish(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add the rows that the tracker does not have.

        Args:
          rows: rows of metrics.jsonl from the first on.
        """
        if self._tracker is None:
            record = self._records().get(self.name, {})
            self._count = record.get("rows", 0)
            if self._count >= len(rows):
                return
            self._tracker = self._opener(TrackedRun(self._folder, self._settings, record.get("run_id")))
        for number in range(self._count, len(rows)):
            self._count = number + 1
            record = {"run_id": self._tracker.run_id, "rows": self._count}
            write_json(self._folder / TRACKERS_FILE, {**self._records(), self.name: record})
            if scalars := row_scalars(rows[number]):
                self._tracker.add(scalars, rows[number].get("step", 0), number)

    def close(self) -> None:
        """Close the tracker."""
        if self._tracker is not None:
            self._tracker.close()

    def _records(self) -> dict[str, Any]:
        with contextlib.suppress(FileNotFoundError):
            return read_json(self._folder / TRACKERS_FILE)
        return {}


def row_scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """Select the numbers of a row.

    Args:
      row: a row of metrics.jsonl.

    Returns:
      {"split/name": number}, or {"name": number} without a split; no step, text, list or None.
    """
    prefix = f"{row['split']}/" if row.get("split") else ""
    return {
        prefix + name: float(value)
        for name, value in row.items()
        if name not in ("step", "split") and isinstance(value, int | float)
    }


def _group(folder: Path) -> str:
    return folder.resolve().parent.name or "dlcore"


def _mlflow_name(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", name)
