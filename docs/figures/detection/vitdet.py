"""Figure of dlcore.detection.vitdet; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.cost.layers import layer_costs, total
from dlcore.detection.simple_pyramid import BlockFeaturePyramid, SimpleFeaturePyramid
from dlcore.models.vitdet import ViTDet
from dlcore.report.figure import BLUE, VERMILION, new_figure
from experiments.figure_parts import cells_that_change, draw_reach

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vitdet"]


def vitdet() -> "Figure":
    """What the levels of a detector read from a plain vision transformer, and what windows of attention save.

    Left: cells of each level that change with one cell of a block's map; the simple pyramid reads the last block alone.
    Middle: a feature pyramid network reads all. Right: multiply-adds of ViTDet-B with windows in eight of twelve blocks
    (blue) and without.
    """
    figure, (left, middle, right) = new_figure((7.4, 2.6), 1, 3)
    names, levels = ("block 3", "block 6", "block 9", "block 12"), ("P4", "P8", "P16", "P32")
    keys = jax.random.split(jax.random.key(0), 5)
    maps = [jax.random.normal(key, (1, 8, 8, 32)) for key in keys[:4]]
    simple, fpn = SimpleFeaturePyramid(16), BlockFeaturePyramid(16)
    of_simple, of_fpn = jax.jit(simple.init)(keys[4], maps[-1]), jax.jit(fpn.init)(keys[4], maps)
    draw_reach(left, cells_that_change(lambda maps: simple.apply(of_simple, maps[-1]), maps), names, levels)
    draw_reach(middle, cells_that_change(lambda maps: fpn.apply(of_fpn, maps), maps), names, levels)
    middle.set(ylabel="", yticks=[])
    sides = (448, 672, 896, 1120)
    for blocks, name, color, style in (
        (range(12), "no windows", VERMILION, "s--"),
        ((2, 5, 8, 11), "windows", BLUE, "o-"),
    ):
        model = ViTDet(0, global_blocks=tuple(blocks), relative_positions=False)
        images = [jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32) for side in sides]
        costs = [total(layer_costs(model, image)).macs / 1e9 for image in images]
        right.plot(sides, costs, style, color=color, label=name, markersize=4)
    right.set(
        xlabel="side of the image / pixels", ylabel="billion multiply-adds", ylim=(0, None), xticks=[500, 750, 1000]
    )
    right.legend(frameon=False, fontsize=8)
    return figure
