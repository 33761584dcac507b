"""Images by name, or drawn shapes whose factors are known."""

import dataclasses
from typing import Annotated

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.images import Images
from dlcore.data.splits import Splits
from dlcore.learner import Range

__all__ = ["ImagesOrFactors"]


@dataclasses.dataclass(frozen=True)
class ImagesOrFactors(Images):
    """Images by name, or shapes drawn from known factors.

    Args:
      dataset: digits (embedded), factors (shapes drawn from known factors), folder, or a tfds name such as mnist,
        fashion_mnist, cifar10
      image_size: side of the images of a folder or of a tfds data set, by default their own; of factors, by default 16
      num_images: factors: to train on; a tenth as many validate, an eighth test
    """

    num_images: Annotated[int, Range(10)] = 4000

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset != "factors" and super().reads_files

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits, see `Images.load`; every run is tested on the same shapes."""
        from dlcore.data.factor_shapes import FACTORS, SHAPES, factor_shapes
        from dlcore.generative.likelihood import check_intensities

        if self.dataset != "factors":
            splits = super().load(seed, min_classes)
            for name in ("train", "valid", "test"):
                arrays = getattr(splits, name).arrays
                if isinstance(arrays["image"], np.ndarray):
                    check_intensities(arrays["image"], f"{name} images")
            return splits
        size, n = self.image_size or 16, self.num_images
        counts = (n, max(8, n // 10), max(8, n // 8))
        train, valid, test = (factor_shapes(count, k, size) for k, count in enumerate(counts))
        facts = Facts(dataset="factors", class_names=tuple(SHAPES), image_shape=(size, size, 1), factors=tuple(FACTORS))
        return Splits(train, valid, test, facts.spec())
