"""Step 1 of loading images, LIST: the image files of a folder or .zip, with their splits and classes.

The class of an image is the folder it lies in, named by its path below the root ("cat", "animals/cat"); outer folders
that contain all images are left out of the name. Where the root holds `train` and `test` (or `val`) folders, these are
the splits; `split_names` lists their allowed names. Any other folder beside them is an error, and so are the same
classes under several folders that are not splits. No image is opened here.
"""

import functools
import io
import itertools
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from dlcore.choices import check_path, check_whole_number
from dlcore.data.folders import is_visible, open_zip, walk
from dlcore.data.split_names import allowed_names, check_one_name, split_of

__all__ = [
    "EXTENSIONS",
    "UNLABELED",
    "ImageFile",
    "ImageFolder",
    "is_image",
    "list_folder",
    "list_images",
    "list_unlabeled",
]

EXTENSIONS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".dib", ".gif", ".webp", ".avif", ".avifs"),
    *(".heic", ".heif", ".jp2", ".j2k", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx", ".qoi"),
)
"""Endings of the names of image files. A file with one of them that Pillow cannot decode (.heic without a plugin) is
an error, not left out."""
UNLABELED = "unlabeled"
"""Name of the single class of images without class folders."""
_SHOWN = 5
"""Largest number of classes that an error message lists."""


class ImageFile(NamedTuple):
    """An image file with its class.

    Args:
      name: path for messages: the path on disk, or "archive.zip:member".
      label: class, an index into `ImageFolder.class_names`.
      open: function that opens the file for reading bytes.
      key: path relative to the data set: split, class and file, as in "train/cat/1.png"; without splits "cat/1.png".
      size: size of the file in bytes.
    """

    name: str
    label: int
    open: Callable[[], IO[bytes]]
    key: str = ""
    size: int = 0


class ImageFolder(NamedTuple):
    """The listing of a data set.

    Args:
      name: last part of the path.
      path: path of the folder or .zip.
      splits: split -> its files, sorted by path: `train` with `valid` and/or `test`, or `all` alone.
      class_names: names of the main split's classes, sorted.
      num_outside: number of images that lie in no class folder and are left out.
      main: split that decides classes and size: `train`, or `all` where there are no splits.
      zipped: whether the files are members of a .zip.
      without_images: folders without an image, each with the ending of a file in it, or the reason: "birds (.raw)",
        "emus (empty)", ".c (hidden)" for a name that starts with a dot.
    """

    name: str
    path: str
    splits: dict[str, list[ImageFile]]
    class_names: tuple[str, ...]
    num_outside: int
    main: str
    zipped: bool
    without_images: tuple[str, ...] = ()


class _Entry(NamedTuple):
    name: str
    parts: tuple[str, ...]
    open: Callable[[], IO[bytes]]
    size: int

    @property
    def class_name(self) -> str:
        return "/".join(self.parts[:-1])


def list_folder(path: str | Path, min_classes: int = 2) -> ImageFolder:
    """List a folder or .zip that holds one folder of image files per class.

    Args:
      path: path of the folder or .zip file.
      min_classes: smallest number of classes; fewer raise ValueError. With 0, images in fewer than two class folders
        all get the single class UNLABELED.

    Returns:
      The files by split, with their classes.

    Raises:
      FileNotFoundError: `path` does not exist.
    """
    check_path("path", path)
    check_whole_number("min_classes", min_classes, 0)
    path = Path(path)
    entries, without = _entries(path)
    by_split = _flat_by_split(str(path), entries) if min_classes == 0 else {}
    classes = {entry.class_name for group in by_split.values() for entry in group} - {""}
    flat = min_classes == 0 and len(classes) < 2
    groups = by_split if flat else _by_split(str(path), entries)
    names = (UNLABELED,) if flat else _class_names(str(path), groups, min_classes)
    number = {"" if flat else class_name: label for label, class_name in enumerate(names)}
    splits = {
        split: [
            ImageFile(
                entry.name,
                number["" if flat else entry.class_name],
                entry.open,
                "/".join(entry.parts if split == "all" else (split, *entry.parts)),
                entry.size,
            )
            for entry in group
        ]
        for split, group in groups.items()
    }
    num_outside = len(entries) - sum(map(len, groups.values()))
    main = "train" if "train" in splits else "all"
    return ImageFolder(path.resolve().name, str(path), splits, names, num_outside, main, path.is_file(), without)


