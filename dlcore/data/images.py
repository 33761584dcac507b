"""Images by name as records: `Images("digits", augmentation=Augmentation("affine")).load()`.

The simple fields of a record, and of the records in it, are the flags of a page.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import jax
import numpy as np

from dlcore.data.augment.recipes import (
    CLASSIFICATION,
    STRONG,
    VIEWS,
    classification_augmentation,
    contrastive_augmentation,
)
from dlcore.data.facts import Facts
from dlcore.data.known_datasets import describe_known_dataset
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.workers import DECODERS, Workers
from dlcore.extras import require
from dlcore.learner import CheckedRecord, Range, root_key

__all__ = [
    "AUGMENTATIONS",
    "NUM_SHOWN",
    "Augmentation",
    "FixedAugmentation",
    "Images",
    "MadeOfImages",
    "Resizing",
    "Views",
    "labeled_batch",
]

WITHOUT_FILES = frozenset({"digits", "photographs"})
"""Data sets of images that come with dlcore or its packages."""

AUGMENTATIONS = {
    "digits": "affine",
    "mnist": "shift",
    "fashion_mnist": "shift_flip",
    "imagenet2012": "resized_crop_flip",
}
"""Augmentation of `augment="auto"` by data set; otherwise crop_flip, or resized_crop_flip of streamed images."""


AUTO_VIEWS = {"digits": "digit", "mnist": "digit", "fashion_mnist": "gray"}
"""Views of `views="auto"` by data set; color for other names."""


def labeled_batch(shape: Sequence[int]) -> dict[str, list]:
    """Describe the batch of a classifier's `predict`: images in [0, 1], whatever dtype the data have.

    Args:
      shape: (H, W, C) of an image.

    Returns:
      `batch` of `Splits.spec`.
    """
    return {"image": [list(shape), "float32"], "label": [[], "int32"]}


@dataclasses.dataclass(frozen=True)
class Resizing(CheckedRecord):
    """How images become a network's input: resized, and normalized by the statistics of the training split.

    Args:
      input_size: side of the square that images are resized to (bilinear); by default both sides of images under 16
        pixels are doubled
      memory_limit: GiB of decoded images to hold in memory; larger data sets stay on disk and are streamed
      workers: threads that decode streamed images; by default one a core
      decoder: decoder of streamed images; opencv is faster, and its pixels differ slightly
    """

    input_size: Annotated[int | None, Range(1)] = None
    memory_limit: Annotated[float, Range(0)] = 4.0
    workers: Annotated[int | None, Range(0), "no identity"] = None
    decoder: Literal[DECODERS] = "pillow"

    def size(self, facts: Facts) -> int | tuple[int, int] | None:
        """Compute the size that images are resized to.

        Returns:
          The side in pixels, (H, W) of images that are not square; None leaves images as they are.
        """
        height, width = facts.image_shape[:2]
        if self.input_size or min(height, width) >= 16:
            return self.input_size
        return 2 * height if height == width else (2 * height, 2 * width)


@dataclasses.dataclass(frozen=True)
class Augmentation(CheckedRecord):
    """The augmentation of training images.

    Args:
      augment: augmentation of training images
    """

    augment: Annotated[Literal["auto", *CLASSIFICATION, *STRONG], "essential"] = "auto"

    def recipe(self, facts: Facts) -> str:
        """Return the plain augmentation; `auto` is that of the data set, or ImageNet's for images of several sizes."""
        if self.augment not in ("auto", *STRONG):
            return self.augment
        other = "resized_crop_flip" if (facts.crop_pct or 1.0) < 1 else "crop_flip"
        return AUGMENTATIONS.get(facts.dataset, other)

    def names(self, facts: Facts) -> list[str]:
        """Name what is done to training images."""
        name = self.recipe(facts)
        return [*([] if name == "none" else [name]), *([self.augment] if self.augment in STRONG else [])]

    def crops_streamed(self, facts: Facts) -> bool:
        """Return whether the host crops and mirrors streamed images."""
        return self.recipe(facts) == "resized_crop_flip"

    def build(self, facts: Facts, side: int) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
        """Build the augmentation.

        Args:
          side: shorter side of the network's input, in pixels.

        Returns:
          `(key, normalized image [H, W, C]) -> image`; None for none. The host crops and mirrors streamed images, so
          that resized_crop_flip is none here.
        """
        name = self.recipe(facts)
        if name == "resized_crop_flip" and facts.crop_pct is not None:
            name = "none"
        strong = self.augment if self.augment in STRONG else None
        return classification_augmentation(name, side, facts.mean, facts.std, strong)


