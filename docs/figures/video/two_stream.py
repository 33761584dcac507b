"""Figure of dlcore.video.two_stream; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.data.clips import clips
from dlcore.report.figure import YELLOW, new_figure
from dlcore.video.flow_stack import flow_stack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["two_stream"]


def two_stream() -> "Figure":
    """What the two streams read of a clip of 32 x 32 pixels whose camera moves.

    On the left the frame, which shows what is there; in the middle the flow to the next frame, as the drawing program
    knows it; on the right the flow without its mean, most of which the camera adds, as the temporal stream reads it.
    """
    figure, axes = new_figure((7, 2.6), 1, 3)
    arrays = clips(1, 4, camera=True, flow=True).arrays
    clip, flow = arrays["clip"][0], arrays["flow"][0, 3]
    axes[0].imshow(clip[3])
    titles = ("flow", "flow less its mean")
    places = np.arange(1, 32, 2)
    for ax, title, field in zip(axes[1:], titles, (flow, flow_stack(jnp.asarray(flow[None]))), strict=True):
        arrows = np.asarray(field)[1::2, 1::2]
        ax.imshow(clip[3] // 3)
        ax.quiver(places, places, *arrows.transpose(2, 0, 1), angles="xy", scale_units="xy", scale=1, color=YELLOW)
        ax.set_title(title, fontsize=10)
    axes[0].set_title("frame", fontsize=10)
    for ax in axes:
        ax.set_axis_off()
    return figure
