"""Generative adversarial networks: a generator against a discriminator, both in one step.

Goodfellow et al. 2014, arXiv:1406.2661; the penalty is Mescheder, Geiger & Nowozin 2018, arXiv:1801.04406.

    V(G, D) = E_x log D(x) + E_z log(1 - D(G(z)))
    D ascends V, minus r1 / 2 E_x |grad_x logit(x)|^2;  then G descends its loss, on new noise, against the new D

G's loss is the non-saturating -log D(G(z)), or V itself (`minimax`). At the optimum the samples have the data's
distribution, D = 1/2 everywhere, and V = -log 4 = -1.386. Hinge and least-squares losses of both players are in
`dlcore.losses`. With a condition y, such as a class, both players are given it: G(z, y) and D(x, y) (Mirza & Osindero
2014, arXiv:1411.1784); fake examples have the conditions of the batch.

`orthogonal` adds BigGAN's penalty to the loss of G (Brock, Donahue & Simonyan 2018, arXiv:1809.11096): the weights of
two outputs of a layer should stand at right angles.

Samples are drawn by an average of the generator over steps (`ema`; Yazıcı et al. 2019, arXiv:1806.04498), its batch
statistics included; 0 takes the generator as it is.
"""

import functools
from collections.abc import Callable
from numbers import Real
from typing import Annotated, Any

import jax
import optax
from flax import linen as nn
from flax import struct

from dlcore.generative.condition import Condition, classes_of
from dlcore.generative.pixels import denormalize, normalize
from dlcore.generative.two_players import (
    LOSSES,
    AdversarialLoss,
    LossName,
    Players,
    PlayerState,
    discriminator_metrics,
    gradient_penalty,
    player_variables,
    sample_latents,
)
from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments, mask_of
from dlcore.losses import is_kernel, masked_mean, orthogonal_penalty
from dlcore.optim.ema import ema_update, init_average

__all__ = ["GANState", "learner"]


@struct.dataclass
class GANState(PlayerState):
    """The state of both players; params and opt_state are dicts by player.

    Args:
      generator_ema: averaged variables of the generator; {} without an average.
    """

    generator_ema: Any


def _discriminator_objective(
    players: Players, loss: AdversarialLoss, r1: float | jax.Array, state: GANState, examples: tuple, params: dict
) -> tuple[jax.Array, tuple]:
    """Loss of the discriminator on examples (real, fake, condition, mask)."""
    real, fake, y, mask = examples
    real_logit, statistics = players.apply("discriminator", params, state.model_state, real, *y)  # [B]
    model_state = {**state.model_state, "discriminator": statistics}
    fake_logit, statistics = players.apply("discriminator", params, model_state, fake, *y)  # [B]
    losses = loss.discriminator(real_logit, fake_logit)  # [B]

    def logits_of(x):
        return players.apply("discriminator", params, state.model_state, x, *y)[0]

    # R1: gradient penalty on real images.
    has_penalty = not (isinstance(r1, Real) and r1 == 0)
    extra = r1 * gradient_penalty(logits_of, real) if has_penalty else 0
    return masked_mean(losses + extra, mask), (statistics, (losses, real_logit, fake_logit))


def _generator_objective(
    players: Players,
    loss: AdversarialLoss,
    orthogonal: float | jax.Array,
    state: GANState,
    z: jax.Array,
    y: tuple,
    mask: jax.Array,
    params: dict,
) -> tuple[jax.Array, tuple]:
    """Loss of the generator on latents [B, Z]; the gradient goes through the discriminator."""
    x, statistics = players.apply("generator", params, state.model_state, z, *y)  # [B, ...]
    logit, _ = players.apply("discriminator", params, state.model_state, x, *y)  # [B]
    losses = loss.generator(logit)  # [B]
    objective = masked_mean(losses, mask)
    # BigGAN's orthogonal penalty.
    if not (isinstance(orthogonal, Real) and orthogonal == 0):
        objective += orthogonal * orthogonal_penalty(params["generator"], where=_is_layer)
    return objective, (statistics, losses)


def _is_layer(path: tuple, leaf: jax.Array) -> bool:
    """Return whether it is a kernel, and no table of class vectors."""
    return is_kernel(path, leaf) and getattr(path[-1], "key", None) != "embedding"


