"""Figure of dlcore.generative.flow_matching; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.flow_matching import flow_path, flow_times, path_straightness, reflow_pairs, solve_flow
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["flow_matching"]


def flow_matching() -> "Figure":
    """Numbers near -1.5 and 1.5 and noise: lines of random pairs, paths of the best velocity, lines after reflow.

    Left: lines of random pairs cross. Middle: the velocity at a point is the mean over its lines, so paths cannot
    cross, and bend; S is their straightness, 0 for a line. Right: reflow connects the ends of these paths; the lines do
    not cross, and a single step can follow them.
    """
    figure, axes = new_figure((7.2, 2.6), 1, 3, sharey=True)
    centers, width = jnp.array([-1.5, 1.5]), 0.15

    def velocity(x, t):
        """Compute the mean of eps - x_0 over all pairs whose line passes through x."""
        t = jnp.maximum(jnp.reshape(t, (-1, 1)) / 1000, 1e-4)
        mean, variance = (1 - t) * centers, (1 - t) ** 2 * width**2 + t**2
        weights = jax.nn.softmax(-((x - mean) ** 2) / (2 * variance))
        gain = (t - (1 - t) * width**2) / variance
        return (weights * (gain * (x - mean) - centers)).sum(-1, keepdims=True)

    keys, times = jax.random.split(jax.random.key(1), 40), flow_times(60)
    data = centers[jnp.arange(40) % 2, None] + width * jax.random.normal(jax.random.key(2), (40, 1))
    x0, noise = reflow_pairs(velocity, keys, data, (), 30)
    t = jnp.asarray(times, jnp.float32)[:, None, None]
    _, path = solve_flow(velocity, noise, times, "heun", return_trajectory=True)
    panels = (("random pairs", flow_path(data, noise, t)), ("flow", path), ("after reflow", flow_path(x0, noise, t)))
    for ax, color, (name, lines) in zip(axes, (GRAY, VERMILION, BLUE), panels, strict=True):
        ax.plot(times, np.asarray(lines[..., 0]), color=color, linewidth=0.8)
        straightness = "" if ax is axes[0] else f", S = {float(path_straightness(lines, times).mean()):.2f}"
        ax.set_title(f"{name}{straightness}", fontsize=10)
        ax.set(xlabel="t (0: data, 1: noise)", xlim=(1, 0))
    axes[0].set_ylabel("x")
    return figure
