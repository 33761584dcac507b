"""AdamW for a classifier, and Adam for the generator beside it."""

import dataclasses
from typing import Annotated, Any

from dlcore.learner import Range
from dlcore.optim import AdamW, create_optimizer

__all__ = ["TwoPlayersAdamW"]


@dataclasses.dataclass(frozen=True)
class TwoPlayersAdamW(AdamW):
    """AdamW of the classifier, and Adam of the generator.

    Args:
      generator_learning_rate: learning rate of the generator's Adam, constant
    """

    generator_learning_rate: Annotated[float, Range(0)] = 3e-4

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `generator_optimizer`."""
        return {"generator_optimizer": create_optimizer("adam", self.generator_learning_rate, momentum=0.5)}
