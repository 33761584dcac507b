"""What experiments on video share: drawn clips with two labels that disagree, example batches, panels of reports."""

import dataclasses
from typing import Any, Literal

import numpy as np

from dlcore.data.source import Source
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.learner import Range

__all__ = ["SETTINGS", "Task", "classification_panels", "drawn_clips", "example", "labeled"]

Task = Literal["motion", "appearance", "order"]

SETTINGS = {
    "num_clips": Setting(
        2000, "clips to train on; a tenth as many validate, a quarter test", limits=Range(10), essential=True
    ),
    "task": Setting(
        "motion",
        "the label: one of four directions, the color, or whether time goes forward (right or left)",
        Task,
        essential=True,
    ),
    "frames": Setting(8, "frames of a video", limits=Range(2, 64)),
    "size": Setting(16, "side of a frame in pixels", limits=Range(16, 128)),
}


def labeled(source: Source, task: Task) -> Source:
    """Name the clips `image` and the label of a task `label`.

    Args:
      source: of `dlcore.data.clips.clips`.
      task: "motion": left, right, up, down; "appearance": the color; "order": left or right, of which each is the other
        with its frames in reverse; clips of up and down are left out.

    Returns:
      Source of `image: [N, F, H, W, 3] uint8` and `label: [N] int32`.
    """
    from dlcore.data.clips import DIRECTIONS
    from dlcore.data.scenes import SHAPES
    from dlcore.data.shape_grid import COLORS

    clip, action, appearance = (np.asarray(source.arrays[name]) for name in ("clip", "action", "appearance"))
    if task == "appearance":
        label, names = appearance // len(SHAPES), tuple(COLORS)
    else:
        names = tuple(DIRECTIONS)[: 2 if task == "order" else 4]
        clip, label = (part[action < len(names)] for part in (clip, action))
    arrays = {"image": clip, "label": label.astype(np.int32)}
    return dataclasses.replace(source, arrays=arrays, length=None, class_names=names)


def drawn_clips(flags: Flags) -> Splits:
    """Draw the splits; seeds are not those of the run, so that every run is tested on the same clips.

    Args:
      flags: of SETTINGS.

    Returns:
      The splits, of `image` and `label`.
    """
    from dlcore.data.clips import clips

    n = flags.num_clips * (2 if flags.task == "order" else 1)  # half of the clips move left or right
    counts = (n, max(16, n // 10), max(16, n // 4))
    train, valid, test = (
        labeled(clips(count, seed, frames=flags.frames, size=flags.size), flags.task)
        for seed, count in enumerate(counts)
    )
    spec = {
        "dataset": f"clips, {flags.task}",
        "class_names": list(train.class_names),
        "num_classes": len(train.class_names),
        "image_shape": list(train.arrays["image"].shape[1:]),
    }
    return Splits(train, valid, test, spec)


def example(spec: dict) -> dict[str, np.ndarray]:
    """Make a batch of one black video.

    Args:
      spec: of the data.

    Returns:
      {"image": [1, F, H, W, C], "label": [1], "index": [1]}.
    """
    return {
        "image": np.zeros((1, *spec["image_shape"]), np.uint8),
        "label": np.zeros(1, np.int32),
        "index": np.zeros(1, np.int32),
    }


def classification_panels(context: Any) -> list:
    """Show the curves, and what the classifier confuses, with a film strip of each video as its picture.

    Args:
      context: the ReportContext, whose test split holds videos as `image: [N, F, H, W, 3]`.

    Returns:
      Report panels.
    """
    from dlcore.report.classifier import classifier_panels
    from dlcore.report.curves import curves

    test, measures = context.data.test.arrays, {**context.numbers, **context.arrays}
    videos = np.asarray(test["image"])
    frames = videos[:, np.linspace(0, videos.shape[1] - 1, min(4, videos.shape[1])).astype(int)]
    strips = frames.transpose(0, 2, 1, 3, 4).reshape(len(videos), videos.shape[2], -1, videos.shape[-1])
    names, probabilities = context.spec["class_names"], context.outputs["probabilities"]
    panels = classifier_panels(measures, strips, test["label"], probabilities, names, {})
    return [curves(context.history), *panels]
