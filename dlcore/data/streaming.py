"""Streaming: images that do not fit in memory stay on disk, and threads read and decode them on demand.

    images[idx]                      [B, H, W, C] uint8, the center of each image: a pure function of idx
    images.sample(idx, seed, epoch)  a random box of each, mirrored half of the time, where `crop` is set: a function of
                                     (seed, epoch, index) and nothing else

This is step 4, DECODE, of `image_classification`. `StreamedImages` is used in `Source.arrays` like an array in memory,
also by splits, subsets and pipelines. Batches are the same, bit by bit, for any number of workers and of processes, and
depend on the step alone, so that a run can resume from its step.

Threads, not processes: Pillow releases the interpreter's lock while it decodes and resizes, which is nearly all of the
work, so that threads are as fast as processes (`python -m experiments.bench.input_pipeline` measures both). There is
nothing to pickle, no batch to copy between processes, and no process to outlive its parent. Where one process with many
cores no longer keeps up, start one for each device: each decodes its own rows.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.choices import check_choice, check_pair, check_whole_number
from dlcore.data.decoding import Box, center_box, decode_box, decode_image, random_box
from dlcore.data.image_folder import ImageFile
from dlcore.data.image_headers import ImageHeaders, take_evenly, target_size
from dlcore.data.source import Source
from dlcore.data.workers import Workers, try_each, unreadable

__all__ = ["StreamedImages", "random_crops", "sample_of", "stream_files", "streamed_images", "streaming_note"]


@dataclass(frozen=True, eq=False)
class StreamedImages:
    """An array [N, H, W, C] of uint8 whose images are read and decoded a few rows at a time.

    Args:
      read: function from the index of a record to its encoded image.
      name_of: function from the index of a record to its name, for error messages.
      records: [N] int, index of each row's record.
      size: (H, W) that images are decoded to.
      channels: 1 (gray) or 3 (RGB).
      crop_pct: fraction of the scaled image's sides that the center crop keeps, in (0, 1]; 1 if all images have `size`.
      crop: (smallest, largest) area of the random boxes of `sample`, as fractions of the image (`random_box`); None
        makes `sample` give center crops, too.
      orient: whether to rotate images by their EXIF orientation.
      skippable: whether the data may be loaded with `skip_bad`, which errors then suggest.
      workers: threads that decode.
    """

    read: Callable[[int], bytes] = field(repr=False)
    name_of: Callable[[int], str] = field(repr=False)
    records: np.ndarray = field(repr=False)
    size: tuple[int, int]
    channels: int = 3
    crop_pct: float = 0.875
    crop: tuple[float, float] | None = None
    orient: bool = True
    skippable: bool = False
    workers: Workers = field(default_factory=Workers)

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __post_init__(self):
        target_size(self.size, "size")
        check_choice("channels", self.channels, (1, 3))
        if self.crop is not None:
            _check_area("crop", self.crop)
        if not 0 < self.crop_pct <= 1:
            raise ValueError(f"crop_pct={self.crop_pct}: out of range; allowed: in (0, 1]")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return (len(self.records), *self.size, self.channels)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that pixels depend on, JSON-able; a resumed run compares them."""
        crop = None if self.crop is None else list(self.crop)
        return {"size": list(self.size), "crop_pct": self.crop_pct, "crop": crop, "decoder": self.workers.decoder}

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, idx: Any) -> np.ndarray:
        """Decode center crops.

        Args:
          idx: int, ints [B], booleans [N] or a slice.

        Returns:
          [H, W, C] uint8 for an int, else [B, H, W, C].

        Raises:
          IndexError: a position is out of range, or `idx` indexes more than the first axis.
        """
        if isinstance(idx, tuple) or idx is Ellipsis:
            raise IndexError(f"idx={idx}: images on disk have one axis to index; allowed: an int, ints or a slice")
        records = self.records[idx]
        return self._decoded(records) if records.ndim else self._decoded(records[None])[0]

    def sample(self, idx: np.ndarray, seed: int, epoch: np.ndarray) -> np.ndarray:
        """Decode a training batch: random boxes, mirrored half of the time, if `crop` is set; else center crops.

        Args:
          idx: [B] int rows.
          seed: random seed of the boxes.
          epoch: [B] int, the epoch of each row.

        Returns:
          [B, H, W, C] uint8.
        """

        def generator(i: int) -> np.random.Generator:
            # The 1 sets these numbers apart from those of `Pipeline.transform`.
            return np.random.default_rng((seed, int(epoch[i]), int(idx[i]), 1))

        return self._decoded(self.records[idx], None if self.crop is None else generator)

    def subset(self, idx: Any) -> "StreamedImages":
        """Select rows without reading them.

        Args:
          idx: ints [B], booleans [N] or a slice.

        Returns:
          The images of these rows.
        """
        return replace(self, records=self.records[idx])

    def concatenate(self, other: "StreamedImages") -> "StreamedImages":
        """Append other images without reading any.

        Args:
          other: images of the same size.

        Returns:
          The images of both, these first.
        """
        if self.shape[1:] != other.shape[1:]:
            raise ValueError(f"other: images of {other.shape[1:]}; allowed: of {self.shape[1:]}, as the first")
        first = len(self)

        def either(name: str) -> Callable[[int], Any]:
            a, b = getattr(self, name), getattr(other, name)
            return lambda i: a(self.records[i]) if i < first else b(other.records[i - first])

        return replace(self, read=either("read"), name_of=either("name_of"), records=np.arange(first + len(other)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise ValueError(
            f"{len(self):,} images stay on disk and are no array; take a part, images[:100], or a larger memory limit"
        )

    def _decoded(
        self, records: np.ndarray, generator: Callable[[int], np.random.Generator] | None = None
    ) -> np.ndarray:
        center = functools.partial(center_box, size=self.size, crop_pct=self.crop_pct)

        def random(i: int, height: int, width: int) -> Box:
            rng = generator(i)
            box = random_box(rng, height, width, self.crop)
            return box._replace(mirrored=bool(rng.random() < 0.5))

        def decode(i: int) -> np.ndarray:
            box = center if generator is None else functools.partial(random, i)
            try:
                data = self.read(int(records[i]))
                return decode_box(data, box, self.size, self.channels, self.workers.decoder, self.orient)
            except ImportError:
                raise
            except Exception as error:
                name = self.name_of(int(records[i]))
                raise ValueError(unreadable([(name, error)], self.skippable)) from error

        return self.workers.fill(np.empty((len(records), *self.shape[1:]), np.uint8), decode)


def _check_area(name: str, area: tuple[float, float]) -> None:
    check_pair(name, area)
    if not 0 < area[0] <= area[1] <= 1:
        raise ValueError(f"{name}={area}: no range of areas; allowed: ascending, in (0, 1]")


def stream_files(
    files: list[ImageFile], headers: ImageHeaders, zipped: bool, skip_bad: bool, workers: Workers
) -> tuple[StreamedImages, list[ImageFile]]:
    """Leave images in their files, to be decoded batch by batch.

    Args:
      files: N of them.
      headers: headers of the files, with the shape that images are decoded to.
      zipped: whether the files are members of a .zip.
      skip_bad: whether to decode every file once and drop those that cannot be read.
      workers: threads that decode.

    Returns:
      (images [N, H, W, C], their files); N is smaller if files are dropped.
    """
    *size, channels = headers.shape
    if skip_bad:

        def is_readable(_: int, file: ImageFile) -> bool:
            with file.open() as data:
                return decode_image(data, tuple(size), channels) is not None

        files = [file for file, good in zip(files, try_each(is_readable, files, skip_bad), strict=True) if good]
    paths = [file.name for file in files]

    # Only paths stay in memory, no objects of files: ImageNet has 1.3 million.
    def from_folder(record: int) -> bytes:
        return Path(paths[record]).read_bytes()

    def from_zip(record: int) -> bytes:
        with files[record].open() as data:
            return data.read()

    read, records = from_zip if zipped else from_folder, np.arange(len(files))
    images = StreamedImages(
        read, paths.__getitem__, records, tuple(size), channels, headers.crop_pct, skippable=True, workers=workers
    )
    return images, files


def streamed_images(source: Source) -> StreamedImages | None:
    """Get the images of a source that stay on disk.

    Args:
      source: source with or without `image`.

    Returns:
      The streamed images; None if the images are in memory or there are none.
    """
    images = source.arrays.get("image")
    return images if isinstance(images, StreamedImages) else None


def random_crops(source: Source, area: tuple[float, float] = (0.08, 1.0)) -> Source:
    """Crop and flip a streamed source's training images at random (RandomResizedCrop, RandomHorizontalFlip).

    Args:
      source: source whose images stay on disk.
      area: (smallest, largest) area of a crop as a fraction of the image, in (0, 1].

    Returns:
      The source whose `sample` crops at random; `source[idx]` still gives center crops.
    """
    _check_area("area", area)
    images = streamed_images(source)
    if images is None:
        raise ValueError(f"source={source.name!r}: its images are in memory; allowed: images on disk")
    return replace(source, arrays={**source.arrays, "image": replace(images, crop=area)})


def sample_of(source: Source, count: int = 1000) -> Source:
    """Decode evenly spaced examples into memory, to estimate statistics of a streamed source.

    Args:
      source: source to sample.
      count: maximum number of examples.

    Returns:
      A source in memory of min(count, N) examples.
    """
    check_whole_number("count", count, 1)
    rows = np.array(take_evenly(range(len(source)), count), int)
    arrays = source[rows]
    return replace(source, arrays={name: arrays[name] for name in source.arrays}, length=len(rows))


def streaming_note(name: str, num_bytes: int, limit_bytes: int, shape: tuple[int, ...], workers: Workers) -> str:
    """Write the message that images are streamed because their size exceeds the memory limit.

    Args:
      name: name of the data set.
      num_bytes: size of all decoded images in bytes.
      limit_bytes: memory limit in bytes.
      shape: (H, W, C) of an image.
      workers: threads that decode.

    Returns:
      One line.
    """
    unit, short = (2**30, "GiB") if num_bytes >= 2**30 else (2**20, "MiB")
    size = f"{num_bytes / unit:.1f} {short}, more than {limit_bytes / unit:.4g}"
    where = f"in {workers.count} threads" if workers.count else "in the calling thread"
    return f"{name}: decoded at {shape} its images take {size}; they stay on disk and are decoded when needed, {where}"
