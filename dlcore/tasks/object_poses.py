"""Object poses: the keypoints of objects that are cut out of their scenes.

data=ObjectCrops(num_scenes=800, crop_size=48), network=PoseNetworks(...), measures=[PosePCK()]
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.scenes import KEYPOINTS, scenes
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator, Range, check_record
from dlcore.ops.roi import roi_align
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["ObjectCrops", "PoseNetworks", "PosePCK", "object_crops", "of_true_boxes", "panels"]

PADDING = 1.25
"""Side of a crop over the longer side of the box."""


@dataclasses.dataclass(frozen=True)
class ObjectCrops:
    """Cropped objects of drawn scenes, with their keypoints.

    Args:
      num_scenes: scenes to train on, of up to six objects; an eighth as many validate, and as many test
      crop_size: side of a crop in pixels, a multiple of 8
    """

    num_scenes: Annotated[int, Range(16), "essential"] = 800
    crop_size: Annotated[int, Range(16), "essential"] = 48

    reads_files: ClassVar[bool] = False

    def __post_init__(self):
        check_record(self)

    def load(self) -> Splits:
        """Draw the scenes, and cut the objects out of them."""
        few = self.num_scenes // 8
        counts = (self.num_scenes, few, few)
        train, valid, test = (
            object_crops(scenes(count, seed, keypoints=True), self.crop_size) for seed, count in enumerate(counts)
        )
        spec = {"dataset": "crops of scenes", "image_size": self.crop_size, "class_names": list(train.class_names)}
        return Splits(train, valid, test, spec)

    def arguments(self, run: Run) -> dict[str, Callable[[jax.Array], jax.Array]]:
        """Give the technique its `preprocess`."""
        return {"preprocess": lambda images: images.astype(jnp.float32) / 127.5 - 1}


@dataclasses.dataclass(frozen=True)
class PoseNetworks:
    """Two networks of heat maps, of which a run has one.

    Args:
      simple_baseline: class of SimpleBaseline, or a `functools.partial`.
      resnet: class of its backbone, or a `functools.partial`.
      vitpose: class of ViTPose, or a `functools.partial`.
      network: simple_baseline (a ResNet and transposed convolutions) or vitpose (a plain ViT)
    """

    simple_baseline: Callable[..., nn.Module]
    resnet: Callable[..., nn.Module]
    vitpose: Callable[..., nn.Module]
    network: Annotated[Literal["simple_baseline", "vitpose"], "essential"] = "simple_baseline"

    external_fields: ClassVar[tuple[str, ...]] = (
        "simple_baseline.num_keypoints",
        "vitpose.num_keypoints",
        "vitpose.image_size",
    )

    def __post_init__(self):
        check_record(self)

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The networks by the prefixes of their flags."""
        return {"simple_baseline": self.simple_baseline, "vitpose": self.vitpose}

    def with_flags(self, flags: Any) -> "PoseNetworks":
        """Return the networks with the values of their flags in their fields."""
        networks = {name: partial(network, **flags.group(name)) for name, network in self.modules.items()}
        return dataclasses.replace(self, **networks, network=flags.network)

    def arguments(self, run: Run) -> dict[str, nn.Module]:
        """Give the technique the network of the run as `model`."""
        fields, side = {"num_keypoints": len(KEYPOINTS), "dtype": run.dtype}, run.parts.data.crop_size
        if self.network == "vitpose":
            return {"model": self.vitpose(**fields, image_size=(side, side))}
        return {"model": self.simple_baseline(self.resnet(dtype=run.dtype), **fields)}


class PosePCK:
    """The share of correct keypoints and AP of keypoint similarity in true boxes, beside those of the mean pose."""

    metric: ClassVar[str] = "pck"
    mode: ClassVar[str] = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of PCK and of AP, and on the test split that of the mean pose's PCK."""
        from dlcore.evaluators.coco import coco_evaluator
        from dlcore.evaluators.keypoints import pck_evaluator
        from dlcore.evaluators.mean_shape import evaluate_class_means, mean_keypoints

        classes = list(run.facts.class_names)
        pck = pck_evaluator(KEYPOINTS)
        similarity = coco_evaluator(classes, keypoints=True)
        measures = [of_true_boxes(pck, ("pck",)), of_true_boxes(similarity, ("keypoint_map",))]
        if split == "test":
            train = splits.train.arrays
            means = mean_keypoints({**train, "keypoints": train["keypoints"][:, None]}, len(classes))
            mean_pose = evaluate_class_means(pck, {"pck": "mean_keypoint_pck"}, keypoints=means)
            measures.append(of_true_boxes(mean_pose, ("mean_keypoint_pck",)))
        return measures


