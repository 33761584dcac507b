"""What detection's experiments share: scenes or COCO data by name, augmentation, mAP, and pictures with boxes."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags, Setting
from dlcore.experiment.splits import Splits
from dlcore.learner import Evaluator, Range

__all__ = [
    "PYRAMID_SETTINGS", "SETTINGS", "augmentation", "data", "describe", "evaluators", "example", "inputs", "panels",
    "pictures",
]  # fmt: skip

SETTINGS = {
    "dataset": Setting("scenes", "scenes (drawn), or coco: a folder in COCO's form", Literal["scenes", "coco"]),
    "data_dir": Setting(None, "coco: instances_train.json, ..._val, ..._test, images.zip or images/", str | None),
    "image_size": Setting((96, 96), "height and width that images have", tuple[int, int]),
    "max_boxes": Setting(32, "room for the boxes of an image; more is an error", limits=Range(1)),
    "num_scenes": Setting(
        4000, "scenes: for training; a tenth as many again to validate, a sixth to test", limits=Range(10)
    ),
    "valid_fraction": Setting(
        0.1, "coco: share of train set aside where there is no validation", limits=Range(0.001, 0.9)
    ),
    "flip": Setting("both", "mirroring of training images", Literal["none", "horizontal", "both"]),
    "zoom": Setting(
        None,
        "factors between which training images are scaled, 1,1: none; by default 0.75,1.35 for coco, none for scenes",
        tuple[float, float] | None,
    ),
}

PYRAMID_SETTINGS = {
    "levels": Setting(("stage3", "stage4"), "stages of the backbone in the pyramid, finest first", tuple[str, ...]),
    "extra": Setting("none", "levels beyond the backbone's", Literal["none", "pool", "p6p7"]),
    "channels": Setting(48, "of the pyramid and the heads", limits=Range(1)),
    "convs": Setting(2, "convolutions of each head's tower", limits=Range(0)),
    "groups": Setting(8, "of the heads' group normalisation", limits=Range(1)),
}


def data(flags: Flags) -> Splits:
    """Splits by name, and the statistics of the training split.

    Raises:
      ValueError, FileNotFoundError: as `dlcore.data.scenes.scenes` and `dlcore.data.coco.coco_splits`.
    """
    from dlcore.data.augment import channel_statistics

    train, valid, test, notes = (_scenes if flags.dataset == "scenes" else _coco)(flags)
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
    return Splits(train, valid, test, spec, notes)


def _scenes(flags: Flags):
    from dlcore.data.scenes import scenes

    height, width = flags.image_size
    if height != width:
        raise ValueError(f"image_size is {flags.image_size}; scenes are square")
    counts = {"train": flags.num_scenes, "valid": max(8, flags.num_scenes // 10), "test": max(8, flags.num_scenes // 6)}
    room = min(6, flags.max_boxes)
    # The same scenes for every seed of a run: the test set is one.
    sources = [scenes(n, i, size=height, max_boxes=room, largest=height // 2) for i, n in enumerate(counts.values())]
    return *sources, ()


def _coco(flags: Flags):
    from dlcore.data.coco import coco_splits
    from dlcore.data.source import split_validation

    if flags.data_dir is None:
        raise ValueError("dataset 'coco' needs data_dir: a folder with instances_train.json and images")
    found = coco_splits(flags.data_dir, flags.image_size, flags.max_boxes)
    notes = [note for source in found.values() for note in source.notes]
    if "test" not in found and "valid" in found:
        found["test"] = found.pop("valid")
        notes.append("no test split: the validation split takes its place, and validation is carved from train")
    if "valid" not in found:
        found["train"], found["valid"] = split_validation(found["train"], flags.valid_fraction, flags.seed)
    if "test" not in found:
        found["test"] = found["valid"]
        notes.append("no test split: the validation split is tested")
    return found["train"], found["valid"], found["test"], tuple(dict.fromkeys(notes))


def augmentation(flags: Flags):
    """`(key, image, boxes, valid) -> (image, boxes, valid)` for `--flip` and `--zoom`, None for none."""
    from dlcore.data.augment.detection import compose_boxes, random_flip_boxes, random_zoom_boxes

    parts = []
    if flags.flip != "none":
        parts.append(random_flip_boxes(0.5, 0.5 if flags.flip == "both" else 0.0))
    zoom = flags.zoom or ((0.75, 1.35) if flags.dataset == "coco" else (1.0, 1.0))
    if tuple(zoom) != (1, 1):
        parts.append(random_zoom_boxes(*zoom))
    return compose_boxes(*parts) if parts else None


def example(spec: dict) -> dict[str, np.ndarray]:
    """A batch of one image of zeros, without a box."""
    room = spec["max_boxes"]
    return {
        "image": np.zeros((1, *spec["image_shape"]), np.uint8),
        "boxes": np.zeros((1, room, 4), np.float32),
        "labels": np.full((1, room), -1, np.int32),
        "box_mask": np.zeros((1, room), bool),
        "index": np.zeros(1, np.int32),
    }


def inputs(flags: Flags, spec: dict) -> tuple[Any, list[str]]:
    """The images under `--input`, stretched to the size of the training images, and their paths."""
    from PIL import Image

    from dlcore.data.decoding import load_image
    from dlcore.data.image_folder import list_images
    from dlcore.data.source import Source

    height, width, _ = spec["image_shape"]
    paths = list_images(Path(flags.input))
    images = [
        np.asarray(Image.fromarray(load_image(path)).resize((width, height), Image.Resampling.BILINEAR))
        for path in paths
    ]
    return Source({"image": np.stack(images)}, len(paths)), [str(path) for path in paths]


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Class, score and box (corners, as shares of width and height) of each detection, the surest first."""
    height, width, _ = spec["image_shape"]
    rows = []
    for boxes, scores, labels, valid in zip(*(outputs[k] for k in ("boxes", "scores", "labels", "valid")), strict=True):
        found = [
            {
                "class": spec["class_names"][int(label)],
                "score": round(float(score), 4),
                "box": [round(float(v), 4) for v in box / np.array([width, height, width, height])],
            }
            for box, score, label in zip(boxes[valid], scores[valid], labels[valid], strict=True)
        ]
        text = "  ".join(f"{d['class']} {d['score']:.2f}" for d in found) or "nothing"
        rows.append({"detections": found, "text": text})
    return rows


