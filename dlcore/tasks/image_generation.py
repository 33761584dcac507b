"""ImageGeneration: generate images of noise alone, and measure their distance to real ones."""

import dataclasses

from dlcore.kits.generative import image_generation, sample_panels
from dlcore.kits.generative.samples import Samples
from dlcore.kits.images.labeled_images import NamedImages

__all__ = ["ImageGeneration"]


@dataclasses.dataclass(frozen=True)
class ImageGeneration(NamedImages, Samples):
    """Images by name, and samples that are compared with them in a classifier's features."""

    monitor = headline = "frechet_distance"
    monitor_mode = "min"

    shared_settings = image_generation.SETTINGS
    data = staticmethod(image_generation.data)
    evaluators = staticmethod(image_generation.evaluators)
    panels = staticmethod(sample_panels.panels)
    pictures = staticmethod(sample_panels.pictures)
