"""UnlabeledClips and TubesOfTeacher: clips, from which an encoder learns without their labels.

experiment = Experiment(__file__, __doc__, video_mae.learner, task=MaskedClips(), optimizer=AdamW())
"""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax

from dlcore.data.preprocess import to_signed
from dlcore.evaluators.fine_tuning import Encoder, module_encoder
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.learner import Range
from dlcore.tasks.clip_data import ClipData, FilmStrips
from dlcore.tasks.encoders import Encoders

__all__ = ["UnlabeledClips"]


@dataclasses.dataclass(frozen=True)
class UnlabeledClips(Encoders, ClipData):
    """Clips whose labels only measure the encoder, by k-NN and by a linear probe.

    Args:
      views: clips of each test video, which count as one each
      fine_tune: labels to fine-tune with at the end: counts, or below 1 shares of the training clips; empty for none
    """

    views: Annotated[int, Range(1, 30)] = 1
    fine_tune: Annotated[tuple[float, ...], Range(0)] = ()

    model: ClassVar[str | None] = None

    def check(self, flags: Flags) -> None:
        """Check the clips, and that there are as many as the labels that `--fine_tune` requests."""
        Encoders.check(self, flags)
        ClipData.check(self, flags)

    def network(self, setup: Setup) -> Any:
        """Build the network that holds the encoder.

        Returns:
          The flax module.

        Raises:
          TypeError: the task does not say it.
        """
        raise TypeError(f"{type(self).__name__} does not say its network")

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the network and the preprocessing."""
        return {"model": self.network(setup), "preprocess": to_signed}

    def variables(self, state: Any) -> dict:
        """Find the encoder that is used afterwards.

        Args:
          state: state of the learner.

        Returns:
          Its variables.
        """
        return {"params": state.params}

    def features(self, out: Any) -> jax.Array:
        """Read the features [B, D] from what the encoder's method gives."""
        return out["features"]

    encoder_method: ClassVar[str] = "__call__"
    """Method of the network that encodes clips."""

    def encoder(self, setup: Setup) -> Encoder:
        """Describe the encoder in the learner's state."""
        return module_encoder(
            self.network(setup),
            to_signed,
            setup.spec["image_shape"],
            self.variables,
            self.features,
            method=self.encoder_method,
        )

    def pictures_of(self, examples: Any) -> Any:
        """Draw film strips of clips."""
        return FilmStrips(examples)
