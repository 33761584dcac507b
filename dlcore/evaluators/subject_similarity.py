"""How similar samples are to the subject, and whether its class is still drawn as before."""

import dataclasses
from typing import ClassVar

import numpy as np

from dlcore.data.splits import Splits
from dlcore.data.subjects import CLASS, class_prompts
from dlcore.evaluators.object_correctness import ObjectCorrectness
from dlcore.experiment.parts import Run
from dlcore.generative.personalization import subject_similarity
from dlcore.learner import Evaluator

__all__ = ["SubjectSimilarity"]


@dataclasses.dataclass(frozen=True)
class SubjectSimilarity:
    """At the end of a run, how similar samples of the subject, and of its class, are to the subject.

    Args:
      objects: the measure of the objects in samples of the class.
    """

    objects: ObjectCorrectness

    metric: ClassVar[str] = "loss"
    mode: ClassVar[str] = "min"
    headline: ClassVar[str] = "subject_similarity"

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Say what is measured."""
        message = (
            f"subject_similarity: {self.objects.num_samples} samples of the subject's prompts, class_similarity and "
            f"object_correctness: as many of {CLASS}s in the colors of captions"
        )
        return splits._replace(notes=(*splits.notes, message))

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure at the end of a run the samples of the subject's prompts, and of the class's."""
        if split == "valid":
            return []
        count, shapes = self.objects.num_samples, run.parts.data.shapes
        prompts, classes = splits.test.subset(np.arange(count) % len(splits.test)), class_prompts(run.facts, count)
        reference, side = splits.test.arrays["image"], shapes.image_size // shapes.grid
        return [
            subject_similarity(reference, prompts, side),
            subject_similarity(reference, classes, side, "class_similarity"),
            *self.objects.evaluators(run, splits._replace(test=classes), split),
        ]
