"""Figure of dlcore.pretrained.pipeline; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.generative.flow_matching import flow_times
from dlcore.generative.schedules import alphas_cumprod, scaled_linear_betas, timesteps
from dlcore.pretrained.pipeline import KINDS
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pipeline"]


def pipeline() -> "Figure":
    """Published pipelines at their default steps.

    Left: passes through the network for an image, and the number of text encoders. Guidance doubles the passes; Flux
    takes its strength as an input instead. Red: DDIM; blue: Euler's method on a flow. Right: weight of the noise along
    the steps. The shift keeps a flow longer at much noise, near the schedule of Stable Diffusion.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2, width_ratios=(1, 1.2))
    names = [name.removesuffix("Pipeline") for name in KINDS]
    passes = [kind.steps * (1 if name == "FluxPipeline" else 2) for name, kind in KINDS.items()]
    left.barh(names, passes, color=[BLUE if kind.is_flow else VERMILION for kind in KINDS.values()])
    for y, (count, kind) in enumerate(zip(passes, KINDS.values(), strict=True)):
        left.text(count + 1, y, f"{count}; {len(kind.encoders)}", va="center", fontsize=8)
    left.invert_yaxis()
    left.set(xlabel="passes of the network", xlim=(0, 120))
    noise = np.sqrt(1 - alphas_cumprod(scaled_linear_betas(1000)))
    visited = noise[timesteps(1000, 50, "leading", 1)]
    right.plot(np.linspace(0, 1, 51), [*visited, 0], "s--", color=VERMILION, markersize=3, label="Stable Diffusion")
    for shift, style in ((1.0, ":"), (3.0, "o-")):
        times = flow_times(28, shift)
        name = "Stable Diffusion 3, shift 3" if shift > 1 else "flow without shift"
        right.plot(np.linspace(0, 1, 29), times, style, color=BLUE, markersize=3, label=name)
    right.set(xlabel="share of the steps", ylabel="weight of the noise")
    right.legend(frameon=False, fontsize=8)
    return figure
