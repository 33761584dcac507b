"""Parquet files of images, as the Hugging Face hub stores them: a column of images and one of labels.

    image   struct {bytes, path}, or the encoded bytes themselves
    label   numbers, which the file's metadata may name (ClassLabel), or names

A Parquet file is read by row groups. The groups read last stay in memory, so that images in order are read once. An
image at random costs its whole group: data that exceed the memory limit are faster as files or WebDataset shards.

Format: https://parquet.apache.org/docs/file-format; the columns are `datasets.Image` and `datasets.ClassLabel`.
"""

import functools
import io
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from dlcore.choices import check_path, check_whole_number
from dlcore.data.image_folder import ImageFolder
from dlcore.data.shards import Record, list_shards, sharded_images
from dlcore.extras import require

__all__ = ["list_parquet"]

_GROUPS = 8
"""Row groups whose encoded images stay in memory."""


def list_parquet(path: str | Path, min_classes: int = 2, columns: tuple[str, str] | None = None) -> ImageFolder:
    """List the images of Parquet files.

    Args:
      path: path of a folder of .parquet files, or of one of them.
      min_classes: smallest number of classes; fewer raise ValueError. With 0, images need no labels.
      columns: names of the columns of images and of labels; None takes the only column of images, or `image` of
        several, and `label`, or the only column of class labels.

    Returns:
      The images by split, with their classes.

    Raises:
      FileNotFoundError: `path` does not exist.
    """
    check_path("path", path)
    check_whole_number("min_classes", min_classes, 0)
    require("pyarrow", what="a Parquet file")
    path = Path(path)
    splits = list_shards(path, (".parquet",))
    root = path if path.is_dir() else path.parent
    main = splits.get("train") or splits["all"]
    schema = _opened(main[0]).schema_arrow
    image, label = _columns(main[0], schema, columns, needs_labels=min_classes > 0)
    group_of = _group_reader(image)
    records = {
        split: [r for shard in shards for r in _records(shard, root, image, label, group_of, schema)]
        for split, shards in splits.items()
    }
    return sharded_images(path, records, _class_names(schema, label), min_classes)


def _opened(shard: Path) -> Any:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        return pq.ParquetFile(shard)
    except (ArrowException, OSError) as error:
        problem = str(error).split("\n")[0]
        raise ValueError(f"shard={str(shard)!r}: cannot be read as a Parquet file ({problem})") from None


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return the features that the hub's library writes beside the columns, by column; empty without them."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    features = json.loads(text).get("info", {}).get("features", {})
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _class_names(schema: Any, label: str | None) -> tuple[str, ...]:
    return tuple(_features(schema).get(label or "", {}).get("names") or ())


def _columns(shard: Path, schema: Any, columns: tuple[str, str] | None, needs_labels: bool) -> tuple[str, str | None]:
    """Choose and check the columns of images and of labels."""
    names, features = schema.names, _features(schema)
    if columns is None:
        images = [name for name in names if _is_image(schema.field(name).type)]
        labels = [name for name in names if features.get(name, {}).get("_type") == "ClassLabel"]
        columns = (_only(shard, "images", images, "image", names), _label_column(shard, labels, names, needs_labels))
    for name in filter(None, columns):
        if name not in names:
            raise ValueError(f"columns={name!r}: is not in {shard.name}; allowed: {', '.join(names)}")
    image, label = columns
    if not _is_image(schema.field(image).type):
        raise ValueError(f"columns={image!r}: {schema.field(image).type} in {shard.name}; allowed: images as bytes")
    if label is not None and not _is_label(schema.field(label).type):
        raise ValueError(f"columns={label!r}: {schema.field(label).type} in {shard.name}; allowed: integers, strings")
    return image, label


def _label_column(shard: Path, labels: Sequence[str], names: Sequence[str], needs_labels: bool) -> str | None:
    if "label" in names:
        return "label"
    return _only(shard, "labels", labels, "label", names) if needs_labels else None


def _only(shard: Path, what: str, candidates: Sequence[str], default_name: str, names: Sequence[str]) -> str:
    """Return the only candidate, or the one of the default name."""
    if default_name in candidates or len(candidates) == 1:
        return default_name if default_name in candidates else candidates[0]
    several = f"several columns of {what}, {', '.join(candidates)}" if candidates else f"no column of {what}"
    raise ValueError(
        f"columns=None: {shard.name} has {several}; allowed: the names of the images' and the labels' columns, out of "
        f"{', '.join(names)}"
    )


def _is_image(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_image(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_label(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _group_reader(image: str) -> Callable[[Path, int], Any]:
    """Return a function (shard, row group) -> its images, which keeps the groups read last."""
    lock = threading.Lock()

    @functools.lru_cache(maxsize=_GROUPS)
    def read(shard: Path, group: int) -> Any:
        with _opened(shard) as file:
            return file.read_row_group(group, columns=[image]).column(image)

    def group_of(shard: Path, group: int) -> Any:
        with lock:  # one thread reads a group, and the others take it
            return read(shard, group)

    return group_of


def _records(
    shard: Path, root: Path, image: str, label: str | None, group_of: Callable[[Path, int], Any], main_schema: Any
) -> list[Record]:
    records: list[Record] = []
    where = shard.relative_to(root).as_posix()
    with _opened(shard) as file:
        _columns(shard, file.schema_arrow, (image, label), needs_labels=label is not None)
        names, expected = _class_names(file.schema_arrow, label), _class_names(main_schema, label)
        if names and expected and names != expected:  # a shard of another tool than `datasets` has no names
            pairs = zip(names, expected, strict=False)  # the counts tell a missing one
            differ = next((pair for pair in pairs if pair[0] != pair[1]), None)
            these, those = map(repr, differ or (len(names), len(expected)))
            raise ValueError(
                f"shard={str(shard)!r}: its classes are others than in the first shard of training ({these} where that "
                f"has {those}); allowed: the same names in one order"
            )
        labels = [None] * file.metadata.num_rows if label is None else file.read([label]).column(label).to_pylist()
        for group in range(file.metadata.num_row_groups):
            facts = file.metadata.row_group(group)
            chunks = [facts.column(column) for column in range(facts.num_columns)]
            num_bytes = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] == image)
            for row in range(facts.num_rows):
                number = len(records)
                read = functools.partial(_open, group_of, shard, group, row)
                name, size = f"{where}:{number}", num_bytes // facts.num_rows
                records.append(Record(str(root / name), labels[number], read, name, size))
    return records


def _open(group_of: Callable[[Path, int], Any], shard: Path, group: int, row: int) -> IO[bytes]:
    value = group_of(shard, group)[row].as_py()
    data = value["bytes"] if isinstance(value, dict) else value
    if data is None:
        path = value.get("path") if isinstance(value, dict) else None
        raise ValueError(f"its row holds no bytes, only the path {path!r}" if path else "its row holds no image")
    return io.BytesIO(data)
