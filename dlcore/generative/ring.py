"""A ring of Gaussians in the plane, on which mode collapse is seen at once, and small networks for its points.

Metz et al. 2017, arXiv:1611.02163: eight modes, radius 2, standard deviation 0.02.
"""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.nn import Dense, leaky_relu
from dlcore.ops.checks import check_shapes
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.setting import ONLY_F32, Setting

__all__ = [
    "PointClassifier",
    "PointDiscriminator",
    "PointGenerator",
    "RingPoints",
    "panels",
    "ring_centers",
    "ring_points",
]


def ring_centers(num_modes: int = 8, radius: float = 2.0) -> np.ndarray:
    """Place the modes on a circle, evenly spaced from angle 0.

    Args:
      num_modes: K.
      radius: radius of the circle.

    Returns:
      [K, 2] float32.
    """
    check_shapes(num_modes=(num_modes, "int >= 1"), radius=(radius, "> 0"))
    angle = 2 * np.pi * np.arange(num_modes) / num_modes
    return (radius * np.stack([np.cos(angle), np.sin(angle)], -1)).astype(np.float32)


def ring_points(num_points: int, seed: int, num_modes: int = 8, radius: float = 2.0, std: float = 0.02) -> Source:
    """Draw points, equally many of each mode to within one.

    Args:
      num_points: N, at least 1.
      seed: random seed.
      num_modes: number of modes, at least 1.
      radius: radius of the circle.
      std: standard deviation of each mode, at least 0.

    Returns:
      A source of `point: [N, 2] float32` and `label: [N] int32`, the mode.
    """
    check_shapes(num_points=(num_points, "int >= 1"), num_modes=(num_modes, "int >= 1"), std=(std, ">= 0"))
    check_whole_number("seed", seed, 0)
    label = (np.arange(num_points) % num_modes).astype(np.int32)
    noise = std * np.random.default_rng(seed).normal(size=(num_points, 2))
    point = ring_centers(num_modes, radius)[label] + noise
    names = tuple(f"mode {k}" for k in range(num_modes))
    return Source({"point": point.astype(np.float32), "label": label}, class_names=names, name="ring")


class _Perceptron(nn.Module):
    features: int
    width: int
    depth: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for k in range(self.depth):
            x = leaky_relu(Dense(self.width, name=f"hidden{k}")(x), 0.2)
        return Dense(self.features, name="head")(x)


class PointGenerator(nn.Module):
    """Maps noise to points.

    Args:
      width: width of the hidden layers.
      depth: hidden layers.
    """

    width: int = 128
    depth: int = 3

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """Generate points: [B, Z], noise -> [B, 2]."""
        return _Perceptron(2, self.width, self.depth, name="mlp")(z)


class PointDiscriminator(nn.Module):
    """Tells real points from fake ones.

    Args:
      width: width of the hidden layers.
      depth: hidden layers.
    """

    width: int = 128
    depth: int = 3

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify points: [B, 2] -> logits [B], positive for real."""
        return _Perceptron(1, self.width, self.depth, name="mlp")(x)[:, 0]


class PointClassifier(nn.Module):
    """Tells the modes of points apart.

    Args:
      num_classes: C.
      width: width of the hidden layers.
      depth: hidden layers.
    """

    num_classes: int = 8
    width: int = 128
    depth: int = 3

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify points: [B, 2] -> logits [B, C]."""
        return _Perceptron(self.num_classes, self.width, self.depth, name="mlp")(x)


@dataclasses.dataclass(frozen=True)
class RingPoints:
    """Points of the plane, of eight Gaussians on a ring; the networks of points compute in float32 alone.

    Args:
      std: standard deviation of each mode
    """

    std: Annotated[float, "no flag"] = 0.02

    reads_files: ClassVar[bool] = False
    settings: ClassVar[dict[str, Setting]] = ONLY_F32

    def load(self) -> Splits:
        """Draw the points of each split."""
        train, valid, test = (ring_points(size, seed, std=self.std) for seed, size in enumerate((20_000, 1000, 1000)))
        return Splits(train, valid, test, {"dataset": "ring"}, shown=Source.indices(2500, "samples"))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the `shape` of a point, and points as they are."""
        return {"shape": (2,), "encode": lambda batch: batch["point"], "decode": lambda x: x}


def panels(context: ReportContext) -> list[Panel]:
    """Show samples and modes, the share of samples of each mode, and the curves."""
    from dlcore.report.curves import curves
    from dlcore.report.generative import scatter
    from dlcore.report.tables import table

    points, numbers = context.outputs["sample"], context.numbers
    caption = (
        f"{len(points):,} samples, unselected; {numbers['modes']:.0f} of 8 modes covered (each by at least 1 % of "
        f"the samples, within three deviations), {numbers['high_quality']:.1%} of the samples within three "
        "deviations."
    )
    fractions = {str(k): float(fraction) for k, fraction in enumerate(context.arrays["mode_share"])}
    fractions |= {"none of them": 1 - sum(fractions.values())}
    rows = [{"mode": name, "share of samples": f"{fraction:.1%}"} for name, fraction in fractions.items()]
    return [
        scatter(points, ring_centers(), "Samples and modes", caption)._replace(half=True),
        table(rows, "Share of each mode", "Within three deviations; a fair share is 12.5 %.")._replace(half=True),
        curves(context.history),
    ]
