"""Figure of dlcore.diagnostics.triage; its docstring is the caption."""

from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.digits import digits
from dlcore.diagnostics.triage import learning_rate_triage, turning_point
from dlcore.report.figure import BLUE, GRAY, ORANGE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["triage"]


def triage() -> "Figure":
    """Verdicts on the learning rate of four trainings, and a validation loss that turns.

    Left: gradient descent with noise in a bowl. A high rate falls fast and stays level above the good one; one too high
    diverges. Right: a network on 100 digits, a quarter of them with wrong labels. The turning point (dotted) is step
    41; from there it learns wrong labels by heart.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    rates = (0.0002, GRAY, ":"), (0.05, BLUE, "-"), (0.4, ORANGE, "-."), (2.1, VERMILION, "--")
    for rate, color, style in rates:
        losses = _noisy_descent(rate)
        verdict = learning_rate_triage(losses)
        left.semilogy(losses, style, color=color, linewidth=1, label=f"{rate:g}: {verdict.kind}")
    left.set(xlabel="step", ylabel="loss", ylim=(0.05, 300))
    left.legend(frameon=False, fontsize=8)
    train, valid = _noisy_digits()
    turn = turning_point(valid)
    right.plot(train, "--", color=VERMILION, label="training")
    right.plot(valid, color=BLUE, label="validation")
    right.axvline(turn, color=GRAY, linestyle=":")
    right.set(xlabel="step", ylabel="loss / nats")
    right.legend(frameon=False, fontsize=8)
    return figure


def _noisy_descent(rate: float, steps: int = 300) -> np.ndarray:
    """Losses of gradient steps with noise on a bowl of 20 weights, whose curvatures are 0.1 to 1."""
    rng, curvature, weights, losses = np.random.default_rng(0), np.linspace(0.1, 1, 20), np.ones(20), []
    for _ in range(steps):
        losses.append(float(curvature @ weights**2) / 2)
        weights = weights - rate * (curvature * weights + rng.normal(size=20))
    return np.array(losses)


@partial(jax.jit, static_argnums=0)
def _noisy_digits(steps: int = 400) -> tuple[jax.Array, jax.Array]:
    """Losses on 100 digits, a quarter of them with wrong labels, on which a network trains, and on 300 others."""
    arrays = digits("train").arrays
    x, y = arrays["image"][:400].reshape(400, -1), jnp.asarray(arrays["label"][:400])
    y = y.at[:100:4].set((y[:100:4] + 1) % 10)
    keys = jax.random.split(jax.random.key(0))
    weights = [jax.random.normal(key, shape) / 8 for key, shape in zip(keys, ((64, 64), (64, 10)), strict=True)]

    def loss(weights, rows):
        logits = jnp.tanh(x[rows] @ weights[0]) @ weights[1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]).mean()

    def step(weights, _):
        value, gradients = jax.value_and_grad(loss)(weights, slice(100))
        moved = jax.tree.map(lambda w, g: w - 0.5 * g, weights, gradients)
        return moved, (value, loss(weights, slice(100, 400)))

    return jax.lax.scan(step, weights, length=steps)[1]
