"""Images that do not fit in memory: an array whose rows are read and decoded when they are asked for, by threads.

    images[idx]                     [B, H, W, C] uint8, the centre of each image: a pure function of idx
    images.drawn(idx, seed, epoch)  a random box of each, mirrored half of the time, where `crop` is set: a function of
                                    (seed, epoch, index) and nothing else

It stands in `Source.arrays` where an array would, so that splits, subsets and pipelines need not know. What a worker
does decides no pixel: batches are the same, bit by bit, for any number of workers and of processes, and the position to
resume from stays the step.

Threads, not processes: Pillow lets go of the interpreter while it decodes and resizes, which is nearly all of the work,
so that threads share it as well as processes do (`python -m experiments.bench.input_pipeline` has both). There is nothing to
pickle, no batch to copy between processes, and nothing that could be left behind. Where one process with many cores no
longer keeps up, start one for each device: each decodes its own rows.
"""

import functools
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dlcore.data.decoding import DECODERS, Box, centre_box, decode_box, random_box
from dlcore.data.source import Source

__all__ = ["StreamedImages", "Workers", "evenly", "kept_share", "on_disk", "random_crops", "sample_of", "streamed"]


@dataclass(frozen=True, eq=False)
class Workers:
    """Threads that decode, shared by the splits of a data set.

    count: 0 decodes in the thread that asks; None takes one a core.
    decoder: "pillow" or "opencv", see `decode_box`.

    Raises: ValueError for a negative count or another decoder.
    """

    count: int | None = None
    decoder: str = "pillow"

    def __post_init__(self):
        count = len(os.sched_getaffinity(0)) if self.count is None else self.count
        if count < 0:
            raise ValueError(f"workers is {count}; it must not be negative")
        if self.decoder not in DECODERS:
            raise ValueError(f"decoder is {self.decoder!r}; allowed are {', '.join(DECODERS)}")
        object.__setattr__(self, "count", count)

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.count, "dlcore-decode")

    def fill(self, rows: np.ndarray, make: Callable[[int], np.ndarray]) -> np.ndarray:
        """rows[i] = make(i) for every i. What `make` raises is raised here, that of the lowest i which got so far."""
        places, errors = deque(range(len(rows))), []

        def work() -> None:
            while True:
                try:
                    place = places.popleft()
                except IndexError:
                    return
                try:
                    rows[place] = make(place)
                except BaseException as error:
                    errors.append((place, error))
                    places.clear()

        count = min(self.count or 0, len(rows))
        if count:
            for future in [self._pool.submit(work) for _ in range(count)]:
                future.result()
        else:
            work()
        if errors:
            raise min(errors, key=lambda found: found[0])[1]
        return rows


