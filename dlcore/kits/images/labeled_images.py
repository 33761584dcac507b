"""Labeled images as an experiment's flags describe them: data by name, preprocessing, augmentation."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

import jax
import numpy as np

from dlcore.data.augment.recipes import CLASSIFICATION, STRONG, classification_augmentation
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.data.workers import DECODERS
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits, input_size
from dlcore.experiment.task import Task
from dlcore.extras import require
from dlcore.learner import Range, root_key

__all__ = [
    "SETTINGS",
    "ImageFlags",
    "NamedImages",
    "ResizedImages",
    "augmentation",
    "check_zoom",
    "data",
    "input_size",
    "is_augmented",
    "labeled_batch",
    "preparation",
    "preprocess",
    "shorter_side",
    "training_versions",
]


@dataclasses.dataclass(frozen=True)
class NamedImages(Task):
    """The flags that name images: an embedded set, tfds, a folder of class folders, or shards.

    Args:
      dataset: digits or photographs (embedded), folder, webdataset, parquet, or a tfds name such as mnist, cifar10
      data_dir: where tfds data sets were prepared, a folder (or .zip) of class folders, or a folder of shards
      image_size: side of the images of a folder, of shards or of a tfds data set; by default their own
      valid_fraction: fraction of the training images held out for validation, by seed
      skip_bad: folder and shards: leave out images that cannot be read, and say how many
      columns: parquet: the columns of images and of labels, such as img,fine_label
    """

    dataset: Annotated[str, "essential"] = "digits"
    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[int | None, Range(1), "essential"] = None
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    skip_bad: bool = False
    columns: Annotated[tuple[str, str] | None, "if changed"] = None


@dataclasses.dataclass(frozen=True)
class ResizedImages(NamedImages):
    """The flags of images by name, and of how they are read and resized.

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


@dataclasses.dataclass(frozen=True)
class ImageFlags(ResizedImages):
    """The flags of labeled images, which are augmented in training.

    Args:
      augment: augmentation of training images
    """

    augment: Annotated[Literal["auto", *CLASSIFICATION, *STRONG], "essential"] = "auto"


SETTINGS = ImageFlags().settings()
"""The flags of labeled images, for experiments without a task."""

AUGMENTATIONS = {
    "digits": "affine",
    "mnist": "shift",
    "fashion_mnist": "shift_flip",
    "imagenet2012": "resized_crop_flip",
}
"""Augmentation of `--augment=auto` by data set; otherwise crop_flip, or resized_crop_flip of streamed images."""


def check_zoom(zoom: tuple[float, float] | None) -> None:
    """Check the range of `--zoom`.

    Args:
      zoom: the least and the greatest factor; None for the default.
    """
    if zoom is not None and zoom[0] > zoom[1]:
        raise ValueError(f"zoom={zoom[0]:g},{zoom[1]:g}: no range; allowed: the least factor, then the greatest")


def data(flags: Flags, labels: bool = True) -> Splits:
    """Load the splits by name, with the statistics of the training split.

    Args:
      labels: whether the experiment needs labels; if not, a folder of images needs no class folders.

    Returns:
      The splits; streamed training images are random crops if the augmentation is resized_crop_flip. A trained run
      (`--run`) may be evaluated on a folder of one class.

    Raises:
      ValueError: see `dlcore.data.image_classification.load`.
      FileNotFoundError: see `dlcore.data.image_classification.load`.
      MissingPackage: OpenCV is not installed, and `--decoder=opencv`.
    """
    from dlcore.data.augment import channel_statistics
    from dlcore.data.image_classification import load
    from dlcore.data.streaming import random_crops, sample_of, streamed_images
    from dlcore.data.workers import Workers

    if flags.get("decoder") == "opencv":
        require("cv2", what="--decoder=opencv")
    splits = load(
        flags.dataset,
        flags.data_dir,
        seed=flags.seed,
        valid_fraction=flags.valid_fraction,
        image_size=flags.image_size,
        skip_bad=flags.skip_bad,
        limit_bytes=int(flags.get("memory_limit", 4.0) * 2**30),
        workers=Workers(flags.get("workers"), flags.get("decoder", "pillow")),
        min_classes=(1 if flags.get("run") else 2) if labels else 0,
        columns=flags.get("columns"),
    )
    train, messages, images = splits.train, splits.notes, streamed_images(splits.train)
    mean, std = channel_statistics(train if images is None else sample_of(train))
    spec = {
        "dataset": flags.dataset,
        "class_names": list(splits.class_names),
        "num_classes": len(splits.class_names),
        "image_shape": list(splits.image_shape),
        "mean": [float(m) for m in mean],
        "std": [float(s) for s in std],
        "batch": labeled_batch(splits.image_shape),
    }
    if images is not None:
        messages += (f"mean and standard deviation are those of {min(len(train), 1000):,} training images",)
        spec["crop_pct"] = images.crop_pct
        if "augment" in flags and _recipe(flags, spec) == "resized_crop_flip":
            train = random_crops(train)
            messages += ("training images are random crops of those on disk, mirrored at random (resized_crop_flip)",)
    return Splits(train, splits.valid, splits.test, spec, messages)