def list_unlabeled(path: str | Path) -> ImageFolder:
    """List all images below a folder or in a .zip; no folder is a class or a split.

    Args:
      path: path of the folder or .zip file.

    Returns:
      The files as the split `all`, of the single class UNLABELED.

    Raises:
      FileNotFoundError: `path` does not exist.
    """
    check_path("path", path)
    path = Path(path)
    entries, without = _entries(path)
    files = [ImageFile(entry.name, 0, entry.open, "/".join(entry.parts), entry.size) for entry in entries]
    return ImageFolder(path.resolve().name, str(path), {"all": files}, (UNLABELED,), 0, "all", path.is_file(), without)


def list_images(path: str | Path) -> list[Path]:
    """List the image files below a folder, without hidden files; a folder that several links lead to is listed once.

    Args:
      path: path of a folder, or of one file, which is returned unchanged.

    Returns:
      Paths that begin with `path`, sorted.

    Raises:
      FileNotFoundError: `path` does not exist.
    """
    check_path("path", path)
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"path={str(path)!r}: no such file or folder")
    return _listed(path)[0]


def _listed(path: Path) -> tuple[list[Path], tuple[str, ...]]:
    """List the images below a folder, sorted, and its folders without an image."""
    images, other_files = [], []
    for folder, names in walk(path):
        below = folder.relative_to(path)
        for name in names or ([] if any(folder.iterdir()) else ["empty"]):
            (images if is_image((below / name).parts) else other_files).append(folder / name)
    if not images:
        raise ValueError(f"path={str(path)!r}: holds no image; allowed: {', '.join(EXTENSIONS)}")
    parts = ([file.relative_to(path).parts for file in files] for files in (images, other_files))
    return sorted(images), _without_images(*parts)


def is_image(parts: tuple[str, ...]) -> bool:
    """Return whether a path names an image that is neither hidden nor one of macOS's resource forks.

    Args:
      parts: parts of the path relative to the root of the data set.

    Returns:
      True for an image.
    """
    return is_visible(parts) and parts[-1].lower().endswith(EXTENSIONS)


def _without_images(images: Iterable[tuple[str, ...]], other_files: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """List folders below the root that give no image, each with the ending of one of its files, "empty" or "hidden"."""
    some = {parts[:depth] for parts in images for depth in range(len(parts))}
    other_files = list(other_files)
    hidden = {
        parts[: depth + 1]
        for parts in other_files
        if "__MACOSX" not in parts and not parts[-1].startswith(".") and parts[-1].lower().endswith(EXTENSIONS)
        for depth in [next(i for i, part in enumerate(parts) if part.startswith("."))]
    }
    endings = {parts[:-1]: PurePosixPath(parts[-1]).suffix or parts[-1] for parts in other_files if is_visible(parts)}
    reasons = {folder: endings[folder] for folder in set(endings) - some - {()}} | dict.fromkeys(hidden, "hidden")
    return tuple(f"{'/'.join(folder)} ({reasons[folder]})" for folder in sorted(reasons))


def _entries(path: Path) -> tuple[list[_Entry], tuple[str, ...]]:
    """List the images of a folder or .zip, and its folders without an image."""
    if path.is_dir():
        images, without = _listed(path)
        entries = [
            _Entry(str(f), f.relative_to(path).parts, functools.partial(open, f, "rb"), _size(f)) for f in images
        ]
        return entries, without
    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r}: no such folder or .zip")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"path={str(path)!r}: neither a folder nor a .zip")
    archive = open_zip(path)
    members = {
        member.filename: member.file_size
        for member in archive.infolist()
        if not member.is_dir() and is_image(PurePosixPath(member.filename).parts)
    }
    if not members:
        raise ValueError(f"path={str(path)!r}: holds no image; allowed: {', '.join(EXTENSIONS)}")
    entries = [
        _Entry(f"{path}:{name}", PurePosixPath(name).parts, functools.partial(_open_member, archive, name), size)
        for name, size in sorted(members.items())
    ]
    other_files = {member.filename for member in archive.infolist() if not member.is_dir()} - members.keys()
    return entries, _without_images(
        *([PurePosixPath(name).parts for name in names] for names in (members, other_files))
    )


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 for a broken link, which is reported when it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _open_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    return io.BytesIO(archive.read(name))


