"""The guidance curve of conditional diffusion."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.source import Source
from dlcore.report.context import ReportContext

__all__ = ["guidance_panel"]

SCALES = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)
"""Guidance strengths of the guidance curve."""


def guidance_panel(context: ReportContext, source: Source, measure: Callable[[np.ndarray], dict[str, float]]) -> list:
    """Sample from the same noise at several guidance strengths, and measure the samples.

    Args:
      context: the ReportContext of a run with the flag `guidance`.
      source: conditions of the samples.
      measure: samples [N, H, W, C] -> numbers by name.

    Returns:
      Two panels: a row of samples for each strength, and a curve for each number.
    """
    from dlcore.report.figure import figure_panel, new_figure
    from dlcore.report.generative import sample_rows

    batch, rows, numbers = source[:], {}, {}
    for scale in SCALES:
        guided = context.run.replace(flags=context.flags.replace(guidance=scale), dtype=jnp.float32)
        images = np.asarray(jax.jit(guided.build().predict)(context.state, batch)["sample"])
        rows[f"w = {scale:g}"], numbers[scale] = images[:10], measure(images)
    names = list(numbers[SCALES[0]])
    figure, axes = new_figure((4 * len(names), 3), 1, len(names), squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        ax.plot(SCALES, [numbers[scale][name] for scale in SCALES], marker="o")
        ax.set(xlabel="guidance w", title=name)
    summary = "; ".join(
        f"{name}: " + ", ".join(f"{numbers[scale][name]:.3g} at {scale:g}" for scale in SCALES) for name in names
    )
    caption = f"{len(source)} samples of the same noise for each w. {summary}."
    return [
        sample_rows(rows, "Guidance", "From the same noise; w = 0 ignores the condition, w = 1 is as trained."),
        figure_panel("Guidance curve", figure, caption),
    ]
