"""Clip sampling: train on short clips of a video, test on the average over several.

    start(video, epoch, key) uniform over the starts at which a clip of `length` frames, `stride` apart, fits
    logits(video) = 1/V sum_v logits(clip v)

Karpathy et al. 2014, "Large-scale video classification with convolutional neural networks". Clips have a low frame rate
(`stride`) and a few frames. A video shorter than its clip is looped or clamped to its last frame.
"""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range

__all__ = ["AverageOverClips", "average_by_video", "clip_indices", "clip_start", "random_clip", "view_starts"]

Short = Literal["loop", "clamp", "error"]


def clip_start(key: jax.Array, epoch: jax.Array, video: jax.Array, num_frames: jax.Array, span: int) -> jax.Array:
    """Draw the first frame of a training clip as a function of (key, epoch, video).

    Args:
      key: PRNG key of the run.
      epoch: int32.
      video: id of the video, int32.
      num_frames: of the video.
      span: frames from the clip's first to its last, both included.

    Returns:
      int32 in [0, num_frames - span]; 0 where the video is shorter.
    """
    key = jax.random.fold_in(jax.random.fold_in(key, epoch), video)
    return jax.random.randint(key, (), 0, jnp.maximum(num_frames - span, 0) + 1)


def clip_indices(start: int, length: int, stride: int, num_frames: int, short: Short = "error") -> np.ndarray:
    """List the frames of a clip, so that only they are decoded.

    Args:
      start: the first frame.
      length: frames of the clip.
      stride: from frame to frame of the clip, in frames of the video.
      num_frames: of the video.
      short: what follows the video's last frame: "loop" goes on with its first, "clamp" repeats the last.

    Returns:
      [length] int64.

    Raises:
      ValueError: a number is out of range, or the clip is longer than its video and `short` is "error".
    """
    for name, value in (("length", length), ("stride", stride), ("num_frames", num_frames)):
        if value < 1:
            raise ValueError(f"{name}={value}: out of range; allowed: at least 1")
    if not 0 <= start < num_frames:
        raise ValueError(f"start={start}: not in the video; allowed: 0 to {num_frames - 1}")
    if short not in ("loop", "clamp", "error"):
        raise ValueError(f"short={short!r}: unknown; allowed: loop, clamp, error")
    indices = start + stride * np.arange(length)
    if short == "loop":
        return indices % num_frames
    if short == "error" and indices[-1] >= num_frames:
        raise ValueError(
            f"length={length}: a clip of {indices[-1] + 1 - start} frames from frame {start} is longer than its video "
            f"of {num_frames}; allowed: a shorter clip, or short='loop' or 'clamp'"
        )
    return np.minimum(indices, num_frames - 1)


def view_starts(views: int, num_frames: int, span: int) -> np.ndarray:
    """Spread the clips of a test video evenly over it.

    Args:
      views: V, clips; one is taken from the middle.
      num_frames: of the video.
      span: frames from the clip's first to its last, both included.

    Returns:
      [V] int64 first frames, from 0 to num_frames - span.

    Raises:
      ValueError: `views` is below 1.
    """
    if views < 1:
        raise ValueError(f"views={views}: out of range; allowed: at least 1")
    last = max(num_frames - span, 0)
    return np.array([last // 2]) if views == 1 else np.arange(views) * last // (views - 1)


def random_clip(key: jax.Array, video: jax.Array, length: int, stride: int = 1) -> jax.Array:
    """Cut a clip at a random start: an `augment` of `dlcore.classification.supervised`.

    Args:
      key: PRNG key of the video and step.
      video: [F, H, W, C].
      length: frames of the clip.
      stride: from frame to frame of the clip.

    Returns:
      [length, H, W, C].

    Raises:
      ValueError: the clip is longer than the video.
    """
    span = stride * (length - 1) + 1
    clip_indices(0, length, stride, len(video))
    start = jax.random.randint(key, (), 0, len(video) - span + 1)
    return jax.lax.dynamic_slice_in_dim(video, start, span)[::stride]


def average_by_video(logits: np.ndarray, videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the logits of clips over their video, so that each video counts once however many clips it has.

    Args:
      logits: [N, C], a clip a row, in any order.
      videos: [N] int, the id of the video of each clip.

    Returns:
      (ids [V] in rising order, mean logits [V, C] float64).

    Raises:
      ValueError: the two differ in length, or there is no clip.
    """
    logits, videos = np.asarray(logits, np.float64), np.asarray(videos)
    if len(logits) != len(videos) or not len(videos):
        raise ValueError(f"videos={len(videos)} ids: {len(logits)} clips; allowed: one id for each clip, at least one")
    ids, index, counts = np.unique(videos, return_inverse=True, return_counts=True)
    sums = np.zeros((len(ids), *logits.shape[1:]))
    np.add.at(sums, index, logits)
    return ids, sums / counts.reshape(-1, *[1] * (logits.ndim - 1))


class AverageOverClips(nn.Module):
    """Average the logits of a clip classifier over clips spread evenly over each video.

    In training the input is a clip already (`random_clip`). Submodule `net`.

    Args:
      net: `__call__(clip [B, length, H, W, C], train) -> logits`.
      length: frames of a clip.
      stride: from frame to frame of a clip.
      views: clips of a test video.
    """

    net: nn.Module
    length: Annotated[int, Range(1)] = 8
    stride: Annotated[int, Range(1)] = 1
    views: Annotated[int, Range(1)] = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify videos, or clips in training.

        Args:
          x: [B, F, H, W, C]; F is `length` in training.
          train: in training.

        Returns:
          logits, [B, num_classes].

        Raises:
          ValueError: the clip is longer than the video.
        """
        if train:
            return self.net(x, train=True)
        span = self.stride * (self.length - 1) + 1
        starts = view_starts(self.views, x.shape[1], span)
        clips = [x[:, clip_indices(int(s), self.length, self.stride, x.shape[1])] for s in starts]
        logits = self.net(jnp.concatenate(clips), train=False)
        return logits.reshape(len(starts), x.shape[0], -1).mean(0)
