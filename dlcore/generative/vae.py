"""The variational autoencoder: a likelihood bound from below, by an encoder that infers the code of an image.

Kingma & Welling 2014, arXiv:1312.6114; beta (beta-VAE) is Higgins et al. 2017; the tighter bound is Burda, Grosse &
Salakhutdinov 2016, arXiv:1509.00519.

    z ~ N(0, I),  x ~ p(x|z);   q(z|x) = N(mu, diag sigma^2),  z = mu + sigma eps,  eps ~ N(0, I)
    ELBO   = E_q log p(x|z) - beta KL(q || N(0, I)),    KL = 1/2 sum (mu^2 + sigma^2 - 1 - log sigma^2)
    IWAE_K = E log 1/K sum_k w_k,   w_k = p(x|z_k) p(z_k) / q(z_k|x)          ELBO <= IWAE_K <= log p(x)

log p(x|z) is the sum over pixels in nats: a mean in its place would change beta. With the Bernoulli likelihood pixels
are made binary first, by a named rule, as a Bernoulli "likelihood" of gray values is none. The Gaussian one is a
density of values in [0, 1]; its nats compare with no probability's. Both bounds are taken from the same K draws.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.data.augment import to_float
from dlcore.generative.latents import arcs
from dlcore.generative.likelihood import bernoulli_log_likelihood, binarize
from dlcore.generative.pixels import halve_sides
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.metrics import psnr
from dlcore.nn import Conv, ConvTranspose, Dense
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype
from dlcore.optim import apply_gradients, init_state

__all__ = ["VAE", "kl_to_standard_normal", "learner", "log_normal", "reparameterize"]

NUM_STEPS = 8
"""Images from one to another."""
LOG_VARIANCE = (-10.0, 10.0)
"""Limits of log sigma^2 of a code."""
PIXEL_LOG_VARIANCE = (-6.0, 2.0)
"""Limits of a pixel's: without the lower one the density of a pixel that never changes has no bound."""


