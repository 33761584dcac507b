"""Clips: videos with one class each, for classifiers of clips."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import jax
import numpy as np
from flax import linen as nn

from dlcore.data.clip_sampling import repeat_for_views
from dlcore.data.preprocess import to_signed
from dlcore.data.source import Source
from dlcore.evaluators.videos import accuracy_by_video, average_by_video
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import EXTERNAL_FIELDS, FlagError, Setting, module_settings
from dlcore.experiment.splits import Splits
from dlcore.kits.images import prediction
from dlcore.kits.training import earlier_run
from dlcore.learner import Evaluator, Range
from dlcore.models.mvit import MViT
from dlcore.models.s3d import S3D
from dlcore.models.swin3d import Swin3D
from dlcore.models.video_resnet import VIDEO_MODELS
from dlcore.models.video_transformer import TimeSformer, ViViT
from dlcore.modes.report_context import ReportContext
from dlcore.tasks.clip_data import ClipData, FilmStrips
from dlcore.video.fusion import C3D, ClipClassifier, inflate
from dlcore.video.slowfast import SlowFast
from dlcore.video.two_stream import TwoStreamClips
from dlcore.weights.fit import fit_modules
from dlcore.weights.open import open_weights
from dlcore.weights.start import Start

__all__ = ["Clips", "Network"]

Network = Literal[
    "fusion",
    "c3d",
    "r3d_18",
    "mc3_18",
    "r2plus1d_18",
    "slowfast",
    "two_stream",
    "s3d",
    "swin3d",
    "mvit",
    "timesformer",
    "vivit",
]


ZOO: dict[str, Callable[..., nn.Module]] = {
    "s3d": S3D,
    "swin3d": Swin3D,
    "mvit": MViT,
    "timesformer": TimeSformer,
    "vivit": ViViT,
}
"""Networks of `dlcore.models` by the name that `--network` takes, and the prefix of the flags of their fields."""
SIZE_FIELDS = frozenset({"frames", "image_size"})
"""Fields that the clips of the data set."""


@dataclasses.dataclass(frozen=True)
class Clips(ClipData):
    """Clips with one class each, which a network classifies; logits are averaged over the clips of a test video.

    Args:
      network: fusion (--net.fusion), c3d, slowfast, two_stream, a residual network of clips, or a network of the zoo,
        such as swin3d with its fields --swin3d.*
      resnet_width: channels of the first stage of r3d_18, mc3_18 and r2plus1d_18
      inflate_from: a finished run of this page with --net.fusion=single, whose weights slow fusion starts from,
        inflated (I3D)
    """

    network: Annotated[Network, "essential"] = "fusion"
    resnet_width: Annotated[int, Range(1)] = 64
    inflate_from: str | None = None

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
        """Collect the flags of the task, with the run that `--inflate_from` names and the fields of `ZOO`."""
        settings = super().settings()
        inflate_from = settings["inflate_from"]
        return {**settings, "inflate_from": inflate_from._replace(origin=_inflated_run), **_zoo_settings()}

    def check(self, flags: Flags) -> None:
        """Check that clips fit the network and the synthetic videos, which have no frame rate."""
        if flags.network == "c3d" and flags.clip_length < 16:
            raise FlagError(f"clip_length={flags.clip_length}: too short for --network=c3d; allowed: at least 16")
        if flags.network == "s3d" and (flags.clip_length < 5 or flags.size < 17):
            raise FlagError(
                f"clip_length={flags.clip_length}, size={flags.size}: too small for --network=s3d; allowed: at least 5 "
                "frames of 17x17"
            )
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
        super().check(flags)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the network that `--network` names, for clips [B, T, H, W, 3] in [-1, 1], and the preprocessing."""
        return {"model": self.build_network(setup), "preprocess": to_signed}

    def build_network(self, setup: Setup) -> nn.Module:
        """Build the network that `--network` names.

        Returns:
          `__call__(clips [B, T, H, W, 3], train) -> logits`.
        """
        flags, classes = setup.flags, setup.spec["num_classes"]
        if flags.network in VIDEO_MODELS:
            build = VIDEO_MODELS[flags.network]
            return build(classes, width=flags.resnet_width, dtype=setup.dtype)
        if flags.network in ZOO:
            return ZOO[flags.network](classes, dtype=setup.dtype, **_zoo_fields(flags, setup.spec["image_shape"]))
        prefix = "net" if flags.network == "fusion" else flags.network
        return self.modules[prefix](classes, dtype=setup.dtype, **flags.group(prefix))

    def start(self, setup: Setup) -> Start | None:
        """Start slow fusion from the weights of `--inflate_from`, of single frames, inflated along time (I3D).

        The optimizer's state and layers of other classes are new.

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
            return state.replace(params=params, opt_state=jax.jit(setup.transformation().init)(params))

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
        strips = FilmStrips(test["image"], first)
        return [
            curves(context.history),
            sample_rows(clips, "Film strips", "A test video of each class: the frames of its first clip."),
            *_flow_panels(clips),
            *classifier_panels(measures, strips, labels, probabilities, names, {}),
        ]


def _zoo_settings() -> dict[str, Setting]:
    """Collect the simple fields of the networks of `ZOO` as flags; the data say the size of clips."""
    settings = {}
    for prefix, network in ZOO.items():
        settings |= module_settings(prefix, network, EXTERNAL_FIELDS | SIZE_FIELDS)
    return {name: setting._replace(identity="if changed") for name, setting in settings.items()}


def _zoo_fields(flags: Flags, clip_shape: tuple[int, ...]) -> dict[str, Any]:
    """Fields of the network of `ZOO` that `--network` names, for clips (T, H, W, C)."""
    network, start = ZOO[flags.network], f"{flags.network}."
    size = {"frames": clip_shape[0], "image_size": clip_shape[1]}
    fields = {name: value for name, value in size.items() if name in network.__dataclass_fields__}
    return fields | {name.removeprefix(start): flags[name] for name in flags if name.startswith(start)}


def _inflated_run(flags: Flags) -> Any:
    """Read the origin of the run of `--inflate_from`."""
    return earlier_run.origin(flags, "inflate_from", "video.classification")


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
