"""How well new views of exemplars are told apart."""

from typing import Any

from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator

__all__ = ["ExemplarAccuracy", "task_accuracy"]

MEASURED = 1000
"""Exemplars, at most, of which new views are classified."""


class ExemplarAccuracy:
    """The accuracy of new views of the training images, as `exemplar_accuracy`."""

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluator."""
        return [task_accuracy(splits.train.take(MEASURED), "exemplar_accuracy")]


def task_accuracy(source: Any, name: str) -> Evaluator:
    """Build the evaluator of a pretext task's accuracy on a source of its own.

    Args:
      source: source of the examples.
      name: name of the metric.
    """

    def add(acc: tuple[int, int] | None, outputs: dict, rows: dict) -> tuple[int, int]:
        num_correct, count = acc or (0, 0)
        return num_correct + int((outputs["guess"] == outputs["target"]).sum()), count + len(outputs["guess"])

    return Evaluator(add, lambda acc: {name: acc[0] / acc[1]}, source, (name,))
