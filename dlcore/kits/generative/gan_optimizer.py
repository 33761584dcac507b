"""The optimizer of a GAN for pages with a task: the record of `dlcore.optim`, built from a `Run`."""

import optax

from dlcore.experiment.parts import Run, with_flags
from dlcore.optim import adamw

__all__ = ["GANAdam"]


class GANAdam(adamw.GANAdam):
    """See `dlcore.optim.GANAdam`."""

    takes_setup = True

    def build(self, run: Run) -> optax.GradientTransformationExtraArgs:  # pyright: ignore
        """Build the optimizer of the generator or of the discriminator."""
        return with_flags(adamw.GANAdam(), run.flags).build(run.steps)

    def rate_of_step(self, run: Run) -> optax.Schedule:  # pyright: ignore
        """Build the learning-rate schedule."""
        return with_flags(adamw.GANAdam(), run.flags).rate_of_step(run.steps)
