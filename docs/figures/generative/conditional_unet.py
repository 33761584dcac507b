"""Figure of dlcore.generative.conditional_unet; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.unet_blocks import SpatialTransformer
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, show_image
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["conditional_unet"]


def conditional_unet() -> "Figure":
    """Where words change the prediction, at random weights, and what attention costs.

    Left: influence of one of two words at each place, over its mean. The maps differ, since each place chooses its
    words by cross-attention. Right: multiply-adds of attention among places (red), of that to 77 words (blue), and of
    the dense layers around. Red grows fastest: only small maps attend.
    """
    figure, (*maps, right) = new_figure((7.2, 2.6), 1, 3, width_ratios=(1, 1, 1.4))
    influence = _influence_of_words()
    for number, (ax, values) in enumerate(zip(maps, influence, strict=True), 1):
        shown = show_image(ax, values, f"word {number}", cmap="viridis", vmin=0, vmax=influence.max())
    figure.colorbar(shown, ax=maps, shrink=0.7)
    sides = np.array([8, 16, 32, 64])
    costs = [_block_costs(side) for side in sides]
    for part, color, style in (("places", VERMILION, "s--"), ("words", BLUE, "o-"), ("dense layers", GRAY, "^:")):
        right.plot(sides, [cost[part] / 1e9 for cost in costs], style, color=color, markersize=4, label=part)
    right.set(xlabel="side of the map", ylabel="billion multiply-adds", xscale="log", yscale="log")
    right.set_xticks(sides, sides)
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8)
    return figure


def _influence_of_words() -> np.ndarray:
    """Change [2, H, W] of the prediction by a replaced word, over its mean; each the mean of eight replacements."""
    model = ConditionalUNet(channels=(16, 32), num_heads=2)
    keys = jax.random.split(jax.random.key(0), 3)
    x = jnp.broadcast_to(jax.random.normal(keys[0], (16, 16, 3)), (17, 16, 16, 3))
    words = jnp.tile(3 * jax.random.normal(keys[1], (4, 16)), (17, 1, 1))
    number = jnp.arange(16)
    words = words.at[1 + number, number // 8].set(3 * jax.random.normal(keys[2], (16, 16)))
    times = jnp.full(17, 500)
    variables = nonzero_variables(model, x, times, context=words)
    output = np.asarray(jax.jit(model.apply)(variables, x, times, context=words))
    change = np.linalg.norm(output[1:] - output[0], axis=-1).reshape(2, 8, 16, 16).mean(1)
    return change / change.mean((1, 2), keepdims=True)


def _block_costs(side: int) -> dict[str, int]:
    """Multiply-adds of a block of Stable Diffusion of 320 channels, by part."""
    x, words = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, side, side, 320), (1, 77, 768)))
    costs = {"places": 0, "words": 0, "dense layers": 0}
    for layer in layer_costs(SpatialTransformer(8), x, words):
        part = {"attn1/product": "places", "attn2/product": "words"}.get("/".join(layer.path.split("/")[1:]))
        costs[part or "dense layers"] += layer.macs
    return costs
