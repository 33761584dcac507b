"""A loss of several parts, each a mean over things of its own: boxes, pixels, images."""

from dlcore.learner import Metric, Sum

__all__ = ["TotalLoss"]


class TotalLoss(Metric):
    """A loss whose parts are means over different things: the sum of the means.

    Args:
      parts: {name: Sum}.
    """

    parts: dict[str, Sum]

    def compute(self) -> float | None:
        """Add up the means of the parts that counted something.

        Returns:
          The loss; None where no part counted.
        """
        values = [value for part in self.parts.values() if (value := part.compute()) is not None]
        return sum(values) if values else None
