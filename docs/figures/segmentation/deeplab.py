"""Figure of dlcore.segmentation.deeplab; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure
from dlcore.segmentation.deeplab import ASPP
from dlcore.segmentation.maps import ConvNormRelu
from experiments.figure_parts import random_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["deeplab"]


def deeplab() -> "Figure":
    """What dilated convolutions of three rates read, each with nine weights, on a map of 65 x 65.

    Left: locations that the center reads; at a rate of 36 all but one lie outside. Right: how many weights meet the
    map, a mean over locations: 6.9, 5.1 and 3.6 at the three rates. So DeepLab takes the map's mean for the widest
    view.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2, width_ratios=(1.1, 1))
    colors, rates = {12: BLUE, 24: VERMILION, 36: GREEN}, (1, 6, 12, 24, 36, 48, 60)
    used = dict(zip(rates, [weights_used(65, rate) for rate in rates], strict=True))
    right.plot(used.keys(), used.values(), "-", color="black", linewidth=1)
    for (rate, color), marker in zip(colors.items(), "os^", strict=True):
        y, x = np.nonzero(read_by_center(65, rate))
        left.plot(x, y, marker, color=color, markersize=6, label=f"rate {rate}")
        right.plot(rate, used[rate], marker, color=color)
    left.set(xlim=(0, 64), ylim=(64, 0), aspect="equal", xlabel="column", ylabel="row")
    left.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    right.set(xlabel="rate", ylabel="weights that meet the map", ylim=(0, 9.2))
    return figure


def read_by_center(side: int, rate: int) -> np.ndarray:
    """Locations [side, side] bool that the center reads by one dilated convolution, beyond the mean of the map."""
    model, maps = ASPP(16, (rate,)), jax.random.normal(jax.random.key(0), (1, side, side, 4))
    variables = random_variables(model, 0, maps, train=False)
    gradient = jax.grad(lambda x: model.apply(variables, x, False)[0, side // 2, side // 2].sum())(maps)
    size = np.asarray(jnp.abs(gradient[0]).sum(-1))
    return size > 2 * np.median(size)


def weights_used(side: int, rate: int) -> float:
    """Mean number of the nine weights of a dilated convolution that meet a map."""
    layer, maps = ConvNormRelu(1, dilation=rate), jnp.ones((1, side, side, 1))
    variables = random_variables(layer, 0, maps, train=False)
    variables["params"]["0"]["kernel"] = jnp.ones((3, 3, 1, 1))
    return float(layer.apply(variables, maps, False).mean())
