"""Figure of dlcore.interpretability.feature_inversion; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.interpretability.feature_inversion import learner
from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image
from dlcore.weights.network import load_network
from experiments.figure_parts import photograph_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["feature_inversion"]


def feature_inversion() -> "Figure":
    """Images that have the same features as a photograph in one layer of a VGG, from noise by 150 steps.

    Left: the photograph, and images of three layers. Right: squared error of the features (blue) and of the pixels
    (red), as shares of the photograph's. The first layer tells each pixel. In the others the features agree within 2
    percent, while the pixels do not.
    """
    figure, (*axes, right) = new_figure((7.4, 2.2), 1, 5, width_ratios=(1, 1, 1, 1, 2.2))
    image, layers = photograph_tiles(32)[1:2], ("relu1_1", "relu2_2", "relu4_2")
    results = [inverted(image, layer) for layer in layers]
    for ax, x, name in zip(axes, (image[0], *(r[0] for r in results)), ("photograph", *layers), strict=True):
        show_image(ax, x, name)
    x = np.arange(3)
    for index, name, color, shift in ((1, "features", BLUE, -0.2), (2, "pixels", VERMILION, 0.2)):
        values = [100 * r[index] for r in results]
        right.bar(x + shift, values, 0.38, color=color, label=name)
    right.set(ylabel="remaining error / %", xticks=x)
    right.set_xticklabels(layers)
    right.legend(frameon=False, fontsize=8)
    return figure


def inverted(image: np.ndarray, layer: str) -> tuple[np.ndarray, float, float]:
    """Image of the same features, and squared distances of its features and pixels, as shares of the photograph's."""
    network = load_network()
    train = learner(
        model=network.model,
        variables=network.variables,
        optimizer=optax.adam(0.03),
        mean=network.mean,
        std=network.std,
        layer=layer,
        variation_weight=0.05,
    )
    batch = {"image": jnp.asarray(image), "index": jnp.arange(1)}
    first = train.init(jax.random.key(0), batch)
    state = jax.jit(lambda state: jax.lax.fori_loop(0, 150, lambda _, s: train.update(s, batch)[0], state))(first)
    metrics = train.evaluate(state, batch)
    pixels = float(metrics["pixels"].total) / np.square(image).mean()
    return train.predict(state, batch)["image"][0], float(metrics["features"].total), pixels
