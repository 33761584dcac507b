"""Encoders some of whose patches are hidden in training, with a teacher or without.

network=PatchEncoder(partial(PatchViT, patch_size=4, depth=3, width=64, num_heads=4, mlp_features=256))
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar

import optax
from flax import linen as nn

from dlcore.evaluators.fine_tuning import Encoder
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run, with_flags
from dlcore.kits.images import labeled_images
from dlcore.kits.self_supervised import encoders
from dlcore.learner import Range
from dlcore.self_supervised.patch_predictors import PatchViT
from dlcore.tasks.unlabeled_images import UnlabeledImages

__all__ = ["SMALL", "SMALLEST", "MaskedPatches", "PatchEncoder", "Teacher"]

SMALL = {
    "encoder.patch_size": 2,
    "encoder.depth": 3,
    "encoder.width": 64,
    "encoder.num_heads": 4,
    "encoder.mlp_features": 256,
    "steps": 1000,
    "batch_size": 64,
    "eval_every": 250,
}
"""Settings of a small ViT on the digits."""

SMALLEST = {"encoder.depth": 1, "encoder.width": 8, "encoder.num_heads": 2, "encoder.mlp_features": 8}
"""Settings of the encoder under --smoke."""


@dataclasses.dataclass(frozen=True)
class MaskedPatches(UnlabeledImages):
    """Images some of whose patches are hidden from an encoder."""

    model: ClassVar[str | None] = None
    modules: ClassVar[dict[str, Callable]] = {"encoder": PatchViT}

    def network(self, setup: Setup) -> PatchViT:
        """Build the encoder of `--encoder`."""
        return PatchViT(**setup.flags.group("encoder"), dtype=setup.dtype)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the encoder and the preprocessing."""
        return {
            "model": self.network(setup),
            "augment": labeled_images.augmentation(setup.flags, setup.spec),
            "preprocess": labeled_images.preprocess(setup),
        }

    def variables(self, state: Any) -> dict:
        """Find the encoder that is used afterwards.

        Args:
          state: state of the learner.

        Returns:
          Its variables.
        """
        return {"params": state.params["encoder"]}

    def encoder(self, setup: Setup) -> Encoder:
        """Describe the encoder in the learner's state."""
        return encoders.encoder(
            setup, self.network(setup), self.variables, method="__call__", read=lambda out: out["features"]
        )


@dataclasses.dataclass(frozen=True)
class Teacher:
    """The schedule of an EMA teacher's momentum.

    Args:
      teacher_momentum: initial momentum of the EMA teacher; it rises linearly to 1
    """

    teacher_momentum: Annotated[float, Range(0, 1)] = 0.996

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique its `teacher_momentum`."""
        return {"teacher_momentum": optax.linear_schedule(self.teacher_momentum, 1.0, max(1, run.steps))}


@dataclasses.dataclass(frozen=True)
class PatchEncoder:
    """A ViT some of whose patches are hidden in training; its flags are `--encoder.FIELD` and `--predictor.FIELD`.

    Args:
      network: `PatchViT`, as a `functools.partial` with its fields.
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

    def with_flags(self, flags: Flags) -> "PatchEncoder":
        """Return the networks with the values of their flags in their fields."""
        networks = {prefix: partial(network, **flags.group(prefix)) for prefix, network in self.modules.items()}
        return PatchEncoder(networks["encoder"], networks.get("predictor"), with_flags(self.teacher, flags))

    def arguments(self, run: Run) -> dict[str, Any]:
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

    def encoder(self, run: Run) -> Encoder:
        """Describe the encoder, which is measured."""
        model = self.network(dtype=run.dtype)
        return encoders.encoder(run.setup, model, self.variables, method="__call__", read=lambda out: out["features"])
