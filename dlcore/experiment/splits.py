"""Splits of an experiment: the sources that it trains, validates and tests on."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Splits", "map_sources", "metric_label"]


class Splits(NamedTuple):
    """The data of an experiment.

    Args:
      train: a source, or a dict of sources.
      valid: a source, or None.
      test: a source, or None.
      spec: JSON-able facts that `build` needs (class names, image shape, statistics of the training split); they are
        kept in config.json, so that a run can be used without its data. `spec["about"]`, {metric: text}, is put behind
        the name of a metric that says nothing without it, such as what a distance is measured in.
        `spec["trivial"]`, {metric: (value, rule)}, says what a metric is worth without learning where the data know it.
        `spec["headline"]` names the measure in place of the experiment's where the data have no labels for that.
      notes: lines to print once.
      shown: what `predict` runs over for the report, where that is not the test split (for generators: a few indices,
        one a sample).
      batch_ratios: of several training sources, how many examples each gives for one of `--batch_size`; 1 where absent.
    """

    train: Any
    valid: Any
    test: Any
    spec: dict
    notes: tuple[str, ...] = ()
    shown: Any = None
    batch_ratios: Mapping[str, int] = {}

    @property
    def train_size(self) -> int:
        """Training examples; of several sources the most batches' worth: examples over those a step takes for each one
        of `--batch_size`, rounded up."""
        sizes: list[int] = []
        map_sources(lambda source, ratio: sizes.append(-(-len(source) // ratio)), self.train, self.batch_ratios)
        return max(sizes)


def metric_label(name: str, spec: Mapping[str, Any]) -> str:
    """Append to a metric's name the condition that it was measured under.

    Args:
      name: of the metric.
      spec: `Splits.spec`.

    Returns:
      Such as "accuracy", or "frechet_distance (resnet8_cifar, 1,000 samples, 10,000 real)".
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
      What the function gives, in the structure of `train`.
    """

    def of(part: Any, ratio: int) -> Any:
        if isinstance(part, dict):
            return {name: of(inner, ratio * ratios.get(name, 1)) for name, inner in part.items()}
        return function(part, ratio)

    return of(train, 1)
