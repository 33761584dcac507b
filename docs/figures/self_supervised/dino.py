"""Figure of dlcore.self_supervised.dino; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.self_supervised.dino import updated_center
from dlcore.self_supervised.prototypes import centered_targets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dino"]


def dino() -> "Figure":
    """Why DINO centers and sharpens the teacher, on 200 images whose outputs all favor the first of eight.

    Left: the teacher's mean probability of each output before centering (gray) and after 40 updates of the center
    (blue). Right: the usage of all outputs (solid) rises to 1 as the center moves. By the entropy (dashes), a
    temperature of 0.04 keeps each image's target sharp; with 0.4 every target is nearly uniform.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    logits = 0.15 * jax.random.normal(jax.random.key(0), (1, 200, 8)) + jnp.array([0.5, 0.1, 0, 0, 0, 0, 0, 0])
    centers = jax.lax.scan(lambda c, _: (updated_center(c, logits, jnp.ones(200)), c), jnp.zeros(8), None, 41)[1]
    x = np.arange(1, 9)
    for place, color, shift, label in ((0, GRAY, -0.2, "no center"), (40, BLUE, 0.2, "centered")):
        targets, _ = centered_targets(logits, centers[place], 0.04)
        left.bar(x + shift, targets.mean((0, 1)), 0.38, color=color, label=label)
    left.set(xlabel="output", ylabel="mean probability", xticks=x)
    for temperature, color in ((0.04, BLUE), (0.4, VERMILION)):
        usage, entropy = spread(logits, centers, temperature)
        right.plot(usage, "-", color=color, label=f"usage, temperature {temperature:g}")
        right.plot(entropy, "--", color=color, label=f"entropy, temperature {temperature:g}")
    right.set(xlabel="updates of the center", ylabel="share of the largest", ylim=(0, 1.05))
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.42))
    return figure


def spread(logits: jax.Array, centers: jax.Array, temperature: float) -> tuple[jax.Array, jax.Array]:
    """Entropy of the mean target, and mean entropy of a target, by the largest possible one; for each center."""
    targets, entropy = jax.vmap(lambda center: centered_targets(logits, center, temperature))(centers)
    mean = targets.mean((1, 2))
    return -(mean * jnp.log(mean + 1e-9)).sum(-1) / jnp.log(8.0), entropy.mean((1, 2)) / jnp.log(8.0)
