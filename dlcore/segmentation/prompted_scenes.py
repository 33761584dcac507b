"""Objects of drawn scenes for a segmenter by clicks and boxes, and what thresholds reach on them."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.learner import Range, check_record

__all__ = ["PromptedScenes", "baseline_iou", "prompted_scenes"]

_SHOWN = 12


_COLOR_THRESHOLDS = (25.0, 35.0, 50.0, 70.0, 100.0)


_NUM_TUNING = 60
"""Training scenes that choose the threshold of colors."""


BASELINE_CLICKS = 5


_SMALLEST_CORE, _CORE_CONTRAST = 12, (60.0, 110.0)
"""Pixels of a core at least, and by how much its color differs in each channel."""


@dataclasses.dataclass(frozen=True)
class PromptedScenes:
    """Objects of drawn scenes and their cores, each with its visible mask.

    Args:
      image_size: side of the square scenes, and of the network's image, to which photographs are stretched
      num_scenes: scenes for training; a tenth as many again to validate, a sixth to test
      flip: mirror training scenes at random
    """

    image_size: Annotated[int, Range(32), "essential"] = 32
    num_scenes: Annotated[int, Range(10)] = 1200
    flip: bool = True

    packages: ClassVar[tuple[str, ...]] = ("pycocotools",)
    reads_files: ClassVar[bool] = False

    def __post_init__(self):
        check_record(self)

    def load(self) -> Splits:
        """Draw the scenes, and measure what thresholds make of the clicks on the test split."""
        from dlcore.data.augment import channel_statistics

        counts = (self.num_scenes, max(8, self.num_scenes // 10), max(8, self.num_scenes // 6))
        # Fixed seeds: every run is tested on the same scenes.
        train, valid, test = (prompted_scenes(n, seed, self.image_size) for seed, n in enumerate(counts))
        mean, std = channel_statistics(train)
        baselines = baseline_iou(train, test)
        spec = {
            "dataset": "scenes",
            "class_names": ["object"],
            "image_shape": list(train.arrays["image"].shape[1:]),
            "mean": [float(m) for m in mean],
            "std": [float(s) for s in std],
            "baselines": baselines,
        }
        text = "; ".join(f"{name} {' '.join(f'{x:.3f}' for x in values)}" for name, values in baselines.items())
        message = f"IoU after 1 to {BASELINE_CLICKS} clicks on the test split by thresholds: {text}"
        images = Source({"image": test.arrays["image"][:_SHOWN]}, name="scenes (test)")
        return Splits(train, valid, test, spec, (message,), shown=images)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `preprocess` and `augment`."""
        from dlcore.data.augment import random_flip_example

        preprocess = normalizer(run.facts.mean, run.facts.std, dtype=run.dtype)
        return {"preprocess": preprocess, "augment": random_flip_example(0.5, 0.5) if self.flip else None}


def prompted_scenes(count: int, seed: int, size: int) -> Source:
    """Draw scenes whose objects have a core of another color, so that a click in the core is ambiguous.

    The core is what is deeper in the visible part of an object than half of its largest depth. Where it has fewer than
    a dozen pixels the object has none.

    Args:
      count: number of scenes.
      seed: seed of the scenes.
      size: side in pixels.

    Returns:
      `image`, `masks` [N, 2 M, S, ceil(S / 8)] of the visible parts of M objects and of their cores, with the bits
      packed along the width, and `box_mask` [N, 2 M], False for padding and for what is hidden.
    """
    check_whole_number("count", count, 1)
    check_whole_number("seed", seed, 0)
    from dlcore.data.masks import pack_masks, unpack_masks, visible_masks
    from dlcore.data.scenes import check_scene_size, scenes

    side = check_scene_size((size, size))
    arrays = scenes(count, seed, size=side, smallest=side // 3, largest=side // 2, masks=True).arrays
    masks = np.stack([visible_masks(unpack_masks(masks, side)) for masks in arrays["masks"]])
    masks = np.concatenate([masks, np.zeros_like(masks)], 1)
    images = arrays["image"].copy()
    for i, (image, scene) in enumerate(zip(images, masks, strict=True)):
        _draw_cores(image, scene, np.random.default_rng((seed, i, 1)))
    return Source({"image": images, "masks": pack_masks(masks), "box_mask": masks.any((-2, -1))}, count, name="scenes")


def _draw_cores(image: np.ndarray, masks: np.ndarray, rng: np.random.Generator) -> None:
    """Color the cores of the objects masks[:M] in the image [H, W, 3], and write them to masks[M:]."""
    from scipy.ndimage import distance_transform_cdt

    num_objects = len(masks) // 2
    for whole, core in zip(masks[:num_objects], masks[num_objects:], strict=True):
        shift = rng.uniform(*_CORE_CONTRAST, 3)
        depth = distance_transform_cdt(np.pad(whole, 1))[1:-1, 1:-1]
        if (2 * depth > depth.max()).sum() < _SMALLEST_CORE:
            continue
        core[:] = 2 * depth > depth.max()
        color = image[core].mean(0)
        image[core] = (image[core] + np.where(color > 127, -shift, shift)).clip(0, 255).astype(np.uint8)


def baseline_iou(train: Source, test: Source) -> dict[str, list[float]]:
    """Measure the IoU of thresholds after each of five simulated clicks.

    brightness: the side of Otsu's threshold that most clicks name. color: `color_masks`, whose threshold is the best of
    five on training scenes.

    Args:
      train: source of `prompted_scenes`.
      test: the same, measured.

    Returns:
      {name: mean IoU over objects after each click}.
    """
    import functools

    import jax
    import jax.numpy as jnp

    from dlcore.segmentation.clicks import brightness_masks, color_masks, mask_iou, simulate_clicks

    @functools.partial(jax.jit, static_argnums=0)
    def measure(function: Callable, images: Any, targets: Any, threshold: Any) -> Any:
        def segment(points: Any, labels: Any, memory: Any) -> tuple:
            masks = function(images, points, labels, threshold)
            return masks, memory, mask_iou(masks, targets).mean()

        return simulate_clicks(segment, targets, BASELINE_CLICKS)

    def run(function: Callable, source: Source, thresholds: Callable) -> list[float]:
        images, masks, thresholds_of = _objects(source, thresholds)
        return [round(float(x), 4) for x in measure(function, images, masks, jnp.asarray(thresholds_of))]

    from dlcore.classical_vision.otsu import otsu_threshold

    tuning = train.take(_NUM_TUNING)
    best = max(_COLOR_THRESHOLDS, key=lambda t: run(color_masks, tuning, lambda _: t)[0])
    return {
        "brightness": run(brightness_masks, test, lambda image: otsu_threshold(image.mean(-1))),
        "color": run(color_masks, test, lambda _: best),
    }


def _objects(source: Source, threshold: Callable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images [N, S, S, C] float, masks [N, S, S] and thresholds [N] of all objects."""
    from dlcore.data.masks import unpack_masks

    images, valid = source.arrays["image"].astype(np.float32), source.arrays["box_mask"]
    masks = unpack_masks(source.arrays["masks"], images.shape[2])
    index = np.nonzero(valid)[0]
    return images[index], masks[valid], np.array([threshold(image) for image in images], np.float32)[index]
