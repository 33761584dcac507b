"""COCO's mean average precision of boxes, masks and keypoints, by pycocotools.

Lin et al. 2014, arXiv:1405.0312.

    AP  = mean over 101 recalls r of max {precision at recall >= r}
    mAP = mean of AP over classes and over thresholds 0.5, 0.55, ..., 0.95

The thresholds apply to the IoU of boxes or masks, or to the similarity of keypoints, the mean over the labeled ones of

    OKS = exp(-d^2 / (2 s^2 k^2))      d: distance, s^2: area of the true object, k: twice the keypoint's sigma

The area of a true object is that of its annotation (the object's, less than its box's), as in pycocotools. An object is
small (up to 32^2 pixels, or another limit for small images), medium or large (from 96^2). mAP of a size ignores objects
of other sizes, detections that match them, and unmatched detections of other sizes.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.coco_annotations import AREA_RATIOS, fits_box
from dlcore.data.masks import masks_to_rles, pasted_masks, unpack_masks
from dlcore.extras import require
from dlcore.learner import Evaluator
from dlcore.ops.checks import check_class_ids, check_finite, check_indices, check_keys, check_shapes, check_values

__all__ = ["CocoResult", "coco_evaluator", "coco_map", "coco_rows"]

SIGMA = 0.05
"""Sigma of keypoints other than the 17 of COCO's persons, which have 0.025 (eyes) to 0.107 (hips)."""


class CocoResult(NamedTuple):
    """Results of COCO's evaluation.

    Args:
      stats: the 12 numbers that COCO prints (10 for keypoints), -1 without data; 3 to 5 are mAP of small, medium and
        large objects, for keypoints 3 and 4 are medium and large.
      precision: [10 thresholds, 101 recalls, classes], -1 for a class that does not occur.
      recall: [10 thresholds, classes].
      precision_by_size: [3, 10 thresholds, 101 recalls, classes] of small, medium and large objects, -1 for a class
        without objects of the size; for keypoints [2, ...], medium and large.
    """

    stats: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    precision_by_size: np.ndarray


