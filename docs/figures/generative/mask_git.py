"""Figure of dlcore.generative.mask_git; its docstring is the caption."""

from types import SimpleNamespace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.mask_git import num_masked
from dlcore.generative.mask_git import sample as sample_codes
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mask_git"]


def mask_git() -> "Figure":
    """The passes in which 16 x 16 codes are filled in, by a network that is surer beside codes that it sees.

    Left: the cosine schedule fixes few codes while little is known, and many at the end. Right: the pass that fixes
    each code. Where the surest codes win, they grow from a few seeds; with much noise in the choice they are spread.
    """
    figure, (left, *maps) = new_figure((7.2, 2.5), 1, 3, width_ratios=(1.1, 1, 1))
    passes = np.arange(9)
    left.plot(passes, num_masked(passes / 8, 256), "o-", color=BLUE, label="cosine")
    left.plot(passes, 256 * (1 - passes / 8), "--", color=VERMILION, label="even")
    left.set(xlabel="pass", ylabel="masked codes", xticks=passes[::2])
    left.legend(frameon=False)

    def apply(_, codes, *args):
        known = jnp.pad((codes < 4).astype(jnp.float32), ((0, 0), (1, 1), (1, 1)))
        near = sum(known[:, i : i + 16, j : j + 16] for i in range(3) for j in range(3))
        jax.debug.callback(lambda codes: states.append(np.asarray(codes)), codes, ordered=True)
        return (near + 3 * base)[..., None] * jnp.eye(4)[0]

    base = jax.random.uniform(jax.random.key(4), (16, 16))
    for ax, temperature in zip(maps, (0.0, 30.0), strict=True):
        states = []
        model = SimpleNamespace(apply=apply, num_codes=4)
        jax.block_until_ready(
            sample_codes(model, {}, jax.random.split(jax.random.key(0), 1), (16, 16), choice_temperature=temperature)
        )
        jax.effects_barrier()
        image = ax.imshow(sum((codes[0] == 4).astype(int) for codes in states), cmap="viridis", vmin=1, vmax=8)
        ax.set_title(f"choice_temperature {temperature:g}", fontsize=9)
        ax.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=maps, label="pass", ticks=[1, 4, 8], shrink=0.8)
    return figure
