"""Checkpoints of one run: a state and JSON metadata in one folder per step, saved asynchronously by orbax.

In addition to orbax's CheckpointManager this module compares shapes and dtypes before it reads an array (orbax casts
silently and reports mismatches without the leaf's name), leaves out zero-size arrays (orbax refuses them), compares
checksums of the arrays, falls back to the previous step if the newest one is damaged, removes half-written saves from a
full disk, and never lets the process exit during a save.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from dlcore.choices import check_choice, check_whole_number
from dlcore.run.checksums import checksums, find_damage
from dlcore.run.orbax_output import quiet_orbax, stderr_kept_on_success
from dlcore.run.processes import agree, barrier, is_first
from dlcore.run.sharding import leaf_paths, path_of

__all__ = ["CheckpointMismatch", "Checkpoints", "check_writable", "remove_empty"]

STATE, NOTE = "state", "note"
LEAVES, EMPTY_NODES, CHECKSUMS = "leaves", "empty_nodes", "checksums"
"""Entries of the note in addition to the caller's; older checkpoints have the leaves alone."""
SPARE = 2**18
"""Bytes of a checkpoint in addition to its arrays."""


class CheckpointMismatch(ValueError):
    """The checkpoint belongs to another model or optimizer."""


def check_writable(folder: Path) -> list[Path]:
    """Create `folder` and verify that files can be written there.

    Args:
      folder: a run's folder.

    Returns:
      The folders that did not exist, the innermost first.

    Raises:
      OSError: the folder cannot be written; the message names it.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{jax.process_index()}-{os.getpid()}"
        probe.write_text("probe")
        probe.unlink()
    except OSError as error:
        raise OSError(f"run folder {folder} cannot be written to: {error.strerror or error}") from None
    return new


def remove_empty(folders: list[Path]) -> None:
    """Remove folders in which nothing was written.

    Args:
      folders: result of `check_writable`.
    """
    with contextlib.suppress(OSError):  # not empty: another process began there
        for folder in folders:
            folder.rmdir()


class Checkpoints:
    """The checkpoints under one folder.

    Args:
      folder: folder of the checkpoints; created if it does not exist.
      keep_last: number of newest steps to keep.
      mode: whether the largest ("max") or the smallest ("min") score is the best; the best step is kept too.
      read_only: create and delete nothing.
    """

    def __init__(self, folder: Path, *, keep_last: int = 2, mode: str = "max", read_only: bool = False):
        self.folder = Path(folder).absolute()
        self.keep_last, self.mode, self.read_only = keep_last, mode, read_only
        check_whole_number("keep_last", keep_last, 1)
        check_choice("mode", mode, ("max", "min"))
        self.failure: Exception | None = None
        self.finished_save: int | None = None
        self._pending: int | None = None
        quiet_orbax()
        self._open()

    def _open(self) -> None:
        import orbax.checkpoint as ocp
        from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

        def score(metrics: dict) -> float:
            return metrics["score"]

        self._ocp = ocp
        self._manager: Any = None
        if self.read_only:  # orbax's manager reads every score when it opens, and fails on a damaged one
            return
        self._drop_damaged_scores()
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                cleanup_tmp_directories=True,
                best_fn=score,
                best_mode=self.mode,
                preservation_policy=AnyPreservationPolicy(
                    [
                        LatestN(self.keep_last),
                        BestN(
                            get_metric_fn=score, reverse=self.mode == "min", n=1, keep_checkpoints_without_metrics=False
                        ),
                    ]
                ),
            ),
        )

    def _drop_damaged_scores(self) -> None:
        """Delete unreadable scores, which would keep orbax from opening the folder."""
        for step in self.folder.glob("*") if is_first() else ():
            if step.name.isdigit() and (step / "metrics").exists() and self.score(int(step.name)) is None:
                logging.warning("the score of checkpoint %s in %s is damaged: forgotten", step.name, self.folder)
                shutil.rmtree(step / "metrics")
        barrier("scores read")

    def steps(self) -> list[int]:
        """List the saved steps.

        Returns:
          Steps, oldest first.
        """
        if self._manager is None:
            return sorted(int(p.name) for p in self.folder.glob("*") if p.name.isdigit())
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """Find the step with the best score.

        Returns:
          The step, of equal scores the later one; None if no step has a score.
        """
        scores = {step: self.score(step) for step in self.steps()}
        scores = {step: score for step, score in scores.items() if score is not None}
        if not scores:
            return None
        sign = 1 if self.mode == "max" else -1
        return max(scores, key=lambda step: (sign * scores[step], step))

    def score(self, step: int) -> float | None:
        """Read the score of a step.

        Args:
          step: a saved step.

        Returns:
          The score; None if none was saved, or it cannot be read.
        """
        try:
            return json.loads((self.folder / str(step) / "metrics" / "metrics").read_text())["score"]
        except (OSError, ValueError, KeyError):
            return None

    def save(self, step: int, state: Any, note: dict, score: float | None = None) -> None:
        """Start a save and return once the arrays have been copied, so that the state may be donated.

        A failure of this save or the previous one is logged, stored in `failure` and does not raise: training goes on
        from a good state, and `close` raises at the end.

        Args:
          step: number of steps done.
          state: pytree of arrays.
          note: JSON-able facts to restore with the state.
          score: value of the monitored metric; None if this step is not compared.
        """
        args = self._ocp.args
        _check_names(state)
        facts = {LEAVES: _leaves(state), EMPTY_NODES: _empty_nodes(state)}
        self.wait()
        if not self._room(step, state):
            return
        self._pending = step
        try:
            self._manager.save(
                step,
                args=args.Composite(
                    **{
                        STATE: args.StandardSave(_without_empty(state)),
                        NOTE: args.JsonSave({**note, **facts, CHECKSUMS: checksums(state)}),
                    }
                ),
                metrics=None if score is None else {"score": float(score)},
                force=True,
            )
        except (OSError, ValueError) as error:
            self._failed(step, error)

    def _room(self, step: int, state: Any) -> bool:
        """Return whether the disk has space; without it orbax prints hundreds of lines, and other processes hang."""
        free, num_bytes = shutil.disk_usage(self.folder).free, sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        if agree(free > 1.1 * num_bytes + SPARE):
            return True
        self.failure = OSError(f"{free:,} bytes are free, and a checkpoint takes {num_bytes:,} and some")
        logging.error("CHECKPOINT NOT SAVED at step %s in %s: %s", step, self.folder, self.failure)
        return False

    def check(self) -> None:
        """Handle a failed save without waiting for a running one."""
        try:
            self._manager.check_for_errors()
        except (OSError, ValueError) as error:
            self._failed(self._pending, error)

    def _failed(self, step: int | None, error: Exception) -> None:
        self.failure, self._pending = error, None
        text = str(error).strip().split("\n")[-1][:300]
        logging.error("CHECKPOINT NOT SAVED at step %s in %s: %s", step, self.folder, text)
        for folder in self.folder.glob("*.orbax-checkpoint-tmp") if is_first() else ():
            shutil.rmtree(folder, ignore_errors=True)
        self._reopen()

    def _reopen(self) -> None:
        if self._manager is None:
            return
        try:
            self._manager.close()
        except (OSError, ValueError) as error:
            logging.error("while closing %s: %s", self.folder, str(error)[:300])
        self._open()

    def wait(self) -> None:
        """Wait for the running save."""
        try:
            if self._manager is not None:
                self._manager.wait_until_finished()
            if self._pending is not None:
                self.finished_save = self._pending
                self.failure = self._pending = None
        except (OSError, ValueError) as error:
            self._failed(self._pending, error)

    def close(self) -> None:
        """Wait for the running save, and close the folder.

        Raises:
          OSError: the latest save failed, so the folder lacks the newest step.
        """
        self.wait()
        if self._manager is not None:
            self._manager.close()
        if self.failure is not None:
            raise OSError(f"folder={str(self.folder)!r}: the last checkpoint could not be saved: {self.failure}")

    def restore(self, abstract: Any, step: int | None = None) -> tuple[int, Any, dict] | None:
        """Restore the newest readable step, or a given one.

        Args:
          abstract: pytree of ShapeDtypeStructs with shardings, the expected state.
          step: step to restore; None takes the newest that can be read.

        Returns:
          (step, state, metadata); None if there is no checkpoint.

        Raises:
          CheckpointMismatch: a leaf is missing, left over, or has another shape or dtype; the message names the first.
          FileNotFoundError: there is no checkpoint for `step`.
          OSError: no step can be read.
          ValueError: two leaves have one name in a checkpoint.
        """
        _check_names(abstract)
        candidates = self.steps()[::-1] if step is None else [step]
        if step is not None and step not in self.steps():
            raise FileNotFoundError(f"step={step}: not in {self.folder}; allowed: {self.steps()}")
        damaged, reason = [], ""
        for candidate in candidates:
            reason = "another process cannot read it"
            try:
                self._compare(candidate, abstract)
                result = candidate, *self._read(candidate, abstract)
            except (CheckpointMismatch, jax.errors.JaxRuntimeError):  # of the device or another process, not the disk
                raise
            except Exception as error:  # orbax raises a bare Exception for a short file
                result, reason = None, re.split(r"\n|\. See full", str(error).strip())[0][:200]
            if not agree(result is not None):
                if step is not None:
                    raise OSError(f"checkpoint {candidate} in {self.folder} is damaged: {reason}") from None
                logging.warning(
                    "checkpoint %d in %s is damaged (%s): trying the one before", candidate, self.folder, reason
                )
                damaged.append(candidate)
                self._reopen()
                continue
            for bad in damaged:
                self._set_aside(bad)
            return result
        if candidates:
            raise OSError(f"none of the checkpoints {candidates} in {self.folder} can be read; the last one: {reason}")
        return None

    def _set_aside(self, step: int) -> None:
        if not self.read_only and is_first():
            (self.folder / str(step)).rename(self.folder / f"damaged-{step}-{os.getpid()}")
        barrier("set aside")
        self._reopen()

    def _compare(self, step: int, abstract: Any) -> None:
        """Compare the leaves, and then the nodes without any, such as the `EmptyState` of an optax transformation."""
        metadata = json.loads((self.folder / str(step) / NOTE / "metadata").read_text())
        where = f"checkpoint {step} in {self.folder}"
        for entry, description in ((LEAVES, _leaves), (EMPTY_NODES, _empty_nodes)):
            expected = description(abstract)
            saved = metadata[LEAVES] if entry == LEAVES else metadata.get(entry, expected)
            for path, value in expected.items():
                if path not in saved:
                    raise CheckpointMismatch(f"{where} has no {path}, which this run needs as {value}")
                if saved[path] != value:
                    raise CheckpointMismatch(
                        f"{where} is of another model or optimizer: {path} is {saved[path]} there and {value} here"
                    )
            if left_over := sorted(saved.keys() - expected.keys()):
                path = left_over[0]
                raise CheckpointMismatch(
                    f"{where} is of another model or optimizer: it has {path} {saved[path]}, this run has not"
                )

    def _read(self, step: int, abstract: Any) -> tuple[Any, dict]:
        args = self._ocp.args
        nonempty = _without_empty(abstract)
        with stderr_kept_on_success():
            if self._manager is None:
                metadata = json.loads((self.folder / str(step) / NOTE / "metadata").read_text())
                with self._ocp.StandardCheckpointer() as reader:
                    restored = {STATE: reader.restore(self.folder / str(step) / STATE, nonempty), NOTE: metadata}
            else:
                restored = self._manager.restore(
                    step, args=args.Composite(**{STATE: args.StandardRestore(nonempty), NOTE: args.JsonRestore()})
                )
        for (path, expected), (_, restored_leaf) in zip(leaf_paths(nonempty), leaf_paths(restored[STATE]), strict=True):
            if expected.dtype != restored_leaf.dtype or expected.shape != restored_leaf.shape:
                raise ValueError(f"{path} came back as {restored_leaf.dtype}{restored_leaf.shape}")
        if path := find_damage(restored[STATE], restored[NOTE].get(CHECKSUMS, {})):
            raise ValueError(f"{path} differs from its checksum")
        leaves = iter(jax.tree.leaves(restored[STATE]))
        full = [
            jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding) if _empty(leaf) else next(leaves)
            for leaf in jax.tree.leaves(abstract)
        ]
        metadata = {k: v for k, v in restored[NOTE].items() if k not in (LEAVES, EMPTY_NODES, CHECKSUMS)}
        return jax.tree.unflatten(jax.tree.structure(abstract), full), metadata


def _leaves(tree: Any) -> dict[str, str]:
    """Describe each leaf by path, as "float32[3, 3]"; a typed PRNG key by its implementation."""
    return {path: f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaf_paths(tree)}


def _empty_nodes(tree: Any) -> dict[str, str]:
    """Name the type of each node without leaves by path."""
    nodes = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_empty_node)
    return {path_of(path): type(node).__name__ for path, node in nodes if _is_empty_node(node)}


def _is_empty_node(node: Any) -> bool:
    return node is None or (isinstance(node, tuple | list | Mapping) and not node)


def _check_names(tree: Any) -> None:
    """Refuse two leaves that orbax, which joins keys by dots, would write to one place."""
    paths: dict[str, str] = {}
    for path, _ in leaf_paths(tree):
        name = path.replace("/", ".")
        if name in paths:
            raise ValueError(
                f"state={paths[name]}, {path}: two leaves of one name in a checkpoint; allowed: names that differ "
                "when dots join their keys"
            )
        paths[name] = path


def _empty(leaf: Any) -> bool:
    return 0 in leaf.shape


def _without_empty(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: None if _empty(leaf) else leaf, tree)
