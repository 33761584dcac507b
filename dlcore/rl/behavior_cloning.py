"""Behavior cloning: a policy as a classifier of an expert's actions, or a regression to them.

Pomerleau 1989, "ALVINN: an autonomous land vehicle in a neural network".

    L = -log pi(a | s)      over the pairs (s, a) of demonstrations

It is supervised learning, and its errors are not: a step off the expert's path leads to states that no demonstration
shows, so that the expected cost grows with the square of the length of an episode (Ross & Bagnell 2010). What counts
is therefore the return of the policy in the environment, which `evaluate` plays, and not the accuracy on the pairs.
A continuous policy is a Gaussian whose deviation does not depend on the state and is at least e^-5.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.nn import Dense
from dlcore.nn.initializers import orthogonal
from dlcore.ops.checks import check_shapes
from dlcore.optim import apply_gradients, init_state
from dlcore.rl.distributions import DiagonalGaussian
from dlcore.rl.environments import Environment, episodes
from dlcore.rl.networks import CategoricalActor, Torso

__all__ = ["GaussianActor", "actor", "learner"]


class GaussianActor(nn.Module):
    """A policy over continuous actions, with one deviation for all observations.

    Args:
      action_size: A.
      width: units of each dense layer of the torso.
    """

    action_size: int
    width: Annotated[int, Range(1)] = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> DiagonalGaussian:
        """Compute the policy of observations.

        Args:
          x: [B, ...].

        Returns:
          The distribution over [B, A].
        """
        x = Torso(self.width, nn.relu, name="torso")(x)
        mean = Dense(self.action_size, kernel_init=orthogonal(0.01), name="mean")(x)
        log_std = self.param("log_std", nn.initializers.zeros, (self.action_size,))
        return DiagonalGaussian(mean, jnp.broadcast_to(jnp.maximum(log_std, -5.0), mean.shape))


def actor(environment: Environment, width: int = 64) -> nn.Module:
    """Choose the policy of an environment.

    Args:
      environment: environment to act in.
      width: units of each dense layer of the torso.

    Returns:
      The module.
    """
    check_shapes(width=(width, "int >= 1"))
    if environment.num_actions is None:
        return GaussianActor(environment.action_size, width)
    return CategoricalActor(environment.num_actions, width)


@check_arguments
def learner(*, model: nn.Module, optimizer: optax.GradientTransformation, environment: Environment) -> Learner:
    """Clone an expert; the batch is `{"observation": [B, ...], "action": [B] or [B, A], "index": [B]}`.

    Args:
      model: `__call__(observations [B, ...]) -> distribution over B actions`.
      optimizer: any optax transformation.
      environment: environment in which the policy is measured.

    Returns:
      The learner. evaluate and predict play one episode per example, with the most probable action.
    """

    def distribution(params: Any, observation: jax.Array) -> Any:
        return model.apply({"params": params}, observation)

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), batch["observation"])["params"]
        return init_state(params, optimizer, rng)

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        mask, policy = mask_of(batch), distribution(params, batch["observation"])
        # Negative log-likelihood of the expert's actions.
        losses = -policy.log_prob(batch["action"])  # [B]
        metrics: Metrics = {"loss": Sum.of(losses, mask)}
        if environment.num_actions is not None:
            metrics["accuracy"] = Sum.of(policy.mode() == batch["action"], mask)
        return (losses * mask).sum() / jnp.maximum(mask.sum(), 1), metrics

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Gradient of the negative log-likelihood.
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, state, batch)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    evaluate, predict = episodes(
        environment, lambda state, x: jax.tree.map(lambda y: y[0], distribution(state.params, x[None])).mode()
    )

    def classes(state: Any, batch: dict) -> dict[str, int]:
        return {} if environment.num_actions is None else {"action": environment.num_actions}

    return Learner(init, update, evaluate, predict, loss, classes=classes)