def object_crops(source: Source, size: int) -> Source:
    """Cut every object out of its scene, by a square around its box.

    Args:
      source: scenes with keypoints.
      size: side of a crop in pixels.

    Returns:
      `image [N, size, size, 3] uint8`, `keypoints [N, K, 3]` and `boxes [N, 1, 4]` in pixels of the crop, `labels
      [N, 1]` and `box_mask [N, 1]`.
    """
    arrays, (scene, slot) = source.arrays, np.nonzero(source.arrays["box_mask"])
    boxes = arrays["boxes"]
    centers, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).max(-1, keepdims=True)
    sides = PADDING * np.maximum(sides, 1)
    squares = np.concatenate([centers - sides / 2, centers + sides / 2], -1)  # [N, M, 4]

    @jax.jit
    def crop(images: jax.Array, squares: jax.Array) -> jax.Array:
        def one(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
            return roi_align(pair[0].astype(jnp.float32), pair[1], size, aligned=True)

        return jnp.round(jax.lax.map(one, (images, squares))).astype(jnp.uint8)

    image = np.asarray(crop(arrays["image"], squares))[scene, slot]
    corner, scale = squares[scene, slot, None, :2], size / sides[scene, slot, None]  # [N, 1, 2], [N, 1, 1]
    points = arrays["keypoints"][scene, slot]
    keypoints = np.concatenate([(points[..., :2] - corner) * scale, points[..., 2:]], -1).astype(np.float32)
    corners = (boxes[scene, slot].reshape(-1, 2, 2) - corner) * scale
    values = {
        "image": image,
        "keypoints": keypoints,
        "boxes": corners.reshape(-1, 1, 4).astype(np.float32),
        "labels": arrays["labels"][scene, slot][:, None],
        "box_mask": np.ones((len(image), 1), bool),
    }
    return Source(values, len(image), class_names=source.class_names, name="crops", keypoint_names=KEYPOINTS)


def of_true_boxes(evaluator: Evaluator, names: tuple[str, ...]) -> Evaluator:
    """Measure poses by an evaluator of detections: each crop has one, its true box.

    Args:
      evaluator: evaluator of keypoints of detections.
      names: names of the numbers that are reported.

    Returns:
      The evaluator of `keypoints` and `keypoint_scores`.
    """

    def add(acc: Any, outputs: Any, rows: Any) -> Any:
        detections = {
            "boxes": rows["boxes"],
            "labels": rows["labels"],
            "valid": np.ones_like(rows["box_mask"]),
            "scores": np.asarray(outputs["keypoint_scores"]).mean(-1, keepdims=True),
            "keypoints": np.asarray(outputs["keypoints"])[:, None],
        }
        return evaluator.add(acc, detections, {**rows, "keypoints": rows["keypoints"][:, None]})

    def finish(acc: Any) -> dict[str, Any]:
        numbers = evaluator.finish(acc)
        return {name: numbers[name] for name in names}

    return Evaluator(add, finish, evaluator.source, names)


def panels(context: ReportContext) -> list[Panel]:
    """Draw crops with true and predicted keypoints, and the curves."""
    from dlcore.report.curves import curves
    from dlcore.report.figure import BLUE, VERMILION, figure_panel, new_figure, show_image

    test, points = context.data.test.arrays, np.asarray(context.outputs["keypoints"])
    count = min(8, len(points))
    figure, axes = new_figure((1.4 * count, 1.6), 1, count, squeeze=False)
    for i in range(count):
        side = context.spec["image_size"]
        show_image(axes[0, i], test["image"][i], extent=(0, side, side, 0))
        axes[0, i].plot(*test["keypoints"][i, :, :2].T, "o", color=BLUE, markersize=5)
        axes[0, i].plot(*points[i].T, "x", color=VERMILION, markersize=5)
    caption = "Blue dots: true keypoints; orange crosses: predicted ones."
    return [figure_panel("Keypoints", figure, caption), curves(context.history)]
