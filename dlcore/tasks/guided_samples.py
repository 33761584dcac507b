"""GuidedSamples: what tasks of conditional diffusion share - the guidance curve of the report, and defaults."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.kits.generative import sample_panels
from dlcore.kits.generative.samples import Samples
from dlcore.learner import Range
from dlcore.modes.report_context import ReportContext

__all__ = ["PLAIN", "SMOKE", "GuidedSamples", "guidance_panel"]

SMOKE = {
    "steps": 3,
    "batch_size": 8,
    "num_timesteps": 10,
    "num_inference_steps": 4,
    "guidance_samples": 0,
    "eval_every": 3,
}
"""Settings of --smoke."""

PLAIN = {"ema": None, "weight_decay": 0.0, "condition_dropout": 0.0}
"""Flags that switch averages and the dropout of the condition off, for `--mode=sanity`."""

SCALES = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)
"""Guidance strengths of the guidance curve."""


@dataclasses.dataclass(frozen=True)
class GuidedSamples(Samples):
    """Samples of a condition, by diffusion with guidance.

    Args:
      guidance_samples: samples for each point of the report's guidance curve; 0 leaves the curve out
    """

    guidance_samples: Annotated[int, Range(0), "no identity"] = 200

    monitor_mode = "min"
    plain: ClassVar[dict[str, Any]] = PLAIN
    defaults: ClassVar[dict[str, Any]] = {
        "sampler": "ddim",
        "num_inference_steps": 50,
        "spacing": "trailing",
        "beta_schedule": "cosine",
        "select": "last",
    }

    pictures = staticmethod(sample_panels.pictures)


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
        setup = Setup(context.flags.replace(guidance=scale), context.spec, 1, jnp.float32)
        images = np.asarray(jax.jit(context.build(setup).predict)(context.state, batch)["sample"])
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
