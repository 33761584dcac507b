"""Images with captions, as CLIP trains on them."""

import dataclasses
from typing import Any, ClassVar, Literal

from dlcore.data import augment
from dlcore.data.image_text import CaptionedImageSet
from dlcore.data.normalization import normalizer

__all__ = ["ImagesWithCaptions"]


@dataclasses.dataclass(frozen=True)
class ImagesWithCaptions(CaptionedImageSet):
    """Images with captions, of which each finds the other.

    Args:
      augment: augmentation of training images: crop shows 30 to 100 %; photo: that, mirrored at random, with color
        jitter
    """

    augment: Literal["none", "crop", "photo"] = "none"

    reads_files: ClassVar[bool] = True

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique `preprocess`, and `augment`, `(key, normalized image) -> image`; None for none."""
        mean, std = run.facts.mean, run.facts.std
        values: dict[str, Any] = {"preprocess": normalizer(mean, std, dtype=run.dtype), "augment": None}
        if self.augment != "none":
            view = augment.random_resized_crop((0.3, 1.0))
            if self.augment == "photo":
                view = augment.compose(view, augment.random_flip(), augment.color_jitter(0.3, 0.3, 0.3))
            values["augment"] = augment.on_unit(view, mean, std)
        return values
