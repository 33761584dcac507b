"""Image classification data prepared by TensorFlow Datasets, read without TensorFlow and without a network.

The steps are those of `image_classification`: LIST the records, CHECK the size of their images, DECIDE, DECODE. A split
that fits in memory is decoded once into uint8 arrays, which `array_cache` keeps for the next run. With `workers`, a
split that does not fit, or whose images have several sizes, stays encoded in its records and is streamed; then only the
labels are read once and kept.
"""

import difflib
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from dlcore.choices import check_path
from dlcore.data.array_cache import cache_file, read_cache, write_cache
from dlcore.data.image_headers import SAMPLE_SIZE, default_crop_pct, read_header, take_evenly, target_size
from dlcore.data.source import Source
from dlcore.data.streaming import StreamedImages, streaming_note
from dlcore.data.workers import Workers
from dlcore.extras import require
from dlcore.json_content import parse_json
from dlcore.ops.checks import check_range

__all__ = ["prepared_datasets", "tfds_source", "tfds_sources", "tfds_splits"]

_CHUNK = 1000
_SIDE = 224
_SPLITS = {"train": "train", "valid": "validation", "test": "test"}


class _Records(NamedTuple):
    """An opened split; `records` decode their images, `encoded` do not. `name` is "NAME/SPLIT"."""

    name: str
    records: Any
    encoded: Any
    image_key: str
    label_key: str
    image: Any
    class_names: tuple[str, ...]


def tfds_sources(
    name: str,
    data_dir: str | Path | None,
    known: Sequence[str],
    limit_bytes: int,
    image_size: int | tuple[int, int] | None,
    workers: Workers,
) -> dict[str, Source]:
    """Load all splits of a prepared data set; see `tfds_source`.

    Args:
      name: name of the data set.
      data_dir: folder in which TFDS prepared it.
      known: names of other data sets, which the error about an unknown name may suggest.
      limit_bytes: maximum size of a split's decoded images in memory, in bytes.
      image_size: side or (H, W) in pixels of streamed images.
      workers: threads that decode streamed images.

    Returns:
      Split -> source: those of "train", "valid" and "test" that exist; "all" if the data set has only one split.

    Raises:
      FileNotFoundError: the data set is not prepared in `data_dir`.
    """
    check_range("limit_bytes", limit_bytes, 0)
    prepared = prepared_datasets(data_dir) if data_dir is not None else ()
    if name not in prepared and name.split("/")[0] not in (names := {*known, *prepared, *_tfds_names(name)}):
        close = difflib.get_close_matches(name, sorted(names))
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"allowed: {', '.join(known)}, ..."
        raise ValueError(f"dataset={name!r}: neither a data set of TFDS nor one of dlcore; {hint}")
    if data_dir is None:
        raise ValueError(
            f"data_dir=None: dataset {name!r} needs the folder in which TFDS prepared it; allowed: data_dir=FOLDER. "
            f"{_how_to_prepare(name, 'FOLDER')}"
        )
    splits = tfds_splits(name, data_dir)
    options = {"limit_bytes": limit_bytes, "image_size": image_size, "workers": workers}
    if len(splits) == 1:
        return {"all": tfds_source(name, splits[0], data_dir, **options)}
    return {
        ours: tfds_source(name, tfds_split, data_dir, **options)
        for ours, tfds_split in _SPLITS.items()
        if tfds_split in splits
    }


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
    """Load one split: `image: [N, H, W, C] uint8` and `label: [N] int32`.

    Args:
      name: name of the data set, with a config after "/" where it has several ("imagenet_resized/32x32").
      split: "train", "test", or a slice ("train[:10%]").
      data_dir: folder that holds NAME/VERSION/dataset_info.json, with the records in array_record format.
      cache: whether to keep the decoded arrays for the next call.
      limit_bytes: maximum size of decoded images in memory, in bytes.
      image_size: side or (H, W) in pixels, which needs `workers`: images of another size are streamed at this size.
        None takes the size of the images, or 224 if they differ.
      workers: threads that decode streamed images batch by batch: those of several sizes or of more than `limit_bytes`
        in all; a note of the source says so. None makes such data an error.

    Returns:
      The source of the split.

    Raises:
      FileNotFoundError: the data is not prepared; the message shows the command that prepares it.
    """
    check_path("data_dir", data_dir)
    check_range("limit_bytes", limit_bytes, 0)
    if image_size is not None and workers is None:
        raise ValueError(f"image_size={image_size}: images in memory keep their size; allowed: None, or with workers")
    folder = _version_folder(name, data_dir)
    file = cache_file(folder, split) if cache else None
    cached = read_cache(file) if file else None
    size = None if image_size is None else target_size(image_size)
    if cached is not None and (workers is None or _fits(cached[1]["image"].shape, limit_bytes, size)):
        class_names, arrays = cached
        return Source(arrays, class_names=class_names, name=f"{name}/{split}")
    data = _open(name, split, folder)
    shape = None if workers is None else _check_shape(data)
    if shape is None or _fits((len(data.records), *shape), limit_bytes, size):
        arrays = _decoded(data, split, limit_bytes)
        if file:
            write_cache(file, data.class_names, arrays)
        return Source(arrays, class_names=data.class_names, name=data.name)
    images, message = _streamed(data, shape, size, limit_bytes, workers)
    labels = _labels(data, file and file.with_suffix(".labels.npz"))
    return Source({"image": images, "label": labels}, None, data.class_names, data.name, (message,))


