"""COCO's mean average precision of boxes, masks and keypoints, by pycocotools.

Lin et al. 2014, arXiv:1405.0312.

    AP  = mean over 101 recalls r of max {precision at recall >= r}
    mAP = mean of AP over classes and over thresholds 0.5, 0.55, ..., 0.95

The thresholds are of the IoU of boxes or masks, or of the similarity of keypoints, the mean over the labeled ones of

    OKS = exp(-d^2 / (2 s^2 k^2))      d: distance, s^2: area of the true object, k: twice the keypoint's sigma

The area of a true object is that of its annotation (the object's, less than its box's), as in pycocotools. By it an
object is small (up to 32^2 pixels), medium or large (from 96^2). mAP of a size ignores the objects of other sizes, the
detections that match them, and detections of other sizes that match nothing: they are neither right nor wrong.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dlcore.data.masks import masks_to_rles, unpack_masks
from dlcore.extras import require
from dlcore.learner import Evaluator
from dlcore.ops.checks import check_class_ids, check_finite, check_indices

__all__ = ["CocoResult", "coco_evaluator", "coco_map", "pasted_masks"]

SIGMA = 0.05
"""Of keypoints that are not the 17 of COCO's persons; COCO's are between 0.025 (eyes) and 0.107 (hips)."""


class CocoResult(NamedTuple):
    """What COCO's evaluation measures.

    Args:
      stats: the 12 numbers that COCO prints, of keypoints 10, -1 where there is nothing to measure; 3 to 5 are mAP of
        small, medium and large objects, of keypoints 3 and 4 of medium and large ones.
      precision: [10 thresholds, 101 recalls, classes], -1 for a class that does not occur.
      recall: [10 thresholds, classes].
    """

    stats: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


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
) -> CocoResult:
    """Measure detections against the truth. Images and classes count from 0; boxes are corners in pixels.

    Args:
      truth: [G, 7], rows of image, class, x0, y0, x1, y1, whether it is a crowd.
      detections: [D, 7], rows of image, class, x0, y0, x1, y1, score.
      num_images: number of images, with or without boxes.
      num_classes: number of classes.
      masks: run lengths of the G true and the D detected masks, which are measured in place of the boxes.
      keypoints: [G, K, 3] (x, y, visibility) and [D, K, 2 or 3], which are measured in place of the boxes, where no
        masks are given.
      sigmas: [K], the keypoints' spreads; None for COCO's where there are 17, and for 0.05 elsewhere.
      areas: [G] square pixels of the true objects, for keypoints and for AP by size; None for those of the true masks
        where some are given, and of the boxes elsewhere.
      detected_areas: [D] square pixels of the detected objects; None for those of their masks or boxes.

    Returns:
      The numbers over all areas, with up to 100 detections an image, of keypoints up to 20.

    Raises:
      MissingPackage: pycocotools is not installed.
      ValueError: shapes or lengths do not fit, a class or an image does not exist, or a box, a score, an area or a
        labeled keypoint is not finite.
    """
    require("pycocotools", what="COCO's mAP")
    from pycocotools.cocoeval import COCOeval

    kind = "keypoints" if keypoints is not None else "bbox" if masks is None else "segm"
    for name, number in (("num_images", num_images), ("num_classes", num_classes)):
        if number < 1:
            raise ValueError(f"{name}={number}: nothing to measure; allowed: at least 1")
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
    for name, rows in (("truth", targets), ("detections", detections)):
        check_class_ids(name, rows[:, 1], num_classes)
        check_indices(name, rows[:, 0], num_images, "images")
        check_finite(name, rows[:, 2:])
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
            for annotation, area in zip(objects, values, strict=True):
                annotation["area"] = float(area)
    for annotation, crowd in zip(real, targets[:, 6], strict=True):
        annotation["iscrowd"] = int(crowd)
    for annotation, score in zip(detected, detections[:, 6], strict=True):
        annotation["score"] = float(score)
    with contextlib.redirect_stdout(io.StringIO()):
        sets = (_dataset(objects, num_images, num_classes, masks) for objects in (real, detected))
        evaluation = COCOeval(*sets, kind)
        if kind == "keypoints":
            count = np.shape(true_points)[1]
            if sigmas is not None or count != len(evaluation.params.kpt_oks_sigmas):
                evaluation.params.kpt_oks_sigmas = np.array([SIGMA] * count if sigmas is None else sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # All areas, the most detections an image.
    return CocoResult(
        np.asarray(evaluation.stats),
        evaluation.eval["precision"][:, :, :, 0, -1],
        evaluation.eval["recall"][:, :, 0, -1],
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
    if sigmas is not None and (np.shape(sigmas) != (shape[1],) or not (np.asarray(sigmas) > 0).all()):
        raise ValueError(f"sigmas={sigmas}: no spreads of {shape[1]} keypoints; allowed: as many numbers above 0")


def _annotations(rows: np.ndarray, masks: Sequence[Mapping] | None, points: np.ndarray | None) -> list[dict]:
    from pycocotools import mask as tool

    annotations = [
        {
            "id": i,
            "image_id": int(image),
            "category_id": int(label),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": 0,
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
            # COCO measures between the numbers of pixels; only distances count.
            annotation["keypoints"] = np.column_stack([values[:, :2], visibility]).ravel().tolist()
            annotation["num_keypoints"] = int((visibility > 0).sum())
    return annotations


def _dataset(annotations: list[dict], num_images: int, num_classes: int, masks: Any) -> Any:
    from pycocotools.coco import COCO

    size = [0, 0] if not masks or not len(masks[0]) + len(masks[1]) else [*masks[0], *masks[1]][0]["size"]
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": i, "height": size[0], "width": size[1]} for i in range(num_images)],
        "categories": [{"id": i} for i in range(num_classes)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def pasted_masks(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int], threshold: float = 0.5) -> np.ndarray:
    """Lay the predicted masks of one image on it, exactly in their boxes (not in torchvision's whole pixels).

    Args:
      masks: [K, M, M], probabilities in the frames of the boxes.
      boxes: [K, 4] corners in pixels.
      size: (H, W) of the image.
      threshold: pixels of a higher probability belong to the object.

    Returns:
      [K, H, W] bool.
    """
    import jax

    from dlcore.ops.mask_paste import paste_masks

    paste = jax.jit(paste_masks, static_argnums=(2, 3))
    # A few at a time of a large image, whose probabilities would not fit, and the same number each time.
    count, step = len(masks), max(1, min(len(masks), 2**25 // (size[0] * size[1])))
    masks, boxes = (np.pad(x, [(0, -count % step)] + [(0, 0)] * (x.ndim - 1)) for x in map(np.asarray, (masks, boxes)))
    pasted = np.zeros((len(masks), *size), bool)
    for i in range(0, count, step):
        pasted[i : i + step] = np.asarray(paste(masks[i : i + step], boxes[i : i + step], size, False)) > threshold
    return pasted[:count]


def coco_evaluator(
    class_names: Sequence[str],
    source: Any = None,
    masks: bool = False,
    keypoints: bool = False,
    sigmas: Sequence[float] | None = None,
) -> Evaluator:
    """Measure mAP of a learner whose predict gives `boxes: [B, K, 4]`, `scores`, `labels` and `valid`: [B, K].

    The truth is read from the rows' `boxes: [B, M, 4]`, `labels`, `box_mask` and, where they are there, `crowd` and
    `area`: [B, M]. Numbers: map (over thresholds 0.5 to 0.95), map50, map75, map_small, map_medium and map_large (by
    the area in the images that the rows hold, resized or not; where the rows have `image_size` and `original_size`:
    [B, 2], boxes, areas and keypoints are measured in the original images), recall100, and map50/NAME and map/NAME of
    each class that occurs; None where there is nothing to measure. The array `pr50: [101, C]` is precision over recall
    at IoU 0.5, -1 for a class that does not occur. With masks, the same follow as mask_map, ... and mask_pr50; with
    keypoints as keypoint_map, ..., without keypoint_map_small, which COCO does not measure.

    Args:
      class_names: names of labels 0, 1, ...
      source: source to measure; None measures the split.
      masks: measure masks too: of predict `masks: [B, K, M, M]` in the frame of the boxes; of the rows `masks:
        [B, M, H, ceil(W / 8)]`, bits packed along the width, and `image`.
      keypoints: measure keypoints too: of predict `keypoints: [B, K, J, 2 or 3]`; of the rows `keypoints:
        [B, M, J, 3]`.
      sigmas: [J], as `coco_map`.

    Returns:
      The evaluator.

    Raises:
      MissingPackage: pycocotools is not installed.
    """
    require("pycocotools", what="COCO's mAP")
    names = list(class_names)

    def add(acc, outputs, rows):
        parts = ("real", "found", "areas", "found_areas", "real_masks", "found_masks", "points")
        acc = acc or {"count": 0} | {part: [] for part in parts}
        outputs = {name: np.asarray(value) for name, value in outputs.items()}
        real, valid = _scored(rows), outputs["valid"] > 0
        crowd = np.asarray(rows.get("crowd", np.zeros_like(rows["box_mask"], bool)))
        scale = _original_scale(rows)
        box_scale = np.tile(scale, 2)[:, None]
        acc["real"].append(_rows(rows["boxes"] * box_scale, rows["labels"], crowd, real, acc["count"]))
        if "area" in rows:
            acc["areas"].append((np.asarray(rows["area"]) * scale.prod(-1, keepdims=True))[real])
        boxes = outputs["boxes"] * box_scale
        acc["found"].append(_rows(boxes, outputs["labels"], outputs["scores"], valid, acc["count"]))
        if masks:
            size = rows["image"].shape[1:3]
            for i in range(len(real)):
                pasted = pasted_masks(outputs["masks"][i], outputs["boxes"][i], size)
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
        numbers = _numbers(result, names, "map") | {"recall100": _share(result.stats[8]), "pr50": result.precision[0]}
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
    """Endings of the first numbers that COCO prints; it has no small keypoints."""
    return ("", "50", "75", *(() if measure == "keypoint_map" else ("_small",)), "_medium", "_large")


def _numbers(result: CocoResult, names: Sequence[str], measure: str) -> dict[str, float | None]:
    numbers = {f"{measure}{suffix}": _share(result.stats[i]) for i, suffix in enumerate(_summary(measure))}
    for i, name in enumerate(names):
        if (result.precision[:, :, i] > -1).any():
            numbers[f"{measure}/{name}"] = float(result.precision[:, :, i].mean())
            numbers[f"{measure}50/{name}"] = float(result.precision[0, :, i].mean())
    return numbers


def _scored(rows: Mapping[str, Any]) -> np.ndarray:
    """[B, M] bool: true boxes and crowds."""
    real = np.asarray(rows["box_mask"]) > 0
    return real | (np.asarray(rows["crowd"]) > 0) if "crowd" in rows else real


def _original_scale(rows: Mapping[str, Any]) -> np.ndarray:
    """[B, 2], by how much (x, y) of the rows' images become those of the original images; 1 where rows do not say."""
    if "image_size" not in rows or "original_size" not in rows:
        return np.ones((len(rows["box_mask"]), 2), np.float32)
    return (np.asarray(rows["original_size"]) / np.asarray(rows["image_size"]))[:, ::-1]


def _rows(boxes: Any, labels: Any, last: Any, scored: Any, first: int) -> np.ndarray:
    """Image, class, corners and one more number of the boxes that count."""
    image, slot = np.nonzero(np.asarray(scored))
    columns = (image + first, np.asarray(labels)[image, slot], *np.asarray(boxes)[image, slot].T)
    return np.stack([*columns, np.asarray(last)[image, slot]], -1).astype(np.float64)


def _share(value: float) -> float | None:
    return None if value < 0 else float(value)
