"""Clips: videos with one class each, for classifiers of clips."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.clip_sampling import Short, repeat_for_views
from dlcore.data.source import Source
from dlcore.evaluators.videos import accuracy_by_video, average_by_video
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.experiment.weights import Start, open_weights
from dlcore.kits.images import prediction
from dlcore.kits.training import earlier_run, optimizer
from dlcore.kits.video.clip_splits import ClipLabel, drawn_clips, own_videos
from dlcore.learner import Evaluator, Range
from dlcore.models.video_resnet import VIDEO_MODELS
from dlcore.modes.report_context import ReportContext
from dlcore.run.weights import fit_modules
from dlcore.video.fusion import C3D, ClipClassifier, inflate
from dlcore.video.slowfast import SlowFast
from dlcore.video.two_stream import TwoStreamClips

__all__ = ["Clips", "Dataset", "Network"]

Network = Literal["fusion", "c3d", "r3d_18", "mc3_18", "r2plus1d_18", "slowfast", "two_stream"]
Dataset = Literal["folder", "ucf101", "sports1m", "charades", "moments_in_time"]


@dataclasses.dataclass(frozen=True)
class Clips(Task):
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
      views: clips of each test video, whose logits are averaged
      network: fusion (--net.fusion), c3d, slowfast, two_stream, or a residual network of clips
      resnet_width: channels of the first stage of r3d_18, mc3_18 and r2plus1d_18
      inflate_from: a finished run of this page with --net.fusion=single, whose weights slow fusion starts from,
        inflated (I3D)
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
    network: Annotated[Network, "essential"] = "fusion"
    resnet_width: Annotated[int, Range(1)] = 64
    inflate_from: str | None = None
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1

    modules: ClassVar[dict[str, Callable]] = {
        "net": ClipClassifier,
        "c3d": C3D,
        "slowfast": SlowFast,
        "two_stream": TwoStreamClips,
    }
    headline: ClassVar[str] = "accuracy_by_video"
    plain: ClassVar[dict[str, Any]] = {"label_smoothing": 0.0, "l2": 0.0, "weight_decay": 0.0}
    regularizer: ClassVar[str] = "l2"
    overfit: ClassVar[float] = 1e-2

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task, with the run that `--inflate_from` names."""
        settings = super().settings()
        inflate_from = settings["inflate_from"]
        return {**settings, "inflate_from": inflate_from._replace(origin=_inflated_run)}

    def check(self, flags: Flags) -> None:
        """Check that clips fit the network and the synthetic videos, which have no frame rate."""
        if flags.network == "c3d" and flags.clip_length < 16:
            raise FlagError(f"clip_length={flags.clip_length}: too short for --network=c3d; allowed: at least 16")
        if flags.network == "slowfast" and flags.clip_length % flags.group("slowfast")["alpha"]:
            alpha = flags.group("slowfast")["alpha"]
            raise FlagError(
                f"clip_length={flags.clip_length}: no multiple of --slowfast.alpha={alpha}; allowed: multiples"
            )
        if flags.network == "two_stream" and flags.clip_length < 2:
            raise FlagError(
                f"clip_length={flags.clip_length}: one frame has no flow; allowed: at least 2 for two_stream"
            )
        is_slow = flags.network == "fusion" and flags.group("net")["fusion"] == "slow"
        if flags.inflate_from is not None and not is_slow:
            raise FlagError(
                "inflate_from: inflates weights for slow fusion; allowed: --network=fusion --net.fusion=slow"
            )
        if flags.data_dir is not None:
            return
        if flags.dataset != "folder":
            raise FlagError(
                f"dataset={flags.dataset}: --data_dir is missing; allowed: the folder of the data set beside it"
            )
        if flags.frame_rate is not None:
            raise FlagError(
                f"frame_rate={flags.frame_rate:g}: drawn videos have none; allowed: --stride, or --data_dir"
            )
        if flags.short == "error" and flags.stride * (flags.clip_length - 1) + 1 > flags.frames:
            raise FlagError(
                f"clip_length={flags.clip_length}: with stride {flags.stride} longer than a video of {flags.frames} "
                f"frames; allowed: at most {(flags.frames - 1) // flags.stride + 1}"
            )

    def data(self, flags: Flags) -> Splits:
        """Read videos from `--data_dir`, or generate clips: `image`, `label` and `video`.

        Validation and test have `--views` clips per video.
        """
        return drawn_clips(flags) if flags.data_dir is None else own_videos(flags)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the network that `--network` names, for clips [B, T, H, W, 3] in [-1, 1], and the preprocessing."""
        return {"model": self.build_network(setup), "preprocess": lambda clips: clips.astype(jnp.float32) / 127.5 - 1}

    def build_network(self, setup: Setup) -> nn.Module:
        """Build the network that `--network` names.

        Returns:
          `__call__(clips [B, T, H, W, 3], train) -> logits`.
        """
        flags, classes = setup.flags, setup.spec["num_classes"]
        if flags.network in VIDEO_MODELS:
            build = VIDEO_MODELS[flags.network]
            return build(classes, width=flags.resnet_width, dtype=setup.dtype)
        prefix = "net" if flags.network == "fusion" else flags.network
        return self.modules[prefix](classes, dtype=setup.dtype, **flags.group(prefix))

    def start(self, setup: Setup) -> Start | None:
        """Start slow fusion from the weights of `--inflate_from`, of single frames, inflated along time (I3D).

        Args:
          setup: facts of the run.

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
            frames = open_weights(source, "inflate_from")
            same = frames.class_names == tuple(setup.spec["class_names"])
            inflated = inflate({"params": frames.variables()["params"]}, setup.flags.group("net")["temporal"])
            return fit_modules(inflated, {"params": state.params}, same, f"inflate_from={source!r}")[0]["params"]

        def replace(state: Any) -> Any:
            params = fitted(state)
            return state.replace(params=params, opt_state=jax.jit(optimizer.build(setup).init)(params))

        return Start(replace, lambda state: fitted(state) and None)

    def expected_loss(self, setup: Setup) -> float:
        """Compute the loss of equal probabilities."""
        return math.log(setup.spec["num_classes"])

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluator of the accuracy by video."""
        return [accuracy_by_video()]

    def inputs(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        """Read the videos under `--input`: a file, a folder of frames, or several; `--views` clips of each."""
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

    def describe(self, outputs: dict, spec: dict) -> list[dict]:
        """Describe videos by the mean of `logits: [V N, C]` over their V views, which stand in a row."""
        _, logits = average_by_video(outputs["logits"], np.arange(len(outputs["logits"])) // spec["views"])
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        return prediction.describe({"probabilities": odds / odds.sum(-1, keepdims=True)}, spec)

    def panels(self, context: ReportContext) -> list:
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
        strips = _Strips(test["image"], first)
        return [
            curves(context.history),
            sample_rows(clips, "Film strips", "A test video of each class: the frames of its first clip."),
            *_flow_panels(clips),
            *classifier_panels(measures, strips, labels, probabilities, names, {}),
        ]


def _inflated_run(flags: Flags) -> Any:
    """Read the origin of the run of `--inflate_from`."""
    return earlier_run.origin(flags, "inflate_from", "video.classification")


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
