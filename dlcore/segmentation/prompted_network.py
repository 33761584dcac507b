"""A segmenter by clicks and boxes, whose image encoder may stay frozen."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from flax import linen as nn

from dlcore.models.network import NetworkFields
from dlcore.optim import trained_parts

__all__ = ["PromptedNetwork"]


@dataclasses.dataclass(frozen=True)
class PromptedNetwork(NetworkFields):
    """SAM on an encoder of its own, of which `--parts` learn; the flags are `--sam.FIELD` and `--encoder.FIELD`.

    Args:
      sam: class of the network, or a `functools.partial`.
      encoder: class of its encoder, or a `functools.partial`.
    """

    sam: Callable[..., nn.Module]
    encoder: Callable[..., nn.Module]

    external_fields: ClassVar[tuple[str, ...]] = ("encoder.image_size", "encoder.pretrain_size")

    @property
    def patch_size(self) -> int:
        """Side of the encoder's patches in pixels."""
        return self.encoder(num_classes=0).patch_size

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique SAM as `model`, for the side of the scenes."""
        from dlcore.transfer.frozen import PartlyFrozen

        side = run.facts.image_shape[0]
        encoder = self.encoder(image_size=side, pretrain_size=side, dtype=run.dtype)
        model = self.sam(encoder=encoder, dtype=run.dtype)
        return {"model": PartlyFrozen(model, trained_parts.parts_of(run.parts.optimizer))}

    def check(self, run: Any) -> None:
        """Check that patches cover the image."""
        side = run.parts.data.image_size
        if side % self.patch_size:
            raise ValueError(
                f"image_size={side}: patches do not cover it; allowed: multiples of "
                f"encoder.patch_size={self.patch_size}"
            )
