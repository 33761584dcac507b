"""Check what `fit` was given before anything is trained."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from dlcore.learner import Learner

__all__ = ["check_labels", "check_pipelines", "check_valid"]


def check_pipelines(train: Any) -> None:
    """Check that training data gives batches by step.

    Args:
      train: a pipeline, or a (nested) dict of them.

    Raises:
      ValueError: it does not; a source is told how to become a pipeline.
    """
    for _, pipeline in _named(train, "train"):
        if not hasattr(pipeline, "batch_at"):
            raise ValueError(
                f"train={type(pipeline).__name__}: gives no batches; allowed: Pipeline(source, batch_size), or a dict "
                "of pipelines"
            )


def check_valid(valid: Any) -> None:
    """Check that validation data is a whole source.

    Args:
      valid: a source, or None.

    Raises:
      ValueError: it is not.
    """
    if valid is not None and not (hasattr(valid, "__len__") and hasattr(valid, "__getitem__")):
        raise ValueError(f"valid={type(valid).__name__}: is no source; allowed: Source, or None")


def check_labels(learner: Learner, state: Any, batch: Any, train: Any, valid: Any) -> None:
    """Check every label that is in memory, and those of the first batch.

    Args:
      learner: whose `classes` says how many classes there are.
      state: of the learner, or its shapes.
      batch: the first of training, on the host.
      train: its pipeline.
      valid: a source, or None.

    Raises:
      ValueError: a label is no integer, or none of the classes; the first is named.
    """
    if learner.classes is None:
        return
    sources = {"valid": valid, **{name: getattr(p, "source", None) for name, p in _named(train, "train")}}
    for field, count in learner.classes(state, batch).items():
        for name, source in sources.items():
            labels = getattr(source, "arrays", {}).get(field)
            if isinstance(labels, np.ndarray):
                _check(name, field, labels, count)
        for name, rows in _named_batches(batch, train, "the first batch"):
            if name == "the first batch" or field in rows:
                _check(name, field, rows[field], count)


def _check(where: str, field: str, labels: Any, count: int) -> None:
    labels = np.asarray(jax.device_get(labels))
    allowed = f"allowed: integers from 0 to {count - 1}, as the model has {count} outputs"
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{field}={labels.dtype}: wrong dtype in {where}; {allowed}")
    outside = np.argwhere((labels < 0) | (labels >= count))
    if len(outside):
        first = tuple(outside[0])
        raise ValueError(f"{field}={labels[first]}: out of range, example {first[0]} of {where}; {allowed}")


def _named(pipelines: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Each pipeline of a (nested) dict with its place, as in train/labeled."""
    if isinstance(pipelines, Mapping):
        for key, pipeline in pipelines.items():
            yield from _named(pipeline, f"{name}/{key}")
    else:
        yield name, pipelines


def _named_batches(batch: Any, train: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The batch of each pipeline with its place."""
    if isinstance(train, Mapping):
        for key, pipeline in train.items():
            yield from _named_batches(batch[key], pipeline, f"{name}/{key}")
    else:
        yield name, batch
