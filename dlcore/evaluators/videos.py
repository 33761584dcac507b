"""Average the predictions of clips by video, so that each video counts once for any number of clips.

    logits(video) = 1/V sum_v logits(clip v)

Karpathy et al. 2014, "Large-scale video classification with convolutional neural networks": accuracy by clip, and by
video.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.data.clip_data import FilmStrips
from dlcore.data.clip_sampling import repeat_for_views
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator
from dlcore.metrics.classification import class_predictions
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.report.prediction import ClassifyImages

__all__ = ["AccuracyByVideo", "ClassifyVideos", "accuracy_by_video", "average_by_video", "panels"]


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


class AccuracyByVideo:
    """The accuracy of clips, which selects the checkpoint, and that of the mean logits of a video's clips."""

    metric = "accuracy"
    mode = "max"
    headline = "accuracy_by_video"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluator of the accuracy by video."""
        return [accuracy_by_video()]


class ClassifyVideos:
    """Use of a classifier of clips: `--mode=predict --input=FILE_OR_FOLDER` says the classes of videos."""

    def inputs(self, path: str, run: Run) -> tuple[Source, list[str]]:
        """Read the videos under a path: a file, a folder of frames, or several; as many clips of each as in the test.

        Returns:
          (clips, paths).
        """
        from dlcore.data.video_folder import LabeledVideo, labeled_clips, list_videos

        data, facts, paths = run.parts.data, run.facts, [str(video) for video in list_videos(path)]
        source = labeled_clips(
            [LabeledVideo(Path(video), 0, video) for video in paths],
            facts.class_names,
            length=data.clip_length,
            size=facts.image_shape[1:3],
            stride=data.stride,
            frame_rate=data.frame_rate,
            short=data.short,
        )
        return repeat_for_views(source, facts.views), paths

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe videos by the mean of `logits: [V N, C]` over their V views, which stand in a row."""
        _, logits = average_by_video(outputs["logits"], np.arange(len(outputs["logits"])) // facts.views)
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        return ClassifyImages().describe({"probabilities": odds / odds.sum(-1, keepdims=True)}, facts)


def panels(context: ReportContext) -> list[Panel]:
    """Show the curves, film strips and optical flow of a clip of each class, and the panels of a classifier."""
    from dlcore.report.classifier import classifier_panels
    from dlcore.report.curves import curves
    from dlcore.report.generative import sample_rows

    test, measures = context.data.test.arrays, {**context.numbers, **context.arrays}
    _, first = np.unique(test["video"], return_index=True)
    _, probabilities = average_by_video(context.outputs["probabilities"], test["video"])
    labels, names = np.asarray(test["label"])[first], context.spec["class_names"]
    clip_of_class = {names[k]: first[np.flatnonzero(labels == k)[0]] for k in np.unique(labels)[:6]}
    clips = {name: test["image"][int(row)] for name, row in clip_of_class.items()}
    strips = FilmStrips(test["image"], first)
    return [
        curves(context.history),
        sample_rows(clips, "Film strips", "A test video of each class: the frames of its first clip."),
        *_flow_panels(clips),
        *classifier_panels(measures, strips, labels, probabilities, names, {}),
    ]


def _flow_panels(clips: Any) -> list:
    """Show the optical flow of Horn and Schunck between the first two frames of each clip; none for one frame."""
    from dlcore.classical_vision.optical_flow import horn_schunck
    from dlcore.report.flow import flow_panel

    frames = np.stack([clip[:2] for clip in clips.values()])
    if frames.shape[1] < 2:
        return []
    gray = frames.astype(np.float32).mean(-1) / 255
    flows = np.asarray(jax.jit(jax.vmap(horn_schunck))(gray[:, 0], gray[:, 1]))
    return [flow_panel(list(frames[:, 0]), list(flows), f"Optical flow: {', '.join(clips)}")]
