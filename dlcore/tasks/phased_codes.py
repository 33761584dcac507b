"""PhasedCodes: images, an autoencoder of their codes, and in the last part of the run a model of these codes.

class TwoGrids(PhasedCodes):
    def network(self, setup):
        return VQVAE2(tuple(setup.spec["image_shape"]), dtype=setup.dtype, **setup.flags.group("vqvae2"))
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.training import optimizer
from dlcore.kits.training.optimizer import AdamW
from dlcore.learner import Learner, Range
from dlcore.tasks.discrete_codes import with_mean_image
from dlcore.tasks.latent_space import SampledLatentSpace

__all__ = ["PhasedAdamW", "PhasedCodes", "phases"]


def phases(setup: Setup) -> tuple[int, int]:
    """Count the steps of the autoencoder and those of the model of its codes.

    Args:
      setup: facts of the run, with the flag `prior_share`.

    Returns:
      (steps of the first phase, steps of the second).
    """
    last = round(setup.flags.prior_share * setup.steps)
    return setup.steps - last, last


class PhasedAdamW(AdamW):
    """AdamW whose schedule starts anew with the second phase."""

    def build(self, setup: Setup) -> Any:
        """Build the optimizer of the autoencoder.

        Returns:
          The optax transformation, whose schedule ends with the first phase.
        """
        return optimizer.build(setup._replace(steps=max(1, phases(setup)[0])))

    def rate_of_step(self, setup: Setup) -> Callable[[int], float]:
        """Build the schedule of both phases."""
        first, last = phases(setup)
        early, late = (optimizer.schedule(setup._replace(steps=max(1, steps))) for steps in (first, last))
        return lambda step: early(step) if step < first else late(step - first)


@dataclasses.dataclass(frozen=True)
class PhasedCodes(SampledLatentSpace):
    """Images, an autoencoder of their codes, and samples by a model of these."""

    shared_settings: ClassVar[dict[str, Setting]] = {
        **SampledLatentSpace.shared_settings,
        "prior_share": Setting(
            0.25, "fraction of the steps, the last ones, that train the prior; 0 trains none", limits=Range(0, 0.99)
        ),
    }
    monitor = "prior_bits"
    headline = "mse"

    def data(self, flags: Flags) -> Splits:
        """Load the splits by name, and note the error of the mean image."""
        splits = with_mean_image(super().data(flags))
        # A run without a prior has no `prior_bits` to select a checkpoint by.
        return splits if flags.prior_share else splits._replace(spec={**splits.spec, "headline": "mse"})

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the autoencoder, and say which steps train the model of its codes, by which optimizer."""
        first, last = phases(setup)
        return {
            **super().arguments(setup),
            "prior_optimizer": optimizer.build(setup._replace(steps=max(1, last))),
            "is_prior_step": lambda step: step >= first,
        }

    def drawn(self, flags: Flags, spec: dict) -> tuple[Any, list[str]]:
        """Number the samples that `--mode=predict` draws without `--input`."""
        if not flags.prior_share:
            raise FlagError("--prior_share=0: the run has no prior to sample from; allowed: --input=FILE_OR_FOLDER")
        return super().drawn(flags, spec)

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list:
        """Build the evaluators of samples; none for a run without a prior."""
        return super().evaluators(setup, splits, split) if phases(setup)[1] else []

    def report_hooks(self, setup: Setup, build: Callable[[Setup], Learner]) -> list:
        """Build the hooks that film samples; none for a run without a prior."""
        return super().report_hooks(setup, build) if phases(setup)[1] else []
