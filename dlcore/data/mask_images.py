"""Masks: semantic segmentation, the class of every pixel, of drawn scenes or of a folder of images and masks.

data=MaskImages("scenes", num_scenes=4000), measures=[ClassIoU()], use=SegmentImages()
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data import labeled_images
from dlcore.data.facts import Facts
from dlcore.data.normalization import normalizer
from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range
from dlcore.ops.checks import check_shapes

__all__ = ["PLAIN", "MaskImages", "baselines"]


@dataclasses.dataclass(frozen=True)
class MaskImages(CheckedRecord):
    """Images and the class of every pixel: drawn scenes, or a folder of images and masks.

    Args:
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
    """

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

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset == "folder"

    def load(self, seed: int = 0) -> Splits:
        """Load the splits by name, with the statistics of the training split.

        Args:
          seed: seed of the held-out validation images.

        Raises:
          ValueError: there is no folder, or see `dlcore.data.segmentation.segmentation_splits`.
          FileNotFoundError: see `dlcore.data.segmentation.segmentation_splits`.
        """
        from dlcore.data.augment import channel_statistics
        from dlcore.data.segmentation import class_pixels

        train, valid, test, messages = self._scenes() if self.dataset == "scenes" else self._folder(seed)
        mean, std = channel_statistics(train)
        num_classes = len(train.class_names)
        pixels, pixels_of_images = class_pixels(train, num_classes)
        baseline_iou = baselines(train.arrays["semantic"], test.arrays["semantic"], num_classes)
        summary = ", ".join(f"{name} {value:.3f}" for name, value in baseline_iou.items())
        facts = Facts(
            dataset="scenes" if self.dataset == "scenes" else Path(self.data_dir or "").name,
            class_names=tuple(train.class_names),
            image_shape=train.arrays["image"].shape[1:],
            mean=tuple(float(m) for m in mean),
            std=tuple(float(s) for s in std),
            class_pixels=tuple(pixels.tolist()),
            pixels_beside=tuple(pixels_of_images.tolist()),
        )
        messages = (*messages, f"mean IoU of image-blind baselines on the test split: {summary}")
        return Splits(train, valid, test, {**facts.spec(), "baselines": baseline_iou}, messages)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `preprocess`, `augment` and the class `weights`."""
        preprocess = normalizer(run.facts.mean, run.facts.std, dtype=run.dtype)
        return {"preprocess": preprocess, "augment": self.augment(run.facts), "weights": self.weights(run.facts)}

    def weights(self, facts: Facts) -> np.ndarray | None:
        """Compute the class weights of the loss.

        Returns:
          [C]; None for equal weights.
        """
        from dlcore.losses import enet_weights, median_frequency_weights

        if self.class_weights == "none":
            return None
        pixels, beside = np.array(facts.class_pixels, np.float32), np.array(facts.pixels_beside, np.float32)
        return np.asarray(
            enet_weights(pixels) if self.class_weights == "enet" else median_frequency_weights(pixels, beside)
        )

    def augment(self, facts: Facts) -> Callable[[Any, dict], dict] | None:
        """Build the augmentation of `flip`, `zoom` and `jitter`.

        Returns:
          `(key, example) -> example`, see `dlcore.data.augment.examples`; None for none.
        """
        from dlcore.data.augment import color_jitter, compose_examples, random_flip_example, random_zoom_example

        is_scenes, parts = self.dataset == "scenes", []
        flip = ("both" if is_scenes else "horizontal") if self.flip == "auto" else self.flip
        if flip != "none":
            parts.append(random_flip_example(0.5, 0.5 if flip == "both" else 0.0))
        zoom = self.zoom or ((1.0, 1.0) if is_scenes else (0.75, 1.5))
        if tuple(zoom) != (1, 1):
            parts.append(random_zoom_example(*zoom))
        strength = self.jitter if self.jitter is not None else (0.0 if is_scenes else 0.3)
        if strength:
            mean, std = np.asarray(facts.mean, np.float32), np.asarray(facts.std, np.float32)
            jitter = color_jitter(strength, strength, strength)

            def recolored(key: Any, example: dict) -> dict:
                image = example["image"]
                pixels = jitter(key, (image * std + mean).clip(0, 1))
                return {**example, "image": ((pixels - mean) / std).astype(image.dtype)}

            parts.insert(0, recolored)
        return compose_examples(*parts) if parts else None

    def _scenes(self):
        from dlcore.data.scenes import check_scene_size
        from dlcore.data.segmentation import scene_maps

        side = check_scene_size(self.image_size or (96, 96))
        counts = (self.num_scenes, max(8, self.num_scenes // 10), max(8, self.num_scenes // 6))
        # Fixed seeds: every run is tested on the same scenes.
        sources = [scene_maps(n, seed, stuff=self.stuff, size=side, largest=side // 2) for seed, n in enumerate(counts)]
        return *sources, ()

    def _folder(self, seed: int):
        from dlcore.data.carving import complete_splits
        from dlcore.data.segmentation import segmentation_splits

        if self.data_dir is None:
            raise ValueError("data_dir=None: missing; allowed: a folder or .zip of images and masks")
        splits = segmentation_splits(self.data_dir, self.image_size)
        messages = [message for source in splits.values() for message in source.notes]
        train, valid, test, carving_messages = complete_splits(splits, self.valid_fraction, seed)
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


PLAIN = {"flip": "none", "zoom": (1.0, 1.0), "jitter": 0.0, "weight_decay": 0.0, "ema": None}
"""Values that switch regularization and augmentation off."""
