"""The loop: exact logs, validation, hooks, phases, start, what is kept, what a resumed run finds again."""

import html
import importlib
import itertools
import json
import math
import resource
import shutil
import signal
import types
from types import SimpleNamespace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.pipeline import Pipeline, batch_at
from dlcore.data.source import Source
from dlcore.experiment.resolved_run import restore_state
from dlcore.learner import Evaluator, Last, Learner, Max, State, Sum, mask_of
from dlcore.metrics import MeanIoU
from dlcore.optim import cross_replica
from dlcore.run import STOP, EarlyStopping, Placement, Result, Saving, evaluate, fit, make_mesh
from dlcore.run.checkpoint import CheckpointMismatch, Checkpoints
from dlcore.run.metrics_writer import read_metrics
from dlcore.run.nonfinite import NonFiniteError
from dlcore.run.sharding import leaf_paths
from dlcore.run.step import Program

FIT = importlib.import_module("dlcore.run.fit")  # `dlcore.run.fit` is the function
N = 40


def one_device(spmd="jit") -> Placement:
    return Placement(make_mesh("data:1", jax.devices()[:1]), spmd=spmd)


ONE = one_device()


def source(n: int = N, seed: int = 0) -> Source:
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    return Source({"x": x, "y": x @ np.array([1.0, -2.0, 0.5], np.float32)}, n, name="line")


def regression(rate: float = 0.1, width: int = 3, score=None) -> Learner:
    """y ~ w x by SGD with momentum and noise; `score(state)` becomes the validation metric "score"."""
    tx = cross_replica(optax.sgd(rate, momentum=0.9))

    def losses(params, batch):
        return jnp.square(batch["x"] @ params["w"][:3] - batch["y"])

    def init(rng, batch):
        params = {"w": jax.random.normal(rng, (width,))}
        return State(jnp.int32(0), rng, params, tx.init(params))

    def update(state, batch):
        values = losses(state.params, batch)
        gradient = jax.grad(lambda p: losses(p, batch).mean())(state.params)
        noise = jax.random.normal(jax.random.fold_in(state.rng, state.step), (width,))
        gradient = jax.tree.map(lambda g: g + 1e-3 * noise, gradient)
        updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": Sum.of(values), "top": Max(values.max()), "at": Last(state.step), "rows": Sum(jnp.int32(4))}
        metrics["x"] = Sum.of(batch["x"][:, 0])
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    def evaluate(state, batch):
        values, mask = losses(state.params, batch), mask_of(batch)
        metrics = {"loss": Sum.of(values, mask), "seen": Sum(mask.sum()), "x": Sum.of(batch["x"][:, 0], mask)}
        return metrics if score is None else {**metrics, "score": Sum(jnp.float32(score(state)))}

    return Learner(init, update, evaluate, lambda s, b: b["x"] @ s.params["w"][:3])


PLAIN = regression()


def pipeline(batch_size: int = 8, n: int = N, seed: int = 0) -> Pipeline:
    return Pipeline(source(n), batch_size, seed)


def train(steps=8, learner=PLAIN, pipe=None, **options):
    options = {"placement": ONE, "progress": False, "saving": Saving(seconds=0), "log_every": 4, **options}
    return fit(learner, pipeline() if pipe is None else pipe, steps=steps, **options)


class CutOff(Exception):
    """What a test raises in place of a kill."""


class Cut:
    """A pipeline that fails at a step, as a process that dies there would."""

    def __init__(self, pipe, at):
        self.pipe, self.at, self.settings = pipe, at, pipe.settings

    def batch_at(self, step):
        if step == self.at:
            raise CutOff(step)
        return batch_at(self.pipe, step)


def interrupted(at, **options):
    """Train until the batch of step `at` is asked for."""
    pipe = options.pop("pipe", None) or pipeline()
    with pytest.raises(CutOff):
        train(pipe=Cut(pipe, at), **options)


def plain(tree):
    def data(x):
        return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)

    return jax.tree.map(data, tree)


def timeless(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "examples_per_second")} for row in history]


def checkpoints(folder):
    return sorted(int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit())


# The log


@pytest.mark.slow(unless=["5"])
@pytest.mark.parametrize("log_every", [1, 3, 5, 12, 50])
def test_metrics_are_exact_whatever_is_logged(log_every, monkeypatch):
    """Each row is the mean over the examples of its steps; device sums go to the host in between, too."""
    monkeypatch.setattr(FIT, "FOLD_EVERY", 2)
    pipe, steps = pipeline(), 12
    rows = train(steps, pipe=pipe, log_every=log_every).history
    edges = [0, *range(log_every, steps, log_every), steps]
    assert [row["step"] for row in rows] == edges[1:]
    for row, (low, high) in zip(rows, itertools.pairwise(edges), strict=True):
        x = np.concatenate([pipe.batch_at(step)["x"][:, 0] for step in range(low, high)]).astype(np.float64)
        assert row["x"] == pytest.approx(x.mean(), rel=1e-6, abs=1e-7)
        assert row["rows"] == 4 * (high - low)
        assert row["at"] == high - 1
        assert row["split"] == "train"
        assert row["epoch"] == pytest.approx(high * 8 / N, abs=1e-3)
    whole = train(steps, log_every=steps).history[-1]
    spans = np.diff(edges)
    assert np.average([row["loss"] for row in rows], weights=spans) == pytest.approx(whole["loss"], rel=1e-6)
    assert max(row["top"] for row in rows) == whole["top"]


