"""The optimizer of a GAN for pages with a task: the record of `dlcore.optim`, built from a `Setup`."""

import optax

from dlcore.experiment.experiment import Setup
from dlcore.experiment.parts import with_flags
from dlcore.optim import adamw

__all__ = ["GANAdam"]


class GANAdam(adamw.GANAdam):
    """See `dlcore.optim.GANAdam`."""

    takes_setup = True

    def build(self, setup: Setup) -> optax.GradientTransformationExtraArgs:  # pyright: ignore
        """Build the optimizer of the generator or of the discriminator."""
        return with_flags(adamw.GANAdam(), setup.flags).build(setup.steps)

    def rate_of_step(self, setup: Setup) -> optax.Schedule:  # pyright: ignore
        """Build the learning-rate schedule."""
        return with_flags(adamw.GANAdam(), setup.flags).rate_of_step(setup.steps)
