"""Figure of dlcore.generative.dcgan; its docstring is the caption."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from dlcore.cost.layers import layer_costs
from dlcore.generative.dcgan import Discriminator, Generator
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dcgan"]


def dcgan() -> "Figure":
    """The maps of DCGAN's generator (left of the line) and discriminator, for images of 32 x 32 pixels.

    Left: sides double while channels halve, and the discriminator goes the other way. Right: deviation of the
    generator's maps at the start. Without normalization its small weights shrink the maps from layer to layer, to 0.02;
    batch norm, by the batch's own statistics, keeps each at 1.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    generator, noise = Generator(shape=(32, 32, 3)), jax.random.normal(jax.random.key(0), (64, 100))
    shapes = [
        layer.output_shape
        for model, x in ((generator, noise[:1]), (Discriminator(), jnp.zeros((1, 32, 32, 3))))
        for layer in layer_costs(model, x)
        if layer.kind == "Conv"
    ]
    shapes = [(1, 4, 4, 256), *shapes]
    for axis, name, color, style in ((1, "side", BLUE, "o-"), (3, "channels", VERMILION, "s--")):
        left.plot([shape[axis] for shape in shapes], style, color=color, markersize=4, label=name)
    left.axvline(4.5, color="k", linewidth=0.6)
    left.set(xlabel="map", yscale="log")
    left.set_yticks((4, 16, 64, 256), (4, 16, 64, 256))
    left.minorticks_off()
    left.legend(frameon=False, fontsize=8)
    variables = jax.jit(generator.init)(jax.random.key(1), noise)
    for train, name, color, style in ((True, "batch norm", BLUE, "o-"), (False, "no normalization", VERMILION, "s--")):
        deviations = _deviations(generator, variables, noise, train)
        right.plot(list(deviations), list(deviations.values()), style, color=color, markersize=4, label=name)
    right.set(xlabel="layer", ylabel="deviation", yscale="log")
    right.legend(frameon=False, fontsize=8)
    return figure


def _deviations(model: Generator, variables: Any, noise: jax.Array, train: bool) -> dict[str, float]:
    """Deviation of the map that follows each layer, normalized or, by the statistics of the start, not."""
    options = {"train": train, "capture_intermediates": True, "mutable": ["intermediates", "batch_stats"]}
    outputs = model.apply(variables, noise, **options)[1]["intermediates"]
    names = ("stem", "up0", "up1", "up2")
    return {name: float(outputs[f"{name}_norm"]["__call__"][0].std()) for name in names}
