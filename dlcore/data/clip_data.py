"""Clips with one class each, of videos on disk or drawn, for classifiers and for encoders without labels.

data=LabeledClips(num_clips=2000, task="motion", clip_length=6, size=16)
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from dlcore.data.clip_sampling import Short
from dlcore.data.clip_splits import ClipLabel, drawn_clips, own_videos
from dlcore.data.preprocess import to_signed
from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range
from dlcore.setting import FlagError

__all__ = ["Dataset", "FilmStrips", "LabeledClips", "UnlabeledClips"]

Dataset = Literal["folder", "ucf101", "sports1m", "charades", "moments_in_time"]


@dataclasses.dataclass(frozen=True)
class LabeledClips(CheckedRecord):
    """Clips with one class each: synthetic clips with several label sets, or videos on disk.

    Args:
      data_dir: a folder of own videos, one folder a class: folders of frames, GIFs, or video files (extra [video])
      dataset: what --data_dir is: class folders, or a data set as its authors lay it out
      num_clips: clips to train on; a tenth as many validate, a quarter test
      task: the label: one of four directions, the color, or whether time goes forward (right or left)
      frames: frames of a drawn video
      size: side of a frame in pixels; own videos are scaled to it, and their center is cut out
      clip_length: frames of a clip
      stride: stride between frames of a clip, in frames of the video
      frame_rate: frames a second of a clip of own videos, in place of --stride
      short: what to do with videos shorter than a clip: an error, loop, or repeat the last frame
      views: clips of each test video
      valid_fraction: fraction of the training videos on disk held out for validation, by seed
    """

    data_dir: Annotated[str | None, "essential"] = None
    dataset: Dataset = "folder"
    num_clips: Annotated[int, Range(10), "essential"] = 2000
    task: Annotated[ClipLabel, "essential"] = "motion"
    frames: Annotated[int, Range(2, 64)] = 8
    size: Annotated[int, Range(16, 512)] = 16
    clip_length: Annotated[int, Range(1, 64), "essential"] = 6
    stride: Annotated[int, Range(1, 16)] = 1
    frame_rate: Annotated[float | None, Range(0.01)] = None
    short: Short = "error"
    views: Annotated[int, Range(1, 30)] = 3
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1

    reads_files: ClassVar[bool] = True

    def check(self, run: Any) -> None:
        """Check that clips fit the synthetic videos, which have no frame rate."""
        if self.data_dir is not None:
            return
        if self.dataset != "folder":
            raise FlagError(
                f"dataset={self.dataset}: --data_dir is missing; allowed: the folder of the data set beside it"
            )
        if self.frame_rate is not None:
            raise FlagError(f"frame_rate={self.frame_rate:g}: drawn videos have none; allowed: --stride, or --data_dir")
        if self.short == "error" and self.stride * (self.clip_length - 1) + 1 > self.frames:
            raise FlagError(
                f"clip_length={self.clip_length}: with stride {self.stride} longer than a video of {self.frames} "
                f"frames; allowed: at most {(self.frames - 1) // self.stride + 1}"
            )

    def load(self, seed: int = 0) -> Splits:
        """Read videos from `data_dir`, or generate clips: `image`, `label` and `video`.

        Args:
          seed: seed of the videos that are held out; those that are generated are the same for all.

        Returns:
          The splits; validation and test have `views` clips per video.
        """
        return drawn_clips(self) if self.data_dir is None else own_videos(self, seed)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique `preprocess`, to [-1, 1]."""
        return {"preprocess": to_signed}

    def pictures_of(self, clips: Any) -> "FilmStrips":
        """Draw film strips of clips, for the report.

        Args:
          clips: [N, T, H, W, 3].

        Returns:
          The strips.
        """
        return FilmStrips(clips)


@dataclasses.dataclass(frozen=True)
class UnlabeledClips(LabeledClips):
    """Clips whose labels only measure an encoder.

    Args:
      views: clips of each test video, which count as one each
    """

    views: Annotated[int, Range(1, 30)] = 1


class FilmStrips:
    """Film strips [h, w, 3] of clips, four frames each, read lazily.

    Args:
      clips: [N, T, H, W, 3].
      rows: [V], index of each strip's clip; None for all clips.
    """

    def __init__(self, clips: Any, rows: np.ndarray | None = None):
        self._clips, self._rows = clips, np.arange(len(clips)) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(number of strips, h, w, 3)."""
        frames, height, width, channels = self._clips.shape[1:]
        return len(self), height, min(4, frames) * width, channels

    def __getitem__(self, idx: Any) -> np.ndarray:
        clips = self._clips[np.atleast_1d(self._rows[idx])]
        frames = clips[:, np.linspace(0, clips.shape[1] - 1, min(4, clips.shape[1])).astype(int)]
        strips = frames.transpose(0, 2, 1, 3, 4).reshape(len(clips), clips.shape[2], -1, clips.shape[-1])
        return strips if np.ndim(self._rows[idx]) else strips[0]
