"""One photograph of your own, or of the samples, whose features an image is to have."""

import dataclasses
from typing import Annotated

from dlcore.data.sample_images import sample_image
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range

__all__ = ["Photograph", "check_batch_size"]


@dataclasses.dataclass(frozen=True)
class Photograph(CheckedRecord):
    """A photograph that is reconstructed.

    Args:
      image: china, flower or an image file
      height: height of the image in pixels
    """

    image: str = "flower"
    height: Annotated[int, Range(16)] = 96

    def load(self) -> Splits:
        """Read the photograph."""
        image = sample_image(self.image, self.height)
        source = Source({"image": image[None]}, name="an image")
        return Splits(source, source, source, {"dataset": self.image, "shape": list(image.shape)})


def check_batch_size(batch_size: int, num_images: int) -> None:
    """Check that all images are optimized: those of the first batch are.

    Args:
      batch_size: of training.
      num_images: number of images that the data ask for.
    """
    if batch_size < num_images:
        raise ValueError(f"batch_size={batch_size}: {num_images} images are optimized; allowed: at least {num_images}")
