"""The error of a tracked position, beside that of the Kalman filter."""

import functools

import jax
import numpy as np

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.tracks import DRIFT, DRIFTS, START
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.sequence.kalman import LinearGaussian, constant_velocity, kalman_filter, kalman_smoother

__all__ = ["TrackingError", "positions"]


@jax.jit
def positions(model: LinearGaussian, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Estimate positions by the filter and by the smoother of a model.

    Args:
      model: the model of the motion.
      observation: [N, T, 2].

    Returns:
      Two arrays [N, T, 2].
    """

    def estimate(y):
        filtered = kalman_filter(model, y)
        return filtered.mean[:, :2], kalman_smoother(model, filtered)[0][:, :2]

    return jax.vmap(estimate)(observation)


def _filter_rmse(drift: float, source: Source, smoothed: bool = False) -> float:
    """Measure the filter of constant velocity, or the smoother, which sees the later observations too."""
    estimates = positions(constant_velocity(drift, start=START), source.arrays["observation"])
    return float(np.sqrt(np.square(estimates[int(smoothed)] - source.arrays["position"]).mean()))


class TrackingError:
    """Error of the position, beside those of the Kalman filter and of the Kalman smoother."""

    metric = "loss"
    mode = "min"
    headline = "rmse"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure the errors of the filters, and the network's as a multiple of the first."""
        source = getattr(splits, split)
        few = Source({name: v[:500] for name, v in splits.train.arrays.items()})

        @functools.cache
        def filters() -> dict[str, float]:
            best = min(DRIFTS, key=lambda drift: _filter_rmse(drift, few))
            return {
                "kalman_rmse": _filter_rmse(DRIFT, source),
                "tuned_kalman_rmse": _filter_rmse(best, source),
                "smoother_rmse": _filter_rmse(DRIFT, source, smoothed=True),
            }

        def add(acc, outputs, rows):
            squares = np.square(outputs["output"] - rows["target"])
            total, count = acc or (0.0, 0)
            return total + float(squares.sum()), count + squares.size

        def finish(acc) -> dict[str, float]:
            numbers = filters()
            return {**numbers, "over_kalman": float(np.sqrt(acc[0] / acc[1])) / numbers["kalman_rmse"]}

        return [Evaluator(add, finish, names=("kalman_rmse", "tuned_kalman_rmse", "smoother_rmse", "over_kalman"))]

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Show the errors, three tracks, and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, figure_panel, new_figure
        from dlcore.report.tables import table

        test, numbers = context.data.test.arrays, context.numbers
        names = {
            "rmse": "network",
            "kalman_rmse": "Kalman filter",
            "tuned_kalman_rmse": "Kalman filter, tuned drift",
            "smoother_rmse": "Kalman smoother, which sees the later observations too",
        }
        rows = {"observations": "1.000"} | {name: f"{numbers[key]:.3f}" for key, name in names.items()}
        y, p = test["observation"][:3], test["position"][:3]
        figure, axes = new_figure((10, 3.4), 1, 3)
        lines = (
            (p, GRAY, "true"),
            (y + context.outputs["output"][:3], BLUE, "network"),
            (np.asarray(positions(constant_velocity(DRIFT, start=START), y)[0]), GREEN, "Kalman"),
        )
        for k, ax in enumerate(axes[: len(y)]):
            ax.plot(*y[k].T, ".", color=VERMILION, ms=3, label="seen")
            for line, color, name in lines:
                ax.plot(*line[k].T, color=color, lw=3 if name == "true" else 1, label=name)
            ax.set_aspect("equal", adjustable="datalim")
        axes[0].legend(frameon=False, fontsize=7)
        return [
            table(rows, "Error of the position on the test tracks", "In standard deviations of the noise."),
            figure_panel("Three test tracks", figure),
            curves(context.history),
        ]
