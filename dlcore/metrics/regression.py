"""The error of predicted numbers."""

import math

from dlcore.learner import Sum

__all__ = ["RootMeanSquare"]


class RootMeanSquare(Sum):
    """Root of a mean of squares: `RootMeanSquare.of(squared errors, mask)`."""

    def compute(self) -> float | None:
        """Read the root.

        Returns:
          In the unit of the errors; None where nothing was counted.
        """
        mean = super().compute()
        return None if mean is None else math.sqrt(mean)
