"""Images with a class for every pixel: folders and zips of images and masks, Cityscapes, ADE20K, and drawn scenes.

A source holds `image: [N, H, W, 3] uint8` and `semantic: [N, H, W] uint8`, the class of each pixel, 255 (`VOID`) where
there is none. Images are resized by antialiased bilinear interpolation, masks to the nearest pixel.

    pairs       train.zip, val.zip, test.zip, or folders of these names, each with images/ and masks/ of the same names;
                or one folder or .zip with images/ and masks/. classes.json may hold {"classes": [...], "void": 255}
    cityscapes  leftImg8bit/SPLIT/CITY/X_leftImg8bit.png, gtFine/SPLIT/CITY/X_gtFine_labelIds.png      19 classes
    ade20k      images/{training,validation}/X.jpg, annotations/{training,validation}/X.png           150 classes

Cityscapes' label ids become the 19 that are evaluated (Cordts et al. 2016, arXiv:1604.01685), ADE20K's 1 to 150 become
0 to 149 (Zhou et al. 2017); all others are void. The test images of Cityscapes have no public labels and are not read.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from dlcore.data.augment.examples import VOID
from dlcore.data.decoding import decode_image
from dlcore.data.image_folder import is_image
from dlcore.data.image_headers import target_size
from dlcore.data.masks import unpack_masks
from dlcore.data.scenes import SHAPES, STUFF, scenes
from dlcore.data.source import Source

__all__ = [
    "ADE20K_CLASSES",
    "CITYSCAPES",
    "LAYOUTS",
    "SCENE_CLASSES",
    "class_pixels",
    "scene_maps",
    "segmentation_splits",
]

LAYOUTS = ("pairs", "cityscapes", "ade20k")
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

SCENE_CLASSES = ("background", *SHAPES)
_SPLITS = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}


class _Table(NamedTuple):
    """What the values of a mask mean: the class of each, VOID, or -1 for a value that is not allowed."""

    classes: np.ndarray
    allowed: str


class _Pair(NamedTuple):
    """One image with its mask: names for messages, and functions that give their bytes."""

    image: str
    mask: str
    read_image: Callable[[], bytes]
    read_mask: Callable[[], bytes]
    key: str


def segmentation_splits(
    data_dir: str | Path, image_size: int | tuple[int, int] | None = None, layout: str | None = None
) -> dict[str, Source]:
    """Load the splits of a segmentation data set.

    Args:
      data_dir: the folder or .zip.
      image_size: side, or (H, W), that images and masks are stretched to; None keeps their own, which must be the same
        for all.
      layout: of LAYOUTS; None tells by what is there.

    Returns:
      Split -> source: train, and those of valid and test that are there. All of a data set without splits is train.

    Raises:
      FileNotFoundError: there is no such folder or .zip.
      ValueError: it holds no pairs, an image lacks its mask or a mask its image, a mask is of another size than its
        image, in color, or has a value that is no class (of train, without classes.json); or sizes differ and
        `image_size` is None. The message names the file.
    """
    path = Path(data_dir)
    if not path.exists():
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: no such folder or .zip")
    layout = _layout_of(path) if layout is None else layout
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r}: unknown; allowed: {', '.join(LAYOUTS)}")
    names, void, table, pairs = {"pairs": _pairs, "cityscapes": _cityscapes, "ade20k": _ade20k}[layout](path)
    if not pairs.get("train"):
        raise ValueError(f"data_dir={str(data_dir)!r}: holds no training images with masks; allowed: those of {layout}")
    size = None if image_size is None else target_size(image_size)
    sources = {"train": _load(pairs["train"], size, table)}
    if not names:  # those of train: a validation mask may hold no other
        labels = sources["train"].arrays["semantic"]
        names = tuple(str(k) for k in range(1 + int(labels[labels != VOID].max(initial=0))))
        table = _numbered(len(names), void)
    sources |= {split: _load(pairs[split], size, table) for split in ("valid", "test") if pairs.get(split)}
    if len({s.arrays["image"].shape[1:] for s in sources.values()}) > 1:
        raise ValueError("image_size=None: the splits have images of different sizes; allowed: height,width")
    return {
        split: Source(s.arrays, len(s), names, f"{path.stem} ({split})", s.notes, s.names, s.sizes)
        for split, s in sources.items()
    }


def scene_maps(count: int, seed: int = 0, *, stuff: bool = False, **fields: Any) -> Source:
    """Draw the scenes of `dlcore.data.scenes.scenes` with the class of each pixel.

    Args:
      count: N, number of scenes.
      seed: as of `scenes`.
      stuff: tell the textures of the background apart, as `scenes` does; else the background is one class.
      **fields: of `scenes`: its sizes, most shapes and their overlap.

    Returns:
      The source; its images are those of `scenes`.
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
    """Count the pixels of each class, for weights of the classes.

    Args:
      source: with `semantic`.
      num_classes: C.

    Returns:
      (pixels of each class [C] int64, pixels other than void of the images that hold the class [C] int64).
    """
    own, beside = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    for labels in source.arrays["semantic"]:
        counts = np.bincount(labels.reshape(-1), minlength=256)[:num_classes]
        own += counts
        beside += np.where(counts > 0, counts.sum(), 0)
    return own, beside


