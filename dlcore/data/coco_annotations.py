"""Check and read the fields of one annotation in COCO's format: box, area, mask and keypoints.

`dlcore.data.coco` reads files of them. Whatever is no number, lies outside its image or contradicts another field is an
error or gets a note of the file.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.masks import segmentation_to_mask

__all__ = [
    "AREA_RATIOS",
    "annotation_errors",
    "box_corners",
    "fits_box",
    "is_ignored",
    "is_int",
    "keypoint_names",
    "keypoint_order",
    "list_ids",
    "object_area",
    "object_keypoints",
    "object_mask",
    "points_leave_box",
    "repeat_positions",
    "segmentation_misses_box",
]

AREA_RATIOS = (1 / 200, 2.0)
"""Least and largest area of an object over the area of its box; of others, one of the two must be wrong."""


def fits_box(area: Any, box_area: Any) -> np.ndarray:
    """Compare areas of objects with those of their boxes.

    Args:
      area: [...], areas in square pixels.
      box_area: [...], areas of the boxes.

    Returns:
      [...] bool, whether the ratio lies within `AREA_RATIOS`.
    """
    area, box_area = np.asarray(area, float), np.asarray(box_area, float)
    return (area >= AREA_RATIOS[0] * box_area) & (area <= AREA_RATIOS[1] * box_area)


def is_ignored(annotation: Mapping[str, Any]) -> bool:
    """Return whether an object is neither trained on nor counted: a group (`iscrowd`), or marked `ignore`.

    Args:
      annotation: one annotation.

    Returns:
      Whether it is.
    """
    for key in ("iscrowd", "ignore"):
        if annotation.get(key, 0) not in (0, 1):
            raise ValueError(f"{key}={annotation[key]!r}: unknown; allowed: 0, 1")
    return bool(annotation.get("iscrowd", 0) or annotation.get("ignore", 0))


def repeat_positions(annotations: Sequence[Any]) -> list[int]:
    """Find annotations that repeat an earlier one in all fields but their id.

    Args:
      annotations: annotations of a file.

    Returns:
      Their positions.
    """
    first: set[Any] = set()
    positions = []
    for position, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            continue
        key = _hashable({name: value for name, value in annotation.items() if name != "id"})
        if key in first:
            positions.append(position)
        first.add(key)
    return positions


def _hashable(value: Any) -> Any:
    """A JSON value as nested tuples, in which 4 equals 4.0."""
    if isinstance(value, dict):
        return frozenset((name, _hashable(item)) for name, item in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def keypoint_names(categories: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of the keypoints, the same for all categories that have any.

    Args:
      categories: categories of a file.

    Returns:
      The names; empty if no category has any.
    """
    for c in categories:
        names = c.get("keypoints") or []
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"category {c['name']!r}: keypoints={names!r}; allowed: a list of names")
        if twice := [name for i, name in enumerate(names) if name in names[:i]]:
            raise ValueError(f"category {c['name']!r}: keypoint {twice[0]!r} stands there twice; allowed: once")
    skeletons = {tuple(c["keypoints"]): c["name"] for c in categories if c.get("keypoints")}
    if len(skeletons) > 1:
        one, other = list(skeletons.values())[:2]
        raise ValueError(f"categories {one!r} and {other!r}: they have different keypoints; allowed: the same for all")
    return next(iter(skeletons), ())


def keypoint_order(file_names: Sequence[str], names: Sequence[str]) -> list[int]:
    """Match the keypoints of a file to those of the training data by name.

    Args:
      file_names: names of the file, in its order; empty where its categories have none.
      names: names of the training data.

    Returns:
      For each of `names`, its position in the file.
    """
    if sorted(file_names) != sorted(names):
        raise ValueError(f"keypoints {', '.join(file_names) or 'without names'}; allowed: {', '.join(names)}, as train")
    return [list(file_names).index(name) for name in names]


def box_corners(bbox: Any, image: Mapping[str, Any]) -> np.ndarray:
    """Read a box.

    Args:
      bbox: [x, y, width, height] in pixels.
      image: entry of its image.

    Returns:
      [4], the corners, clipped to the image; the area is 0 where the box's is.
    """
    try:
        x, y, w, h = _numbers(bbox)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"bbox={bbox}: not a box; allowed: [x, y, width, height] in pixels") from None
    if not np.isfinite([x, y, w, h]).all():
        raise ValueError(f"bbox={bbox}: not finite; allowed: numbers")
    if w < 0 or h < 0:
        raise ValueError(f"bbox={bbox}: a negative side; allowed: [x, y, width, height], and x2 >= x1, y2 >= y1")
    width, height = image["width"], image["height"]
    if min(x, y) < -1 or x + w > width + 1 or y + h > height + 1:
        raise ValueError(f"bbox={bbox}: outside image {image['file_name']}; allowed: within {width} by {height} pixels")
    return np.clip([x, y, x + w, y + h], 0, [width, height, width, height])


