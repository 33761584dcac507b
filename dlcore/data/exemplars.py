"""Exemplars: training images, each a class of its own."""

import dataclasses
from typing import Annotated, Any

import numpy as np

from dlcore.data.images import Images
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.learner import Range
from dlcore.setting import FlagError

__all__ = ["ExemplarImages", "num_exemplars"]


@dataclasses.dataclass(frozen=True)
class ExemplarImages(Images):
    """Images by name, of which the first train: each is a class of its own.

    Args:
      exemplars: training images, each a class of its own
    """

    exemplars: Annotated[int, Range(2)] = 1000

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load images, see `Images.load`; an exemplar's class is its place in the training split."""
        splits = super().load(seed, min_classes)
        train = splits.train.take(min(self.exemplars, len(splits.train)))
        count, message = len(train), "exemplars, all training images"
        message = f"{count} {message}; --exemplars={self.exemplars} are more than there are"
        return splits._replace(
            spec={**splits.spec, "exemplars": count, "batch": {**splits.spec["batch"], "exemplar": [[], "int32"]}},
            notes=(*splits.notes, message) if count < self.exemplars else splits.notes,
            train=_numbered(train, np.arange(count)),
            valid=_numbered(splits.valid, np.full(len(splits.valid), -1)),
            test=_numbered(splits.test, np.full(len(splits.test), -1)),
        )

    def finish_data(self, splits: Splits, run: Any) -> Splits:
        """Check that there are as many images as exemplars that a flag asks for."""
        count = len(splits.train)
        if "exemplars" in run.flags.given and count < self.exemplars:
            raise FlagError(f"--exemplars={self.exemplars}: more than images; allowed: at most {count}")
        return splits


def num_exemplars(run: Any) -> int:
    """Count the exemplars of a run, which are its classes.

    Returns:
      Their number.
    """
    return run.facts.exemplars or run.parts.data.exemplars


def _numbered(source: Source, numbers: np.ndarray) -> Source:
    return dataclasses.replace(source, arrays={**source.arrays, "exemplar": numbers.astype(np.int32)})
