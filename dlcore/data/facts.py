"""What a run knows of its data without the data: shapes, statistics, classes. config.json keeps it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

__all__ = ["Facts"]


@dataclasses.dataclass(frozen=True)
class Facts:
    """Facts of the data.

    Args:
      dataset: name of the data set.
      class_names: names of the classes.
      image_shape: (H, W, C) of an image.
      mean: [C], means of the training split's pixels in [0, 1].
      std: [C], their standard deviations.
      crop_pct: share of the shorter side that a center crop keeps, of streamed images.
      batch: {array: (shape of one example, dtype)}, the inputs of `predict`.
      max_boxes: most boxes of an image.
      resize: (shortest edge, longest edge) of images that are padded to a canvas.
      masks: whether the boxes have masks.
      keypoint_names: names of the keypoints of an object.
      stuff_names: names of the classes of the background, beside those of things.
      class_pixels: [C], training pixels of each class.
      pixels_beside: [C], pixels of the training images that hold a class.
      class_fractions: [C], fractions of the training voxels.
      spacing: (depth, height, width) of a voxel in mm.
      unlabeled_size: number of unlabeled training images.
      counts: what a training example is counted as, such as episodes.
      about: {metric: text} that its name gets, such as the network whose features a distance compares.
      factors: names of the known factors that images were drawn from.
      headline: metric that replaces the experiment's where the data have no labels for that.
      resolution: voxels along each side of a grid.
      train_size: number of training examples.
      exemplars: number of training images that are a class of their own each.
      views: number of clips of each test video.
      vocabulary: the characters of a text, or a vocabulary of tokens as its `to_dict` says it.
      source_vocabulary: vocabulary of the source where it has one of its own.
      window: most tokens of a sequence.
      sample_rate: samples a second, of sounds.
      base_vocabulary: vocabulary of the run that a training starts from.
      length: tokens of a text, with padding.
      grid: cells in a row and in a column of images of shapes.
      factor_scale: standard deviations of the factors that images are drawn from.
    """

    dataset: str = ""
    class_names: tuple[str, ...] = ()
    image_shape: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop_pct: float | None = None
    batch: Mapping[str, Any] | None = None
    max_boxes: int | None = None
    resize: tuple[int, int] | None = None
    masks: bool = False
    keypoint_names: tuple[str, ...] = ()
    stuff_names: tuple[str, ...] = ()
    class_pixels: tuple[int, ...] = ()
    pixels_beside: tuple[int, ...] = ()
    class_fractions: tuple[float, ...] = ()
    spacing: tuple[float, ...] = ()
    unlabeled_size: int | None = None
    counts: str | None = None
    about: Mapping[str, str] = dataclasses.field(default_factory=dict)
    factors: tuple[str, ...] = ()
    headline: str | None = None
    resolution: int | None = None
    train_size: int | None = None
    exemplars: int | None = None
    views: int | None = None
    vocabulary: Any = None
    source_vocabulary: Mapping[str, Any] | None = None
    window: int | None = None
    sample_rate: int | None = None
    base_vocabulary: Mapping[str, Any] | None = None
    length: int | None = None
    grid: int | None = None
    factor_scale: tuple[float, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> "Facts":
        """Read facts from the content of config.json; what is no field is left out.

        Args:
          spec: {fact: value}.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in spec.items() if k in fields})

    def spec(self) -> dict[str, Any]:
        """List the facts for config.json.

        Returns:
          {fact: JSON-able value} of those that differ from their defaults.
        """
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}
        facts = {k: v for k, v in values.items() if v not in (None, False, [], {})}
        return {**facts, "num_classes": self.num_classes} if self.class_names else facts