def labeled_batch(shape: Sequence[int]) -> dict[str, list]:
    """Describe the batch of a classifier's `predict`: images in [0, 1], whatever dtype the data have.

    Args:
      shape: (H, W, C) of an image.

    Returns:
      `batch` of `Splits.spec`.
    """
    return {"image": [list(shape), "float32"], "label": [[], "int32"]}


def shorter_side(flags: Flags, spec: dict) -> int:
    """Return the shorter side of the model's input images.

    Args:
      flags: `input_size`, if the experiment has it.
      spec: facts of the data; must contain `image_shape`.

    Returns:
      Pixels.
    """
    return int(np.min(input_size(flags, spec) or spec["image_shape"][:2]))


def preprocess(setup: Setup):
    """Build the function from the data's images to the model's input.

    Returns:
      Images [B, H, W, C], uint8 or float in [0, 1] -> normalized floats.
    """
    size = input_size(setup.flags, setup.spec)
    return normalizer(setup.spec["mean"], setup.spec["std"], size=size, dtype=setup.dtype)


def _recipe(flags: Flags, spec: dict) -> str:
    """Return the plain augmentation of `--augment`; `auto` is ImageNet's recipe for images of several sizes."""
    name = flags.get("augment", "auto")
    if name not in ("auto", *STRONG):
        return name
    other = "resized_crop_flip" if spec.get("crop_pct", 1.0) < 1 else "crop_flip"
    return AUGMENTATIONS.get(flags.get("dataset", spec.get("dataset")), other)


def augmentation(flags: Flags, spec: dict):
    """Build the augmentation that `--augment` names.

    Args:
      flags: resolved settings; without `augment`, that of `auto`.

    Returns:
      `(key, normalized image) -> image`; None for none. The host crops and mirrors streamed images, so that
      resized_crop_flip is none here.
    """
    name = _recipe(flags, spec)
    if name == "resized_crop_flip" and "crop_pct" in spec:
        name = "none"
    side = shorter_side(flags, spec)
    strong = flags.get("augment") if flags.get("augment") in STRONG else None
    return classification_augmentation(name, side, spec["mean"], spec["std"], strong)


def is_augmented(flags: Flags, spec: dict) -> bool:
    """Return whether training images are augmented or mixed.

    Returns:
      True where images are augmented or mixed.
    """
    mixed = any(flags.get(name, 0) for name in ("mixup_alpha", "cutmix_alpha"))
    return mixed or flags.augment in STRONG or _recipe(flags, spec) != "none"


def preparation(flags: Flags, spec: dict) -> str:
    """Describe the preprocessing and augmentation of training images."""
    height, width, _ = spec["image_shape"]
    size = input_size(flags, spec)
    resized = ", resized to {} × {} (bilinear)".format(*np.broadcast_to(size, 2)) if size else ""
    name = _recipe(flags, spec)
    recipes = [*([] if name == "none" else [name]), *([flags.augment] if flags.augment in STRONG else [])]
    augmented = f"augmented by {' and '.join(recipes)}, anew in each epoch" if recipes else "not augmented"
    mix_names = [k for k in ("mixup", "cutmix") if flags.get(f"{k}_alpha", 0)]
    mixing = f", then mixed in pairs ({' and '.join(mix_names)}, not shown)" if mix_names else ""
    return f"{height} × {width} pixels{resized}; {augmented}{mixing}."


def training_versions(flags: Flags, spec: dict, train: Source, idx: np.ndarray, count: int) -> np.ndarray:
    """Sample augmented training images, without the normalization.

    Args:
      train: the training split.
      idx: [N] int, indices of its images.
      count: augmentations of each image; one if nothing is random.

    Returns:
      [count, N, H, W, C] in [0, 1].
    """
    from dlcore.data.streaming import streamed_images

    augment, disk = augmentation(flags, spec), streamed_images(train)
    count = count if augment is not None or (disk is not None and disk.crop is not None) else 1
    normalize = normalizer(spec["mean"], spec["std"], size=input_size(flags, spec))
    mean, std = np.asarray(spec["mean"], np.float32), np.asarray(spec["std"], np.float32)

    @jax.jit
    def version(k: jax.Array, images: jax.Array) -> jax.Array:
        x = normalize(images)
        return x if augment is None else jax.vmap(augment)(jax.random.split(root_key(k), len(idx)), x)

    versions = []
    for k in range(count):
        images = train.arrays["image"][idx] if disk is None else disk.sample(idx, flags.seed, np.full(len(idx), k))
        versions.append(np.asarray(version(k, images)) * std + mean)
    return np.clip(np.stack(versions), 0, 1)
