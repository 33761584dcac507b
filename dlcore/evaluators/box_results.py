"""Results of a detector for the report and the modes: images with boxes, masks and keypoints, AP by class, files."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.facts import Facts
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.report.prediction import read_all, unique_stems

__all__ = ["DetectObjects", "describe", "inputs", "panels", "pictures", "write"]

_MIN_SCORE = 0.3


_SHOWN, _TYPICAL = 12, 4


_PARTS = ("boxes", "scores", "labels", "valid", "masks", "keypoints")


def inputs(flags: Flags, spec: dict) -> tuple[Any, list[str]]:
    """Read the images under `--input`, resized like the training images; `original_size` is that of their files.

    Returns:
      (source, paths of the images).
    """
    from dlcore.data.decoding import load_image, stretch_image
    from dlcore.data.image_folder import list_images
    from dlcore.data.resizing import ShortestEdge
    from dlcore.data.source import Source

    canvas = tuple(spec["image_shape"][:2])
    edge = ShortestEdge(*spec["resize"], canvas) if spec.get("resize") else None
    original_sizes: list[tuple[int, int]] = []

    def read(path: Path) -> np.ndarray:
        image = load_image(path)
        resized = stretch_image(image, canvas) if edge is None else edge.place(image)[0]
        original_sizes.append(image.shape[:2])
        return resized

    images, paths = read_all(list_images(Path(flags.input)), read, None)
    arrays = {"image": images, "original_size": np.array(original_sizes, np.int32)}
    if edge is not None:
        arrays["image_size"] = np.array([edge.size(*size) for size in original_sizes], np.int32)
    return Source(arrays, len(paths)), [str(p) for p in paths]


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Describe the detections of each image, best first, in pixels of its photograph.

    Args:
      outputs: outputs of `predict`, with `original_size: [B, 2]`, height and width of the photographs.

    Returns:
      {"image_size": [height, width], "detections", "text"}, one an image. A detection is {"class", "score", "box_xyxy":
      [x1, y1, x2, y2], "keypoints": {name: [x, y]}}, in pixels of the photograph, whose upper left corner is (0, 0);
      the text has one on a line.
    """
    rows = []
    for i, size in enumerate(np.asarray(outputs["original_size"]).tolist()):
        fields = _in_photograph(outputs, i, spec, size)
        detections = [
            {
                "class": spec["class_names"][int(label)],
                "score": round(float(score), 4),
                "box_xyxy": np.round(box.astype(float), 2).tolist(),
            }
            for box, score, label in zip(fields["boxes"], fields["scores"], fields["labels"], strict=True)
        ]
        if "keypoints" in fields:
            for detection, points in zip(detections, fields["keypoints"], strict=True):
                rounded = np.round(points.astype(float), 2).tolist()
                detection["keypoints"] = dict(zip(spec["keypoint_names"], rounded, strict=True))
        lines = [f"{d['class']} {d['score']:.2f}  ({', '.join(f'{v:.1f}' for v in d['box_xyxy'])})" for d in detections]
        count = f"{len(lines)} detections" if len(lines) > 1 else f"{len(lines) or 'no'} detection"
        text = "\n  ".join([f"{count} in {size[1]} x {size[0]} pixels", *lines])
        rows.append({"image_size": size, "detections": detections, "text": text})
    return rows


