"""Figure of dlcore.interpretability.feature_inversion; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.interpretability.feature_inversion import learner
from dlcore.kits.training.pretrained_network import load_network
from dlcore.report.figure import new_figure, show_image
from experiments.figure_parts import photograph_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["feature_inversion"]


def feature_inversion() -> "Figure":
    """Images that have the same features as a photograph in one layer of a VGG, from noise by 150 steps.

    Left: the photograph, and images of three layers.
    """
    figure, (*axes, right) = new_figure((7.4, 2.1), 1, 5, width_ratios=(1, 1, 1, 1, 1.6))
    image, layers = photograph_tiles(32)[1:2], ("relu1_1", "relu2_2", "relu4_2")
    results = [inverted(image, layer) for layer in layers]
    print([r[1:] for r in results])
    for ax, x, name in zip(axes, (image[0], *(r[0] for r in results)), ("photograph", *layers), strict=True):
        show_image(ax, x, name)
    return figure


def inverted(image: np.ndarray, layer: str) -> tuple[np.ndarray, float, float]:
    """Image of the same features, and distances of its features, as a share, and of its pixels, as a deviation."""
    network = load_network()
    train = learner(
        model=network.model,
        variables=network.variables,
        optimizer=optax.adam(0.03),
        mean=network.mean,
        std=network.std,
        layer=layer,
        variation_weight=0.01,
    )
    batch = {"image": jnp.asarray(image), "index": jnp.arange(1)}
    first = train.init(jax.random.key(0), batch)
    state = jax.jit(lambda state: jax.lax.fori_loop(0, 150, lambda _, s: train.update(s, batch)[0], state))(first)
    metrics = train.evaluate(state, batch)
    return train.predict(state, batch)["image"][0], *(float(metrics[k].total) for k in ("features", "pixels"))
