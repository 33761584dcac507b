"""Trackers have the rows of metrics.jsonl, each once, whatever happens to the run and to them."""

import json
import os
import struct
import sys
import typing
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.experiment.settings import RUN
from dlcore.extras import MissingPackage
from dlcore.learner import Learner, State, Sum
from dlcore.run import Placement, Saving, Tracking, fit, make_mesh
from dlcore.run.metrics_writer import MetricsWriter, read_metrics
from dlcore.run.trackers import TRACKERS, MLflowTracker, TrackedRun, WandbTracker, row_scalars

SETTINGS = {"batch_size": 8, "model.width": [8, 16], "momentum": None, "optimizer": "sgd"}
ROWS = [
    {"step": 2, "split": "train", "loss": 0.1, "accuracy": None},
    {"step": 2, "split": "valid", "loss": 1 / 3, "recall@5": 0.25},
    {"step": 4, "split": "train", "loss": float("inf"), "calibration": {"ece": 0.5, "bins": [1, 2]}},
    {"step": 6, "split": "train", "note": "no number"},
    {"step": 3, "split": "test", "loss": 7.0},
]


class Memory:
    """A tracker that keeps its runs: {id: (name, settings, rows)}."""

    def __init__(self, failing_row: int | None = None):
        self.runs, self.failing_row, self.closed = {}, failing_row, 0

    def open(self, run):
        self.run_id = run.run_id or f"id{len(self.runs)}"
        if run.run_id is None:
            self.runs[self.run_id] = (run.folder.name, dict(run.settings), [])
        return self

    def add(self, scalars, step, number):
        if number == self.failing_row:
            raise OSError("no route to host")
        self.rows.append((number, step, scalars))

    def close(self):
        self.closed += 1

    @property
    def rows(self):
        return self.runs[self.run_id][2]


def expected(folder):
    """(number, step, {"split/name": value}) of each row with a number."""
    rows = enumerate(read_metrics(folder))
    return [(number, row["step"], row_scalars(row)) for number, row in rows if row_scalars(row)]


def write(folder, tracker, rows, resume_step=None, publish_step=None):
    with MetricsWriter(folder, resume_step, Tracking((tracker,), SETTINGS)) as writer:
        for row in rows:
            writer.write(row)
        writer.publish(publish_step)


@pytest.mark.covers("SY-17")
def test_a_tracker_has_every_number_of_metrics_jsonl_once(tmp_path):
    memory = Memory()
    write(tmp_path, memory.open, ROWS[:4])
    write(tmp_path, memory.open, ROWS[4:])
    assert memory.runs == {"id0": (tmp_path.name, SETTINGS, memory.rows)}
    assert memory.rows == [
        (0, 2, {"train/loss": 0.1}),
        (1, 2, {"valid/loss": 1 / 3, "valid/recall@5": 0.25}),
        (2, 4, {"train/loss": float("inf"), "train/calibration/ece": 0.5}),
        (4, 3, {"test/loss": 7.0}),
    ]
    assert memory.rows == expected(tmp_path)
    assert memory.closed == 2
    assert not list(tmp_path.glob("events.*")), "TensorBoard was not asked for"


@pytest.mark.covers("SY-17")
def test_rows_after_the_checkpoint_wait_for_the_next(tmp_path):
    """Killed at step 6 after the checkpoint of step 4: the resumed run writes another row of step 6."""
    memory = Memory()
    rows = [{"step": step, "split": "train", "loss": float(step)} for step in (2, 4, 6)]
    write(tmp_path, memory.open, rows, publish_step=4)
    assert [step for _, step, _ in memory.rows] == [2, 4]
    write(tmp_path, memory.open, [{"step": 6, "split": "train", "loss": -6.0}], resume_step=4)
    assert memory.rows == [(0, 2, {"train/loss": 2.0}), (1, 4, {"train/loss": 4.0}), (2, 6, {"train/loss": -6.0})]
    assert list(memory.runs) == ["id0"]


def test_rows_that_a_damaged_checkpoint_brings_again_are_not_added_again(tmp_path):
    memory = Memory()
    rows = [{"step": step, "split": "train", "loss": float(step)} for step in (2, 4, 6, 8)]
    write(tmp_path, memory.open, rows[:3])
    write(tmp_path, memory.open, rows[1:], resume_step=2)
    assert memory.rows == expected(tmp_path)


@pytest.mark.covers("SY-17")
def test_a_tracker_that_fails_is_one_warning_and_the_others_go_on(tmp_path, caplog):
    broken, whole = Memory(failing_row=1), Memory()
    openers = (lambda run: broken.open(run), whole.open)
    with MetricsWriter(tmp_path, tracking=Tracking(openers)) as writer:
        for row in ROWS:
            writer.write(row)
            writer.publish()
    assert caplog.text.count("the tracker <lambda> failed") == 1
    assert "OSError: no route to host" in caplog.text
    assert [number for number, _, _ in broken.rows] == [0]
    assert whole.rows == expected(tmp_path)
    assert len(read_metrics(tmp_path)) == len(ROWS)
    broken.failing_row = None
    write(tmp_path, openers[0], [])
    assert [number for number, _, _ in broken.rows] == [0, 2, 4], "the next run adds the rest, and no row twice"


