"""Semantic segmentation data: folders and .zip files of images and masks, Cityscapes, ADE20K, and procedural scenes.

A source holds `image: [N, H, W, 3] uint8` and `semantic: [N, H, W] uint8`, the class of each pixel, 255 (`VOID`) where
there is none. Images are resized by antialiased bilinear interpolation, masks to the nearest pixel. Images are decoded
by `decode_image`, masks by `decode_mask`, each rotated by its own EXIF orientation.

    pairs       train, val and test (or other names of `split_names`), folders or .zip files, each with images/ and
                masks/ that hold files of the same names; or images/ and masks/ with split folders in them; or images/
                and masks/ without splits, which are all training data.
                classes.json may hold {"classes": [names], "void": 255, "values": [number of each class in the masks]}
    cityscapes  leftImg8bit/SPLIT/CITY/X_leftImg8bit.png, gtFine/SPLIT/CITY/X_gtFine_labelIds.png      19 classes
    ade20k      images/{training,validation}/X.jpg, annotations/{training,validation}/X.png           150 classes

Cityscapes' label ids become the 19 evaluated classes (Cordts et al. 2016, arXiv:1604.01685), and ADE20K's 1 to 150
become 0 to 149 (Zhou et al. 2017); all other ids are void. The test images of Cityscapes have no public labels and are
not read.
"""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_choice, check_path, check_whole_number
from dlcore.data.augment.examples import VOID
from dlcore.data.decoding import decode_image, stretch_image
from dlcore.data.image_folder import is_image
from dlcore.data.image_headers import target_size
from dlcore.data.image_pixels import open_image, orientation
from dlcore.data.mask_files import decode_mask
from dlcore.data.masks import unpack_masks
from dlcore.data.paired_files import FilePair, listed, pair_files, read_below
from dlcore.data.scenes import SHAPES, STUFF, scenes
from dlcore.data.source import Source, whole_numbers
from dlcore.data.text import read_lines
from dlcore.data.workers import unreadable
from dlcore.json_content import parse_json
from dlcore.ops.checks import check_class_ids

__all__ = [
    "ADE20K_CLASSES",
    "CITYSCAPES",
    "LAYOUTS",
    "SCENE_CLASSES",
    "class_pixels",
    "scene_maps",
    "segmentation_splits",
]