@pytest.mark.slow(unless=["7-wanted1", "54-wanted2"])
@pytest.mark.parametrize(
    ("steps", "wanted"), [(1, [1]), (7, [*range(1, 8)]), (54, [1, *range(2, 55, 2)]), (20, [*range(1, 21)])]
)
def test_a_short_run_logs_at_least_twenty_times_from_step_1_on(steps, wanted):
    rows = train(steps, log_every=None).history
    assert [row["step"] for row in rows] == wanted
    spans = np.diff([0, *wanted])
    whole = train(steps, log_every=steps).history[-1]
    assert np.average([row["loss"] for row in rows], weights=spans) == pytest.approx(whole["loss"], rel=1e-6)


def test_the_learning_rate_of_the_last_step_is_logged():
    rows = train(4, log_every=2, learning_rate=lambda step: 0.1 * (step + 1)).history
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.2, 0.4])


@pytest.mark.slow
def test_a_long_run_logs_every_fifty_steps():
    assert [row["step"] for row in train(1020, log_every=None).history] == [1, *range(50, 1001, 50), 1020]


PIXELS = 2**21


def counting(counts) -> Learner:
    """The plain learner with `counts(rows)` as its metrics, int32 counts of a large step."""

    def update(state, batch):
        return PLAIN.update(state, batch)[0], counts(len(batch["x"]))

    return PLAIN._replace(update=update, evaluate=lambda state, batch: counts(len(batch["x"])))


def large_counts(rows: int) -> dict:
    """As a segmentation's: every pixel right but one, and a matrix of them, which is a metric of another kind."""
    matrix = jnp.array([[PIXELS - 1, 1], [0, 0]], jnp.int32)
    share = Sum(jnp.int32(PIXELS - 1), jnp.int32(PIXELS))
    return {"accuracy": share, "iou": MeanIoU(matrix, jnp.int32(0)), "below": Sum(jnp.int32(-PIXELS))}


@pytest.mark.slow
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_counts_of_1024_steps_do_not_overflow(spmd):
    """2^21 pixels a step and 1024 steps are 2^31, one more than int32 holds."""
    steps = 1024 if spmd == "jit" else 1100
    (row,) = train(steps, counting(large_counts), log_every=steps, placement=one_device(spmd)).history
    assert row["accuracy"] == (PIXELS - 1) / PIXELS
    assert row["iou/pixel_accuracy"] == (PIXELS - 1) / PIXELS
    assert row["below"] == -PIXELS * steps


@pytest.mark.slow
@pytest.mark.parametrize("count", [2**31 - 1, -(2**31)])
def test_the_largest_counts_of_a_step_add_up(count, tmp_path):
    """At the edge of int32, over a resume whose checkpoint lies between two log lines."""
    learner = counting(lambda rows: {"n": Sum(jnp.full((), count, jnp.int32))})
    options = {"log_every": 10, "folder": tmp_path, "saving": Saving(seconds=0, steps=3)}
    interrupted(7, steps=10, learner=learner, **options)
    assert train(10, learner, **options).history[-1]["n"] == 10 * count
    assert train(1, learner).history[-1]["n"] == count


def test_counts_of_a_validation_do_not_overflow():
    """A whole pass of 40 batches, 2^30 a batch."""
    learner = counting(lambda rows: {"n": Sum(jnp.int32(rows * 2**28))})
    assert evaluate(learner, None, source(160), batch_size=4, placement=ONE)["n"] == 160 * 2**28


@pytest.mark.slow
def test_logging_does_not_change_the_trained_state(tmp_path):
    quiet = train(8, log_every=100)
    busy = train(8, log_every=1, folder=tmp_path, valid=source(10), eval_every=1, saving=Saving(steps=1))
    chex.assert_trees_all_equal(plain(quiet.state), plain(busy.state))


def test_seconds_and_rates(tmp_path):
    result = train(8, log_every=3, valid=source(10), eval_every=2, folder=tmp_path)
    rows = [row for row in result.history if row["split"] == "train"]
    assert all(row["examples_per_second"] > 0 for row in rows)
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)
    assert 0 <= result.wait_fraction <= 1
    assert result.compile_seconds > 0
    assert result.seconds_before == 0


