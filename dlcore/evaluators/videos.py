"""Average the predictions of clips by video, so that each video counts once for any number of clips.

    logits(video) = 1/V sum_v logits(clip v)

Karpathy et al. 2014, "Large-scale video classification with convolutional neural networks": accuracy by clip, and by
video.
"""

from typing import Any

import numpy as np

from dlcore.learner import Evaluator
from dlcore.metrics.classification import class_predictions

__all__ = ["accuracy_by_video", "average_by_video"]


def average_by_video(logits: np.ndarray, videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the logits of clips over their video.

    Args:
      logits: [N, C], logits of the clips in any order.
      videos: [N] int, video id of each clip.

    Returns:
      (ids [V] in ascending order, mean logits [V, C] float64).
    """
    logits, videos = np.asarray(logits, np.float64), np.asarray(videos)
    if len(logits) != len(videos) or not len(videos):
        raise ValueError(f"videos={len(videos)} ids: {len(logits)} clips; allowed: one id for each clip, at least one")
    if videos.ndim != 1 or videos.dtype.kind not in "iu":
        raise ValueError(f"videos={videos.dtype}{list(videos.shape)}: no ids; allowed: int [N]")
    ids, index, counts = np.unique(videos, return_inverse=True, return_counts=True)
    sums = np.zeros((len(ids), *logits.shape[1:]))
    np.add.at(sums, index, logits)
    return ids, sums / counts.reshape(-1, *[1] * (logits.ndim - 1))


def accuracy_by_video() -> Evaluator:
    """Build the evaluator of the accuracy of mean logits over the clips of each video.

    Returns:
      The evaluator of `accuracy_by_video`; outputs have `logits`, rows `video` and `label`.
    """

    def add(acc: list | None, outputs: Any, rows: Any) -> list:
        part = (outputs["logits"], rows["label"], rows["video"])
        return [*(acc or []), tuple(np.asarray(array) for array in part)]

    def finish(acc: list) -> dict[str, float]:
        logits, label, video = (np.concatenate(parts) for parts in zip(*acc, strict=True))
        _, mean = average_by_video(logits, video)
        _, first = np.unique(video, return_index=True)
        return {"accuracy_by_video": float((class_predictions(mean) == label[first]).mean())}

    return Evaluator(add, finish, names=("accuracy_by_video",))
