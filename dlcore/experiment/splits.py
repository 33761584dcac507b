"""What an experiment trains and measures on."""

from typing import Any, NamedTuple

__all__ = ["Splits"]


class Splits(NamedTuple):
    """The data of an experiment.

    Args:
      train: a source, or a dict of sources.
      valid: a source, or None.
      test: a source, or None.
      spec: JSON-able facts that `build` needs (class names, image shape, statistics of the training split); they are
        kept in config.json, so that a run can be used without its data.
      notes: lines to print once.
      shown: what `predict` runs over for the report, where that is not the test split (for generators: a few indices,
        one a sample).
    """

    train: Any
    valid: Any
    test: Any
    spec: dict
    notes: tuple[str, ...] = ()
    shown: Any = None

    @property
    def train_size(self) -> int:
        """Training examples; of several sources those of the largest."""
        return max(map(len, _sources(self.train)))


def _sources(train: Any) -> list:
    return [s for part in train.values() for s in _sources(part)] if isinstance(train, dict) else [train]
