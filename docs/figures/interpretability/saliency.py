"""Figure of dlcore.interpretability.saliency; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.interpretability.saliency import input_gradient, integrated_gradients, pixel_saliency, smooth_gradient
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, show_image
from dlcore.weights.network import load_network
from experiments.figure_parts import photograph_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["saliency"]


def saliency() -> "Figure":
    """Which pixels move the highest score of a VGG that was trained on CIFAR-10.

    Left: a photograph; the gradient of the score; and the mean gradient of 25 noisy copies, on one scale. Right: sums
    of two attributions, by the brightness. Those of integrated gradients (dots) are the rise of the score above that of
    a black image (gray); gradients times pixels (red) are not.
    """
    figure, (*maps, right) = new_figure((7.4, 2.3), 1, 4, width_ratios=(1, 1, 1, 1.5))
    network = load_network()
    image = jnp.asarray(photograph_tiles(32)[3:])

    @jax.jit
    def score(x: jax.Array) -> jax.Array:
        return network.model.apply(network.variables, (x - network.mean) / network.std)

    gradients = input_gradient(score, image), smooth_gradient(score, image, jax.random.key(0))
    saliency = [pixel_saliency(x)[0] for x in gradients]
    show_image(maps[0], image[0], "photograph")
    for ax, values, name in zip(maps[1:], saliency, ("gradient", "SmoothGrad"), strict=True):
        shown = show_image(ax, values, name, cmap="Blues", vmin=0, vmax=max(x.max() for x in saliency))
    figure.colorbar(shown, ax=maps[1:], shrink=0.6)
    shares, label = jnp.linspace(0, 1, 9), jnp.repeat(score(image).argmax(-1), 9)
    darker = shares[:, None, None, None] * image
    truth = jnp.take_along_axis(score(darker), label[:, None], 1)[:, 0]
    parts = integrated_gradients(score, darker, label, steps=32).sum((1, 2, 3))
    slope = (input_gradient(score, darker, label) * darker).sum((1, 2, 3))
    right.plot(shares, truth - truth[0], color=GRAY, linewidth=4, label="score")
    right.plot(shares, parts, "o", color=BLUE, markersize=5, label="integrated gradients")
    right.plot(shares, slope, "s--", color=VERMILION, markersize=4, label="gradient times pixel")
    right.set(xlabel="brightness of the photograph", ylabel="sum over the pixels", ylim=(-1.5, 4.6))
    right.legend(frameon=False, fontsize=8)
    return figure
