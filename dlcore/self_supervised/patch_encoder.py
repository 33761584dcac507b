"""Encoders some of whose patches are hidden in training, with a teacher or without.

network=PatchEncoder(partial(PatchViT, patch_size=4, depth=3, width=64, num_heads=4, mlp_features=256))
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from flax import linen as nn

from dlcore.models.encoder import Encoder, module_encoder
from dlcore.self_supervised.teachers import Teacher
from dlcore.setting import with_flags

__all__ = ["PatchEncoder"]


@dataclasses.dataclass(frozen=True)
class PatchEncoder:
    """A transformer some of whose patches are hidden in training; flags are `--encoder.FIELD` and `--predictor.FIELD`.

    Args:
      network: `PatchViT` of images or `ClipEncoder` of clips, as a `functools.partial` with its fields.
      predictor: network that predicts the features of hidden patches, of a technique that has one.
      teacher: EMA teacher of a technique that has one, which sees the whole image and is measured.
    """

    network: Callable[..., nn.Module]
    predictor: Callable[..., nn.Module] | None = None
    teacher: Teacher | None = None

    @property
    def modules(self) -> dict[str, Callable]:
        """The networks by the prefixes of their flags."""
        return {"encoder": self.network} | ({} if self.predictor is None else {"predictor": self.predictor})

    def with_flags(self, flags: Any) -> "PatchEncoder":
        """Return the networks with the values of their flags in their fields."""
        networks = {prefix: partial(network, **flags.group(prefix)) for prefix, network in self.modules.items()}
        return PatchEncoder(networks["encoder"], networks.get("predictor"), with_flags(self.teacher, flags))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the encoder as `model`, its `predictor` and the schedule of the teacher."""
        predictor = {} if self.predictor is None else {"predictor": self.predictor(dtype=run.dtype)}
        teacher = {} if self.teacher is None else self.teacher.arguments(run)
        return {"model": self.network(dtype=run.dtype), **predictor, **teacher}

    def variables(self, state: Any) -> dict:
        """Find the variables of the encoder that is used afterwards: the teacher, where there is one.

        Args:
          state: the learner's state.

        Returns:
          The variables of the encoder, or more.
        """
        return {"params": state.params["encoder"] if self.teacher is None else state.teacher_params}

    def encoder(self, run: Any) -> Encoder:
        """Describe the encoder, which is measured."""
        data = run.parts.data.arguments(run)
        return module_encoder(
            self.network(dtype=run.dtype),
            data["preprocess"],
            run.facts.image_shape,
            self.variables,
            lambda out: out["features"],
            method="__call__",
            augment=data.get("augment"),
        )
