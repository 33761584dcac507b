"""Figure of dlcore.losses.metric_learning; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.colors import ListedColormap

from dlcore.losses.metric_learning import contrastive_loss, pairwise_distances, triplet_kinds, triplet_loss
from dlcore.report.figure import BLUE, GREEN, LIGHT_GRAY, ORANGE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["metric_learning"]


def metric_learning() -> "Figure":
    """Left: an anchor a, a positive p, and what a triplet is where the negative lies (margin 1, squared distances).

    Only negatives within the colored disks have a gradient. Right: losses against the distance of an example from the
    anchor. The pair loss pushes any other example to a distance of 1, wherever the positive is; the triplet loss only
    until it is farther than the positive by the margin.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    axis = np.linspace(-2, 2, 81)
    x, y = np.meshgrid(axis, axis)
    anchor, positive = np.zeros((1, 2)), np.array([[0.8, 0.0]])

    def kind(negative):
        distances = pairwise_distances(jnp.concatenate([anchor, positive, negative[None]]))
        kinds = triplet_kinds(distances, jnp.array([0, 0, 1]), 1.0)
        return kinds.hard[0, 1, 2] * 2 + kinds.semi_hard[0, 1, 2]

    picture = jax.vmap(kind)(jnp.asarray(np.stack([x.ravel(), y.ravel()], 1), jnp.float32)).reshape(x.shape)
    left.pcolormesh(x, y, picture, cmap=ListedColormap([LIGHT_GRAY, ORANGE, VERMILION]), alpha=0.6, rasterized=True)
    for name, place in (("a", (0, 0)), ("p", (0.8, 0))):
        left.plot(*place, "ko", markersize=4)
        left.annotate(name, place, (4, 4), textcoords="offset points")
    for name, height in (("hard", -0.4), ("semi-hard", 1.0), ("easy", 1.6)):
        left.text(0, height, name, ha="center", va="center", fontsize=9)
    left.set(xlabel="x1 of the negative", ylabel="x2", aspect="equal")
    distance = jnp.linspace(0, 2, 101)
    place = jnp.stack([distance, 0 * distance], 1)
    origin = jnp.zeros_like(place)
    same, other = (contrastive_loss(origin, place, jnp.full(101, same)) for same in (1, 0))
    triplet = triplet_loss(origin, jnp.broadcast_to(positive, place.shape), place, 1.0)
    right.plot(distance, same, color=GREEN, label="pair, same class")
    right.plot(distance, other, "--", color=BLUE, label="pair, other class")
    right.plot(distance, triplet, "-.", color=VERMILION, label="triplet, negative")
    right.set(xlabel="distance from the anchor", ylabel="loss", ylim=(0, 4))
    right.legend(frameon=False, loc="upper left")
    return figure
