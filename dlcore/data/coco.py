"""Detection data in COCO's format: a JSON of annotations, and a folder or zip of images, resized to one size."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.image_headers import target_size
from dlcore.data.source import Source

__all__ = ["coco_source", "coco_splits"]

_SPLITS = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}


def coco_splits(data_dir: str | Path, image_size: int | tuple[int, int], max_boxes: int = 100) -> dict[str, Source]:
    """Load the splits of a folder of COCO data; see `coco_source`.

    Args:
      data_dir: folder with instances_train.json and, optionally, instances_val.json and instances_test.json, and with
        the images in images.zip or images/.
      image_size: side, or (H, W), that every image is stretched to.
      max_boxes: room for the boxes of an image.

    Returns:
      Split -> source: train, and those of valid and test that have annotations.

    Raises:
      FileNotFoundError: the folder, its training annotations or its images are missing.
      ValueError: as `coco_source`; the labels of all splits are numbered by the categories of train.
    """
    folder = Path(data_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: no such folder")
    images = next((p for p in (folder / "images.zip", folder / "images") if p.exists()), None)
    if images is None:
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: holds neither images.zip nor images/")
    annotations = {
        split: path
        for split, names in _SPLITS.items()
        for path in (folder / f"instances_{name}.json" for name in names)
        if path.exists()
    }
    if "train" not in annotations:
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: holds no instances_train.json")
    categories = _read(annotations["train"])["categories"]
    return {
        split: coco_source(path, images, image_size, max_boxes, None if split == "train" else categories)
        for split, path in annotations.items()
    }


def coco_source(
    annotations: str | Path,
    images: str | Path,
    image_size: int | tuple[int, int],
    max_boxes: int = 100,
    categories: Sequence[Mapping[str, Any]] | None = None,
) -> Source:
    """Load one file of annotations with its images, in the order of the file.

    The arrays are `image: [N, H, W, 3] uint8`, `boxes: [N, M, 4] float32` (corners in pixels of the resized image),
    `labels: [N, M] int32` (index of the category in the order of ids, -1 for padding), `box_mask: [N, M] bool` (boxes
    to learn from), `crowd: [N, M] bool` (boxes of groups, which an evaluator ignores) and `image_id: [N] int64`. Boxes
    without area are left out, and a note says how many. The names of the examples are those of the image files.

    Args:
      annotations: JSON file of instances.
      images: folder or .zip of the images.
      image_size: side, or (H, W), that every image is stretched to (bilinear, antialiased), its boxes with it.
      max_boxes: M, room for the boxes of an image.
      categories: those that give the labels their numbers, dicts with `id` and `name`, as a training file has them; the
        categories of this file are found among them by name, and by id where a name is there twice. None takes those of
        this file.

    Returns:
      The source.

    Raises:
      ValueError: an image has more than `max_boxes` boxes, two images or categories share an id, a box has a category
        that is not among `categories`, or the annotations are not COCO's.
      FileNotFoundError: a file is missing.
    """
    annotations, images = Path(annotations), Path(images)
    for path in (annotations, images):
        if not path.exists():
            raise FileNotFoundError(f"no such file: {path}")
    content = _read(annotations)
    height, width = target_size(image_size)
    for kind in ("images", "categories"):
        _check_ids(content[kind], kind, annotations)
    categories = sorted(content["categories"] if categories is None else categories, key=lambda c: c["id"])
    number = _numbered(content["categories"], categories)
    rows: dict[int, list[dict]] = {image["id"]: [] for image in content["images"]}
    flat = 0
    for note in content["annotations"]:
        if min(note["bbox"][2:]) <= 0:
            flat += 1
        elif note["category_id"] in number and number[note["category_id"]] is None:
            name = next(c["name"] for c in content["categories"] if c["id"] == note["category_id"])
            known = ", ".join(repr(c["name"]) for c in categories)
            raise ValueError(f"{annotations}: category {name!r} is not one of train; allowed: {known}")
        elif note["image_id"] not in rows or note["category_id"] not in number:
            raise ValueError(f"{annotations}: annotation {note['id']} has an unknown image or category")
        else:
            rows[note["image_id"]].append(note)
    count = len(rows)
    arrays = {
        "image": np.zeros((count, height, width, 3), np.uint8),
        "boxes": np.zeros((count, max_boxes, 4), np.float32),
        "labels": np.full((count, max_boxes), -1, np.int32),
        "box_mask": np.zeros((count, max_boxes), bool),
        "crowd": np.zeros((count, max_boxes), bool),
        "image_id": np.array(list(rows), np.int64),
    }
    sizes = np.zeros(count, np.int64)
    with _Images(images) as read:
        for i, image in enumerate(content["images"]):
            notes = rows[image["id"]]
            if len(notes) > max_boxes:
                raise ValueError(
                    f"max_boxes={max_boxes}: image {image['file_name']} in {annotations} has {len(notes)} boxes"
                )
            arrays["image"][i] = read(image["file_name"], (height, width))
            sizes[i] = read.size_of(image["file_name"])
            scale = np.array([width / image["width"], height / image["height"]] * 2)
            for j, note in enumerate(notes):
                x, y, w, h = note["bbox"]
                arrays["boxes"][i, j] = np.array([x, y, x + w, y + h]) * scale
                arrays["labels"][i, j] = number[note["category_id"]]
                arrays["crowd"][i, j] = bool(note.get("iscrowd", 0))
                arrays["box_mask"][i, j] = not arrays["crowd"][i, j]
    notes = (f"{flat} boxes without area in {annotations.name} were left out",) if flat else ()
    if unknown := [c["name"] for c in content["categories"] if number[c["id"]] is None]:
        notes += (f"{annotations.name}: categories that train lacks, and that no box has: {', '.join(unknown)}",)
    names = np.array([image["file_name"] for image in content["images"]], object)
    return Source(arrays, count, tuple(c["name"] for c in categories), annotations.stem, notes, names, sizes)


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

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.zip is not None:
            self.zip.close()

    def size_of(self, name: str) -> int:
        return self.zip.getinfo(name).file_size if self.zip else (self.path / name).stat().st_size

    def __call__(self, name: str, size: tuple[int, int]) -> np.ndarray:
        from PIL import Image

        try:
            with self.zip.open(name) if self.zip else (self.path / name).open("rb") as file, Image.open(file) as image:
                resized = image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
                return np.asarray(resized, np.uint8)
        except (KeyError, FileNotFoundError):
            raise FileNotFoundError(f"image {name} is not in {self.path}") from None
