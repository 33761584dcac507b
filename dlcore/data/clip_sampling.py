"""Clip sampling: train on a short clip of each video, test on several; only the frames of a clip are decoded.

    training    one clip of `length` frames, `stride` apart, per video and epoch; its start is uniform over all starts
                at which the clip fits into the video
    testing     V clips (views) spread evenly over the video, one row each; `dlcore.evaluators.videos` averages the
                logits by the video's id

Karpathy et al. 2014, "Large-scale video classification with convolutional neural networks". A video that is shorter
than a clip is looped, padded with its last frame (clamp), or an error.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.source import Source, whole_numbers
from dlcore.data.workers import Workers
from dlcore.ops.checks import check_shapes

__all__ = ["SampledClips", "Short", "clip_indices", "clip_start", "clips_in_memory", "repeat_for_views", "view_starts"]

Short = Literal["error", "loop", "clamp"]


@whole_numbers
def clip_start(seed: int, epoch: Any, video: Any, num_frames: Any, span: Any) -> Any:
    """Draw the first frames of training clips as a function of (seed, epoch, video).

    The random number is SplitMix64's hash of the three (Steele, Lea & Flood 2014), so that no generator is built for
    each clip.

    Args:
      seed: random seed of the run.
      epoch: epoch, from 0; this and the following arguments are ints, or ints [B].
      video: id of the video.
      num_frames: number of frames of the video.
      span: number of frames from the clip's first to its last, both included.

    Returns:
      Ints in [0, num_frames - span]; 0 where the video is shorter.
    """
    _check_numbers(0, epoch=epoch, video=video)
    _check_numbers(1, num_frames=num_frames, span=span)
    bits = np.uint64(seed % 2**64)
    with np.errstate(over="ignore"):  # the products are modulo 2^64
        for key in (epoch, video):
            bits = _splitmix64(bits ^ _splitmix64(np.asarray(key).astype(np.uint64)))
    choices = np.maximum(np.asarray(num_frames) - span, 0) + 1
    return (bits % choices.astype(np.uint64)).astype(np.int64)


def _check_numbers(least: int | None, **numbers: Any) -> None:
    """Check ints, or ints [B] of one B."""
    count = None
    for name, value in numbers.items():
        value = np.asarray(value)
        if value.ndim > 1 or value.dtype.kind not in "iu":
            raise ValueError(f"{name}={value.dtype}{list(value.shape)}: no whole numbers; allowed: an int, or ints [B]")
        if value.ndim:
            count = len(value) if count is None else count
            if len(value) != count:
                raise ValueError(f"{name}={value.dtype}{list(value.shape)}: another length; allowed: {count}")
        if least is not None and value.size and value.min() < least:
            raise ValueError(f"{name}={value.min()}: out of range; allowed: at least {least}")


def _splitmix64(bits: np.ndarray) -> np.ndarray:
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def clip_indices(start: Any, length: int, stride: Any, num_frames: Any, short: Short = "error") -> np.ndarray:
    """List the indices of the frames of clips, so that only these are decoded.

    Args:
      start: index of the first frame; this, `stride` and `num_frames` are ints, or ints [B].
      length: L, number of frames of a clip.
      stride: distance between consecutive frames of the clip, in frames of the video.
      num_frames: number of frames of the video.
      short: what follows the video's last frame: "loop" starts again at the first, "clamp" repeats the last, "error"
        raises.

    Returns:
      [L] or [B, L] int64, indices of frames in the video.
    """
    check_shapes(length=(length, "int >= 1"))
    _check_numbers(None, start=start, stride=stride, num_frames=num_frames)
    _check_numbers(1, stride=stride, num_frames=num_frames)
    start, stride, num_frames = (np.asarray(value)[..., None] for value in (start, stride, num_frames))
    outside = (start < 0) | (start >= num_frames)
    if outside.any():
        first, frames = (np.broadcast_to(value, outside.shape)[outside][0] for value in (start, num_frames))
        raise ValueError(f"start={first}: not in the video; allowed: 0 to {frames - 1}")
    check_choice("short", short, Short)
    indices = start + stride * np.arange(length)
    if short == "loop":
        return indices % num_frames
    late = indices[..., -1:] >= num_frames
    if short == "error" and late.any():
        first, last, frames = (
            np.broadcast_to(value, late.shape)[late][0] for value in (start, indices[..., -1:], num_frames)
        )
        raise ValueError(
            f"length={length}: a clip of {last + 1 - first} frames from frame {first} is longer than its video "
            f"of {frames}; allowed: a shorter clip, or short='loop' or 'clamp'"
        )
    return np.minimum(indices, num_frames - 1)


def view_starts(views: int, num_frames: int, span: int) -> np.ndarray:
    """Spread the clips of a test video evenly over it.

    Args:
      views: V, number of clips; a single clip is taken from the middle.
      num_frames: number of frames of the video.
      span: number of frames from the clip's first to its last, both included.

    Returns:
      [V] int64 first frames, from 0 to num_frames - span.
    """
    check_shapes(views=(views, "int >= 1"), num_frames=(num_frames, "int >= 1"), span=(span, "int >= 1"))
    last = max(num_frames - span, 0)
    return np.array([last // 2]) if views == 1 else np.arange(views) * last // (views - 1)


@dataclass(frozen=True, eq=False)
class SampledClips:
    """A lazy uint8 array [N, length, H, W, 3] whose rows are clips of M videos, decoded when they are indexed.

    `clips[idx]` reads clips from fixed starts (`view_starts`), the same in each epoch; `clips.sample(idx, seed, epoch)`
    reads clips from random starts (`clip_start`).

    Args:
      read: function (video, frames [length] int) -> [length, H, W, 3] uint8.
      name_of: function from the index of a video to its name, or to another string that identifies it.
      num_frames: [M] int, number of frames of each video.
      strides: [M] int, distance between consecutive frames of a clip, in frames of each video.
      records: [N] int, index of each row's video.
      views: [N] int, index of each row among the `num_views` clips of its video.
      num_views: number of clips of each video.
      length: number of frames of a clip.
      size: (H, W) of a frame.
      short: how to fill a clip that is longer than its video: "error", "loop" or "clamp" (see `clip_indices`).
      workers: threads that decode.
      read_rows: function (videos [B], frames [B, length]) -> [B, length, H, W, 3] that reads all clips of a batch at
        once; None calls `read` for each.
      frame_rate: frames per second at which videos of a variable rate are read; None where strides say it.
    """

    read: Callable[[int, np.ndarray], np.ndarray] = field(repr=False)
    name_of: Callable[[int], str] = field(repr=False)
    num_frames: np.ndarray = field(repr=False)
    strides: np.ndarray = field(repr=False)
    records: np.ndarray = field(repr=False)
    views: np.ndarray = field(repr=False)
    num_views: int
    length: int
    size: tuple[int, int]
    short: Short = "error"
    workers: Workers = field(default_factory=lambda: Workers(0))
    read_rows: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = field(default=None, repr=False)
    frame_rate: float | None = None

    dtype = np.dtype(np.uint8)
    ndim = 5

    def __post_init__(self):
        check_choice("short", self.short, Short)
        check_shapes(length=(self.length, "int >= 1"), num_views=(self.num_views, "int >= 1"))
        if self.short != "error":
            return
        for i in np.unique(self.records)[
            self.spans[np.unique(self.records)] > self.num_frames[np.unique(self.records)]
        ]:
            raise ValueError(
                f"clip_length={self.length}: with stride {self.strides[i]} longer than {self.name_of(int(i))}, a video "
                f"of {self.num_frames[i]} frames; allowed: at most {(self.num_frames[i] - 1) // self.strides[i] + 1}, "
                "or short='loop' or 'clamp'"
            )

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(N, length, H, W, 3)."""
        return (len(self.records), self.length, *self.size, 3)

    @property
    def spans(self) -> np.ndarray:
        """[M] int, number of frames of each video from a clip's first to its last, both included."""
        return self.strides * (self.length - 1) + 1

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that pixels depend on, JSON-able, to compare on resume."""
        strides = sorted(set(self.strides.tolist()))
        rate = {} if self.frame_rate is None else {"frame_rate": self.frame_rate}
        return {"size": list(self.size), "length": self.length, "strides": strides, "short": self.short} | rate

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, idx: Any) -> np.ndarray:
        """Read clips from fixed starts, spread evenly over each video.

        Args:
          idx: int, ints [B], booleans [N] or a slice.

        Returns:
          [length, H, W, 3] uint8 for an int, else [B, length, H, W, 3].

        Raises:
          IndexError: `idx` is not a valid index of an array of N rows, or indexes more than the first axis.
        """
        if isinstance(idx, tuple) or idx is Ellipsis:
            raise IndexError(f"idx={idx}: indexes more than one axis; allowed: an index of the first axis")
        records, views = (np.atleast_1d(rows[idx]) for rows in (self.records, self.views))
        starts = [
            view_starts(self.num_views, self.num_frames[i], self.spans[i])[v]
            for i, v in zip(records, views, strict=True)
        ]
        clips = self._decoded(records, starts)
        return clips if np.ndim(self.records[idx]) else clips[0]

    def sample(self, idx: np.ndarray, seed: int, epoch: np.ndarray) -> np.ndarray:
        """Read training clips, each from a random start (`clip_start`).

        Args:
          idx: [B] int, indices of rows.
          seed: random seed of the starts.
          epoch: [B] int, the epoch of each row.

        Returns:
          [B, length, H, W, 3] uint8.
        """
        records = self.records[idx]
        return self._decoded(records, clip_start(seed, epoch, records, self.num_frames[records], self.spans[records]))

    def subset(self, idx: Any) -> "SampledClips":
        """Select rows without reading them.

        Args:
          idx: ints [B], booleans [N] or a slice.

        Returns:
          The clips of these rows.
        """
        return replace(self, records=self.records[idx], views=self.views[idx])

    def concatenate(self, other: "SampledClips") -> "SampledClips":
        """Append other clips without reading any.

        Args:
          other: clips of the same shape, with the same number of clips per video.

        Returns:
          The clips of both, these first.
        """
        if (self.shape[1:], self.num_views) != (other.shape[1:], other.num_views):
            raise ValueError(f"other: clips of shape {other.shape[1:]}, {other.num_views} a video; allowed: the same")
        first = len(self.num_frames)
        return replace(
            self,
            read=lambda i, frames: self.read(i, frames) if i < first else other.read(i - first, frames),
            name_of=lambda i: self.name_of(i) if i < first else other.name_of(i - first),
            num_frames=np.concatenate([self.num_frames, other.num_frames]),
            strides=np.concatenate([self.strides, other.strides]),
            records=np.concatenate([self.records, other.records + first]),
            read_rows=None,
            views=np.concatenate([self.views, other.views]),
            frame_rate=other.frame_rate if self.frame_rate is None else self.frame_rate,
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise ValueError(f"{len(self):,} clips are decoded on demand and cannot become an array; index a part of them")

    def _decoded(self, records: np.ndarray, starts: Any) -> np.ndarray:
        strides, counts = self.strides[records], self.num_frames[records]
        frames = clip_indices(np.asarray(starts), self.length, strides, counts, self.short)
        if self.read_rows is not None:
            return self.read_rows(records, frames)
        clips = np.empty((len(records), *self.shape[1:]), np.uint8)
        return self.workers.fill(clips, lambda row: self.read(int(records[row]), frames[row]))


def clips_in_memory(videos: np.ndarray, length: int, stride: int = 1, short: Short = "error") -> SampledClips:
    """Cut clips from videos in memory.

    Args:
      videos: [M, F, H, W, 3] uint8.
      length: number of frames of a clip.
      stride: distance between consecutive frames of a clip, in frames of the video.
      short: how to fill a clip that is longer than its video: "error", "loop" or "clamp" (see `clip_indices`).

    Returns:
      The clips, one per video; `repeat_for_views` gives several.
    """
    check_choice("short", short, Short)
    check_shapes(length=(length, "int >= 1"), stride=(stride, "int >= 1"), videos=(videos, "M F H W 3"))
    if videos.dtype != np.uint8:
        raise ValueError(f"videos={videos.dtype}: no pixels; allowed: uint8")
    count = len(videos)

    def digest(i: int) -> str:
        return hashlib.blake2b(np.ascontiguousarray(videos[i]).tobytes(), digest_size=8).hexdigest()

    return SampledClips(
        lambda i, frames: videos[i, frames],
        digest,
        np.full(count, videos.shape[1]),
        np.full(count, stride),
        np.arange(count),
        np.zeros(count, int),
        1,
        length,
        videos.shape[2:4],
        short,
        read_rows=lambda rows, frames: videos[rows[:, None], frames],
    )


def repeat_for_views(source: Source, views: int) -> Source:
    """Repeat the rows of a source, so that each video has several test clips.

    Args:
      source: source of N videos with `image: SampledClips`, one row per video.
      views: V, number of clips of each video.

    Returns:
      Source of N V rows, one per clip. The rows of a video follow each other and have the same other arrays, among them
      its `video` id.
    """
    view_starts(views, 1, 1)
    if not isinstance(source.arrays.get("image"), SampledClips):
        raise ValueError(f"source={source.name!r}: holds no clips in `image`; allowed: image of SampledClips")
    rows = np.repeat(np.arange(len(source)), views)
    clips = source.arrays["image"]
    sampled = replace(clips, records=clips.records[rows], views=np.tile(np.arange(views), len(source)), num_views=views)
    arrays = {name: array if name == "image" else array[rows] for name, array in source.arrays.items()}
    names = source.names
    if names is not None:
        names = np.array([f"{names[row]} view {view}" for row, view in zip(rows, sampled.views, strict=True)])
    sizes = None if source.sizes is None else source.sizes[rows]
    return replace(source, arrays={**arrays, "image": sampled}, length=len(rows), names=names, sizes=sizes)
