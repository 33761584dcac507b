"""StyleGAN 2: a GAN with modulated convolutions, lazy penalties for both players, and adaptive augmentation (ADA).

Karras, Laittala, Aittala, Hellsten, Lehtinen & Aila 2019, arXiv:1912.04958; the augmentation T is that of Karras et al.
2020, arXiv:2006.06676, see `dlcore.generative.adaptive_augmentation`; the networks are in
`dlcore.generative.style_gan2_networks`.

    D descends  softplus(-D(T x)) + softplus(D(T G(z))) + r1 / 2 |grad_x D(T x)|^2
    G descends  softplus(-D(T G(z))) + c (|J^T y| - a)^2         J = dG / dw, y: normal image / sqrt(H W)
    a <- a + max(0.01, 1 / n) (mean |J^T y| - a)                n: lengths measured so far, with these

The penalties (R1 and path length regularization) are lazy: a step in every k has them, k times as strong. Samples come
from the average of the generator. The penalties are added to the loss of their step, where the authors take a step of
their own. Path lengths are those of w before it is copied to the layers, of all latents of the generator's step; their
average starts at the first mean, where the authors start at 0 and so shorten all paths at first.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from numbers import Real
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.generative import gan, style_gan
from dlcore.generative.adaptive_augmentation import augment_images, update_probability
from dlcore.generative.pixels import denormalize, normalize
from dlcore.generative.two_players import (
    Players,
    discriminator_metrics,
    gradient_penalty,
    player_variables,
    sample_latents,
)
from dlcore.learner import Last, Learner, Metrics, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import discriminator_loss, masked_mean, non_saturating_generator_loss
from dlcore.ops.replica import pmean, psum
from dlcore.optim.ema import ema_update

__all__ = ["StyleGAN2State", "learner"]

PATH_DECAY = 0.01
"""Least share of a batch's mean path length in the running average."""


@struct.dataclass
class StyleGAN2State(gan.GANState):
    """The state of both players; params and opt_state are dicts by player.

    Args:
      augment_probability: [], p of the augmentation.
      path_length: [], running average of path lengths.
    """

    augment_probability: jax.Array
    path_length: jax.Array


def _lazy(step: jax.Array, interval: int, penalty: Callable, otherwise: Any) -> Any:
    """Compute a penalty in every `interval`-th step."""
    return jax.lax.cond(step % interval == 0, penalty, lambda: otherwise)


def _discriminator_objective(
    players: Players,
    augment: Callable[[int, jax.Array], jax.Array],
    r1: tuple[float | jax.Array, int],
    state: StyleGAN2State,
    examples: tuple[jax.Array, jax.Array, jax.Array],
    params: dict,
) -> tuple[jax.Array, tuple]:
    """Loss of the discriminator on examples (real, fake, mask), with R1 of (weight, interval)."""
    (real, fake, mask), (weight, interval) = examples, r1
    real_logit, statistics = players.apply("discriminator", params, state.model_state, augment(2, real))  # [B]
    model_state = {**state.model_state, "discriminator": statistics}
    fake_logit, statistics = players.apply("discriminator", params, model_state, augment(3, fake))  # [B]
    losses = discriminator_loss(real_logit, fake_logit)  # [B]
    objective = masked_mean(losses, mask)

    def logits_of(x):
        return players.apply("discriminator", params, state.model_state, augment(2, x))[0]

    def penalty():
        return interval * weight * masked_mean(gradient_penalty(logits_of, real), mask)

    # Lazy R1: the slope at real images, through their augmentation.
    if not (isinstance(weight, Real) and weight == 0):
        objective += _lazy(state.step, interval, penalty, jnp.zeros_like(objective))
    return objective, (statistics, (losses, real_logit, fake_logit))


