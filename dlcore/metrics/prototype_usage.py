"""How many of its prototypes a clustering of a data set uses."""

import jax
import numpy as np

from dlcore.learner import Metric

__all__ = ["PrototypeUsage"]


class PrototypeUsage(Metric):
    """Entropy of the teacher's mean prediction over all examples, as a share of log K: 0 where it has collapsed.

    Args:
      total: [K] sum of the predictions.
      count: [] int32, predictions.
    """

    total: jax.Array
    count: jax.Array

    def compute(self) -> float | None:
        """Read the share.

        Returns:
          In [0, 1]; None where nothing was counted.
        """
        if self.count == 0:
            return None
        mean = np.asarray(self.total, np.float64) / int(self.count)
        return float(-(mean * np.log(np.maximum(mean, 1e-12))).sum() / np.log(len(mean)))
