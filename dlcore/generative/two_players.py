"""The two-player game of adversarial techniques: losses by name, and the step of one player against the other.

All take turns: the discriminator descends its loss against the generator as it is, then the generator against the new
discriminator. A player may be several networks in one module, such as the two generators of CycleGAN.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.generative.latents import slerp
from dlcore.learner import Metrics, State, Sum, example_keys
from dlcore.losses import (
    discriminator_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
)
from dlcore.nn.apply import apply_model
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.optim import apply_part_gradients

__all__ = [
    "LOSSES",
    "AdversarialLoss",
    "LossName",
    "PlayerState",
    "Players",
    "discriminator_metrics",
    "gradient_penalty",
    "player_variables",
    "sample_latents",
]

LossName = Literal["non_saturating", "minimax", "hinge", "least_squares"]


class AdversarialLoss(NamedTuple):
    """The losses of the two players.

    Args:
      discriminator: (real logits [...], fake logits [...]) -> [...].
      generator: fake logits [...] -> [...].
    """

    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]


LOSSES = {
    "non_saturating": AdversarialLoss(discriminator_loss, non_saturating_generator_loss),
    "minimax": AdversarialLoss(discriminator_loss, minimax_generator_loss),
    "hinge": AdversarialLoss(hinge_discriminator_loss, hinge_generator_loss),
    "least_squares": AdversarialLoss(least_squares_discriminator_loss, least_squares_generator_loss),
}


@struct.dataclass
class PlayerState(State):
    """The state of both players; params and opt_state are dicts by player.

    Args:
      model_state: by player, what its networks carry besides parameters: batch statistics, singular vectors.
    """

    model_state: Any


class Players(NamedTuple):
    """The networks and optimizers of both players.

    Args:
      networks: generator, and discriminator where there is one; each is called with its inputs and `train`.
      optimizers: by player.
    """

    networks: dict[str, nn.Module]
    optimizers: dict[str, optax.GradientTransformation]

    def init(self, rng: jax.Array, inputs: dict[str, tuple]) -> dict[str, Any]:
        """Start both: rng, a key; inputs of the networks, by player -> the fields of PlayerState by name."""
        params, model_state = {}, {}
        for k, player in enumerate(self.networks):
            variables = dict(self.networks[player].init(jax.random.fold_in(rng, k), *inputs[player], train=False))
            params[player], model_state[player] = variables.pop("params"), variables
        return {
            "step": jnp.zeros((), jnp.int32),
            "rng": jax.random.fold_in(rng, 2),
            "params": params,
            "opt_state": {player: self.optimizers[player].init(params[player]) for player in self.networks},
            "model_state": model_state,
        }

    def apply(
        self,
        player: str,
        params: Any,
        model_state: Any,
        *inputs: Any,
        train: bool = True,
        rng: jax.Array | None = None,
        method: str = "__call__",
    ) -> tuple[Any, Any]:
        """Call the network of a player.

        Args:
          player: its name.
          params: by player.
          model_state: by player.
          *inputs: inputs of the network.
          train: let it use batch statistics, and update what it carries.
          rng: [] key of dropout in training; None for a network that draws nothing.
          method: name of the network's method.

        Returns:
          (output, the player's new model state).
        """
        network, variables = self.networks[player], (params[player], model_state[player])
        return apply_model(network, *variables, *inputs, train=train, rng=rng, method=method)

    def turn(self, player: str, state: PlayerState, objective: Callable) -> tuple[PlayerState, Any]:
        """Let one player step.

        Args:
          player: its name.
          state: state of both learners.
          objective: params by player -> (loss, (model state of the player, extras)).

        Returns:
          (new state, extras).
        """

        # The gradient of this player alone; the other's parameters stay fixed.
        def player_objective(params):
            return objective({**state.params, player: params})

        gradients, (model_state, extras) = jax.grad(player_objective, has_aux=True)(state.params[player])
        # Optimizer step of this player.
        model_state = {**state.model_state, player: model_state}
        state = apply_part_gradients(state, self.optimizers[player], player, gradients, model_state=model_state)
        return state, extras


def sample_latents(latent_dim: int, rng: jax.Array, batch: dict) -> jax.Array:
    """Draw the generator's noise, of each example by its index alone, or on the arc between that of two indices.

    Args:
      latent_dim: Z.
      rng: PRNG key.
      batch: batch with `index: [B]`; or with `ends: [B, 2]` and `share: [B]`.

    Returns:
      [B, Z].
    """
    check_shapes(
        latent_dim=(latent_dim, "int >= 1"),
        ends=(batch.get("ends"), "B 2 or None"),
        share=(batch.get("share"), "B or None"),
    )

    def normal(key):
        return jax.random.normal(key, (latent_dim,))

    if "share" not in batch:
        return jax.vmap(normal)(example_keys(rng, batch))
    endpoints = jax.vmap(jax.vmap(lambda index: normal(jax.random.fold_in(rng, index))))(batch["ends"])  # [B, 2, Z]
    return jax.vmap(slerp)(endpoints[:, 0], endpoints[:, 1], batch["share"])


def gradient_penalty(logits_of: Callable[[jax.Array], jax.Array], real: jax.Array) -> jax.Array:
    """Compute R1, half the squared slope of the discriminator at real examples (Mescheder et al. 2018).

    Args:
      logits_of: examples [B, ...] -> logits [B].
      real: [B, ...].

    Returns:
      1/2 |grad_x logit(x)|^2, [B].
    """
    slopes = jax.grad(lambda x: logits_of(x).sum())(real)
    return 0.5 * jnp.square(to_acc_dtype(slopes)).reshape(real.shape[0], -1).sum(-1)


def player_variables(player: str, params: dict, model_state: dict) -> dict:
    """Join what the network of a player is applied with.

    Args:
      player: its name.
      params: by player.
      model_state: by player.

    Returns:
      The variables of its network.
    """
    return {"params": params[player], **model_state[player]}


def discriminator_metrics(real_logits: jax.Array, fake_logits: jax.Array, mask: jax.Array) -> Metrics:
    """Average D = sigmoid(logit) of real and of fake examples.

    Args:
      real_logits: [B].
      fake_logits: [B].
      mask: [B], 0 for padding.
    """
    check_shapes(real_logits=(real_logits, "B"), fake_logits=(fake_logits, "B"), mask=(mask, "mask B"))
    return {
        "d_real": Sum.of(jax.nn.sigmoid(to_acc_dtype(real_logits)), mask),
        "d_fake": Sum.of(jax.nn.sigmoid(to_acc_dtype(fake_logits)), mask),
    }
