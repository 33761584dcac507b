"""Figure of dlcore.interpretability.fast_style; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.interpretability.fast_style import StyleNet
from dlcore.interpretability.image_optimization import feature_maps
from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.weights.network import load_network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fast_style"]


def fast_style() -> "Figure":
    """What one network of many styles saves.

    Left: parameters by the number of styles. All styles share the convolutions, and each adds 1,088 scales and biases
    to 271,299 parameters. Right: operations for one picture of 128 pixels, without the training. Descent on the pixels
    needs a gradient at each of its steps; 300 steps cost 516 times as much as one pass of the network.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    styles = np.arange(1, 17)
    counts = np.array([parameters(int(n)) for n in styles]) / 1e3
    left.plot(styles, counts, "o-", color=BLUE, markersize=4, label="one network of all styles")
    left.plot(styles, counts[0] * styles, "s--", color=VERMILION, markersize=4, label="a network a style")
    left.set(xlabel="styles", ylabel="thousand parameters", ylim=(0, None))
    once, step = operations()
    steps = np.array([1, 3, 10, 30, 100, 300])
    right.plot(steps, steps * step / 1e9, "s--", color=VERMILION, markersize=4, label="descent on the pixels")
    right.axhline(once / 1e9, color=BLUE, label="one pass of the network")
    right.set(xlabel="steps of the descent", ylabel="billion operations", xscale="log", yscale="log")
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure


_IMAGE = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
_STYLE = jax.ShapeDtypeStruct((1,), jnp.int32)


def parameters(styles: int) -> int:
    """Number of parameters of a network of some styles."""
    shapes = jax.eval_shape(StyleNet(styles).init, jax.random.key(0), _IMAGE, _STYLE)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def operations() -> tuple[float, float]:
    """Operations of a pass of the network, and of a gradient by the pixels through the maps that are compared."""
    network, model = load_network(), StyleNet(4)
    variables = jax.eval_shape(model.init, jax.random.key(0), _IMAGE, _STYLE)

    def size(image: jax.Array) -> jax.Array:
        maps = feature_maps(network.model, network.variables, image[0])
        return sum(jnp.square(maps[name]).sum() for name in ("relu1_1", "relu2_1", "relu2_2", "relu3_1", "relu4_1"))

    lowered = jax.jit(model.apply).lower(variables, _IMAGE, _STYLE), jax.jit(jax.grad(size)).lower(_IMAGE)
    return tuple(x.compile().cost_analysis()["flops"] for x in lowered)
