"""Networks of the pose of an object: heatmaps or coordinates of its keypoints."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from flax import linen as nn

from dlcore.data.scenes import KEYPOINTS
from dlcore.learner import check_record

__all__ = ["PoseNetworks"]


@dataclasses.dataclass(frozen=True)
class PoseNetworks:
    """Two networks of heat maps, of which a run has one.

    Args:
      simple_baseline: class of SimpleBaseline, or a `functools.partial`.
      resnet: class of its backbone, or a `functools.partial`.
      vitpose: class of ViTPose, or a `functools.partial`.
      network: simple_baseline (a ResNet and transposed convolutions) or vitpose (a plain ViT)
    """

    simple_baseline: Callable[..., nn.Module]
    resnet: Callable[..., nn.Module]
    vitpose: Callable[..., nn.Module]
    network: Annotated[Literal["simple_baseline", "vitpose"], "essential"] = "simple_baseline"

    external_fields: ClassVar[tuple[str, ...]] = (
        "simple_baseline.num_keypoints",
        "vitpose.num_keypoints",
        "vitpose.image_size",
    )

    def __post_init__(self):
        check_record(self)

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The networks by the prefixes of their flags."""
        return {"simple_baseline": self.simple_baseline, "vitpose": self.vitpose}

    def arguments(self, run: Any) -> dict[str, nn.Module]:
        """Give the technique the network of the run as `model`."""
        fields, side = {"num_keypoints": len(KEYPOINTS), "dtype": run.dtype}, run.parts.data.crop_size
        if self.network == "vitpose":
            return {"model": self.vitpose(**fields, image_size=(side, side))}
        return {"model": self.simple_baseline(self.resnet(dtype=run.dtype), **fields)}