def evaluators(setup: Setup, data: Splits, split: str) -> list[Evaluator]:
    """COCO's mAP."""
    from dlcore.evaluators.coco import coco_evaluator

    return [coco_evaluator(setup.spec["class_names"])]


def panels(context: Any) -> list:
    """Pictures with boxes, AP by class, precision over recall, and curves."""
    from dlcore.report import curves
    from dlcore.report import detection as boxes
    from dlcore.report import tables as panels

    names, test = context.spec["class_names"], context.data.test
    rows = [
        {"class": n, "mAP@[.5:.95]": _percent(context, f"map/{n}"), "AP@.5": _percent(context, f"map50/{n}")}
        for n in names
    ]
    total = {"class": "all", "mAP@[.5:.95]": _percent(context, "map"), "AP@.5": _percent(context, "map50")}
    shown = [row for row in context.history if row]
    plain = [{k: v for k, v in row.items() if "/" not in k} for row in shown]
    return [
        boxes.detections(test.arrays["image"], context.outputs, test.arrays, names),
        panels.table([*rows, total], "Average precision", "Over the test split, in %."),
        curves.curves(plain),
    ]


def _percent(context: Any, name: str) -> str:
    value = context.numbers.get(name)
    return "–" if value is None else f"{100 * value:.1f}"


def pictures(context: Any) -> dict[str, np.ndarray]:
    """The first test images with what was found in them, side by side, for TensorBoard."""
    from dlcore.report.detection import draw_boxes

    outputs, arrays = context.outputs, context.data.test.arrays
    drawn = []
    for i in range(min(4, len(arrays["image"]))):
        shown = outputs["valid"][i] & (outputs["scores"][i] >= 0.3)
        drawn.append(
            draw_boxes(
                arrays["image"][i], outputs["boxes"][i][shown], outputs["labels"][i][shown],
                context.spec["class_names"], outputs["scores"][i][shown], arrays["boxes"][i][arrays["box_mask"][i]], 2,
            )
        )  # fmt: skip
    return {"detections": np.concatenate(drawn, 1)}
