"""Read data in COCO's format (a JSON of boxes, masks and keypoints, and images in a folder or zip) into arrays.

The JSON is checked before an image is read. Images are decoded by `decode_image`, rotated as their EXIF orientation
says, and must then have the width and height that the JSON states. Boxes, masks and keypoints are resized with them.
"""

import dataclasses
import io
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.choices import check_path, check_whole_number
from dlcore.data.coco_annotations import (
    annotation_errors,
    box_corners,
    is_ignored,
    is_int,
    keypoint_names,
    keypoint_order,
    list_ids,
    object_area,
    object_keypoints,
    object_mask,
    points_leave_box,
    repeat_positions,
    segmentation_misses_box,
)
from dlcore.data.decoding import decode_image, stretch_image
from dlcore.data.folders import open_zip
from dlcore.data.image_headers import target_size
from dlcore.data.image_pixels import open_image, orientation
from dlcore.data.masks import pack_masks
from dlcore.data.resizing import ShortestEdge
from dlcore.data.source import Source
from dlcore.data.split_names import allowed_names, check_one_name, split_of
from dlcore.data.workers import unreadable
from dlcore.json_content import parse_json

__all__ = ["coco_source", "coco_splits"]

LAYOUT = "instances_train.json in COCO's format, and images/ or images.zip"


