"""The share of generated images in regions of low density."""

from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator
from dlcore.semi_supervised.gan_classifier import low_density

__all__ = ["LowDensity"]


class LowDensity:
    """How often a generated image is less likely than a real one."""

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluator of `low_density`."""
        return [low_density()]
