"""Figure of dlcore.transfer.lora; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.nn import Dense
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.transfer.lora import LoRA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["lora"]


def lora() -> "Figure":
    """How many numbers LoRA trains, and how much of a change of weights it can hold.

    Left: trainable numbers of one kernel of D x D by its width; two factors of rank r have 2 r D. Right: the error of
    the best change of rank r. A change that concerns few directions (blue) needs a small rank, while one that is
    random in all directions (red) cannot be held by any small one: then train the whole kernel.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    widths = np.array([64, 256, 1024, 4096])
    left.plot(widths, widths.astype(float) ** 2, "--", color=GRAY, label="whole kernel")
    for rank, color in ((4, BLUE), (16, GREEN)):
        counts = []
        for width in widths.tolist():
            layer, x = Dense(width, use_bias=False), jnp.zeros((1, width))
            variables = {"params": {"dense": {"kernel": jnp.zeros((width, width))}}}
            new = LoRA(rank=rank, targets=("dense",)).init(jax.random.key(0), layer, variables, x)
            counts.append(sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(new)))
        left.plot(widths, counts, "o-", color=color, label=f"rank {rank}")
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(64, 6)) @ rng.normal(size=(6, 64)) + 0.3 * rng.normal(size=(64, 64))
    changes = {"six directions": (directions, BLUE), "random": (rng.normal(size=(64, 64)), VERMILION)}
    for label, (change, color) in changes.items():
        energy = np.square(np.linalg.svd(change, compute_uv=False))
        rest = 1 - np.append(0, energy.cumsum()) / energy.sum()
        right.plot(np.arange(65), np.sqrt(rest.clip(0)), color=color, label=label)
    left.set(xlabel="width D", ylabel="trained numbers", xscale="log", yscale="log")
    right.set(xlabel="rank", ylabel="error of the change (share)", ylim=(0, 1.02))
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure
