"""ImageGeneration: generate images of noise alone, and measure their distance to real ones."""

import dataclasses
from typing import Any

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.generative import image_generation, sample_panels
from dlcore.kits.generative.samples import Samples
from dlcore.kits.images.labeled_images import NamedImages
from dlcore.learner import Evaluator
from dlcore.modes.report_context import ReportContext

__all__ = ["ImageGeneration"]


@dataclasses.dataclass(frozen=True)
class ImageGeneration(NamedImages, Samples):
    """Images by name, and samples that are compared with them in a classifier's features."""

    monitor = "frechet_distance"
    monitor_mode = "min"
    headline = "frechet_distance"

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task, and those of the distances."""
        return {**super().settings(), **image_generation.SETTINGS}

    def data(self, flags: Flags) -> Splits:
        """Load the splits by name.

        Returns:
          The splits; the report shows the first samples.
        """
        return image_generation.data(flags)

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of the distance from samples to training images ("valid") or test images ("test").

        Returns:
          The Fréchet distance and the kernel distance.
        """
        return image_generation.evaluators(setup, splits, split)

    def panels(self, context: ReportContext) -> list:
        """Show the first samples, the curves, and real images."""
        return sample_panels.panels(context)

    def pictures(self, context: ReportContext) -> dict[str, Any]:
        """Show the first samples in TensorBoard."""
        return sample_panels.pictures(context)
