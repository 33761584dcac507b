"""Figure of dlcore.generative.dit; its docstring is the caption."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.formulas import attention_macs, dense_macs
from dlcore.generative.dit import DiT
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from experiments.figure_parts import nonzero_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dit"]


def dit() -> "Figure":
    """How the time enters a DiT, and what the side of a patch costs.

    Left: change of the prediction for one noisy image if the time is another than 500, at random weights. Where the
    layers that scale, shift and gate the tokens give 0, as at the start of training, the time has no effect. Right:
    multiply-adds of a block of 384 channels on latents of 32 x 32. Half the side costs four times as much in dense
    layers, sixteen times in attention.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    model = DiT(width=64, depth=4)
    times = jnp.append(jnp.linspace(0, 999, 41), 500)
    x = jnp.broadcast_to(jax.random.normal(jax.random.key(0), (16, 16, 4)), (len(times), 16, 16, 4))
    variables = nonzero_variables(model, x, times)
    for name, given, color, style in (
        ("modulated", variables, BLUE, "-"),
        ("modulation 0", without_modulation(variables), GRAY, "--"),
    ):
        outputs = np.asarray(jax.jit(model.apply)(given, x, times))
        flat = outputs.reshape(len(times), -1)
        change = np.linalg.norm(flat - flat[-1], axis=1) / np.linalg.norm(flat[-1])
        left.plot(times[:-1], change[:-1], style, color=color, label=name)
    left.set(xlabel="time", ylabel="relative change")
    left.legend(frameon=False, fontsize=8)
    sides = np.array([1, 2, 4, 8])
    tokens = (32 // sides) ** 2
    dense = [dense_macs(384, 12 * 384, positions=int(n)) / 1e6 for n in tokens]
    attention = [attention_macs(int(n), 384) / 1e6 for n in tokens]
    right.loglog(sides, dense, "o-", color=BLUE, label="dense layers")
    right.loglog(sides, attention, "s--", color=VERMILION, label="attention")
    right.set(xlabel="side of a patch", ylabel="million multiply-adds", xticks=sides, xticklabels=sides)
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8)
    return figure


def without_modulation(variables: Any) -> Any:
    """Set the layers that give shifts, scales and gates to 0."""

    def zero(path: Any, leaf: np.ndarray) -> np.ndarray:
        return 0 * leaf if path[-2].key in ("modulation", "proj_out_1") else leaf

    return jax.tree_util.tree_map_with_path(zero, variables)
