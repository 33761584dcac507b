"""Images, or crops of photographs, for pretexts that take something away; and the mean image, a baseline."""

import dataclasses
from typing import Annotated, Any

import numpy as np

from dlcore.data.augment import channel_statistics, to_float
from dlcore.data.images import Images, labeled_batch
from dlcore.data.photographs import photo_crops
from dlcore.data.source import Source
from dlcore.data.splits import Splits

__all__ = ["ImagesOrCrops", "MeanImage"]

CROPS = {"train": 4000, "valid": 480, "test": 960}


@dataclasses.dataclass(frozen=True)
class ImagesOrCrops(Images):
    """Images by name, or crops of two photographs (`photographs`)."""

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits, see `Images.load`."""
        return _photographs(seed) if self.dataset == "photographs" else super().load(seed, min_classes)


@dataclasses.dataclass(frozen=True)
class MeanImage:
    """The error of the training split's mean image, a baseline of reconstructions of images.

    Args:
      shown: number of test images that the report shows; None for those of the page.
    """

    shown: Annotated[int | None, "no flag"] = None

    def finish_data(self, splits: Splits, run: Any) -> Splits:
        """Note the mean squared error of the mean image on the test split."""
        train, test = (np.asarray(to_float(split.arrays["image"][:10_000])) for split in (splits.train, splits.test))
        error = float(np.square(test - train.mean(0)).mean())
        splits = splits._replace(notes=(*splits.notes, f"mse of the mean image on the test split: {error:.4f}"))
        return splits if self.shown is None else splits._replace(shown=Source({"image": test[: self.shown]}))


def _photographs(seed: int) -> Splits:
    splits = {name: photo_crops(name, count, seed) for name, count in CROPS.items()}
    train = splits["train"]
    mean, std = channel_statistics(train)
    spec = {
        "dataset": "photographs",
        "class_names": list(train.class_names),
        "num_classes": len(train.class_names),
        "image_shape": list(train.arrays["image"].shape[1:]),
        "mean": [float(m) for m in mean],
        "std": [float(s) for s in std],
        "batch": labeled_batch(train.arrays["image"].shape[1:]),
    }
    return Splits(**splits, spec=spec)
