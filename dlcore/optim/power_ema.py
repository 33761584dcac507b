"""Post-hoc EMA: averages of parameters with a power of the step as weight, and any width of them after training.

Karras et al. 2024, arXiv:2312.02696, section 3.

    average(t) = (g + 1) / t^(g + 1) integral_0^t s^g params(s) ds
    average(t) = beta average(t - 1) + (1 - beta) params(t),   beta = (1 - 1 / t)^(g + 1)
    width = sqrt((g + 1) / ((g + 2)^2 (g + 3))),   the deviation of the weights, as a share of t

The weights reach over a fixed share of the steps so far, however long the training is, and the first step replaces the
initial parameters, so that no warm-up is needed. Store the averages of two widths now and then (0.05 and 0.1 in the
paper). A linear combination of them, by least squares between the curves of the weights, is then the average of any
other width and step, so that the best width is found without training again.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_finite, check_range, check_shapes

__all__ = ["combine_averages", "posthoc_weights", "power_decay", "power_exponent"]


def power_exponent(width: float) -> float:
    """Compute the exponent g of an average of a width.

    Args:
      width: deviation of the weights over the steps, as a share of their number, in (0, 0.28].

    Returns:
      g, at least 0.
    """
    if not 0 < width <= 0.28:
        raise ValueError(f"width={width}: out of range; allowed: above 0, at most 0.28")
    # (g + 2)^2 (g + 3) width^2 = g + 1.
    roots = np.roots([1, 7, 16 - width**-2, 12 - width**-2])
    return float(roots[np.isreal(roots)].real.max())


def power_decay(step: Any, exponent: float) -> jax.Array:
    """Compute beta of an update of the average.

    Args:
      step: t, [], from 1 on.
      exponent: g, at least 0.

    Returns:
      [], 0 at the first step.
    """
    check_shapes(exponent=(exponent, ">= 0"))
    check_range("step", step, 1)
    check_finite("exponent", exponent)
    return (1 - 1 / jnp.asarray(step, jnp.float32)) ** (exponent + 1)


def posthoc_weights(steps: Sequence[float], exponents: Sequence[float], step: float, exponent: float) -> np.ndarray:
    """Find the combination of stored averages that comes nearest to another one.

    Args:
      steps: [N], steps at which the averages were stored.
      exponents: [N], g of each.
      step: t of the wanted average, at most the last of `steps`.
      exponent: g of the wanted average.

    Returns:
      [N] float64, the weights; their sum is about 1.
    """
    times, powers = np.asarray(steps, np.float64), np.asarray(exponents, np.float64)
    check_shapes(steps=(times, "N"), exponents=(powers, "N"))
    if len(times) == 0:
        raise ValueError("steps=[]: no average; allowed: at least one")
    check_range("steps", times, 1)
    check_range("exponents", powers, 0)
    check_finite("steps", times)
    check_finite("exponents", (*powers, exponent))
    check_range("step", step, 1, times.max())
    check_shapes(exponent=(exponent, ">= 0"))

    def product(t, g, u, h):
        """Integral of the product of two curves."""
        # In logarithms, as t^g overflows.
        logs = (g + h + 1) * np.log(np.minimum(t, u)) - (g + 1) * np.log(t) - (h + 1) * np.log(u)
        return (g + 1) * (h + 1) / (g + h + 1) * np.exp(logs)

    gram = product(times[:, None], powers[:, None], times, powers)
    return np.linalg.lstsq(gram, product(times, powers, float(step), float(exponent)), rcond=1e-12)[0]


def combine_averages(averages: Sequence[Any], weights: np.ndarray) -> Any:
    """Add up stored averages.

    Args:
      averages: [N] pytrees of parameters.
      weights: [N], of `posthoc_weights`.

    Returns:
      A pytree like each of them.
    """
    if len(averages) != len(weights):
        raise ValueError(f"averages={len(averages)}: not as many as weights; allowed: {len(weights)}")
    check_shapes(weights=(np.asarray(weights), "N finite"))
    shapes = [jax.tree.map(jnp.shape, average) for average in averages]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("averages: of different shapes; allowed: averages of the same parameters")
    return jax.tree.map(lambda *leaves: sum(w * leaf for w, leaf in zip(weights, leaves, strict=True)), *averages)
