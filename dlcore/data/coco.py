"""Data in COCO's format: a JSON of boxes, masks and keypoints, and a folder or zip of images, resized to one size."""

import contextlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.image_headers import target_size
from dlcore.data.masks import pack_masks, segmentation_to_mask
from dlcore.data.source import Source

__all__ = ["coco_source", "coco_splits"]

_SPLITS = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}


def coco_splits(
    data_dir: str | Path,
    image_size: int | tuple[int, int],
    max_boxes: int = 100,
    masks: bool = False,
    keypoints: bool = False,
) -> dict[str, Source]:
    """Load the splits of a folder of COCO data; see `coco_source`.

    Args:
      data_dir: folder with instances_train.json and, optionally, instances_val.json and instances_test.json, and with
        the images in images.zip, images/ or its only zip. With `keypoints` person_keypoints_train.json, ... go first.
      image_size: side, or (H, W), that every image is stretched to.
      max_boxes: room for the boxes of an image.
      masks: also read masks.
      keypoints: also read keypoints.

    Returns:
      Split -> source: train, and those of valid and test that have annotations.

    Raises:
      FileNotFoundError: the folder, its training annotations or its images are missing.
      ValueError: as `coco_source`; the labels of all splits are numbered by the categories of train.
    """
    folder = Path(data_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: no such folder")
    zips = sorted(folder.glob("*.zip"))
    places = (folder / "images.zip", folder / "images", *(zips if len(zips) == 1 else ()))
    images = next((p for p in places if p.exists()), None)
    if images is None:
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: holds neither images.zip nor images/, nor one other zip")
    kinds = ("person_keypoints", "instances") if keypoints else ("instances",)
    annotations = {}
    for split, names in _SPLITS.items():
        files = (folder / f"{kind}_{name}.json" for kind in kinds for name in names)
        if (path := next((p for p in files if p.exists()), None)) is not None:
            annotations[split] = path
    if "train" not in annotations:
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: holds no instances_train.json")
    categories = _read(annotations["train"])["categories"]
    return {
        split: coco_source(
            path, images, image_size, max_boxes, None if split == "train" else categories, masks, keypoints
        )
        for split, path in annotations.items()
    }


def coco_source(
    annotations: str | Path,
    images: str | Path,
    image_size: int | tuple[int, int],
    max_boxes: int = 100,
    categories: Sequence[Mapping[str, Any]] | None = None,
    masks: bool = False,
    keypoints: bool = False,
) -> Source:
    """Load one file of annotations with its images, in the order of the file.

    The arrays are `image: [N, H, W, 3] uint8`, `boxes: [N, M, 4] float32` (corners in pixels of the resized image),
    `labels: [N, M] int32` (index of the category in the order of ids, -1 for padding), `box_mask: [N, M] bool` (boxes
    to learn from), `crowd: [N, M] bool` (boxes of groups, which an evaluator ignores) and `image_id: [N] int64`; with
    `masks` also `masks: [N, M, H, ceil(W / 8)] uint8` (bits packed along the width); with `keypoints` also
    `keypoints: [N, M, K, 3] float32` (x, y, visibility; COCO's pixel 0 has its center at 0.5). The names of the
    examples are those of the image files.

    Boxes without area are left out, and a note names them. A box may reach out of its image by a pixel, by which it is
    cut. Anything else that is wrong is an error that names the annotation.

    Args:
      annotations: JSON file of instances.
      images: folder or .zip of the images, below it or below its images/.
      image_size: side, or (H, W), that every image is stretched to (bilinear, antialiased), its boxes, masks and
        keypoints with it.
      max_boxes: M, room for the boxes of an image.
      categories: those that give the labels their numbers, dicts with `id` and `name`, as a training file has them; the
        categories of this file are found among them by name, and by id where a name is there twice. None takes those of
        this file.
      masks: read `segmentation`, run lengths or polygons.
      keypoints: read `keypoints`; the categories that have some must have the same.

    Returns:
      The source.

    Raises:
      ValueError: an image has more than `max_boxes` boxes; two images or categories share an id; a box has a category
        that is not among `categories`, or lies outside its image, has a negative side, or numbers that are none; a mask
        is missing, of another size than its image or a polygon of two points; keypoints are more or less than their
        names, or outside; or the annotations are not COCO's.
      FileNotFoundError: a file is missing.
    """
    annotations, images = Path(annotations), Path(images)
    for path in (annotations, images):
        if not path.exists():
            raise FileNotFoundError(f"no such file: {path}")
    content = _read(annotations)
    size = target_size(image_size)
    for kind in ("images", "categories"):
        _check_ids(content[kind], kind, annotations)
    categories = sorted(content["categories"] if categories is None else categories, key=lambda c: c["id"])
    rows, notes = _by_image(content, categories, annotations)
    try:
        names = _keypoint_names(categories) if keypoints else ()
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
        "image_id": np.array(list(rows), np.int64),
    }
    if masks:
        arrays["masks"] = np.zeros((count, max_boxes, height, -(-width // 8)), np.uint8)
    if keypoints:
        arrays["keypoints"] = np.zeros((count, max_boxes, len(names), 3), np.float32)
    sizes, empty = np.zeros(count, np.int64), []
    with _Images(images) as read:
        for i, image in enumerate(content["images"]):
            own = rows[image["id"]]
            if len(own) > max_boxes:
                raise ValueError(
                    f"max_boxes={max_boxes}: image {image['file_name']} in {annotations} has {len(own)} boxes, "
                    f"annotation {own[max_boxes][0]['id']} is the first without room; allowed: {len(own)} or more"
                )
            arrays["image"][i] = read(image["file_name"], size)
            sizes[i] = read.size_of(image["file_name"])
            scale = np.array([width / image["width"], height / image["height"]])
            for j, (note, label, box) in enumerate(own):
                arrays["boxes"][i, j] = box * np.tile(scale, 2)
                arrays["labels"][i, j] = label
                arrays["crowd"][i, j] = bool(note.get("iscrowd", 0))
                arrays["box_mask"][i, j] = not arrays["crowd"][i, j]
                with _blamed(annotations, note):
                    if masks:
                        mask = _mask(note, image, size)
                        arrays["masks"][i, j] = pack_masks(mask)
                        empty += [] if mask.any() else [note["id"]]
                    if keypoints and note.get("keypoints"):
                        arrays["keypoints"][i, j] = _keypoints(note["keypoints"], names, image, scale)
    if empty:
        notes += (f"{annotations.name}: {len(empty)} masks have no pixel at {height} by {width}: {_listed(empty)}",)
    files = np.array([image["file_name"] for image in content["images"]], object)
    class_names = tuple(c["name"] for c in categories)
    return Source(arrays, count, class_names, annotations.stem, notes, files, sizes, names)


def _keypoint_names(categories: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The names of the keypoints, which the categories share; empty where no category has some."""
    found = {tuple(c["keypoints"]): c["name"] for c in categories if c.get("keypoints")}
    if len(found) > 1:
        one, other = list(found.values())[:2]
        raise ValueError(f"categories {one!r} and {other!r}: they have different keypoints; allowed: the same for all")
    return next(iter(found), ())


def _by_image(
    content: dict, categories: Sequence[Mapping[str, Any]], path: Path
) -> tuple[dict[int, list[tuple[dict, int, np.ndarray]]], tuple[str, ...]]:
    """Image id -> its annotations with their labels and corners in pixels of the file, checked; and notes."""
    number = _numbered(content["categories"], categories)
    names = {c["id"]: c["name"] for c in content["categories"]}
    images = {image["id"]: image for image in content["images"]}
    rows: dict[int, list] = {key: [] for key in images}
    flat = []
    for position, note in enumerate(content["annotations"]):
        note.setdefault("id", f"number {position}")
        with _blamed(path, note):
            if note.get("image_id") not in images:
                raise ValueError(f"image_id={note.get('image_id')}: no such image")
            if note.get("category_id") not in names:
                allowed = ", ".join(map(str, sorted(names)))
                raise ValueError(f"category_id={note.get('category_id')}: no such category; allowed: {allowed}")
            if number[note["category_id"]] is None:
                known = ", ".join(repr(c["name"]) for c in categories)
                raise ValueError(f"category {names[note['category_id']]!r} is not one of train; allowed: {known}")
            box = _corners(note.get("bbox"), images[note["image_id"]])
        if (box[2:] - box[:2]).min() <= 0:
            flat.append(note["id"])
        else:
            rows[note["image_id"]].append((note, number[note["category_id"]], box))
    notes = (f"{len(flat)} boxes without area in {path.name} were left out: {_listed(flat)}",) if flat else ()
    if unknown := [names[key] for key, label in number.items() if label is None]:
        notes += (f"{path.name}: categories that train lacks, and that no box has: {', '.join(unknown)}",)
    return rows, notes


def _corners(bbox: Any, image: Mapping[str, Any]) -> np.ndarray:
    """Corners of a box [x, y, width, height], cut to its image; of no area where COCO's has none."""
    try:
        x, y, w, h = (float(v) for v in bbox)
    except (TypeError, ValueError):
        raise ValueError(f"bbox={bbox}: not a box; allowed: [x, y, width, height] in pixels") from None
    if not np.isfinite([x, y, w, h]).all():
        raise ValueError(f"bbox={bbox}: not finite; allowed: numbers")
    if w < 0 or h < 0:
        raise ValueError(f"bbox={bbox}: a negative side; allowed: [x, y, width, height], and x2 >= x1, y2 >= y1")
    width, height = image["width"], image["height"]
    if min(x, y) < -1 or x + w > width + 1 or y + h > height + 1:
        raise ValueError(f"bbox={bbox}: outside image {image['file_name']}; allowed: within {width} by {height} pixels")
    return np.clip([x, y, x + w, y + h], 0, [width, height, width, height])


def _mask(note: Mapping[str, Any], image: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The mask of an annotation, resized with its image: bool [H, W], pixels of which half is covered."""
    from PIL import Image

    if not note.get("segmentation"):
        raise ValueError("it has no segmentation; allowed: run lengths or polygons, or to read boxes only")
    mask = segmentation_to_mask(note["segmentation"], (image["height"], image["width"]))
    if mask.shape == size:
        return mask
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR)) > 127


def _keypoints(
    values: Sequence[float], names: Sequence[str], image: Mapping[str, Any], scale: np.ndarray
) -> np.ndarray:
    """[K, 3] (x, y, visibility) in pixels of the resized image; zeros where there is none."""
    if len(values) != 3 * len(names):
        raise ValueError(f"keypoints: {len(values)} numbers; allowed: {3 * len(names)}, three for each name")
    points = np.array(values, float).reshape(-1, 3)
    labeled = points[:, 2] > 0
    if not np.isfinite(points).all():
        raise ValueError("keypoints: not finite; allowed: numbers")
    outside = ((points[:, :2] < -1) | (points[:, :2] > [image["width"], image["height"]])).any(-1) & labeled
    if outside.any():
        raise ValueError(
            f"keypoint {names[int(outside.argmax())]!r}: outside image {image['file_name']}; "
            f"allowed: within {image['width']} by {image['height']} pixels"
        )
    points[:, :2] = (points[:, :2] + 0.5) * scale
    return np.where(labeled[:, None], points, 0)


@contextlib.contextmanager
def _blamed(path: Path, note: Mapping[str, Any]) -> Iterator[None]:
    """Name the file and the annotation in errors."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: annotation {note['id']}: {error}") from None


def _listed(ids: Sequence[Any], most: int = 5) -> str:
    shown = ", ".join(map(str, ids[:most]))
    return f"annotation{'s' if len(ids) > 1 else ''} {shown}" + (" and others" if len(ids) > most else "")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not COCO's: no JSON ({error})") from None
    wanted = {"images", "annotations", "categories"}
    if missing := wanted - set(content if isinstance(content, dict) else ()):
        raise ValueError(f"{path} is not COCO's: it has no {sorted(missing)}")
    return content


def _check_ids(entries: list[dict], kind: str, path: Path) -> None:
    seen: dict[int, dict] = {}
    for entry in entries:
        if (other := seen.setdefault(entry["id"], entry)) is not entry:
            key = "file_name" if kind == "images" else "name"
            raise ValueError(
                f"{path}: two {kind} have the id {entry['id']}, {other[key]!r} and {entry[key]!r}; allowed: one each"
            )


def _numbered(own: list[dict], categories: list[dict]) -> dict[int, int | None]:
    """Id of a file's own category -> its number among the sorted categories; None where it is not among them."""
    by_pair = {(c["id"], c["name"]): i for i, c in enumerate(categories)}
    by_name = {c["name"]: i for i, c in reversed(list(enumerate(categories)))}
    return {c["id"]: by_pair.get((c["id"], c["name"]), by_name.get(c["name"])) for c in own}


class _Images:
    """Images by name from a folder or a zip."""

    def __init__(self, path: Path):
        self.path, self.zip = path, zipfile.ZipFile(path) if path.is_file() else None
        self.known = set(self.zip.namelist()) if self.zip else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.zip is not None:
            self.zip.close()

    def _place(self, name: str) -> str:
        for place in (name, f"images/{name}"):
            if place in self.known if self.zip else (self.path / place).exists():
                return place
        raise FileNotFoundError(f"image {name} is not in {self.path}")

    def size_of(self, name: str) -> int:
        place = self._place(name)
        return self.zip.getinfo(place).file_size if self.zip else (self.path / place).stat().st_size

    def __call__(self, name: str, size: tuple[int, int]) -> np.ndarray:
        from PIL import Image

        place = self._place(name)
        with self.zip.open(place) if self.zip else (self.path / place).open("rb") as file, Image.open(file) as image:
            return np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR), np.uint8)
