"""Images whose shapes are known without loading them, for `--mode=plan`."""

import dataclasses
from typing import Any

from dlcore.data.facts import Facts
from dlcore.data.images import Images, labeled_batch
from dlcore.data.splits import zero_batch

__all__ = ["PlannedImages"]


@dataclasses.dataclass(frozen=True)
class PlannedImages(Images):
    """Images by name, of which those of ImageNet are described without loading them for `--mode=plan`."""

    def planned(self) -> tuple[dict[str, Any], Any] | None:
        """Return (facts of the data, a batch of one image) for ImageNet, and None for other data."""
        if self.dataset != "imagenet2012":
            return None
        shape, names = (self.image_size or 224, self.image_size or 224, 3), tuple(str(k) for k in range(1000))
        facts = Facts(dataset=self.dataset, class_names=names, image_shape=shape, train_size=1_281_167)
        return facts.spec(), zero_batch(labeled_batch(shape), 1)