def _in_photograph(outputs: dict, i: int, spec: dict, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return the detections of image i, their boxes and keypoints [K, J, 2] in pixels of the photograph of `size`."""
    (height, width), resized = size, _image_size(outputs, i, spec)
    scale = np.array([width / resized[1], height / resized[0]])
    valid = np.asarray(outputs["valid"][i]) > 0
    fields = {name: np.asarray(outputs[name][i])[valid] for name in _PARTS if name in outputs}
    fields["boxes"] = np.clip(fields["boxes"] * np.tile(scale, 2), 0, [width, height, width, height])
    if "keypoints" in fields:
        fields["keypoints"] = fields["keypoints"][..., :2] * scale
    return fields


def write(folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
    """Write NAME_detections.png for each image, and detections.json in COCO's format with scores.

    Pictures, boxes, masks and keypoints have the size of the input file. The JSON has images, categories and
    annotations, like a ground-truth file; `dlcore.data.coco` can read it.

    Args:
      folder: output folder; created if it is missing.
      outputs: outputs of `predict`, one row per image.
      source: source of the images, of `inputs`.
      names: paths of the images.

    Returns:
      The files.
    """
    from PIL import Image

    from dlcore.data.decoding import load_image
    from dlcore.data.masks import masks_to_rles, pasted_masks
    from dlcore.report.detection import draw_outputs

    folder.mkdir(parents=True, exist_ok=True)
    categories: list[dict] = [{"id": i, "name": name} for i, name in enumerate(spec["class_names"], 1)]
    if spec.get("keypoint_names"):
        categories = [{**category, "keypoints": spec["keypoint_names"]} for category in categories]
    images, annotations, files = [], [], []
    for i, (name, stem) in enumerate(zip(names, unique_stems(names), strict=True)):
        image = load_image(name)
        height, width = image.shape[:2]
        fields = _in_photograph(outputs, i, spec, (height, width))
        images.append({"id": i + 1, "file_name": Path(name).name, "width": width, "height": height})
        for k, (x0, y0, x1, y1) in enumerate(fields["boxes"].astype(float).tolist()):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": i + 1,
                "category_id": int(fields["labels"][k]) + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
                "score": float(fields["scores"][k]),
            }
            if "masks" in fields:
                mask = pasted_masks(fields["masks"][k : k + 1], fields["boxes"][k : k + 1], (height, width))
                annotation |= {"segmentation": masks_to_rles(mask)[0], "area": float(mask.sum())}
            if "keypoints" in fields:
                # COCO counts from the center of the first pixel.
                points = np.clip(fields["keypoints"][k] - 0.5, 0, [width - 1, height - 1])
                annotation["keypoints"] = np.column_stack([points, np.full(len(points), 2)]).ravel().tolist()
                annotation["num_keypoints"] = len(points)
            annotations.append(annotation)
        picture, _ = draw_outputs(image, fields, spec["class_names"], _MIN_SCORE)
        files.append(folder / f"{stem}_detections.png")
        Image.fromarray(picture).save(files[-1])
    files.append(folder / "detections.json")
    content = {"images": images, "categories": categories, "annotations": annotations}
    files[-1].write_text(json.dumps(content) + "\n", encoding="utf-8")
    return files


def _image_size(outputs: dict, i: int, spec: dict) -> tuple[int, int]:
    """Return (height, width) of resized image i, without padding."""
    height, width = (
        np.asarray(outputs["image_size"][i]).tolist() if "image_size" in outputs else spec["image_shape"][:2]
    )
    return height, width


def panels(context: ReportContext) -> list[Panel]:
    """Draw the images with the most and with the median number of errors, AP by class, kinds of error, and curves."""
    from dlcore.metrics.detection_errors import KINDS, detection_errors
    from dlcore.report.curves import curves
    from dlcore.report.detection import detections, error_kinds, precision_recall
    from dlcore.report.tables import table
    from dlcore.report.triage import triage_panels

    names, test, numbers = context.spec["class_names"], context.data.test, context.numbers

    def percent(name: str) -> str:
        value = numbers.get(name)
        return "–" if value is None else f"{100 * value:.1f}"

    measures = {"mAP@[.5:.95]": "map", "AP@.5": "map50"}
    measures |= {"mask mAP": "mask_map", "mask AP@.5": "mask_map50", "keypoint mAP": "keypoint_map"}
    measures = {title: name for title, name in measures.items() if name.startswith("map") or name in numbers}
    rows = [
        {"class": name or "all"} | {title: percent(f"{measure}{suffix}") for title, measure in measures.items()}
        for name, suffix in [*((name, f"/{name}") for name in names), ("", "")]
    ]
    caption = "Over the test split, in %."
    if "mean_mask_map" in numbers:
        caption += f" With each class's mean mask in the detected boxes, the mask mAP is {percent('mean_mask_map')}."
    result_panels = [table(rows, "Average precision", caption)._replace(half=True)]
    if keypoints := context.spec.get("keypoint_names"):
        rows = [{"keypoint": name, "PCK@.1": percent(f"pck/{name}")} for name in keypoints]
        rows.append({"keypoint": "all", "PCK@.1": percent("pck")})
        caption = (
            "In %, of the labeled keypoints of all true boxes: within a tenth of the box's longer side. With each "
            f"class's mean keypoints in the detected boxes: {percent('mean_keypoint_pck')}."
        )
        result_panels.append(table(rows, "Correct keypoints", caption)._replace(half=True))
    result_panels.append(precision_recall(context.arrays["pr50"], names))
    if "mask_pr50" in context.arrays:
        result_panels.append(precision_recall(context.arrays["mask_pr50"], names, "Precision over recall of masks"))
    errors = detection_errors(context.outputs, test.arrays, len(names), _MIN_SCORE, by_image=True)
    caption_kinds = (
        f"Test detections with a score of at least {100 * _MIN_SCORE:.0f} %, by their class; missed boxes by their "
        "true one. Right: IoU of at least 0.5 with a true box of the class; poor box: 0.1 to 0.5; background: less."
    )
    history = [{k: v for k, v in row.items() if "/" not in k} for row in context.history if row]
    worst_first = np.argsort(-errors[:, :, 1:].sum((1, 2)), kind="stable")
    middle = max(0, (len(worst_first) - _TYPICAL) // 2)

    def detections_of(idx: np.ndarray, title: str):
        captions = [
            ", ".join(f"{n} {kind}" for kind, n in zip(KINDS[1:], errors[i, :, 1:].sum(0), strict=True) if n)
            for i in idx
        ]
        outputs = {name: np.asarray(values)[idx] for name, values in context.outputs.items()}
        targets = {name: test.arrays[name][idx] for name in ("boxes", "box_mask")}
        images = test.arrays["image"][idx]
        stretched = "original_size" in test.arrays and "image_size" not in test.arrays
        sizes = test.arrays["original_size"][idx] if stretched else None
        return detections(
            images, outputs, targets, names, min_score=_MIN_SCORE, title=title, captions=captions, sizes=sizes
        )

    typical = worst_first[max(middle, _SHOWN) : middle + _TYPICAL]
    return [
        detections_of(worst_first[:_SHOWN], "Detections with the most errors"),
        *([detections_of(typical, "Detections with the median number of errors")] if len(typical) else []),
        *result_panels,
        error_kinds(errors.sum(0), KINDS, names, caption_kinds),
        *triage_panels(history, floor=None),
        curves(history),
    ]


def pictures(context: ReportContext) -> dict[str, np.ndarray]:
    """Draw the detections in the first four test images, side by side, for TensorBoard."""
    from dlcore.report.detection import draw_outputs

    arrays, names, panels_of_images = context.data.test.arrays, context.spec["class_names"], []
    for i, image in enumerate(arrays["image"][:4]):
        outputs = {name: np.asarray(values[i]) for name, values in context.outputs.items()}
        target_boxes = arrays["boxes"][i][arrays["box_mask"][i]]
        panels_of_images.append(draw_outputs(image, outputs, names, _MIN_SCORE, target_boxes, 2)[0])
    return {"detections": np.concatenate(panels_of_images, 1)}


class DetectObjects:
    """Use of a detector: `--mode=predict --input=FILE_OR_FOLDER` draws boxes and writes them in COCO's format."""

    def inputs(self, path: str, run: Run) -> tuple[Any, list[str]]:
        """Read the images under a path, with their proposals."""
        source, paths = inputs(run.flags, run.spec)
        proposals = run.parts.data.proposals
        return source if proposals is None else proposals.add(source, run), paths

    def describe(self, outputs: Any, facts: Facts) -> list[dict]:
        """Describe the detections of each image."""
        return describe(outputs, facts.spec())

    def write(self, folder: Path, outputs: Any, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write pictures of the detections, and all of them as JSON."""
        return write(folder, outputs, source, names, facts.spec())
