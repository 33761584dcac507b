"""Figure of dlcore.vision3d.depth; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.losses import scale_invariant_depth_loss, surface_normal_loss
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["depth"]


def depth() -> "Figure":
    """Three predictions of the depth of two walls that meet in a corner, and what both parts of the loss say.

    Left: one is 1.25 times too far, one rounds the corner, and one is rough by 3 cm. Right: the loss of the depth is
    largest for the wrong factor and hardly notices the other two; the loss of the normals punishes these, the rough one
    most.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    x = np.linspace(-1, 1, 64)
    truth = 4 - np.abs(x)
    wave = 0.03 * np.sin(40 * x)
    predictions = {"too far": 1.25 * truth, "rounded": 4.05 - np.sqrt(x**2 + 0.09), "rough": truth + wave}
    left.plot(x, truth, color=GRAY, linewidth=4, alpha=0.5, label="true")
    styles = (VERMILION, "--"), (BLUE, "-"), (GREEN, "-.")
    for (name, depth), (color, style) in zip(predictions.items(), styles, strict=True):
        left.plot(x, depth, style, color=color, linewidth=1.2, label=name)
    left.set(xlabel="x / m", ylabel="depth / m", ylim=(2.5, 6.6))
    left.legend(frameon=False, fontsize=8, ncols=2)
    maps = np.stack(list(predictions.values()))
    depths = scale_invariant_depth_loss(jnp.log(maps)[:, None], np.stack([truth] * 3)[:, None], variance_weight=0.5)
    normals = surface_normal_loss(_normals(maps, x), _normals(np.stack([truth] * 3), x)).mean(1)
    for shift, values, color, name in ((-0.2, depths, BLUE, "depth"), (0.2, normals, VERMILION, "normals")):
        right.bar(np.arange(3) + shift, values, 0.38, color=color, label=name)
    right.set_xticks(range(3), list(predictions))
    right.set(ylabel="loss", yscale="log", ylim=(1e-5, 2))
    right.legend(frameon=False, fontsize=8)
    return figure


def _normals(depth: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Normals of a surface that changes along x alone."""
    slope = np.gradient(depth, x, axis=-1)
    return np.stack([slope, np.zeros_like(slope), -np.ones_like(slope)], -1)
