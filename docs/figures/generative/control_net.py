"""Figure of dlcore.generative.control_net; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.generative.control_net import edge_map
from dlcore.report.figure import new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["control_net"]


def control_net() -> "Figure":
    """The hint that a ControlNet gets of an image: its edges, at three thresholds of the slope.

    A threshold of 10 levels a pixel hands on texture too, so that hardly anything is left to the prompt; at 40 outlines
    are left; at 80 they have gaps. Colors and brightness are in none of them: the prompt decides about those.
    """
    figure, axes = new_figure((7.2, 2.2), 1, 4)
    photo = np.asarray(fit_to(sample_image("flower", 192), (128, 128)))
    show_image(axes[0], photo, "image")
    for ax, least in zip(axes[1:], (10, 40, 80), strict=True):
        edges = edge_map(photo[None], least)[0, ..., 0]
        show_image(ax, 1 - edges, f"least {least}: {edges.mean():.0%} of pixels", cmap="gray", vmin=0, vmax=1)
    return figure
