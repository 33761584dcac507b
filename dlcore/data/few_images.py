"""Few labeled images, to fine-tune a network that was trained on others."""

import dataclasses
from typing import Annotated, Any

from dlcore.data.few_labels import few_labels
from dlcore.data.images import MadeOfImages
from dlcore.data.splits import Splits
from dlcore.learner import Range

__all__ = ["FewImages"]


@dataclasses.dataclass(frozen=True)
class FewImages(MadeOfImages):
    """Images of which few of each class train.

    Args:
      images: the images by name
      labels_per_class: labeled training images of each class; none takes all
    """

    labels_per_class: Annotated[int | None, Range(1), "essential"] = 10

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits, with few training images.

        Args:
          seed: seed of the splits, and of the choice of the training images.
          min_classes: least number of classes.
        """
        splits = self.images.load(seed, min_classes)
        if self.labels_per_class is None:
            return splits
        return splits._replace(train=few_labels(splits.train, self.labels_per_class, seed))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `preprocess` and `augment`."""
        return self.images.arguments(run)
