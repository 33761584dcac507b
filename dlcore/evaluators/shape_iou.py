"""How well samples follow their edges: the IoU of their shapes."""

import dataclasses
from typing import ClassVar

from dlcore.data.shape_grid import foreground
from dlcore.data.splits import Splits
from dlcore.evaluators.object_correctness import ObjectCorrectness
from dlcore.experiment.parts import Run
from dlcore.generative.control_net import shape_iou
from dlcore.learner import Evaluator

__all__ = ["ShapeIoU"]


@dataclasses.dataclass(frozen=True)
class ShapeIoU:
    """At the end of a run, the overlap of the shapes of samples with those whose edges were given.

    Args:
      prompts: the measure of what the prompts say, which follows.
    """

    prompts: ObjectCorrectness

    metric: ClassVar[str] = "loss"
    mode: ClassVar[str] = "min"
    headline: ClassVar[str] = "shape_iou"

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Say what is measured."""
        return self.prompts.finish_data(splits, run)

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure at the end of a run whether shapes are where the edges are, and what the prompts say."""
        measures = self.prompts.evaluators(run, splits, split)
        return [*(shape_iou(foreground, measure.source) for measure in measures[:1]), *measures]
