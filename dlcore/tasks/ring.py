"""Points of Gaussians on a ring: the data, how many modes samples cover, and their report."""

import dataclasses
from typing import Annotated, Any, ClassVar

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.evaluators import frechet_evaluator, mode_coverage_evaluator
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import Setting
from dlcore.experiment.settings import ONLY_F32
from dlcore.generative.ring import ring_centers, ring_points
from dlcore.learner import Evaluator
from dlcore.modes.report_context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["ModeCoverage", "RingPoints", "panels"]


@dataclasses.dataclass(frozen=True)
class RingPoints:
    """Points of the plane, of eight Gaussians on a ring; the networks of points compute in float32 alone.

    Args:
      std: standard deviation of each mode
    """

    std: Annotated[float, "no flag"] = 0.02

    reads_files: ClassVar[bool] = False
    settings: ClassVar[dict[str, Setting]] = ONLY_F32

    def load(self) -> Splits:
        """Draw the points of each split."""
        train, valid, test = (ring_points(size, seed, std=self.std) for seed, size in enumerate((20_000, 1000, 1000)))
        return Splits(train, valid, test, {"dataset": "ring"}, shown=Source.indices(2500, "samples"))

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the `shape` of a point, and points as they are."""
        return {"shape": (2,), "encode": lambda batch: batch["point"], "decode": lambda x: x}


class ModeCoverage:
    """How many modes the samples cover, and the Fréchet distance of the coordinates; no metric selects a checkpoint."""

    metric = "frechet_distance"
    monitor = None
    mode = "min"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure the modes, and the distance to the points of the split."""
        reference = getattr(splits, split).arrays["point"]
        return [
            mode_coverage_evaluator(ring_centers(), run.parts.data.std, splits.shown),
            frechet_evaluator(lambda points: (points, None), reference, splits.shown, intervals=split == "test"),
        ]


def panels(context: ReportContext) -> list[Panel]:
    """Show samples and modes, the share of samples of each mode, and the curves."""
    from dlcore.report.curves import curves
    from dlcore.report.generative import scatter
    from dlcore.report.tables import table

    points, numbers = context.outputs["sample"], context.numbers
    caption = (
        f"{len(points):,} samples, unselected; {numbers['modes']:.0f} of 8 modes covered (each by at least 1 % of "
        f"the samples, within three deviations), {numbers['high_quality']:.1%} of the samples within three "
        "deviations."
    )
    fractions = {str(k): float(fraction) for k, fraction in enumerate(context.arrays["mode_share"])}
    fractions |= {"none of them": 1 - sum(fractions.values())}
    rows = [{"mode": name, "share of samples": f"{fraction:.1%}"} for name, fraction in fractions.items()]
    return [
        scatter(points, ring_centers(), "Samples and modes", caption)._replace(half=True),
        table(rows, "Share of each mode", "Within three deviations; a fair share is 12.5 %.")._replace(half=True),
        curves(context.history),
    ]
