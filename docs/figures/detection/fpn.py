"""Figure of dlcore.detection.fpn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.detection.fpn import FeaturePyramid, assign_levels
from dlcore.report.figure import BLUE, new_figure
from experiments.figure_parts import cells_that_change, draw_reach

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fpn"]


def fpn() -> "Figure":
    """How far one cell of a backbone's map reaches in the pyramid, and which level a box reads.

    Left: cells of each level that change with one cell of a map, at random weights. C5 reaches all levels, C3 only its
    own. Middle: the change of P3 by one cell of C5. Right: the level that a detector reads, by the side of a box.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.6), 1, 3)
    sides, model = (32, 16, 8), FeaturePyramid(16)
    keys = jax.random.split(jax.random.key(0), 4)
    maps = [jax.random.normal(key, (1, side, side, 8)) for key, side in zip(keys, sides, strict=False)]
    params = jax.jit(model.init)(keys[3], maps)
    changes = cells_that_change(lambda maps: model.apply(params, maps), maps)
    draw_reach(left, changes, ("C3", "C4", "C5"), ("P3", "P4", "P5"))
    middle.imshow(changes[-1][0], cmap="Blues")
    middle.set(xlabel="column of P3", ylabel="row of P3")
    side = jnp.geomspace(50, 700, 400)
    right.semilogx(side, assign_levels(jnp.stack([0 * side, 0 * side, side, side], 1), 2, 5), color=BLUE)
    right.set_xticks([56, 112, 224, 448], ["56", "112", "224", "448"])
    right.minorticks_off()
    right.set(xlabel="side of the box / pixels", ylabel="level that is read", yticks=[2, 3, 4, 5])
    return figure
