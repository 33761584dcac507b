"""Panels of trajectories that a velocity field gives from the same starts."""

from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["trajectory_panels"]


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
