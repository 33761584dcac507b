"""Roofline: the least time that a chip can take for a layer, by its arithmetic or its memory traffic.

Williams, Waterman & Patterson, "Roofline: an insightful visual performance model for multicore architectures" (2009).

    time >= max(FLOPs / peak, bytes / bandwidth)     intensity = FLOPs / bytes; below peak / bandwidth memory binds

FLOPs are 2 MACs. Bytes are each layer's inputs, parameters and outputs once: what a layer takes that runs alone. A
compiler that fuses an activation or a normalization into the convolution before it moves less, so the bound holds for
each layer that is run by itself, and the total without the layers that have no MACs is the one to compare with a fused
program. Caches and tiles of the matrix unit are left out: shapes that do not fill it take longer.

Peaks are for dense bfloat16 products, from the makers' sheets: "TPU v4", "TPU v5e", "TPU v5p" and "TPU v6e" of Google's
Cloud TPU documentation (275, 197, 459, 918 TFLOP/s; 1200, 819, 2765, 1640 GB/s), and NVIDIA's data sheets of the A100
80 GB SXM (312 TFLOP/s, 2039 GB/s), the H100 SXM (989.4, half of the 1979 given with sparsity; 3350) and the H200 SXM
(989.4; 4800). float32 products run slower than these on every one of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from dlcore.cost.layers import Layer
from dlcore.ops.checks import check_shapes

__all__ = ["CHIPS", "Bound", "Chip", "bound_of", "roofline", "total_seconds"]


class Chip(NamedTuple):
    """Peaks of a chip.

    Args:
      flops: bfloat16 operations a second.
      bandwidth: bandwidth of the device's memory, bytes per second.
    """

    flops: float
    bandwidth: float


CHIPS = {
    "v4": Chip(275e12, 1200e9),
    "v5e": Chip(197e12, 819e9),
    "v5p": Chip(459e12, 2765e9),
    "v6e": Chip(918e12, 1640e9),
    "a100": Chip(312e12, 2039e9),
    "h100": Chip(989.4e12, 3350e9),
    "h200": Chip(989.4e12, 4800e9),
}


class Bound(NamedTuple):
    """Lower bound on a time.

    Args:
      intensity: FLOPs a byte.
      by: "compute" or "memory", whichever takes longer.
      seconds: the longer of the two.
    """

    intensity: float
    by: str
    seconds: float


def roofline(layer: Layer, chip: Chip) -> Bound:
    """Bound the time of one layer.

    Args:
      layer: a layer from `dlcore.cost.layers`.
      chip: chip whose peaks are reached.

    Returns:
      The bound; 0 s for a layer that moves nothing.
    """
    if not isinstance(chip, Chip):
        raise ValueError(
            f"chip={chip!r}: no Chip; allowed: Chip(flops, bandwidth), or CHIPS[name] of {', '.join(CHIPS)}"
        )
    check_shapes(flops=(chip.flops, "> 0"), bandwidth=(chip.bandwidth, "> 0"))
    moved = _bytes_moved(layer)
    compute, memory = layer.flops / chip.flops, moved / chip.bandwidth
    intensity = layer.flops / moved if moved else 0.0
    return Bound(intensity, "compute" if compute > memory else "memory", max(compute, memory))


def bound_of(layers: Sequence[Layer], chip: Chip) -> Bound:
    """Bound the time of layers that run one after the other.

    Args:
      layers: layers from `dlcore.cost.layers`.
      chip: chip whose peaks are reached.

    Returns:
      The sum of their bounds, bound by what binds for most of that time.

    Raises:
      ValueError: a peak of the chip is not above 0.
    """
    bounds = [roofline(layer, chip) for layer in layers]
    seconds = sum(bound.seconds for bound in bounds)
    computing = sum(bound.seconds for bound in bounds if bound.by == "compute")
    moved = sum(map(_bytes_moved, layers))
    intensity = sum(layer.flops for layer in layers) / moved if moved else 0.0
    return Bound(intensity, "compute" if 2 * computing > seconds else "memory", seconds)


def _bytes_moved(layer: Layer) -> int:
    return layer.input_bytes + layer.parameter_bytes + layer.output_bytes


def total_seconds(layers: Sequence[Layer], chip: Chip) -> tuple[float, float]:
    """Bound the time of a network, without and with fusion.

    Args:
      layers: layers from `dlcore.cost.layers`.
      chip: chip whose peaks are reached.

    Returns:
      (seconds of all layers one after the other; of those with MACs alone, as if all else were fused into them).

    Raises:
      ValueError: a peak of the chip is not above 0.
    """
    bounds = [(layer.macs > 0, roofline(layer, chip).seconds) for layer in layers]
    return sum(s for _, s in bounds), sum(s for has_macs, s in bounds if has_macs)
