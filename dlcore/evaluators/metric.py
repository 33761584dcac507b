"""The metrics of a page whose technique measures itself: `measures=[Metric("loss", headline="psnr")]`."""

import dataclasses
from typing import Annotated, Literal

__all__ = ["Metric"]


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number that the technique measures, by which a checkpoint is selected.

    Args:
      metric: validation metric that selects the best checkpoint.
      mode: whether its best value is the largest or the smallest.
      headline: test metric of the ledger; None takes `metric`.
    """

    metric: Annotated[str, "no flag"]
    mode: Annotated[Literal["max", "min"], "no flag"] = "min"
    headline: Annotated[str | None, "no flag"] = None

    def __post_init__(self):
        object.__setattr__(self, "headline", self.headline or self.metric)
