"""Figure of dlcore.classical_vision.fisher_vector; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.fisher_vector import fisher_vector as encode
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fisher_vector"]


def fisher_vector() -> "Figure":
    """Left: two sets of descriptors with as many points in each of three Gaussians.

    A bag of words cannot tell them apart. Right: their Fisher vectors. The first set is moved to the right and up
    within each Gaussian, which shows in the means; the second is spread more widely, which shows in the deviations.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1, 1.4))
    rng = np.random.default_rng(0)
    weights, means, variances = np.full(3, 1 / 3), np.array([[-3.0, 0], [0, 3], [3, 0]]), np.full((3, 2), 0.5)
    noise = rng.normal(size=(3, 60, 2))
    noise = (noise - noise.mean(1, keepdims=True)) / noise.std(1, keepdims=True)
    sets = ((0.7 * noise + 0.6, "moved", BLUE, "o"), (1.05 * noise, "spread", VERMILION, "^"))
    t = np.linspace(0, 2 * np.pi, 60)
    for mean in means:
        left.plot(mean[0] + 2 * np.sqrt(0.5) * np.cos(t), mean[1] + 2 * np.sqrt(0.5) * np.sin(t), color=GRAY)
    for number, (offsets, name, color, marker) in enumerate(sets):
        points = (means[:, None] + offsets).reshape(-1, 2)
        left.scatter(*points.T, s=6, color=color, marker=marker, label=name)
        vector = encode(*(jnp.asarray(a, jnp.float32) for a in (points, weights, means, variances)), improved=False)
        right.bar(np.arange(12) + 0.4 * number, vector, 0.4, color=color, hatch="" if number else "///", label=name)
    left.set(xlabel="x1", ylabel="x2", ylim=(-3, 7))
    left.legend(frameon=False, ncols=2, loc="upper left", fontsize=8)
    right.axvline(5.7, color=GRAY, linestyle="--", linewidth=0.8)
    right.set(xticks=[2.7, 8.7], xticklabels=["means (3 x 2)", "deviations (3 x 2)"], ylabel="Fisher vector")
    right.legend(frameon=False, fontsize=8)
    return figure
