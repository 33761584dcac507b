"""Generative adversarial networks: a generator against a discriminator, both in one step.

Goodfellow et al. 2014, arXiv:1406.2661; the penalty is Mescheder, Geiger & Nowozin 2018, arXiv:1801.04406.

    V(G, D) = E_x log D(x) + E_z log(1 - D(G(z)))
    D ascends V, minus r1 / 2 E_x |grad_x logit(x)|^2;  then G descends its loss, on new noise, against the new D

G's loss is the non-saturating -log D(G(z)), or V itself (`minimax`). At the optimum the samples have the data's
distribution, D = 1/2 everywhere, and V = -log 4 = -1.386. Samples are drawn by an average of the generator over steps
(`ema`; Yazıcı et al. 2019, arXiv:1806.04498), its batch statistics included; 0 takes the generator as it is.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.generative.pixels import denormalize, normalize
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import discriminator_loss, masked_mean, minimax_generator_loss, non_saturating_generator_loss

__all__ = ["GANState", "learner"]

PLAYERS = ("generator", "discriminator")


@struct.dataclass
class GANState(State):
    """The state of both players; params and opt_state are dicts by player.

    Args:
      model_state: batch statistics by player.
      generator_ema: averaged variables of the generator; {} without an average.
    """

    model_state: Any
    generator_ema: Any


@check_arguments
def learner(
    *,
    generator: nn.Module,
    discriminator: nn.Module,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    encode: Callable[[dict], jax.Array] = lambda batch: normalize(batch["image"]),
    decode: Callable[[jax.Array], jax.Array] = denormalize,
    loss: Literal["non_saturating", "minimax"] = "non_saturating",
    latent_dim: Annotated[int, Range(1)] = 100,
    r1: Annotated[float, Range(0)] = 0.0,
    ema: Annotated[float, Range(0, 0.999999)] = 0.0,
    axis: str | None = None,
) -> Learner:
    """Train a generator against a discriminator on `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      generator: `__call__(z [B, latent_dim], train) -> x [B, ...]`.
      discriminator: `__call__(x [B, ...], train) -> logits [B]`.
      generator_optimizer: any optax transformation.
      discriminator_optimizer: any optax transformation.
      encode: a batch to real examples, in the range of the generator's output.
      decode: samples back to the data's range.
      loss: of the generator.
      latent_dim: dimensions of the generator's normal noise z.
      r1: weight of the discriminator's gradient penalty on real examples; 0 has none, as the papers of 2014 to 2016.
      ema: decay of the average of the generator that samples are drawn from; 0 has none.
      axis: not used here; networks with batch statistics take it as `axis_name`.

    Returns:
      The learner. `evaluate` gives the value V of the game (`value`), and the mean of D on real (`d_real`) and fake
      (`d_fake`) examples; `predict` needs `index` alone and gives `{"sample": [B, ...]}`.
    """
    networks = {"generator": generator, "discriminator": discriminator}
    optimizers = {"generator": generator_optimizer, "discriminator": discriminator_optimizer}
    generator_loss = {"non_saturating": non_saturating_generator_loss, "minimax": minimax_generator_loss}[loss]
    has_ema = not (isinstance(ema, int | float) and ema == 0)

    def latent(rng, batch):
        return jax.vmap(lambda key: jax.random.normal(key, (latent_dim,)))(example_keys(rng, batch))

    def apply(player, params, model_state, x, train=True):
        """(output, the player's new batch statistics)."""
        variables = {"params": params[player], **model_state[player]}
        if not train:
            return networks[player].apply(variables, x, train=False), model_state[player]
        return networks[player].apply(variables, x, train=True, mutable=list(model_state[player]))

    def init(rng: jax.Array, batch: dict) -> GANState:
        inputs = {"generator": latent(rng, batch), "discriminator": encode(batch)}
        params, model_state = {}, {}
        for k, player in enumerate(PLAYERS):
            variables = dict(networks[player].init(jax.random.fold_in(rng, k), inputs[player], train=False))
            params[player], model_state[player] = variables.pop("params"), variables
        average = {"params": params["generator"], **model_state["generator"]}
        return GANState(
            step=jnp.zeros((), jnp.int32),
            rng=jax.random.fold_in(rng, 2),
            params=params,
            opt_state={player: optimizers[player].init(params[player]) for player in PLAYERS},
            model_state=model_state,
            generator_ema=jax.tree.map(jnp.copy, average) if has_ema else {},
        )

    def turn(player, state, objective):
        """One player's step: objective(params of the player) -> (loss, (model_state of the player, extras))."""
        gradients, (model_state, extras) = jax.grad(objective, has_aux=True)(state.params[player])
        updates, opt_state = optimizers[player].update(gradients, state.opt_state[player], state.params[player])
        params = optax.apply_updates(state.params[player], updates)
        state = state.replace(
            params={**state.params, player: params},
            opt_state={**state.opt_state, player: opt_state},
            model_state={**state.model_state, player: model_state},
        )
        return state, extras

    def penalty(params, model_state, real):
        def total(x):
            return apply("discriminator", params, model_state, x)[0].sum()

        return 0.5 * r1 * jnp.square(jax.grad(total)(real)).reshape(real.shape[0], -1).sum(-1)

    def update(state: GANState, batch: dict) -> tuple[GANState, Metrics]:
        rng, real = jax.random.fold_in(state.rng, state.step), encode(batch)
        mask = mask_of(batch)
        fake, _ = apply("generator", state.params, state.model_state, latent(jax.random.fold_in(rng, 0), batch))

        def discriminate(own):
            params = {**state.params, "discriminator": own}
            real_logit, statistics = apply("discriminator", params, state.model_state, real)
            model_state = {**state.model_state, "discriminator": statistics}
            fake_logit, statistics = apply("discriminator", params, model_state, fake)
            losses = discriminator_loss(real_logit, fake_logit)
            extra = penalty(params, state.model_state, real) if not (isinstance(r1, int | float) and r1 == 0) else 0
            return masked_mean(losses + extra, mask), (statistics, (losses, real_logit, fake_logit))

        state, (d_losses, real_logit, fake_logit) = turn("discriminator", state, discriminate)

        def generate(own):
            params = {**state.params, "generator": own}
            x, statistics = apply("generator", params, state.model_state, latent(jax.random.fold_in(rng, 1), batch))
            logit, _ = apply("discriminator", params, state.model_state, x)
            losses = generator_loss(logit)
            return masked_mean(losses, mask), (statistics, losses)

        state, g_losses = turn("generator", state, generate)
        metrics = {
            "g_loss": Sum.of(g_losses, mask),
            "d_loss": Sum.of(d_losses, mask),
            **_d_metrics(real_logit, fake_logit, mask),
        }
        return state.replace(step=state.step + 1, generator_ema=average(state)), metrics

    def average(state):
        if not has_ema:
            return {}
        new = {"params": state.params["generator"], **state.model_state["generator"]}
        d = jnp.minimum(ema, (1 + state.step) / (10 + state.step))
        return jax.tree.map(lambda a, b: a + (1 - d).astype(a.dtype) * (b - a), state.generator_ema, new)

    def draw(state, batch):
        variables = {"params": state.params["generator"], **state.model_state["generator"]}
        z = latent(jax.random.fold_in(state.rng, 0), batch)
        return generator.apply(state.generator_ema if has_ema else variables, z, train=False)

    def evaluate(state: GANState, batch: dict) -> Metrics:
        mask = mask_of(batch)
        real, fake = (
            apply("discriminator", state.params, state.model_state, x, train=False)[0]
            for x in (encode(batch), draw(state, batch))
        )
        return {"value": Sum.of(-discriminator_loss(real, fake), mask), **_d_metrics(real, fake, mask)}

    def predict(state: GANState, batch: dict) -> dict[str, jax.Array]:
        return {"sample": decode(draw(state, batch))}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict)


def _d_metrics(real_logit: jax.Array, fake_logit: jax.Array, mask: jax.Array) -> Metrics:
    """D of real and of fake examples, on average."""
    return {
        "d_real": Sum.of(jax.nn.sigmoid(real_logit), mask),
        "d_fake": Sum.of(jax.nn.sigmoid(fake_logit), mask),
    }
