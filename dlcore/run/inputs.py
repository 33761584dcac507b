"""Checks of the arguments of `fit` before training starts."""

import contextlib
import json
import linecache
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.learner import Evaluator, Labels, Learner

__all__ = [
    "batch_errors",
    "check_checkpoint",
    "check_each",
    "check_evaluators",
    "check_folder",
    "check_is",
    "check_labels",
    "check_pipelines",
    "check_source",
    "check_valid",
]

_ROWS = 1024
"""Number of examples whose labels are checked at once, since label maps are large."""


def check_source(name: str, source: Any) -> None:
    """Check that data are a source.

    Args:
      name: name of the argument, for the error.
      source: a source.
    """
    if not _is_source(source):
        raise ValueError(f"{name}={type(source).__name__}: no source; allowed: Source(arrays)")


def _is_source(value: Any) -> bool:
    return all(hasattr(value, attribute) for attribute in ("__len__", "__getitem__", "arrays"))


def check_pipelines(train: Any) -> None:
    """Check that training data return batches by step.

    Args:
      train: a pipeline, or a (nested) dict of them.
    """
    for _, pipeline in _named(train, "train"):
        if not hasattr(pipeline, "batch_at"):
            raise ValueError(
                f"train={type(pipeline).__name__}: gives no batches; allowed: Pipeline(source, batch_size), or a dict "
                "of pipelines"
            )


def check_valid(valid: Any) -> None:
    """Check that validation data are a source.

    Args:
      valid: a source, or None.
    """
    if valid is not None and not _is_source(valid):
        raise ValueError(f"valid={type(valid).__name__}: is no source; allowed: Source, or None")


def check_each(name: str, values: Any, allowed: Callable[[Any], bool], kind: str) -> None:
    """Check that an argument is a list or tuple of values of one kind.

    Args:
      name: name of the argument, for the error.
      values: the argument.
      allowed: value -> whether it is of the kind.
      kind: the kind, such as "hook".
    """
    if not isinstance(values, (list, tuple)) or hasattr(values, "_fields"):
        raise ValueError(f"{name}={values!r}: no list; allowed: a list or tuple of {kind}s")
    for index, value in enumerate(values):
        if not allowed(value):
            raise ValueError(f"{name}[{index}]={value!r}: no {kind}; allowed: {kind}s")


def check_evaluators(evaluators: Any) -> None:
    """Check that evaluators can measure.

    Args:
      evaluators: a list or tuple of `Evaluator`.
    """
    check_each("evaluators", evaluators, lambda evaluator: isinstance(evaluator, Evaluator), "Evaluator")


def check_folder(folder: Any) -> None:
    """Check that a folder is a path.

    Args:
      folder: a path, or None.
    """
    if folder is not None and (not isinstance(folder, str | Path) or folder == ""):
        raise ValueError(f"folder={folder!r}: no path; allowed: a path, or None")


def check_is(name: str, value: Any, kind: type) -> None:
    """Check that an argument is of a class.

    Args:
      name: name of the argument, for the error.
      value: the argument.
      kind: the class.
    """
    if not isinstance(value, kind):
        allowed = "True, False" if kind is bool else f"{kind.__name__}(...)"
        raise ValueError(f"{name}={value!r}: no {kind.__name__}; allowed: {allowed}")


def check_checkpoint(
    step: int,
    metadata: Mapping[str, Any],
    *,
    seed: int,
    steps: int,
    data: Any,
    hook_types: Sequence[str],
    changed_data: bool,
    folder: Any,
) -> None:
    """Check that a restored checkpoint belongs to the training that is asked for.

    Args:
      step: step of the checkpoint.
      metadata: the checkpoint's metadata; older ones have no seed and no types of hooks, which pass.
      seed: random seed of the training.
      steps: number of steps of the training.
      data: settings of the training data.
      hook_types: name of the type of each hook; one that gets a memory back must be of the type that left it.
      changed_data: accept other data.
      folder: folder of the checkpoints, for the error.
    """
    seed, where = int(seed), repr(str(folder))
    if metadata.get("seed", seed) != seed:
        raise ValueError(
            f"seed={seed}: the checkpoints in {where} are of seed {metadata['seed']}; allowed: that seed, or another "
            "folder"
        )
    if step > steps:
        raise ValueError(
            f"steps={steps}: the checkpoint in {where} is of step {step}; allowed: at least {step}, or another folder"
        )
    saved_types = metadata.get("hook_types", hook_types)
    pairs = zip(metadata["hooks"], saved_types, hook_types, strict=False)  # the last hooks may be left off, or be new
    for index, (memory, saved, now) in enumerate(pairs):
        if memory is not None and saved != now:
            raise ValueError(
                f"hooks[{index}]={now}: the checkpoint in {where} holds the memory of {saved}; allowed: the same hooks "
                "in the same order"
            )
    data = json.loads(json.dumps(data))
    if metadata["data"] != data and not changed_data:
        raise ValueError(
            f"folder={where}: its checkpoints were made on other data, {metadata['data']}; allowed: {data}"
        )