def coco_splits(
    data_dir: str | Path,
    image_size: int | tuple[int, int] | ShortestEdge,
    max_boxes: int = 100,
    masks: bool = False,
    keypoints: bool = False,
) -> dict[str, Source]:
    """Load the splits of a folder of COCO data; see `coco_source`.

    The categories of train give the labels of all splits their numbers.

    Args:
      data_dir: folder with instances_train.json and, optionally, instances_val.json and instances_test.json (or other
        names of `split_names`), and with the images in images.zip, images/ or its only zip. With `keypoints`,
        person_keypoints_train.json, ... are preferred.
      image_size: size of the images, see `coco_source`.
      max_boxes: largest number of boxes of an image, M.
      masks: also read masks.
      keypoints: also read keypoints.

    Returns:
      Split -> source: train, and those of valid and test that have annotations.

    Raises:
      FileNotFoundError: the folder, its training annotations or its images are missing.
    """
    check_path("data_dir", data_dir)
    check_whole_number("max_boxes", max_boxes, 1)
    folder = Path(data_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: no such folder")
    zips = sorted(folder.glob("*.zip"))
    candidates = (folder / "images.zip", folder / "images", *(zips if len(zips) == 1 else ()))
    images = next((p for p in candidates if p.exists()), None)
    if images is None:
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: holds neither images.zip nor images/; allowed: {LAYOUT}")
    annotations, messages = _annotation_files(folder, keypoints)
    categories = _read(annotations["train"])["categories"]
    sources = {
        split: coco_source(
            path, images, image_size, max_boxes, None if split == "train" else categories, masks, keypoints
        )
        for split, path in annotations.items()
    }
    sources["train"] = dataclasses.replace(sources["train"], notes=(*messages, *sources["train"].notes))
    return {split: _with_objects(source, split, annotations[split]) for split, source in sources.items()}


def _annotation_files(folder: Path, keypoints: bool) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return {split: file of annotations}, preferring files with keypoints, and messages on files of no split."""
    file_of_split, unused = {}, []
    for kind in ("person_keypoints", "instances") if keypoints else ("instances",):
        files = {path.stem.removeprefix(f"{kind}_"): path for path in sorted(folder.glob(f"{kind}_*.json"))}
        check_one_name((name for name in files if split_of(name)), f"{folder}/{kind}_*.json")
        for name, path in files.items():
            if (split := split_of(name)) is None:
                unused.append(path.name)
            else:
                file_of_split.setdefault(split, path)
    if "train" not in file_of_split:
        there = (
            f" but {', '.join(unused)}; allowed names of splits: {allowed_names()}"
            if unused
            else f"; allowed: {LAYOUT}"
        )
        raise FileNotFoundError(f"data_dir={str(folder)!r}: holds no instances_train.json{there}")
    messages = (f"{folder.name}: not read, as their names name no split ({allowed_names()}): {', '.join(unused)}",)
    return {
        split: file_of_split[split] for split in ("train", "valid", "test") if split in file_of_split
    }, messages if unused else ()


def _with_objects(source: Source, split: str, path: Path) -> Source:
    """Return the source, with notes on what it lacks; train without a box (or keypoint) to learn from is an error."""
    boxes, crowds = int(source.arrays["box_mask"].sum()), int(source.arrays["crowd"].sum())
    points = source.arrays["keypoints"][source.arrays["box_mask"]][..., 2] if "keypoints" in source.arrays else None
    if boxes and (points is None or points.any()):
        learned = set(source.arrays["labels"][source.arrays["box_mask"]].tolist())
        missing = [name for label, name in enumerate(source.class_names) if label not in learned]
        if split != "train" or not missing:
            return source
        message = f"{path.name}: categories without a box to learn from: {', '.join(missing)}"
        return dataclasses.replace(source, notes=(*source.notes, message))
    what = "no keypoint" if boxes else "no box"
    message_all = f"{path}: {what} in {len(source)} images ({boxes} boxes, {crowds} of groups, iscrowd=1)"
    if split == "train":
        raise ValueError(f"{message_all}; allowed: one or more to learn from")
    return dataclasses.replace(source, notes=(*source.notes, f"{message_all}: nothing is there to measure"))


def coco_source(
    annotations: str | Path,
    images: str | Path,
    image_size: int | tuple[int, int] | ShortestEdge,
    max_boxes: int = 100,
    categories: Sequence[Mapping[str, Any]] | None = None,
    masks: bool = False,
    keypoints: bool = False,
) -> Source:
    """Load one annotation file with its images, in the order of the file.

    The arrays are `image: [N, H, W, 3] uint8`, `boxes: [N, M, 4] float32` (corners in pixels of the resized image),
    `labels: [N, M] int32` (index of the category among the categories sorted by id, -1 for padding),
    `box_mask: [N, M] bool` (boxes to learn from: neither padding nor crowd), `crowd: [N, M] bool` (boxes of groups,
    `iscrowd=1`, and those with `ignore=1`, which an evaluator ignores), `area: [N, M] float32` (area of the object in
    square pixels of the resized image; of its box where the file states none or one that contradicts the box) and
    `image_id: [N] int64`; with `masks` also `masks: [N, M, H, ceil(W / 8)] uint8` (bits packed along the width); with
    `keypoints` also `keypoints: [N, M, K, 3] float32` (x, y, visibility; the center of the first pixel is at 0.5, where
    COCO's files have 0); with a `ShortestEdge` also `image_size` and `original_size: [N, 2] int32`, height and width
    of each image on its canvas and in its file. The names of the examples are those of the image files.

    Boxes without area and copies of annotations are left out, and the notes list them; the notes also list boxes that
    are less than a pixel wide or high after the resize, masks beside their boxes and visible keypoints outside them.
    Keypoints are matched to the names of `categories`. A box that extends beyond its image by up to a pixel is clipped.
    Any other fault is an error that names the file and the image or annotation.

    Args:
      annotations: JSON file of instances.
      images: folder or .zip of the images; `file_name` is relative to it or to its images/.
      image_size: side, or (H, W), that every image is stretched to (bilinear, antialiased), its boxes, masks and
        keypoints with it; or the `ShortestEdge` that resizes it and pads it to a canvas.
      max_boxes: M, largest number of boxes of an image.
      categories: categories that give the labels their numbers, dicts with `id` and `name` as in the training file; the
        categories of this file are matched to them by name. None takes the categories of this file.
      masks: read `segmentation`, run lengths or polygons.
      keypoints: read `keypoints`; all categories that have keypoints must have the same names of keypoints.

    Returns:
      The source.

    Raises:
      FileNotFoundError: a file is missing.
    """
    check_whole_number("max_boxes", max_boxes, 1)
    annotations, images = Path(annotations), Path(images)
    for path in (annotations, images):
        if not path.exists():
            raise FileNotFoundError(f"no such file: {path}")
    content = _read(annotations)
    edge = image_size if isinstance(image_size, ShortestEdge) else None
    size = target_size(image_size) if edge is None else edge.canvas
    if categories is not None:
        _check_categories(categories, annotations)
    categories = sorted(content["categories"] if categories is None else categories, key=lambda c: c["id"])
    rows, messages = _by_image(content, categories, annotations)
    resized = _resized(content["images"], size, edge, annotations)
    try:
        names = keypoint_names(categories) if keypoints else ()
        file_names = keypoint_names(content["categories"]) if keypoints else ()
        has_points = keypoints and any(row[0].get("keypoints") for objects in rows.values() for row in objects)
        order = keypoint_order(file_names, names) if names and (file_names or has_points) else None
    except ValueError as error:
        raise ValueError(f"{annotations}: {error}") from None
    if keypoints and not names:
        raise ValueError(f"{annotations}: no category has keypoints; allowed: categories with their names")
    count, (height, width) = len(rows), size
    arrays = {
        "image": np.zeros((count, height, width, 3), np.uint8),
        "boxes": np.zeros((count, max_boxes, 4), np.float32),
        "labels": np.full((count, max_boxes), -1, np.int32),
        "box_mask": np.zeros((count, max_boxes), bool),
        "crowd": np.zeros((count, max_boxes), bool),
        "area": np.zeros((count, max_boxes), np.float32),
        "image_id": np.array(list(rows), np.int64),
    }
    original_sizes = [(image["height"], image["width"]) for image in content["images"]]
    arrays["original_size"] = np.array(original_sizes, np.int32).reshape(count, 2)
    if edge is not None:
        arrays["image_size"] = np.array(resized, np.int32).reshape(count, 2)
    if masks:
        arrays["masks"] = np.zeros((count, max_boxes, height, -(-width // 8)), np.uint8)
    if keypoints:
        arrays["keypoints"] = np.zeros((count, max_boxes, len(names), 3), np.float32)
    sizes, rotated = np.zeros(count, np.int64), []
    faults: dict[str, list] = {name: [] for name in ("mask", "tiny", "ignore", "area", "outline", "points")}
    with _Images(images) as read:
        for i, image in enumerate(content["images"]):
            objects = rows[image["id"]]
            if len(objects) > max_boxes:
                raise ValueError(
                    f"max_boxes={max_boxes}: image {image['file_name']} in {annotations} has {len(objects)} boxes, "
                    f"annotation {objects[max_boxes][0]['id']} is the first without room; allowed: {len(objects)} or "
                    "more"
                )
            pixels, sizes[i], is_turned = read(image, annotations)
            arrays["image"][i] = stretch_image(pixels, size) if edge is None else edge.place(pixels)[0]
            rotated += [image["file_name"]] if is_turned and objects else []
            scale = np.array([resized[i][1] / image["width"], resized[i][0] / image["height"]])
            for j, (annotation, label, box) in enumerate(objects):
                arrays["boxes"][i, j] = resized_box = box * np.tile(scale, 2)
                arrays["labels"][i, j] = label
                arrays["crowd"][i, j] = is_ignored(annotation)
                arrays["box_mask"][i, j] = not arrays["crowd"][i, j]
                checks = {
                    "tiny": (resized_box[2:] - resized_box[:2]).min() < 1,
                    "ignore": annotation.get("ignore") and not annotation.get("iscrowd"),
                    "outline": segmentation_misses_box(annotation, box),
                }
                with annotation_errors(annotations, annotation):
                    area, checks["area"] = object_area(annotation, box)
                    arrays["area"][i, j] = area * scale.prod()
                    if masks:
                        mask = object_mask(annotation, image, resized[i])
                        padding = [(0, side - own_side) for side, own_side in zip(size, resized[i], strict=True)]
                        arrays["masks"][i, j] = pack_masks(np.pad(mask, padding))
                        checks["mask"] = not mask.any()
                        checks["outline"] |= mask.any() and not _inner_pixels(mask, resized_box).any()
                    if keypoints and annotation.get("keypoints"):
                        points = object_keypoints(annotation["keypoints"], names, image, order)
                        checks["points"] = points_leave_box(points, box)
                        arrays["keypoints"][i, j] = points * np.append(scale, 1)
                for name, is_fault in checks.items():
                    faults[name] += [annotation["id"]] if is_fault else []
    resized_to = f"at {height} by {width}" if edge is None else "once resized"
    texts = {
        "mask": f"masks have no pixel {resized_to}",
        "tiny": f"boxes are less than a pixel wide or high {resized_to}",
        "ignore": "boxes with ignore=1 are neither trained on nor counted, as groups (iscrowd=1)",
        "area": "areas contradict their boxes (0, less than a 200th or more than twice); the box's area counts",
        "outline": "masks lie beside their boxes",
        "points": "boxes do not contain all of their visible keypoints",
    }
    messages += tuple(
        f"{annotations.name}: {len(ids)} {texts[name]}: {list_ids(ids)}" for name, ids in faults.items() if ids
    )
    if rotated:
        messages += (
            f"{annotations.name}: {len(rotated)} images are turned as their EXIF orientation says; their annotations "
            f"are taken as drawn on the turned images: {', '.join(rotated[:5])}"
            + (" and others" if len(rotated) > 5 else ""),
        )
    files = np.array([image["file_name"] for image in content["images"]], object)
    class_names = tuple(c["name"] for c in categories)
    return Source(arrays, count, class_names, annotations.stem, messages, files, sizes, names)


def _resized(
    images: Sequence[Mapping[str, Any]], size: tuple[int, int], edge: ShortestEdge | None, path: Path
) -> list[tuple[int, int]]:
    """Return (height, width) of each image after the resize, checked before an image is read."""
    if edge is None:
        return [size] * len(images)
    sizes = []
    for image in images:
        try:
            sizes.append(edge.size(image["height"], image["width"]))
        except ValueError as error:
            raise ValueError(f"{path}: image {image['file_name']}: {error}") from None
    return sizes


def _by_image(
    content: dict, categories: Sequence[Mapping[str, Any]], path: Path
) -> tuple[dict[int, list[tuple[dict, int, np.ndarray]]], tuple[str, ...]]:
    """Check the annotations; return {image id: [(annotation, label, corners in pixels of the file)]} and messages."""
    number = _numbered(content["categories"], categories)
    names = {c["id"]: c["name"] for c in content["categories"]}
    images = {image["id"]: image for image in content["images"]}
    rows: dict[int, list] = {key: [] for key in images}
    flat, copies = [], set(repeat_positions(content["annotations"]))
    copy_ids = [content["annotations"][position].get("id", f"number {position}") for position in sorted(copies)]
    for position, annotation in enumerate(content["annotations"]):
        if position in copies:
            continue
        if not isinstance(annotation, dict):
            raise ValueError(f"{path}: annotation number {position} is {_kind(annotation)}; allowed: an object")
        annotation.setdefault("id", f"number {position}")
        with annotation_errors(path, annotation):
            for key in ("image_id", "category_id"):
                if not is_int(annotation.get(key)):
                    raise ValueError(f"{key}={annotation.get(key)!r}: not an id; allowed: the id of an entry, an int")
            is_ignored(annotation)
            if annotation.get("image_id") not in images:
                raise ValueError(f"image_id={annotation.get('image_id')}: no such image; allowed: an id of images")
            if annotation.get("category_id") not in names:
                allowed = ", ".join(map(str, sorted(names)))
                allowed = allowed or "those of categories, where there is none"
                raise ValueError(f"category_id={annotation.get('category_id')}: no such category; allowed: {allowed}")
            if number[annotation["category_id"]] is None:
                category_names = ", ".join(repr(c["name"]) for c in categories)
                raise ValueError(
                    f"category {names[annotation['category_id']]!r} is not one of train; allowed: {category_names}"
                )
            box = box_corners(annotation.get("bbox"), images[annotation["image_id"]])
        if (box[2:] - box[:2]).min() <= 0:
            flat.append(annotation["id"])
        else:
            rows[annotation["image_id"]].append((annotation, number[annotation["category_id"]], box))
    messages = (f"{len(flat)} boxes without area in {path.name} were left out: {list_ids(flat)}",) if flat else ()
    if copies:
        messages += (f"{len(copies)} copies of annotations in {path.name} were left out: {list_ids(copy_ids)}",)
    if unknown := [names[key] for key, label in number.items() if label is None]:
        messages += (f"{path.name}: categories that train lacks, and that no box has: {', '.join(unknown)}",)
    return rows, messages


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not COCO's: not JSON ({error})") from None
    required = {"images", "annotations", "categories"}
    if missing := required - set(content if isinstance(content, dict) else ()):
        raise ValueError(f"{path} is not COCO's: it has no {sorted(missing)}")
    for kind in sorted(required):
        if not isinstance(content[kind], list):
            raise ValueError(f"{path} is not COCO's: {kind} is {_kind(content[kind])}; allowed: a list")
    if not content["images"]:
        raise ValueError(f"{path}: images is empty; allowed: one or more")
    _check_images(content["images"], path)
    _check_categories(content["categories"], path)
    return content


def _check_categories(categories: Sequence[Any], path: Path) -> None:
    _check_entries(categories, "categories", {"name": str}, path)
    if twins := _twins(categories, lambda category: category["name"]):
        one, other = twins
        raise ValueError(
            f"{path}: categories {one['id']} and {other['id']} are both called {one['name']!r}; allowed: each name once"
        )


def _check_images(images: Sequence[Any], path: Path) -> None:
    _check_entries(images, "images", {"file_name": str, "width": int, "height": int}, path)
    if twins := _twins(images, lambda image: posixpath.normpath(image["file_name"].replace("\\", "/"))):
        one, other = twins
        raise ValueError(
            f"{path}: images {one['id']} and {other['id']} are both the file {other['file_name']!r}, which would lack "
            "objects; allowed: one entry of each file"
        )


def _twins(entries: Sequence[Any], key: Callable[[Any], Any]) -> tuple[Any, Any] | None:
    """Return the first two entries that have the same key, in their order; None where all keys differ."""
    first: dict[Any, Any] = {}
    return next(((one, entry) for entry in entries if (one := first.setdefault(key(entry), entry)) is not entry), None)


def _check_entries(entries: Sequence[Any], kind: str, fields: Mapping[str, type], path: Path) -> None:
    """Check that entries have unique ids, and the fields with their types: ints positive, texts not empty."""
    by_id: dict[int, dict] = {}
    for position, entry in enumerate(entries):
        where = f"{path}: {kind}[{position}]"
        if not isinstance(entry, dict):
            raise ValueError(f"{where} is {_kind(entry)}; allowed: an object with {', '.join(('id', *fields))}")
        for key, form in {"id": int, **fields}.items():
            value = entry.get(key)
            fits = isinstance(value, str) and value
            if form is int:
                fits = is_int(value) and abs(value) < 2**63 and (key == "id" or value > 0)
            if not fits:
                problem = "is missing" if key not in entry else f"is {value!r}"
                allowed = "an int of 64 bits" if key == "id" else "a positive int" if form is int else "a text"
                raise ValueError(f"{where}, id {entry.get('id')!r}: {key} {problem}; allowed: {allowed}")
        if (other := by_id.setdefault(entry["id"], entry)) is not entry:
            key = next(iter(fields))
            raise ValueError(
                f"{path}: two {kind} have the id {entry['id']}, {other[key]!r} and {entry[key]!r}; allowed: one each"
            )


def _kind(value: Any) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"


def _inner_pixels(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask that touch a box."""
    (x0, y0), (x1, y1) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    return mask[y0:y1, x0:x1]


def _numbered(file_categories: list[dict], categories: list[dict]) -> dict[int, int | None]:
    """Return {id of a category in the file: its label}, None where it is not among the sorted categories."""
    by_name = {c["name"]: i for i, c in enumerate(categories)}
    return {c["id"]: by_name.get(c["name"]) for c in file_categories}


class _Images:
    """Images by name from a folder or a zip."""

    def __init__(self, path: Path):
        self.path, self.zip = path, open_zip(path) if path.is_file() else None
        self.known = set(self.zip.namelist()) if self.zip else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.zip is not None:
            self.zip.close()

    def _place(self, name: str, annotations: Path) -> str:
        inside = posixpath.normpath(name.replace("\\", "/"))
        if inside.startswith("/") or inside.split("/")[0] == "..":
            raise ValueError(f"{annotations}: file_name={name!r} leaves {self.path}; allowed: a path below it")
        for candidate in (name, f"images/{name}", inside, f"images/{inside}"):
            if candidate in self.known if self.zip else (self.path / candidate).is_file():
                return candidate
        raise FileNotFoundError(f"{annotations}: image {name} is not in {self.path}")

    def __call__(self, image: Mapping[str, Any], annotations: Path) -> tuple[np.ndarray, int, bool]:
        """Return an image's pixels [H, W, 3], the size of its file in bytes, and whether EXIF turned it."""
        name = image["file_name"]
        location = self._place(name, annotations)
        try:
            content = self.zip.read(location) if self.zip else (self.path / location).read_bytes()
            pixels, is_rotated = (
                decode_image(io.BytesIO(content), None, 3),
                orientation(open_image(io.BytesIO(content))) > 1,
            )
        except Exception as error:
            raise ValueError(unreadable([(f"{self.path / location}", error)], False)) from None
        height, width = pixels.shape[:2]
        if (height, width) != (image["height"], image["width"]):
            hint = ", once turned as its EXIF orientation says," if is_rotated else ""
            raise ValueError(
                f"{annotations}: image {name} (id {image['id']}) is said to be {image['width']} wide and "
                f"{image['height']} high; allowed: as the file{hint} is, {width} wide and {height} high"
            )
        return pixels, len(content), is_rotated
