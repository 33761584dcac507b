"""Figure of dlcore.interpretability.saliency; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.interpretability.saliency import input_gradient, integrated_gradients, pixel_saliency, smooth_gradient
from dlcore.kits.training.pretrained_network import load_network
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, show_image
from experiments.figure_parts import photograph_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["saliency"]


def saliency() -> "Figure":
    """Which pixels move the highest score of a VGG that was trained on CIFAR-10.

    Left: a photograph; the gradient of the score; and the mean gradient of 25 noisy copies.
    """
    figure, (*maps, right) = new_figure((7.4, 2.3), 1, 4, width_ratios=(1, 1, 1, 1.5))
    network = load_network()
    image = jnp.asarray(photograph_tiles(32)[3:])

    @jax.jit
    def score(x: jax.Array) -> jax.Array:
        return network.model.apply(network.variables, (x - network.mean) / network.std)

    gradients = input_gradient(score, image), smooth_gradient(score, image, jax.random.key(0))
    saliency = [pixel_saliency(x)[0] for x in gradients]
    print([(x.max(), x.mean()) for x in saliency])
    show_image(maps[0], image[0], "photograph")
    for ax, values, name in zip(maps[1:], saliency, ("gradient", "SmoothGrad"), strict=True):
        shown = show_image(ax, values, name, cmap="Blues", vmin=0, vmax=max(x.max() for x in saliency))
    figure.colorbar(shown, ax=maps[1:], shrink=0.6)
    scores = [x[0].max() for x in (score(image), score(jnp.zeros_like(image)))]
    label = score(image).argmax(-1)
    fall = score(image)[0, label[0]] - score(jnp.zeros_like(image))[0, label[0]]
    steps = (2, 4, 8, 16, 32, 64)
    for rule, style, color in (("right", "s--", VERMILION), ("midpoint", "^:", GRAY), ("gauss_legendre", "o-", BLUE)):
        sums = jnp.stack([integrated_gradients(score, image, label, steps=n, rule=rule).sum() for n in steps])
        print(rule, sums, fall)
        right.plot(steps, 100 * abs(sums / fall - 1), style, color=color, markersize=4, label=rule)
    right.set(xlabel="steps", ylabel="error of the sum / %", xscale="log", yscale="log", xticks=steps)
    right.set_xticklabels(steps)
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8)
    return figure