def tfds_splits(name: str, data_dir: str | Path) -> tuple[str, ...]:
    """List the splits of a prepared data set.

    Args:
      name: name of the data set.
      data_dir: folder in which TFDS prepared it.

    Returns:
      Their names.

    Raises:
      FileNotFoundError: the data set is not prepared.
    """
    check_path("data_dir", data_dir)
    return tuple(split["name"] for split in _info(_version_folder(name, data_dir))["splits"])


def prepared_datasets(data_dir: str | Path) -> tuple[str, ...]:
    """List the data sets prepared in a folder.

    Args:
      data_dir: folder, which need not exist.

    Returns:
      Their names, sorted.
    """
    check_path("data_dir", data_dir)
    depths = ("*/*/dataset_info.json", "*/*/*/dataset_info.json")
    files = [path for depth in depths for path in Path(data_dir).glob(depth)]
    return tuple(sorted({"/".join(path.relative_to(data_dir).parts[:-2]) for path in files}))


def _tfds_names(name: str) -> list[str]:
    require("tensorflow_datasets", what=f"dataset={name!r}, none of dlcore's own,")
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)


def _version_folder(name: str, data_dir: str | Path) -> Path:
    folders = [path.parent for path in (Path(data_dir) / name).glob("*/dataset_info.json")]
    if not folders:
        there = ", ".join(prepared_datasets(data_dir)) or ("none" if Path(data_dir).is_dir() else "no such folder")
        raise FileNotFoundError(
            f"data set {name!r} is not prepared in data_dir={str(data_dir)!r} (there: {there}). "
            f"{_how_to_prepare(name, data_dir)}"
        )
    readable = [folder for folder in folders if _file_format(folder) == "array_record"]
    if not readable:
        raise FileNotFoundError(
            f"data set {name!r} in data_dir={str(data_dir)!r} is stored as {_file_format(folders[0])!r}; only "
            f"'array_record' can be read without TensorFlow. {_how_to_prepare(name, data_dir)}"
        )
    return max(readable, key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.name)])


def _file_format(folder: Path) -> str:
    return _info(folder).get("fileFormat", "tfrecord")


def _info(folder: Path) -> dict[str, Any]:
    file = folder / "dataset_info.json"
    try:
        info = parse_json(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file}: not JSON ({error}); allowed: the file that TFDS wrote") from None
    splits = info.get("splits") if isinstance(info, dict) else None
    if not isinstance(splits, list) or not all(isinstance(split, dict) and "name" in split for split in splits):
        raise ValueError(f"{file}: lists no splits; allowed: the file that TFDS wrote")
    return info


def _how_to_prepare(name: str, data_dir: str | Path) -> str:
    return (
        "Prepare it, on a machine with a network, by: "
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{name}', data_dir='{data_dir}', file_format='array_record').download_and_prepare()\""
    )


def _open(name: str, split: str, folder: Path) -> _Records:
    """LIST the records of a split."""
    require("tensorflow_datasets", what=f"data set {name!r}")
    import tensorflow_datasets as tfds

    # A builder made from the folder alone cannot download, whatever the name.
    builder = tfds.builder_from_directory(folder)
    image_key, label_key = builder.info.supervised_keys or ("image", "label")
    features = dict(builder.info.features.items())
    image, label = features.get(image_key), features.get(label_key)
    if not isinstance(image, tfds.features.Image) or not isinstance(label, tfds.features.ClassLabel):
        raise ValueError(f"data set {name!r} has no image with a class label; its features are {sorted(features)}")
    try:
        records = builder.as_data_source(split)
        encoded = builder.as_data_source(split, decoders={image_key: tfds.decode.SkipDecoding()})
    except ValueError as error:
        raise ValueError(f"split={split!r}: unknown; allowed for {name!r}: {sorted(builder.info.splits)}") from error
    class_names = tuple(label.names or [str(i) for i in range(label.num_classes)])
    return _Records(f"{name}/{split}", records, encoded, image_key, label_key, image, class_names)


