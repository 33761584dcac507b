"""How many Gaussians of a ring samples cover."""

from dlcore.data.splits import Splits
from dlcore.evaluators import frechet_evaluator, mode_coverage_evaluator
from dlcore.experiment.parts import Run
from dlcore.generative.ring import ring_centers
from dlcore.learner import Evaluator

__all__ = ["ModeCoverage"]


class ModeCoverage:
    """How many modes the samples cover, and the Fréchet distance of the coordinates; no metric selects a checkpoint."""

    metric = "frechet_distance"
    monitor = None
    mode = "min"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure the modes, and the distance to the points of the split."""
        reference = getattr(splits, split).arrays["point"]
        return [
            mode_coverage_evaluator(ring_centers(), run.parts.data.std, splits.shown),
            frechet_evaluator(lambda points: (points, None), reference, splits.shown, intervals=split == "test"),
        ]
