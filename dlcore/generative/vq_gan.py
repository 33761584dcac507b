"""VQGAN: a VQ-VAE whose reconstructions must look right to a trained network and real to a discriminator.

Esser, Rombach & Ommer 2021, arXiv:2012.09841; the perceptual distance is Zhang et al. 2018, arXiv:1801.03924 ("LPIPS").

    L_rec  = mean (x^ - x)^2 + w_p d(x^, x)
    d      = sum over layers of the mean over positions of |f(x^) / |f(x^)| - f(x) / |f(x)||^2    f: maps of the network
    L      = L_rec + beta mean (z - stop_gradient(q))^2 + a lambda L_G(D(x^))
    lambda = |grad_W L_rec| / (|grad_W L_G| + delta)         W: last kernel of the decoder; no gradient goes through it
    D minimizes max(0, 1 - D(x)) + max(0, 1 + D(x^)), averaged over patches

lambda gives both losses gradients of one length where they enter the decoder, whatever their scales; it is at most
10^4, as in the authors' code. The discriminator waits for `adversarial_start` steps, in which a = 0. The codebook is
the average of `dlcore.generative.vq_vae` with restarts, where the paper moves it by gradients. The distance has no
learned weights of channels, where LPIPS has some. With w_p = a = 0 a step is that of the VQ-VAE.
"""

import functools
from collections.abc import Callable
from numbers import Real
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.generative.pixels import normalize
from dlcore.generative.two_players import LOSSES, AdversarialLoss, LossName, Players, PlayerState
from dlcore.generative.vq_vae import (
    Codebook,
    autoencode,
    codebook_from,
    codebook_usage,
    quantize,
    reconstruct,
    reconstruction_loss,
    update_codebook,
)
from dlcore.learner import Last, Learner, Metrics, Range, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.models.backbone import check_layers
from dlcore.ops.checks import check_shapes
from dlcore.ops.l2_normalize import l2_normalize
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import pmean

__all__ = ["VQGANState", "adaptive_weight", "learner", "perceptual_distance"]

DELTA, MAX_WEIGHT = 1e-6, 1e4


@struct.dataclass
class VQGANState(PlayerState):
    """The state of autoencoder and discriminator; params and opt_state are dicts of `generator` and `discriminator`.

    Args:
      network: frozen variables of the network that compares images.
    """

    codebook: Codebook
    network: Any


def perceptual_distance(maps: dict[str, jax.Array], targets: dict[str, jax.Array]) -> jax.Array:
    """Compare images by the directions of their features at each position.

    Args:
      maps: {layer: [B, h, w, D]} of the images.
      targets: {layer: [B, h, w, D]} of the images that they should look like.

    Returns:
      [B], the sum over layers of the mean squared distance of unit vectors, each from 0 to 4.
    """
    if not maps or maps.keys() - targets.keys():
        raise ValueError(
            f"targets: of layers {sorted(targets)}; allowed: those of the maps, {sorted(maps)}, at least one"
        )
    total = jnp.zeros(())
    for name, f in maps.items():
        check_shapes(maps=(f, "B h w D"), targets=(targets[name], "B h w D"))
        unit, target = (l2_normalize(to_acc_dtype(x), floor=0) for x in (f, targets[name]))
        total += jnp.square(unit - target).sum(-1).mean((1, 2))
    return total


def adaptive_weight(gradient: jax.Array, adversarial_gradient: jax.Array) -> jax.Array:
    """Weight an adversarial loss so that its gradient is as long as that of the reconstruction.

    Args:
      gradient: [...], of the reconstruction loss by the decoder's last kernel.
      adversarial_gradient: [...], of the generator's adversarial loss by the same kernel.

    Returns:
      [] lambda, from 0 to 10^4, without a gradient.
    """
    check_shapes(gradient=(gradient, "..."), adversarial_gradient=(adversarial_gradient, "..."))
    lengths = [jnp.sqrt(jnp.square(to_acc_dtype(g)).sum()) for g in (gradient, adversarial_gradient)]
    return jax.lax.stop_gradient(jnp.minimum(lengths[0] / (lengths[1] + DELTA), MAX_WEIGHT))


