"""Splits of clips: videos on disk, or synthetic clips with several label sets."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.clip_sampling import clips_in_memory, repeat_for_views
from dlcore.data.source import Source
from dlcore.data.splits import Splits

__all__ = ["ClipLabel", "drawn_clips", "label_clips", "own_videos"]

ClipLabel = Literal["motion", "appearance", "order"]


def own_videos(fields: Any, seed: int) -> Splits:
    """Read videos from `data_dir`.

    Args:
      fields: record `dlcore.data.clip_data.LabeledClips`: `data_dir`, `dataset`, `valid_fraction`, `views`, and the
        fields of a clip.
      seed: seed of the videos that are held out.

    Returns:
      The splits, with `image`, `label` and `video`; validation and test have `views` clips per video.

    Raises:
      ValueError: the folder has no such videos.
      FileNotFoundError: there is no such folder.
      MissingPackage: there are video files, and PyAV is not installed.
    """
    from dlcore.data.carving import complete_splits, split_validation
    from dlcore.data.video_datasets import labeled_videos, read_video_dataset
    from dlcore.data.video_folder import labeled_clips, list_classes

    if fields.dataset == "folder":
        (videos, names), messages = list_classes(fields.data_dir), ()
    else:
        annotations = read_video_dataset(fields.dataset, fields.data_dir)
        videos, names, messages = labeled_videos(annotations), annotations.class_names, annotations.notes
    sources = {
        split: labeled_clips(
            group,
            names,
            length=fields.clip_length,
            size=fields.size,
            stride=fields.stride,
            frame_rate=fields.frame_rate,
            short=fields.short,
            name=f"{Path(fields.data_dir).name}, {split}",
        )
        for split, group in videos.items()
    }
    messages += tuple(message for source in sources.values() for message in source.notes)
    if "all" in sources:
        train, test = split_validation(sources["all"], 0.2, seed, "test")
        sources = {"train": train, "test": test}
        messages += ("no test split: a fifth of the videos is tested",)
    train, valid, test, carving_messages = complete_splits(sources, fields.valid_fraction, seed)
    name = Path(fields.data_dir).name if fields.dataset == "folder" else fields.dataset
    return _splits(train, valid, test, name, fields, messages + carving_messages)


def _splits(
    train: Source, valid: Source, test: Source, name: str, fields: Any, messages: tuple[str, ...] = ()
) -> Splits:
    spec = {
        "dataset": name,
        "class_names": list(train.class_names),
        "num_classes": len(train.class_names),
        "image_shape": list(train.arrays["image"].shape[1:]),
        "views": fields.views,
    }
    return Splits(train, repeat_for_views(valid, fields.views), repeat_for_views(test, fields.views), spec, messages)


def label_clips(source: Source, task: ClipLabel) -> Source:
    """Build a source with the clips as `image` and a task's label as `label`.

    Args:
      source: source that `dlcore.data.clips.clips` returned.
      task: "motion": left, right, up, down; "appearance": the color; "order": left or right, each the other with
        reversed frames; clips of up and down are left out.

    Returns:
      Source with `image: [N, F, H, W, 3] uint8` and `label: [N] int32`.
    """
    check_choice("task", task, ClipLabel)
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


def drawn_clips(fields: Any) -> Splits:
    """Generate the splits from fixed seeds, so that every run is tested on the same clips.

    Args:
      fields: record `dlcore.data.clip_data.LabeledClips`: `num_clips`, `task`, `frames`, `size`, `views`, and the
        fields of a clip.

    Returns:
      The splits, with `image`, `label` and `video`.
    """
    from dlcore.data.clips import clips

    n = fields.num_clips * (2 if fields.task == "order" else 1)  # half of the clips move left or right
    counts = (n, max(16, n // 10), max(16, n // 4))
    train, valid, test = (
        _sampled(label_clips(clips(count, seed, frames=fields.frames, size=fields.size), fields.task), fields)
        for seed, count in enumerate(counts)
    )
    return _splits(train, valid, test, f"clips, {fields.task}", fields)


def _sampled(source: Source, fields: Any) -> Source:
    """Replace the videos by sampled clips."""
    clips = clips_in_memory(source.arrays["image"], fields.clip_length, fields.stride, fields.short)
    video = np.arange(len(source), dtype=np.int32)
    return dataclasses.replace(source, arrays={**source.arrays, "image": clips, "video": video})
