"""Splits of an experiment: the sources that it trains, validates and tests on."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_whole_number

__all__ = ["Spec", "Splits", "batch_facts", "map_sources", "metric_label", "zero_batch"]

Spec = dict[str, Any]
"""JSON-able facts of the data that `build` needs; config.json keeps them, so that a run can be used without its data.

- Images: `image_shape` (height, width, channels), `mean` and `std` of the training split.
- Classes: `class_names` and `num_classes`. Text: `vocabulary`. A topic adds its own.
- `batch`: {entry: (shape of one example, dtype)}, the inputs of `predict` if they differ from the arrays of the
  training split, such as float images that are stored as bytes. `train_size`: number of training examples of a run.
- `about`: {metric: text} that is appended to the metric's name, such as the network whose features a distance compares.
- `trivial`: {metric: (value, rule)}, a metric's value without learning, if known from the data.
- `headline`: the metric that replaces the experiment's if the data have no labels for that.
"""


class Splits(NamedTuple):
    """The data of an experiment.

    Args:
      train: a source, or a dict of sources.
      valid: a source, or None.
      test: a source, or None.
      spec: facts of the data, see `Spec`.
      notes: lines to print once.
      shown: input of `predict` for the report; None takes the test split (for generators: a few indices, one per
        sample).
      batch_ratios: {source: batch ratio} of several training sources: its examples per example of `--batch_size`; 1 if
        absent.
    """

    train: Any
    valid: Any
    test: Any
    spec: Spec
    notes: tuple[str, ...] = ()
    shown: Any = None
    batch_ratios: Mapping[str, int] = {}

    @property
    def train_size(self) -> int:
        """Number of training examples; of several sources the largest quotient of examples and batch ratio, rounded
        up."""
        sizes: list[int] = []
        map_sources(lambda source, ratio: sizes.append(-(-len(source) // ratio)), self.train, self.batch_ratios)
        return max(sizes)

    @property
    def facts(self) -> dict[str, Any]:
        """`spec`, `train_size`, and as `batch` the shape and dtype of each array of an example, by default those of the
        training split."""
        return {
            "batch": map_sources(lambda source, _: batch_facts(source), self.train, {}),
            **self.spec,
            "train_size": self.train_size,
        }


def batch_facts(source: Any) -> dict[str, list]:
    """Describe the arrays of one example of a source.

    Args:
      source: source with `arrays` [N, ...].

    Returns:
      {name: [shape of one example, dtype]}.
    """
    return {name: [list(np.shape(array)[1:]), str(array.dtype)] for name, array in source.arrays.items()}


def zero_batch(facts: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Make a batch of zeros of known shapes.

    Args:
      facts: {name: (shape of one example, dtype)}, or such a dict for each of several sources.
      rows: B, number of examples.

    Returns:
      Arrays [B, ...] by name and `index: [B] int32`, or a dict of such batches.
    """
    check_whole_number("rows", rows, 0)
    if any(isinstance(part, Mapping) for part in facts.values()):
        return {name: zero_batch(part, rows) for name, part in facts.items()}
    arrays = {name: np.zeros((rows, *shape), dtype) for name, (shape, dtype) in facts.items()}
    return {**arrays, "index": np.arange(rows, dtype=np.int32)}


def metric_label(name: str, spec: Mapping[str, Any]) -> str:
    """Append the measurement's conditions to a metric's name.

    Args:
      name: name of the metric.
      spec: `Splits.spec`.

    Returns:
      The label, such as "accuracy", or "frechet_distance (resnet8_cifar, 1,000 samples, 10,000 real)".
    """
    about = spec.get("about", {}).get(name)
    return f"{name} ({about})" if about else name


def map_sources(function: Callable[[Any, int], Any], train: Any, ratios: Mapping[str, int]) -> Any:
    """Apply a function to each training source.

    Args:
      function: (source, its batch ratio) -> anything.
      train: a source, or a (nested) dict of sources.
      ratios: `Splits.batch_ratios`.

    Returns:
      The function's results in the structure of `train`.
    """

    def apply(part: Any, ratio: int) -> Any:
        if isinstance(part, dict):
            return {name: apply(inner, ratio * ratios.get(name, 1)) for name, inner in part.items()}
        return function(part, ratio)

    return apply(train, 1)
