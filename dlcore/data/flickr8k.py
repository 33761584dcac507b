"""Flickr8k: photographs with five captions each, in the official splits.

Hodosh, Young & Hockenmaier 2013. Each split has two files: captions_SPLIT.json(.gz), {file name: [captions]}, and the
images in SPLIT.zip or a folder SPLIT. SPLIT is one of the names of `split_names`, such as train, val and test.
"""

import collections
import gzip
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_path, check_whole_number
from dlcore.data.decoding import decode_image, stretch_image
from dlcore.data.folders import files_below, open_zip
from dlcore.data.image_folder import is_image
from dlcore.data.split_names import check_one_name, split_of
from dlcore.data.workers import unreadable
from dlcore.json_content import parse_json

__all__ = ["CaptionedImages", "flickr8k"]

_FLICKR8K = {"train": "train", "valid": "val", "test": "test"}
"""Split -> its name in the published files."""


class CaptionedImages(NamedTuple):
    """The images of a split with their captions, sorted by file name.

    Args:
      image: [N, size, size, 3] uint8.
      texts: captions of each of the N images, unchanged.
      names: names of the N files.
      name: name of the data set and the split.
    """

    image: np.ndarray
    texts: list[list[str]]
    names: list[str]
    name: str


def flickr8k(folder: str | Path, image_size: int = 128) -> dict[str, CaptionedImages]:
    """Read the three splits into memory.

    Args:
      folder: folder with captions_train.json.gz, ..._val, ..._test and train.zip, val.zip, test.zip.
      image_size: side in pixels of the squares that images are resized to (bilinear; the aspect ratio is not kept).

    Returns:
      {"train", "valid", "test"} -> images and captions.

    Raises:
      FileNotFoundError: the folder, a file or an image that has captions is missing.
    """
    check_path("folder", folder)
    folder = Path(folder)
    check_whole_number("image_size", image_size, 1)
    if not folder.is_dir():
        raise FileNotFoundError(f"data_dir={str(folder)!r}: no folder there; allowed: with captions_train.json.gz")
    stems = _stems(folder)
    return {split: _split(folder, stems[split], image_size, f"flickr8k ({split})") for split in _FLICKR8K}


def _stems(folder: Path) -> dict[str, str]:
    """Return {split: its name in the folder's file names}, the published name where no file is found."""
    files = (path.name.removesuffix(".gz") for path in sorted(folder.glob("captions_*.json*")))
    stems = (name.removeprefix("captions_").removesuffix(".json") for name in files)
    split_by_stem = {stem: split for stem in stems if (split := split_of(stem))}
    check_one_name(split_by_stem, f"data_dir={str(folder)!r}")
    return _FLICKR8K | {split: stem for stem, split in split_by_stem.items()}


def _split(folder: Path, stem: str, size: int, name: str) -> CaptionedImages:
    captions = _captions(folder, f"captions_{stem}.json")
    with _Files(folder, stem) as files:
        if nameless := sorted(set(files.names) - {image for image, texts in captions.items() if texts}):
            raise ValueError(f"{name}: image {nameless[0]} has no caption; allowed: one or more")
        if missing := sorted(set(captions) - set(files.names)):
            raise FileNotFoundError(f"{name}: image {missing[0]} has captions and is not in {files.path}")
        names = sorted(captions)
        for image in names:
            if empty := [i for i, text in enumerate(captions[image]) if not text.strip()]:
                raise ValueError(f"{name}: caption {empty[0]} of image {image} is empty; allowed: a word or more")
        image = np.stack([files.decode(each, size) for each in names])
    return CaptionedImages(image, [list(captions[each]) for each in names], names, name)


def _captions(folder: Path, name: str) -> dict[str, Any]:
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"data_dir={str(folder)!r}: it has neither {name}.gz nor {name}")
    try:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        content = parse_json(text)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    fits = isinstance(content, dict) and all(
        isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in content.values()
    )
    if not fits or not content:
        raise ValueError(f"{path}: no captions; allowed: {{file name: [caption, ...]}}")
    pairs = json.loads(text, object_pairs_hook=list)
    if twice := [name for name, count in collections.Counter(name for name, _ in pairs).items() if count > 1]:
        raise ValueError(f"{path}: image {twice[0]} stands there twice; allowed: all captions of an image together")
    return content


class _Files:
    """The images of a zip, or of a folder."""

    def __init__(self, folder: Path, stem: str):
        self.path = next((p for p in (folder / f"{stem}.zip", folder / stem) if p.exists()), None)
        if self.path is None:
            raise FileNotFoundError(f"data_dir={str(folder)!r}: it has neither {stem}.zip nor a folder {stem}")
        self.zip = open_zip(self.path) if self.path.is_file() else None
        listed = self.zip.namelist() if self.zip else [str(p.relative_to(self.path)) for p in files_below(self.path)]
        self.names = [name for name in listed if is_image(Path(name).parts)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.zip is not None:
            self.zip.close()

    def decode(self, name: str, size: int) -> np.ndarray:
        try:
            with self.zip.open(name) if self.zip else (self.path / name).open("rb") as file:
                image = decode_image(io.BytesIO(file.read()), None, 3)
        except Exception as error:
            raise ValueError(unreadable([(f"{self.path}: image {name}", error)], False)) from None
        return stretch_image(image, (size, size))
