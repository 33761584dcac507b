"""Images of a class: the classes to sample, inputs of predict, and the report by class."""

import dataclasses
from typing import Annotated, Any

import numpy as np

from dlcore.evaluators.image_generation import class_features, class_source
from dlcore.experiment.parts import Run
from dlcore.generative import sample_panels
from dlcore.learner import Range
from dlcore.report.context import ReportContext
from dlcore.report.guidance_curve import guidance_panel

__all__ = ["GuidedClassPanels"]


@dataclasses.dataclass(frozen=True)
class GuidedClassPanels:
    """Panels of samples of classes, which a condition guides.

    Args:
      guidance_samples: samples for each point of the report's guidance curve; 0 leaves the curve out
    """

    guidance_samples: Annotated[int, Range(0), "no identity"] = 200

    def panels(self, context: ReportContext, run: Run) -> list:
        """Show samples by class, samples of the same noise under increasing guidance, and the guidance curve."""
        return self.build(context, run.parts.measures[0].classifier)

    def build(self, context: ReportContext, classifier: Any) -> list:
        """Build the panels.

        Args:
          classifier: page of the small classifier, which measures the curve.

        Returns:
          The panels, in the order of the report.
        """
        from dlcore.report.triage import triage_panels

        first, *other_panels = sample_panels.panels(context)
        result = [first]
        if self.guidance_samples:
            features = class_features(context.flags, context.spec, classifier)
            labels = class_source(self.guidance_samples, context.spec["num_classes"])

            def measure(images: np.ndarray) -> dict[str, float]:
                vectors, probabilities = features(images)
                requested = labels.arrays["label"]
                within = [_spread(vectors[requested == k]) for k in np.unique(requested) if (requested == k).sum() > 1]
                consistency = {"class consistency": float((probabilities.argmax(1) == requested).mean())}
                variety = {"variety within a class": float(np.mean(within))}
                return variety if context.spec["num_classes"] == 1 else consistency | variety

            result += guidance_panel(context, labels, measure)
        return [*result, *triage_panels(context.history, floor=None), *other_panels]


def _spread(vectors: np.ndarray) -> float:
    """Compute the mean distance of two different vectors."""
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    return distances.sum() / (len(vectors) * (len(vectors) - 1))
