"""Figure of dlcore.losses.noise; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.losses.noise import forward_corrected_loss, generalized_cross_entropy_loss
from dlcore.report.figure import BLUE, GRAY, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["noise"]


def noise() -> "Figure":
    """Left: how strongly an example pulls on the score of its label, against the probability of that label.

    The cross-entropy (q = 0) pulls hardest at a label that the network finds impossible; with larger q such a label
    hardly pulls. Right: a logistic regression on 2000 examples of one feature, of whose second class 40 % have the
    label of the first. Forward correction finds the true probability (gray).
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    p = jnp.linspace(0.001, 0.999, 200)
    logits = jnp.stack([jnp.log(p / (1 - p)), 0 * p], 1)
    for q, color, style in zip((0.0, 0.3, 0.7, 1.0), PALETTE, ("-", "--", "-.", ":"), strict=False):
        slope = jax.vmap(jax.grad(lambda s, q=q: generalized_cross_entropy_loss(s, jnp.array(0), q)))(logits)
        left.plot(p, -slope[:, 0], style, color=color, label=f"q = {q:g}")
    left.set(xlabel="probability of the label", ylabel="pull on its score")
    left.legend(frameon=False)
    key_x, key_y, key_flip = jax.random.split(jax.random.key(0), 3)
    x = jax.random.uniform(key_x, (2000,), minval=-3, maxval=3)
    truth = jax.random.uniform(key_y, x.shape) < jax.nn.sigmoid(2 * x)
    labels = jnp.where(truth & (jax.random.uniform(key_flip, x.shape) < 0.4), 0, truth.astype(int))

    def scores(w, x):
        return jnp.stack([0 * x, w[0] + w[1] * x], -1)

    grid = jnp.linspace(-3, 3, 101)
    right.plot(grid, jax.nn.sigmoid(2 * grid), color=GRAY, linewidth=4, alpha=0.5, label="truth")
    corrected = jnp.array([[1.0, 0.0], [0.4, 0.6]])
    for transition, color, style, name in (
        (jnp.eye(2), VERMILION, "--", "not corrected"),
        (corrected, BLUE, "-", "corrected"),
    ):
        cost = jax.grad(lambda w, t=transition: forward_corrected_loss(scores(w, x), labels, t).mean())
        w = jax.lax.fori_loop(0, 400, lambda _, w, cost=cost: w - cost(w), jnp.zeros(2))
        right.plot(grid, jax.nn.softmax(scores(w, grid))[:, 1], style, color=color, label=name)
    right.set(xlabel="feature", ylabel="probability of the second class")
    right.legend(frameon=False)
    return figure
