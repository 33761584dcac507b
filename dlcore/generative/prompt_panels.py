"""Panels of samples by their prompts, of a subject too."""

import dataclasses
from typing import Annotated, Any

import numpy as np

from dlcore.data.captioned_shapes import words_of
from dlcore.data.subjects import class_prompts
from dlcore.generative import sample_panels
from dlcore.generative.text_networks import correct_objects
from dlcore.learner import Range
from dlcore.report.context import ReportContext
from dlcore.report.guidance_curve import guidance_panel

__all__ = ["PromptPanels", "SubjectPanels"]


@dataclasses.dataclass(frozen=True)
class PromptPanels:
    """Panels of samples of prompts, which guide them.

    Args:
      guidance_samples: samples for each point of the report's guidance curve; 0 leaves the curve out
    """

    guidance_samples: Annotated[int, Range(0), "no identity"] = 200

    def pictures(self, context: ReportContext) -> dict[str, np.ndarray]:
        """Show the first samples in TensorBoard."""
        return sample_panels.pictures(context)

    def panels(self, context: ReportContext, run: Any) -> list:
        """Show samples with their prompts, the guidance curve, and the learning curves."""
        from dlcore.report.curves import curves
        from dlcore.report.generative import sample_rows
        from dlcore.report.panel import Panel
        from dlcore.report.pictures import captioned_images, to_uint8
        from dlcore.report.triage import triage_panels

        words, arrays = words_of(run.facts), context.data.shown.arrays
        texts = [words.decode(tokens) for tokens in arrays["tokens"][:24]]
        pictures = captioned_images(to_uint8(context.outputs["sample"][:24]), texts)
        result = [Panel("Samples", pictures, "The first test prompts, unselected.")]
        rows = {"real": arrays["image"][:10], "drawn": context.outputs["sample"][:10]}
        if "hint" in arrays:
            rows = {"edges": np.repeat(arrays["hint"][:10], 3, -1), **rows}
        result.append(sample_rows(rows, "Beside real images", "Of the same prompts."))
        if self.guidance_samples:
            source = context.data.test.take(min(self.guidance_samples, len(context.data.test)))
            measure = correct_objects(run.facts, source)

            def numbers(images: np.ndarray) -> dict[str, float]:
                return measure.finish(measure.add(None, {"sample": images}, source[:]))

            result += guidance_panel(context, source, numbers)
        return [*result, *triage_panels(context.history, floor=None), curves(context.history)]


@dataclasses.dataclass(frozen=True)
class SubjectPanels:
    """Panels of samples of the subject beside its images, and of samples of its class by strength of guidance.

    Args:
      prompts: the panels of prompts.
    """

    prompts: PromptPanels

    def pictures(self, context: ReportContext) -> dict[str, np.ndarray]:
        """Show the first samples in TensorBoard."""
        return self.prompts.pictures(context)

    def panels(self, context: ReportContext, run: Any) -> list:
        """Show samples of the subject beside its images, those of its class by strength of guidance, and curves."""
        classes = class_prompts(run.facts, run.flags.num_samples)
        return self.prompts.panels(context._replace(data=context.data._replace(test=classes)), run)
