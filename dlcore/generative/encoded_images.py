"""The encoder of an autoencoder, as features are measured."""

import dataclasses
from collections.abc import Callable
from typing import Any

from dlcore.data.augment import to_float
from dlcore.models.encoder import Encoder, module_encoder
from dlcore.models.network import OnImages

__all__ = ["ImageEncoder"]


@dataclasses.dataclass(frozen=True)
class ImageEncoder(OnImages):
    """A network on images whose method `encode` gives the features of an image.

    Args:
      code: what `encode` returns -> features [B, D]; None takes it as it is.
    """

    code: Callable[[Any], Any] | None = None

    def encoder(self, run: Any) -> Encoder:
        """Describe `encode` as an encoder of images."""
        return module_encoder(
            self.build(run),
            to_float,
            run.facts.image_shape,
            lambda state: {"params": state.params},
            self.code or (lambda encoding: encoding),
            method="encode",
            takes_train=False,
        )
