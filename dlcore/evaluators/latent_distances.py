"""Distances between images of nearby latents: the smoothness of a generator, and the effect of its noise.

Karras, Laine & Aila 2018, arXiv:1812.04948.

    path length    mean |f(G(z(t))) - f(G(z(t + e)))|^2 / e^2        z(t): interpolation of two latents, f: features
    noise share    mean |f(G(z, n)) - f(G(z, n'))| / mean |f(G(z, n)) - f(G(z', n))|

Both depend on the features: numbers from different networks, or from pixels, are not comparable.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.choices import check_choice
from dlcore.learner import Evaluator
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["noise_share", "path_length"]

Features = Callable[[np.ndarray], np.ndarray]


def path_length(features: Features, source: Any, step: float, name: str = "decoded") -> Evaluator:
    """Build the evaluator of the perceptual path length.

    Args:
      features: images -> [B, D].
      source: source of latents; each pair of neighbors is `step` apart on an interpolation.
      step: e, fraction of the interpolation.
      name: name of the images among the outputs of `predict`.

    Returns:
      The evaluator of `path_length`.
    """
    check_shapes(step=(step, "> 0"))

    def finish(acc: list) -> dict[str, float]:
        f = _groups(acc, 2)
        return {"path_length": float(np.square(f[::2] - f[1::2]).sum(1).mean() / step**2)}

    return Evaluator(_collect(features, name), finish, source, ("path_length",))


def noise_share(features: Features, source: Any, name: str = "decoded") -> Evaluator:
    """Build the evaluator of the effect of a generator's noise relative to that of its latent.

    Args:
      features: images -> [B, D].
      source: source of latents in triples: (z, n), (z, n'), (z', n).
      name: name of the images among the outputs of `predict`.

    Returns:
      The evaluator of `noise_share`; no value if the latent has no effect.

    Raises:
      ValueError: when used: `predict` has no output of the name, one is not finite, or a triple is not whole.
    """

    def finish(acc: list) -> dict[str, float]:
        f = _groups(acc, 3)
        noise, style = (np.linalg.norm(f[::3] - other, axis=1).mean() for other in (f[1::3], f[2::3]))
        return {"noise_share": float(noise / style)} if style > 0 else {}

    return Evaluator(_collect(features, name), finish, source, ("noise_share",))


def _collect(features: Features, name: str) -> Callable:
    def add(acc: list | None, outputs: dict, rows: dict) -> list:
        check_choice("name", name, outputs)
        check_finite(name, outputs[name])
        return [*(acc or []), features(outputs[name])]

    return add


def _groups(parts: list, size: int) -> np.ndarray:
    """Join the features of all batches, [N, D], in groups of `size`."""
    f = np.concatenate(parts)
    if len(f) % size:
        raise ValueError(f"source={len(f)} latents: no groups of {size}; allowed: multiples of {size}")
    return f
