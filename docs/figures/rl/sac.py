"""Figure of dlcore.rl.sac; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure
from dlcore.rl.sac import soft_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sac"]


def sac() -> "Figure":
    """Two actions, of value 1 and Q: the policy of the largest soft value, and that value, by the temperature.

    Left: the probability of the first action. A small temperature chooses nearly always the better action, a large
    one keeps both, so that exploration goes on. Right: the soft value, in which entropy counts; it never falls below
    the larger value, and it is smooth where the larger value has a corner.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    second = jnp.linspace(-1, 3, 81)
    for alpha, color, style in ((0.1, VERMILION, "-."), (0.5, GREEN, "--"), (1.0, BLUE, "-")):
        q = jnp.stack([jnp.ones_like(second), second], -1)
        probability = jax.nn.softmax(q / alpha)
        # The two critics agree.
        values = soft_value(jnp.stack([q, q]), jnp.log(probability), alpha, probability)
        left.plot(second, probability[:, 0], style, color=color, label=f"alpha {alpha}")
        right.plot(second, values, style, color=color)
    right.plot(second, jnp.maximum(1, second), color="black", linewidth=0.8, label="larger of the two")
    left.set(xlabel="Q", ylabel="probability of the first action")
    right.set(xlabel="Q", ylabel="value")
    left.legend(frameon=False)
    right.legend(frameon=False)
    return figure