LAYOUTS = {
    "pairs": "images/ and masks/ with files of the same names, or train/images/ and train/masks/ (docs/data.md)",
    "cityscapes": "leftImg8bit/train/CITY/X_leftImg8bit.png, gtFine/train/CITY/X_gtFine_labelIds.png",
    "ade20k": "images/training/X.jpg, annotations/training/X.png",
}
ADE20K_CLASSES = 150
CITYSCAPES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""Label id -> name of the evaluated classes, in the order of their train ids 0 to 18."""
_CITYSCAPES_IDS = 34
"""Number of label ids of Cityscapes, evaluated or not."""

SCENE_CLASSES = ("background", *SHAPES)
_MOST_UNNAMED = 64
"""Maximum number of classes without a classes.json: masks with more values were most likely resized with smoothing."""
_CLASSES = "classes.json"
_TWO = '{"classes": ["background", "foreground"], "values": [0, 255]}'


class _Table(NamedTuple):
    """Class of each mask value 0 to 255 (VOID, or -1 if the value is not allowed), and the allowed values as text."""

    classes: np.ndarray
    allowed: str


class _Row(NamedTuple):
    """A decoded pair; `values`: the numbers in its mask; `turned`: whether EXIF rotated the image and not the mask;
    `original_size`: height and width before the resize."""

    image: np.ndarray
    labels: np.ndarray
    num_bytes: int
    values: np.ndarray
    turned: bool
    original_size: tuple[int, int]


def segmentation_splits(
    data_dir: str | Path, image_size: int | tuple[int, int] | None = None, layout: str | None = None
) -> dict[str, Source]:
    """Load the splits of a segmentation data set.

    Args:
      data_dir: the folder or .zip.
      image_size: side, or (H, W), that images and masks are stretched to; None keeps their own size, which must be the
        same for all.
      layout: name from LAYOUTS; None detects it from the files.

    Returns:
      Split -> source: "train", and "valid" and "test" where they exist. A data set without splits is all "train".

    Raises:
      FileNotFoundError: there is no such folder or .zip.
    """
    check_path("data_dir", data_dir)
    path = Path(data_dir)
    if not path.exists():
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: no such folder or .zip")
    layout = _layout_of(path) if layout is None else layout
    check_choice("layout", layout, LAYOUTS)
    names, table, pairs, messages = {"pairs": _pairs, "cityscapes": _cityscapes, "ade20k": _ade20k}[layout](path)
    if not pairs.get("train"):
        raise ValueError(f"data_dir={str(data_dir)!r}: no training images with masks; allowed: {LAYOUTS[layout]}")
    size = None if image_size is None else target_size(image_size)
    sources, values = {}, {}
    for split in ("train", "valid", "test"):
        if pairs.get(split):
            sources[split], values[split] = _load(pairs[split], size, table)
        if split == "train" and not names:  # a validation mask may hold no other numbers than those of train
            names = _names_of(values["train"], str(data_dir))
            table = _numbered(len(names), VOID)
            messages += (f"{path.name}: no classes.json; {len(names)} classes, the numbers in the training masks",)
    if len({s.arrays["image"].shape[1:] for s in sources.values()}) > 1:
        raise ValueError("image_size=None: the splits have images of different sizes; allowed: height,width")
    return {
        split: Source(
            s.arrays,
            len(s),
            names,
            f"{path.stem} ({split})",
            (*messages, *s.notes, *_classes_seen(s, split, names, values[split], str(data_dir), table, size)),
            s.names,
            s.sizes,
        )
        for split, s in sources.items()
    }


def _names_of(values: np.ndarray, data_dir: str) -> tuple[str, ...]:
    """Name the classes of data without classes.json by the numbers in the training masks."""
    class_ids = values[values != VOID]
    if len(class_ids) < 2:
        raise ValueError(_one_class(data_dir, values))
    if len(class_ids) <= class_ids.max() or len(class_ids) > _MOST_UNNAMED:
        raise ValueError(
            f"data_dir={data_dir!r}: the training masks hold {len(values)} values, {listed(values)}; allowed: without "
            f"classes.json up to {_MOST_UNNAMED} classes, numbered from 0 without gaps, and {VOID} for void (shades "
            f"come from masks that were resized or smoothed); or with the values in classes.json, such as {_TWO}"
        )
    return tuple(map(str, class_ids))


def _classes_seen(
    source: Source,
    split: str,
    names: tuple[str, ...],
    values: np.ndarray,
    data_dir: str,
    table: _Table,
    size: tuple[int, int] | None,
) -> tuple[str, ...]:
    """Name the classes without a pixel; fewer than two in the training split, or none in another, are an error."""
    counts = class_pixels(source, len(names))[0]
    least = 2 if split == "train" else 1
    if (counts > 0).sum() < least:
        if size is not None and len(np.setdiff1d(table.classes[values], [VOID])) >= least:
            raise ValueError(f"image_size={size}: leaves {(counts > 0).sum()} classes of {split}; allowed: {least}")
        raise ValueError(_one_class(data_dir, values, split))
    missing = [name for name, count in zip(names, counts, strict=True) if not count]
    return (f"{source.name or split}: classes without a pixel: {listed(missing)}",) if missing else ()


def _one_class(data_dir: str, values: np.ndarray, split: str = "train") -> str:
    split_name = {"train": "training", "valid": "validation"}.get(split, split)
    few = "fewer than two classes" if split == "train" else "no class"
    return (
        f"data_dir={data_dir!r}: the {split_name} masks hold {listed(values)}, {few} besides void ({VOID}, without "
        "classes.json); allowed: 0 for the background and 1 for the foreground, or the masks' values, and a void "
        f"that is none of them, in classes.json, such as {_TWO}"
    )


@whole_numbers
def scene_maps(count: int, seed: int = 0, *, stuff: bool = False, **fields: Any) -> Source:
    """Draw the scenes of `dlcore.data.scenes.scenes` with the class of each pixel.

    Args:
      count: N, number of scenes.
      seed: random seed, see `scenes`.
      stuff: draw backgrounds of several textures, each a class, as `scenes` does; False makes the background one class.
      **fields: other arguments of `scenes`, such as `size`, `max_boxes` and `overlap`.

    Returns:
      The source, with the images of `scenes`; its classes are (*STUFF, *SHAPES) or SCENE_CLASSES.
    """
    source = scenes(count, seed, masks=not stuff, stuff=stuff, **fields)
    images, labels = source.arrays["image"], source.arrays["labels"]
    if stuff:
        return Source({"image": images, "semantic": source.arrays["semantic"]}, count, (*STUFF, *SHAPES), source.name)
    semantic = np.zeros(images.shape[:3], np.uint8)
    for i, shapes in enumerate(unpack_masks(source.arrays["masks"], images.shape[2])):
        for mask, label in zip(shapes, labels[i], strict=True):
            semantic[i][mask] = 1 + label
    return Source({"image": images, "semantic": semantic}, count, SCENE_CLASSES, source.name)


def class_pixels(source: Source, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels of each class, from which class weights of a loss are computed.

    Args:
      source: source with `semantic`.
      num_classes: C, number of classes.

    Returns:
      (number of pixels of each class [C] int64, number of pixels other than void in all images that contain the class
      [C] int64).
    """
    check_whole_number("num_classes", num_classes, 1)
    if "semantic" not in source.arrays:
        raise ValueError(f"source={source.name!r}: holds no semantic, only {sorted(source.arrays)}; allowed: maps")
    inside, beside = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    for labels in source.arrays["semantic"]:
        check_class_ids("semantic", labels, num_classes, VOID)
        counts = np.bincount(labels.reshape(-1), minlength=num_classes)[:num_classes]
        inside += counts
        beside += np.where(counts > 0, counts.sum(), 0)
    return inside, beside