def _layout_of(path: Path) -> str:
    if (path / "leftImg8bit").is_dir():
        return "cityscapes"
    return "ade20k" if (path / "annotations" / "training").is_dir() else "pairs"


_Content = tuple[tuple[str, ...], int, _Table, dict[str, list[_Pair]]]
"""Names of the classes (none where no file says them), the masks' own void, their table, and the pairs by split."""


def _numbered(num_classes: int, void: int) -> _Table:
    """Classes that are numbers already."""
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
    return tuple(CITYSCAPES.values()), VOID, table, pairs


def _ade20k(path: Path) -> _Content:
    classes = np.full(256, -1)
    classes[1 : 1 + ADE20K_CLASSES], classes[0] = np.arange(ADE20K_CLASSES), VOID
    table = _Table(classes, f"1 to {ADE20K_CLASSES}, or 0 for others")
    names, listing = tuple(f"class {k}" for k in range(1, ADE20K_CLASSES + 1)), path / "objectInfo150.txt"
    if listing.exists():
        rows = [line.split("\t") for line in listing.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
        names = tuple(row[-1].split(",")[0].strip() for row in rows)
        if len(names) != ADE20K_CLASSES:
            raise ValueError(f"{listing}: {len(names)} classes; allowed: {ADE20K_CLASSES}")
    pairs = {}
    for split, folder in (("train", "training"), ("valid", "validation")):
        images = sorted((path / "images" / folder).glob("*.jpg"))
        pairs[split] = [_on_disk(image, path / "annotations" / folder / f"{image.stem}.png", path) for image in images]
    return names, VOID, table, pairs


def _on_disk(image: Path, mask: Path, root: Path) -> _Pair:
    if not mask.exists():
        raise ValueError(f"{image}: has no mask; allowed: {mask}")
    return _Pair(str(image), str(mask), image.read_bytes, mask.read_bytes, str(image.relative_to(root)))


def _pairs(path: Path) -> _Content:
    files = _files(path)
    content = next((read() for name, read in files.items() if PurePosixPath(name).name == "classes.json"), None)
    names, void = (), VOID
    if content is not None:
        try:
            described = json.loads(content)
            names, void = tuple(map(str, described["classes"])), int(described.get("void", VOID))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: classes.json is no {{'classes': [...], 'void': 255}} ({error!r})") from None
    if not 0 <= void <= VOID or len(names) > VOID:
        raise ValueError(f"{path}: classes.json has void {void} and {len(names)} classes; allowed: 0 to 255 of both")
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for name in files:
        parts = PurePosixPath(name).parts
        kind = next((i for i in range(len(parts) - 1) if parts[i] in ("images", "masks")), None)
        if kind is None or not is_image(parts):
            continue
        key = str(PurePosixPath(*parts[:kind], *parts[kind + 1 :]).with_suffix(""))
        group = groups.setdefault(_split_of(parts[:kind]), {"images": {}, "masks": {}})[parts[kind]]
        if key in group:
            raise ValueError(f"{path}: {group[key]} and {name} have one name; allowed: an image and a mask of a name")
        group[key] = name
    pairs: dict[str, list[_Pair]] = {}
    for split, group in groups.items():
        for this, other in (("images", "masks"), ("masks", "images")):
            if alone := sorted(set(group[this]) - set(group[other])):
                name = group[this][alone[0]]
                raise ValueError(f"{path}: {name} has no file of its name in {other}; allowed: one of each")
        pairs[split] = [
            _Pair(
                f"{path}: {image}",
                f"{path}: {group['masks'][key]}",
                files[image],
                files[group["masks"][key]],
                image,
            )
            for key, image in sorted(group["images"].items())
        ]
    return names, void, _numbered(len(names) or VOID, void), pairs


def _split_of(parts: tuple[str, ...]) -> str:
    words = {part.lower() for part in parts}
    return next((split for split, names in _SPLITS.items() if words & set(names)), "train")


def _files(path: Path) -> Mapping[str, Callable[[], bytes]]:
    """Name -> function that reads, of a folder's files and of the members of its .zip files, or of one .zip."""
    if path.is_file():
        return _members(path, "")
    found: dict[str, Callable[[], bytes]] = {}
    for file in sorted(path.rglob("*")):
        name = str(PurePosixPath(*file.relative_to(path).parts))
        if file.suffix.lower() == ".zip" and file.parent == path:
            found |= _members(file, f"{file.stem}/")
        elif file.is_file():
            found[name] = file.read_bytes
    return found


def _members(path: Path, prefix: str) -> dict[str, Callable[[], bytes]]:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"data_dir={str(path)!r}: neither a folder nor a .zip")
    archive = zipfile.ZipFile(path)
    members = [member.filename for member in archive.infolist() if not member.is_dir()]
    return {f"{prefix}{name}": lambda name=name: archive.read(name) for name in members}


