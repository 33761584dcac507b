"""Masks: semantic segmentation, the class of every pixel, of drawn scenes or of a folder of images and masks.

experiment = Experiment(
    __file__, __doc__, semantic.learner, task=Masks(modules={"unet": UNet}), optimizer=AveragedAdamW()
)
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.kits.images import labeled_images, prediction
from dlcore.kits.training import adapters, backbone
from dlcore.learner import Range
from dlcore.ops.checks import check_shapes
from dlcore.tasks import mask_results
from dlcore.weights.start import MODULES, Start, start_modules

__all__ = ["DILATED", "SMOKE", "Masks", "augmentation", "baselines", "class_weights"]

DILATED = {"model.stages": (1, 1, 1, 1), "model.width": 8, "model.dilate": (True, True, True)}
"""Fields of resnet18: strides 2, 4, 4, 4 and 4."""
SMOKE = {"steps": 4, "batch_size": 8, "num_scenes": 16, "image_size": (48, 48), "eval_every": 4}
"""Settings of --smoke."""


@dataclasses.dataclass(frozen=True)
class Masks(Task):
    """Images and the class of every pixel: drawn scenes, or a folder of images and masks.

    Args:
      modules: {prefix: segmenter}, whose simple fields are the flags `--PREFIX.FIELD`
      dataset: scenes (drawn), or folder: images and masks below data_dir
      data_dir: folder: train, val and test (folders or .zip) with images/ and masks/; or the tree of Cityscapes or
        ADE20K
      image_size: height and width of the images; by default 96 x 96 for scenes, a folder's own where all are alike
      num_scenes: scenes: for training; a tenth as many again to validate, a sixth to test
      stuff: scenes: tell the textures of the background apart, too
      valid_fraction: folder: fraction of train held out for validation if there is no validation split
      class_weights: class weights of the loss: all 1, by median frequency, at most 10, or ENet's 1 / ln(1.02 + share)
      flip: mirroring of training images; auto: both for scenes, horizontal for a folder
      zoom: factors between which training images are scaled; by default 0.75,1.5 for a folder, 1,1 for scenes
      jitter: how far brightness, contrast and saturation vary in training; by default 0.3 for a folder, 0 for scenes
      own_size: predict: images at their own size, which must be alike, in place of that of the training images
    """

    modules: dict[str, Callable[..., nn.Module]]
    dataset: Annotated[Literal["scenes", "folder"], "essential"] = "scenes"
    data_dir: Annotated[str | None, "essential"] = None
    image_size: Annotated[tuple[int, int] | None, Range(1), "essential"] = None
    num_scenes: Annotated[int, Range(10)] = 4000
    stuff: bool = False
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    class_weights: Annotated[Literal["none", "median", "enet"], "essential"] = "none"
    flip: Literal["auto", "none", "horizontal", "both"] = "auto"
    zoom: Annotated[tuple[float, float] | None, Range(0.01), labeled_images.check_zoom] = None
    jitter: Annotated[float | None, Range(0, 0.99)] = None
    own_size: Annotated[bool, "no identity"] = False

    defaults: ClassVar[dict[str, Any]] = {
        "epochs": 8.0,
        "batch_size": 32,
        "eval_every": 500,
        "eval_batch_size": 64,
        "learning_rate": 4e-3,
        "ema": 0.99,
        "select": "last",
    }
    plain = {"flip": "none", "zoom": (1.0, 1.0), "jitter": 0.0, "weight_decay": 0.0, "ema": None}
    monitor = headline = "mean_iou"
    loss_tolerance = 0.25
    shared_settings = MODULES
    inputs = staticmethod(prediction.stretched_inputs)
    describe = staticmethod(mask_results.describe)
    write = staticmethod(mask_results.write)
    panels = staticmethod(mask_results.panels)
    pictures = staticmethod(mask_results.pictures)

    def start(self, setup: Setup) -> Start | None:
        """Start from the modules of the weights of `--init_from`."""
        return start_modules(setup, adapters.dense_adapter(setup.flags))

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task, and `--adapt` where the segmenter has a backbone."""
        ((_, segmenter),) = self.modules.items()
        has_backbone = "backbone" in getattr(segmenter, "func", segmenter).__dataclass_fields__
        return {**super().settings(), **(adapters.DENSE_SETTINGS if has_backbone else {})}

    def check(self, flags: Flags) -> None:
        """Check that the backbone has the maps that the network reads, and that the adapter of `--adapt` fits it."""
        backbone.check_stages(self.modules, flags)
        adapters.check_dense(flags)

    def data(self, flags: Flags) -> Splits:
        """Load the splits by name, with the statistics of the training split."""
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

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the segmenter, the preprocessing, the augmentation and the class weights."""
        ((prefix, segmenter),) = self.modules.items()
        return {
            "model": backbone.build_on(setup, segmenter, prefix),
            "preprocess": labeled_images.preprocess(setup),
            "augment": augmentation(setup.flags, setup.spec),
            "weights": class_weights(setup.flags.class_weights, setup.spec),
        }

    def expected_loss(self, setup: Setup) -> float:
        """Compute the initial loss of equally probable classes."""
        return float(np.log(setup.spec["num_classes"]))


def _scenes(flags: Flags):
    from dlcore.data.scenes import check_scene_size
    from dlcore.data.segmentation import scene_maps

    side = check_scene_size(flags.image_size or (96, 96))
    counts = (flags.num_scenes, max(8, flags.num_scenes // 10), max(8, flags.num_scenes // 6))
    # Fixed seeds: every run is tested on the same scenes.
    sources = [scene_maps(n, seed, stuff=flags.stuff, size=side, largest=side // 2) for seed, n in enumerate(counts)]
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
    check_whole_number("num_classes", num_classes, 1)
    check_shapes(train=(train, "int N H W"), test=(test, "int M H W"))
    if not train.size or not test.size:
        raise ValueError(f"train={train.shape}, test={test.shape}: none; allowed: at least one map of each")
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

    Returns:
      [C]; None for equal weights.
    """
    check_choice("kind", kind, ("none", "median", "enet"))
    from dlcore.losses import enet_weights, median_frequency_weights

    if kind == "none":
        return None
    pixels, pixels_of_images = (np.array(spec[name], np.float32) for name in ("class_pixels", "pixels_beside"))
    return np.asarray(enet_weights(pixels) if kind == "enet" else median_frequency_weights(pixels, pixels_of_images))


def augmentation(flags: Flags, spec: dict):
    """Build the augmentation of `--flip`, `--zoom` and `--jitter`.

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
