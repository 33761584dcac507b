"""Figure of dlcore.generative.cycle_gan; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.cycle_gan import Pool, draw_from
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cycle_gan"]


def cycle_gan() -> "Figure":
    """Ages of the fakes that the discriminator judges, from a pool of 50, over 1,000 steps of one fake.

    Left: the step in which each judged fake was drawn; half are new (on the line), the others come from up to some
    hundred steps before. Right: how many have which age. An oscillating generator so cannot fool a discriminator that
    only knows its last move.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    steps = jnp.arange(1000)

    def step(pool, number):
        fake = jnp.full((1, 1, 1, 1), number, jnp.float32)
        pool, judged = draw_from(pool, jax.random.fold_in(jax.random.key(0), number), fake, jnp.ones(1))
        return pool, judged.ravel()[0]

    pool = Pool(jnp.zeros((50, 1, 1, 1)), jnp.zeros((), jnp.int32))
    born = np.asarray(jax.jit(lambda: jax.lax.scan(step, pool, steps)[1])())
    age = np.arange(1000) - born
    left.plot(steps, born, ".", color=BLUE, markersize=3)
    left.axvline(50, color=GRAY, linestyle="--", linewidth=0.8)
    left.text(65, 900, "the pool is full", fontsize=9)
    left.set(xlabel="step", ylabel="step of the judged fake")
    right.hist(age[50:], np.arange(0, 401, 20), color=VERMILION)
    right.set(xlabel="age / steps", ylabel="judged fakes", yscale="log")
    return figure
