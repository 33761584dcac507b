"""Figure of dlcore.transfer.domain_adaptation; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.transfer.domain_adaptation import coral_distance, mmd_distance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["domain_adaptation"]


def domain_adaptation() -> "Figure":
    """MMD and CORAL between 300 features of the source and 300 of the target.

    Left: only the mean of the target moves. MMD (blue) grows, while CORAL (red), which compares covariances, stays at
    0.004. Right: only the scale changes. Both are least where the deviations are equal; CORAL grows much faster for a
    wider target, and MMD more for a narrower one.
    """
    figure, axes = new_figure((7, 2.7), 1, 2)
    source, target = jax.random.normal(jax.random.key(0), (2, 300, 4))
    shifts, scales = jnp.linspace(0, 3, 13), jnp.linspace(0.2, 3, 15)
    rows = ((mmd_distance, BLUE, "-", "MMD"), (coral_distance, VERMILION, "--", "CORAL"))
    for ax, values, change in ((axes[0], shifts, lambda s: target + s / 2), (axes[1], scales, lambda s: target * s)):
        for distance, color, style, name in rows:
            d = jax.lax.map(lambda s, d=distance, c=change: d(source, c(s)), values)
            ax.plot(values, d, style, color=color, label=name)
    axes[0].set(xlabel="distance of the means / deviations", ylabel="distance of the features")
    axes[1].set(xlabel="deviation of the target", ylabel="distance of the features", ylim=(-0.02, 1))
    axes[0].legend(frameon=False, fontsize=8)
    return figure
