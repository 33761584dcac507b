"""Figure of dlcore.nn.initializers; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn.initializers import kaiming_normal, normal, orthogonal, xavier_normal
from dlcore.report.figure import BLUE, GREEN, ORANGE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["initializers"]


def initializers() -> "Figure":
    """Left: the root mean square of the units of 20 ReLU layers of 256 units, right after the initialization.

    Kaiming's keeps it; Xavier's halves the square in every layer, since a ReLU drops half of it; fixed deviations make
    it vanish or explode. Right: how much a product of such matrices (without ReLUs) stretches 256 directions.
    Orthogonal ones leave all lengths; Gaussian ones crush most directions.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    keys = jax.random.split(jax.random.key(0), 20)
    rules = (
        ("deviation 0.15", normal(0.15), ORANGE, ":"),
        ("Kaiming", kaiming_normal(), BLUE, "-"),
        ("Xavier", xavier_normal(), GREEN, "--"),
        ("deviation 0.05", normal(0.05), VERMILION, "-."),
    )
    for name, rule, color, style in rules:
        x, sizes = jax.random.normal(jax.random.key(1), (64, 256)), []
        for key in keys:
            x = jax.nn.relu(x @ rule(key, (256, 256)))
            sizes.append(float(jnp.sqrt((x**2).mean())))
        left.semilogy(range(1, 21), sizes, style, color=color, label=name)
    left.set(xlabel="layer", ylabel="root mean square", xticks=[1, 5, 10, 15, 20])
    for name, rule, color, style in (
        ("orthogonal", orthogonal(), VERMILION, "--"),
        ("Xavier", xavier_normal(), BLUE, "-"),
    ):
        product = np.linalg.multi_dot([np.asarray(rule(key, (256, 256)), np.float64) for key in keys[:5]])
        right.semilogy(np.linalg.svd(product, compute_uv=False), style, color=color, label=f"{name}, 5 layers")
    right.set(xlabel="direction, ordered", ylabel="stretch (singular value)", ylim=(1e-6, 100))
    left.legend(frameon=False, fontsize=8, loc="upper left")
    right.legend(frameon=False, loc="lower left")
    return figure