@contextlib.contextmanager
def batch_errors(batch: Any, name: str = "batch") -> Iterator[None]:
    """Name the key that a learner reads and its batch lacks, in one line.

    Args:
      batch: the batch, whose functions run inside the context.
      name: name of the batch, for the message.

    Yields:
      None.
    """
    try:
        yield
    except KeyError as error:
        keys = _keys_without(error, batch)
        if keys is None:
            raise
        raise ValueError(
            f"{name}: holds {', '.join(keys)}, no {error.args[0]!r}; allowed: all keys that the learner reads"
        ) from error


def _keys_without(error: KeyError, batch: Any) -> list[str] | None:
    """Return the keys of the part of a batch that an error is about; None where it is about something else."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    frame_summary = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(frame_summary.filename, frame_summary.lineno or 0)
    # Of batch["labeled"]["label"]: the variable, and the keys but the last.
    words = re.findall(r"\w+", line[frame_summary.colno : frame_summary.end_colno])
    part = frame.f_locals.get(words[0]) if words else None
    for key in words[1:-1]:
        part = part.get(key) if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or error.args[0] in part:
        return None
    return sorted(map(str, part)) if any(part.keys() == other.keys() for other in _parts(batch)) else None


def _parts(batch: Any) -> Iterator[Mapping]:
    """Iterate over a batch and those that it consists of."""
    if isinstance(batch, Mapping):
        yield batch
        for value in batch.values():
            yield from _parts(value)


def check_labels(learner: Learner, state: Any, batch: Any, train: Any, valid: Any) -> None:
    """Check all labels in memory, and those of the first batch.

    Args:
      learner: a learner; its `classes` returns the number of classes.
      state: the learner's state, or its shapes.
      batch: first training batch, on the host.
      train: training pipeline, or a (nested) dict of them.
      valid: a source, or None.
    """
    if learner.classes is None:
        return
    sources = {"valid": valid, **{name: getattr(p, "source", None) for name, p in _named(train, "train")}}
    for path, labels_of_path in learner.classes(state, batch).items():
        part, _, field = path.rpartition("/")
        labels_of_path = labels_of_path if isinstance(labels_of_path, Labels) else Labels(labels_of_path)
        for name, source in sources.items():
            if part and name != f"train/{part}":
                continue
            arrays = getattr(source, "arrays", {})
            if field == "index":
                _check_length(name, source, labels_of_path)
                continue
            # A memory map may be larger than memory; only its first batch is checked.
            if isinstance(labels := arrays.get(field), np.ndarray) and not isinstance(labels, np.memmap):
                _check(name, field, labels, labels_of_path, arrays.get(labels_of_path.valid))
        for name, rows in _named_batches(batch, train, "the first batch"):
            if part and name != f"the first batch/{part}":
                continue
            if name == "the first batch" or field in rows:
                with batch_errors(rows, name):
                    labels = rows[field]
                _check(name, field, labels, labels_of_path, rows.get(labels_of_path.valid))


def _check_length(where: str, source: Any, spec: Labels) -> None:
    """Check that a training source has no more examples than the state has rows for them."""
    if where != "valid" and hasattr(source, "__len__") and len(source) > spec.count:
        raise ValueError(f"{spec.reason}: {where} has {len(source)} examples; allowed: at least {len(source)}")


def _check(where: str, field: str, labels: Any, spec: Labels, valid: Any) -> None:
    labels = np.asarray(jax.device_get(labels))
    valid = None if valid is None else np.asarray(jax.device_get(valid))
    allowed = f"allowed: integers from 0 to {spec.count - 1}, as {spec.reason or f'the model has {spec.count} outputs'}"
    allowed += "" if spec.ignored is None else f", or {spec.ignored} for none"
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{field}={labels.dtype}: wrong dtype in {where}; {allowed}")
    for start in range(0, len(labels), _ROWS):
        rows = slice(start, start + _ROWS)
        invalid = (labels[rows] < 0) | (labels[rows] >= spec.count)
        if spec.ignored is not None:
            invalid &= labels[rows] != spec.ignored
        if valid is not None:
            invalid &= valid[rows] > 0
        if invalid.any():
            first, *rest = np.unravel_index(invalid.argmax(), invalid.shape)
            label = labels[(start + first, *rest)]
            raise ValueError(f"{field}={label}: out of range, example {start + first} of {where}; {allowed}")


def _named(pipelines: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Iterate over the pipelines of a (nested) dict with their paths, as train/labeled."""
    if isinstance(pipelines, Mapping):
        for key, pipeline in pipelines.items():
            yield from _named(pipeline, f"{name}/{key}")
    else:
        yield name, pipelines


def _named_batches(batch: Any, train: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Iterate over the batches of the pipelines with their paths."""
    if isinstance(train, Mapping):
        for key, pipeline in train.items():
            yield from _named_batches(batch[key], pipeline, f"{name}/{key}")
    elif isinstance(batch, Mapping) and batch and all(isinstance(part, Mapping) for part in batch.values()):
        for key, part in batch.items():
            yield f"{name}/{key}", part
    else:
        yield name, batch