def _check_shape(data: _Records) -> tuple[int | None, int | None, int]:
    """CHECK the shape of the images: as declared, or that of a sample; (None, None, C) for several sizes."""
    shape = tuple(data.image.shape)
    if None not in shape[:2]:
        return shape
    rows = take_evenly(range(len(data.encoded)), SAMPLE_SIZE)
    sizes = {read_header(io.BytesIO(data.encoded[row][data.image_key]))[0] for row in rows}
    return (*(sizes.pop() if len(sizes) == 1 else (None, None)), shape[2])


def _fits(shape: tuple[int | None, ...], limit_bytes: int, size: tuple[int, int] | None) -> bool:
    """DECIDE whether images [N, H, W, C] go to memory: they have one size, the requested one, and fit the limit."""
    return None not in shape and math.prod(shape) <= limit_bytes and size in (None, tuple(shape[1:3]))


def _decoded(data: _Records, split: str, limit_bytes: int) -> dict[str, np.ndarray]:
    """DECODE all images to arrays in memory."""
    count = len(data.records)
    shape = np.asarray(data.records[0][data.image_key]).shape
    if count * math.prod(shape) > limit_bytes:
        raise ValueError(
            f"limit_bytes={limit_bytes}: {data.name} takes {count * math.prod(shape) / 2**30:.1f} GiB decoded, more "
            f"than {limit_bytes / 2**30:.1f} GiB; take a slice ('{split}[:10%]') or raise the limit"
        )
    images, labels = np.empty((count, *shape), np.uint8), np.empty(count, np.int32)
    for row, record in enumerate(_in_chunks(data.records)):
        image = np.asarray(record[data.image_key])
        if image.shape != shape or image.dtype != np.uint8:
            raise ValueError(
                f"{data.name}: image {row} is {image.dtype} {image.shape}, the first is {shape}; only uint8 images of "
                f"one size fit an array. Export them to folders and load 'folder' with image_size"
            )
        images[row], labels[row] = image, record[data.label_key]
    return {"image": images, "label": labels}


def _streamed(
    data: _Records,
    shape: tuple[int | None, int | None, int],
    size: tuple[int, int] | None,
    limit_bytes: int,
    workers: Workers,
) -> tuple[StreamedImages, str]:
    """Leave the images in their records, to DECODE batch by batch: (images, message that says so)."""
    several = None in shape[:2]
    if shape[2] not in (1, 3) or data.image.np_dtype != np.uint8:
        raise ValueError(f"{data.name}: only uint8 images of 1 or 3 channels are streamed, not {data.image}")
    size = size or target_size(_SIDE if several else shape[:2])
    images = StreamedImages(
        lambda record: data.encoded[record][data.image_key],
        lambda record: f"record {record} of {data.name}",
        np.arange(len(data.encoded)),
        size,
        shape[2],
        default_crop_pct(set() if several else {shape[:2]}, size),
        orient=False,
        workers=workers,
    )
    if math.prod(images.shape) > limit_bytes:
        return images, streaming_note(data.name, math.prod(images.shape), limit_bytes, images.shape[1:], workers)
    sizes = "several sizes" if several else f"{shape[0]} x {shape[1]}"
    return images, f"{data.name}: its images are of {sizes}; they are decoded when needed, to {images.shape[1:]}"


def _labels(data: _Records, file: Path | None) -> np.ndarray:
    cached = read_cache(file) if file else None
    if cached is not None:
        return cached[1]["label"]
    if len(data.encoded) > 100 * _CHUNK:
        logging.warning("%s: reading %s records for their labels, once", data.name, f"{len(data.encoded):,}")
    labels = np.array([record[data.label_key] for record in _in_chunks(data.encoded)], np.int32)
    if file:
        write_cache(file, (), {"label": labels})
    return labels


def _in_chunks(records: Any) -> Any:
    """Yield the records in order, read `_CHUNK` at a time."""
    for start in range(0, len(records), _CHUNK):
        yield from records.__getitems__(list(range(start, min(start + _CHUNK, len(records)))))
