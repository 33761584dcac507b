"""Classifiers of clips: networks by name, the accuracy by video, and what a report shows.

network=ClipNetwork("fusion", fields={"net": {"fusion": "slow", "width": 16}})
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
from flax import linen as nn

from dlcore.data.clip_sampling import repeat_for_views
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.evaluators.videos import accuracy_by_video, average_by_video
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import EXTERNAL_FIELDS, FlagError, Setting, field_settings, module_settings
from dlcore.kits.images.prediction import ClassifyImages
from dlcore.kits.training import earlier_run
from dlcore.learner import Evaluator, Range, check_record
from dlcore.models.mvit import MViT
from dlcore.models.s3d import S3D
from dlcore.models.swin3d import Swin3D
from dlcore.models.video_resnet import VIDEO_MODELS
from dlcore.models.video_transformer import TimeSformer, ViViT
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.tasks.clip_data import FilmStrips
from dlcore.video.fusion import C3D, ClipClassifier, inflate
from dlcore.video.slowfast import SlowFast
from dlcore.video.two_stream import TwoStreamClips
from dlcore.weights.fit import fit_modules
from dlcore.weights.open import open_weights
from dlcore.weights.start import Start

__all__ = ["AccuracyByVideo", "ClassifyVideos", "ClipNetwork", "InflatedWeights", "Network", "panels"]

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

MODULES: dict[str, Callable[..., nn.Module]] = {
    "net": ClipClassifier,
    "c3d": C3D,
    "slowfast": SlowFast,
    "two_stream": TwoStreamClips,
}
"""Networks of `dlcore.video` by the prefix of the flags of their fields."""

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
class ClipNetwork:
    """A network of clips, by name; its flags are `--network` and the fields of each network.

    Args:
      network: fusion (--net.fusion), c3d, slowfast, two_stream, a residual network of clips, or a network of the zoo,
        such as swin3d with its fields --swin3d.*
      resnet_width: channels of the first stage of r3d_18, mc3_18 and r2plus1d_18
      fields: fields of the networks, by the prefix of their flags; that of fusion is net.
    """

    network: Annotated[Network, "essential"] = "fusion"
    resnet_width: Annotated[int, Range(1)] = 64
    fields: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check_record(self)

    @property
    def modules(self) -> dict[str, Callable]:
        """The page's own networks by the prefixes of their flags."""
        return {prefix: partial(network, **self.fields.get(prefix, {})) for prefix, network in MODULES.items()}

    @property
    def settings(self) -> dict[str, Setting]:
        """The fields of the networks of the zoo as flags; the data say the size of clips."""
        settings = {}
        for prefix, network in ZOO.items():
            settings |= module_settings(prefix, network, EXTERNAL_FIELDS | SIZE_FIELDS)
        return {name: setting._replace(identity="if changed") for name, setting in settings.items()}

    def with_flags(self, flags: Flags) -> "ClipNetwork":
        """Return the network with the values of its flags in its fields."""
        fields = {prefix: flags.group(prefix) for prefix in MODULES}
        for prefix in ZOO:
            start = f"{prefix}."
            fields[prefix] = {name.removeprefix(start): flags[name] for name in flags if name.startswith(start)}
        return ClipNetwork(flags.network, flags.resnet_width, fields)

    def build(self, num_classes: int, clip_shape: Sequence[int], dtype: Any = None) -> nn.Module:
        """Build the network.

        Args:
          num_classes: number of classes.
          clip_shape: (T, H, W, 3) of a clip, in [-1, 1].
          dtype: dtype of the computation.

        Returns:
          `__call__(clips [B, T, H, W, 3], train) -> logits`.
        """
        if self.network in VIDEO_MODELS:
            return VIDEO_MODELS[self.network](num_classes, width=self.resnet_width, dtype=dtype)
        if self.network not in ZOO:
            prefix = "net" if self.network == "fusion" else self.network
            return MODULES[prefix](num_classes, dtype=dtype, **self.fields.get(prefix, {}))
        network = ZOO[self.network]
        size = {"frames": clip_shape[0], "image_size": clip_shape[1]}
        sides = {name: value for name, value in size.items() if name in network.__dataclass_fields__}
        return network(num_classes, dtype=dtype, **sides, **self.fields.get(self.network, {}))

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        return {"model": self.build(run.facts.num_classes, run.facts.image_shape, run.dtype)}

    def check(self, run: Run) -> None:
        """Check that clips are long and large enough for the network."""
        length, size = run.parts.data.clip_length, run.parts.data.size
        if self.network == "c3d" and length < 16:
            raise FlagError(f"clip_length={length}: too short for --network=c3d; allowed: at least 16")
        if self.network == "s3d" and (length < 5 or size < 17):
            raise FlagError(
                f"clip_length={length}, size={size}: too small for --network=s3d; allowed: at least 5 frames of 17x17"
            )
        if self.network == "slowfast" and length % (alpha := self.fields["slowfast"]["alpha"]):
            raise FlagError(f"clip_length={length}: no multiple of --slowfast.alpha={alpha}; allowed: multiples")
        if self.network == "two_stream" and length < 2:
            raise FlagError(f"clip_length={length}: one frame has no flow; allowed: at least 2 for two_stream")


@dataclasses.dataclass(frozen=True)
class InflatedWeights:
    """Weights of single frames, inflated along time (I3D), from which slow fusion starts.

    Args:
      inflate_from: a finished run of this page with --net.fusion=single, whose weights slow fusion starts from,
        inflated (I3D)
    """

    inflate_from: str | None = None

    @property
    def settings(self) -> dict[str, Setting]:
        """The flag of the run, with its origin."""
        return {"inflate_from": field_settings(self)["inflate_from"]._replace(origin=_inflated_run)}

    def check(self, run: Run) -> None:
        """Check that the network is slow fusion."""
        network = run.parts.network
        is_slow = network.network == "fusion" and network.fields["net"]["fusion"] == "slow"
        if self.inflate_from is not None and not is_slow:
            raise FlagError(
                "inflate_from: inflates weights for slow fusion; allowed: --network=fusion --net.fusion=slow"
            )

    def start(self, run: Run) -> Start | None:
        """Start from the weights of `inflate_from`; the optimizer's state and layers of other classes are new."""
        source = self.inflate_from
        if source is None:
            return None

        def fitted(state: Any) -> Any:
            frames = open_weights(source, "inflate_from")
            same = frames.class_names == run.facts.class_names
            inflated = inflate({"params": frames.variables()["params"]}, run.parts.network.fields["net"]["temporal"])
            return fit_modules(inflated, {"params": state.params}, same, f"inflate_from={source!r}")[0]["params"]

        def replace(state: Any) -> Any:
            params = fitted(state)
            return state.replace(params=params, opt_state=jax.jit(run.optimizer().init)(params))

        return Start(replace, lambda state: fitted(state) and None)


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
