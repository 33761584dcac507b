"""Figure of dlcore.ops.resize; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.ops.resize import resize as change_size
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["resize"]


def resize() -> "Figure":
    """Left: a step between two pixels (gray dots), enlarged eight times by three methods.

    Nearest leaves it a jump, bilinear makes it a ramp, and bicubic is smoother but overshoots on both sides. Right:
    rings that become narrower outward, reduced to a fifth. Without the wide kernel (antialias) each output pixel looks
    at few input pixels, and false rings appear; with it the narrow rings fade to gray.
    """
    figure, axes = new_figure((7.2, 2.4), 1, 4, width_ratios=(1.7, 1, 1, 1))
    step = jnp.array([0.0, 0, 0, 1, 1, 1])
    place = (np.arange(48) + 0.5) / 8
    for method, color, style in (("nearest", GREEN, ":"), ("bilinear", BLUE, "-"), ("bicubic", VERMILION, "--")):
        axes[0].plot(place, change_size(step[:, None], (48,), method)[:, 0], style, color=color, label=method)
    axes[0].plot(np.arange(6) + 0.5, step, "o", color=GRAY, markersize=5)
    axes[0].set(xlabel="position / pixels", ylabel="value")
    axes[0].legend(frameon=False, fontsize=8)
    axis = np.linspace(-1, 1, 200)
    rings = jnp.asarray(np.cos(90 * (axis[:, None] ** 2 + axis**2)))[..., None]
    images = (
        ("200 x 200", rings),
        ("plain", change_size(rings, 40)),
        ("antialias", change_size(rings, 40, antialias=True)),
    )
    for ax, (name, image) in zip(axes[1:], images, strict=True):
        ax.imshow(image[..., 0], cmap="gray", vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[], xlabel=name)
    return figure
