"""What the report and the modes show of a detector: pictures with boxes, AP by class, detections of files."""

from pathlib import Path
from typing import Any

import numpy as np

from dlcore.experiment.flags import Flags
from dlcore.kits.image_prediction import read_all

__all__ = ["describe", "example", "inputs", "panels", "pictures"]

_MIN_SCORE = 0.3


def example(spec: dict) -> dict[str, np.ndarray]:
    """Make a batch of one image of zeros, without a box, and with the masks and keypoints that the data has.

    Args:
      spec: of the data.

    Returns:
      The batch.
    """
    max_boxes, (height, width, _) = spec["max_boxes"], spec["image_shape"]
    more: dict[str, np.ndarray] = {}
    if spec.get("masks"):
        more["masks"] = np.zeros((1, max_boxes, height, -(-width // 8)), np.uint8)
    if spec.get("keypoint_names"):
        more["keypoints"] = np.zeros((1, max_boxes, len(spec["keypoint_names"]), 3), np.float32)
    if spec.get("stuff_names"):
        more["semantic"] = np.zeros((1, height, width), np.uint8)
    return {
        **more,
        "image": np.zeros((1, *spec["image_shape"]), np.uint8),
        "boxes": np.zeros((1, max_boxes, 4), np.float32),
        "labels": np.full((1, max_boxes), -1, np.int32),
        "box_mask": np.zeros((1, max_boxes), bool),
        "index": np.zeros(1, np.int32),
    }


def inputs(flags: Flags, spec: dict) -> tuple[Any, list[str]]:
    """Read the images under `--input`, stretched to the size of the training images.

    Args:
      flags: `input`, a file or a folder.
      spec: of the data.

    Returns:
      (source, paths).
    """
    from PIL import Image

    from dlcore.data.decoding import load_image
    from dlcore.data.image_folder import list_images
    from dlcore.data.source import Source

    height, width, _ = spec["image_shape"]

    def read(path: Path) -> np.ndarray:
        return np.asarray(Image.fromarray(load_image(path)).resize((width, height), Image.Resampling.BILINEAR))

    images, paths = read_all(list_images(Path(flags.input)), read, None)
    return Source({"image": images}, len(paths)), [str(p) for p in paths]


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Describe the detections of each image, best first.

    Args:
      outputs: what predict gives.
      spec: of the data.

    Returns:
      {"detections": class, score and box of each (corners, as shares of width and height), "text"}, one an image.
    """
    height, width, _ = spec["image_shape"]
    rows = []
    for boxes, scores, labels, valid in zip(*(outputs[k] for k in ("boxes", "scores", "labels", "valid")), strict=True):
        detections = [
            {
                "class": spec["class_names"][int(label)],
                "score": round(float(score), 4),
                "box": [round(float(v), 4) for v in box / np.array([width, height, width, height])],
            }
            for box, score, label in zip(boxes[valid], scores[valid], labels[valid], strict=True)
        ]
        text = "  ".join(f"{d['class']} {d['score']:.2f}" for d in detections) or "nothing"
        rows.append({"detections": detections, "text": text})
    return rows


def panels(context: Any) -> list:
    """Draw pictures with boxes, AP by class, precision over recall, kinds of error, and the learning curves.

    Args:
      context: the run's ReportContext.

    Returns:
      The panels.
    """
    from dlcore.evaluators.detection_errors import KINDS, detection_errors
    from dlcore.report.curves import curves
    from dlcore.report.detection import detections, error_kinds, precision_recall
    from dlcore.report.tables import table
    from dlcore.report.triage import triage_panels

    names, test = context.spec["class_names"], context.data.test

    def percent(name: str) -> str:
        value = context.numbers.get(name)
        return "–" if value is None else f"{100 * value:.1f}"

    rows = [
        {"class": name or "all", "mAP@[.5:.95]": percent(f"map{suffix}"), "AP@.5": percent(f"map50{suffix}")}
        for name, suffix in [*((name, f"/{name}") for name in names), ("", "")]
    ]
    plain = [{k: v for k, v in row.items() if "/" not in k} for row in context.history if row]
    errors = detection_errors(context.outputs, test.arrays, len(names), min_score=_MIN_SCORE)
    kinds = (
        f"Test detections with a score of at least {100 * _MIN_SCORE:.0f}, by their class; missed boxes by their true "
        "one. Right: IoU of at least 0.5 with a true box of the class; poor box: 0.1 to 0.5; background: less."
    )
    return [
        detections(test.arrays["image"], context.outputs, test.arrays, names, min_score=_MIN_SCORE),
        table(rows, "Average precision", "Over the test split, in %.")._replace(half=True),
        precision_recall(context.arrays["pr50"], names),
        error_kinds(errors, KINDS, names, kinds),
        *triage_panels(plain, floor=None),
        curves(plain),
    ]


def pictures(context: Any) -> dict[str, np.ndarray]:
    """Draw the detections in the first four test images, side by side, for TensorBoard.

    Args:
      context: the run's ReportContext.

    Returns:
      {"detections": [H, W, 3] uint8}.
    """
    from dlcore.report.detection import draw_boxes

    arrays, drawn = context.data.test.arrays, []
    for i, image in enumerate(arrays["image"][:4]):
        outputs = {name: values[i] for name, values in context.outputs.items()}
        shown = outputs["valid"] & (outputs["scores"] >= _MIN_SCORE)
        boxes, labels, scores = (outputs[name][shown] for name in ("boxes", "labels", "scores"))
        truth = arrays["boxes"][i][arrays["box_mask"][i]]
        drawn.append(draw_boxes(image, boxes, labels, context.spec["class_names"], scores, truth, 2))
    return {"detections": np.concatenate(drawn, 1)}
