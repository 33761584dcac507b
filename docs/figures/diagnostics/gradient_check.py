"""Figure of dlcore.diagnostics.gradient_check; its docstring is the caption."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dlcore.diagnostics.gradient_check import check_gradient, numerical_gradient, relative_error
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradient_check"]


def gradient_check() -> "Figure":
    """Errors of three ways to measure slopes, and a check that finds a derivative with a fault.

    Left: the complex step subtracts nothing, so that its error ends at rounding however small the step. Right: the
    second tanh got the derivative 1 - y in place of 1 - y². The check convicts the two arrays before it; the array
    behind it is right.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    methods = ("one_sided", VERMILION, "--"), ("centered", GREEN, "-."), ("complex_step", BLUE, "-")
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 3)
        shapes = (6, 5), (5, 5), (5, 1)
        weights = [jax.random.normal(key, shape, jnp.float64) / 2 for key, shape in zip(keys, shapes, strict=True)]
        flat, unravel = ravel_pytree(weights)
        exact = jax.jit(jax.grad(lambda w: _loss(unravel(w))))(flat)
        for method, color, style in methods:
            steps = np.logspace(-18 if method == "complex_step" else -10, -1, 10)
            measure = jax.jit(lambda w, method=method, steps=steps: [_slopes(w, unravel, h, method) for h in steps])
            errors = [relative_error(exact[:20], slope) for slope in measure(flat)]
            left.loglog(steps, errors, style, color=color, label=method.replace("_", " "))
        for shift, tanh, color, name in ((-0.2, jnp.tanh, BLUE, "right"), (0.2, _faulty_tanh, VERMILION, "wrong")):
            checks = check_gradient(_loss, weights, gradient=jax.grad(lambda weights, tanh=tanh: _loss(weights, tanh)))
            right.bar(np.arange(3) + shift, [check.error for check in checks], 0.38, color=color, label=name)
    left.set(xlabel="step h", ylabel="largest relative error")
    right.set(xlabel="array of weights", ylabel="relative error", yscale="log", ylim=(1e-13, 1e4), xticks=range(3))
    right.axhline(1e-2, color=GRAY, linestyle=":", linewidth=0.8)
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure


@jax.custom_jvp
def _faulty_tanh(x: jax.Array) -> jax.Array:
    """The hyperbolic tangent, whose derivative is written with a fault."""
    return jnp.tanh(x)


@_faulty_tanh.defjvp
def _faulty_derivative(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """1 - y in place of 1 - y²."""
    y = jnp.tanh(*primals)
    return y, (1 - y) * tangents[0]


def _slopes(flat: jax.Array, unravel: Callable, h: float, method: str) -> jax.Array:
    """Measured slopes of the loss by the first 20 weights."""
    return numerical_gradient(lambda w: _loss(unravel(w)), flat, jnp.arange(20), h, method)


def _loss(weights: list[jax.Array], tanh: Callable[[jax.Array], jax.Array] = jnp.tanh) -> jax.Array:
    """Error of a network of three layers on 8 fixed examples."""
    x = jnp.sin(jnp.arange(48.0).reshape(8, 6) ** 1.5)
    return jnp.square(tanh(jnp.tanh(x @ weights[0]) @ weights[1]) @ weights[2] - 1).mean()