def test_time_between_a_log_line_and_a_validation_is_not_lost(monkeypatch):
    """Every training step takes 0.12345 s by this clock, and everything else nothing; 8 of 35 examples are a step."""
    now = [0.0]
    monkeypatch.setattr(FIT, "time", types.SimpleNamespace(monotonic=lambda: now[0]))

    step = Program.step

    def slow(self, carry, batch):
        now[0] += 0.12345
        return step(self, carry, batch)

    monkeypatch.setattr(Program, "step", slow)
    rows = train(9, log_every=3, valid=source(10), eval_every=2, pipe=pipeline(n=35)).history
    rows = [row for row in rows if row["split"] == "train"]
    assert [row["seconds"] for row in rows] == [0.37, 0.741, 1.111]
    assert {row["examples_per_second"] for row in rows} == {64.8}  # 8 / 0.12345
    assert [row["epoch"] for row in rows] == [0.686, 1.371, 2.057]


@pytest.mark.slow
def test_a_report_needs_a_folder_and_says_what_was_measured(tmp_path):
    with pytest.raises(ValueError, match="report=True: there is no folder to write it in; allowed: with folder=PATH"):
        train(2, report=True)
    result = train(2, folder=tmp_path / "line", valid=source(10), report=True)
    page = (tmp_path / "line" / "report.html").read_text()
    loss = next(row["loss"] for row in result.history if row["split"] == "valid")
    assert f">valid loss</dt><dd>{loss:.4g}</dd>" in page
    assert "<dt>valid examples</dt><dd>10</dd>" in page
    assert "Dataset: line, seed 0." in page
    assert "<h1>line</h1>" in page


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train(4, saving=Saving(steps=1), valid=source(10))
    assert list(tmp_path.iterdir()) == []
    assert [row["split"] for row in result.history] == ["train", "valid"]
    assert result.best_step is None


def test_the_log_file_is_the_history(tmp_path):
    result = train(8, folder=tmp_path, valid=source(10), eval_every=4)
    assert read_metrics(tmp_path) == result.history
    assert [(row["step"], row["split"]) for row in result.history] == [
        (4, "train"),
        (4, "valid"),
        (8, "train"),
        (8, "valid"),
    ]
    assert list((tmp_path).glob("*tfevents*")) or list(tmp_path.rglob("*tfevents*"))


@pytest.mark.slow
def test_a_result_prints_in_ten_lines_and_shows_its_curves(tmp_path):
    result = train(8, folder=tmp_path, valid=source(12), saving=Saving(seconds=0, monitor="loss", mode="min"))
    lines = repr(result).splitlines()
    assert lines[0] == "Result"
    assert len(lines) <= 10
    assert max(len(line) for line in lines) < 160
    last = next(row for row in reversed(result.history) if row["split"] == "valid")
    assert f"  valid   loss {last['loss']:.4g}, seen 12, x {last['x']:.4g}, at step 8" in lines
    assert "  best    step 8" in lines
    page = html.unescape(result._repr_html_())
    assert ">loss</b>" in page
    assert page.count("<svg") >= 4
    assert "Result\n" in repr(Result(state=None, step=0, history=[]))


def test_progress_says_something_and_silence_nothing(capsys):
    train(4, progress=False, valid=source(10))
    assert capsys.readouterr().out == ""
    train(4, progress=True, valid=source(10))
    out = capsys.readouterr().out
    assert "step 4/4 train" in out
    assert "loss" in out
    assert "examples/s" in out
    assert "eta 0:00" in out
    assert "step 4/4 valid" in out


# Validation


@pytest.mark.slow(unless=["13-eight", "256-one"])
@pytest.mark.parametrize("placement", [ONE, Placement(make_mesh("data:8"))], ids=["one", "eight"])
@pytest.mark.parametrize("size", [4, 13, 256])
def test_every_validation_example_counts_exactly_once(size, placement):
    valid = source(13, seed=1)
    row = train(2, valid=valid, eval_batch_size=size, placement=placement).history[-1]
    assert row["split"] == "valid"
    assert row["seen"] == 13
    assert row["x"] == pytest.approx(valid.arrays["x"][:, 0].astype(np.float64).mean(), rel=1e-6)


def test_validation_is_at_its_steps_and_at_the_end():
    rows = train(7, valid=source(5), eval_every=3, log_every=100).history
    assert [row["step"] for row in rows if row["split"] == "valid"] == [3, 6, 7]
    rows = train(7, valid=source(5), log_every=100).history
    assert [row["step"] for row in rows if row["split"] == "valid"] == [7]


def test_evaluators_join_the_row_of_the_validation_split_and_may_select_the_best():
    found = iter([0.2, 0.9, 0.4])
    evaluator = Evaluator(
        lambda acc, outputs, rows: len(rows["x"]) + (acc or 0), lambda n: {"n": n, "map": next(found)}
    )
    rows = train(3, valid=source(5), eval_every=1, evaluators=[evaluator], eval_batch_size=2).history
    assert [(row["n"], row["map"]) for row in rows if row["split"] == "valid"] == [(5, 0.2), (5, 0.9), (5, 0.4)]


def scores(values):
    """A learner whose validation score after step t is values[t - 1]."""
    return regression(score=lambda state: jnp.asarray(values, jnp.float32)[state.step - 1])


