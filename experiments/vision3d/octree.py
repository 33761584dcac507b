"""In the memory of a dense grid, an oct-tree holds a solid at twice the resolution and a higher IoU.

python -m experiments.vision3d.octree
    1.9 KiB of an oct-tree have the IoU of 64³ voxels, 0.939; 4 KiB of a dense grid, 32³ voxels, 0.884

Solids of five kinds, turned at random, are held in three ways: as a dense grid, a bit a voxel; as an oct-tree, two bits
a node (empty, full or split); and as nested shape layers, six depth maps each. All are of R voxels along a side, and
their IoU with the exact solid is that of random points of the cube. The claim holds where, of all trees that take no
more bits than the dense grid of `budget` voxels along a side, the finest has at least twice as many and a higher IoU,
and where doubling R takes less than 5 times as many nodes (a grid takes 8 times as many voxels).

References: Meagher 1982, "Geometric modeling using octree encoding"; Richter & Roth 2018, "Matryoshka networks",
arXiv:1804.10975 (nested shape layers).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.solids import SOLID_KINDS, Solid, occupancy_grid, random_solid
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure
from dlcore.vision3d.octree import EMPTY, octree_from_distance, octree_occupancy
from dlcore.vision3d.shape_layers import decode_shape_layers, encode_shape_layers

COLORS = {"dense grid": VERMILION, "oct-tree": BLUE, "shape layer": GREEN}


@jax.jit
def grid_occupancy(voxels: jax.Array, points: jax.Array) -> jax.Array:
    """Whether points [P, 3] of the cube [-1, 1]³ lie in occupied voxels, [P]."""
    side = len(voxels)
    x, y, z = jnp.clip(((points + 1) / 2 * side).astype(jnp.int32), 0, side - 1).T
    return voxels[x, y, z] > 0


def dense_grid(solid: Solid, resolution: int) -> tuple[int, Callable]:
    """(bits, lookup of points)."""
    voxels = occupancy_grid(solid, resolution)
    return voxels.size, functools.partial(grid_occupancy, voxels)


def oct_tree(solid: Solid, resolution: int) -> tuple[int, Callable]:
    """(bits, lookup of points)."""
    nodes = octree_from_distance(solid.signed_distance, resolution.bit_length() - 1)
    padded = np.pad(nodes, (0, -len(nodes) % 2048), constant_values=EMPTY)  # few lengths, few programs
    return 2 * len(nodes), functools.partial(jax.jit(octree_occupancy), padded)


def shape_layer(solid: Solid, resolution: int) -> tuple[int, Callable]:
    """(bits, lookup of points) of one layer."""
    layers = jax.jit(encode_shape_layers, static_argnums=1)(occupancy_grid(solid, resolution), 1)
    return layers.size * resolution.bit_length(), functools.partial(
        grid_occupancy, jax.jit(decode_shape_layers)(layers)
    )


ARMS = {"dense grid": dense_grid, "oct-tree": oct_tree, "shape layer": shape_layer}


def measure(
    solids: list[Solid], resolutions: list[int], points: np.ndarray
) -> dict[str, dict[int, tuple[float, float]]]:
    """By arm and resolution: (mean bits of a solid, mean IoU with the exact solid)."""
    exact = [solid.signed_distance(points) <= 0 for solid in solids]
    measured = {}
    for name, hold in ARMS.items():
        measured[name] = {}
        for resolution in resolutions:
            bits, ious = [], []
            for solid, volume in zip(solids, exact, strict=True):
                size, lookup = hold(solid, resolution)
                held = np.asarray(lookup(points))
                bits.append(size)
                ious.append((held & volume).sum() / (held | volume).sum())
            measured[name][resolution] = float(np.mean(bits)), float(np.mean(ious))
    return measured


def judge(measured: dict, budget: int) -> tuple[str, bool, float]:
    """(the verdict, whether the claim holds, IoU of the finest tree in the bits of the dense grid)."""
    bits, iou = measured["dense grid"][budget]
    tree = measured["oct-tree"]
    finest = max((r for r, (size, _) in tree.items() if size <= bits), default=min(tree))
    sizes = [size for _, (size, _) in sorted(tree.items())]
    growth = sizes[-1] / sizes[-2]
    holds = finest >= 2 * budget and tree[finest][1] > iou and growth < 5
    verdict = (
        f"In the {bits / 8192:.1f} KiB of {budget}³ voxels, of IoU {iou:.4f}, an oct-tree has the cells of {finest}³ "
        f"voxels, {tree[finest][0] / 8192:.1f} KiB and IoU {tree[finest][1]:.4f}; the last doubling took "
        f"{growth:.2f}× the nodes: {'as claimed' if holds else 'NOT as claimed'}."
    )
    return verdict, bool(holds), tree[finest][1]


def draw(measured: dict) -> Any:
    figure, (size, quality) = new_figure((9.0, 3.6), 1, 2)
    for name, rows in measured.items():
        resolutions = sorted(rows)
        bits, ious = (np.array([rows[r][k] for r in resolutions]) for k in (0, 1))
        size.loglog(resolutions, bits / 8192, "o-", color=COLORS[name], label=name)
        quality.loglog(bits / 8192, 1 - ious, "o-", color=COLORS[name], label=name)
    size.set(xlabel="voxels along a side", ylabel="KiB a solid", title="memory by resolution")
    size.set_xticks(resolutions, [str(r) for r in resolutions])
    size.minorticks_off()
    quality.set(xlabel="KiB a solid", ylabel="1 - IoU", title="error by memory")
    size.legend(frameon=False)
    return figure


def study(
    *,
    solids_per_kind: PositiveInt = 6,
    depth: PositiveInt = 7,
    budget: PositiveInt = 32,
    points: PositiveInt = 200_000,
    seed: Seed = 0,
) -> StudyResult:
    """Hold solids in three ways.

    Args:
      solids_per_kind: solids of each of five kinds.
      depth: levels of the finest tree, of 2^depth voxels along a side.
      budget: voxels along a side of the dense grid whose memory is compared, a power of two.
      points: number of points at which the IoU is measured.
    """
    if solids_per_kind < 1 or points < 1:
        raise ValueError(f"solids_per_kind={solids_per_kind}, points={points}: too few; allowed: at least 1 of each")
    if not 4 <= depth <= 8:
        raise ValueError(f"depth={depth}: out of range; allowed: 4 to 8")
    resolutions = [2**level for level in range(3, depth + 1)]
    if budget not in resolutions:
        raise ValueError(f"budget={budget}: not measured; allowed: {', '.join(map(str, resolutions))}")
    rng = np.random.default_rng(seed)
    solids = [random_solid(rng, kind) for kind in SOLID_KINDS for _ in range(solids_per_kind)]
    measured = measure(solids, resolutions, rng.uniform(-1, 1, (points, 3)).astype(np.float32))
    verdict, holds, iou = judge(measured, budget)
    numbers = {}
    for name, rows in measured.items():
        for resolution, (bits, quality) in rows.items():
            numbers[f"{name}, {resolution}: KiB"] = bits / 8192
            numbers[f"{name}, {resolution}: IoU"] = quality
    baseline = (measured["dense grid"][budget][1], f"the dense grid of {budget}³ voxels", "higher")
    headline = Headline(f"IoU in the memory of {budget}³ voxels", iou, "procedural solids", 0.002, baseline)
    return StudyResult(numbers, verdict, {"memory": draw(measured)}, holds, headline)


experiment = Study(__file__, __doc__, study, smoke={"solids_per_kind": 1, "depth": 5, "budget": 16, "points": 2000})

if __name__ == "__main__":
    main(experiment)
