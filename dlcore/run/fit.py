"""Train any learner: the training loop, its log, its checkpoints. It depends on no technique.

    state = init(rng, batch_at(0));  state = start(state)
    for t in 0, 1, ...:  state, metrics = update(state, batch_at(t))

The checkpoint holds everything that later steps depend on (state, metric sums, hooks' memories), and a batch is a pure
function of the step: a resumed run is bit-identical to an uninterrupted one on the same mesh, hardware and versions.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from dlcore.activity import activity
from dlcore.choices import check_whole_number
from dlcore.cost.memory import memory_report
from dlcore.data.input_pipeline import check_input_pipeline, open_batches
from dlcore.data.pipeline import batch_at, epochs, settings
from dlcore.learner import Evaluator, Learner, Metrics, check_learner, root_key
from dlcore.run.checkpoint import check_writable
from dlcore.run.endings import resumable
from dlcore.run.evaluate import Evaluation, compute_metrics, scalars
from dlcore.run.hooks import STOP, Hook
from dlcore.run.inputs import (
    check_checkpoint,
    check_each,
    check_evaluators,
    check_folder,
    check_is,
    check_labels,
    check_pipelines,
    check_valid,
)
from dlcore.run.lock import lock_folder
from dlcore.run.metrics_writer import DEFAULT_TRACKING, MetricsWriter, read_metrics
from dlcore.run.nonfinite import REMEDY, NonFiniteError, bad_leaves, diagnose, unbounded_leaves
from dlcore.run.pmap import program_for
from dlcore.run.preemption import Preempted, Preemption
from dlcore.run.processes import is_first
from dlcore.run.progress import Progress, say
from dlcore.run.result import Result
from dlcore.run.saving import Saver, Saving
from dlcore.run.step import Carry, Placement
from dlcore.run.sums import fold
from dlcore.run.trackers import Tracking
from dlcore.run.watchdog import Watchdog

__all__ = ["Result", "Saving", "fit"]

FOLD_EVERY = 1024
"""Steps after which device sums move to the host even without a log line, because large float32 sums stop growing."""

LOG_EVERY, LEAST_LINES = 50, 20
"""Steps between two lines of the log, and the least number of lines of a short run."""

DEFAULT_SAVING = Saving()


def fit(
    learner: Learner,
    train: Any,
    *,
    steps: int,
    seed: int = 0,
    folder: Path | str | None = None,
    valid: Any = None,
    evaluators: Sequence[Evaluator] = (),
    eval_batch_size: int = 256,
    start: Callable[[Any], Any] | None = None,
    hooks: Sequence[Hook] = (),
    placement: Placement | None = None,
    log_every: int | None = None,
    learning_rate: Callable[[int], float] | None = None,
    eval_every: int | None = None,
    saving: Saving = DEFAULT_SAVING,
    progress: bool = True,
    prefetch: int = 2,
    changed_data: bool = False,
    report: bool = False,
    tracking: Tracking = DEFAULT_TRACKING,
    input_pipeline: str = "dlcore",
) -> Result:
    """Train `learner` for `steps` steps, resuming from the newest checkpoint under `folder`.

    A resume compares what the checkpoint holds: names, shapes and dtypes of the state with that of its optimizer, the
    seed, the steps, and the settings of the data. It cannot see numbers that live in functions alone, such as the
    learning rate of an optax transformation: give another folder to another one.

    Args:
      learner: learner to train.
      train: a pipeline (`batch_at(step)`, `settings`), or a dict of them.
      steps: steps of the whole run, including those before a resume; at least as many as its checkpoints hold.
      seed: random seed of the root key for `init`; a resume needs the same.
      folder: folder of metrics, events and checkpoints; None writes nothing.
      valid: validation source; None evaluates nothing.
      evaluators: evaluators of `valid` (or of their own source), which run at the same steps.
      eval_batch_size: examples per batch in evaluation.
      start: State -> State on the host, applied once after init and never on resume, for example to load pretrained
        weights.
      hooks: see `dlcore.run.hooks`.
      placement: devices and shardings; None takes all devices, replicated, under jit.
      log_every: steps between two lines of the log, the only steps that wait for the device; None for LOG_EVERY, or a
        twentieth of a shorter run, and a line at step 1.
      learning_rate: step, counted from 0 -> learning rate, for the log; None logs none.
      eval_every: steps between two evaluations of `valid`; None evaluates only at the end.
      saving: when to save, and which checkpoints to keep.
      progress: show a progress bar or plain lines.
      prefetch: number of batches to prepare in advance.
      changed_data: resume even if the checkpoints were made on other data.
      report: write report.html to the folder at the end, evaluated on `valid`: curves, memory, and for an image
        classifier its mistakes, confusions and calibration.
      tracking: trackers that show the metrics of a run with a folder, such as `Tracking(("tensorboard", "mlflow"))`.
      input_pipeline: "dlcore" or "grain", which reads the batches ahead; the batches are the same.

    Returns:
      The last state, the log, and timings.

    Raises:
      NonFiniteError: a metric, a validation metric or an array of the state became NaN or infinite; the message names
        the first step and array. Arrays that contain infinities before the first step are exempt.
      CheckpointMismatch: the folder has checkpoints of another model.
      FolderInUse: another process trains in `folder`.
      MissingPackage: `input_pipeline` is "grain", and grain is not installed.
      Preempted: SIGTERM arrived; everything is saved, and the process should exit with its status.
      ValueError: an argument is out of range, `report` has no folder, the learner violates the contract, `valid` is
        empty or has other arrays, or the folder's checkpoints have another seed, other data or more steps.
    """
    check_whole_number("steps", steps, 1)
    check_folder(folder)
    arguments = _Arguments(
        learner=learner,
        train=train,
        steps=steps,
        seed=seed,
        folder=None if folder is None else Path(folder),
        valid=valid,
        evaluators=evaluators,
        eval_batch_size=eval_batch_size,
        start=start,
        hooks=hooks,
        placement=Placement() if placement is None else placement,
        log_every=max(1, min(LOG_EVERY, steps // LEAST_LINES)) if log_every is None else log_every,
        log_first=log_every is None,
        learning_rate=learning_rate,
        eval_every=steps if eval_every is None else eval_every,
        saving=saving,
        progress=progress,
        prefetch=prefetch,
        changed_data=changed_data,
        tracking=tracking,
        input_pipeline=input_pipeline,
    )
    check_is("report", report, bool)
    if report and arguments.folder is None:
        raise ValueError("report=True: there is no folder to write it in; allowed: with folder=PATH, or report=False")
    if arguments.folder is not None:
        check_writable(arguments.folder)
    with lock_folder(arguments.folder):
        with activity("tracing the programs"):
            run = _Run(arguments)
        result = run.run()
        if report and arguments.folder is not None:
            _report(run, result, arguments.folder)
        return result


def _report(run: "_Run", result: Result, folder: Path) -> None:
    from dlcore.run.report import report_fit

    arguments = run.arguments
    path = report_fit(
        folder,
        arguments.learner,
        result,
        run.evaluation,
        train=arguments.train,
        valid=arguments.valid,
        batch=run.example,
        seed=arguments.seed,
        evaluators=arguments.evaluators,
        batch_size=arguments.eval_batch_size,
    )
    if run.shows:
        say(f"report: {path}")


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    """The arguments of `fit`, with defaults filled in."""

    learner: Learner
    train: Any
    steps: int
    seed: int
    folder: Path | None
    valid: Any
    evaluators: Sequence[Evaluator]
    eval_batch_size: int
    start: Callable[[Any], Any] | None
    hooks: Sequence[Hook]
    placement: Placement
    log_every: int
    log_first: bool
    learning_rate: Callable[[int], float] | None
    eval_every: int
    saving: Saving
    progress: bool
    prefetch: int
    changed_data: bool
    tracking: Tracking
    input_pipeline: str

    def __post_init__(self):
        for name in ("log_every", "prefetch", "eval_every", "eval_batch_size"):
            check_whole_number(name, getattr(self, name), 1)
        for name in ("progress", "changed_data"):
            check_is(name, getattr(self, name), bool)
        for name, kind in (("placement", Placement), ("saving", Saving), ("tracking", Tracking)):
            check_is(name, getattr(self, name), kind)
        for name in ("start", "learning_rate"):
            if (value := getattr(self, name)) is not None and not callable(value):
                raise ValueError(f"{name}={value!r}: no function; allowed: a function, or None")
        check_learner(self.learner)
        root_key(self.seed)
        check_input_pipeline(self.input_pipeline)
        check_pipelines(self.train)
        check_valid(self.valid)
        check_evaluators(self.evaluators)
        check_each("hooks", self.hooks, callable, "hook")


class _Run:
    """One call of fit."""

    def __init__(self, arguments: _Arguments):
        self.arguments = arguments
        self.example = batch_at(arguments.train, 0)
        self.program = program_for(arguments.learner, self.example, arguments.placement, arguments.seed)
        check_labels(arguments.learner, self.program.abstract_state, self.example, arguments.train, arguments.valid)
        self.evaluation = Evaluation(arguments.learner, arguments.placement)
        if arguments.valid is not None:
            self.evaluation.check(self.program.abstract_state, arguments.valid, arguments.eval_batch_size)
        self.saver = Saver(arguments.saving, arguments.folder)
        self.watchdog = Watchdog(self.saver.step_on_disk)
        self.progress, self.shows = Progress(arguments.steps, enabled=False), arguments.progress and is_first()
        self.writer: MetricsWriter | None = None
        self.rows: list[dict] = []
        self.host_sums: Metrics | None = None
        self.unbounded: set[str] = set()
        self.memory: dict[str, int] = {}
        self.step_values: dict[str, float] = {}
        self.seconds = self.seconds_before = self.compile_seconds = 0.0
        self.timed_from = time.monotonic()
        self.logged_step = 0
        self.stopped = False
        self.first_step = 0

    def run(self) -> Result:
        began = time.monotonic()
        try:
            with activity("initializing, or reading the checkpoint"):
                self.first_step, carry = self._resume()
            step = self.first_step
            with resumable(step):
                if step and self.shows:
                    say(f"resuming after step {step}")
                finished_step = self.saver.finished_step()
                if self.stopped or (finished_step is not None and finished_step == step >= self.arguments.steps):
                    if finished_step is None:
                        self.saver.write_finished(step, self.stopped)
                    if self.shows:
                        say(f"finished before, after step {step}: nothing was trained")
                    return self._result(step, carry, 0.0)
                with activity("compiling"):
                    self.program.compile()
            self.compile_seconds = time.monotonic() - began
            if self.shows:
                say(f"compiled and initialized in {self.compile_seconds:.1f} s")
            return self._loop(step, carry)
        finally:
            self.saver.close()

    # Resume

    def _resume(self) -> tuple[int, Carry]:
        restored = self.saver.restore(self.program.abstract_carry)
        if restored is None:
            carry = self.program.init(self.example, self.arguments.start)
            self.unbounded = unbounded_leaves(carry.state)
            return 0, carry
        step, carry, metadata = restored
        arguments = self.arguments
        check_checkpoint(
            step,
            metadata,
            seed=arguments.seed,
            steps=arguments.steps,
            data=settings(arguments.train),
            hook_types=[type(hook).__name__ for hook in arguments.hooks],
            changed_data=arguments.changed_data,
            folder=arguments.folder,
        )
        memories = zip(arguments.hooks, metadata["hooks"], strict=False)  # the last may be left off, or be new
        for hook, memory in memories:
            if memory is not None:
                hook.memory = memory
        if metadata["folded"] is not None:
            leaves = [np.asarray(leaf) for leaf in metadata["folded"]]
            self.host_sums = jax.tree.unflatten(jax.tree.structure(self.program.abstract_carry.bad), leaves)
        self.seconds = self.seconds_before = metadata["seconds"]
        self.saver.best = metadata["best"]
        self.unbounded = set(metadata["unbounded"])
        self.stopped, self.memory = metadata["stopped"], metadata.get("memory", {})
        return step, carry

    def _result(self, step: int, carry: Carry, wait_fraction: float) -> Result:
        return Result(
            state=carry.state,
            step=step,
            stopped=self.stopped,
            history=self._history(),
            seconds=self.seconds,
            compile_seconds=self.compile_seconds,
            wait_fraction=wait_fraction,
            seconds_before=self.seconds_before,
            first_step=self.first_step,
            best_step=self.saver.best_step(),
            memory=self._memory(),
        )

    def _memory(self) -> dict[str, int]:
        """Bytes of the step; where none was compiled, those that the last checkpoint holds."""
        program = self.program
        compiled = program.compiled
        return self.memory if compiled is None else memory_report(program.abstract_state, program.batch, compiled)

    def _history(self) -> list[dict]:
        if self.arguments.folder is None:
            return self.rows
        path = self.arguments.folder / "metrics.jsonl"
        return read_metrics(path) if path.exists() else []

    # The loop

    def _loop(self, first: int, carry: Carry) -> Result:
        arguments = self.arguments
        if arguments.folder is not None and is_first():
            self.writer = MetricsWriter(arguments.folder, first, arguments.tracking)
        self.progress = Progress(arguments.steps, first, enabled=self.shows)
        self.saver.start(first)
        self.timed_from, self.logged_step = time.monotonic(), first
        step = first
        carry = self.program.split(carry)
        batches = open_batches(
            arguments.input_pipeline,
            lambda t: batch_at(arguments.train, t),
            first,
            arguments.steps,
            arguments.prefetch,
            self.program.put,
        )
        try:
            with (
                batches,
                Preemption(arguments.saving.grace_seconds, self.saver.step_on_disk) as preemption,
                self.watchdog,
                activity("training, step", arguments.steps) as count,
            ):
                for index, batch in batches:
                    step = index + 1
                    with self.watchdog.waiting(step, returns=False):
                        carry = self.program.step(carry, batch)
                    self.progress.advance(step)
                    count(step)
                    carry = self._after_step(step, carry)
                    if preemption.requested(step):
                        preemption.begin_saving()
                        self._save(step, carry)
                        self.saver.wait()
                        self._publish()
                        raise Preempted(step)
                    if self.stopped:
                        break
            with activity("saving the checkpoint"):
                self._save(step, carry)
                self.saver.wait()
                self._publish()
        finally:
            self.progress.close()
            if self.writer is not None:
                self.writer.close()
        self.saver.write_finished(step, self.stopped)
        wait_fraction = batches.wait_seconds / max(self.seconds - self.seconds_before, 1e-9)
        return self._result(step, self.program.join(carry), min(1.0, wait_fraction))

    def _after_step(self, step: int, carry: Carry) -> Carry:
        """Log, evaluate, call hooks and save if due; return the carry, which a hook may have changed."""
        arguments = self.arguments
        last = step == arguments.steps
        at_log = step % arguments.log_every == 0 or last or (step == 1 and arguments.log_first)
        at_evaluation = arguments.valid is not None and (step % arguments.eval_every == 0 or last)
        self.step_values = {}
        if at_log or step % FOLD_EVERY == 0:
            carry = self._fold(step, carry)
        if at_log:
            self._log(step)
        score = None
        if at_evaluation:
            jax.block_until_ready(carry.bad_step)
            began = time.monotonic()
            score = self._evaluate(step, carry)
            self.timed_from += time.monotonic() - began
        if at_log or at_evaluation:
            began = time.monotonic()
            carry = self._call_hooks(step, carry)
            self.timed_from += time.monotonic() - began
        if self.saver.due(step, at_log) or score is not None:
            self._save(step, carry, score)
        return carry

    def _fold(self, step: int, carry: Carry) -> Carry:
        with self.watchdog.waiting(step, returns=True):
            sums, carry = self.program.take_sums(carry)
            jax.block_until_ready(carry.bad_step)
        self._check_finite(step, self.program.join(carry))
        self.host_sums = fold(self.host_sums, sums)
        return carry

    def _log(self, step: int) -> None:
        now = time.monotonic()
        elapsed = now - self.timed_from
        self.seconds += elapsed
        numbers = scalars(compute_metrics(self.host_sums or {}))
        row = {"step": step, "split": "train", "epoch": self._epoch(step), **numbers, "seconds": round(self.seconds, 3)}
        if (examples := self._examples_per_step()) and elapsed > 0:
            row["examples_per_second"] = round(examples * (step - self.logged_step) / elapsed, 1)
        if self.arguments.learning_rate is not None:
            row["learning_rate"] = float(self.arguments.learning_rate(step - 1))
        self.timed_from, self.logged_step, self.host_sums = now, step, None
        self._write(row)

    def _examples_per_step(self) -> int:
        leaves = jax.tree_util.tree_leaves_with_path(self.example)
        return jax.process_count() * sum(
            len(leaf) for path, leaf in leaves if getattr(path[-1], "key", None) == "index"
        )

    def _epoch(self, step: int) -> float | None:
        passed = epochs(settings(self.arguments.train), step, self._examples_per_step())
        return None if passed is None else round(passed, 3)

    def _evaluate(self, step: int, carry: Carry) -> float | None:
        """Evaluate and log the validation split; return the score if it is the best so far."""
        joined, arguments = self.program.join(carry), self.arguments
        measures = self.evaluation.measures(
            joined.state, arguments.valid, arguments.evaluators, arguments.eval_batch_size
        )
        numbers = scalars(measures)
        if bad := {name: value for name, value in numbers.items() if value is not None and not math.isfinite(value)}:
            self._check_finite(step, joined)
            raise NonFiniteError(
                f"validation is not finite after step {step}: {bad}; the state is finite, so the validation data or "
                f"what evaluate computes is not; {REMEDY}"
            )
        self._write({"step": step, "split": "valid", "epoch": self._epoch(step), **numbers})
        return self.saver.score(numbers)

    def _write(self, row: dict) -> None:
        self.step_values.update({f"{row['split']}/{k}": v for k, v in row.items() if isinstance(v, float | int)})
        self.rows.append(row)
        if self.writer is not None:
            self.writer.write(row)
        self.progress.log(row)

    def _call_hooks(self, step: int, carry: Carry) -> Carry:
        for hook in self.arguments.hooks:
            joined = self.program.join(carry)
            new_state = hook(step, joined.state, dict(self.step_values))
            if new_state is STOP:
                self.stopped = True
            elif new_state is not None:
                carry = self.program.split(dataclasses.replace(joined, state=self.program.place(new_state)))
        return carry

    def _save(self, step: int, carry: Carry, score: float | None = None) -> None:
        joined = self.program.join(carry)
        self._check_finite(step, joined)
        sums = self.host_sums
        metadata = {
            "seed": int(self.arguments.seed),
            "data": settings(self.arguments.train),
            "hooks": [getattr(hook, "memory", None) for hook in self.arguments.hooks],
            "hook_types": [type(hook).__name__ for hook in self.arguments.hooks],
            "folded": None if sums is None else [np.asarray(x).tolist() for x in jax.tree.leaves(sums)],
            "seconds": self.seconds,
            "stopped": self.stopped,
            "memory": self._memory(),
            "unbounded": sorted(self.unbounded),
        }
        self.saver.save(step, joined, metadata, score)
        self._publish()

    def _publish(self) -> None:
        """Give the trackers the rows that a resume of this run will not write again."""
        if self.writer is not None and (saved_step := self.saver.finished_save()) is not None:
            self.writer.publish(saved_step)

    def _check_finite(self, step: int, joined: Carry) -> None:
        """Raise if a metric or the state is not finite; waits for the device."""
        bad_step = int(joined.bad_step)
        if bad_step < 0 and not bad_leaves(joined.state) - self.unbounded:
            return
        last = bad_step if bad_step >= 0 else step - 1
        numbers = scalars(compute_metrics(jax.device_get(joined.bad))) if bad_step >= 0 else {}
        logging.error("not finite at step %d: %s; replaying to find the cause", last, numbers)
        self.saver.wait()
        restored = self.saver.restore(self.program.abstract_carry)
        initial = (0, self.program.init(self.example, self.arguments.start)) if restored is None else restored[:2]
        first, carry = initial
        first_bad_step, explanation = diagnose(
            self.program, carry, lambda t: batch_at(self.arguments.train, t), first, last, self.unbounded
        )
        raise NonFiniteError(f"training is no longer finite, first at step {first_bad_step}:\n  {explanation}")