def kept(folder, values, **saving):
    saving = Saving(seconds=0, keep_last=1, monitor="score", **saving)
    return train(len(values), scores(values), valid=source(5), eval_every=1, folder=folder, saving=saving)


@pytest.mark.covers("RG-19", "TR-17")
def test_the_best_step_is_kept_beside_the_last(tmp_path):
    result = kept(tmp_path, [0.1, 0.9, 0.5, 0.4])
    assert result.best_step == 2
    assert checkpoints(tmp_path) == [2, 4]


@pytest.mark.slow
def test_a_damaged_best_checkpoint_is_replaced_by_the_newest(tmp_path, caplog):
    values = [0.1, 0.9, 0.5, 0.4]
    kept(tmp_path, values)
    learner = scores(values)
    experiment, flags = SimpleNamespace(parts=SimpleNamespace(mode="max")), SimpleNamespace(seed=0)
    run = SimpleNamespace(folder=tmp_path, experiment=experiment, placement=one_device, flags=flags)
    batch = pipeline().batch_at(0)
    assert restore_state(run, learner, batch, "best")[0] == 2
    for path in (tmp_path / "checkpoints" / "2" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert restore_state(run, learner, batch, "best")[0] == 4
    assert "checkpoint 2" in caplog.text
    assert "the newest that can be read replaces it" in caplog.text


@pytest.mark.slow
def test_the_smallest_is_best_under_min(tmp_path):
    result = kept(tmp_path, [0.5, 0.1, 0.9, 0.4], mode="min")
    assert result.best_step == 2
    assert checkpoints(tmp_path) == [2, 4]


def test_a_score_that_is_not_a_number_ends_the_run_and_is_never_the_best(tmp_path):
    with pytest.raises(NonFiniteError, match=r"after step 3: .'score': nan"):
        kept(tmp_path, [0.5, 0.9, math.nan, 0.95, 0.95])
    assert Checkpoints(tmp_path / "checkpoints", read_only=True).best_step() == 2


@pytest.mark.slow
def test_the_best_is_remembered_over_a_resume(tmp_path):
    """A score below it is no reason to save, before and after."""
    learner = scores([0.1, 0.9, 0.2, 0.3, 0.4, 0.5])
    options = {
        "learner": learner,
        "steps": 6,
        "valid": source(5),
        "eval_every": 1,
        "folder": tmp_path,
        "saving": Saving(seconds=0, steps=4, keep_last=10, monitor="score"),
    }
    interrupted(5, **options)
    assert checkpoints(tmp_path) == [1, 2, 4]
    result = train(**options)
    assert result.best_step == 2
    assert checkpoints(tmp_path) == [1, 2, 4, 6]


def test_a_monitor_that_is_not_measured(tmp_path):
    with pytest.raises(ValueError, match="monitor='acuracy': not a validation metric; allowed: loss, seen, x"):
        train(2, valid=source(5), folder=tmp_path, saving=Saving(monitor="acuracy"))


# When it saves


@pytest.mark.slow
def test_saving_by_steps_by_seconds_and_at_the_end(tmp_path):
    train(7, folder=tmp_path / "end", saving=Saving(seconds=0))
    assert checkpoints(tmp_path / "end") == [7]
    train(7, folder=tmp_path / "steps", saving=Saving(seconds=0, steps=3, keep_last=10))
    assert checkpoints(tmp_path / "steps") == [3, 6, 7]
    train(4, folder=tmp_path / "seconds", saving=Saving(seconds=1e-9, keep_last=10))
    assert checkpoints(tmp_path / "seconds") == [1, 2, 3, 4]
    train(4, folder=tmp_path / "last", saving=Saving(seconds=0, steps=1, keep_last=2))
    assert checkpoints(tmp_path / "last") == [3, 4]


def test_a_save_in_flight_is_finished_when_the_loop_fails(tmp_path):
    interrupted(4, steps=8, folder=tmp_path, saving=Saving(seconds=0, steps=4))
    assert checkpoints(tmp_path) == [4]
    assert not list((tmp_path / "checkpoints").glob("*tmp*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0: too small; allowed: at least 1"),
        ({"log_every": 0}, "log_every=0: too small"),
        ({"input_pipeline": "tf"}, "input_pipeline='tf': unknown; allowed: dlcore, grain"),
        ({"prefetch": 0}, "prefetch=0: too small"),
        ({"eval_every": -1}, "eval_every=-1"),
        ({"saving": {"mode": "largest"}}, "saving.mode='largest': unknown; allowed: max, min"),
        ({"saving": {"keep_last": 0}}, "saving.keep_last=0: too small; allowed: at least 1"),
        ({"saving": {"steps": -1}}, "saving.steps=-1: negative; allowed: at least 0"),
    ],
)
def test_arguments_out_of_range(tmp_path, options, message):
    def run(steps=2, saving=None, **rest):
        train(steps, folder=tmp_path, valid=source(5), saving=Saving(**saving or {}), **rest)

    with pytest.raises(ValueError, match=message):
        run(**options)


