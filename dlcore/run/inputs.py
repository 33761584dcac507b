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
    for pipeline in _leaves(train):
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
    sources = {"valid": valid, **({} if isinstance(train, Mapping) else {"train": getattr(train, "source", None)})}
    for field, count in learner.classes(state, batch).items():
        for name, source in sources.items():
            labels = getattr(source, "arrays", {}).get(field)
            if isinstance(labels, np.ndarray):
                _check(name, field, labels, count)
        _check("the first batch", field, batch[field], count)


def _check(where: str, field: str, labels: Any, count: int) -> None:
    labels = np.asarray(jax.device_get(labels))
    allowed = f"allowed: integers from 0 to {count - 1}, as the model has {count} outputs"
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{field}={labels.dtype}: wrong dtype in {where}; {allowed}")
    outside = np.argwhere((labels < 0) | (labels >= count))
    if len(outside):
        first = tuple(outside[0])
        raise ValueError(f"{field}={labels[first]}: out of range, example {first[0]} of {where}; {allowed}")


def _leaves(pipelines: Any) -> Iterator[Any]:
    if isinstance(pipelines, Mapping):
        for pipeline in pipelines.values():
            yield from _leaves(pipeline)
    else:
        yield pipelines
