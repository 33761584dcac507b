"""Figure of dlcore.semi_supervised.temporal_ensembling; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.semi_supervised.temporal_ensembling import correct_startup_bias, remember

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["temporal_ensembling"]


def temporal_ensembling() -> "Figure":
    """Targets of temporal ensembling from the noisy predictions of 20 visits to an image.

    Left: the table (dotted) starts too low; divided by 1 - alpha^v it gives the target (blue), steadier than the
    predictions. Right: the distance of a target to the true mean at the next visit. Averages over visits (alpha 0.6 or
    0.9) end at half the error of the last prediction alone.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    visits, rows = np.arange(1, 21), jnp.arange(500)
    clean = 3 * (1 - jnp.exp(-jnp.asarray(visits) / 5))
    noisy = jax.nn.sigmoid(clean[:, None] + 1.5 * jax.random.normal(jax.random.key(0), (20, 500)))
    truth = np.asarray(noisy.mean(1))
    left.plot(visits, noisy[:, 0], ".", color=GRAY, label="prediction")
    for alpha, color, style in ((0.0, VERMILION, "--"), (0.6, BLUE, "-"), (0.9, GREEN, "-.")):
        targets, table = _targets(jnp.stack([noisy, 1 - noisy], -1), rows, alpha)
        error = np.sqrt(np.square(targets[:-1] - truth[1:, None]).mean(1))
        right.plot(visits[1:], error, style, color=color, label=f"alpha {alpha:g}")
        if alpha == 0.6:
            left.plot(visits, table[:, 0], ":", color=VERMILION, label="table Z")
            left.plot(visits, targets[:, 0], color=BLUE, label="target")
    left.set(xlabel="visit", ylabel="probability of the class", ylim=(0, 1.02))
    right.set(xlabel="visit", ylabel="error of its target", ylim=(0, None))
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure


def _targets(predictions: jax.Array, rows: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Targets and entries of the table [visits, rows] after each visit, for the first of two classes."""

    def visit(memory, now):
        memory = remember(memory, rows, now, jnp.ones(len(rows)), alpha)
        return memory, (correct_startup_bias(memory, rows, alpha)[:, 0], memory["ensemble"][:, 0])

    memory = {"ensemble": jnp.zeros(predictions.shape[1:]), "visits": jnp.zeros(len(rows), jnp.int32)}
    return jax.lax.scan(visit, memory, predictions)[1]
