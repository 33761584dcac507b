"""Dice and surface distances of organs."""

from typing import ClassVar

from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator

__all__ = ["OrganDistances"]


class OrganDistances:
    """Dice of the organs, which a segmenter's `evaluate` measures, and on the test split the distances of surfaces."""

    metric: ClassVar[str] = "dice"
    mode: ClassVar[str] = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure the distances of surfaces on the test split."""
        from dlcore.evaluators.surfaces import surface_evaluator

        if split == "valid":
            return []
        void_label = run.parts.technique.keywords["void_label"]
        return [surface_evaluator(run.facts.num_classes, run.facts.spacing, void_label)]
