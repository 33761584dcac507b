"""Figure of dlcore.generative.style_gan2; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.style_gan2_networks import minibatch_deviation, modulated_conv
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["style_gan2"]


def style_gan2() -> "Figure":
    """Modulated convolutions with and without demodulation, and the number that shows the discriminator a collapse.

    Left: deviation of the features after each of 8 layers whose styles have the mean 2. Without demodulation it
    explodes; with it it stays near 1, and the maps need no normalization. Right: a batch of points around one place;
    the deviation within a minibatch falls with their variety, which no single image could show.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)

    @jax.jit
    def deviations(x, demodulate):
        stds = [x.std()]
        for number in range(8):
            key = jax.random.fold_in(jax.random.key(0), number)
            kernel = jax.random.normal(key, (3, 3, 16, 16)) / 12
            styles = 2 + 0.5 * jax.random.normal(jax.random.fold_in(key, 1), (4, 16))
            plain, normal = (modulated_conv(x, kernel, styles, demodulate=flag) for flag in (False, True))
            x = jnp.where(demodulate, normal, plain)
            stds.append(x.std())
        return jnp.stack(stds)

    x = jax.random.normal(jax.random.key(1), (4, 16, 16, 16))
    for flag, color, style, name in ((False, VERMILION, "s--", "modulated"), (True, BLUE, "o-", "and demodulated")):
        left.plot(deviations(x, flag), style, color=color, markersize=4, label=name)
    left.set(xlabel="layer", ylabel="deviation of the features", yscale="log")
    left.legend(frameon=False)
    spreads = np.linspace(0, 1, 21)
    points = jax.random.normal(jax.random.key(2), (64, 32))
    right.plot(spreads, [minibatch_deviation(spread * points)[0] for spread in spreads], color=GREEN)
    right.set(xlabel="variety of the batch", ylabel="minibatch deviation", ylim=(0, None))
    return figure