def test_names_and_packages_are_checked_before_any_work(monkeypatch):
    with pytest.raises(ValueError, match=r"tracking.trackers='neptune': unknown; allowed: tensorboard, mlflow, wandb"):
        Tracking(("tensorboard", "neptune"))
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingPackage, match=r"the tracker wandb needs wandb, .*pip install -e '.\[track\]'"):
        Tracking(("wandb",))


def test_the_flag_has_the_names_of_the_trackers():
    (element, _) = typing.get_args(RUN["track"].type)
    assert typing.get_args(element) == TRACKERS
    assert RUN["track"].identity is False


class CutOff(Exception):
    """What a test raises in place of a kill."""


class Cut(Pipeline):
    """A pipeline that fails at step 11."""

    def batch_at(self, step):
        if step == 11:
            raise CutOff
        return super().batch_at(step)


@pytest.mark.slow
@pytest.mark.covers("SY-17")
def test_a_run_that_was_cut_off_continues_its_tracker_run(tmp_path):
    """Checkpoints of steps 4 and 8, rows of steps 2 to 10, a failure at 11; the second call goes on after 8."""

    def init(rng, batch):
        return State(jnp.int32(0), rng, {"w": jnp.zeros(())}, ())

    def update(state, batch):
        return state.replace(step=state.step + 1), {"loss": Sum.of(batch["x"])}

    def train(pipeline):
        return fit(
            Learner(init, update, lambda state, batch: {}, lambda state, batch: batch["x"]),
            pipeline,
            steps=16,
            folder=tmp_path,
            placement=Placement(make_mesh("data:1", jax.devices()[:1])),
            log_every=2,
            saving=Saving(seconds=0, steps=4),
            progress=False,
            tracking=Tracking((memory.open,), SETTINGS),
        )

    memory, source = Memory(), Source({"x": np.arange(40, dtype=np.float32)}, 40)
    with pytest.raises(CutOff):
        train(Cut(source, 8))
    assert [row["step"] for row in read_metrics(tmp_path)] == [2, 4, 6, 8, 10]
    assert max(step for _, step, _ in memory.rows) in (4, 8)
    train(Pipeline(source, 8))
    assert [step for _, step, _ in memory.rows] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert memory.rows == expected(tmp_path)
    assert list(memory.runs) == ["id0"]