def _layout_of(path: Path) -> str:
    if (path / "leftImg8bit").is_dir():
        return "cityscapes"
    return "ade20k" if (path / "annotations" / "training").is_dir() else "pairs"


_Content = tuple[tuple[str, ...], _Table, dict[str, list[FilePair]], tuple[str, ...]]
"""Class names (empty if no file states them), the table of the mask values, the pairs of each split, and messages."""


def _numbered(num_classes: int, void: int) -> _Table:
    """Make the table of masks whose values are the classes themselves."""
    classes = np.where(np.arange(256) < num_classes, np.arange(256), -1)
    classes[[void, VOID]] = VOID
    return _Table(classes, f"0 to {num_classes - 1}, or {void} for void")


def _cityscapes(path: Path) -> _Content:
    classes = np.full(256, -1)
    classes[:_CITYSCAPES_IDS], classes[255] = VOID, VOID  # 255 is -1, the license plate
    classes[list(CITYSCAPES)] = np.arange(len(CITYSCAPES))
    table = _Table(classes, f"label ids, 0 to {_CITYSCAPES_IDS - 1}")
    pairs = {}
    for split, folder in (("train", "train"), ("valid", "val")):
        images = sorted((path / "leftImg8bit" / folder).glob("*/*_leftImg8bit.png"))
        masks = [
            path / "gtFine" / folder / image.parent.name / image.name.replace("leftImg8bit", "gtFine_labelIds")
            for image in images
        ]
        pairs[split] = [_on_disk(image, mask, path) for image, mask in zip(images, masks, strict=True)]
    return tuple(CITYSCAPES.values()), table, pairs, ()


def _ade20k(path: Path) -> _Content:
    classes = np.full(256, -1)
    classes[1 : 1 + ADE20K_CLASSES], classes[0] = np.arange(ADE20K_CLASSES), VOID
    table = _Table(classes, f"1 to {ADE20K_CLASSES}, or 0 for others")
    names, listing = tuple(f"class {k}" for k in range(1, ADE20K_CLASSES + 1)), path / "objectInfo150.txt"
    if listing.exists():
        rows = [line.split("\t") for line in read_lines(listing, "data_dir")[1:] if line.strip()]
        names = tuple(row[-1].split(",")[0].strip() for row in rows)
        if len(names) != ADE20K_CLASSES:
            raise ValueError(f"{listing}: {len(names)} classes; allowed: {ADE20K_CLASSES}")
        twice = {name for name in names if names.count(name) > 1}  # measures are named after classes
        names = tuple(f"{name} ({k})" if name in twice else name for k, name in enumerate(names, 1))
    pairs = {}
    for split, folder in (("train", "training"), ("valid", "validation")):
        images = sorted((path / "images" / folder).glob("*.jpg"))
        pairs[split] = [_on_disk(image, path / "annotations" / folder / f"{image.stem}.png", path) for image in images]
    return names, table, pairs, ()


def _on_disk(image: Path, mask: Path, root: Path) -> FilePair:
    if not mask.exists():
        raise ValueError(f"{image}: has no mask; allowed: {mask}")
    return FilePair(str(image), str(mask), image.read_bytes, mask.read_bytes, str(image.relative_to(root)))


def _pairs(path: Path) -> _Content:
    contents = read_below(path)
    names, table = _described(path, [read() for name, read in contents.items() if PurePosixPath(name).name == _CLASSES])
    pairs, messages = pair_files(path, contents, "masks", is_image)
    return names, table, pairs, messages


