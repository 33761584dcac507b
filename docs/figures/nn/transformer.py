"""Figure of dlcore.nn.transformer; its docstring is the caption."""

from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.nn.transformer import TransformerEncoderBlock
from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["transformer"]


def transformer() -> "Figure":
    """What the parts of a block do across 12 tokens, and how tokens grow through 24 blocks, before any training.

    Left: influence of input tokens on output tokens. The perceptron works on each token alone; attention joins all.
    Right: with pre-norm every block adds to the tokens, so that they grow; post-norm sets their size to 1 after each
    block.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3, width_ratios=(1, 1, 1.5))
    for ax, init, name in ((left, nn.initializers.zeros, "perceptron alone"), (middle, None, "with attention")):
        block = TransformerEncoderBlock(4, 128, pre_norm=True, out_kernel_init=init)
        show_image(ax, _influence(block), name, cmap="Blues")
        ax.set_axis_on()
        ax.set(xlabel="input token", ylabel="output token", xticks=[0, 5, 10], yticks=[0, 5, 10])
    for pre_norm, name, color, style in ((True, "pre-norm", BLUE, "o-"), (False, "post-norm", VERMILION, "s--")):
        sizes = _sizes(TransformerEncoderBlock(4, 128, pre_norm=pre_norm), 24)
        right.plot(np.arange(25), sizes, style, color=color, markersize=3, label=name)
    right.set(xlabel="blocks", ylabel="size of a channel (rms)", ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    return figure


@partial(jax.jit, static_argnums=0)
def _influence(block: nn.Module) -> jax.Array:
    """[12, 12]: square root of the norm of the derivative of each output token by each input token."""
    x = jax.random.normal(jax.random.key(0), (1, 12, 32))
    variables = block.init(jax.random.key(1), x)
    jacobian = jax.jacrev(lambda x: block.apply(variables, x))(x)[0, :, :, 0]
    return jnp.sqrt(jnp.sqrt(jnp.square(jacobian).sum((1, 3))))


@partial(jax.jit, static_argnums=(0, 1))
def _sizes(block: nn.Module, depth: int) -> jax.Array:
    """Root mean square of the tokens after 0, 1, ... `depth` blocks."""
    x = jax.random.normal(jax.random.key(0), (4, 12, 32))
    variables = jax.vmap(lambda key: block.init(key, x))(jax.random.split(jax.random.key(1), depth))
    states = jax.lax.scan(lambda x, v: (block.apply(v, x),) * 2, x, variables)[1]
    return jnp.sqrt(jnp.square(jnp.concatenate([x[None], states])).mean((1, 2, 3)))
