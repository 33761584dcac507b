"""Figure of dlcore.generative.vq_vae_2; its docstring is the caption."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.vq_vae_2 import VQVAE2
from dlcore.report.figure import BLUE, VERMILION, new_figure
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vq_vae_2"]


def vq_vae_2() -> "Figure":
    """Pixels that change if one code of a level is replaced, in an image of 64 x 64 pixels at random weights.

    Left: one of the 8 x 8 codes of the top. Middle: one of the 16 x 16 codes of the bottom (mean of 64 replacements).
    Right: the change in the row through the center, over the largest. A code of the top moves a wider region: a quarter
    as many codes hold the layout, and the bottom adds the detail.
    """
    figure, (*maps, right) = new_figure((7.2, 2.6), 1, 3, width_ratios=(1, 1, 1.3))
    model = VQVAE2(shape=(64, 64, 3), width=16, embedding_dim=8, downsamplings=2, num_res_blocks=1)
    variables = nonzero_variables(model, np.zeros((1, 64, 64, 3), np.float32))
    keys = jax.random.split(jax.random.key(0), 64)
    for ax, level, color, style in ((maps[0], "top", BLUE, "-"), (maps[1], "bottom", VERMILION, "--")):
        change = np.asarray(_mean_change(model, variables, level, keys))
        ax.imshow(change, cmap="viridis")
        ax.set_title(f"a code of the {level}", fontsize=10)
        ax.set(xticks=[], yticks=[])
        profile = change[28:36].mean(0)
        right.plot(profile / profile.max(), style, color=color, label=level)
    right.set(xlabel="pixel", ylabel="change")
    right.legend(frameon=False, fontsize=8)
    return figure


def _mean_change(model: VQVAE2, variables: Any, level: str, keys: jax.Array) -> jax.Array:
    """Mean change [H, W] of the decoded pixels if the central code of a level is replaced, one draw for each key."""

    def change(key):
        own = dict(zip(model.grids, jax.random.split(key), strict=True))
        vectors = {name: jax.random.normal(own[name], (*grid, 8)) for name, grid in model.grids.items()}
        side = model.grids[level][0]
        other = vectors[level].at[side // 2, side // 2].set(jax.random.normal(key, 8))
        both = [jnp.stack([vectors[name], other if name == level else vectors[name]]) for name in ("top", "bottom")]
        images = model.apply(variables, *both, method="decode")
        return jnp.linalg.norm(images[1] - images[0], axis=-1)

    return jax.jit(lambda keys: jax.vmap(change)(keys).mean(0))(keys)