@dataclass(frozen=True, eq=False)
class StreamedImages:
    """[N, H, W, C] uint8, read and decoded a few rows at a time.

    read: the number of a record -> the encoded image. called: the number of a record -> its name, for errors.
    records: [N] the record of each row.
    size: (H, W). channels: 1 or 3.
    crop_pct: share of the scaled image that the centre crop keeps; 1 for images that all have `size`.
    crop: the range of the areas of random boxes (`random_box`) that `drawn` gives; None: it gives the centre too.
    orient: turn images as their EXIF orientation says.
    """

    read: Callable[[int], bytes] = field(repr=False)
    called: Callable[[int], str] = field(repr=False)
    records: np.ndarray = field(repr=False)
    size: tuple[int, int]
    channels: int = 3
    crop_pct: float = 0.875
    crop: tuple[float, float] | None = None
    orient: bool = True
    workers: Workers = field(default_factory=Workers)

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __post_init__(self):
        if self.crop is not None and not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"crop is {self.crop}; areas must be an ascending range in (0, 1]")
        if not 0 < self.crop_pct <= 1:
            raise ValueError(f"crop_pct is {self.crop_pct}; it must be in (0, 1]")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return (len(self.records), *self.size, self.channels)

    @property
    def settings(self) -> dict[str, Any]:
        """What the pixels depend on, JSON-able, to compare on resume."""
        crop = None if self.crop is None else list(self.crop)
        return {"size": list(self.size), "crop_pct": self.crop_pct, "crop": crop, "decoder": self.workers.decoder}

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, idx: Any) -> np.ndarray:
        """Centre crops: [H, W, C] for an int, [B, H, W, C] for ints or a slice.

        Raises: IndexError for what an array of N would refuse, and for more than one axis; ValueError naming an image
        that cannot be read.
        """
        if isinstance(idx, tuple) or idx is Ellipsis:
            raise IndexError(f"idx is {idx}; images on disk are indexed by example alone")
        records = self.records[idx]
        return self._decoded(records) if records.ndim else self._decoded(records[None])[0]

    def drawn(self, idx: np.ndarray, seed: int, epoch: np.ndarray) -> np.ndarray:
        """[B, H, W, C] of rows idx [B] in their epochs [B]: random boxes, mirrored or not, where `crop` is set."""

        def generator(place: int) -> np.random.Generator:
            # The 1 sets these numbers apart from those of `Pipeline.transform`.
            return np.random.default_rng((seed, int(epoch[place]), int(idx[place]), 1))

        return self._decoded(self.records[idx], None if self.crop is None else generator)

    def subset(self, idx: Any) -> "StreamedImages":
        """The rows at idx; nothing is read."""
        return replace(self, records=self.records[idx])

    def followed_by(self, other: "StreamedImages") -> "StreamedImages":
        """Both, one after the other; nothing is read. Raises ValueError for images of another size."""
        if self.shape[1:] != other.shape[1:]:
            raise ValueError(f"images of {self.shape[1:]} and of {other.shape[1:]} cannot be joined")
        first = len(self)

        def of(name: str) -> Callable[[int], Any]:
            a, b = getattr(self, name), getattr(other, name)
            return lambda i: a(self.records[i]) if i < first else b(other.records[i - first])

        return replace(self, read=of("read"), called=of("called"), records=np.arange(first + len(other)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise ValueError(
            f"{len(self):,} images stay on disk and are no array; take a part, images[:100], or a larger memory limit"
        )

    def _decoded(
        self, records: np.ndarray, generator: Callable[[int], np.random.Generator] | None = None
    ) -> np.ndarray:
        centre = functools.partial(centre_box, size=self.size, crop_pct=self.crop_pct)

        def drawn(place: int, height: int, width: int) -> Box:
            rng = generator(place)
            box = random_box(rng, height, width, self.crop)
            return box._replace(mirrored=bool(rng.random() < 0.5))

        def make(place: int) -> np.ndarray:
            box = centre if generator is None else functools.partial(drawn, place)
            try:
                data = self.read(int(records[place]))
                return decode_box(data, box, self.size, self.channels, self.workers.decoder, self.orient)
            except ImportError:
                raise
            except Exception as error:
                name = self.called(int(records[place]))
                raise ValueError(f"{name} cannot be read as an image ({error})") from error

        return self.workers.fill(np.empty((len(records), *self.shape[1:]), np.uint8), make)


def kept_share(sizes: set[tuple[int, int]], size: tuple[int, int]) -> float:
    """The `crop_pct` for images of these sizes: 1 where all have one size, not larger than `size`; else 0.875."""
    return 1.0 if len(sizes) == 1 and all(a <= b for a, b in zip(*sizes, size, strict=True)) else 0.875


def streamed(source: Source) -> StreamedImages | None:
    """The images of a source that stay on disk; None where they are in memory, or where there are none."""
    images = source.arrays.get("image")
    return images if isinstance(images, StreamedImages) else None


def random_crops(source: Source, area: tuple[float, float] = (0.08, 1.0)) -> Source:
    """The source with random boxes of its streamed images, mirrored or not, in training batches; else as it was.

    Raises: ValueError for a source whose images are in memory.
    """
    images = streamed(source)
    if images is None:
        raise ValueError(f"the images of {source.name!r} are in memory; random crops are drawn on the device")
    return replace(source, arrays={**source.arrays, "image": replace(images, crop=area)})


def sample_of(source: Source, count: int = 1000) -> Source:
    """Up to `count` examples at equal distances, in memory: what statistics of a streamed source are taken from."""
    rows = np.array(evenly(range(len(source)), count), int)
    arrays = source[rows]
    return replace(source, arrays={name: arrays[name] for name in source.arrays}, length=len(rows))


def evenly(items: Sequence[Any], count: int) -> list[Any]:
    """Up to `count` of the items, at equal distances, from the first to the last."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).astype(int))]


def on_disk(name: str, needed: int, limit_bytes: int, shape: tuple[int, ...], workers: Workers) -> str:
    """The note that says that images are streamed, and why."""
    unit, short = (2**30, "GiB") if needed >= 2**30 else (2**20, "MiB")
    much = f"{needed / unit:.1f} {short}, more than {limit_bytes / unit:.4g}"
    where = f"in {workers.count} threads" if workers.count else "in the thread that asks"
    return f"{name}: decoded at {shape} its images take {much}; they stay on disk and are decoded when needed, {where}"
