"""Figure of dlcore.self_supervised.barlow_twins; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import new_figure
from dlcore.self_supervised.barlow_twins import barlow_twins_loss, cross_correlation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["barlow_twins"]


def barlow_twins() -> "Figure":
    """Cross-correlation of 8 numbers of the projections of two views, over 512 examples; blue is -1, and red is 1.

    From the left: two noisy copies of independent numbers, of which the diagonal alone is large; projections that
    repeat two numbers, with blocks beside the diagonal; and what 300 gradient steps on a linear map make of the
    second. The loss pulls the diagonal to 1 and everything else to 0, so no number repeats what another one says.
    """
    figure, axes = new_figure((7, 2.6), 1, 3)
    keys = jax.random.split(jax.random.key(0), 4)
    signal, mask = jax.random.normal(keys[0], (512, 8)), jnp.ones(512)
    noise = 0.4 * jax.random.normal(keys[1], (2, 512, 8))
    mixing = jnp.repeat(jnp.eye(2, 8), 4, 0).T + 0.25 * jax.random.normal(keys[2], (8, 8))
    views = (signal + noise[0], signal + noise[1])
    redundant = tuple(view @ mixing for view in views)

    def loss(kernel):
        return barlow_twins_loss(cross_correlation(*(view @ kernel for view in redundant), mask), 0.05)

    kernel = jnp.eye(8)
    step = jax.jit(lambda kernel: kernel - 0.02 * jax.grad(loss)(kernel))
    for _ in range(300):
        kernel = step(kernel)
    shown = {"independent": views, "repeated": redundant, "repeated, trained": tuple(v @ kernel for v in redundant)}
    for ax, (title, (a, b)) in zip(axes, shown.items(), strict=True):
        correlation = cross_correlation(a, b, mask)
        ax.imshow(np.asarray(correlation), cmap="RdBu_r", vmin=-1, vmax=1)
        ax.set_title(f"{title}\nloss {float(barlow_twins_loss(correlation, 0.05)):.2f}", fontsize=9)
        ax.set(xticks=[], yticks=[])
    axes[0].set(xlabel="number of view 2", ylabel="number of view 1")
    return figure
