"""Pairs of files: the images of a data set, and beside each the file that says something of its pixels.

    SPLIT/images/NAME.jpg   SPLIT/masks/NAME.png        or images/SPLIT/NAME.jpg and masks/SPLIT/NAME.png

SPLIT is train, val, test or another name of `split_names`; without one all are training data. A split may be a .zip.
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from dlcore.data.folders import files_below, open_zip
from dlcore.data.image_folder import is_image
from dlcore.data.split_names import allowed_names, check_one_name, split_of

__all__ = ["FilePair", "listed", "pair_files", "read_below"]

_SHOWN = 8


class FilePair(NamedTuple):
    """One image with the file beside it.

    Args:
      image: name of the image, for messages.
      other: name of the other file, for messages.
      read_image: gives the image's bytes.
      read_other: gives the other file's bytes.
      key: path of the image below the data set's folder.
    """

    image: str
    other: str
    read_image: Callable[[], bytes]
    read_other: Callable[[], bytes]
    key: str


def pair_files(
    path: Path, contents: Mapping[str, Callable[[], bytes]], kind: str, is_other: Callable[[Sequence[str]], bool]
) -> tuple[dict[str, list[FilePair]], tuple[str, ...]]:
    """Pair the files below `images` with those of the same names below another folder.

    Args:
      path: folder or .zip of the data set, for errors.
      contents: {path below it: function that reads the file}, as of `read_below`.
      kind: name of the other folder, such as masks.
      is_other: whether the parts of a path in that folder name such a file.

    Returns:
      ({train, valid or test: its pairs, in the order of their names}, a message where no folder is a split).
    """
    kinds = {}
    for name in contents:
        parts = PurePosixPath(name).parts
        index = next((i for i in range(len(parts) - 1) if parts[i].lower() in ("images", kind)), None)
        if index is not None and (is_image if parts[index].lower() == "images" else is_other)(parts):
            kinds[name] = index
    split_by_name, messages = _splits_of(kinds, path, kind)
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for name, index in kinds.items():
        parts = PurePosixPath(name).parts
        key = str(PurePosixPath(*parts[:index], *parts[index + 1 :]).with_suffix(""))
        group = groups.setdefault(split_by_name[name], {"images": {}, kind: {}})[parts[index].lower()]
        if key in group:
            raise ValueError(f"{path}: {group[key]} and {name} have the same name; allowed: one of a name")
        group[key] = name
    pairs: dict[str, list[FilePair]] = {}
    for split, group in groups.items():
        for this, other in (("images", kind), (kind, "images")):
            if unpaired := sorted(set(group[this]) - set(group[other])):
                name = group[this][unpaired[0]]
                raise ValueError(f"{path}: {name} has no file of its name in {other}; allowed: one of each")
        pairs[split] = [
            FilePair(f"{path}: {image}", f"{path}: {other}", contents[image], contents[other], image)
            for image, other in ((group["images"][key], group[kind][key]) for key in sorted(group["images"]))
        ]
    return pairs, messages


def read_below(path: Path) -> Mapping[str, Callable[[], bytes]]:
    """Find the files in a folder and the members of its .zip files, or of one .zip.

    Args:
      path: the folder or .zip.

    Returns:
      {path below it: function that gives the bytes}.
    """
    if path.is_file():
        return _members(path, "")
    files: dict[str, Callable[[], bytes]] = {}
    for file in files_below(path):
        name = str(PurePosixPath(*file.relative_to(path).parts))
        if file.suffix.lower() == ".zip" and file.parent == path:
            files |= _members(file, f"{file.stem}/")
        else:
            files[name] = file.read_bytes
    return files


def _members(path: Path, prefix: str) -> dict[str, Callable[[], bytes]]:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"data_dir={str(path)!r}: neither a folder nor a .zip")
    archive = open_zip(path)
    members = [member.filename for member in archive.infolist() if not member.is_dir()]
    return {f"{prefix}{name}": lambda name=name: archive.read(name) for name in members}


def _splits_of(kinds: Mapping[str, int], path: Path, kind_name: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Find the split of each file by its other folders; and a message if no folder is a split."""
    split_of_folder, splits, other = {}, set(), {}
    for name, kind in kinds.items():
        parts = PurePosixPath(name).parts
        folders = (*parts[:kind], *parts[kind + 1 : -1])
        here = [folder for folder in folders if split_of(folder)]
        if len({split_of(folder) for folder in here}) > 1:
            raise ValueError(f"{path}: {name} is below {' and below '.join(here)}; allowed: one split")
        splits |= set(here)
        split_of_folder[name] = split_of(here[0]) if here else None
        if not here:
            other.setdefault(folders[0] if folders else parts[kind], name)
    check_one_name(splits, str(path))
    if splits and other:
        folder, name = next(iter(other.items()))
        raise ValueError(
            f"{path}: {name} is in no split, and {', '.join(sorted(splits))} are there; allowed instead of {folder!r}: "
            f"{allowed_names()}"
        )
    folder_names = sorted(other) if len(set(other) - {"images", kind_name}) > 1 else ()
    messages = (f"{path}: no folder is a split ({allowed_names()}); training data is all of {listed(folder_names)}",)
    return {name: split or "train" for name, split in split_of_folder.items()}, messages if folder_names else ()


def listed(values: Any) -> str:
    """List the first few of several values for a message.

    Args:
      values: the values.

    Returns:
      Their text.
    """
    formatted = [str(value) for value in values]
    more = f" and {len(formatted) - _SHOWN} more, to {formatted[-1]}" if len(formatted) > _SHOWN else ""
    return ", ".join(formatted[:_SHOWN]) + more
