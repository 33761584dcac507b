"""Images with captions, as CLIP trains on them."""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from dlcore.data import augment
from dlcore.data.image_text import load_captioned
from dlcore.data.normalization import normalizer
from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range

__all__ = ["ImagesWithCaptions"]


@dataclasses.dataclass(frozen=True)
class ImagesWithCaptions(CheckedRecord):
    """Images with captions, of which each finds the other.

    Args:
      dataset: shapes (synthetic: one or two in a sentence), or flickr8k
      data_dir: flickr8k: the folder of captions_train.json.gz and train.zip
      image_size: side of the images; by default 32 for shapes, 96 for flickr8k
      grid: shapes: cells in a row and in a column of an image
      num_images: shapes: images for training; a tenth as many again to validate, 1,000 at most to test
      min_count: flickr8k: how often a word must come in training to be known
      caption_length: flickr8k: most words of a caption; training leaves longer ones out, and says how many
      augment: augmentation of training images: crop shows 30 to 100 %; photo: that, mirrored at random, with color
        jitter
    """

    dataset: Annotated[Literal["shapes", "flickr8k"], "essential"] = "shapes"
    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[int | None, Range(16), "essential"] = None
    grid: Literal[2, 3] = 3
    num_images: Annotated[int, Range(10)] = 8000
    min_count: Annotated[int, Range(1)] = 5
    caption_length: Annotated[int, Range(1)] = 24
    augment: Literal["none", "crop", "photo"] = "none"

    reads_files: ClassVar[bool] = True

    def load(self) -> Splits:
        """Load the splits, see `load_captioned`."""
        return load_captioned(self)

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
