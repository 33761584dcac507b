"""ImageGeneration: generate images of noise alone, and measure their distance to real ones."""

import dataclasses

from dlcore.experiment.experiment import Experiment
from dlcore.experiment.parts import Run
from dlcore.experiment.splits import Splits
from dlcore.kits.generative import image_generation, sample_panels
from dlcore.kits.generative.samples import Samples
from dlcore.kits.images.labeled_images import NamedImages
from dlcore.learner import Evaluator

__all__ = ["ImageGeneration"]


@dataclasses.dataclass(frozen=True)
class ImageGeneration(NamedImages, Samples):
    """Images by name, and samples that are compared with them in a classifier's features.

    Args:
      classifier: page that trains the classifier where no flag names one.
    """

    classifier: Experiment | None = dataclasses.field(default=None, kw_only=True, compare=False)

    monitor = headline = "frechet_distance"
    monitor_mode = "min"

    shared_settings = image_generation.SETTINGS
    data = staticmethod(image_generation.data)
    panels = staticmethod(sample_panels.panels)
    pictures = staticmethod(sample_panels.pictures)

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of distances to real images."""
        return image_generation.evaluators(run, splits, split, self.classifier)