@dataclasses.dataclass(frozen=True)
class FixedAugmentation(Augmentation):
    """An augmentation of training images that no flag changes; streamed images are as they are.

    Args:
      augment: augmentation of training images
    """

    augment: Annotated[Literal["auto", *CLASSIFICATION, *STRONG], "no flag"] = "auto"

    def crops_streamed(self, facts: Facts) -> bool:
        """Return that the host does not crop streamed images."""
        return False


@dataclasses.dataclass(frozen=True)
class Views(CheckedRecord):
    """Random views of an image, which a technique without labels compares.

    Args:
      views: augmentation that makes the views, by the kind of image
    """

    views: Literal["auto", *VIEWS] = "auto"

    def names(self, facts: Facts) -> list[str]:
        """Name the kind of views, which `auto` takes from the data set."""
        return [AUTO_VIEWS.get(facts.dataset, "color") if self.views == "auto" else self.views]

    def crops_streamed(self, facts: Facts) -> bool:
        """Return that views are cropped on the device."""
        return False

    def build(self, facts: Facts, side: int = 0) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """Build the random view.

        Args:
          side: not used; views are cropped to the size of the image.

        Returns:
          `(key, image [H, W, C] in [0, 1]) -> image`.
        """
        return contrastive_augmentation(*self.names(facts))


