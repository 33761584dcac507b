"""Image classification data prepared by TensorFlow Datasets, read without TensorFlow and without a network.

A split is decoded once into uint8 arrays, which are kept as one file under `$XDG_CACHE_HOME/dlcore` (or
`~/.cache/dlcore`), keyed by the files it came from. What does not fit, and images of several sizes, stay encoded in
their records, where `workers` are given; then it is the labels that are read once and kept.
"""

import hashlib
import io
import json
import math
import os
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from dlcore.data.images import header, target_size
from dlcore.data.source import Source
from dlcore.data.streaming import StreamedImages, Workers, evenly, kept_share, on_disk

__all__ = ["prepared_datasets", "tfds_source", "tfds_splits"]

_CHUNK = 1000
_LOOKED_AT = 1000
_SIDE = 224


def tfds_source(
    name: str,
    split: str,
    data_dir: str | Path,
    *,
    cache: bool = True,
    limit_bytes: int = 4 * 2**30,
    image_size: int | tuple[int, int] | None = None,
    workers: Workers | None = None,
) -> Source:
    """`image: [N, H, W, C] uint8` and `label: [N] int32` of one split.

    name: of the data set, with a config after "/" where it has several ("imagenet_resized/32x32").
    split: "train", "test", or a slice ("train[:10%]").
    data_dir: the folder that holds NAME/VERSION/dataset_info.json, with the records in array_record format.
    cache: keep the decoded arrays for the next call.
    limit_bytes: the most that the decoded images may take.
    workers: what decodes images of several sizes, or that take more than `limit_bytes`, as they are needed
        (`StreamedImages`, and a note says so); without them such data is an error.
    image_size: s or (H, W), with workers; images of another size are decoded as needed. By default their own size, or
        224 where they differ.

    Raises: FileNotFoundError where the data is not prepared, with the command that does it; ValueError for another
    split, a data set without image and class label, images of several sizes, or more than `limit_bytes`.
    """
    folder = _version_folder(name, data_dir)
    kept = _cache_file(folder, split) if cache else None
    found = _restore(kept) if kept else None
    if workers is not None and not (found and _suits(found[1]["image"], limit_bytes, image_size)):
        streamed = _streamed(name, split, folder, kept, limit_bytes, image_size, workers)
        if streamed is not None:
            return streamed
    if found is None:
        found = _decode(name, split, folder, limit_bytes)
        if kept:
            _keep(kept, *found)
    class_names, arrays = found
    return Source(arrays, class_names=class_names, name=f"{name}/{split}")


def tfds_splits(name: str, data_dir: str | Path) -> tuple[str, ...]:
    """The names of the splits of a prepared data set. Raises FileNotFoundError as `tfds_source` does."""
    info = json.loads((_version_folder(name, data_dir) / "dataset_info.json").read_text())
    return tuple(split["name"] for split in info["splits"])


def prepared_datasets(data_dir: str | Path) -> tuple[str, ...]:
    """The names of the data sets prepared in `data_dir`, sorted; none where the folder does not exist."""
    depths = ("*/*/dataset_info.json", "*/*/*/dataset_info.json")
    found = [path for depth in depths for path in Path(data_dir).glob(depth)]
    return tuple(sorted({"/".join(path.relative_to(data_dir).parts[:-2]) for path in found}))


def _version_folder(name: str, data_dir: str | Path) -> Path:
    folders = [path.parent for path in (Path(data_dir) / name).glob("*/dataset_info.json")]
    if not folders:
        there = ", ".join(prepared_datasets(data_dir)) or ("none" if Path(data_dir).is_dir() else "no such folder")
        raise FileNotFoundError(
            f"data set {name!r} is not prepared in {str(data_dir)!r} (there: {there}). "
            f"{_how_to_prepare(name, data_dir)}"
        )
    readable = [folder for folder in folders if _file_format(folder) == "array_record"]
    if not readable:
        raise FileNotFoundError(
            f"data set {name!r} in {str(data_dir)!r} is stored as {_file_format(folders[0])!r}; only 'array_record' "
            f"can be read without TensorFlow. {_how_to_prepare(name, data_dir)}"
        )
    return max(readable, key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.name)])


def _file_format(folder: Path) -> str:
    return json.loads((folder / "dataset_info.json").read_text()).get("fileFormat", "tfrecord")


def _how_to_prepare(name: str, data_dir: str | Path) -> str:
    return (
        "Prepare it, on a machine with a network, by: "
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', data_dir='{data_dir}', file_format='array_record').download_and_prepare()\""
    )


def _open(name: str, split: str, folder: Path, encoded: bool = False) -> tuple[Any, str, str, Any, Any]:
    """(records, image key, label key, image feature, label feature); images as they are stored where `encoded`."""
    import tensorflow_datasets as tfds

    # A builder made from the folder alone cannot download, whatever the name.
    builder = tfds.builder_from_directory(folder)
    image_key, label_key = builder.info.supervised_keys or ("image", "label")
    features = dict(builder.info.features.items())
    image_feature, label_feature = features.get(image_key), features.get(label_key)
    if not isinstance(image_feature, tfds.features.Image) or not isinstance(label_feature, tfds.features.ClassLabel):
        raise ValueError(f"data set {name!r} has no image with a class label; its features are {sorted(features)}")
    decoders = {image_key: tfds.decode.SkipDecoding()} if encoded else None
    try:
        records = builder.as_data_source(split, decoders=decoders)
    except ValueError as error:
        raise ValueError(f"split is {split!r}; {name!r} has {sorted(builder.info.splits)}") from error
    return records, image_key, label_key, image_feature, label_feature


