"""Shared by semantic segmentation experiments: data by name, augmentation, class weights, the learner."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flax import linen as nn

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.images import labeled_images, prediction
from dlcore.kits.segmentation import segmentation_results
from dlcore.kits.training import backbone, init_from, optimizer
from dlcore.learner import Learner, Range
from dlcore.segmentation import semantic

__all__ = [
    "BACKBONE",
    "BACKBONE_SMOKE",
    "DEFAULTS",
    "DILATED",
    "FIELDS",
    "SETTINGS",
    "SMOKE",
    "augmentation",
    "baselines",
    "build",
    "build_on",
    "class_weights",
    "data",
]

SETTINGS = {
    "dataset": Setting(
        "scenes",
        "scenes (drawn), or folder: images and masks below data_dir",
        Literal["scenes", "folder"],
        essential=True,
    ),
    "data_dir": Setting(
        None,
        "folder: train, val and test (folders or .zip) with images/ and masks/; or the tree of Cityscapes or ADE20K",
        str | None,
        essential=True,
    ),
    "image_size": Setting(
        None,
        "height and width of the images; by default 96 x 96 for scenes, a folder's own where all are alike",
        tuple[int, int] | None,
        Range(1),
        essential=True,
    ),
    "num_scenes": Setting(
        4000, "scenes: for training; a tenth as many again to validate, a sixth to test", limits=Range(10)
    ),
    "stuff": Setting(False, "scenes: tell the textures of the background apart, too"),
    "valid_fraction": Setting(
        0.1,
        "folder: fraction of train held out for validation if there is no validation split",
        limits=Range(0.001, 0.9),
    ),
    "class_weights": Setting(
        "none",
        "class weights of the loss: all 1, by median frequency, at most 10, or ENet's 1 / ln(1.02 + share)",
        Literal["none", "median", "enet"],
        essential=True,
    ),
    "flip": Setting(
        "auto",
        "mirroring of training images; auto: both for scenes, horizontal for a folder",
        Literal["auto", "none", "horizontal", "both"],
    ),
    "zoom": Setting(
        None,
        "factors between which training images are scaled; by default 0.75,1.5 for a folder, 1,1 for scenes",
        tuple[float, float] | None,
        Range(0.01),
        check=labeled_images.check_zoom,
    ),
    "jitter": Setting(
        None,
        "how far brightness, contrast and saturation vary in training; by default 0.3 for a folder, 0 for scenes",
        float | None,
        Range(0, 0.99),
    ),
    "own_size": Setting(
        False,
        "predict: images at their own size, which must be alike, in place of that of the training images",
        identity=False,
    ),
    **init_from.SETTINGS,
    **optimizer.SETTINGS,
}

DEFAULTS = {
    "epochs": 8.0,
    "batch_size": 32,
    "eval_every": 500,
    "eval_batch_size": 64,
    "learning_rate": 4e-3,
    "ema": 0.99,
    "select": "last",
}
SMOKE = {
    "steps": 4,
    "batch_size": 8,
    "num_scenes": 16,
    "image_size": (48, 48),
    "eval_every": 4,
}
BACKBONE = {"model.stages": (1, 1, 1, 1), "model.stem_stride": 2, "model.width": 16}
"""Fields of resnet8_cifar: strides 2, 2, 4, 8 and 16."""
BACKBONE_SMOKE = {"model.width": 8}
DILATED = {
    "model.stages": (1, 1, 1, 1),
    "model.width": 8,
    "model.dilate": (True, True, True),
}
"""Fields of resnet18: strides 2, 4, 4, 4 and 4."""


def build(setup: Setup, model: nn.Module) -> Learner:
    """Build a segmenter's learner, with the optimizer, augmentation and class weights that the flags describe.

    Args:
      setup: facts of the run; its flags must contain SETTINGS and the learner's.
      model: the segmenter.

    Returns:
      The learner; evaluated with the EMA of its parameters under `--ema`.
    """
    return optimizer.evaluate_ema(
        semantic.learner(
            model=model,
            optimizer=optimizer.build(setup),
            preprocess=labeled_images.preprocess(setup),
            augment=augmentation(setup.flags, setup.spec),
            weights=class_weights(setup.flags.class_weights, setup.spec),
            **setup.flags.group("learner"),
        ),
        setup,
    )


def build_on(setup: Setup, segmenter: Callable[..., nn.Module], prefix: str) -> Learner:
    """Build the learner of a segmenter on the backbone of `--model`.

    Args:
      setup: facts of the run; its flags must contain SETTINGS and the learner's.
      segmenter: class of the model.
      prefix: prefix of the flags of its fields.

    Returns:
      The learner.
    """
    model = segmenter(
        backbone=backbone.build(setup),
        num_classes=setup.spec["num_classes"],
        dtype=setup.dtype,
        **setup.flags.group(prefix),
    )
    return build(setup, model)


def data(flags: Flags) -> Splits:
    """Load the splits by name, with the statistics of the training split.

    Args:
      flags: resolved settings; must contain SETTINGS.

    Returns:
      The splits.

    Raises:
      ValueError: see `dlcore.data.scenes.scenes` and `dlcore.data.segmentation.segmentation_splits`.
      FileNotFoundError: see `dlcore.data.segmentation.segmentation_splits`.
    """
    from dlcore.data.augment import channel_statistics
    from dlcore.data.segmentation import class_pixels

    train, valid, test, messages = (_scenes if flags.dataset == "scenes" else _folder)(flags)
    mean, std = channel_statistics(train)
    num_classes = len(train.class_names)
    pixels, pixels_of_images = class_pixels(train, num_classes)
    baseline_iou = baselines(train.arrays["semantic"], test.arrays["semantic"], num_classes)
    summary = ", ".join(f"{name} {value:.3f}" for name, value in baseline_iou.items())
    spec = {
        "dataset": "scenes" if flags.dataset == "scenes" else Path(flags.data_dir).name,
        "class_names": list(train.class_names),
        "num_classes": num_classes,
        "image_shape": list(train.arrays["image"].shape[1:]),
        "mean": [float(m) for m in mean],
        "std": [float(s) for s in std],
        "class_pixels": pixels.tolist(),
        "pixels_beside": pixels_of_images.tolist(),
        "baselines": baseline_iou,
    }
    return Splits(
        train, valid, test, spec, (*messages, f"mean IoU of image-blind baselines on the test split: {summary}")
    )


def _scenes(flags: Flags):
    from dlcore.data.segmentation import scene_maps

    height, width = flags.image_size or (96, 96)
    if height != width:
        raise ValueError(f"image_size={flags.image_size}: scenes are square; allowed: equal height and width")
    counts = (flags.num_scenes, max(8, flags.num_scenes // 10), max(8, flags.num_scenes // 6))
    # Fixed seeds: every run is tested on the same scenes.
    sources = [
        scene_maps(n, seed, stuff=flags.stuff, size=height, largest=height // 2) for seed, n in enumerate(counts)
    ]
    return *sources, ()


def _folder(flags: Flags):
    from dlcore.data.carving import complete_splits
    from dlcore.data.segmentation import segmentation_splits

    if flags.data_dir is None:
        raise ValueError("data_dir=None: missing; allowed: a folder or .zip of images and masks")
    splits = segmentation_splits(flags.data_dir, flags.image_size)
    messages = [message for source in splits.values() for message in source.notes]
    train, valid, test, carving_messages = complete_splits(splits, flags.valid_fraction, flags.seed)
    return train, valid, test, tuple(dict.fromkeys((*messages, *carving_messages)))


def baselines(train: np.ndarray, test: np.ndarray, num_classes: int) -> dict[str, float]:
    """Measure two image-blind baselines: the most frequent class, and the most frequent class of each position.

    Args:
      train: [N, H, W] int, training labels.
      test: [M, H, W] int, test labels.
      num_classes: C.

    Returns:
      Mean IoU by name.
    """
    from dlcore.metrics import iou_per_class

    train_counts = np.stack([(train == k).sum(0) for k in range(num_classes)])
    test_counts = np.stack([(test == k).sum(0) for k in range(num_classes)])

    def mean_iou(predicted: np.ndarray) -> float:
        """Compute the mean IoU of one map [H, W] for all images."""
        confusion = np.zeros((num_classes, num_classes))
        for k in range(num_classes):
            confusion[:, k] = test_counts[:, predicted == k].sum(1)
        return float(np.nanmean(iou_per_class(confusion)))

    position = train_counts.argmax(0)
    return {
        "most frequent class": mean_iou(np.full(position.shape, train_counts.sum((1, 2)).argmax())),
        "most frequent class of each position": mean_iou(position),
    }


def class_weights(kind: str, spec: dict) -> np.ndarray | None:
    """Compute the class weights of the loss.

    Args:
      kind: none, median or enet.
      spec: facts of the data, `Splits.spec`.

    Returns:
      [C]; None for equal weights.
    """
    from dlcore.losses import enet_weights, median_frequency_weights

    if kind == "none":
        return None
    pixels, pixels_of_images = (np.array(spec[name], np.float32) for name in ("class_pixels", "pixels_beside"))
    return np.asarray(enet_weights(pixels) if kind == "enet" else median_frequency_weights(pixels, pixels_of_images))


def augmentation(flags: Flags, spec: dict):
    """Build the augmentation of `--flip`, `--zoom` and `--jitter`.

    Args:
      flags: resolved settings; must contain SETTINGS.
      spec: facts of the data, `Splits.spec`.

    Returns:
      `(key, example) -> example`, see `dlcore.data.augment.examples`; None for none.
    """
    from dlcore.data.augment import color_jitter, compose_examples, random_flip_example, random_zoom_example

    is_scenes, parts = flags.dataset == "scenes", []
    flip = ("both" if is_scenes else "horizontal") if flags.flip == "auto" else flags.flip
    if flip != "none":
        parts.append(random_flip_example(0.5, 0.5 if flip == "both" else 0.0))
    zoom = flags.zoom or ((1.0, 1.0) if is_scenes else (0.75, 1.5))
    if tuple(zoom) != (1, 1):
        parts.append(random_zoom_example(*zoom))
    strength = flags.jitter if flags.jitter is not None else (0.0 if is_scenes else 0.3)
    if strength:
        mean, std = np.asarray(spec["mean"], np.float32), np.asarray(spec["std"], np.float32)
        jitter = color_jitter(strength, strength, strength)

        def recolored(key: Any, example: dict) -> dict:
            image = example["image"]
            pixels = jitter(key, (image * std + mean).clip(0, 1))
            return {**example, "image": ((pixels - mean) / std).astype(image.dtype)}

        parts.insert(0, recolored)
    return compose_examples(*parts) if parts else None


FIELDS = {
    "learner": semantic.learner,
    "data": data,
    "settings": SETTINGS,
    "start": init_from.start,
    "check": backbone.check_stages,
    "monitor": "mean_iou",
    "headline": "mean_iou",
    "expected_loss": lambda setup: float(np.log(setup.spec["num_classes"])),
    "loss_tolerance": 0.25,
    "plain": {"flip": "none", "zoom": (1.0, 1.0), "jitter": 0.0, "weight_decay": 0.0, "ema": None},
    "schedule": optimizer.schedule,
    "inputs": prediction.stretched_inputs,
    "describe": segmentation_results.describe,
    "write": segmentation_results.write,
    "panels": segmentation_results.panels,
    "pictures": segmentation_results.pictures,
}
"""Fields of Experiment that are the same for every segmenter."""
