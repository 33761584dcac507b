"""MaskedPatches and PatchesOfTeacher: images by name, of whose hidden patches a `PatchViT` learns to say something.

experiment = Experiment(
    __file__, __doc__, ijepa.learner, task=PatchesOfTeacher(), optimizer=AdamW(), defaults=SMALL, smoke=SMALLEST
)
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import optax

from dlcore.evaluators.fine_tuning import Encoder
from dlcore.experiment.experiment import Setup
from dlcore.kits.images import labeled_images
from dlcore.kits.self_supervised import encoders
from dlcore.learner import Range
from dlcore.self_supervised.patch_predictors import PatchViT
from dlcore.tasks.unlabeled_images import UnlabeledImages

__all__ = ["SMALL", "SMALLEST", "MaskedPatches", "PatchesOfTeacher"]

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
class PatchesOfTeacher(MaskedPatches):
    """Masked patches, of which an EMA teacher that sees the whole image gives the targets.

    Args:
      teacher_momentum: initial momentum of the EMA teacher; it rises linearly to 1
    """

    teacher_momentum: Annotated[float, Range(0, 1)] = 0.996

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the encoder, the preprocessing and the schedule of the teacher."""
        schedule = optax.linear_schedule(setup.flags.teacher_momentum, 1.0, max(1, setup.steps))
        return {**super().arguments(setup), "teacher_momentum": schedule}

    def variables(self, state: Any) -> dict:
        """Find the teacher in the state."""
        return {"params": state.teacher_params}
