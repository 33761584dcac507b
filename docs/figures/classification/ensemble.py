"""Figure of dlcore.classification.ensemble; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classification.ensemble import ensemble_log_probabilities, snapshot_steps
from dlcore.data.digits import digits
from dlcore.optim.schedules import cosine_restarts
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ensemble"]


def ensemble() -> "Figure":
    """Small classifiers of digits, alone and averaged, and where snapshots come from.

    Left and middle: log loss and error of the average of probabilities (blue) or logits (red) by the number of members;
    gray is the mean member. Members differ in their random features alone. Right: one run with four cycles of the
    learning rate; the weights at the end of each (dots) are the members of a snapshot ensemble.
    """
    figure, (left, middle, right) = new_figure((7, 2.5), 1, 3)
    label = digits("test").arrays["label"]
    logits = jax.vmap(member_logits)(jax.random.split(jax.random.key(0), 20))
    counts = (1, 2, 3, 5, 10, 15, 20)
    for kind, color, style in (("probabilities", BLUE, "o-"), ("logits", VERMILION, "s--")):
        curves = np.array([quality(ensemble_log_probabilities(logits[:count], kind), label) for count in counts])
        left.plot(counts, curves[:, 0], style, markersize=4, color=color, label=kind)
        middle.plot(counts, curves[:, 1], style, markersize=4, color=color, label=kind)
    alone = np.mean([quality(jax.nn.log_softmax(member), label) for member in logits], 0)
    for ax, value, name in ((left, alone[0], "log loss"), (middle, alone[1], "error (%)")):
        ax.axhline(value, color=GRAY, linestyle=":", label="mean member")
        ax.set(xlabel="members", ylabel=name, ylim=(0, None), xticks=[1, 5, 10, 15, 20])
    steps, schedule = np.arange(401), cosine_restarts(0.1, 100)
    right.plot(steps[:400], jax.vmap(schedule)(steps[:400]), color=GRAY)
    right.plot(snapshot_steps(400, 4), [0] * 4, "o", color=BLUE)
    right.set(xlabel="step", ylabel="learning rate")
    left.legend(frameon=False, fontsize=8)
    return figure


def member_logits(key: jax.Array) -> jax.Array:
    """Logits [500, 10] of test digits: least squares on 80 random features."""
    train, test = digits("train").arrays, digits("test").arrays
    weights = jax.random.normal(key, (64, 80))
    x, y = (jax.nn.relu(split["image"].reshape(-1, 64) @ weights) for split in (train, test))
    targets = jax.nn.one_hot(train["label"], 10)
    solution = jnp.linalg.solve(x.T @ x + 10 * jnp.eye(80), x.T @ targets)
    return 8 * y @ solution


def quality(log_probabilities: jax.Array, label: np.ndarray) -> tuple[float, float]:
    """Mean log loss, and error in percent."""
    loss = -jnp.take_along_axis(log_probabilities, label[:, None], 1).mean()
    return float(loss), 100 * float((log_probabilities.argmax(-1) != label).mean())
