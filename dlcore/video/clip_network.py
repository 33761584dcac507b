"""Networks of clips by name."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from flax import linen as nn

from dlcore.learner import Range, check_record
from dlcore.models.mvit import MViT
from dlcore.models.s3d import S3D
from dlcore.models.swin3d import Swin3D
from dlcore.models.video_resnet import VIDEO_MODELS
from dlcore.models.video_transformer import TimeSformer, ViViT
from dlcore.setting import EXTERNAL_FIELDS, FlagError, Setting, module_settings
from dlcore.video.fusion import C3D, ClipClassifier
from dlcore.video.slowfast import SlowFast
from dlcore.video.two_stream import TwoStreamClips

__all__ = ["ClipNetwork", "Network"]

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

    def with_flags(self, flags: Any) -> "ClipNetwork":
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

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        return {"model": self.build(run.facts.num_classes, run.facts.image_shape, run.dtype)}

    def check(self, run: Any) -> None:
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
