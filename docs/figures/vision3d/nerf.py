"""Figure of dlcore.vision3d.nerf; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.vision3d.nerf import frequency_encoding, volume_render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["nerf"]


def nerf() -> "Figure":
    """Left: a signal with fine detail, fitted by a linear layer on its encoded coordinate.

    Two frequencies are too few for it; seven follow. Middle: density along a ray through two objects, and the weights
    that volume rendering gives the samples. Only the front of the first object counts; light from the second is
    stopped. Right: color and depth of the ray as the density of the first object grows.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3)
    x = np.linspace(-1, 1, 400)
    signal = np.sin(3 * x) + 0.4 * np.sin(16 * x) + 0.2 * np.sin(32 * x + 1)
    left.plot(x, signal, color=GRAY, linewidth=2, alpha=0.6)
    for number, style, color in ((2, "--", VERMILION), (7, "-", BLUE)):
        encoding = np.c_[np.ones(400), np.asarray(frequency_encoding(jnp.asarray(x)[:, None], number))]
        left.plot(
            x,
            encoding @ np.linalg.lstsq(encoding, signal, rcond=None)[0],
            style,
            color=color,
            linewidth=1,
            label=f"{number} frequencies",
        )
    left.set(xlabel="coordinate", ylabel="signal", ylim=(-1.7, 2.8))
    left.legend(frameon=False, fontsize=8, loc="upper left")
    depths = jnp.linspace(2, 6, 161)
    objects = jnp.stack([abs(depths - 3.2) < 0.4, abs(depths - 4.8) < 0.4]).astype(float)
    colors = objects.T @ jnp.array([[0.0], [1.0]])  # the first is black and the second white
    density = 4 * objects.sum(0)
    weights = volume_render(density, colors, depths, 6.0)["weights"]
    middle.fill_between(depths, density / density.max(), color=GRAY, alpha=0.4, label="density / largest")
    middle.plot(depths, weights / weights.max(), color=BLUE, label="weight / largest")
    middle.set(xlabel="depth", ylim=(0, 1.6))
    middle.legend(frameon=False, fontsize=8, loc="upper right")
    strengths = jnp.linspace(0, 8, 50)
    rays = volume_render(
        jnp.outer(strengths, objects[0]) + 8 * objects[1], jnp.broadcast_to(colors, (50, *colors.shape)), depths, 6.0
    )
    right.plot(strengths, rays["color"][:, 0], color=BLUE, label="color (first 0, second 1)")
    right.plot(strengths, rays["depth"] / 6, "--", color=VERMILION, label="depth / 6")
    right.set(xlabel="density of the first object", ylim=(0, 1.45))
    right.legend(frameon=False, fontsize=8, loc="upper right")
    return figure