class _Game(NamedTuple):
    """Networks and weights of the losses of both players."""

    model: nn.Module
    players: Players
    adversary: AdversarialLoss
    distance: Callable[[Any, jax.Array, jax.Array], jax.Array]
    commitment: float | jax.Array
    perceptual_weight: float | jax.Array

    def reconstruction(self, state: VQGANState, params: dict, batch: dict) -> tuple[jax.Array, tuple]:
        """(loss without the adversary [], (metrics, reconstructions [B, H, W, C], encodings, codes))."""
        x, mask = normalize(batch["image"]), mask_of(batch)
        y, commitment_losses, z, codes = autoencode(self.model, params["generator"], state.codebook.vectors, x)
        loss, metrics = reconstruction_loss(y, x, commitment_losses, mask, self.commitment)
        distances = self.distance(state.network, y, x)  # [B]
        pixels, perceptual = metrics["loss"], Sum.of(distances, mask)
        total = Sum(pixels.total + self.perceptual_weight * perceptual.total, pixels.count)
        metrics |= {"loss": total, "perceptual": perceptual}
        return loss + self.perceptual_weight * masked_mean(distances, mask), (metrics, y, z, codes)

    def adversarial(self, state: VQGANState, params: dict, y: jax.Array) -> jax.Array:
        """Loss of the generator [B] for reconstructions y [B, H, W, C]."""
        logit, _ = self.players.apply("discriminator", params, state.model_state, y)  # [B, h, w]
        return self.adversary.generator(logit).mean((1, 2))

    def discriminator(
        self, state: VQGANState, factor: jax.Array, x: jax.Array, y: jax.Array, mask: jax.Array, params: dict
    ) -> tuple[jax.Array, tuple]:
        """Loss of the discriminator on images x and reconstructions y; the factor is 0 before it starts."""
        real_logit, statistics = self.players.apply("discriminator", params, state.model_state, x)  # [B, h, w]
        model_state = {**state.model_state, "discriminator": statistics}
        fake_logit, statistics = self.players.apply("discriminator", params, model_state, y)  # [B, h, w]
        losses = self.adversary.discriminator(real_logit, fake_logit).mean((1, 2))  # [B]
        return factor * masked_mean(losses, mask), (statistics, losses)

    def weight(self, state: VQGANState, q: jax.Array, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Lambda [] for images x whose code vectors are q [B, h, w, D]."""
        leaves, name = flatten_dict(state.params["generator"]), self.model.last_kernel

        def losses(kernel):
            params = unflatten_dict({**leaves, name: kernel})
            y = self.model.apply({"params": params}, q, method="decode")  # [B, H, W, C]
            distances = self.perceptual_weight * self.distance(state.network, y, x)  # [B]
            pixels, adversarial = (
                jnp.square(y - x).mean((1, 2, 3)),
                self.adversarial(state, state.params, y),
            )  # [B] each
            return masked_mean(pixels + distances, mask), masked_mean(adversarial, mask)

        # Gradients of both losses by the last kernel.
        _, pull = jax.vjp(losses, leaves[name])
        one, zero = jnp.ones(()), jnp.zeros(())
        return adaptive_weight(*pmean((pull((one, zero))[0], pull((zero, one))[0])))

    def generator(
        self, state: VQGANState, weight: jax.Array | None, batch: dict, params: dict
    ) -> tuple[jax.Array, tuple]:
        """Loss of the autoencoder; a weight of None leaves the adversary out."""
        loss, (metrics, y, z, codes) = self.reconstruction(state, params, batch)
        if weight is not None:
            losses, mask = self.adversarial(state, params, y), mask_of(batch)
            loss, metrics = loss + weight * masked_mean(losses, mask), metrics | {"g_loss": Sum.of(losses, mask)}
        return loss, (state.model_state["generator"], (metrics, z, codes))


def _distance(network: nn.Module, mean: np.ndarray, std: np.ndarray, layers: tuple[str, ...]) -> Callable:
    """(variables of the network, y, x: [B, H, W, C] in [-1, 1]) -> perceptual distances [B]."""

    def distance(frozen, y, x):
        y, x = (((images + 1) / 2 - mean) / std for images in (y, x))
        maps, targets = (network.apply(frozen, images, train=False, method="features") for images in (y, x))
        return perceptual_distance({name: maps[name] for name in layers}, targets)

    return distance


def _is_zero(weight: float | jax.Array) -> bool:
    return isinstance(weight, Real) and weight == 0


@check_arguments
def learner(
    *,
    model: nn.Module,
    discriminator: nn.Module,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    network: nn.Module,
    variables: Any,
    mean: np.ndarray,
    std: np.ndarray,
    num_codes: Annotated[int, Range(2)] = 128,
    commitment: Annotated[float, Range(0)] = 0.25,
    decay: Annotated[float, Range(0, 0.999999)] = 0.99,
    restart_below: Annotated[float, Range(0, 0.99)] = 0.03,
    layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_2"),
    perceptual_weight: Annotated[float, Range(0)] = 1.0,
    adversarial_weight: Annotated[float, Range(0)] = 1.0,
    adversarial_start: Annotated[int, Range(0)] = 0,
    loss: LossName = "hinge",
) -> Learner:
    """Train a VQGAN on `{"image": [B, H, W, C]}`.

    Args:
      model: model with `encode`, `decode`, `grid` and `last_kernel`, as `dlcore.generative.vq_vae.VQVAE`.
      discriminator: `__call__(x, train) -> logits [B, h, w]`; not used where its weight is 0.
      generator_optimizer: optimizer of the autoencoder, any optax transformation.
      network: network whose `features(x)` returns {name: feature map}.
      variables: variables of `network`, frozen.
      mean: [C], of the pixels that `network` was trained on; gray images fill its channels.
      std: [C], of the pixels that `network` was trained on.
      num_codes: K.
      commitment: beta, weight of the pull of the encoder's outputs to their codes.
      decay: g, of the codebook's averages.
      restart_below: a code restarts where its share of the outputs is below this over K; 0 restarts none.
      layers: names of the maps that the perceptual distance compares.
      perceptual_weight: w_p, weight of the perceptual distance; 0 leaves it out.
      adversarial_weight: a, factor of the adaptive weight of the adversarial loss; 0 trains without a discriminator.
      adversarial_start: step from which on the discriminator plays.
      loss: adversarial, of both players: non_saturating, minimax, hinge or least_squares.

    Returns:
      The learner. `evaluate` returns the loss without the adversary, `mse` and `psnr` of pixels in [0, 1], the
      `perceptual` distance, and `perplexity` and `usage` of the codebook over all examples. `predict` returns the same
      as that of `dlcore.generative.vq_vae.learner`. There is no `loss`: what passes straight through is not the
      gradient of any value.
    """
    check_layers(network, variables, len(mean), layers=layers)
    is_adversarial, is_perceptual = not _is_zero(adversarial_weight), not _is_zero(perceptual_weight)
    players = Players({"generator": model}, {"generator": generator_optimizer})
    if is_adversarial:
        players.networks["discriminator"] = discriminator
        players.optimizers["discriminator"] = discriminator_optimizer

    distance = _distance(network, mean, std, layers) if is_perceptual else lambda frozen, y, x: jnp.zeros(len(x))
    game = _Game(model, players, LOSSES[loss], distance, commitment, perceptual_weight)

    def init(rng: jax.Array, batch: dict) -> VQGANState:
        x, frozen = normalize(batch["image"]), jax.tree.map(jnp.asarray, variables)
        fields = players.init(rng, {"generator": (x[:1],), "discriminator": (x[:1],)})
        z = model.apply({"params": fields["params"]["generator"]}, x, method="encode")
        codebook = codebook_from(jax.random.fold_in(rng, 3), z.reshape(-1, z.shape[-1]), num_codes)
        return VQGANState(**fields, codebook=codebook, network=frozen)

    def update(state: VQGANState, batch: dict) -> tuple[VQGANState, Metrics]:
        x, mask, weight, adversary_metrics = normalize(batch["image"]), mask_of(batch), None, {}
        if is_adversarial:
            started = (state.step >= adversarial_start).astype(jnp.float32)
            _, _, q = quantize(model, state.params["generator"], state.codebook.vectors, x)  # [B, h, w, D]
            fake = model.apply({"params": state.params["generator"]}, q, method="decode")  # [B, H, W, C]
            # Discriminator step on images and their reconstructions.
            objective = functools.partial(game.discriminator, state, started, x, fake, mask)
            state, d_losses = players.turn("discriminator", state, objective)
            # Adaptive weight: the ratio of both gradients at the last kernel of the decoder.
            ratio = game.weight(state, q, x, mask)
            weight = started * adversarial_weight * ratio
            adversary_metrics = {"d_loss": Sum.of(d_losses, mask), "adaptive_weight": Last(ratio)}
        # Autoencoder step, against the updated discriminator.
        objective = functools.partial(game.generator, state, weight, batch)
        new_state, (metrics, z, codes) = players.turn("generator", state, objective)
        # EMA of the codebook; dead codes restart.
        key, each = jax.random.fold_in(state.rng, state.step), jnp.repeat(mask, codes[0].size)
        inputs = z.reshape(-1, z.shape[-1]), codes.reshape(-1), each, key
        codebook = update_codebook(state.codebook, *inputs, decay=decay, restart_below=restart_below)
        return new_state.replace(step=state.step + 1, codebook=codebook), metrics | adversary_metrics

    def evaluate(state: VQGANState, batch: dict) -> Metrics:
        _, (metrics, _, _, codes) = game.reconstruction(state, state.params, batch)
        return metrics | codebook_usage(codes, mask_of(batch), num_codes)

    def predict(state: VQGANState, batch: dict) -> dict[str, jax.Array]:
        return reconstruct(model, state.params["generator"], state.codebook.vectors, batch)

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict)