def _load(pairs: list[_Pair], size: tuple[int, int] | None, table: _Table) -> Source:
    """Decode the pairs of one split in threads; the first error by name is raised."""
    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(lambda pair: _decoded(pair, size, table), pairs))
    for pair, (image, _, _) in zip(pairs, rows, strict=True):
        if image.shape != rows[0][0].shape:
            raise ValueError(
                f"image_size=None: {pair.image} has {image.shape[:2]} pixels, {pairs[0].image} "
                f"{rows[0][0].shape[:2]}; allowed: height,width that all are resized to"
            )
    arrays = {"image": np.stack([row[0] for row in rows]), "semantic": np.stack([row[1] for row in rows])}
    names = np.array([pair.key for pair in pairs], object)
    return Source(arrays, len(pairs), names=names, sizes=np.array([row[2] for row in rows], np.int64))


def _decoded(pair: _Pair, size: tuple[int, int] | None, table: _Table) -> tuple[np.ndarray, np.ndarray, int]:
    from PIL import Image

    try:
        content, content_of_mask = pair.read_image(), pair.read_mask()
        image = decode_image(io.BytesIO(content), None, 3)
    except Exception as error:
        raise ValueError(f"{pair.image} cannot be read as an image ({error})") from None
    try:
        with Image.open(io.BytesIO(content_of_mask)) as opened:
            mode, values = opened.mode, np.asarray(opened)
    except Exception as error:
        raise ValueError(f"{pair.mask} cannot be read as an image ({error})") from None
    if values.ndim != 2:
        raise ValueError(f"{pair.mask}: a mask of mode {mode}; allowed: one channel, the number of each pixel's class")
    if values.shape != image.shape[:2]:
        raise ValueError(f"{pair.mask}: a mask of {values.shape} pixels; allowed: its image's {image.shape[:2]}")
    inside = (values >= 0) & (values <= 255)
    classes = np.where(inside, table.classes[np.where(inside, values, 0).astype(np.uint8)], -1)
    if (classes < 0).any():
        raise ValueError(f"{pair.mask}: value {values[classes < 0][0]}; allowed: {table.allowed}")
    labels = classes.astype(np.uint8)
    if size is not None and image.shape[:2] != size:
        image = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        labels = np.asarray(Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST))
    return image, labels, len(content)
