"""Figure of dlcore.vision_language.vqa; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn import Dense
from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.vision_language.networks import PairLayer, relation_pairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vqa"]


def vqa() -> "Figure":
    """Cost of the first layer over all pairs of 64 features, for a question of 64 and 64 outputs.

    Left: operations. A dense layer (red) reads every pair; the pair layer (blue) multiplies each position once and adds
    the results for all pairs. Right: memory of the result and of what is held meanwhile. At 256 positions operations
    fall 128-fold, and memory to a sixth.
    """
    figure, axes = new_figure((7, 2.8), 1, 2)
    counts = np.array([4, 9, 16, 36, 64, 144, 256])
    methods = (
        ("dense layer over pairs", dense_over_pairs, "s--", VERMILION),
        ("pair layer", PairLayer(64).apply, "o-", BLUE),
    )
    for name, apply, style, color in methods:
        costs = np.array([cost(apply, n) for n in counts])
        for ax, values in zip(axes, (costs[:, 0] / 1e6, costs[:, 1] / 2**20), strict=True):
            ax.plot(counts, values, style, color=color, markersize=4, label=name)
    for ax, name in zip(axes, ("million operations", "memory / MiB"), strict=True):
        ax.set(xscale="log", yscale="log", xlabel="positions", ylabel=name)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def dense_over_pairs(variables: dict, objects: jax.Array, context: jax.Array) -> jax.Array:
    """Apply the same weights to pairs [B, N, N, C] that are built."""
    pairs = relation_pairs(objects)
    whole = jnp.broadcast_to(context[:, None, None], (*pairs.shape[:3], context.shape[-1]))
    return Dense(64).apply(variables, jnp.concatenate([pairs, whole], -1))


def cost(apply, positions: int) -> tuple[float, float]:
    """Operations, and bytes of the result and of what is held meanwhile, of the compiled layer."""
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, positions, 64), (1, 64))]
    variables = jax.eval_shape(PairLayer(64).init, jax.random.key(0), *shapes)
    compiled = jax.jit(apply).lower(variables, *shapes).compile()
    memory = compiled.memory_analysis()
    return compiled.cost_analysis()["flops"], memory.temp_size_in_bytes + memory.output_size_in_bytes