@dataclasses.dataclass(frozen=True)
class Images(CheckedRecord):
    """Images by name: an embedded set, tfds, a folder of class folders, or shards.

    Args:
      dataset: digits or photographs (embedded), folder, webdataset, parquet, or a tfds name such as mnist, cifar10
      data_dir: where tfds data sets were prepared, a folder (or .zip) of class folders, or a folder of shards
      image_size: side of the images of a folder, of shards or of a tfds data set; by default their own
      valid_fraction: fraction of the training images held out for validation, by seed
      skip_bad: folder and shards: leave out images that cannot be read, and say how many
      columns: parquet: the columns of images and of labels, such as img,fine_label
      resizing: how images become a network's input; None for a technique that takes images as they are
      augmentation: `Augmentation`, or `Views`, of training images; None for none
      labels: whether labels are needed; if not, a folder needs no class folders
    """

    dataset: Annotated[str, "essential"] = "digits"
    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[int | None, Range(1), "essential"] = None
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    skip_bad: bool = False
    columns: Annotated[tuple[str, str] | None, "if changed"] = None
    resizing: Resizing | None = None
    augmentation: Any = None
    labels: Annotated[bool, "no flag"] = True

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset not in WITHOUT_FILES

    def load(self, seed: int = 0, min_classes: int = 2) -> Splits:
        """Load the splits, with the statistics of the training split.

        Args:
          seed: seed of the held-out validation images.
          min_classes: least number of classes of labeled images; a trained run may be evaluated on one.

        Returns:
          The splits; streamed training images are random crops if the augmentation is resized_crop_flip.

        Raises:
          ValueError: see `dlcore.data.image_classification.load`.
          FileNotFoundError: see `dlcore.data.image_classification.load`.
          MissingPackage: OpenCV is not installed, and `decoder` is opencv.
        """
        from dlcore.data.augment import channel_statistics
        from dlcore.data.image_classification import load
        from dlcore.data.streaming import random_crops, sample_of, streamed_images

        reading = self.resizing or Resizing()
        if reading.decoder == "opencv":
            require("cv2", what="--decoder=opencv")
        splits = load(
            self.dataset,
            self.data_dir,
            seed=seed,
            valid_fraction=self.valid_fraction,
            image_size=self.image_size,
            skip_bad=self.skip_bad,
            limit_bytes=int(reading.memory_limit * 2**30),
            workers=Workers(reading.workers, reading.decoder),
            min_classes=min_classes if self.labels else 0,
            columns=self.columns,
        )
        train, messages, images = splits.train, splits.notes, streamed_images(splits.train)
        mean, std = channel_statistics(train if images is None else sample_of(train))
        facts = Facts(
            dataset=self.dataset,
            class_names=tuple(splits.class_names),
            image_shape=tuple(splits.image_shape),
            mean=tuple(float(m) for m in mean),
            std=tuple(float(s) for s in std),
            batch=labeled_batch(splits.image_shape),
            crop_pct=None if images is None else images.crop_pct,
        )
        if images is not None:
            messages += (f"mean and standard deviation are those of {min(len(train), 1000):,} training images",)
            if self.augmentation is not None and self.augmentation.crops_streamed(facts):
                train = random_crops(train)
                messages += (
                    "training images are random crops of those on disk, mirrored at random (resized_crop_flip)",
                )
        return Splits(train, splits.valid, splits.test, facts.spec(), messages)

    def planned(self) -> tuple[dict[str, Any], Any] | None:
        """Tell the shapes of a well-known data set with labels without loading it; None for another."""
        return describe_known_dataset(self.dataset, self.image_size) if self.labels else None

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the `shape` of the images, `augment`, and `preprocess` in one step or in two.

        `prepare` resizes images to floats in [0, 1], and `normalize` makes such images the network's input.
        """
        facts = run.facts
        values: dict[str, Any] = {"shape": facts.image_shape}
        if self.resizing is not None:
            values["preprocess"] = self.preprocess(facts, run.dtype)
            values["prepare"] = normalizer((0.0,), (1.0,), size=self.input_size(facts))
            values["normalize"] = normalizer(facts.mean, facts.std, dtype=run.dtype)
        if self.augmentation is not None:
            values["augment"] = self.augment(facts)
        return values

    def input_size(self, facts: Facts) -> int | tuple[int, int] | None:
        """Compute the size that images are resized to.

        Returns:
          The side in pixels, (H, W) of images that are not square; None leaves images as they are.
        """
        return None if self.resizing is None else self.resizing.size(facts)

    def shorter_side(self, facts: Facts) -> int:
        """Compute the shorter side of the network's input, in pixels.

        Returns:
          Pixels.
        """
        return int(np.min(self.input_size(facts) or facts.image_shape[:2]))

    def augment(self, facts: Facts) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
        """Build the augmentation of the network's input.

        Returns:
          `(key, image [H, W, C]) -> image`; None for none.
        """
        return None if self.augmentation is None else self.augmentation.build(facts, self.shorter_side(facts))

    def preprocess(self, facts: Facts, dtype: Any = np.float32) -> Callable[[jax.Array], jax.Array]:
        """Build the function from images to a network's input.

        Args:
          dtype: dtype of the computation.

        Returns:
          Images [B, H, W, C], uint8 or float in [0, 1] -> normalized floats [B, h, w, C].
        """
        return normalizer(facts.mean, facts.std, size=self.input_size(facts), dtype=dtype)

    def is_augmented(self, facts: Facts) -> bool:
        """Return whether training images are augmented."""
        return self.augmentation is not None and bool(self.augmentation.names(facts))

    def preparation(self, facts: Facts) -> str:
        """Describe the preprocessing and augmentation of training images."""
        height, width, _ = facts.image_shape
        size = self.input_size(facts)
        resized = ", resized to {} × {} (bilinear)".format(*np.broadcast_to(size, 2)) if size else ""
        recipes = [] if self.augmentation is None else self.augmentation.names(facts)
        augmented = f"augmented by {' and '.join(recipes)}, anew in each epoch" if recipes else "not augmented"
        return f"{height} × {width} pixels{resized}; {augmented}"

    def training_versions(self, facts: Facts, train: Source, idx: np.ndarray, count: int, seed: int) -> np.ndarray:
        """Sample augmented training images, without the normalization.

        Args:
          train: the training split.
          idx: [N] int, indices of its images.
          count: augmentations of each image; one if nothing is random.
          seed: seed of the crops of streamed images.

        Returns:
          [count, N, H, W, C] in [0, 1].
        """
        from dlcore.data.streaming import streamed_images

        augment, disk = self.augment(facts), streamed_images(train)
        count = count if augment is not None or (disk is not None and disk.crop is not None) else 1
        normalize = normalizer(facts.mean, facts.std, size=self.input_size(facts))
        mean, std = np.asarray(facts.mean, np.float32), np.asarray(facts.std, np.float32)

        @jax.jit
        def version(k: jax.Array, images: jax.Array) -> jax.Array:
            x = normalize(images)
            return x if augment is None else jax.vmap(augment)(jax.random.split(root_key(k), len(idx)), x)

        versions = []
        for k in range(count):
            images = train.arrays["image"][idx] if disk is None else disk.sample(idx, seed, np.full(len(idx), k))
            versions.append(np.asarray(version(k, images)) * std + mean)
        return np.clip(np.stack(versions), 0, 1)


@dataclasses.dataclass(frozen=True)
class MadeOfImages(CheckedRecord):
    """A data set that is made of images by name, such as few of them or with wrong labels.

    Args:
      images: the images by name
    """

    images: Images

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.images.reads_files

    @property
    def skip_bad(self) -> bool:
        """Whether images that cannot be read are left out."""
        return self.images.skip_bad


NUM_SHOWN = 64
"""Samples in the report."""