def object_area(annotation: Mapping[str, Any], box: np.ndarray) -> tuple[float, bool]:
    """Return the area of an object.

    Args:
      annotation: its annotation.
      box: [4], corners of its box in pixels of the file.

    Returns:
      (its `area` in square pixels of the file, or the area of its box where there is none or the two contradict each
      other, see `AREA_RATIOS`; whether they do).
    """
    box_area = float((box[2:] - box[:2]).prod())
    if annotation.get("area") is None:
        return box_area, False
    area = annotation["area"]
    if isinstance(area, bool) or not isinstance(area, (int, float)) or not 0 <= area < np.inf:
        raise ValueError(f"area={area!r}: not an area; allowed: 0 or more square pixels, or no area")
    is_false = not is_ignored(annotation) and not fits_box(area, box_area)
    return (box_area if is_false else float(area)), is_false


def object_mask(annotation: Mapping[str, Any], image: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Return the mask of an annotation, resized with its image.

    Args:
      annotation: annotation with `segmentation`.
      image: entry of its image.
      size: (H, W) of the resized image.

    Returns:
      [H, W] bool, true where at least half is covered.
    """
    from PIL import Image

    if not annotation.get("segmentation"):
        raise ValueError("it has no segmentation; allowed: run lengths or polygons, or to read boxes only")
    mask = segmentation_to_mask(annotation["segmentation"], (image["height"], image["width"]))
    if mask.shape == size:
        return mask
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR)) > 127


def segmentation_misses_box(annotation: Mapping[str, Any], box: np.ndarray) -> bool:
    """Return whether the polygons of an object lie wholly beside its box.

    Args:
      annotation: its annotation; run lengths are not decoded.
      box: [4], corners of its box in pixels of the file.

    Returns:
      Whether they do.
    """
    polygons = annotation.get("segmentation")
    if not isinstance(polygons, list | tuple) or not polygons:
        return False
    try:
        points = np.concatenate([np.asarray(_numbers(polygon)).reshape(-1, 2) for polygon in polygons])
    except (TypeError, ValueError, OverflowError):
        return False  # `object_mask` says what is wrong with them, where masks are read
    return bool((points.min(0) >= box[2:]).any() or (points.max(0) <= box[:2]).any())


def object_keypoints(
    values: Sequence[float], names: Sequence[str], image: Mapping[str, Any], order: Sequence[int] | None = None
) -> np.ndarray:
    """Read keypoints.

    Args:
      values: x, y and visibility of each, in pixels of the file.
      names: names of the K keypoints.
      image: entry of their image.
      order: for each of `names`, its position among the values; None for their own order.

    Returns:
      [K, 3] (x, y, visibility) in pixels of the file, the center of the first pixel at 0.5; zeros where one is not
      labeled.
    """
    try:
        values = _numbers(values)
    except (TypeError, ValueError):
        raise ValueError(
            f"keypoints={values!r}: not a list of numbers; allowed: x, y, visibility of each name"
        ) from None
    if len(values) != 3 * len(names):
        raise ValueError(f"keypoints: {len(values)} numbers; allowed: {3 * len(names)}, three for each name")
    points = np.array(values, float).reshape(-1, 3)[list(range(len(names)) if order is None else order)]
    labeled = points[:, 2] > 0
    if not np.isfinite(points).all():
        raise ValueError("keypoints: not finite; allowed: numbers")
    if (invalid := points[~np.isin(points[:, 2], (0, 1, 2)), 2]).size:
        raise ValueError(f"keypoints: visibility {invalid[0]:g}; allowed: 0 (not labeled), 1 (hidden), 2 (visible)")
    outside = ((points[:, :2] < -1) | (points[:, :2] > [image["width"], image["height"]])).any(-1) & labeled
    if outside.any():
        raise ValueError(f"keypoint {names[int(outside.argmax())]!r}: outside {image['file_name']}; allowed: inside")
    points[:, :2] += 0.5
    return np.where(labeled[:, None], points, 0)


def points_leave_box(points: np.ndarray, box: np.ndarray) -> bool:
    """Return whether a visible keypoint lies more than a pixel outside of the object's box.

    Args:
      points: [K, 3] (x, y, visibility); hidden ones (1) may lie outside, as a box holds what is visible.
      box: [4], corners in the same pixels.

    Returns:
      Whether one does.
    """
    outside = (points[:, :2] < box[:2] - 1) | (points[:, :2] > box[2:] + 1)
    return bool((outside.any(-1) & (points[:, 2] == 2)).any())


@contextlib.contextmanager
def annotation_errors(path: Path, annotation: Mapping[str, Any]) -> Iterator[None]:
    """Add the file and the annotation to the message of an error.

    Args:
      path: file.
      annotation: annotation that is read.

    Returns:
      The context.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"{path}: annotation {annotation['id']}: {error}") from None


def list_ids(ids: Sequence[Any], most: int = 5) -> str:
    """Name annotations in a note.

    Args:
      ids: their ids.
      most: largest number to name.

    Returns:
      The text, "annotations 3, 4 and others".
    """
    first = ", ".join(map(str, ids[:most]))
    return f"annotation{'s' if len(ids) > 1 else ''} {first}" + (" and others" if len(ids) > most else "")


def is_int(value: Any) -> bool:
    """Return whether a value of a JSON file is an integer, which a bool is not.

    Args:
      value: value.

    Returns:
      Whether it is.
    """
    return isinstance(value, int) and not isinstance(value, bool)


def _numbers(values: Any) -> list[float]:
    """Return a JSON list of numbers as floats; TypeError where it is anything else."""
    if not isinstance(values, list | tuple) or any(isinstance(v, bool | str) for v in values):
        raise TypeError("not a list of numbers")
    return [float(v) for v in values]
