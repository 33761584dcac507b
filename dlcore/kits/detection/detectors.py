"""Shared by detection experiments: data by name, augmentation, the learner and mAP."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from flax import linen as nn

from dlcore.data.resizing import check_resize, shortest_edge
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.detection import detection_results
from dlcore.kits.images import labeled_images
from dlcore.kits.training import backbone, init_from, optimizer
from dlcore.learner import Evaluator, Learner, Range

__all__ = [
    "DEFAULTS",
    "FIELDS",
    "SETTINGS",
    "SMALL",
    "SMOKE",
    "augmentation",
    "build",
    "data",
    "evaluators",
    "fields",
]

SETTINGS = {
    "dataset": Setting(
        "scenes", "scenes (drawn), or coco: a folder in COCO's format", Literal["scenes", "coco"], essential=True
    ),
    "data_dir": Setting(
        None, "coco: instances_train.json, ..._val, ..._test, images.zip or images/", str | None, essential=True
    ),
    "image_size": Setting((96, 96), "height and width that images are stretched to", tuple[int, int], essential=True),
    "max_boxes": Setting(32, "boxes of an image at most; more are an error", limits=Range(1)),
    "num_scenes": Setting(
        4000, "scenes: for training; a tenth as many again to validate, a sixth to test", limits=Range(10)
    ),
    "valid_fraction": Setting(
        0.1, "coco: fraction of train held out for validation if there is no validation split", limits=Range(0.001, 0.9)
    ),
    "flip": Setting("both", "mirroring of training images", Literal["none", "horizontal", "both"]),
    "zoom": Setting(
        None,
        "factors between which training images are scaled, 1,1: none; by default 0.75,1.35 for coco, none for scenes",
        tuple[float, float] | None,
        Range(0.01),
        check=labeled_images.check_zoom,
    ),
    **init_from.SETTINGS,
    **optimizer.SETTINGS,
}

_RESIZE_SETTINGS = {
    "resize": Setting(
        "stretch",
        "coco: stretch to --image_size, or shortest_edge:S,L: the shorter side to S pixels, the longer to L at most",
        str,
        identity="if changed",
        check=check_resize,
    ),
    "canvas": Setting(
        None,
        "height and width that images of --resize=shortest_edge are padded to; by default L, up to a multiple of 32",
        tuple[int, int] | None,
        Range(1),
        identity="if changed",
    ),
}
"""Settings of detectors that know the sizes of padded images."""

SMALL = {"stages": ("stage3", "stage4"), "channels": 48, "extra_blocks": "none", "num_convs": 2, "num_groups": 8}
"""Fields of a detector on the small backbone: strides 8 and 16."""

DEFAULTS = {
    "model.stages": (1, 1, 1, 1),
    "model.stem_stride": 2,
    "model.width": 16,
    "epochs": 8.0,
    "batch_size": 32,
    "eval_every": 500,
    "eval_batch_size": 64,
    "learning_rate": 4e-3,
    "ema": 0.99,
    "topk_candidates": 100,
    "select": "last",
}
SMOKE = {
    "steps": 4,
    "batch_size": 8,
    "num_scenes": 16,
    "eval_every": 4,
    "model.width": 8,
    "topk_candidates": 20,
    "detections_per_img": 10,
}


_NUM_MEAN_SHAPES = 500
"""Number of training images whose mean masks and keypoints are the baseline."""


def build(setup: Setup, learner: Callable[..., Learner], model: nn.Module) -> Learner:
    """Build a detector's learner, with the optimizer and the augmentation that the flags describe.

    Args:
      setup: facts of the run; its flags must contain SETTINGS and the learner's.
      learner: the technique's factory.
      model: the detector.

    Returns:
      The learner; evaluated with the EMA of its parameters under `--ema`.
    """
    return optimizer.evaluate_ema(
        learner(
            model=model,
            optimizer=optimizer.build(setup),
            preprocess=labeled_images.preprocess(setup),
            augment=augmentation(setup.flags, setup.spec.get("keypoint_names", ())),
            **setup.flags.group("learner"),
        ),
        setup,
    )


def data(flags: Flags, masks: bool = False, keypoints: bool = False, stuff: bool = False) -> Splits:
    """Load the splits by name, with the statistics of the training split.

    Args:
      flags: resolved settings; must contain SETTINGS.
      masks: also load masks.
      keypoints: also load keypoints.
      stuff: also load semantic maps, which only scenes have.

    Returns:
      The splits.

    Raises:
      ValueError: see `dlcore.data.scenes.scenes` and `dlcore.data.coco.coco_splits`; before data are read, the canvas
        is too small, or scenes would be resized.
      FileNotFoundError: see `dlcore.data.coco.coco_splits`.
    """
    from dlcore.data.augment import channel_statistics

    loaded = {"masks": masks, "keypoints": keypoints, "stuff": stuff}
    edge = shortest_edge(flags.get("resize", "stretch"), flags.get("canvas"))
    if edge is not None and flags.dataset == "scenes":
        raise ValueError(f"resize={flags.resize}: scenes are drawn in --image_size; allowed: stretch, or dataset=coco")
    train, valid, test, messages = (_scenes if flags.dataset == "scenes" else _coco)(flags, **loaded)
    mean, std = channel_statistics(train)
    spec = {
        "dataset": train.name.removesuffix(" (train)") if flags.dataset == "scenes" else Path(flags.data_dir).name,
        "class_names": list(train.class_names),
        "num_classes": len(train.class_names),
        "image_shape": list(train.arrays["image"].shape[1:]),
        "max_boxes": train.arrays["boxes"].shape[1],
        "mean": [float(m) for m in mean],
        "std": [float(s) for s in std],
    }
    if edge is not None:
        spec["resize"] = list(edge[:2])
    if masks:
        spec["masks"] = True
    if keypoints:
        spec["keypoint_names"] = list(train.keypoint_names)
        messages = (*messages, *_mirror_messages(flags, train.keypoint_names))
    if stuff:
        from dlcore.data.scenes import STUFF

        spec["stuff_names"] = list(STUFF)
    return Splits(train, valid, test, spec, messages)


def _scenes(flags: Flags, **loaded: bool):
    from dlcore.data.scenes import scenes

    height, width = flags.image_size
    if height != width:
        raise ValueError(f"image_size={flags.image_size}: scenes are square; allowed: equal height and width")
    counts = (flags.num_scenes, max(8, flags.num_scenes // 10), max(8, flags.num_scenes // 6))
    options = {"size": height, "max_boxes": min(6, flags.max_boxes), "largest": height // 2, **loaded}
    # Fixed seeds: every run is tested on the same scenes.
    return *(scenes(n, seed, **options) for seed, n in enumerate(counts)), ()


def _coco(flags: Flags, masks: bool, keypoints: bool, stuff: bool):
    from dlcore.data.carving import complete_splits
    from dlcore.data.coco import coco_splits

    if flags.data_dir is None:
        raise ValueError("data_dir=None: missing; allowed: a folder with instances_train.json and images")
    if stuff:
        raise ValueError("dataset=coco: its folders have no semantic maps; allowed: scenes")
    size = shortest_edge(flags.get("resize", "stretch"), flags.get("canvas")) or flags.image_size
    splits = coco_splits(flags.data_dir, size, flags.max_boxes, masks, keypoints)
    messages = [message for source in splits.values() for message in source.notes]
    train, valid, test, carving_messages = complete_splits(splits, flags.valid_fraction, flags.seed)
    return train, valid, test, tuple(dict.fromkeys((*messages, *carving_messages)))


def _mirror_messages(flags: Flags, keypoint_names: Sequence[str]) -> tuple[str, ...]:
    """Name the mirrors of `--flip` that are left out because no keypoint has a left or right counterpart."""
    from dlcore.data.augment import has_pairs, mirror_orders

    mirrors = {"none": (), "horizontal": ("horizontal",), "both": ("horizontal", "vertical")}[flags.flip]
    orders = dict(zip(("horizontal", "vertical"), mirror_orders(keypoint_names), strict=True))
    if not (left_out := [mirror for mirror in mirrors if not has_pairs(orders[mirror])]):
        return ()
    return (
        f"flip={flags.flip}: no {' or '.join(left_out)} mirror, since no two of the keypoints "
        f"{', '.join(keypoint_names)} change places by their names (left and right, or l and r)",
    )


def augmentation(flags: Flags, keypoint_names: Sequence[str] = ()):
    """Build the augmentation of `--flip` and `--zoom`.

    Args:
      flags: resolved settings; must contain SETTINGS.
      keypoint_names: names of the keypoints; a mirror swaps left and right.

    Returns:
      `(key, example) -> example`, see `dlcore.data.augment.examples`; None for none.
    """
    from dlcore.data.augment import compose_examples, random_flip_example, random_zoom_example

    parts = []
    if flags.flip != "none":
        parts.append(random_flip_example(0.5, 0.5 if flags.flip == "both" else 0.0, keypoint_names))
    zoom = flags.zoom or ((0.75, 1.35) if flags.dataset == "coco" else (1.0, 1.0))
    if tuple(zoom) != (1, 1):
        parts.append(random_zoom_example(*zoom))
    return compose_examples(*parts) if parts else None


def evaluators(setup: Setup, data: Splits, split: str) -> list[Evaluator]:
    """Build the evaluators of COCO's mAP of boxes, masks and keypoints, and of PCK.

    On the test split they also measure a baseline that ignores the pixels in a box: mean_mask_map and
    mean_keypoint_pck take the detected boxes with their class's mean training mask and mean training keypoints.

    Args:
      setup: facts of the run; its spec must contain the class names.
      data: the splits.
      split: "valid" or "test".

    Returns:
      The evaluators.
    """
    from dlcore.evaluators.coco import coco_evaluator
    from dlcore.evaluators.keypoints import pck_evaluator
    from dlcore.evaluators.mean_shape import evaluate_class_means, mean_keypoints, mean_masks

    spec = setup.spec
    classes, names = spec["class_names"], spec.get("keypoint_names", ())
    measures = [coco_evaluator(classes, masks=spec.get("masks", False), keypoints=bool(names))]
    measures += [pck_evaluator(names)] if names else []
    if split == "test":
        arrays = data.train.take(_NUM_MEAN_SHAPES).arrays
        if spec.get("masks"):
            masks = mean_masks(arrays, len(classes))
            measures.append(
                evaluate_class_means(coco_evaluator(classes, masks=True), {"mask_map": "mean_mask_map"}, masks=masks)
            )
        if names:
            points = mean_keypoints(arrays, len(classes))
            measures.append(evaluate_class_means(pck_evaluator(names), {"pck": "mean_keypoint_pck"}, keypoints=points))
    return measures


def fields(masks: bool = False, keypoints: bool = False, stuff: bool = False) -> dict[str, Any]:
    """Collect the fields of Experiment that are the same for every detector of a kind.

    Args:
      masks: learn, evaluate and show instance masks.
      keypoints: learn, evaluate and show keypoints.
      stuff: also load semantic maps, of scenes.

    Returns:
      Keyword arguments of Experiment; the monitor is the keypoints' PCK, the masks' mAP, or the boxes' mAP.
    """
    measure = "pck" if keypoints else "mask_map" if masks else "map"
    return {
        "data": partial(data, masks=masks, keypoints=keypoints, stuff=stuff),
        "model": "resnet8_cifar",
        "settings": {**SETTINGS, **_RESIZE_SETTINGS},
        "start": init_from.start,
        "check": backbone.check_stages,
        "monitor": measure,
        "headline": measure,
        "plain": {"flip": "none", "zoom": (1.0, 1.0), "weight_decay": 0.0, "ema": None},
        "schedule": optimizer.schedule,
        "inputs": detection_results.inputs,
        "describe": detection_results.describe,
        "write": detection_results.write,
        "panels": detection_results.panels,
        "pictures": detection_results.pictures,
        "evaluators": evaluators,
        "packages": ("pycocotools",),
    }


FIELDS = fields()
"""Fields of Experiment of a box detector."""