# Resume


@pytest.mark.slow
@pytest.mark.covers("SY-13")
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(tmp_path, monkeypatch):
    """Cut in the middle of a log window whose sums lie partly on the host, partly on the device."""
    monkeypatch.setattr(FIT, "FOLD_EVERY", 2)
    options = {"steps": 12, "log_every": 8, "valid": source(10), "eval_every": 6, "saving": Saving(seconds=0, steps=5)}
    whole = train(folder=tmp_path / "whole", **options)
    interrupted(7, folder=tmp_path / "cut", **options)
    assert checkpoints(tmp_path / "cut")[-1] == 5
    resumed = train(folder=tmp_path / "cut", **options)
    chex.assert_trees_all_equal(plain(whole.state), plain(resumed.state))
    assert timeless(resumed.history) == timeless(whole.history)
    assert timeless(read_metrics(tmp_path / "cut")) == timeless(read_metrics(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.covers("SY-16")
def test_grain_trains_and_resumes_as_our_input_pipeline_to_the_bit(tmp_path):
    """A run dies at step 7, in the second epoch of 40 examples in batches of 8, and resumes from step 5."""
    pytest.importorskip("grain")
    options = {"steps": 12, "log_every": 4, "saving": Saving(seconds=0, steps=5)}
    ours = train(folder=tmp_path / "ours", **options)
    options["input_pipeline"] = "grain"
    interrupted(7, folder=tmp_path / "cut", **options)
    assert checkpoints(tmp_path / "cut")[-1] == 5
    resumed = train(folder=tmp_path / "cut", **options)
    chex.assert_trees_all_equal(plain(ours.state), plain(resumed.state))
    assert timeless(resumed.history) == timeless(ours.history)


def test_rows_after_the_restored_step_are_cut_away(tmp_path):
    options = {"steps": 8, "log_every": 1, "folder": tmp_path, "saving": Saving(seconds=0, steps=4)}
    interrupted(7, **options)
    assert [row["step"] for row in read_metrics(tmp_path)][-1] > 4
    train(**options)
    assert [row["step"] for row in read_metrics(tmp_path)] == list(range(1, 9))


def test_rows_go_when_there_was_no_checkpoint(tmp_path):
    interrupted(3, steps=4, log_every=1, folder=tmp_path)
    assert read_metrics(tmp_path)
    train(4, log_every=1, folder=tmp_path)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4]


def test_time_before_a_resume_counts(tmp_path):
    options = {"steps": 8, "log_every": 2, "folder": tmp_path, "saving": Saving(seconds=0, steps=4)}
    interrupted(6, **options)
    before = next(row["seconds"] for row in read_metrics(tmp_path) if row["step"] == 4)
    result = train(**options)
    assert result.seconds_before == pytest.approx(before, abs=2e-3)
    assert result.seconds > result.seconds_before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"), [("data:8", "data:1"), ("data:1", "data:8"), ("data:8", "data:4,model:2"), ("pmap", "data:2")]
)
def test_another_number_of_devices_goes_on_to_a_tolerance(tmp_path, first, then):
    def placed(spec):
        if spec == "pmap":
            return Placement(make_mesh("data:8"), spmd="pmap")
        count = math.prod(int(part.split(":")[1]) for part in spec.split(","))
        return Placement(make_mesh(spec, jax.devices()[:count]))

    options = {"steps": 6, "saving": Saving(seconds=0, steps=3), "log_every": 2}
    here = placed(first)
    interrupted(5, learner=regression(), placement=here, folder=tmp_path, **options)
    result = train(placement=placed(then), folder=tmp_path, **options)
    assert result.step == 6
    assert len(result.state.params["w"].sharding.device_set) == placed(then).mesh.size
    whole = train(**options)
    np.testing.assert_allclose(result.state.params["w"], whole.state.params["w"], rtol=1e-6, atol=1e-6)
    for a, b in zip(result.history, whole.history, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


@pytest.mark.slow
def test_start_runs_once_and_never_on_a_resume(tmp_path):
    calls = []

    def start(state):
        calls.append(int(state.step))
        return state.replace(params={"w": np.full(3, 2.0, np.float32)})

    still = regression(rate=0.0)
    options = {"learner": still, "steps": 6, "folder": tmp_path, "start": start, "saving": Saving(seconds=0, steps=2)}
    interrupted(5, **options)
    assert calls == [0]
    result = train(**options)
    assert calls == [0]
    np.testing.assert_array_equal(result.state.params["w"], [2.0, 2.0, 2.0])


def test_another_training_is_refused_and_nothing_is_written_over(tmp_path):
    class Other(Recorder):
        pass

    interrupted(5, steps=8, folder=tmp_path, saving=Saving(seconds=0, steps=2), hooks=[Recorder()])
    before = (tmp_path / "metrics.jsonl").read_bytes(), checkpoints(tmp_path)
    for pipe in (pipeline(seed=1), pipeline(batch_size=4), pipeline(n=32)):
        with pytest.raises(ValueError, match="made on other data") as caught:
            train(8, pipe=pipe, folder=tmp_path)
        assert str(tmp_path) in str(caught.value)
    for steps, words, message in (
        (8, {"seed": 1}, r"seed=1: .* of seed 0"),
        (3, {}, r"steps=3: .* of step 4"),
        (8, {"hooks": [Other()]}, r"hooks\[0\]=Other: .* of Recorder"),
    ):
        with pytest.raises(ValueError, match=message):
            train(steps, folder=tmp_path, **words)
    assert ((tmp_path / "metrics.jsonl").read_bytes(), checkpoints(tmp_path)) == before


def test_another_model_is_refused_by_its_first_differing_leaf(tmp_path):
    train(4, folder=tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes(), checkpoints(tmp_path)
    with pytest.raises(CheckpointMismatch) as caught:
        train(8, regression(width=5), folder=tmp_path)
    assert "params/w is float32[3] there and float32[5] here" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ((tmp_path / "metrics.jsonl").read_bytes(), checkpoints(tmp_path)) == before


@pytest.mark.slow
def test_two_pipelines_are_a_dict_of_batches(tmp_path):
    base = regression()
    both = Learner(
        lambda rng, batch: base.init(rng, batch["a"]),
        lambda state, batch: base.update(state, batch["a"]),
        base.evaluate,
        base.predict,
    )
    pipes = {"a": pipeline(4), "b": pipeline(8, seed=3)}
    options = {"learner": both, "steps": 6, "folder": tmp_path / "cut", "saving": Saving(seconds=0, steps=2)}
    with pytest.raises(CutOff):
        train(**{**options, "pipe": {"a": Cut(pipes["a"], 5), "b": pipes["b"]}})
    resumed = train(**options, pipe=pipes)
    whole = train(**{**options, "folder": tmp_path / "whole"}, pipe=pipes)
    chex.assert_trees_all_equal(plain(whole.state), plain(resumed.state))
    assert timeless(resumed.history) == timeless(whole.history)
    with pytest.raises(ValueError, match="made on other data"):
        train(**{**options, "steps": 8}, pipe={**pipes, "b": pipeline(8, seed=4)})


# Finished runs and phases


def test_a_finished_run_is_not_trained_again_and_says_so(tmp_path, capsys):
    first = train(6, folder=tmp_path)
    stamp = (tmp_path / "metrics.jsonl").stat().st_mtime_ns
    again = train(6, folder=tmp_path, pipe=Cut(pipeline(), 1), progress=True)
    assert "finished before, after step 6: nothing was trained" in capsys.readouterr().out
    assert (first.first_step, again.first_step) == (0, 6)
    assert "6, 6 of them before this call" in repr(again)
    chex.assert_trees_all_equal(plain(first.state), plain(again.state))
    assert again.step == 6
    assert (again.wait_fraction, again.compile_seconds) == (0, 0)
    assert again.memory == first.memory, "of its step, although none was compiled"
    assert first.memory["temporaries"] > 0
    assert again.seconds == again.seconds_before == pytest.approx(first.seconds)
    assert again.history == first.history
    assert (tmp_path / "metrics.jsonl").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_a_finished_run_goes_on_to_more_steps(tmp_path):
    train(4, folder=tmp_path)
    longer = train(8, folder=tmp_path)
    chex.assert_trees_all_equal(plain(longer.state), plain(train(8).state))


@pytest.mark.slow
def test_a_finished_run_whose_newest_checkpoint_is_damaged_is_finished_again(tmp_path):
    whole = train(8, folder=tmp_path, saving=Saving(seconds=0, steps=4))
    for path in (tmp_path / "checkpoints" / "8").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    again = train(8, folder=tmp_path, saving=Saving(seconds=0, steps=4))
    assert again.step == 8
    chex.assert_trees_all_equal(plain(whole.state), plain(again.state))


def test_a_finished_run_without_checkpoints_is_never_an_untrained_state(tmp_path):
    whole = train(8, folder=tmp_path)
    shutil.rmtree(tmp_path / "checkpoints")
    try:
        again = train(8, folder=tmp_path)
    except (OSError, ValueError):
        return
    assert again.step == 8
    chex.assert_trees_all_equal(plain(whole.state), plain(again.state))


@pytest.mark.slow
def test_a_finished_folder_is_not_trained_again(tmp_path):
    first = train(4, folder=tmp_path / "one")
    with pytest.raises(CutOff):
        train(4, folder=tmp_path / "two", pipe=Cut(pipeline(), 2), start=lambda s: s.replace(params=w(5.0)))
    assert {p.name for p in tmp_path.iterdir()} == {"one", "two"}
    skipped = train(4, folder=tmp_path / "one", pipe=Cut(pipeline(), 1), start=forbidden)
    chex.assert_trees_all_equal(plain(first.state), plain(skipped.state))
    second = train(4, folder=tmp_path / "two", start=lambda s: s.replace(params=w(5.0)))
    assert second.step == 4
    assert not np.allclose(second.state.params["w"], first.state.params["w"])
    assert [row["step"] for row in read_metrics(tmp_path / "two")] == [4]


def w(value):
    return {"w": np.full(3, value, np.float32)}


def forbidden(*args):
    raise AssertionError("must not be called")


# Hooks


class Recorder:
    """A hook that remembers what it saw."""

    def __init__(self, answer=lambda step, state: None):
        self.memory: dict[str, Any] = {"steps": []}
        self.metrics: list[dict] = []
        self.answer = answer

    def __call__(self, step, state, metrics):
        self.memory = {"steps": [*self.memory["steps"], step]}
        self.metrics.append(metrics)
        assert int(state.step) == step
        return self.answer(step, state)


def test_hooks_are_called_at_log_and_validation_steps_with_named_numbers():
    hook = Recorder()
    result = train(7, log_every=4, valid=source(5), eval_every=3, hooks=[hook])
    assert hook.memory["steps"] == [3, 4, 6, 7]
    row = next(r for r in result.history if r["step"] == 4)
    assert hook.metrics[1]["train/loss"] == row["loss"]
    last = next(r for r in result.history if r["step"] == 7 and r["split"] == "valid")
    assert hook.metrics[-1]["valid/loss"] == last["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_a_hook_that_returns_a_state_replaces_the_runs(spmd, tmp_path):
    placement = Placement(make_mesh("data:8"), spmd=spmd)

    def reset(step, state):
        return state.replace(params=w(7.0)) if step == 4 else None

    still = regression(rate=0.0)
    hooks = [Recorder(reset), Recorder(lambda step, state: seen.append(np.asarray(state.params["w"])))]
    seen: list[np.ndarray] = []
    result = train(
        6, still, log_every=2, hooks=hooks, placement=placement, folder=tmp_path, saving=Saving(seconds=0, steps=4)
    )
    np.testing.assert_array_equal(result.state.params["w"], [7.0] * 3)
    np.testing.assert_array_equal(seen[1], [7.0] * 3)  # the next hook sees it at once
    assert not np.allclose(seen[0], 7.0)


def test_a_change_by_a_hook_is_in_the_checkpoint_of_its_step(tmp_path):
    options = {
        "learner": regression(rate=0.0),
        "steps": 6,
        "log_every": 2,
        "folder": tmp_path,
        "saving": Saving(seconds=0, steps=4),
    }
    reset = Recorder(lambda step, state: state.replace(params=w(7.0)) if step == 4 else None)
    interrupted(5, hooks=[reset], **options)
    result = train(hooks=[Recorder()], **options)
    np.testing.assert_array_equal(result.state.params["w"], [7.0] * 3)


def test_a_hook_may_alias_leaves():
    def alias(step, state):
        return state.replace(opt_state=jax.tree.map(lambda x: state.params["w"], state.opt_state))

    for placement in (ONE, Placement(make_mesh("data:8"))):
        result = train(4, log_every=1, hooks=[Recorder(alias)], placement=placement)
        assert np.isfinite(np.asarray(result.state.params["w"])).all()


def test_a_hook_that_changes_a_dtype_is_named():
    hook = Recorder(lambda step, state: state.replace(params={"w": np.zeros(4, np.float32)}))
    with pytest.raises(ValueError, match=r"params/w from float32\[3\] to float32\[4\]"):
        train(4, log_every=2, hooks=[hook])


def test_stop_ends_the_phase_after_a_last_checkpoint(tmp_path):
    hook = Recorder(lambda step, state: STOP if step == 4 else None)
    result = train(8, log_every=2, hooks=[hook], folder=tmp_path)
    assert (result.step, result.stopped) == (4, True)
    assert checkpoints(tmp_path) == [4]
    again = train(8, log_every=2, hooks=[Recorder()], folder=tmp_path, pipe=Cut(pipeline(), 1))
    assert (again.step, again.stopped) == (4, True)
    chex.assert_trees_all_equal(plain(again.state), plain(result.state))


def test_stop_holds_after_a_kill_between_the_last_checkpoint_and_the_end(tmp_path):
    """The decision belongs to the checkpoint: the hook that stopped will not say it again."""
    hook = Recorder(lambda step, state: STOP if step == 4 else None)
    train(8, log_every=2, hooks=[hook], folder=tmp_path)
    (tmp_path / "finished.json").unlink()
    again = train(8, log_every=2, hooks=[Recorder(lambda step, state: None)], folder=tmp_path)
    assert (again.step, again.stopped) == (4, True)


def test_the_memory_of_every_hook_is_found_again(tmp_path):
    options = {"steps": 8, "log_every": 2, "folder": tmp_path, "saving": Saving(seconds=0, steps=4)}
    forgetful = lambda step, state, metrics: None  # noqa: E731
    interrupted(7, hooks=[Recorder(), forgetful, Recorder()], **options)
    first, last = Recorder(), Recorder()
    train(hooks=[first, forgetful, last], **options)
    assert first.memory["steps"] == last.memory["steps"] == [2, 4, 6, 8]


@pytest.mark.slow
@pytest.mark.covers("RG-19")
def test_a_memory_goes_to_the_hook_that_left_it(tmp_path):
    class Other(Recorder):
        pass

    train(4, folder=tmp_path, hooks=[Recorder()])
    with pytest.raises(ValueError, match=r"hooks\[0\]=Other: .* holds the memory of Recorder; allowed: the same hooks"):
        train(8, folder=tmp_path, hooks=[Other()])


def test_patience_counts_measurements_and_not_log_lines(tmp_path):
    """Validation every 4 steps, a log line every step: patience 2 ends at the third measurement."""
    values = [0.5] * 20
    result = train(
        20, scores(values), valid=source(5), eval_every=4, log_every=1, hooks=[EarlyStopping("valid/score", patience=2)]
    )
    assert (result.step, result.stopped) == (12, True)


@pytest.mark.slow
def test_patience_goes_on_after_a_kill(tmp_path):
    learner = scores([0.9] + [0.5] * 19)
    options = {
        "learner": learner,
        "steps": 20,
        "valid": source(5),
        "eval_every": 1,
        "log_every": 100,
        "saving": Saving(seconds=0, steps=1),
    }
    whole = train(**options, hooks=[EarlyStopping("valid/score", patience=6)])
    assert (whole.step, whole.stopped) == (7, True)
    interrupted(4, **options, folder=tmp_path, hooks=[EarlyStopping("valid/score", patience=6)])
    resumed = train(**options, folder=tmp_path, hooks=[EarlyStopping("valid/score", patience=6)])
    assert (resumed.step, resumed.stopped) == (7, True)


# Seeds


@pytest.mark.covers("TR-25")
def test_the_same_seed_is_bit_identical_and_others_differ():
    """The seed of `fit` is initialisation and noise, that of the pipeline the order; each alone changes the result."""
    first = train(6, seed=3)
    same = train(6, seed=3)
    chex.assert_trees_all_equal(plain(first.state), plain(same.state))
    assert timeless(first.history) == timeless(same.history)
    other = train(6, seed=4)
    assert not np.allclose(first.state.params["w"], other.state.params["w"])
    order = train(6, seed=3, pipe=pipeline(seed=1))
    assert not np.array_equal(first.state.params["w"], order.state.params["w"])
    start = train(6, seed=4, learner=regression(0.0), start=lambda s: s.replace(params=w(0.0)))
    assert not np.array_equal(jax.random.key_data(start.state.rng), jax.random.key_data(first.state.rng))


# Trouble


def test_a_blank_metric_is_blank_in_the_log(tmp_path):
    learner = PLAIN._replace(
        update=lambda s, b: (lambda after: (after[0], {**after[1], "none": Sum(jnp.float32(0), jnp.int32(0))}))(
            PLAIN.update(s, b)
        )
    )
    result = train(4, learner, folder=tmp_path)
    assert result.history[-1]["none"] is None


def test_a_folder_that_cannot_be_written_fails_before_any_data_is_read(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(OSError, match="cannot be written to"):
        train(4, folder=file / "run", pipe=Cut(pipeline(), 0))
    assert file.read_text() == "mine"


@pytest.mark.slow
def test_a_full_disk_fails_at_the_end_and_the_same_call_finishes_later(tmp_path, caplog):
    wide = regression(width=90_000)  # 360 kB of noise in each array: no compression helps
    options = {"learner": wide, "steps": 6, "folder": tmp_path, "saving": Saving(seconds=0, steps=2)}
    interrupted(3, **options)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(OSError, match="could not be saved"):
            train(**options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "CHECKPOINT NOT SAVED" in caplog.text
    assert checkpoints(tmp_path) == [2]
    assert not (tmp_path / "finished.json").exists()
    result = train(**options)
    assert json.loads((tmp_path / "finished.json").read_text()) == {"step": 6, "stopped": False}
    chex.assert_trees_all_equal(plain(result.state), plain(train(6, wide).state))


def test_an_error_of_the_data_comes_out_as_it_is():
    with pytest.raises(CutOff):
        train(8, pipe=Cut(pipeline(), 5))


@pytest.mark.slow
def test_a_batch_that_does_not_divide_over_the_devices_still_trains():
    even = train(3, pipe=pipeline(10), placement=ONE)
    odd = train(3, pipe=pipeline(10), placement=Placement(make_mesh("data:8")))
    np.testing.assert_allclose(even.state.params["w"], odd.state.params["w"], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_the_state_that_comes_back_is_alive():
    for spmd in ("jit", "pmap"):
        placement = Placement(make_mesh("data:8"), spmd=spmd)
        result = train(3, regression(), placement=placement)
        for _, leaf in leaf_paths(result.state):
            assert not leaf.is_deleted()
        chex.assert_shape(result.state.params["w"], (3,))
