"""Figure of dlcore.self_supervised.vicreg; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure
from dlcore.self_supervised.vicreg import vicreg_terms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vicreg"]


def vicreg() -> "Figure":
    """The three terms of VICReg on 512 pairs of 8 numbers, as the features collapse in two ways.

    Left: all numbers shrink; the variance term rises, although the views agree better and better (invariance). Right:
    the numbers become copies of one another while each keeps its deviation of 1. The variance term does not see this
    collapse, and the covariance term rises. Both terms together leave no way to make features useless.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    keys = jax.random.split(jax.random.key(0), 3)
    z, noise = jax.random.normal(keys[0], (512, 8)), 0.3 * jax.random.normal(keys[1], (2, 512, 8))
    common, mask = jax.random.normal(keys[2], (512, 1)), jnp.ones(512)
    shares = np.linspace(0, 1, 41)
    terms = jax.jit(jax.vmap(lambda a, b: jnp.stack(vicreg_terms(a, b, mask))))
    scales = jnp.asarray(shares)[:, None, None]
    shrunk = terms((1 - scales) * (z + noise[0]), (1 - scales) * (z + noise[1]))
    mixed = jnp.sqrt(1 - scales) * z + jnp.sqrt(scales) * common
    copied = terms(mixed + noise[0], mixed + noise[1])
    for ax, values in ((left, shrunk), (right, copied)):
        for value, name, color, style in zip(
            values.T, ("invariance", "variance", "covariance"), (GREEN, VERMILION, BLUE), ("-", "--", "-."), strict=True
        ):
            ax.plot(shares, value, style, color=color, label=name)
    left.set(xlabel="share of the size that is lost", ylabel="term")
    right.set(xlabel="share of the variance in common")
    left.legend(frameon=False)
    return figure