class VAE(nn.Module):
    """In both nets hidden ReLU layers, then two parallel outputs, the mean and log sigma^2; or logits of Bernoullis.

    Convolutions of stride 2 may stand before the encoder's dense layers; the decoder is the mirror image.

    Args:
      shape: (H, W, C) of an image.
      hidden: units of the encoder's dense layers; the decoder has them in reverse.
      latent_dim: dimensions of the code.
      likelihood: likelihood of the pixels: bernoulli, of zeros and ones, or gaussian, of values.
      widths: channels of the convolutions, each of which halves the sides; none makes the nets fully connected.
    """

    shape: tuple[int, ...]
    hidden: Annotated[tuple[int, ...], Range(1)] = (500,)
    latent_dim: Annotated[int, Range(1)] = 20
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    widths: Annotated[tuple[int, ...], Range(1)] = ()
    dtype: Any = None

    def encode(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Encode images to the mean and log-variance of the code.

        [B, H, W, C] -> (mean [B, latent_dim], log variance [B, latent_dim]) of q(z|x), at least float32.
        """
        check_choice("likelihood", self.likelihood, ("bernoulli", "gaussian"))
        _ = self.grid
        for k, width in enumerate(self.widths):
            x = nn.relu(self._layer(f"down{k}", Conv, x, width, (4, 4), 2, padding=1))
        x = self._dense("encoder", x.reshape(x.shape[0], -1), self.hidden)
        mean, log_variance = (
            to_acc_dtype(self._layer(f"encoder_{head}", Dense, x, self.latent_dim)) for head in ("mean", "log_variance")
        )
        return mean, jnp.clip(log_variance, *LOG_VARIANCE)

    def decode(self, z: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Decode codes to the parameters of the pixels' distribution.

        [B, latent_dim] -> (logits [B, H, W, C], None) of a Bernoulli likelihood; (mean, log variance) of a Gaussian
        one.
        """
        x = self._dense("decoder", z, self.hidden[::-1])
        if self.widths:
            x = nn.relu(self._layer("decoder_map", Dense, x, int(np.prod(self.grid)) * self.widths[-1]))
            x = x.reshape(-1, *self.grid, self.widths[-1])
        for k in range(len(self.widths) - 1, 0, -1):
            x = nn.relu(self._layer(f"up{k}", ConvTranspose, x, self.widths[k - 1], (4, 4), 2, 1))
        heads = ("logits",) if self.likelihood == "bernoulli" else ("mean", "log_variance")
        first, *rest = (self._pixels(f"decoder_{head}", x) for head in heads)
        return first, jnp.clip(rest[0], *PIXEL_LOG_VARIANCE) if rest else None

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Decode the mean code of images: [B, H, W, C] -> as `decode`."""
        return self.decode(self.encode(x)[0])

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) after the convolutions.

        Raises:
          ValueError: the sides cannot be halved so often.
        """
        return halve_sides(self.shape, len(self.widths), f", as widths={self.widths} asks")

    def _dense(self, name: str, x: jax.Array, hidden: tuple[int, ...]) -> jax.Array:
        for i, size in enumerate(hidden):
            x = nn.relu(self._layer(f"{name}{i}", Dense, x, size))
        return x

    def _pixels(self, name: str, x: jax.Array) -> jax.Array:
        if self.widths:
            return to_acc_dtype(self._layer(name, ConvTranspose, x, self.shape[-1], (4, 4), 2, 1))
        return to_acc_dtype(self._layer(name, Dense, x, int(np.prod(self.shape)))).reshape(-1, *self.shape)

    @nn.compact
    def _layer(self, name: str, kind: type[nn.Module], x: jax.Array, *arguments, **options) -> jax.Array:
        dtype = compute_dtype(self.dtype, x, self.variables)
        return kind(*arguments, dtype=dtype, name=name, **options)(x)


def kl_to_standard_normal(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, sigma^2) || N(0, 1)) of each dimension.

    Args:
      mean: [...].
      log_variance: [...], log sigma^2.

    Returns:
      [...] nats, 0 or more.
    """
    check_shapes(mean=(mean, "..."), log_variance=(log_variance, "..."))
    mean, log_variance = (to_acc_dtype(v) for v in (mean, log_variance))
    return 0.5 * (jnp.square(mean) + jnp.expm1(log_variance) - log_variance)


def reparameterize(key: jax.Array, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Draw z = mean + sigma eps, through which gradients reach mean and sigma.

    Args:
      key: PRNG key of eps.
      As `kl_to_standard_normal`.

    Returns:
      [...], computed in float32 and cast to the dtype of the mean.
    """
    check_shapes(mean=(mean, "..."), log_variance=(log_variance, "..."))
    z, deviation = to_acc_dtype(mean), jnp.exp(0.5 * to_acc_dtype(log_variance))
    return (z + deviation * jax.random.normal(key, z.shape, z.dtype)).astype(result_dtype(mean))


