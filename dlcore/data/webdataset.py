"""WebDataset shards: .tar files whose members of one name up to the first dot are one sample.

    00012.jpg    the image, in any format that dlcore reads
    00012.cls    its class: a number, or a name
    00012.json   in place of .cls: {"label": number or name, ...}

The members are indexed once, by the headers of the .tar. An image is then read by its offset, in any order, where the
package `webdataset` streams a shard from its first byte and shuffles within a buffer. `classnames.txt` in the folder
names the classes 0, 1, ..., one a line.

Format: Aizman, Maltby & Breuel 2019, arXiv:2001.01858.
"""

import functools
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from dlcore.choices import check_path, check_whole_number
from dlcore.data.image_folder import EXTENSIONS, ImageFolder
from dlcore.data.shards import Record, list_shards, sharded_images
from dlcore.data.text import read_utf8
from dlcore.json_content import parse_json

__all__ = ["list_webdataset"]


def list_webdataset(path: str | Path, min_classes: int = 2) -> ImageFolder:
    """List the images of WebDataset shards.

    Args:
      path: path of a folder of .tar files, or of one .tar file.
      min_classes: smallest number of classes; fewer raise ValueError. With 0, images need no labels.

    Returns:
      The images by split, with their classes.

    Raises:
      FileNotFoundError: `path` does not exist.
    """
    check_path("path", path)
    check_whole_number("min_classes", min_classes, 0)
    path = Path(path)
    splits = list_shards(path, (".tar", ".tar.gz", ".tgz"))
    root = path if path.is_dir() else path.parent
    records = {
        split: [record for shard in shards for record in _records(shard, root, split, needs_labels=min_classes > 0)]
        for split, shards in splits.items()
    }
    names_file = root / "classnames.txt"
    class_names = _class_names(names_file) if names_file.is_file() else []
    return sharded_images(path, records, class_names, min_classes)


def _class_names(file: Path) -> list[str]:
    names = [line.strip() for line in read_utf8(file, "classnames").rstrip().split("\n")]
    if "" in names:
        raise ValueError(f"classnames={str(file)!r}: line {names.index('') + 1} is empty; allowed: a name a line")
    return names


def _records(shard: Path, root: Path, split: str, needs_labels: bool) -> Iterator[Record]:
    """Yield the records of a shard, in the order of their images."""
    where = shard.relative_to(root).as_posix()
    samples = _samples(shard)
    num_images, without = 0, []
    for name, members in samples.items():
        images = [ending for ending in members if f".{ending.lower()}" in EXTENSIONS]
        if len(images) > 1:
            raise ValueError(f"shard={str(shard)!r}: sample {name} holds {', '.join(images)}; allowed: one image")
        if not images:
            without += [name] if "cls" in members else []
            continue
        num_images += 1
        label = _label(shard, name, members)
        if label is None and needs_labels:
            raise ValueError(f"shard={str(shard)!r}: sample {name} without a label; allowed: {name}.cls or .json")
        image = members[images[0]]
        key = f"{where}:{image.name}"
        read = functools.partial(_open, shard, image.offset_data, image.size)
        yield Record(f"{root / where}:{image.name}", label, read, key, image.size)
    if not num_images:
        raise ValueError(f"shard={str(shard)!r}: holds no image; allowed: NAME{', NAME'.join(EXTENSIONS[:4])}, ...")
    if without:
        raise ValueError(f"shard={str(shard)!r}: sample {without[0]} has a label and no image; allowed: both")


def _samples(shard: Path) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Index a shard: name of a sample -> {ending after the first dot: member}."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            members = [member for member in archive if not member.isdir()]
    except tarfile.TarError as error:
        raise ValueError(
            f"shard={str(shard)!r}: cannot be read as a .tar ({error}); allowed: a .tar without compression"
        ) from None
    with open(shard, "rb") as file:
        file.seek(-tarfile.BLOCKSIZE, os.SEEK_END)
        if any(file.read()):
            raise ValueError(f"shard={str(shard)!r}: cut off, its end mark is missing; allowed: a whole .tar")
    if links := [member.name for member in members if not member.isfile()]:
        raise ValueError(f"shard={str(shard)!r}: {links[0]} is a link; allowed: files (tar --dereference)")
    for member in members:
        file = PurePosixPath(member.name)
        first, dot, ending = file.name.partition(".")
        if not first or not dot or "__MACOSX" in file.parts:
            continue
        sample = samples.setdefault(str(file.parent / first), {})
        if ending in sample:
            raise ValueError(f"shard={str(shard)!r}: holds {member.name} twice; allowed: each member once")
        sample[ending] = member
    return samples


def _label(shard: Path, name: str, members: dict[str, tarfile.TarInfo]) -> int | str | None:
    for ending in ("cls", "json"):
        if ending not in members:
            continue
        content = _open(shard, members[ending].offset_data, members[ending].size).read()
        text = content.decode("utf-8-sig", "replace").strip()
        if ending == "cls":
            return int(text) if text.removeprefix("-").isdecimal() else text or None
        try:
            values = parse_json(text)
        except ValueError as error:
            raise ValueError(f"shard={str(shard)!r}: {name}.json is no JSON ({error})") from None
        label = values.get("label") if isinstance(values, dict) else None
        if label is not None and (isinstance(label, bool) or not isinstance(label, int | str)):
            raise ValueError(f"shard={str(shard)!r}: {name}.json has the label {label!r}; allowed: a number or a name")
        return label
    return None


def _open(shard: Path, offset: int, size: int) -> IO[bytes]:
    with open(shard, "rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise ValueError(f"the file ends after {len(data)} of its {size} bytes")
    return io.BytesIO(data)
