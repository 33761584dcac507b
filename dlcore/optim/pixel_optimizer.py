"""The optimizer of pixels: Adam, L-BFGS or gradient ascent."""

import dataclasses
from typing import Annotated, ClassVar, Literal

import optax

from dlcore.learner import Range, check_record

__all__ = ["PixelOptimizer"]


@dataclasses.dataclass(frozen=True)
class PixelOptimizer:
    """The optimizer of pixels: L-BFGS of memory 10 with a zoom line search, or Adam.

    Args:
      optimizer: optimizer of the pixels; lbfgs searches for its own step size
      learning_rate: learning rate of adam, constant
      precision: compute precision; this experiment has no other
    """

    optimizer: Annotated[Literal["lbfgs", "adam"], "essential"] = "lbfgs"
    learning_rate: Annotated[float, Range(0), "essential"] = 0.05
    precision: Literal["f32"] = "f32"

    parameters: ClassVar[tuple[str, ...]] = ("optimizer",)
    """Parameters of the technique that take the optimizer."""

    def __post_init__(self):
        check_record(self)

    def build(self, steps: int, steps_per_epoch: float | None = None) -> optax.GradientTransformationExtraArgs:
        """Build the optimizer.

        Args:
          steps: not used; the rate is constant.
          steps_per_epoch: not used.

        Returns:
          An optax transformation.
        """
        if self.optimizer == "lbfgs":
            return optax.lbfgs(memory_size=10)
        return optax.with_extra_args_support(optax.adam(self.learning_rate))

    def rate_of_step(self, steps: int, steps_per_epoch: float | None = None) -> None:
        """Return None: the log has no learning rate."""
