"""Autoencoders: learn to reproduce an image through a code; plain, sparse or denoising.

    plain      L = |D(E(x)) - x|^2                     a code of fewer dimensions than x: a bottleneck
    sparse     L + weight sum_j KL(rho || a_j)         a_j: mean activation of unit j over the batch, in (0, 1)
               L + weight sum_j mean |h_j|             l1, of the code h
    denoising  L = |D(E(x~)) - x|^2,  x~ = x + sigma eps, clipped to [0, 1]

|.|^2 is the sum over pixels and KL that of two coins, rho log(rho / a) + (1 - rho) log((1 - rho) / (1 - a)). Hinton &
Salakhutdinov 2006 (plain; a linear one spans the principal components: Baldi & Hornik 1989); Ng, "Sparse autoencoder"
(2011, CS294A notes); Vincent et al. 2008 (denoising). A sparse autoencoder is not a narrow one: its code may have more
dimensions than x, of which few are active. None of the three can sample: nothing says how codes are distributed.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.augment import to_float
from dlcore.generative.latents import arcs
from dlcore.generative.pixels import halve_sides
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.metrics import psnr
from dlcore.nn import Conv, ConvTranspose, Dense
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import psum
from dlcore.optim import apply_gradients, init_state

__all__ = ["Autoencoder", "activation_divergence", "learner", "mean_activation"]

NUM_STEPS = 8
"""Images from one to another."""


class Autoencoder(nn.Module):
    """An encoder of convolutions and dense layers, and its mirror image.

    Args:
      shape: (H, W, C) of an image.
      hidden: units of the encoder's hidden ReLU layers; none makes both dense halves linear.
      latent_dim: dimensions of the code.
      activation: activation of the code.
      widths: channels of the convolutions before the dense layers, each of which halves the sides; none makes both
        halves fully connected.
    """

    shape: tuple[int, ...]
    hidden: Annotated[tuple[int, ...], Range(1)] = (256,)
    latent_dim: Annotated[int, Range(1)] = 16
    activation: Callable[[jax.Array], jax.Array] | None = None
    widths: Annotated[tuple[int, ...], Range(1), "if changed"] = ()
    dtype: Any = None

    def encode(self, x: jax.Array) -> jax.Array:
        """Compute the codes: [B, H, W, C] in [0, 1] -> [B, latent_dim]."""
        _ = self.grid
        for k, width in enumerate(self.widths):
            x = nn.relu(self._layer(f"down{k}", Conv, x, width, (4, 4), 2, padding=1))
        z = self._dense("encoder", x.reshape(x.shape[0], -1), (*self.hidden, self.latent_dim))
        return z if self.activation is None else self.activation(z)

    def decode(self, z: jax.Array) -> jax.Array:
        """Reconstruct from codes: [B, latent_dim] -> [B, H, W, C], about [0, 1]."""
        shape = (*self.grid, self.widths[-1]) if self.widths else self.shape
        y = self._dense("decoder", z, (*self.hidden[::-1], int(np.prod(shape)))).reshape(-1, *shape)
        for k in reversed(range(len(self.widths))):
            width = self.widths[k - 1] if k else self.shape[-1]
            y = self._layer(f"up{k}", ConvTranspose, nn.relu(y), width, (4, 4), 2, 1)
        return to_acc_dtype(y)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Reconstruct images: [B, H, W, C] in [0, 1] -> [B, H, W, C], about [0, 1]."""
        return self.decode(self.encode(x))

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) after the convolutions.

        Raises:
          ValueError: the sides cannot be halved so often.
        """
        return halve_sides(self.shape, len(self.widths), f", as widths={self.widths} asks")

    def _dense(self, name: str, x: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
        """Dense layers, all but the last with ReLU."""
        for i, size in enumerate(sizes):
            x = self._layer(f"{name}{i}", Dense, x if i == 0 else nn.relu(x), size)
        return x

    @nn.compact
    def _layer(self, name: str, kind: type[nn.Module], x: jax.Array, *arguments, **options) -> jax.Array:
        dtype = compute_dtype(self.dtype, x, self.variables)
        return kind(*arguments, dtype=dtype, name=name, **options)(x)


def mean_activation(codes: jax.Array, mask: jax.Array) -> jax.Array:
    """Average each unit over the examples that count.

    Args:
      codes: [B, D].
      mask: [B].

    Returns:
      [D]; 0 where no example counts.
    """
    check_shapes(codes=(codes, "B D"), mask=(mask, "mask B"))
    is_valid = mask > 0
    total, count = jnp.where(is_valid[:, None], to_acc_dtype(codes), 0).sum(0), is_valid.sum()
    total, count = psum((total, count))
    return total / jnp.maximum(count, 1)


def activation_divergence(activation: jax.Array, rho: float | jax.Array) -> jax.Array:
    """KL(rho || a) of two coins: 0 where the unit is active as often as it should be.

    Args:
      activation: [...], mean activations in [0, 1].
      rho: the wanted one, in (0, 1).

    Returns:
      [...] nats.
    """
    check_shapes(rho=(rho, "> 0"))
    check_shapes(rho=(rho, "0 to <1"))
    a = jnp.clip(to_acc_dtype(activation), 1e-6, 1 - 1e-6)
    return rho * jnp.log(rho / a) + (1 - rho) * jnp.log((1 - rho) / (1 - a))


def _add_noise(batch: dict, rng: jax.Array, noise: float | jax.Array) -> jax.Array:
    """Noisy images [B, H, W, C] in [0, 1], the noise of each by its index."""

    def add(key, x):
        return jnp.clip(x + noise * jax.random.normal(key, x.shape, x.dtype), 0, 1)

    return jax.vmap(add)(example_keys(rng, batch), to_float(batch["image"]))


def _measure(
    model: nn.Module, kind: str, params: Any, inputs: jax.Array, batch: dict
) -> tuple[jax.Array, jax.Array, Metrics]:
    """(mean loss, codes [B, D], metrics) of images encoded from `inputs` [B, H, W, C]."""
    x, mask = to_float(batch["image"]), mask_of(batch)
    codes = model.apply({"params": params}, inputs, method="encode")  # [B, D]
    y = model.apply({"params": params}, codes, method="decode")  # [B, H, W, C]
    flat = (x.shape[0], -1)
    losses = jnp.square(y.reshape(flat) - x.reshape(flat)).sum(-1)  # [B]
    clipped = jnp.clip(y, 0, 1)
    quality = jax.vmap(psnr)(clipped, x)  # [B]
    metrics = {
        "loss": Sum.of(losses, mask),
        "mse": Sum.of(jnp.square(clipped.reshape(flat) - x.reshape(flat)).mean(-1), mask),
        "psnr": Sum.of(quality, mask),
    }
    if kind == "sparse":
        metrics["mean_activation"] = Sum.of(jnp.abs(codes).mean(-1), mask)
    if kind == "denoising":
        before = jax.vmap(psnr)(inputs, x)  # [B]
        metrics |= {"psnr_noisy": Sum.of(before, mask), "psnr_gain": Sum.of(quality - before, mask)}
    return masked_mean(losses, mask), codes, metrics


def _sparsity(codes: jax.Array, mask: jax.Array, penalty: str, rho: float | jax.Array) -> jax.Array:
    """Penalty on the mean activation of each unit over the batch; 0 for a batch of padding."""
    if penalty == "kl":
        pulled = activation_divergence(mean_activation(codes, mask), rho).sum()
    else:
        pulled = mean_activation(jnp.abs(codes), mask).sum()
    return jnp.where(mask.sum() > 0, pulled, 0)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    kind: Literal["plain", "sparse", "denoising"] = "plain",
    penalty: Literal["kl", "l1"] = "kl",
    rho: Annotated[float, Range(1e-4, 0.9999)] = 0.05,
    sparsity_weight: Annotated[float, Range(0)] = 3.0,
    noise: Annotated[float, Range(0)] = 0.3,
) -> Learner:
    """Train an autoencoder on `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      model: model with `encode(x [B, H, W, C]) -> [B, D]` and `decode(z) -> x`, as `Autoencoder`; sparse with kl asks
        for codes in (0, 1).
      kind: plain, sparse or denoising.
      penalty: penalty of sparse: the divergence of mean activations from rho, or the absolute values.
      rho: sparse with kl: wanted mean activation of each unit.
      sparsity_weight: sparse: factor of the penalty.
      noise: denoising: standard deviation of the noise on pixels in [0, 1].

    Returns:
      The learner. `evaluate` returns the loss without its penalty, `mse` and `psnr` of the reconstruction clipped to
      [0, 1], for sparse `mean_activation`, and for denoising `psnr_noisy` and `psnr_gain`, with noise drawn for each
      example by its index. `predict` returns `features [B, D]`, `reconstruction [B, H, W, C]` with its `psnr [B]`, for
      denoising `noisy`, and, where the batch has a second image `other`, the `path [B, 8, H, W, C]` to it; of a
      batch of `latent [B, D]` in place of images it gives `decoded [B, H, W, C]`.
    """

    def inputs_of(batch, rng):
        return _add_noise(batch, rng, noise) if kind == "denoising" else to_float(batch["image"])

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), to_float(batch["image"][:1]))["params"]
        return init_state(params, optimizer, rng)

    def measures(params, batch, rng):
        return _measure(model, kind, params, inputs_of(batch, rng), batch)

    def objective(params, batch, rng):
        value, codes, metrics = measures(params, batch, rng)
        if kind == "sparse":
            pulled = _sparsity(codes, mask_of(batch), penalty, rho)
            metrics["sparsity"] = Sum.of(pulled[None])
            value = value + sparsity_weight * pulled
        return value, metrics

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, batch, state.rng)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # The noise of a denoising autoencoder differs at each step.
        rng = jax.random.fold_in(state.rng, state.step)
        # Gradient of the reconstruction error and the sparsity penalty.
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, batch, rng)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return measures(state.params, batch, state.rng)[2]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        apply = functools.partial(model.apply, {"params": state.params})
        encode, decode = (functools.partial(apply, method=method) for method in ("encode", "decode"))
        if "latent" in batch:
            return {"decoded": jnp.clip(decode(batch["latent"]), 0, 1)}
        x = inputs_of(batch, state.rng)
        codes = encode(x)  # [B, D]
        y = jnp.clip(decode(codes), 0, 1)
        outputs = {"features": codes, "reconstruction": y, "psnr": jax.vmap(psnr)(y, to_float(batch["image"]))}
        if kind == "denoising":
            outputs["noisy"] = x
        if "other" in batch:
            path = arcs(codes, encode(to_float(batch["other"])), NUM_STEPS)  # [B, 8, D]
            decoded = jnp.clip(decode(path.reshape(-1, codes.shape[-1])), 0, 1)
            outputs["path"] = decoded.reshape(*path.shape[:2], *x.shape[1:])
        return outputs

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss)