def _described(path: Path, contents: list[bytes]) -> tuple[tuple[str, ...], _Table]:
    """Read the class names and the table of mask values from classes.json; without it, no names and all values."""
    if not contents:
        return (), _numbered(VOID, VOID)
    if len(set(contents)) > 1:
        raise ValueError(f"{path}: several classes.json that differ; allowed: one, or the same in each folder")
    try:
        described = parse_json(contents[0])
        names, void, values = described["classes"], described.get("void"), described.get("values")
        if not isinstance(names, list) or not isinstance(values, list | None):
            raise TypeError("a list")
        numbers = list(range(len(names)) if values is None else values)
        if invalid := [v for v in (*numbers, 0 if void is None else void) if type(v) is not int]:
            raise TypeError(f"{invalid[0]!r} is no integer")
        names = tuple(map(str, names))
        void = (None if VOID in numbers else VOID) if void is None else void
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: classes.json is no {{'classes': [...], 'void': 255}} ({error!r})") from None
    where = f"{path}: classes.json has"
    if not 0 <= (void or 0) <= VOID or len(names) > VOID:
        raise ValueError(f"{where} void {void} and {len(names)} classes; allowed: void 0 to 255, at most 255 classes")
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"{where} classes {listed(names)}; allowed: two or more, each name once")
    if len(numbers) != len(names) or len(set(numbers)) < len(names) or not all(0 <= v <= VOID for v in numbers):
        raise ValueError(f"{where} values {listed(numbers)}; allowed: {len(names)} different ones from 0 to {VOID}")
    if void in numbers:
        raise ValueError(f"{where} void {void}, which is also class {names[numbers.index(void)]!r}; allowed: another")
    if values is None:
        return names, _numbered(len(names), void)
    classes = np.full(256, -1)
    classes[[v for v in (void, VOID) if v is not None]] = VOID
    classes[numbers] = np.arange(len(names))
    return names, _Table(classes, f"{listed(numbers)}" + ("" if void is None else f", or {void} for void"))


def _load(pairs: list[FilePair], size: tuple[int, int] | None, table: _Table) -> tuple[Source, np.ndarray]:
    """Decode the pairs of one split in threads: (source, distinct mask values); raises the first error by name."""
    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(lambda pair: _decoded(pair, size, table), pairs))
    for pair, row in zip(pairs, rows, strict=True):
        if row.image.shape != rows[0].image.shape:
            raise ValueError(
                f"image_size=None: {pair.image} has {row.image.shape[:2]} pixels, {pairs[0].image} "
                f"{rows[0].image.shape[:2]}; allowed: height,width that all are resized to"
            )
    arrays = {"image": np.stack([row.image for row in rows]), "semantic": np.stack([row.labels for row in rows])}
    if size is not None:
        arrays["original_size"] = np.array([row.original_size for row in rows], np.int32)
    names = np.array([pair.key for pair in pairs], object)
    messages = ()
    if rotated := [pair.key for pair, row in zip(pairs, rows, strict=True) if row.turned]:
        messages = (
            f"{len(rotated)} images are turned as their EXIF orientation says; their masks state none and are taken as "
            f"drawn on the turned images: {listed(rotated)}",
        )
    sizes = np.array([row.num_bytes for row in rows], np.int64)
    values = np.unique(np.concatenate([row.values for row in rows]))
    return Source(arrays, len(pairs), notes=messages, names=names, sizes=sizes), values


def _decoded(pair: FilePair, size: tuple[int, int] | None, table: _Table) -> _Row:
    from PIL import Image

    try:
        content = pair.read_image()
        image = decode_image(io.BytesIO(content), None, 3)
        is_rotated = orientation(open_image(io.BytesIO(content))) > 1
    except Exception as error:
        raise ValueError(unreadable([(pair.image, error)], False)) from None
    try:
        content_of_mask = pair.read_other()
        is_rotated = orientation(open_image(io.BytesIO(content_of_mask))) == 1 and is_rotated
    except Exception as error:
        raise ValueError(unreadable([(pair.other, error)], False)) from None
    try:
        values = decode_mask(content_of_mask)
    except ValueError as error:
        raise ValueError(f"{pair.other}: {error}") from None
    except Exception as error:
        raise ValueError(unreadable([(pair.other, error)], False)) from None
    if values.shape != image.shape[:2]:
        hint = " (which its EXIF orientation turned; the mask states none)" if is_rotated else ""
        raise ValueError(f"{pair.other}: a mask of {values.shape} pixels; allowed: its image's {image.shape[:2]}{hint}")
    class_ids = np.unique(values)
    inside = (values >= 0) & (values <= 255)
    classes = np.where(inside, table.classes[np.where(inside, values, 0).astype(np.uint8)], -1)
    if (classes < 0).any():
        raise ValueError(f"{pair.other}: value {values[classes < 0][0]}; allowed: {table.allowed}")
    labels, original_size = classes.astype(np.uint8), image.shape[:2]
    if size is not None and image.shape[:2] != size:
        image = stretch_image(image, size)
        labels = np.asarray(Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST))
    return _Row(image, labels, len(content), class_ids, is_rotated, original_size)