@check_arguments
def learner(
    *,
    generator: nn.Module,
    discriminator: nn.Module,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    condition: Condition | None = None,
    encode: Callable[[dict], jax.Array] = lambda batch: normalize(batch["image"]),
    decode: Callable[[jax.Array], jax.Array] = denormalize,
    loss: LossName = "non_saturating",
    latent_dim: Annotated[int, Range(1)] = 100,
    r1: Annotated[float, Range(0)] = 0.0,
    ema: Annotated[float, Range(0, 0.999999)] = 0.0,
    orthogonal: Annotated[float, Range(0), "if changed"] = 0.0,
) -> Learner:
    """Train a generator against a discriminator on `{"image": [B, H, W, C], "index": [B]}` and the condition.

    Args:
      generator: `__call__(z [B, latent_dim], train) -> x [B, ...]`; with a condition `__call__(z, y, train)`.
      discriminator: `__call__(x [B, ...], train) -> logits [B]`; with a condition `__call__(x, y, train)`.
      encode: a batch to real examples, in the range of the generator's output.
      decode: samples back to the data's range.
      loss: loss of both players: non_saturating, minimax, hinge or least_squares.
      latent_dim: dimensions of the generator's normal noise z.
      r1: weight of the discriminator's gradient penalty on real examples; 0 has none, as the papers of 2014 to 2016.
      ema: decay of the average of the generator that samples are drawn from; 0 has none.
      orthogonal: weight of the penalty on the products of different outputs' weights in the generator's kernels; BigGAN
        takes 1e-4.

    Returns:
      The learner. `evaluate` returns the value V of the game (`value`), which is the discriminator's loss below 0, and
      the mean of the sigmoid of its logits on real (`d_real`) and fake (`d_fake`) examples; `predict` needs `index` and
      the condition, and gives `{"sample": [B, ...]}`. With `ends: [B, 2]` and `share: [B]` in the batch it draws
      between the samples of two indices; with `latent: [B, latent_dim]` it gives `decoded`, the samples of these.
    """
    networks = {"generator": generator, "discriminator": discriminator}
    players = Players(networks, {"generator": generator_optimizer, "discriminator": discriminator_optimizer})
    has_ema, losses = not (isinstance(ema, Real) and ema == 0), LOSSES[loss]

    def cond_of(batch):
        return () if condition is None else (condition.read(batch),)

    def init(rng: jax.Array, batch: dict) -> GANState:
        z = sample_latents(latent_dim, rng, batch)
        inputs = {"generator": (z, *cond_of(batch)), "discriminator": (encode(batch), *cond_of(batch))}
        fields = players.init(rng, inputs)
        average = player_variables("generator", fields["params"], fields["model_state"])
        return GANState(**fields, generator_ema=init_average(average) if has_ema else {})

    def update(state: GANState, batch: dict) -> tuple[GANState, Metrics]:
        rng, mask = jax.random.fold_in(state.rng, state.step), mask_of(batch)
        real, y = encode(batch), cond_of(batch)
        # Fake images for the discriminator, no gradient to the generator.
        z = sample_latents(latent_dim, jax.random.fold_in(rng, 0), batch)  # [B, Z]
        fake, _ = players.apply("generator", state.params, state.model_state, z, *y)  # [B, ...]
        # Discriminator step.
        examples = real, fake, y, mask
        objective = functools.partial(_discriminator_objective, players, losses, r1, state, examples)
        state, (d_losses, real_logit, fake_logit) = players.turn("discriminator", state, objective)
        # Generator step on new latents, against the updated discriminator.
        z = sample_latents(latent_dim, jax.random.fold_in(rng, 1), batch)  # [B, Z]
        objective = functools.partial(_generator_objective, players, losses, orthogonal, state, z, y, mask)
        state, g_losses = players.turn("generator", state, objective)
        metrics = {"g_loss": Sum.of(g_losses, mask), "d_loss": Sum.of(d_losses, mask)}
        metrics |= discriminator_metrics(real_logit, fake_logit, mask)
        # EMA of the generator.
        variables = player_variables("generator", state.params, state.model_state)
        average = ema_update(state.generator_ema, variables, ema, state.step) if has_ema else {}
        return state.replace(step=state.step + 1, generator_ema=average), metrics

    def generate(state: GANState, batch: dict) -> jax.Array:
        variables = state.generator_ema if has_ema else player_variables("generator", state.params, state.model_state)
        rng = jax.random.fold_in(state.rng, 0)
        z = batch["latent"] if "latent" in batch else sample_latents(latent_dim, rng, batch)
        return generator.apply(variables, z, *cond_of(batch), train=False)

    def evaluate(state: GANState, batch: dict) -> Metrics:
        mask = mask_of(batch)
        real, fake = (
            players.apply("discriminator", state.params, state.model_state, x, *cond_of(batch), train=False)[0]
            for x in (encode(batch), generate(state, batch))
        )
        return {"value": Sum.of(-losses.discriminator(real, fake), mask), **discriminator_metrics(real, fake, mask)}

    def predict(state: GANState, batch: dict) -> dict[str, jax.Array]:
        return {"decoded" if "latent" in batch else "sample": decode(generate(state, batch))}

    return Learner(init, update, evaluate, predict, classes=classes_of(condition))