def _by_split(path: str, entries: list[_Entry]) -> dict[str, list[_Entry]]:
    entries = _unwrapped(entries)
    if not entries:
        raise ValueError(f"path={path!r}: its images lie in no class folders; put those of each class in a folder")
    top = sorted({entry.parts[0] for entry in entries})
    splits = {name: split for name in top if (split := split_of(name))}
    deep = {entry.parts[0] for entry in entries if len(entry.parts) > 2}
    if len(set(splits.values())) < 2 and not deep & set(splits):  # a class may be called train
        _check_repeats(path, entries)
        return {"all": entries}
    if unknown := [name for name in top if name not in splits]:
        raise ValueError(f"{path=}: {unknown[0]!r} is no split; allowed: {allowed_names()}")
    if "train" not in splits.values():
        raise ValueError(f"path={path!r}: {', '.join(splits)} and no training split; allowed: 'train', too")
    check_one_name(splits, f"path={path!r}")
    groups: dict[str, list[_Entry]] = {}
    for name, split in splits.items():
        inside = [entry._replace(parts=entry.parts[1:]) for entry in entries if entry.parts[0] == name]
        if any(len(entry.parts) < 2 for entry in inside):
            raise ValueError(f"path={path!r}: images lie in {name!r} itself; put those of each class in a folder")
        groups[split] = inside
    return groups


def _check_repeats(path: str, entries: list[_Entry]) -> None:
    """Raise where several folders hold the same classes: most likely they are splits with unknown names."""
    below: dict[str, set[str]] = {}
    for entry in entries:
        below.setdefault(entry.parts[0], set()).add("/".join(entry.parts[1:-1]))
    for name, other in itertools.combinations(sorted(below), 2):
        shared = below[name] & below[other]
        if len(shared) > 1 and 2 * len(shared) >= min(len(below[name]), len(below[other])):
            repeated = ", ".join(repr(c) for c in sorted(shared)[:_SHOWN])
            raise ValueError(
                f"path={path!r}: the classes {repeated} are below {name!r} and below {other!r}; allowed: splits called "
                f"{allowed_names()}, or each class once (rename folders whose classes differ by where they lie)"
            )
    for name, classes in below.items():
        children = sorted({c.split("/")[0] for c in classes if split_of(c.split("/")[0])})
        if len({split_of(child) for child in children}) > 1:
            raise ValueError(f"{path=}: {', '.join(children)} below {name!r}, which is not all; allowed: all there")
        if deeper := [e._replace(parts=e.parts[1:]) for e in entries if e.parts[0] == name and len(e.parts) > 2]:
            _check_repeats(path, deeper)


def _flat_by_split(path: str, entries: list[_Entry]) -> dict[str, list[_Entry]]:
    """Group all images by split (or as `all`), at whatever depth below it they lie."""
    while len({entry.parts[0] for entry in entries}) == 1 and all(len(entry.parts) > 1 for entry in entries):
        entries = [entry._replace(parts=entry.parts[1:]) for entry in entries]
    top = sorted({entry.parts[0] for entry in entries if len(entry.parts) > 1})
    splits = {name: split for name in top if (split := split_of(name))}
    if "train" not in splits.values() or len(set(splits.values())) < 2:
        return {"all": entries}
    check_one_name(splits, f"path={path!r}")
    return {
        split: [entry._replace(parts=entry.parts[1:]) for entry in entries if entry.parts[0] == name]
        for name, split in splits.items()
    }


def _unwrapped(entries: list[_Entry]) -> list[_Entry]:
    """Drop outer folders that contain all images, up to the class folder; drop images beside class folders."""
    while True:
        entries = [entry for entry in entries if len(entry.parts) > 1]
        if len({entry.parts[0] for entry in entries}) != 1 or all(len(entry.parts) == 2 for entry in entries):
            return entries
        entries = [entry._replace(parts=entry.parts[1:]) for entry in entries]


def _class_names(path: str, groups: dict[str, list[_Entry]], min_classes: int) -> tuple[str, ...]:
    names = tuple(sorted({entry.class_name for entry in groups.get("train", groups.get("all", []))}))
    if len(names) < min_classes:
        are_all = "is the only class" if len(names) == 1 else "are the only classes"
        raise ValueError(
            f"path={path!r}: {', '.join(map(repr, names))} {are_all}; allowed: at least {min_classes} class folders"
        )
    for split, entries in groups.items():
        unknown = sorted({entry.class_name for entry in entries}.difference(names))
        if unknown:
            raise ValueError(f"path={path!r}: class {unknown[0]!r} of {split} is not in train, which has {names}")
    return names