@pytest.fixture
def offline(monkeypatch):
    """The environment of a user who has set nothing."""
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY", "WANDB_MODE")
    for name in (*names, "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, "")  # so that monkeypatch restores what the code under test sets
        monkeypatch.delenv(name)


class Recorder:
    """An object that notes each call of a method as (name, arguments, keywords)."""

    def __init__(self, calls, **results):
        self.calls, self.results = calls, results

    def __getattr__(self, name):
        def call(*args, **words):
            self.calls.append((name, args, words))
            return self.results.get(name)

        return call


def test_a_run_of_mlflow_has_its_settings_in_batches_and_its_rows_by_step(tmp_path, offline, monkeypatch):
    """Other characters of a name than letters, digits, spaces and _ - . : / become _; 101 settings are two batches."""
    calls = []
    info = SimpleNamespace(info=SimpleNamespace(run_id="r1"))
    client = Recorder(calls, create_experiment="e1", create_run=info)
    opened = []
    mlflow = SimpleNamespace(MlflowClient=lambda uri: opened.append(uri) or client)
    entities = SimpleNamespace(Metric=lambda *args: args, Param=lambda *args: args)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.setattr("dlcore.run.trackers.time.time", lambda: 1.5)
    settings = {"a@b": "x" * 6001, **{f"s{k}": k for k in range(100)}}
    folder = tmp_path / "page" / "run7"
    tracker = MLflowTracker(TrackedRun(folder, settings, None))
    assert opened == [(folder / "mlruns").as_uri()]
    assert os.environ["MLFLOW_ALLOW_FILE_STORE"] == os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    opening = ["get_experiment_by_name", "create_experiment", "create_run"]
    assert [name for name, *_ in calls] == [*opening, "log_batch", "log_batch"]
    assert (calls[1][1], calls[2][1:]) == (("page",), (("e1",), {"run_name": "run7"}))
    batches = [words["params"] for _, _, words in calls[3:]]
    assert [len(batch) for batch in batches] == [100, 1]
    assert batches[0][0] == ("a_b", "x" * 6000)
    assert (batches[1], tracker.run_id) == ([("s99", "99")], "r1")
    del calls[:]
    tracker.add({"valid/recall@5": 0.25}, 40, 2)
    tracker.close()
    assert calls == [
        ("log_batch", ("r1",), {"metrics": [("valid/recall_5", 0.25, 1500, 40)]}),
        ("set_terminated", ("r1",), {}),
    ]
    del calls[:]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host")
    again = MLflowTracker(TrackedRun(folder, settings, "r1"))
    assert (opened[-1], again.run_id) == ("http://host", "r1")
    assert calls == [("update_run", ("r1",), {"status": "RUNNING"})]
    client.results["get_experiment_by_name"] = SimpleNamespace(experiment_id="e9")
    MLflowTracker(TrackedRun(folder, {}, None))
    assert calls[-1] == ("create_run", ("e9",), {"run_name": "run7"})


def test_a_run_of_wandb_is_offline_and_counts_rows(tmp_path, offline, monkeypatch):
    calls, made = [], []
    wandb = SimpleNamespace(init=lambda **words: made.append(words) or Recorder(calls), Settings=lambda **words: words)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    folder = tmp_path / "page" / "run7"
    tracker = WandbTracker(TrackedRun(folder, {"a": 1}, "w1"))
    assert made == [
        {
            "mode": "offline", "dir": folder, "project": "page", "id": "w1", "name": "run7", "config": {"a": 1},
            "resume": "allow", "reinit": "create_new", "settings": {"silent": True, "console": "off"},
        }
    ]  # fmt: skip
    tracker.add({"train/loss": 0.5}, 40, 2)
    tracker.close()
    assert calls == [
        ("define_metric", ("*",), {"step_metric": "step"}),
        ("log", ({"step": 40, "train/loss": 0.5},), {"step": 2}),
        ("finish", (), {}),
    ]
    monkeypatch.setenv("WANDB_MODE", "online")
    new = WandbTracker(TrackedRun(folder, {}, None))
    assert (made[-1]["mode"], made[-1]["id"]) == ("online", new.run_id)
    assert len(new.run_id) == 8


def test_each_tracker_is_fed_once_and_tensorboard_by_no_feed(tmp_path, monkeypatch):
    monkeypatch.setattr("dlcore.run.trackers.require", lambda *args, **words: None)
    memory = Memory()
    tracking = Tracking(("tensorboard", "mlflow", memory, "mlflow"), SETTINGS)
    assert [feed.name for feed in tracking.feeds(tmp_path)] == ["mlflow", "Memory"]
    assert (tracking.to_tensorboard, Tracking(()).to_tensorboard, Tracking().to_tensorboard) == (True, False, True)


def test_numbers_of_a_row_stand_below_its_split():
    row = {"step": 3, "split": "", "loss": 1, "note": "a", "none": None, "bins": [1.0]}
    assert row_scalars(row) == {"loss": 1.0}
    assert row_scalars({**row, "split": "valid"}) == {"valid/loss": 1.0}


@pytest.mark.weekly
@pytest.mark.covers("SY-17")
def test_the_rows_of_a_local_mlflow_are_those_of_metrics_jsonl(tmp_path, offline):
    mlflow = pytest.importorskip("mlflow")
    folder = tmp_path / "page" / "run7"
    write(folder, "mlflow", ROWS[:3])
    write(folder, "mlflow", ROWS[3:])
    client = mlflow.MlflowClient((folder / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("page")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("run7", "FINISHED")
    assert run.data.params == {name: str(value) for name, value in SETTINGS.items()}
    points = [
        (metric.step, name, metric.value)
        for name in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, name)
    ]
    numbers = [
        (step, name.replace("@", "_"), value)
        for _, step, scalars in expected(folder)
        for name, value in scalars.items()
    ]
    assert sorted(points) == sorted(numbers)


def wandb_records(folder):
    """The records of a folder's .wandb files: LevelDB's log format after 7 bytes, blocks of 32768 bytes."""
    from wandb.proto import wandb_internal_pb2

    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        data, position, parts = path.read_bytes(), 7, b""
        while position < len(data):
            if 32768 - position % 32768 < 7:
                position += 32768 - position % 32768
                continue
            _, length, kind = struct.unpack_from("<IHB", data, position)
            parts += data[position + 7 : position + 7 + length]
            position += 7 + length
            if kind in (1, 4):  # a whole record, or the last part of one
                record = wandb_internal_pb2.Record()
                record.ParseFromString(parts)
                yield record
                parts = b""


def wandb_items(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.weekly
@pytest.mark.covers("SY-17")
def test_the_rows_of_an_offline_wandb_folder_are_those_of_metrics_jsonl(tmp_path, offline):
    pytest.importorskip("wandb")
    folder = tmp_path / "page" / "run7"
    write(folder, "wandb", ROWS[:3])
    write(folder, "wandb", ROWS[3:])
    records = list(wandb_records(folder))
    runs = [record.run for record in records if record.HasField("run")]
    assert {(run.project, run.display_name) for run in runs} == {("page", "run7")}
    assert len({run.run_id for run in runs}) == 1
    config = wandb_items(runs[0].config.update)
    assert {name: config[name] for name in SETTINGS} == SETTINGS
    rows = []
    for record in records:
        if record.HasField("history"):
            values = wandb_items(record.history.item)
            number, step = values["_step"], values["step"]
            rows.append((number, step, {k: float(v) for k, v in values.items() if "/" in k}))
    assert rows == expected(folder)
