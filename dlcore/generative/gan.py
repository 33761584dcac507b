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

from dlcore.data.augment import to_float
from dlcore.learner import Learner, Metrics, Range, State, Sum, example_keys, mask_of
from dlcore.losses.adversarial import discriminator_loss, minimax_generator_loss, non_saturating_generator_loss

__all__ = ["GANState", "from_unit", "learner", "to_unit"]

PLAYERS = ("generator", "discriminator")


@struct.dataclass
class GANState(State):
    """params, opt_state and model_state (batch statistics) are dicts by player. average: the generator's variables."""

    model_state: Any
    average: Any


def from_unit(batch: dict) -> jax.Array:
    """`image`, uint8 or floats in [0, 1], to [-1, 1]."""
    image = batch["image"]
    return 2 * to_float(image) - 1


def to_unit(x: jax.Array) -> jax.Array:
    """[-1, 1] to [0, 1]."""
    return (x + 1) / 2


def learner(
    *,
    generator: nn.Module,
    discriminator: nn.Module,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    encode: Callable[[dict], jax.Array] = from_unit,
    decode: Callable[[jax.Array], jax.Array] = to_unit,
    loss: Literal["non_saturating", "minimax"] = "non_saturating",
    noise_size: Annotated[int, Range(1)] = 100,
    r1: Annotated[float, Range(0)] = 0.0,
    ema: Annotated[float, Range(0, 0.999999)] = 0.0,
    axis: str | None = None,
) -> Learner:
    """Two players on `{"image": [B, ...], "index": [B]}`; samples need `index` alone.

    Args:
      generator: `__call__(noise [B, noise_size], train) -> x [B, ...]`.
      discriminator: `__call__(x [B, ...], train) -> logits [B]`.
      generator_optimizer: any optax transformation.
      discriminator_optimizer: likewise.
      encode: a batch to real examples, in the range of what the generator makes.
      decode: the way back, of samples.
      loss: of the generator.
      noise_size: dimensions of the generator's normal noise.
      r1: weight of the discriminator's gradient penalty on real examples; 0 has none, as the papers of 2014 to 2016.
      ema: decay of the average of the generator that samples are drawn by; 0 has none.
      axis: unused here; networks with batch statistics take it as `axis_name`.

    evaluate gives the value V of the game (`value`), and D of real and of made examples; predict gives
    `{"sample": [B, ...]}`.
    """
    networks = {"generator": generator, "discriminator": discriminator}
    optimizers = {"generator": generator_optimizer, "discriminator": discriminator_optimizer}
    generator_loss = {"non_saturating": non_saturating_generator_loss, "minimax": minimax_generator_loss}[loss]
    averaged = not (isinstance(ema, int | float) and ema == 0)

    def noise(rng, batch):
        return jax.vmap(lambda key: jax.random.normal(key, (noise_size,)))(example_keys(rng, batch))

    def apply(player, params, model_state, x, train=True):
        """(output, the player's new batch statistics)."""
        variables = {"params": params[player], **model_state[player]}
        if not train:
            return networks[player].apply(variables, x, train=False), model_state[player]
        return networks[player].apply(variables, x, train=True, mutable=list(model_state[player]))

    def init(rng: jax.Array, batch: dict) -> GANState:
        inputs = {"generator": noise(rng, batch), "discriminator": encode(batch)}
        params, model_state = {}, {}
        for k, player in enumerate(PLAYERS):
            variables = dict(networks[player].init(jax.random.fold_in(rng, k), inputs[player], train=False))
            params[player], model_state[player] = variables.pop("params"), variables
        average = {"params": params["generator"], **model_state["generator"]}
        return GANState(
            step=jnp.zeros((), jnp.int32), rng=jax.random.fold_in(rng, 2), params=params,
            opt_state={player: optimizers[player].init(params[player]) for player in PLAYERS},
            model_state=model_state, average=jax.tree.map(jnp.copy, average) if averaged else {},
        )  # fmt: skip

    def mean(values, batch):
        mask = mask_of(batch)
        return jnp.where(mask > 0, values, 0).sum() / jnp.maximum(mask.sum(), 1)

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
        made, _ = apply("generator", state.params, state.model_state, noise(jax.random.fold_in(rng, 0), batch))

        def discriminate(own):
            params = {**state.params, "discriminator": own}
            real_logit, statistics = apply("discriminator", params, state.model_state, real)
            model_state = {**state.model_state, "discriminator": statistics}
            made_logit, statistics = apply("discriminator", params, model_state, made)
            losses = jax.vmap(discriminator_loss)(real_logit, made_logit)
            extra = penalty(params, state.model_state, real) if not (isinstance(r1, int | float) and r1 == 0) else 0
            return mean(losses + extra, batch), (statistics, (losses, real_logit, made_logit))

        state, (d_losses, real_logit, made_logit) = turn("discriminator", state, discriminate)

        def generate(own):
            params = {**state.params, "generator": own}
            x, statistics = apply("generator", params, state.model_state, noise(jax.random.fold_in(rng, 1), batch))
            logit, _ = apply("discriminator", params, state.model_state, x)
            losses = jax.vmap(generator_loss)(logit)
            return mean(losses, batch), (statistics, losses)

        state, g_losses = turn("generator", state, generate)
        metrics = {
            "generator_loss": Sum.of(g_losses, mask),
            "discriminator_loss": Sum.of(d_losses, mask),
            **_judged(real_logit, made_logit, mask),
        }
        return state.replace(step=state.step + 1, average=average(state)), metrics

    def average(state):
        if not averaged:
            return {}
        new = {"params": state.params["generator"], **state.model_state["generator"]}
        d = jnp.minimum(ema, (1 + state.step) / (10 + state.step))
        return jax.tree.map(lambda a, b: a + (1 - d).astype(a.dtype) * (b - a), state.average, new)

    def draw(state, batch):
        variables = {"params": state.params["generator"], **state.model_state["generator"]}
        z = noise(jax.random.fold_in(state.rng, 0), batch)
        return generator.apply(state.average if averaged else variables, z, train=False)

    def evaluate(state: GANState, batch: dict) -> Metrics:
        mask = mask_of(batch)
        real, made = (
            apply("discriminator", state.params, state.model_state, x, train=False)[0]
            for x in (encode(batch), draw(state, batch))
        )
        return {"value": Sum.of(-jax.vmap(discriminator_loss)(real, made), mask), **_judged(real, made, mask)}

    def predict(state: GANState, batch: dict) -> dict[str, jax.Array]:
        return {"sample": decode(draw(state, batch))}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict)


def _judged(real_logit: jax.Array, made_logit: jax.Array, mask: jax.Array) -> Metrics:
    """D of real and of made examples, on average."""
    return {
        "real_taken_for_real": Sum.of(jax.nn.sigmoid(real_logit), mask),
        "made_taken_for_real": Sum.of(jax.nn.sigmoid(made_logit), mask),
    }
