"""Networks that compare two views of an image.

network=Embedding(Zoo("resnet8_cifar"), embedder={"head": "mlp_norm", "proj_dim": 64})
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from dlcore.models.network import Zoo
from dlcore.ops.replica import REPLICA
from dlcore.self_supervised import encoders
from dlcore.self_supervised.networks import Embedder
from dlcore.self_supervised.queue import check_queue
from dlcore.self_supervised.siamese import SiameseNet
from dlcore.self_supervised.teachers import TargetMomentum

__all__ = ["Embedding", "Siamese"]


@dataclasses.dataclass(frozen=True)
class Siamese:
    """A backbone of the zoo, a projection head and a predictor; flags are `--model`, its fields and `--head.FIELD`.

    Args:
      backbone: the backbone.
      head: fields of the projection head and the predictor, of `SiameseNet`
      target: the EMA target of a technique that has one
    """

    backbone: Zoo
    head: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    target: TargetMomentum | None = None

    @property
    def modules(self) -> dict[str, Callable]:
        """The module by the prefix of its flags."""
        return {"head": partial(SiameseNet, **self.head)}

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`; batch statistics are averaged over replicas."""
        backbone = encoders.backbone_without_head(run, axis_name=REPLICA)
        network = {"model": SiameseNet(backbone, **self.head, axis_name=REPLICA)}
        return network if self.target is None else {**network, **self.target.arguments(run)}

    def check(self, run: Any) -> None:
        """Check that the queue of a technique that has one holds a batch and fits into memory."""
        if "queue_size" in run.flags:
            check_queue(run.flags, self.head["proj_dim"])

    def encoder(self, run: Any) -> Any:
        """Describe the backbone, which is measured."""
        return encoders.backbone_encoder(run)


@dataclasses.dataclass(frozen=True)
class Embedding:
    """A backbone of the zoo and a projection head; flags are `--model`, its fields and `--embedder.FIELD`.

    Args:
      backbone: the backbone.
      embedder: fields of the projection head, of `Embedder`
      axis_name: axis over which batch statistics are averaged; None keeps those of each replica apart
    """

    backbone: Zoo
    embedder: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    axis_name: Annotated[str | None, "no flag"] = REPLICA

    @property
    def modules(self) -> dict[str, Callable]:
        """The module by the prefix of its flags."""
        return {"embedder": partial(Embedder, **self.embedder)}

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        backbone = self.backbone.build(1, run.dtype, axis_name=self.axis_name)
        return {"model": Embedder(backbone, **self.embedder, axis_name=self.axis_name)}

    def check(self, run: Any) -> None:
        """Check that the queue of a technique that has one holds a batch and fits into memory."""
        if "queue_size" in run.flags:
            check_queue(run.flags, self.embedder["proj_dim"])

    def encoder(self, run: Any) -> Any:
        """Describe the backbone, which is measured."""
        return encoders.encoder(run)
