"""Figure of dlcore.vision3d.dpt; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import new_figure
from dlcore.vision3d.dpt import DPTNeck

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dpt"]


def dpt() -> "Figure":
    """How far one patch of each of DPT's four maps reaches in the fused map of 96 x 96 pixels.

    It is the mean of 24 random initial weights. Each picture shows the change, relative to its largest, when the map
    of one block alone gets another value at one patch of the grid of 12 x 12 (dashed, 8 pixels wide). The first map,
    enlarged by 4, changes little beyond its patch; the last, made smaller, changes a wide neighborhood. Details come
    from the former, overview from the latter.
    """
    figure, axes = new_figure((7.4, 2.4), 1, 4)
    neck = DPTNeck(channels=(8, 8, 8, 8), factors=(4, 2, 1, 0.5), features=8)
    maps = [jax.random.normal(key, (1, 12, 12, 8)) for key in jax.random.split(jax.random.key(0), 4)]

    @jax.jit
    def changes(key: jax.Array) -> jax.Array:
        params = neck.init(key, maps)
        base = neck.apply(params, maps)
        moved = [[x.at[:, 6, 6].add(1.0) if i == k else x for i, x in enumerate(maps)] for k in range(4)]
        return jnp.stack([jnp.abs(neck.apply(params, x) - base)[0].sum(-1) for x in moved])

    mean = np.mean([changes(key) for key in jax.random.split(jax.random.key(1), 24)], 0)
    for number, (ax, change, factor) in enumerate(zip(axes, mean, ("4", "2", "1", "1/2"), strict=True), 1):
        ax.imshow(change / change.max(), cmap="Blues", vmin=0, vmax=1)
        ax.plot([47.5, 55.5, 55.5, 47.5, 47.5], [47.5, 47.5, 55.5, 55.5, 47.5], "k--", linewidth=0.8)
        ax.set(xticks=[], yticks=[], xlabel=f"map {number}: size x {factor}")
    return figure