def _generator_objective(
    players: Players,
    augment: Callable[[int, jax.Array], jax.Array],
    path: tuple[float | jax.Array, int],
    state: StyleGAN2State,
    examples: tuple[jax.Array, jax.Array, jax.Array],
    params: dict,
) -> tuple[jax.Array, tuple]:
    """Loss of the generator on examples (latents [B, Z], keys [B], mask), with the path length's (weight, interval)."""
    (z, keys, mask), (weight, interval) = examples, path
    x, statistics = players.apply("generator", params, state.model_state, z)  # [B, H, W, C]
    logit, _ = players.apply("discriminator", params, state.model_state, augment(4, x))  # [B]
    losses = non_saturating_generator_loss(logit)  # [B]
    objective, average = masked_mean(losses, mask), state.path_length

    def penalty():
        variables = player_variables("generator", params, state.model_state)
        lengths = _path_lengths(players.networks["generator"], variables, z, keys)  # [B]
        mean = pmean(jax.lax.stop_gradient(masked_mean(lengths, mask)))
        rate = jnp.maximum(PATH_DECAY, 1 / (1 + state.step // interval))
        average = state.path_length + rate * (mean - state.path_length)
        return interval * weight * masked_mean(jnp.square(lengths - average), mask), average

    # Lazy path length regularization: the same change of the image for the same change of w.
    if not (isinstance(weight, Real) and weight == 0):
        extra, average = _lazy(state.step, interval, penalty, (jnp.zeros_like(objective), average))
        objective += extra
    return objective, (statistics, (losses, average))


def _path_lengths(generator: nn.Module, variables: dict, z: jax.Array, keys: jax.Array) -> jax.Array:
    """|J^T y| of each example [B], y normal images over the root of their pixels."""
    latent, noise = jnp.split(z, [z.shape[-1] - generator.num_noise], -1)
    w = generator.apply(variables, latent, method="styles")

    def projection(w):
        x = generator.apply(variables, w, noise, method="synthesize")  # [B, H, W, C]
        y = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(keys)
        return (x * y).sum() / math.sqrt(x.shape[1] * x.shape[2])

    # The constant keeps the root's slope finite.
    return jnp.sqrt(jnp.square(jax.grad(projection)(w)).sum(-1) + 1e-8)


def _step_keys(rng: jax.Array, k: int, batch: dict) -> jax.Array:
    """Keys [B] of the k-th draw of a step; 0 and 1 are the latents."""
    return example_keys(jax.random.fold_in(rng, k), batch)


@check_arguments
def learner(
    *,
    generator: style_gan.Generator,
    discriminator: nn.Module,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    encode: Callable[[dict], jax.Array] = lambda batch: normalize(batch["image"]),
    decode: Callable[[jax.Array], jax.Array] = denormalize,
    latent_dim: Annotated[int, Range(1)] = 512,
    r1: Annotated[float, Range(0)] = 10.0,
    r1_interval: Annotated[int, Range(1)] = 16,
    path_weight: Annotated[float, Range(0)] = 2.0,
    path_interval: Annotated[int, Range(1)] = 8,
    ada: bool = True,
    ada_target: Annotated[float, Range(-1, 1)] = 0.6,
    ada_images: Annotated[int, Range(1)] = 500_000,
    ema: Annotated[float, Range(0, 0.999999)] = 0.999,
) -> Learner:
    """Train a generator with styles against a discriminator on `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      generator: that of `dlcore.generative.style_gan2_networks`, or of `dlcore.generative.style_gan`.
      discriminator: `__call__(x [B, H, W, C], train) -> logits [B]`.
      encode: a batch to real images in [-1, 1].
      decode: samples back to the data's range.
      latent_dim: numbers of the generator's normal input: those of the latent and of the noise of all layers.
      r1: weight of the discriminator's gradient penalty on real images; 0 has none.
      r1_interval: steps between two penalties of the discriminator, each as many times as strong.
      path_weight: weight of the generator's path length regularization; 0 has none.
      path_interval: steps between two path length regularizations, each as many times as strong.
      ada: augment the discriminator's images, with a probability that follows its overfitting.
      ada_target: mean sign of the logits of real images above which the probability rises.
      ada_images: images that take the probability from 0 to 1.
      ema: decay of the average of the generator that samples are drawn from; 0 has none.

    Returns:
      The learner; `evaluate` and `predict` are those of `dlcore.generative.gan`, without augmentation.
    """
    networks = {"generator": generator, "discriminator": discriminator}
    players = Players(networks, {"generator": generator_optimizer, "discriminator": discriminator_optimizer})
    game = gan.learner(
        **networks,
        generator_optimizer=generator_optimizer,
        discriminator_optimizer=discriminator_optimizer,
        encode=encode,
        decode=decode,
        latent_dim=latent_dim,
        ema=ema,
    )
    has_ema = not (isinstance(ema, Real) and ema == 0)

    def init(rng: jax.Array, batch: dict) -> StyleGAN2State:
        state = game.init(rng, batch)
        fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
        return StyleGAN2State(**fields, augment_probability=jnp.zeros(()), path_length=jnp.zeros(()))

    def update(state: StyleGAN2State, batch: dict) -> tuple[StyleGAN2State, Metrics]:
        rng, mask, real = jax.random.fold_in(state.rng, state.step), mask_of(batch), encode(batch)

        def augment(k, x):
            return augment_images(_step_keys(rng, k, batch), x, state.augment_probability) if ada else x

        # Fake images for the discriminator, no gradient to the generator.
        z = sample_latents(latent_dim, jax.random.fold_in(rng, 0), batch)  # [B, Z]
        fake, _ = players.apply("generator", state.params, state.model_state, z)  # [B, H, W, C]
        # Discriminator step on augmented images.
        examples = real, fake, mask
        objective = functools.partial(_discriminator_objective, players, augment, (r1, r1_interval), state, examples)
        state, (d_losses, real_logit, fake_logit) = players.turn("discriminator", state, objective)
        # Generator step on new latents, against the updated discriminator.
        z = sample_latents(latent_dim, jax.random.fold_in(rng, 1), batch)  # [B, Z]
        examples, path = (z, _step_keys(rng, 5, batch), mask), (path_weight, path_interval)
        objective = functools.partial(_generator_objective, players, augment, path, state, examples)
        state, (g_losses, path_length) = players.turn("generator", state, objective)
        # Adaptive augmentation: the probability follows the sign of real logits.
        signs, p = jnp.sign(real_logit), state.augment_probability  # [B], []
        if ada:
            r = pmean(masked_mean(signs, mask))
            p = update_probability(p, r, psum((mask > 0).sum()), ada_target, ada_images)
        metrics = {"g_loss": Sum.of(g_losses, mask), "d_loss": Sum.of(d_losses, mask), "real_sign": Sum.of(signs, mask)}
        metrics |= {"augment_probability": Last(p), "path_average": Last(path_length)}
        metrics |= discriminator_metrics(real_logit, fake_logit, mask)
        # EMA of the generator.
        variables = player_variables("generator", state.params, state.model_state)
        average = ema_update(state.generator_ema, variables, ema, state.step) if has_ema else {}
        changes = {"generator_ema": average, "augment_probability": p, "path_length": path_length}
        return state.replace(step=state.step + 1, **changes), metrics

    return Learner(init, update, game.evaluate, game.predict)
