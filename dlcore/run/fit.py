"""Train any learner: the loop, its log, its checkpoints. It knows nothing of any technique.

    state = init(rng, batch_at(0));  state = start(state)
    for t in 0, 1, ...:  state, metrics = update(state, batch_at(t))

Everything that the future depends on (state, metric sums, hooks' memories) is in the checkpoint, and a batch is a pure
function of the step: a resumed run is bit-identical to an uninterrupted one on the same mesh, hardware and versions.
"""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from dlcore.cost.memory import memory_report
from dlcore.data.pipeline import batch_at, settings
from dlcore.data.prefetch import Prefetch
from dlcore.learner import Evaluator, Learner, Metrics
from dlcore.run.checkpoint import Checkpoints, check_writable
from dlcore.run.evaluate import Evaluation, flatten
from dlcore.run.hooks import STOP, Hook
from dlcore.run.metrics_writer import MetricsWriter, read_metrics
from dlcore.run.nonfinite import NonFiniteError, diagnose
from dlcore.run.preemption import Preempted, Preemption
from dlcore.run.processes import is_first, same
from dlcore.run.progress import Progress, say
from dlcore.run.step import Carry, Placement, Program, fold

__all__ = ["Result", "Saving", "fit"]

FOLD_EVERY = 1024
"""Steps after which device sums move to the host without a log line too: float32 sums freeze, int32 overflows."""


@dataclass(frozen=True)
class Saving:
    """When to save and what to keep.

    seconds, steps: the longest time and the most steps between two checkpoints; 0 turns one off.
    keep_last: newest checkpoints to keep. monitor: the validation metric whose best step is kept too, with `mode`.
    """

    seconds: float = 60.0
    steps: int = 0
    keep_last: int = 2
    monitor: str | None = None
    mode: str = "max"


@dataclass
class Result:
    """What `fit` leaves: the last state, the rows of the log, and what the time went into.

    seconds: spent in training steps, those before a resume included; seconds_before: of them in earlier processes.
    wait_fraction: share of this process's training time spent waiting for batches. memory: bytes by kind, as
    `dlcore.cost.memory.memory_report`.
    """

    state: Any
    step: int
    history: list[dict]
    stopped: bool = False
    best_step: int | None = None
    seconds: float = 0.0
    seconds_before: float = 0.0
    compile_seconds: float = 0.0
    wait_fraction: float = 0.0
    memory: dict[str, int] = field(default_factory=dict)


def fit(
    learner: Learner,
    train: Any,
    *,
    steps: int,
    seed: int = 0,
    folder: Path | str | None = None,
    phase: str = "",
    valid: Any = None,
    evaluators: Sequence[Evaluator] = (),
    eval_batch_size: int = 256,
    start: Callable[[Any], Any] | None = None,
    hooks: Sequence[Hook] = (),
    placement: Placement | None = None,
    log_every: int = 50,
    eval_every: int | None = None,
    saving: Saving = Saving(),
    progress: bool = True,
    prefetch: int = 2,
) -> Result:
    """Train `learner` for `steps` steps, resuming from the newest checkpoint under `folder`.

    Args:
      learner: what to train.
      train: a pipeline (`batch_at(step)`, `settings`), or a dict of them.
      steps: of the whole phase, those before a resume included.
      seed: of the root key that `init` gets.
      folder: where metrics, events and checkpoints go; None writes nothing.
      phase: a sub-folder; an experiment may call fit once for each of its phases, and a finished one is skipped.
      valid: a source, measured every `eval_every` steps (None: at the end) and never trained on.
      evaluators: measures of the whole of `valid` (or of their own source), taken at the same steps.
      start: State -> State on the host, once after init and never on resume: pretrained weights enter here.
      hooks: see `dlcore.run.hooks`.
      placement: devices and shardings; all devices, replicated, under jit by default.
      log_every: steps between two lines of the log, the only moments at which the device is waited for.
      saving: when to save and what to keep.
      progress: show a bar or plain lines.
      prefetch: batches to make ahead.

    Raises:
      NonFiniteError: a metric or a parameter became NaN or infinite; the message says where it began.
      CheckpointMismatch: the folder holds checkpoints of another model.
      Preempted: SIGTERM came; everything is saved and the process should exit with the status it carries.
      ValueError: an argument is out of range, or the learner breaks the contract.
    """
    return _Run(**locals()).run()


