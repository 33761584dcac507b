"""Shared by video experiments: synthetic clips with several label sets, videos on disk, predictions, report panels."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.data.clip_sampling import Short, clips_in_memory, repeat_for_views
from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.origin import Start
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.training import earlier_run, init_from, optimizer
from dlcore.learner import Range
from dlcore.models.video_resnet import VIDEO_MODELS
from dlcore.modes.report_context import ReportContext
from dlcore.video.fusion import C3D, ClipClassifier, inflate
from dlcore.video.slowfast import SlowFast
from dlcore.video.two_stream import TwoStreamClips

__all__ = [
    "MODULES",
    "SETTINGS",
    "Dataset",
    "Network",
    "Task",
    "build_network",
    "check",
    "classification_panels",
    "data",
    "describe",
    "inflated_start",
    "inputs",
    "label_clips",
]

Task = Literal["motion", "appearance", "order"]
Network = Literal["fusion", "c3d", "r3d_18", "mc3_18", "r2plus1d_18", "slowfast", "two_stream"]
Dataset = Literal["folder", "ucf101", "sports1m", "charades", "moments_in_time"]

SETTINGS = {
    "data_dir": Setting(
        None,
        "a folder of own videos, one folder a class: folders of frames, GIFs, or video files (extra [video])",
        str | None,
        essential=True,
    ),
    "dataset": Setting("folder", "what --data_dir is: class folders, or a data set as its authors lay it out", Dataset),
    "num_clips": Setting(
        2000, "clips to train on; a tenth as many validate, a quarter test", limits=Range(10), essential=True
    ),
    "task": Setting(
        "motion",
        "the label: one of four directions, the color, or whether time goes forward (right or left)",
        Task,
        essential=True,
    ),
    "frames": Setting(8, "frames of a drawn video", limits=Range(2, 64)),
    "size": Setting(
        16, "side of a frame in pixels; own videos are scaled to it, and their center is cut out", limits=Range(16, 512)
    ),
    "clip_length": Setting(6, "frames of a clip", limits=Range(1, 64), essential=True),
    "stride": Setting(1, "stride between frames of a clip, in frames of the video", limits=Range(1, 16)),
    "frame_rate": Setting(
        None, "frames a second of a clip of own videos, in place of --stride", float | None, Range(0.01)
    ),
    "short": Setting(
        "error", "what to do with videos shorter than a clip: an error, loop, or repeat the last frame", Short
    ),
    "views": Setting(3, "clips of each test video, whose logits are averaged", limits=Range(1, 30)),
    "network": Setting(
        "fusion",
        "fusion (--net.fusion), c3d, slowfast, two_stream, or a residual network of clips",
        Network,
        essential=True,
    ),
    "resnet_width": Setting(64, "channels of the first stage of r3d_18, mc3_18 and r2plus1d_18", limits=Range(1)),
    "inflate_from": Setting(
        None,
        "a finished run of this page with --net.fusion=single, whose weights slow fusion starts from, inflated (I3D)",
        str | None,
        origin=lambda flags: earlier_run.origin(flags, "inflate_from", "video.classification"),
    ),
    "valid_fraction": Setting(
        0.1, "fraction of the training videos on disk held out for validation, by seed", limits=Range(0.001, 0.9)
    ),
}


MODULES = {"net": ClipClassifier, "c3d": C3D, "slowfast": SlowFast, "two_stream": TwoStreamClips}
"""Modules whose fields are flags: `Experiment.modules`."""


def build_network(setup: Setup) -> nn.Module:
    """Build the network that `--network` names.

    Args:
      setup: facts of the run; its flags must contain SETTINGS and MODULES.

    Returns:
      `__call__(clips [B, T, H, W, 3], train) -> logits`.
    """
    flags, classes = setup.flags, setup.spec["num_classes"]
    if flags.network in VIDEO_MODELS:
        build = VIDEO_MODELS[flags.network]
        return build(classes, width=flags.resnet_width, dtype=setup.dtype)
    prefix = "net" if flags.network == "fusion" else flags.network
    return MODULES[prefix](classes, dtype=setup.dtype, **flags.group(prefix))


def inflated_start(setup: Setup) -> Start | None:
    """Start slow fusion from the weights of `--inflate_from`, a network of single frames, inflated along time (I3D).

    Args:
      setup: facts of the run; its flags must contain SETTINGS and the optimizer's.

    Returns:
      State -> State with the weights and a new optimizer state; layers of other classes are initialized anew. None
      without `--inflate_from`.

    Raises:
      ValueError: when applied or checked: the weights do not fit.
    """
    source = setup.flags.get("inflate_from")
    if source is None:
        return None

    def fitted(state: Any) -> Any:
        phase = earlier_run.load(Path(source))
        same = phase.spec.get("class_names") == list(setup.spec["class_names"])
        weights = inflate({"params": phase.params}, setup.flags.group("net")["temporal"])
        return init_from.fit_modules(weights, {"params": state.params}, same, f"inflate_from={source!r}")[0]["params"]

    def replace(state: Any) -> Any:
        params = fitted(state)
        return state.replace(params=params, opt_state=jax.jit(optimizer.build(setup).init)(params))

    return Start(replace, lambda state: fitted(state) and None)


def check(flags: Flags) -> None:
    """Check that clips fit the network and the synthetic videos, which have no frame rate.

    Args:
      flags: resolved settings; must contain SETTINGS.

    Raises:
      FlagError: they do not fit.
    """
    if flags.network == "c3d" and flags.clip_length < 16:
        raise FlagError(f"clip_length={flags.clip_length}: too short for --network=c3d; allowed: at least 16")
    if flags.network == "slowfast" and flags.clip_length % flags.group("slowfast")["alpha"]:
        alpha = flags.group("slowfast")["alpha"]
        raise FlagError(f"clip_length={flags.clip_length}: no multiple of --slowfast.alpha={alpha}; allowed: multiples")
    if flags.network == "two_stream" and flags.clip_length < 2:
        raise FlagError(f"clip_length={flags.clip_length}: one frame has no flow; allowed: at least 2 for two_stream")
    is_slow = flags.network == "fusion" and flags.group("net")["fusion"] == "slow"
    if flags.inflate_from is not None and not is_slow:
        raise FlagError("inflate_from: inflates weights for slow fusion; allowed: --network=fusion --net.fusion=slow")
    if flags.data_dir is not None:
        return
    if flags.dataset != "folder":
        raise FlagError(
            f"dataset={flags.dataset}: --data_dir is missing; allowed: the folder of the data set beside it"
        )
    if flags.frame_rate is not None:
        raise FlagError(f"frame_rate={flags.frame_rate:g}: drawn videos have none; allowed: --stride, or --data_dir")
    if flags.short == "error" and flags.stride * (flags.clip_length - 1) + 1 > flags.frames:
        raise FlagError(
            f"clip_length={flags.clip_length}: with stride {flags.stride} longer than a video of {flags.frames} "
            f"frames; allowed: at most {(flags.frames - 1) // flags.stride + 1}"
        )


def data(flags: Flags) -> Splits:
    """Read videos from `--data_dir`, or generate clips.

    Args:
      flags: resolved settings; must contain SETTINGS.

    Returns:
      The splits, with `image`, `label` and `video`; validation and test have `--views` clips per video.

    Raises:
      ValueError: the folder has no such videos.
      FileNotFoundError: there is no such folder.
      MissingPackage: there are video files, and PyAV is not installed.
    """
    return _drawn_clips(flags) if flags.data_dir is None else _own_videos(flags)


def _own_videos(flags: Flags) -> Splits:
    from dlcore.data.carving import complete_splits, split_validation
    from dlcore.data.video_datasets import labeled_videos, read_video_dataset
    from dlcore.data.video_folder import labeled_clips, list_classes

    if flags.dataset == "folder":
        (videos, names), messages = list_classes(flags.data_dir), ()
    else:
        annotations = read_video_dataset(flags.dataset, flags.data_dir)
        videos, names, messages = labeled_videos(annotations), annotations.class_names, annotations.notes
    sources = {
        split: labeled_clips(
            group,
            names,
            length=flags.clip_length,
            size=flags.size,
            stride=flags.stride,
            frame_rate=flags.frame_rate,
            short=flags.short,
            name=f"{Path(flags.data_dir).name}, {split}",
        )
        for split, group in videos.items()
    }
    messages += tuple(message for source in sources.values() for message in source.notes)
    if "all" in sources:
        train, test = split_validation(sources["all"], 0.2, flags.seed, "test")
        sources = {"train": train, "test": test}
        messages += ("no test split: a fifth of the videos is tested",)
    train, valid, test, carving_messages = complete_splits(sources, flags.valid_fraction, flags.seed)
    name = Path(flags.data_dir).name if flags.dataset == "folder" else flags.dataset
    return _splits(train, valid, test, name, flags, messages + carving_messages)


def _splits(
    train: Source, valid: Source, test: Source, name: str, flags: Flags, messages: tuple[str, ...] = ()
) -> Splits:
    spec = {
        "dataset": name,
        "class_names": list(train.class_names),
        "num_classes": len(train.class_names),
        "image_shape": list(train.arrays["image"].shape[1:]),
        "views": flags.views,
    }
    return Splits(train, repeat_for_views(valid, flags.views), repeat_for_views(test, flags.views), spec, messages)


def inputs(flags: Flags, spec: dict) -> tuple[Source, list[str]]:
    """Read the videos under `--input`: a file, a folder of frames, or a folder of several.

    Args:
      flags: `input`, and SETTINGS as in training.
      spec: facts of the data, `Splits.spec`.

    Returns:
      (source with `views` clips per video, paths).

    Raises:
      ValueError: there is no video, or it cannot be read.
      FileNotFoundError: there is no such file or folder.
    """
    from dlcore.data.video_folder import LabeledVideo, labeled_clips, list_videos

    paths = [str(path) for path in list_videos(flags.input)]
    source = labeled_clips(
        [LabeledVideo(Path(path), 0, path) for path in paths],
        spec["class_names"],
        length=flags.clip_length,
        size=tuple(spec["image_shape"][1:3]),
        stride=flags.stride,
        frame_rate=flags.frame_rate,
        short=flags.short,
    )
    return repeat_for_views(source, spec["views"]), paths


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Describe videos for `--mode=predict`: the class of the mean logits over the clips of each.

    Args:
      outputs: outputs of `predict`; must contain `logits: [V N, C]`, the V views of a video in a row.
      spec: facts of the data; must contain `class_names` and `views`.

    Returns:
      One dict per video, see `dlcore.kits.images.prediction.describe`.
    """
    from dlcore.evaluators.videos import average_by_video
    from dlcore.kits.images import prediction

    _, logits = average_by_video(outputs["logits"], np.arange(len(outputs["logits"])) // spec["views"])
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return prediction.describe({"probabilities": odds / odds.sum(-1, keepdims=True)}, spec)


def label_clips(source: Source, task: Task) -> Source:
    """Build a source with the clips as `image` and a task's label as `label`.

    Args:
      source: source that `dlcore.data.clips.clips` returned.
      task: "motion": left, right, up, down; "appearance": the color; "order": left or right, each the other with
        reversed frames; clips of up and down are left out.

    Returns:
      Source with `image: [N, F, H, W, 3] uint8` and `label: [N] int32`.
    """
    check_choice("task", task, Task)
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


def _drawn_clips(flags: Flags) -> Splits:
    """Generate the splits from fixed seeds, so that every run is tested on the same clips.

    Args:
      flags: resolved settings; must contain SETTINGS.

    Returns:
      The splits, with `image`, `label` and `video`.
    """
    from dlcore.data.clips import clips

    n = flags.num_clips * (2 if flags.task == "order" else 1)  # half of the clips move left or right
    counts = (n, max(16, n // 10), max(16, n // 4))
    train, valid, test = (
        _sampled(label_clips(clips(count, seed, frames=flags.frames, size=flags.size), flags.task), flags)
        for seed, count in enumerate(counts)
    )
    return _splits(train, valid, test, f"clips, {flags.task}", flags)


def _sampled(source: Source, flags: Flags) -> Source:
    """Replace the videos by sampled clips."""
    clips = clips_in_memory(source.arrays["image"], flags.clip_length, flags.stride, flags.short)
    video = np.arange(len(source), dtype=np.int32)
    return dataclasses.replace(source, arrays={**source.arrays, "image": clips, "video": video})


class _Strips:
    """Film strips [h, w, 3] of clips, read lazily.

    Args:
      clips: [N, T, H, W, 3].
      rows: [V], index of each strip's clip.
    """

    def __init__(self, clips: Any, rows: np.ndarray):
        self._clips, self._rows = clips, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, idx: Any) -> np.ndarray:
        clips = self._clips[np.atleast_1d(self._rows[idx])]
        frames = clips[:, np.linspace(0, clips.shape[1] - 1, min(4, clips.shape[1])).astype(int)]
        strips = frames.transpose(0, 2, 1, 3, 4).reshape(len(clips), clips.shape[2], -1, clips.shape[-1])
        return strips if np.ndim(self._rows[idx]) else strips[0]


def classification_panels(context: ReportContext) -> list:
    """Show the curves, film strips and optical flow of a clip of each class, and the panels of a classifier.

    Args:
      context: the ReportContext, whose test split holds clips as `image: [N, T, H, W, 3]`, with `label` and `video`.

    Returns:
      Report panels.
    """
    from dlcore.evaluators.videos import average_by_video
    from dlcore.report.classifier import classifier_panels
    from dlcore.report.curves import curves
    from dlcore.report.generative import sample_rows

    test, measures = context.data.test.arrays, {**context.numbers, **context.arrays}
    _, first = np.unique(test["video"], return_index=True)
    _, probabilities = average_by_video(context.outputs["probabilities"], test["video"])
    labels, names = np.asarray(test["label"])[first], context.spec["class_names"]
    clip_of_class = {names[k]: first[np.flatnonzero(labels == k)[0]] for k in np.unique(labels)[:6]}
    clips = {name: test["image"][int(row)] for name, row in clip_of_class.items()}
    strips = _Strips(test["image"], first)
    return [
        curves(context.history),
        sample_rows(clips, "Film strips", "A test video of each class: the frames of its first clip."),
        *_flow_panels(clips),
        *classifier_panels(measures, strips, labels, probabilities, names, {}),
    ]


def _flow_panels(clips: Any) -> list:
    """Show the optical flow of Horn and Schunck from the first frame of each clip to the second.

    Args:
      clips: {name: [T, H, W, 3] uint8}.

    Returns:
      One panel, with the color wheel; none if clips have one frame.
    """
    from dlcore.classical_vision.optical_flow import horn_schunck
    from dlcore.report.flow import flow_panel

    frames = np.stack([clip[:2] for clip in clips.values()])
    if frames.shape[1] < 2:
        return []
    gray = frames.astype(np.float32).mean(-1) / 255
    flows = np.asarray(jax.jit(jax.vmap(horn_schunck))(gray[:, 0], gray[:, 1]))
    return [flow_panel(list(frames[:, 0]), list(flows), f"Optical flow: {', '.join(clips)}")]
