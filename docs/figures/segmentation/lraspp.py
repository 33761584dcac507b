"""Figure of dlcore.segmentation.lraspp; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.cost.layers import layer_costs, total
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.segmentation.deeplab import DeepLabHead
from dlcore.segmentation.fcn import FCNHead
from dlcore.segmentation.lraspp import LRASPPHead
from experiments.figure_parts import random_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["lraspp"]


def lraspp() -> "Figure":
    """What a pixel's score reads from the two maps of the head, and what three heads cost.

    Left: sizes of a score's gradient along a row, in a random head. The fine map counts at one place alone; the coarse
    one around it, and everywhere a little through the gate. Right: multiply-adds on maps of a MobileNetV3, for 512 x
    512 pixels and 21 classes.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2, width_ratios=(1.4, 1))
    fine, coarse = row_influence()
    left.semilogy(16 * np.arange(len(coarse)) + 8, coarse, "o-", color=BLUE, markersize=4, label="coarse map")
    at = np.flatnonzero(fine)
    left.semilogy(8 * at + 4, fine[at], "^", color=VERMILION, label="fine map")
    left.set(xlabel="column / pixels", ylabel="gradient")
    left.legend(frameon=False, fontsize=8)
    heads = {
        "LR-ASPP": (LRASPPHead(21), (64, 40), (32, 960)),
        "FCN": (FCNHead(21), (32, 960)),
        "DeepLabV3": (DeepLabHead(21), (32, 960)),
    }
    costs = [head_cost(*parts) / 1e9 for parts in heads.values()]
    right.bar(list(heads), costs, color=(BLUE, GRAY, GRAY))
    right.bar_label(right.containers[0], fmt="%.2g", fontsize=9)
    right.set(yscale="log", ylabel="multiply-adds / 1e9", ylim=(0.05, 30))
    return figure


def row_influence() -> tuple[np.ndarray, np.ndarray]:
    """Sizes of the gradient of the scores at row 16 and column 16 by that row of the fine and of the coarse map."""
    model = LRASPPHead(4, 32)
    fine, coarse = (jax.random.normal(jax.random.key(i), (1, side, side, 16)) for i, side in enumerate((32, 16)))
    variables = random_variables(model, 0, fine, coarse, train=False)

    @jax.jit
    def gradients(fine: jax.Array, coarse: jax.Array) -> tuple[jax.Array, ...]:
        return jax.grad(lambda *maps: model.apply(variables, *maps, False)[0, 16, 16].sum(), (0, 1))(fine, coarse)

    return tuple(
        np.linalg.norm(gradient[0, row], axis=-1)
        for gradient, row in zip(gradients(fine, coarse), (16, 8), strict=True)
    )


def head_cost(head: nn.Module, *maps: tuple[int, int]) -> int:
    """Multiply-adds of a head on maps of a side and a number of channels."""
    shapes = [jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32) for side, channels in maps]
    return total(layer_costs(head, *shapes, train=False)).macs
