"""Spirals: trajectories of a spiral, and those that a velocity field gives from the same starts."""

import dataclasses
from typing import Annotated, ClassVar, Literal

from dlcore.data.spirals import segments, spirals
from dlcore.data.splits import Splits
from dlcore.experiment.setting import PositiveInt
from dlcore.learner import Range, check_record
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["Spirals", "trajectory_panels"]


@dataclasses.dataclass(frozen=True)
class Spirals:
    """Trajectories of a spiral, of which training sees segments.

    Args:
      num_trajectories: training trajectories
      segment_length: points of a training example
      num_test: trajectories of validation, and as many of test
      precision: compute precision; this experiment has no other
    """

    num_trajectories: PositiveInt = 64
    segment_length: Annotated[int, Range(2, 101)] = 11
    num_test: PositiveInt = 32
    precision: Literal["f32"] = "f32"

    reads_files: ClassVar[bool] = False

    def __post_init__(self):
        check_record(self)

    def load(self) -> Splits:
        """Draw the trajectories: `state [N, T, 2]` and `time [N, T]`."""
        train = segments(spirals(self.num_trajectories, 0), self.segment_length)
        valid, test = (spirals(self.num_test, seed) for seed in (1, 2))
        batch = {"state": [[2, 2], "float32"], "time": [[2], "float32"]}  # any times after the first state
        return Splits(train, valid, test, {"dataset": "spirals", "batch": batch})


def trajectory_panels(context: ReportContext) -> list[Panel]:
    """Show true trajectories and solved ones, and the curves."""
    from dlcore.report.curves import curves
    from dlcore.report.figure import BLUE, GRAY, figure_panel, new_figure

    figure, axes = new_figure((9, 3.2), 1, 3)
    target, ours = context.data.test.arrays["state"], context.outputs["state"]
    for ax, y, h in zip(axes, target, ours, strict=False):  # the first three of the test split
        ax.plot(*y.T, color=GRAY, lw=3, alpha=0.5, label="truth")
        ax.plot(*h.T, color=BLUE, lw=1, label="solved")
        ax.plot(*y[0], "o", color=GRAY)
        ax.set_aspect("equal")
    axes[0].legend(frameon=False)
    caption = "From the dots on, over the whole time; the first three test trajectories."
    return [figure_panel("Trajectories", figure, caption), curves(context.history)]