def log_normal(x: jax.Array, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Sum the log density of a diagonal normal over all axes but the first.

    Args:
      x: [B, ...].
      mean: [B, ...], or a number.
      log_variance: [B, ...], or a number.

    Returns:
      [B] nats, at least float32.
    """
    check_shapes(
        x=(x, "..."), **{k: (v, "...") for k, v in (("mean", mean), ("log_variance", log_variance)) if np.ndim(v)}
    )
    x, mean, log_variance = (to_acc_dtype(jnp.asarray(v)) for v in (x, mean, log_variance))
    terms = -0.5 * (jnp.log(2 * jnp.pi) + log_variance + jnp.square(x - mean) * jnp.exp(-log_variance))
    return jnp.broadcast_to(terms, x.shape).reshape(x.shape[0], -1).sum(-1)


def _observe(model: nn.Module, binarization: str, images: jax.Array, index: jax.Array, rng: jax.Array) -> jax.Array:
    """Return the pixels that the likelihood is of: zeros and ones, or values."""
    return binarize(rng, images, binarization, index) if model.likelihood == "bernoulli" else to_float(images)


def _encode(model: nn.Module, params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log variance [B, Z] of q(z | x)."""
    return model.apply({"params": params}, x, method="encode")


def _log_likelihood(model: nn.Module, params: Any, x: jax.Array, z: jax.Array) -> jax.Array:
    """log p(x | z) [B]."""
    first, log_variance = model.apply({"params": params}, z, method="decode")
    return bernoulli_log_likelihood(first, x) if model.likelihood == "bernoulli" else log_normal(x, first, log_variance)


def _decode(model: nn.Module, params: Any, z: jax.Array) -> jax.Array:
    """Mean images [B, H, W, C] in [0, 1]."""
    first, _ = model.apply({"params": params}, z, method="decode")
    return jax.nn.sigmoid(first) if model.likelihood == "bernoulli" else jnp.clip(first, 0, 1)


def _sample(model: nn.Module, params: Any, keys: jax.Array, draw_pixels: bool) -> jax.Array:
    """Images [B, H, W, C] of codes from the prior: means of p(x | z), or draws, clipped to [0, 1]."""
    z = jax.vmap(lambda key: jax.random.normal(key, (model.latent_dim,)))(keys)  # [B, Z]
    if not draw_pixels:
        return _decode(model, params, z)
    first, log_variance = model.apply({"params": params}, z, method="decode")  # [B, H, W, C] each
    pixel_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, 1)
    if model.likelihood == "bernoulli":
        return jax.vmap(lambda key, logits: jax.random.bernoulli(key, nn.sigmoid(logits)))(pixel_keys, first) * 1.0
    noise = jax.vmap(lambda key: jax.random.normal(key, first.shape[1:]))(pixel_keys)
    return jnp.clip(first + jnp.exp(log_variance / 2) * noise, 0, 1)


def _objective(
    model: nn.Module, observe: Callable, beta: float | jax.Array, params: Any, batch: dict, rng: jax.Array
) -> tuple[jax.Array, Metrics]:
    mask = mask_of(batch)
    # Encoder: q(z | x).
    x = observe(batch["image"], batch["index"], jax.random.fold_in(rng, 0))
    mean, log_variance = _encode(model, params, x)  # [B, Z] each
    # One reparameterized draw an image.
    z = jax.vmap(reparameterize)(example_keys(jax.random.fold_in(rng, 1), batch), mean, log_variance)  # [B, Z]
    # Negative ELBO: reconstruction plus beta * KL.
    nats, kl = -_log_likelihood(model, params, x, z), kl_to_standard_normal(mean, log_variance).sum(-1)  # [B], [B]
    losses = nats + beta * kl  # [B]
    metrics = {"loss": Sum.of(losses, mask), "kl_nats": Sum.of(kl, mask), "reconstruction_nats": Sum.of(nats, mask)}
    return masked_mean(losses, mask), metrics


