"""Distances between images of nearby latents: how smooth a generator is, and how much its noise changes.

Karras, Laine & Aila 2018, arXiv:1812.04948.

    path length    mean |f(G(z(t))) - f(G(z(t + e)))|^2 / e^2        z(t): a walk between two latents, f: features
    noise share    mean |f(G(z, n)) - f(G(z, n'))| / mean |f(G(z, n)) - f(G(z', n))|

Both depend on the features: numbers in those of different networks, or of pixels, do not compare.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.learner import Evaluator

__all__ = ["noise_share", "path_length"]

Features = Callable[[np.ndarray], np.ndarray]


def path_length(features: Features, source: Any, step: float, name: str = "decoded") -> Evaluator:
    """Measure how fast images change along walks.

    Args:
      features: images -> [B, D].
      source: source of latents; each pair of neighbors is `step` apart on a walk.
      step: e, share of the walk.
      name: name of the images among the outputs of `predict`.

    Returns:
      The evaluator of `path_length`.
    """

    def finish(acc: list) -> dict[str, float]:
        f = np.concatenate(acc)
        return {"path_length": float(np.square(f[::2] - f[1::2]).sum(1).mean() / step**2)}

    return Evaluator(_collect(features, name), finish, source, ("path_length",))


def noise_share(features: Features, source: Any, name: str = "decoded") -> Evaluator:
    """Measure how much the noise of a generator changes, over what its latent changes.

    Args:
      features: images -> [B, D].
      source: source of latents in triples: (z, n), (z, n'), (z', n).
      name: name of the images among the outputs of `predict`.

    Returns:
      The evaluator of `noise_share`; nothing where the latent changes nothing.
    """

    def finish(acc: list) -> dict[str, float]:
        f = np.concatenate(acc)
        noise, style = (np.linalg.norm(f[::3] - other, axis=1).mean() for other in (f[1::3], f[2::3]))
        return {"noise_share": float(noise / style)} if style > 0 else {}

    return Evaluator(_collect(features, name), finish, source, ("noise_share",))


def _collect(features: Features, name: str) -> Callable:
    return lambda acc, outputs, rows: [*(acc or []), features(outputs[name])]
