"""Figure of dlcore.diagnostics.hessian; its docstring is the caption."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dlcore.diagnostics.hessian import lanczos_eigenvalues
from dlcore.report.figure import BLUE, VERMILION, new_figure
from experiments.figure_parts import digit_network, losses_by_rate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["hessian"]


def hessian() -> "Figure":
    """Eigenvalues of the Hessian of a network of 296 weights, and the learning rates that they allow.

    Left: estimates by Lanczos. Five products with the Hessian give the largest value, 3.1, and 20 all single ones.
    Right: gradient descent at 1.8 / λ is smooth; at 2.2 / λ the loss more than doubles on the way before it falls on.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    loss, weights, batches = digit_network(8, 4)
    batch = [part.reshape(256, *part.shape[2:]) for part in batches]
    on_batch = partial(loss, batch=batch)
    weights = jax.jit(lambda weights: jax.lax.fori_loop(0, 400, lambda _, w: _descend(on_batch, w), weights))(weights)
    flat, unravel = ravel_pytree(weights)
    exact = np.linalg.eigvalsh(jax.jit(jax.hessian(lambda w: on_batch(unravel(w))))(flat))
    counts = 5, 10, 20, 40
    rows = [lanczos_eigenvalues(on_batch, weights, jax.random.key(1), steps) for steps in counts]
    for row, values in enumerate([*rows, exact]):
        left.plot(values, np.full(len(values), row), "|", markersize=12, color=VERMILION if row == 4 else BLUE)
    left.set_yticks(range(5), [*map(str, counts), "exact"])
    left.set(xlabel="eigenvalue", ylabel="products with H", ylim=(-0.6, 4.6))
    same = [jnp.broadcast_to(part, (150, *part.shape)) for part in batch]
    rules = (1.8, BLUE, "-"), (2.2, VERMILION, "--")
    runs = losses_by_rate(loss, weights, same, [factor / exact[-1] for factor, _, _ in rules])
    for run, (factor, color, style) in zip(runs, rules, strict=True):
        right.plot(run, style, color=color, label=f"rate {factor:g} / λ")
    right.set(xlabel="step", ylabel="loss / nats")
    right.legend(frameon=False, fontsize=8)
    return figure


def _descend(loss: Callable[[list[jax.Array]], jax.Array], weights: list[jax.Array]) -> list[jax.Array]:
    """One gradient step."""
    return jax.tree.map(lambda w, g: w - 0.3 * g, weights, jax.grad(loss)(weights))
