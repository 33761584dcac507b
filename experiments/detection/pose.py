"""Find the keypoints of cropped objects by heat maps: SimpleBaseline, or ViTPose.

python -m experiments.detection.pose        (PCK@0.1 99.5 %, AP 97.6 %; mean pose 62.4 %; 3 min on two cores)
python -m experiments.detection.pose --network=vitpose        (not run)

The images are crops of the colored shapes of drawn scenes, around their true boxes. The keypoints of a shape are its
pixels farthest to the left, the top, the right and the bottom. The page measures PCK (a keypoint is correct within a
tenth of the longer side of the box) and COCO's AP by keypoint similarity (OKS), both in true boxes. The baseline is the
PCK of the mean pose: each shape's mean keypoints in the training boxes.

References: Xiao, Wu & Wei 2018, arXiv:1804.06208 (SimpleBaseline); Xu et al. 2022, arXiv:2204.12484 (ViTPose).
"""

import dataclasses
import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.scenes import KEYPOINTS, scenes
from dlcore.data.source import Source
from dlcore.detection import pose
from dlcore.detection.vitpose import ViTPose
from dlcore.evaluators.coco import coco_evaluator
from dlcore.evaluators.keypoints import pck_evaluator
from dlcore.evaluators.mean_shape import evaluate_class_means, mean_keypoints
from dlcore.experiment import Experiment, Flags, Setup, Splits
from dlcore.experiment.task import Task
from dlcore.kits.training.optimizer import AdamW
from dlcore.learner import Evaluator, Range
from dlcore.main import main
from dlcore.models.resnet import BasicBlock, ResNet
from dlcore.ops.roi import roi_align
from experiments.smoke import few_steps

SIMPLE_BASELINE = functools.partial(pose.SimpleBaseline, num_deconvs=2, deconv_features=32)
VITPOSE = functools.partial(ViTPose, patch_size=8, depth=4, width=64, num_heads=4, mlp_features=128, epsilon=1e-6)
PADDING = 1.25
"""Side of a crop over the longer side of the box."""


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectPoses(Task):
    """Keypoints of cropped objects.

    Args:
      network: simple_baseline (a ResNet and transposed convolutions) or vitpose (a plain ViT)
      num_scenes: scenes to train on, of up to six objects; an eighth as many validate, and as many test
      crop_size: side of a crop in pixels, a multiple of 8
    """

    network: Annotated[Literal["simple_baseline", "vitpose"], "essential"] = "simple_baseline"
    num_scenes: Annotated[int, Range(16), "essential"] = 800
    crop_size: Annotated[int, Range(16), "essential"] = 48

    monitor = headline = "pck"

    def data(self, flags: Flags) -> Splits:
        few = flags.num_scenes // 8
        train, valid, test = (
            object_crops(scenes(count, seed, keypoints=True), flags.crop_size)
            for seed, count in enumerate((flags.num_scenes, few, few))
        )
        spec = {"dataset": "crops of scenes", "image_size": flags.crop_size, "class_names": list(train.class_names)}
        return Splits(train, valid, test, spec)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        side = setup.spec["image_size"]
        fields = {**setup.flags.group(setup.flags.network), "num_keypoints": len(KEYPOINTS), "dtype": setup.dtype}
        if setup.flags.network == "vitpose":
            model: Any = ViTPose(**{**fields, "image_size": (side, side)})
        else:
            resnet = ResNet(stages=(1, 1, 1, 1), block=BasicBlock, width=16, stem="cifar", dtype=setup.dtype)
            model = pose.SimpleBaseline(resnet, **fields)
        return {"model": model, "preprocess": lambda images: images.astype(jnp.float32) / 127.5 - 1}

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list:
        """PCK and AP of OKS, and in the test the mean pose's PCK."""
        classes = setup.spec["class_names"]
        pck = pck_evaluator(KEYPOINTS)
        similarity = coco_evaluator(classes, keypoints=True)
        measures = [of_true_boxes(pck, ("pck",)), of_true_boxes(similarity, ("keypoint_map",))]
        if split == "test":
            train = splits.train.arrays
            means = mean_keypoints({**train, "keypoints": train["keypoints"][:, None]}, len(classes))
            mean_pose = evaluate_class_means(pck, {"pck": "mean_keypoint_pck"}, keypoints=means)
            measures.append(of_true_boxes(mean_pose, ("mean_keypoint_pck",)))
        return measures

    def panels(self, context: Any) -> list:
        """Crops with true and predicted keypoints, and the curves."""
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


experiment = Experiment(
    __file__,
    __doc__,
    pose.learner,
    task=ObjectPoses(),
    optimizer=AdamW(learning_rate=2e-3, weight_decay=1e-4),
    modules={"simple_baseline": SIMPLE_BASELINE, "vitpose": VITPOSE},
    external_fields=(
        "simple_baseline.num_keypoints",
        "vitpose.num_keypoints",
        "vitpose.image_size",
    ),
    defaults={"steps": 800, "batch_size": 32, "eval_every": 200},
    smoke={
        **few_steps(2, 4),
        "eval_batch_size": 8,
        "num_scenes": 16,
        "crop_size": 16,
        "simple_baseline.deconv_features": 4,
        "vitpose.depth": 1,
        "vitpose.width": 8,
        "vitpose.mlp_features": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
