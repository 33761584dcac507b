"""Figure of dlcore.rl.policy_gradient; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure
from dlcore.rl.policy_gradient import policy_gradient_loss, score_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["policy_gradient"]


def policy_gradient() -> "Figure":
    """How noisy the policy gradient is: a bandit with two actions, rewards 1 and 0 and noise, in episodes of 10 steps.

    Each of 200 batches of 16 episodes gives an estimate of the gradient of the logit of the better action. All three
    weights have the same mean. Rewards before an action only add noise, so the return to go scatters less than the
    whole return; the mean of the other episodes as a baseline takes away most of the rest.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    keys = jax.random.split(jax.random.key(0), 200)

    def estimate(key, kind):
        act, noise = jax.random.split(key)
        better = jax.random.bernoulli(act, 0.5, (16, 10))
        rewards = better + 0.5 * jax.random.normal(noise, (16, 10))

        def loss(logit):
            log_probabilities = jnp.where(better, jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit))
            return jax.vmap(policy_gradient_loss)(log_probabilities, score_weights(rewards, kind)).mean()

        return -jax.grad(loss)(0.0)

    kinds = {"return": VERMILION, "to_go": GREEN, "baseline": BLUE}
    spread = []
    for kind, color in kinds.items():
        slopes = np.asarray(jax.jit(jax.vmap(lambda key, k=kind: estimate(key, k)))(keys))
        left.hist(slopes, np.linspace(-6, 12, 46), histtype="step", color=color, label=kind)
        spread.append(slopes.std())
    right.bar(list(kinds), spread, color=list(kinds.values()))
    left.set(xlabel="estimate of the gradient", ylabel="batches")
    right.set(ylabel="deviation of the estimate", xlabel="weights")
    left.legend(frameon=False)
    return figure
