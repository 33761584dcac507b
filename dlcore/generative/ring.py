"""A ring of Gaussians in the plane, on which a generator that leaves modes out is seen at once.

Metz et al. 2017, arXiv:1611.02163: eight modes, radius 2, deviation 0.02.
"""

import numpy as np

from dlcore.data.source import Source

__all__ = ["ring", "ring_centres"]


def ring_centres(modes: int = 8, radius: float = 2.0) -> np.ndarray:
    """[modes, 2], evenly spaced from angle 0."""
    angle = 2 * np.pi * np.arange(modes) / modes
    return (radius * np.stack([np.cos(angle), np.sin(angle)], -1)).astype(np.float32)


def ring(n: int, seed: int, modes: int = 8, radius: float = 2.0, deviation: float = 0.02) -> Source:
    """`point: [N, 2] float32`, as many of each mode as of the others to within one; `label`: its mode."""
    if n < 1 or modes < 1 or deviation < 0:
        raise ValueError(f"n={n} and modes={modes} must be at least 1, deviation={deviation} at least 0")
    label = (np.arange(n) % modes).astype(np.int32)
    noise = deviation * np.random.default_rng(seed).normal(size=(n, 2))
    point = ring_centres(modes, radius)[label] + noise
    names = tuple(f"mode {k}" for k in range(modes))
    return Source({"point": point.astype(np.float32), "label": label}, class_names=names, name="ring")
