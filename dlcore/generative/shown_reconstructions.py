"""Panels of reconstructions, and of latents that are walked through."""

from typing import Any

import numpy as np

from dlcore.generative import sample_panels
from dlcore.report.context import ReportContext

__all__ = ["Reconstructions"]

NUM_SHOWN = 12
"""Test images in a row of the report."""


NUM_SHOWN_SAMPLES = 64
"""Samples in the report."""


class Reconstructions:
    """Report of an autoencoder: reconstructions, walks through its codes, and samples where it draws some."""

    def panels(self, context: ReportContext, run: Any) -> list:
        """Show reconstructions, the curves and, where they are outputs, samples, interpolations and edits of factors.

        Args:
          context: the ReportContext of a learner whose `predict` returns `reconstruction`; with `features` it also
            returns `path` if the batch has `other`.
        """
        from dlcore.report.curves import curves
        from dlcore.report.generative import sample_grid, sample_rows

        test, outputs, n = context.data.test, context.outputs, min(NUM_SHOWN, len(context.data.test))
        rows = {"test images": test.arrays["image"][:n]}
        rows |= {"with noise": outputs["noisy"][:n]} if "noisy" in outputs else {}
        rows |= {"reconstructed": outputs["reconstruction"][:n]}
        result = [sample_rows(rows, "Reconstructions", "The first test images, unselected.")]
        if "sample" in outputs:
            first = outputs["sample"][:NUM_SHOWN_SAMPLES]
            result = [
                sample_grid(first, "Samples", f"The first {len(first)}, unselected."),
                *result,
                sample_panels.nearest_training(context),
            ]
        result += [sample_panels.interpolations(context)] if "features" in outputs else []
        result += [sample_panels.traversals(context)] if "kl" in outputs else []
        result += [sample_panels.edits(context)] if "factors" in context.spec else []
        return [*result, curves(context.history)]

    def pictures(self, context: ReportContext) -> dict[str, np.ndarray]:
        """Show reconstructions in TensorBoard."""
        from dlcore.report.generative import picture_grid

        return {"reconstructions": picture_grid(context.outputs["reconstruction"][:64], 8)}