def coco_map(
    truth: np.ndarray,
    detections: np.ndarray,
    num_images: int,
    num_classes: int,
    masks: tuple[Sequence[Mapping], Sequence[Mapping]] | None = None,
    keypoints: tuple[np.ndarray, np.ndarray] | None = None,
    sigmas: Sequence[float] | None = None,
    areas: Sequence[float] | None = None,
    detected_areas: Sequence[float] | None = None,
    size_limits: tuple[float, float] = (32.0**2, 96.0**2),
) -> CocoResult:
    """Compute COCO's metrics of detections. Images and classes count from 0; boxes are corners in pixels.

    Args:
      truth: [G, 7], targets: rows of image, class, x0, y0, x1, y1, whether it is a crowd.
      detections: [D, 7], rows of image, class, x0, y0, x1, y1, score.
      num_images: number of images, with or without boxes.
      num_classes: number of classes.
      masks: run lengths of the G true and the D detected masks, which replace the boxes.
      keypoints: [G, K, 3] (x, y, visibility) and [D, K, 2 or 3], which replace the boxes if there are no masks.
      sigmas: [K], sigmas of the keypoints, with `keypoints` alone; None for COCO's if there are 17, else for 0.05.
      areas: [G], areas of the true objects in square pixels, for keypoints and for AP by size; None for those of the
        true masks if there are any, else of the boxes.
      detected_areas: [D], areas of the detected objects in square pixels; None for those of their masks or boxes.
      size_limits: areas in square pixels up to which an object is small, and from which it is large; COCO's suit images
        of about 640 x 480 pixels.

    Returns:
      The results over all areas, with up to 100 detections per image (20 for keypoints).

    Raises:
      MissingPackage: pycocotools is not installed.
      ValueError: shapes or lengths do not fit, a class or an image does not exist, a box, a score, an area, a detected
        or a labeled keypoint is not finite, a visibility is none of COCO's, a mask is no run lengths or of another
        size than the first of its image, a true box is flipped, an area contradicts its box or is negative, a crowd is
        neither 0 nor 1, or the limits of sizes do not increase.
    """
    require("pycocotools", what="COCO's mAP")
    from pycocotools.cocoeval import COCOeval

    kind = "keypoints" if keypoints is not None else "bbox" if masks is None else "segm"
    for name, number in (("num_images", num_images), ("num_classes", num_classes)):
        check_whole_number(name, number)
        if number < 1:
            raise ValueError(f"{name}={number}: nothing to measure; allowed: at least 1")
    if sigmas is not None and keypoints is None:
        raise ValueError("sigmas: of no use without keypoints; allowed: None, or keypoints too")
    if np.shape(size_limits) != (2,) or not 0 < size_limits[0] < size_limits[1] < np.inf:
        raise ValueError(f"size_limits={size_limits}: no limits; allowed: two finite areas, 0 < small < large")
    targets, detections = (np.asarray(rows, np.float64) for rows in (truth, detections))
    true_masks, found_masks = masks or (None, None)
    true_points, found_points = keypoints or (None, None)
    for name, rows, last, rles, points in (
        ("truth", targets, "crowd", true_masks, true_points),
        ("detections", detections, "score", found_masks, found_points),
    ):
        if rows.size and (rows.ndim != 2 or rows.shape[1] != 7):
            raise ValueError(
                f"{name}={list(rows.shape)}: wrong shape; allowed: [N, 7], rows of image, class, x0, y0, x1, y1, {last}"
            )
        for what, annotations in (("masks", rles), ("keypoints", points)):
            if annotations is not None and len(annotations) != len(rows):
                raise ValueError(
                    f"{what}: {len(annotations)} for {name}; allowed: {len(rows)}, one for each row of {name}"
                )
    targets, detections = targets.reshape(-1, 7), detections.reshape(-1, 7)
    if true_points is not None:
        _check_points(true_points, found_points, sigmas)
    sizes: dict[int, tuple] = {}
    for name, rows, rles in (("truth", targets, true_masks), ("detections", detections, found_masks)):
        if rles is not None:
            _check_run_lengths(name, rles, rows[:, 0].tolist(), sizes)
        check_class_ids(name, rows[:, 1], num_classes)
        check_indices(name, rows[:, 0], num_images, "images")
        check_finite(name, rows[:, 2:])
    _check_targets(targets, areas)
    real = _annotations(targets, true_masks, true_points)
    detected = _annotations(detections, found_masks, found_points)
    for name, values, objects, kind_of in (
        ("areas", areas, real, "true"),
        ("detected_areas", detected_areas, detected, "detected"),
    ):
        if values is not None:
            if len(values) != len(objects):
                raise ValueError(
                    f"{name}: {len(values)} numbers; allowed: {len(objects)}, one for each {kind_of} object"
                )
            check_finite(name, values)
            if np.min(values, initial=0) < 0:
                raise ValueError(f"{name}={np.min(values):g}: negative; allowed: areas of 0 or more square pixels")
            for annotation, area in zip(objects, values, strict=True):
                annotation["area"] = float(area)
    for annotation, crowd in zip(real, targets[:, 6], strict=True):
        annotation["iscrowd"] = int(crowd)
    for annotation, score in zip(detected, detections[:, 6], strict=True):
        annotation["score"] = float(score)
    with contextlib.redirect_stdout(io.StringIO()):
        sets = (_dataset(objects, num_images, num_classes) for objects in (real, detected))
        evaluation = COCOeval(*sets, kind)
        small, large = size_limits
        limits = {"all": [0, 1e10], "small": [0, small], "medium": [small, large], "large": [large, 1e10]}
        evaluation.params.areaRng = [limits[name] for name in evaluation.params.areaRngLbl]
        if kind == "keypoints":
            count = np.shape(true_points)[1]
            if sigmas is not None or count != len(evaluation.params.kpt_oks_sigmas):
                evaluation.params.kpt_oks_sigmas = np.array([SIGMA] * count if sigmas is None else sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # Index 0: all areas, 1 on: each size; -1: the largest number of detections per image.
    precision = evaluation.eval["precision"][..., -1]
    return CocoResult(
        np.asarray(evaluation.stats),
        precision[..., 0],
        evaluation.eval["recall"][:, :, 0, -1],
        np.moveaxis(precision[..., 1:], -1, 0),
    )


def _check_targets(targets: np.ndarray, areas: Sequence[float] | None) -> None:
    """Refuse true boxes and areas that match nothing, or everything."""
    check_indices("truth crowd", targets[:, 6], 2, "values")
    if (flipped := (targets[:, 2:4] > targets[:, 4:6]).any(-1)).any():
        row = int(flipped.argmax())
        raise ValueError(f"truth[{row}]={targets[row, 2:6].tolist()}: flipped; allowed: x0 <= x1 and y0 <= y1")
    if areas is None or len(areas) != len(targets):
        return
    areas, sides = np.asarray(areas, float), targets[:, 4:6] - targets[:, 2:4]
    contradicts = ~fits_box(areas, sides.prod(-1)) & (targets[:, 6] == 0)
    if contradicts.any():
        row = int(contradicts.argmax())
        low, high = (ratio * sides[row].prod() for ratio in AREA_RATIOS)
        raise ValueError(
            f"areas[{row}]={areas[row]:g}: contradicts its box of {sides[row, 0]:g} by {sides[row, 1]:g}; "
            f"allowed: {low:g} to {high:g} square pixels"
        )


def _check_points(targets: np.ndarray, detections: np.ndarray, sigmas: Sequence[float] | None) -> None:
    shape = np.shape(targets)
    if len(shape) != 3 or shape[2] != 3:
        raise ValueError(f"keypoints={list(shape)} of truth: wrong shape; allowed: [G, K, 3] (x, y, visibility)")
    detected_shape = np.shape(detections)
    if len(detected_shape) != 3 or detected_shape[1] != shape[1] or detected_shape[2] not in (2, 3):
        raise ValueError(
            f"keypoints={list(detected_shape)} of detections: wrong shape; allowed: [D, {shape[1]}, 2 or 3]"
        )
    check_values("keypoints of truth: visibility", np.asarray(targets)[..., 2], (0, 1, 2))
    check_finite("keypoints of detections", np.asarray(detections, np.float64)[..., :2])
    if sigmas is not None and (np.shape(sigmas) != (shape[1],) or not (np.asarray(sigmas) > 0).all()):
        raise ValueError(f"sigmas={sigmas}: no spreads of {shape[1]} keypoints; allowed: as many numbers above 0")


def _check_run_lengths(name: str, rles: Sequence[Mapping], images: list[float], sizes: dict[float, tuple]) -> None:
    """Refuse masks that are no compressed run lengths, or of another size than the first mask of their image."""
    for row, (rle, image) in enumerate(zip(rles, images, strict=True)):
        size = tuple(rle.get("size", ())) if isinstance(rle, Mapping) else ()
        if len(size) != 2 or not isinstance(rle.get("counts"), bytes | str):
            raise ValueError(
                f"masks[{row}] of {name}: no compressed run lengths; allowed: {{'size': (H, W), 'counts': bytes}}, "
                "such as dlcore.data.masks.masks_to_rles gives"
            )
        if size != sizes.setdefault(image, size):
            raise ValueError(
                f"masks[{row}] of {name}: of {size[0]}x{size[1]} pixels; allowed: "
                f"{sizes[image][0]}x{sizes[image][1]}, as another mask of image {image:g}"
            )


def _annotations(rows: np.ndarray, masks: Sequence[Mapping] | None, points: np.ndarray | None) -> list[dict]:
    from pycocotools import mask as tool

    annotations = [
        {
            "id": i,
            "image_id": int(image),
            "category_id": int(label),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
        }
        for i, (image, label, x0, y0, x1, y1, _) in enumerate(rows.tolist(), 1)
    ]
    if masks is not None:
        for annotation, rle in zip(annotations, masks, strict=True):
            annotation |= {"segmentation": rle, "area": float(tool.area(rle))}
    if points is not None:
        points = np.asarray(points, np.float64)
        labeled = points[..., 2] > 0 if points.shape[-1] == 3 else np.ones(points.shape[:-1], bool)
        check_finite("keypoints", points[labeled])
        for annotation, values in zip(annotations, points, strict=True):
            visibility = values[:, 2] if values.shape[1] == 3 else np.ones(len(values))
            # COCO's pixel coordinates have another origin; only distances matter.
            annotation["keypoints"] = np.column_stack([values[:, :2], visibility]).ravel().tolist()
            annotation["num_keypoints"] = int((visibility > 0).sum())
    return annotations


def _dataset(annotations: list[dict], num_images: int, num_classes: int) -> Any:
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        "info": {},
        # Sizes are those of polygons, and run lengths have their own.
        "images": [{"id": i, "height": None, "width": None} for i in range(num_images)],
        "categories": [{"id": i} for i in range(num_classes)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def coco_rows(
    outputs: Mapping[str, Any], rows: Mapping[str, Any], first_image: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Convert the targets and the detections of a batch to the rows that `coco_map` takes.

    Args:
      outputs: `boxes: [B, K, 4]` corners in pixels, `scores`, `labels` and `valid`: [B, K].
      rows: `boxes: [B, M, 4]`, `labels`, `box_mask` and, optionally, `crowd`: [B, M]; with `image_size` and
        `original_size`: [B, 2] all boxes are converted to the original images.
      first_image: index of the batch's first image.

    Returns:
      (targets [G, 7], detections [D, 7]), of the targets and crowds and of the valid detections.
    """
    check_keys("outputs", outputs, ("boxes", "scores", "labels", "valid"))
    check_keys("rows", rows, ("boxes", "labels", "box_mask"))
    check_shapes(outputs=(outputs["boxes"], "B K 4"), rows=(rows["boxes"], "B M 4"))
    check_shapes(first_image=(first_image, "int >= 0"))
    box_scale = np.tile(_original_scale(rows), 2)[:, None]
    crowd = rows.get("crowd", np.zeros_like(rows["box_mask"], bool))
    targets = _rows(rows["boxes"] * box_scale, rows["labels"], crowd, _scored(rows), first_image)
    valid = np.asarray(outputs["valid"]) > 0
    return targets, _rows(outputs["boxes"] * box_scale, outputs["labels"], outputs["scores"], valid, first_image)


def coco_evaluator(
    class_names: Sequence[str],
    source: Any = None,
    masks: bool = False,
    keypoints: bool = False,
    sigmas: Sequence[float] | None = None,
) -> Evaluator:
    """Build the evaluator of mAP; `predict` returns `boxes: [B, K, 4]`, `scores`, `labels` and `valid`: [B, K].

    The targets are the rows' `boxes: [B, M, 4]`, `labels`, `box_mask` and, optionally, `crowd` and `area`: [B, M].
    Metrics: map (over thresholds 0.5 to 0.95), map50, map75, map_small, map_medium and map_large (by the area in the
    rows' images, resized or not; if the rows have `image_size` and `original_size`: [B, 2], boxes, areas and keypoints
    are converted to the original images), recall100, and map50/NAME and map/NAME of each class that occurs; None
    without data. The array `pr50: [101, C]` is precision over recall at IoU 0.5, -1 for a class that does not occur.
    Masks add mask_map, ... and mask_pr50; keypoints add keypoint_map, ..., but no keypoint_map_small, as in COCO.

    Args:
      class_names: names of labels 0, 1, ...
      source: source to measure; None measures the split.
      masks: evaluate masks too: `predict` returns `masks: [B, K, M, M]` in box coordinates; the rows have `masks:
        [B, M, H, ceil(W / 8)]`, bits packed along the width, and `image`.
      keypoints: evaluate keypoints too: `predict` returns `keypoints: [B, K, J, 2 or 3]`; the rows have `keypoints:
        [B, M, J, 3]`.
      sigmas: [J], sigmas of the keypoints, see `coco_map`.

    Returns:
      The evaluator.

    Raises:
      MissingPackage: pycocotools is not installed.
      ValueError: a sigma is not above 0, or there are no keypoints to use them; when used: see `coco_map`.
    """
    if sigmas is not None and not keypoints:
        raise ValueError("sigmas: of no use without keypoints; allowed: None, or keypoints too")
    check_shapes(sigmas=(sigmas, "... > 0 or None"))
    require("pycocotools", what="COCO's mAP")
    names = list(class_names)

    def add(acc, outputs, rows):
        parts = ("real", "found", "areas", "found_areas", "real_masks", "found_masks", "points")
        acc = acc or {"count": 0} | {part: [] for part in parts}
        outputs = {name: np.asarray(value) for name, value in outputs.items()}
        real, valid, scale = _scored(rows), outputs["valid"] > 0, _original_scale(rows)
        targets, detections = coco_rows(outputs, rows, acc["count"])
        acc["real"].append(targets)
        acc["found"].append(detections)
        if "area" in rows:
            acc["areas"].append((np.asarray(rows["area"]) * scale.prod(-1, keepdims=True))[real])
        if masks:
            size = rows["image"].shape[1:3]
            for i in range(len(real)):
                boxes = np.where(valid[i][:, None], outputs["boxes"][i], 0)  # padding may hold anything
                pasted = pasted_masks(outputs["masks"][i], boxes, size)
                acc["found_masks"] += masks_to_rles(pasted[valid[i]])
                acc["found_areas"].append(pasted[valid[i]].sum((1, 2)) * scale[i].prod())
                acc["real_masks"] += masks_to_rles(unpack_masks(np.asarray(rows["masks"][i])[real[i]], size[1]))
        if keypoints:
            true_points, points = (
                values * np.append(scale, np.ones((len(scale), values.shape[-1] - 2)), -1)[:, None, None]
                for values in (np.asarray(rows["keypoints"]), outputs["keypoints"])
            )
            acc["points"].append((true_points[real], points[valid]))
        acc["count"] += len(real)
        return acc

    def finish(acc):
        targets, detections = np.concatenate(acc["real"]), np.concatenate(acc["found"])
        areas = np.concatenate(acc["areas"]) if acc["areas"] else None
        measured = partial(coco_map, targets, detections, acc["count"], len(names), sigmas=sigmas, areas=areas)
        result = measured()
        numbers = _numbers(result, names, "map") | {
            "recall100": _fraction(result.stats[8]),
            "pr50": result.precision[0],
        }
        mask_pairs = (acc["real_masks"], acc["found_masks"]) if masks else None
        if masks:
            result = measured(masks=mask_pairs, detected_areas=np.concatenate(acc["found_areas"]))
            numbers |= _numbers(result, names, "mask_map") | {"mask_pr50": result.precision[0]}
        if keypoints:
            points = tuple(np.concatenate(part) for part in zip(*acc["points"], strict=True))
            detected_areas = np.concatenate(acc["found_areas"]) if masks else None
            result = measured(masks=mask_pairs, keypoints=points, detected_areas=detected_areas)
            numbers |= _numbers(result, names, "keypoint_map")
        return numbers

    measures = ["map", *(["mask_map"] if masks else []), *(["keypoint_map"] if keypoints else [])]
    metric_names = [f"{measure}{suffix}" for measure in measures for suffix in _summary(measure)]
    of_classes = [f"{measure}{suffix}/{name}" for measure in measures for suffix in ("", "50") for name in names]
    return Evaluator(add, finish, source, (*metric_names, "recall100", *of_classes))


def _summary(measure: str) -> tuple[str, ...]:
    """Return the suffixes of COCO's first numbers; there are no small keypoints."""
    return ("", "50", "75", *(() if measure == "keypoint_map" else ("_small",)), "_medium", "_large")


def _numbers(result: CocoResult, names: Sequence[str], measure: str) -> dict[str, float | None]:
    numbers = {f"{measure}{suffix}": _fraction(result.stats[i]) for i, suffix in enumerate(_summary(measure))}
    for i, name in enumerate(names):
        if (result.precision[:, :, i] > -1).any():
            numbers[f"{measure}/{name}"] = float(result.precision[:, :, i].mean())
            numbers[f"{measure}50/{name}"] = float(result.precision[0, :, i].mean())
    return numbers


def _scored(rows: Mapping[str, Any]) -> np.ndarray:
    """Return the mask of true boxes and crowds, [B, M] bool."""
    real = np.asarray(rows["box_mask"]) > 0
    return real | (np.asarray(rows["crowd"]) > 0) if "crowd" in rows else real


def _original_scale(rows: Mapping[str, Any]) -> np.ndarray:
    """Return the scale of (x, y) from the rows' images to the original images, [B, 2]; 1 if unknown."""
    if "image_size" not in rows or "original_size" not in rows:
        return np.ones((len(rows["box_mask"]), 2), np.float32)
    return (np.asarray(rows["original_size"]) / np.asarray(rows["image_size"]))[:, ::-1]


def _rows(boxes: Any, labels: Any, last: Any, scored: Any, first: int) -> np.ndarray:
    """Return rows of image, class, corners and a last number for the valid boxes."""
    image, slot = np.nonzero(np.asarray(scored))
    columns = (image + first, np.asarray(labels)[image, slot], *np.asarray(boxes)[image, slot].T)
    return np.stack([*columns, np.asarray(last)[image, slot]], -1).astype(np.float64)


def _fraction(value: float) -> float | None:
    return None if value < 0 else float(value)
