"""The two encoders of CLIP, of images and of captions."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from dlcore.data.captioned_images import vocabulary
from dlcore.data.words import END
from dlcore.models.clip import CLIP, SigLIP
from dlcore.models.encoder import Encoder, module_encoder

__all__ = ["TwoEncoders"]


@dataclasses.dataclass(frozen=True)
class TwoEncoders:
    """An encoder of images and one of captions, of CLIP or of SigLIP by the loss; flags are `--clip.FIELD`.

    Args:
      fields: fields of `CLIP`.
    """

    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    external_fields: ClassVar[tuple[str, ...]] = ("clip.image_size", "clip.window")

    @property
    def modules(self) -> dict[str, Callable]:
        """The network by the prefix of its flags."""
        return {"clip": partial(CLIP, **self.fields)}

    def with_flags(self, flags: Any) -> "TwoEncoders":
        """Return the network with the values of its flags in its fields."""
        return TwoEncoders(flags.group("clip"))

    def build(self, run: Any) -> CLIP:
        """Build the network, for the vocabulary and the captions of the data.

        Args:
          run: the run.
        """
        spec = run.spec
        size = {"image_size": spec["image_shape"][0], "window": spec["batch"]["captions"][0][-1]}
        kind = SigLIP if run.parts.technique.keywords["loss"] == "sigmoid" else CLIP
        return kind(len(vocabulary(spec)), END, **{**self.fields, **size, "dtype": run.dtype})

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        return {"model": self.build(run)}

    def encoder(self, run: Any) -> Encoder:
        """Describe the encoder of images."""
        return module_encoder(
            self.build(run),
            run.parts.data.arguments(run)["preprocess"],
            run.facts.image_shape,
            lambda state: {"params": state.params},
            lambda vectors: vectors,
            method="encode_image",
            takes_train=False,
        )