class _Run:
    """The moving parts of one call of fit."""

    def __init__(self, learner, train, steps, seed, folder, phase, valid, evaluators, eval_batch_size, start, hooks,
                 placement, log_every, eval_every, saving, progress, prefetch):  # fmt: skip
        least = {
            "steps": steps, "log_every": log_every, "prefetch": prefetch, "saving.keep_last": saving.keep_last,
            "eval_every": 1 if eval_every is None else eval_every,
        }  # fmt: skip
        for name, value in least.items():
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        for name, value in {"saving.steps": saving.steps, "saving.seconds": saving.seconds}.items():
            if value < 0:
                raise ValueError(f"{name}={value} must be at least 0")
        if saving.mode not in ("max", "min"):
            raise ValueError(f"saving.mode={saving.mode!r} is unknown; allowed are max, min")
        self.train, self.valid, self.evaluators = train, valid, evaluators
        self.steps, self.start, self.hooks = steps, start, list(hooks)
        self.placement = placement or Placement()
        self.eval_batch_size, self.log_every, self.saving = eval_batch_size, log_every, saving
        self.eval_every = eval_every or steps
        self.prefetch, self.show = prefetch, progress and is_first()
        self.folder = None if folder is None else Path(folder) / phase
        if self.folder is not None:
            check_writable(self.folder)
        self.example = batch_at(train, 0)
        self.rows = jax.process_count() * sum(
            len(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(self.example)
            if getattr(path[-1], "key", None) == "index"
        )
        self.program = Program(learner, self.example, self.placement, seed)
        self.evaluation = Evaluation(learner, self.placement)
        self.store = None
        self.host: Metrics | None = None
        self.seconds = self.seconds_before = self.compile_seconds = 0.0
        self.values: dict[str, float] = {}
        self.stopped = False
        self.best: float | None = None

    def run(self) -> Result:
        began = time.monotonic()
        if self.folder is not None:
            self.store = Checkpoints(
                self.folder / "checkpoints", keep_last=self.saving.keep_last, mode=self.saving.mode
            )
        try:
            step, carry = self._resume()
            finished = self._finished()
            if self.stopped or (finished is not None and finished["step"] == step >= self.steps):
                if finished is None and is_first():
                    _write_json(self.folder / "finished.json", {"step": step, "stopped": self.stopped})
                return self._result(step, carry, self.stopped, 0.0)
            self.program.compile()
            self.compile_seconds = time.monotonic() - began
            return self._loop(step, carry)
        finally:
            if self.store is not None:
                self.store.close()

    # Resume

    def _resume(self) -> tuple[int, Carry]:
        restored = self.store.restore(self.program.abstract_carry) if self.store is not None else None
        if restored is None:
            return 0, self.program.init(self.example, self.start)
        step, carry, note = restored
        here = json.loads(json.dumps(settings(self.train)))
        if note["data"] != here:
            raise ValueError(
                f"the checkpoints in {self.store.folder} were made on other data: {note['data']}, not {here}"
            )
        for hook, memory in zip(self.hooks, note["hooks"], strict=False):
            if memory is not None:
                hook.memory = memory
        if note["folded"] is not None:
            sums = self.program.abstract_carry.sums
            leaves = [np.asarray(leaf) for leaf in note["folded"]]
            self.host = jax.tree.unflatten(jax.tree.structure(sums), leaves)
        self.seconds = self.seconds_before = note["seconds"]
        self.best = note["best"]
        self.stopped = note["stopped"]
        if self.show:
            say(f"resuming after step {step}")
        return step, carry

    def _finished(self) -> dict | None:
        path = self.folder and self.folder / "finished.json"
        return json.loads(path.read_text()) if path and path.exists() else None

    def _result(self, step: int, carry: Carry, stopped: bool, wait: float) -> Result:
        return Result(
            state=carry.state, step=step, stopped=stopped, history=self.history(), seconds=self.seconds,
            compile_seconds=self.compile_seconds, wait_fraction=wait, seconds_before=self.seconds_before,
            best_step=same(self.store.best_step()) if self.store is not None else None,
            memory=memory_report(self.program.abstract_state, self.program.batch, self.program.compiled),
        )  # fmt: skip

    def history(self) -> list[dict]:
        if self.folder is None:
            return self._rows_kept
        path = self.folder / "metrics.jsonl"
        return read_metrics(path) if path.exists() else []

    # The loop

    def _loop(self, first: int, carry: Carry) -> Result:
        self._rows_kept: list[dict] = []
        self._writer = None
        if self.folder is not None and is_first():
            self._writer = MetricsWriter(self.folder, resume_step=first)
        self._progress = Progress(self.steps, first, enabled=self.show)
        self._saved = first if first else -1
        self._saved_at = time.monotonic()
        self._mark, self._marked = time.monotonic(), first
        self._good = first
        step, stopped = first, False
        carry = self.program.split(carry)
        batches = Prefetch(lambda t: batch_at(self.train, t), first, self.steps, self.prefetch, self.program.put)
        try:
            with batches, Preemption() as preemption:
                for index, batch in batches:
                    carry = self.program.step(carry, batch)
                    step = index + 1
                    self._progress.advance(step)
                    carry, stopped = self._boundary(step, carry)
                    if preemption.requested(step):
                        self._save(step, carry)
                        self.store and self.store.wait()
                        raise Preempted(step)
                    if stopped:
                        break
            self._save(step, carry)
        finally:
            self._progress.close()
            if self._writer is not None:
                self._writer.close()
        if self.folder is not None:
            self.store.wait()
            if self.store.failure is None and is_first():
                _write_json(self.folder / "finished.json", {"step": step, "stopped": stopped})
        wait = batches.wait_seconds / max(self.seconds - self.seconds_before, 1e-9)
        return self._result(step, self.program.join(carry), stopped, min(1.0, wait))

    def _boundary(self, step: int, carry: Carry) -> tuple[Carry, bool]:
        """What happens between two steps: log, evaluate, hooks, save. Returns (carry, whether to stop)."""
        last = step == self.steps
        log = step % self.log_every == 0 or last
        measure = self.valid is not None and (step % self.eval_every == 0 or last)
        self.values = {}
        if log or step % FOLD_EVERY == 0:
            carry = self._fold(step, carry)
        if log:
            self._log(step)
        score = None
        if measure:
            jax.block_until_ready(carry.bad_step)
            began = time.monotonic()
            score = self._measure(step, carry)
            self._mark += time.monotonic() - began
        stopped = False
        if log or measure:
            began = time.monotonic()
            carry, stopped = self._call_hooks(step, carry)
            self._mark += time.monotonic() - began
            self.stopped = stopped
        if self._due(step, log) or score is not None:
            self._save(step, carry, score)
        return carry, stopped

    def _fold(self, step: int, carry: Carry) -> Carry:
        sums, carry = self.program.take_sums(carry)
        if int(np.max(jax.device_get(carry.bad_step))) >= 0:
            self._raise_nonfinite(step, carry)
        self.host = fold(self.host, sums)
        return carry

    def _log(self, step: int) -> None:
        now = time.monotonic()
        elapsed = now - self._mark
        self.seconds += elapsed
        numbers, _ = flatten(self.host)
        row = {"step": step, "split": "train", "epoch": self._epoch(step), **numbers, "seconds": round(self.seconds, 3)}
        if self.rows and elapsed > 0:
            row["examples_per_second"] = round(self.rows * (step - self._marked) / elapsed, 1)
        self._mark, self._marked, self.host = now, step, None
        self._emit(row)

    def _epoch(self, step: int) -> float | None:
        length = settings(self.train).get("length")
        return round(step * self.rows / length, 3) if isinstance(length, int) and length else None

    def _measure(self, step: int, carry: Carry) -> float | None:
        joined = self.program.join(carry)
        numbers, _ = self.evaluation.everything(joined.state, self.valid, self.evaluators, self.eval_batch_size)
        self._emit({"step": step, "split": "valid", "epoch": self._epoch(step), **numbers})
        monitor = self.saving.monitor
        if monitor is None:
            return None
        if monitor not in numbers:
            raise ValueError(f"monitor={monitor!r} is not a validation metric; there are {', '.join(numbers)}")
        score = numbers[monitor]
        sign = 1 if self.saving.mode == "max" else -1
        if score is None or math.isnan(score) or (self.best is not None and sign * score < sign * self.best):
            return None
        self.best = score
        return score

    def _emit(self, row: dict) -> None:
        self.values.update({f"{row['split']}/{k}": v for k, v in row.items() if isinstance(v, float | int)})
        self._rows_kept.append(row)
        if self._writer is not None:
            self._writer.write(row)
        self._progress.log(row)

    def _call_hooks(self, step: int, carry: Carry) -> tuple[Carry, bool]:
        stopped = False
        for hook in self.hooks:
            joined = self.program.join(carry)
            answer = hook(step, joined.state, dict(self.values))
            if answer is STOP:
                stopped = True
            elif answer is not None:
                carry = self.program.split(joined.replace(state=self.program.place(answer)))
        return carry, stopped

    # Saving

    def _due(self, step: int, log: bool) -> bool:
        if self.saving.steps and step % self.saving.steps == 0:
            return True
        if not self.saving.seconds or self.store is None:
            return False
        if jax.process_count() == 1:
            return time.monotonic() - self._saved_at >= self.saving.seconds
        if not log:
            return False
        from jax.experimental import multihost_utils

        late = np.asarray(time.monotonic() - self._saved_at >= self.saving.seconds)
        return bool(multihost_utils.broadcast_one_to_all(late))

    def _save(self, step: int, carry: Carry, score: float | None = None) -> None:
        joined = self.program.join(carry)
        if int(joined.bad_step) >= 0 or not self.program.finite(joined.state.params):
            self._raise_nonfinite(step, carry)
        self._good = step
        if self.store is None or step == self._saved:
            return
        self.store.check()
        note = {
            "data": settings(self.train),
            "hooks": [getattr(hook, "memory", None) for hook in self.hooks],
            "folded": None if self.host is None else [np.asarray(x).tolist() for x in jax.tree.leaves(self.host)],
            "seconds": self.seconds,
            "best": self.best,
            "stopped": self.stopped,
        }
        self.store.save(step, joined, note, score)
        self._saved, self._saved_at = step, time.monotonic()

    def _raise_nonfinite(self, step: int, carry: Carry) -> None:
        joined = self.program.join(carry)
        bad_step = int(joined.bad_step)
        last = bad_step if bad_step >= 0 else step - 1
        numbers = flatten(jax.device_get(joined.bad))[0] if bad_step >= 0 else {}
        logging.error("not finite at step %d: %s; replaying to find the cause", last, numbers)
        restored = None
        if self.store is not None:
            self.store.wait()
            restored = self.store.restore(self.program.abstract_carry)
        first, carry = (0, self.program.init(self.example, self.start)) if restored is None else restored[:2]
        began, story = diagnose(self.program, carry, lambda t: batch_at(self.train, t), first, last)
        raise NonFiniteError(f"training is no longer finite, first at step {began}:\n  {story}")


def _write_json(path: Path, value: dict) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(temporary, path)
