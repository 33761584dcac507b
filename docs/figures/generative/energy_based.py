"""Figure of dlcore.generative.energy_based; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.energy_based import energy_of, langevin_sample
from dlcore.report.figure import BLACK, BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["energy_based"]


def energy_based() -> "Figure":
    """Langevin's chains on an energy of two wells, of which the right one holds 70 % of the probability.

    Left: 150 steps of three chains from the points; they go down, stay in motion, and may change the well. Right: 4,000
    chains on the axis x2 = 0. With noise they follow exp(-E) (black); without it they end at the two bottoms, and the
    density is lost.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    centers, share = jnp.array([[-1.2, 0.0], [1.2, 0.0]]), jnp.log(jnp.array([0.3, 0.7]))

    def energy(x):
        return energy_of(share - 1.5 * jnp.square(x[..., None, :] - centers).sum(-1))

    def noise(shape, seed):
        return lambda k: jax.random.normal(jax.random.fold_in(jax.random.key(seed), k), shape)

    axis = jnp.linspace(-3.5, 3.5, 81)
    plane = jnp.stack(jnp.meshgrid(axis, axis[14:-14]), -1)
    left.contour(axis, axis[14:-14], energy(plane), 14, colors=GRAY, linewidths=0.6)
    step = jax.jit(lambda x, k: langevin_sample(energy, x, lambda _: noise((3, 2), 4)(k), num_steps=1, step_size=0.05))
    path = [x := jnp.array([[-2.7, 1.7], [2.5, 1.8], [0.2, -1.8]])]
    for k in range(150):
        path.append(x := step(x, k))
    for chain, color in zip(np.stack(path, 1), (BLUE, VERMILION, "#009e73"), strict=True):
        left.plot(*chain.T, color=color, linewidth=0.8)
        left.plot(*chain[0], "o", color=color)
    left.set(xlabel="x1", ylabel="x2", aspect="equal")
    starts = 2 * jax.random.normal(jax.random.key(1), (4000, 1))
    flat = lambda x: energy(jnp.concatenate([x, 0 * x], -1))  # noqa: E731
    draw = jax.jit(
        lambda scale: langevin_sample(
            flat, starts, noise((4000, 1), 2), num_steps=300, step_size=0.05, noise_scale=scale
        )
    )
    right.hist(np.ravel(draw(1.0)), np.linspace(-3, 3, 61), density=True, color=BLUE, alpha=0.6, label="with noise")
    right.plot(draw(0.0)[::40], np.full(100, 0.03), "^", color=VERMILION, markersize=9, label="without noise")
    density = jnp.exp(-energy(jnp.stack([axis, 0 * axis], -1)))
    right.plot(axis, density / (density.sum() * (axis[1] - axis[0])), color=BLACK, label="exp(-E) / Z")
    right.set(xlabel="x1", ylabel="density", ylim=(0, 0.65))
    right.legend(frameon=False, loc="upper left")
    return figure