def _streamed(
    name: str,
    split: str,
    folder: Path,
    kept: Path | None,
    limit_bytes: int,
    image_size: int | tuple[int, int] | None,
    workers: Workers,
) -> Source | None:
    """The split with its images left in their records; None where they are of one size and fit."""
    records, image_key, label_key, feature, label_feature = _open(name, split, folder, encoded=True)
    count, shape = len(records), tuple(feature.shape)
    if None in shape[:2]:
        sizes = {header(io.BytesIO(records[row][image_key]))[0] for row in evenly(range(count), _LOOKED_AT)}
        shape = (*(sizes.pop() if len(sizes) == 1 else (None, None)), shape[2])
    wanted = image_size is None or target_size(image_size) == shape[:2]
    if None not in shape[:2] and wanted and count * math.prod(shape) <= limit_bytes:
        return None
    if shape[2] not in (1, 3) or feature.np_dtype != np.uint8:
        raise ValueError(f"{name}/{split}: only uint8 images of 1 or 3 channels are streamed, not {feature}")
    size = target_size(image_size or (_SIDE if None in shape[:2] else shape[:2]))
    labels = _labels(f"{name}/{split}", records, label_key, kept and kept.with_suffix(".labels.npz"))
    images = StreamedImages(
        lambda record: records[record][image_key], lambda record: f"record {record} of {name}/{split}",
        np.arange(count), size, shape[2], kept_share({shape[:2]} - {(None, None)}, size), orient=False, workers=workers,
    )  # fmt: skip
    if count * math.prod(images.shape[1:]) > limit_bytes:
        note = on_disk(f"{name}/{split}", math.prod(images.shape), limit_bytes, images.shape[1:], workers)
    else:
        sizes = "several sizes" if None in shape[:2] else f"{shape[0]} x {shape[1]}"
        note = f"{name}/{split}: its images are of {sizes}; they are decoded when needed, to {images.shape[1:]}"
    return Source({"image": images, "label": labels}, None, _names(label_feature), f"{name}/{split}", (note,))


def _suits(images: np.ndarray, limit_bytes: int, image_size: int | tuple[int, int] | None) -> bool:
    return images.nbytes <= limit_bytes and (image_size is None or images.shape[1:3] == target_size(image_size))


def _labels(name: str, records: Any, label_key: str, kept: Path | None) -> np.ndarray:
    found = _restore(kept) if kept else None
    if found is not None:
        return found[1]["label"]
    if len(records) > 100 * _CHUNK:
        logging.warning("%s: reading %s records for their labels, once", name, f"{len(records):,}")
    chunks = (range(i, min(i + _CHUNK, len(records))) for i in range(0, len(records), _CHUNK))
    labels = [record[label_key] for rows in chunks for record in records.__getitems__(list(rows))]
    labels = np.array(labels, np.int32)
    if kept:
        _keep(kept, (), {"label": labels})
    return labels


def _names(label_feature: Any) -> tuple[str, ...]:
    return tuple(label_feature.names or [str(i) for i in range(label_feature.num_classes)])


def _decode(name: str, split: str, folder: Path, limit_bytes: int) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    records, image_key, label_key, _, label_feature = _open(name, split, folder)
    shape = np.asarray(records[0][image_key]).shape
    if len(records) * np.prod(shape) > limit_bytes:
        raise ValueError(
            f"{name}/{split} takes {len(records) * np.prod(shape) / 2**30:.1f} GiB decoded, more than limit_bytes = "
            f"{limit_bytes / 2**30:.1f} GiB; take a slice ('{split}[:10%]') or raise the limit"
        )
    images = np.empty((len(records), *shape), np.uint8)
    labels = np.empty(len(records), np.int32)
    for start in range(0, len(records), _CHUNK):
        rows = range(start, min(start + _CHUNK, len(records)))
        for row, record in zip(rows, records.__getitems__(list(rows)), strict=True):
            image = np.asarray(record[image_key])
            if image.shape != shape or image.dtype != np.uint8:
                raise ValueError(
                    f"{name}/{split}: image {row} is {image.dtype} {image.shape}, the first is {shape}; only uint8 "
                    f"images of one size fit an array. Export them to folders and load 'folder' with image_size"
                )
            images[row], labels[row] = image, record[label_key]
    return _names(label_feature), {"image": images, "label": labels}


def _cache_file(folder: Path, split: str) -> Path:
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())]
    key = hashlib.sha256(json.dumps([1, str(folder.resolve()), split, files]).encode()).hexdigest()[:24]
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "dlcore" / f"tfds-{key}.npz"


def _restore(path: Path) -> tuple[tuple[str, ...], dict[str, np.ndarray]] | None:
    try:
        with np.load(path) as saved:
            arrays = {key: saved[key] for key in saved.files}
        return tuple(arrays.pop("class_names").tolist()), arrays
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _keep(path: Path, class_names: tuple[str, ...], arrays: dict[str, np.ndarray]) -> None:
    """Write beside the target and rename, so that another process never reads half a file; no room is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            try:
                np.savez(file, class_names=np.array(class_names), **arrays)
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError:
        return