def _log_weights(model: nn.Module, params: Any, x: jax.Array, keys: jax.Array, num_samples: int) -> jax.Array:
    """log p(x, z) - log q(z | x) of draws of z, [K, B]."""
    mean, log_variance = _encode(model, params, x)

    def log_weight(k):
        z = jax.vmap(lambda key, *q: reparameterize(jax.random.fold_in(key, k), *q))(keys, mean, log_variance)
        # log p(x | z) + log p(z) - log q(z | x).
        return _log_likelihood(model, params, x, z) + log_normal(z, 0.0, 0.0) - log_normal(z, mean, log_variance)

    return jax.lax.map(log_weight, jnp.arange(num_samples))


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    binarization: Literal["dynamic", "static", "threshold"] = "dynamic",
    beta: Annotated[float, Range(0)] = 1.0,
    importance_samples: Annotated[int, Range(1)] = 50,
    draw_pixels: Annotated[bool, "if changed"] = False,
) -> Learner:
    """Train a variational autoencoder on `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      model: model with `encode`, `decode`, `likelihood` and `latent_dim`, as `VAE`.
      binarization: bernoulli: how gray values in [0, 1] become zeros and ones.
      beta: weight of the divergence in training; the bounds of `evaluate` have 1.
      importance_samples: K, draws of z an image in `evaluate`.
      draw_pixels: draw each sample from p(x|z), pixel by pixel: zeros and ones, or values with the Gaussian's noise;
        otherwise it is the mean of p(x|z), the smooth image that papers show.

    Returns:
      The learner. `evaluate` returns the loss with one draw, `kl_nats`, and from K draws the bounds on -log p(x) in
      nats, `elbo_nll_nats_RULE` and `iwaeK_nll_nats_RULE`, RULE being the binarization, or `density` of a Gaussian.
      `predict` gives `features [B, Z]` (the mean code), `kl [B, Z]` by dimension, `reconstruction [B, H, W, C]` of the
      mean code with its `psnr [B]`, a `sample` from the prior by the index alone (with `draw_pixels` it has the pixels'
      noise), and where the batch has a second image `other`, the `path [B, 8, H, W, C]` to it. A batch of `index` alone
      gives `sample`, and one of `latent [B, Z]` in place of images `decoded [B, H, W, C]`.
    """
    rule = binarization if model.likelihood == "bernoulli" else "density"
    observe = functools.partial(_observe, model, binarization)
    objective = functools.partial(_objective, model, observe, beta)

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), to_float(batch["image"][:1]))["params"]
        return init_state(params, optimizer, rng)

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, batch, state.rng)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # New binarization and latents at each step.
        rng = jax.random.fold_in(state.rng, state.step)
        # Gradient of the negative ELBO.
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, batch, rng)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        mask = mask_of(batch)
        x = observe(batch["image"], batch["index"], jax.random.fold_in(state.rng, 0))
        keys = example_keys(jax.random.fold_in(state.rng, 2), batch)
        log_w = _log_weights(model, state.params, x, keys, importance_samples)  # [K, B]
        # ELBO: mean of the log weights. IWAE: log of their mean.
        elbo, iwae = log_w.mean(0), jax.nn.logsumexp(log_w, axis=0) - jnp.log(importance_samples)  # [B], [B]
        bounds = {
            f"elbo_nll_nats_{rule}": Sum.of(-elbo, mask),
            f"iwae{importance_samples}_nll_nats_{rule}": Sum.of(-iwae, mask),
        }
        return {**objective(state.params, batch, state.rng)[1], **bounds}

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        decode = functools.partial(_decode, model, state.params)
        if "latent" in batch:
            return {"decoded": decode(batch["latent"])}
        keys = example_keys(jax.random.fold_in(state.rng, 3), batch)
        # Samples from the prior, by the index alone.
        outputs = {"sample": _sample(model, state.params, keys, draw_pixels)}
        if "image" not in batch:
            return outputs

        def encode(images):
            x = observe(images, batch["index"], jax.random.fold_in(state.rng, 0))
            return _encode(model, state.params, x)

        # Reconstruct from the mean code.
        mean, log_variance = encode(batch["image"])  # [B, Z] each
        y = decode(mean)  # [B, H, W, C]
        outputs |= {"features": mean, "kl": kl_to_standard_normal(mean, log_variance)}
        outputs |= {"reconstruction": y, "psnr": jax.vmap(psnr)(y, to_float(batch["image"]))}
        if "other" in batch:
            # Interpolate between two images along an arc.
            path = arcs(mean, encode(batch["other"])[0], NUM_STEPS)  # [B, 8, Z]
            outputs["path"] = decode(path.reshape(-1, model.latent_dim)).reshape(*path.shape[:2], *y.shape[1:])
        return outputs

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)
