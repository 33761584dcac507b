"""The gain of each phase of fine-tuning, beside the panels of a classifier."""

from typing import Any

from dlcore.optim import trained_parts
from dlcore.report import classifier_panels
from dlcore.report.context import ReportContext

__all__ = ["PhaseGains"]


class PhaseGains:
    """What each phase of the fine-tuning brought, and the panels of a classifier."""

    def panels(self, context: ReportContext, run: Any) -> list:
        """Show the gain of each phase, and the panels of a classifier."""
        from dlcore.report.transfer import phase_gains

        phases = trained_parts.parts_of(run.parts.optimizer)
        return [*phase_gains(context.history, phases), *classifier_panels.panels(context)]

    def pictures(self, context: ReportContext) -> dict[str, Any]:
        """Show filters and mistakes in TensorBoard."""
        return classifier_panels.pictures(context)
