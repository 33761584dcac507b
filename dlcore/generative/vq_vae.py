"""The VQ-VAE: an autoencoder whose code is a grid of integers.

van den Oord, Vinyals & Kavukcuoglu 2017, arXiv:1711.00937; restarts are Dhariwal et al. 2020, arXiv:2005.00341.

    k = argmin_j |z - e_j|^2,   q = e_k,   x^ = D(z + stop_gradient(q - z))          straight-through
    L = mean (x^ - x)^2 + beta mean (z - stop_gradient(q))^2                         beta: commitment
    n_j <- g n_j + (1 - g) |{z: k = j}|,   m_j <- g m_j + (1 - g) sum_{k = j} z,   e_j = m_j / n_j

The codebook is no parameter but state, an average of what it stands for. A code whose share of the examples falls
below a share of 1 / K restarts at a random output of the encoder; the first codebook are such outputs, too. The
perplexity of a batch's codes depends on the size of the batch: here it is measured over a whole split. In
`dlcore.generative.vq_vae_prior` an autoregressive network learns p(k_1) p(k_2 | k_1) ... of the codes, to sample.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from dlcore.choices import check_whole_number
from dlcore.generative.autoregressive import log_likelihood
from dlcore.generative.latents import arcs
from dlcore.generative.pixels import denormalize, halve_sides, normalize
from dlcore.learner import Learner, Metric, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean
from dlcore.metrics import psnr
from dlcore.metrics.language import BitsPerDim
from dlcore.nn import Conv
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_finite, check_indices, check_shapes
from dlcore.ops.moments import nearest_points
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype
from dlcore.ops.replica import all_gather, is_replicated, psum
from dlcore.optim import apply_gradients

__all__ = [
    "VQVAE",
    "Codebook",
    "CodebookPerplexity",
    "CodebookUsage",
    "VQVAEState",
    "autoencode",
    "codebook_from",
    "codebook_usage",
    "decode_vectors",
    "learner",
    "nearest_codes",
    "prior_loss",
    "quantize",
    "reconstruct",
    "reconstruction_loss",
    "straight_through",
    "update_codebook",
]

NUM_STEPS = 8
"""Images from one to another."""


class VQVAE(nn.Module):
    """The paper's networks: convolutions of stride 2, then residual blocks; and their mirror image.

    Upsampling is nearest resize and convolution, where the paper has transposed convolutions.

    Args:
      shape: (H, W, C) of an image.
      width: channels inside.
      embedding_dim: D, of a code.
      downsamplings: how often sides are halved, up to the code's.
      num_res_blocks: residual blocks of each half.
    """

    shape: tuple[int, ...]
    width: Annotated[int, Range(1)] = 64
    embedding_dim: Annotated[int, Range(1)] = 32
    downsamplings: Annotated[int, Range(1)] = 2
    num_res_blocks: Annotated[int, Range(0)] = 2
    dtype: Any = None

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the codes.

        Raises:
          ValueError: the sides cannot be halved so often.
        """
        return halve_sides(self.shape, self.downsamplings)

    @property
    def last_kernel(self) -> tuple[str, ...]:
        """Path of the decoder's last kernel among the parameters."""
        return "decoder_out", "kernel"

    def encode(self, x: jax.Array) -> jax.Array:
        """Compute what the codes are nearest to: [B, H, W, C] in [-1, 1] -> [B, h, w, D]."""
        _ = self.grid
        for k in range(self.downsamplings):
            x = nn.relu(self._conv(f"down{k}", self.width, x, 4, 2))
        x = self._blocks("encoder", self._conv("encoder_in", self.width, x, 3))
        return self._conv("encoder_out", self.embedding_dim, nn.relu(x), 1)

    def decode(self, q: jax.Array) -> jax.Array:
        """Decode code vectors: [B, h, w, D] -> [B, H, W, C], about [-1, 1]."""
        x = self._blocks("decoder", self._conv("decoder_in", self.width, q, 3))
        for k in range(self.downsamplings):
            x = nn.relu(x).repeat(2, 1).repeat(2, 2)
            x = self._conv(f"up{k}", self.width, x, 3)
        return self._conv("decoder_out", self.shape[-1], nn.relu(x), 3)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Reconstruct without quantization: [B, H, W, C] in [-1, 1] -> [B, H, W, C], about [-1, 1]."""
        return self.decode(self.encode(x))

    def _blocks(self, name: str, x: jax.Array) -> jax.Array:
        for k in range(self.num_res_blocks):
            h = self._conv(f"{name}{k}_conv1", max(1, self.width // 2), nn.relu(x), 3)
            x = x + self._conv(f"{name}{k}_conv2", self.width, nn.relu(h), 1)
        return x

    @nn.compact
    def _conv(self, name: str, features: int, x: jax.Array, side: int, stride: int = 1) -> jax.Array:
        dtype = compute_dtype(self.dtype, x, self.variables)
        last = name.endswith("_out")
        dtype = acc_dtype_of(dtype or x.dtype) if last else dtype
        return Conv(features, (side, side), stride, padding=(side - stride + 1) // 2, dtype=dtype, name=name)(x)


@struct.dataclass
class Codebook:
    """K codes as averages of the encoder's outputs that they stand for.

    Args:
      vectors: [K, D], e.
      counts: [K], n, averaged counts.
      sums: [K, D], m, averaged sums.
    """

    vectors: jax.Array
    counts: jax.Array
    sums: jax.Array


@struct.dataclass
class VQVAEState(State):
    """The state of an autoencoder and its codebook."""

    codebook: Codebook


def codebook_from(key: jax.Array, z: jax.Array, num_codes: int) -> Codebook:
    """Start a codebook at random outputs of the encoder.

    Args:
      key: PRNG key of the choice.
      z: [N, D].
      num_codes: K.

    Returns:
      The codebook; codes are distinct where N is at least K and the outputs are.
    """
    check_whole_number("num_codes", num_codes, 1)
    check_shapes(z=(z, "N D"))
    if not len(z):
        raise ValueError(f"z.shape={z.shape}: no outputs; allowed: at least one")
    check_finite("z", z)
    rows = jax.random.permutation(key, z.shape[0])[jnp.arange(num_codes) % z.shape[0]]
    vectors = z[rows].astype(jnp.float32)
    return Codebook(vectors, jnp.ones(num_codes), vectors)


def nearest_codes(z: jax.Array, vectors: jax.Array) -> jax.Array:
    """Find the nearest code of each output.

    Args:
      z: [..., D].
      vectors: [K, D].

    Returns:
      [...] int32; the first of several.
    """
    check_finite("z", z)
    check_finite("vectors", vectors)
    check_shapes(z=(z, "... D"), vectors=(vectors, f"K {z.shape[-1]}"))
    return nearest_points(z.astype(jnp.float32), vectors)


def straight_through(z: jax.Array, q: jax.Array) -> jax.Array:
    """Straight-through estimator: return q, and pass its gradient to z.

    Args:
      z: [...].
      q: [...].

    Returns:
      [...], q.
    """
    check_shapes(z=(z, "..."), q=(q, "..."))
    return z + jax.lax.stop_gradient(q - z)


def update_codebook(
    book: Codebook,
    z: jax.Array,
    codes: jax.Array,
    mask: jax.Array,
    key: jax.Array,
    *,
    decay: float | jax.Array = 0.99,
    restart_below: float | jax.Array = 0.03,
) -> Codebook:
    """Average the outputs of one batch into their codes, and restart codes that are hardly used.

    Args:
      book: before.
      z: [N, D], outputs of the encoder.
      codes: [N] int, of each.
      mask: [N], set where an output counts.
      key: PRNG key of the restarts, the same on all replicas.
      decay: g.
      restart_below: a code restarts where its share of the counts is below this over K; 0 restarts none.

    Returns:
      The codebook after; as it was where no output counts.
    """
    num_codes = len(book.counts)
    check_shapes(z=(z, "N D"), codes=(codes, "int N"), mask=(mask, "mask N"), vectors=(book.vectors, f"{num_codes} D"))
    check_shapes(decay=(decay, "0 to <1"), restart_below=(restart_below, "0 to <1"))
    check_indices("codes", codes, num_codes, "codes")
    # Number and sum of the encoder outputs assigned to each code.
    z, is_valid = jax.lax.stop_gradient(z).astype(jnp.float32), mask > 0  # [N, D], [N]
    one_hot = jax.nn.one_hot(codes, num_codes) * is_valid[:, None]  # [N, K]
    counts, sums = one_hot.sum(0), one_hot.T @ jnp.where(is_valid[:, None], z, 0)  # [K], [K, D]
    # A random encoder output for each code that may have to restart.
    choose, pick = jax.random.split(key)
    rows = jax.random.categorical(choose, jnp.where(is_valid, 0.0, -jnp.inf), shape=(num_codes,))
    restarts, has_restart = z[rows], jnp.broadcast_to(is_valid.any(), num_codes)
    if is_replicated():
        # Sum over replicas, and choose each restart from any of them.
        counts, sums = psum((counts, sums))
        restarts, has_restart = all_gather((restarts[None], has_restart[None]))  # [R, K, D], [R, K]
        replica = jax.random.categorical(pick, jnp.where(has_restart, 0.0, -jnp.inf), axis=0)
        restarts, has_restart = (v[replica, jnp.arange(num_codes)] for v in (restarts, has_restart))
    # EMA of counts and sums; their quotient is the codebook.
    new_counts = decay * book.counts + (1 - decay) * counts  # [K]
    new_sums = decay * book.sums + (1 - decay) * sums  # [K, D]
    vectors = new_sums / jnp.maximum(new_counts, 1e-12)[:, None]  # [K, D]
    average = new_counts.mean()
    # Dead codes restart at an encoder output.
    dead = (new_counts < restart_below * average) & has_restart  # [K]
    after = Codebook(
        jnp.where(dead[:, None], restarts, vectors),
        jnp.where(dead, average, new_counts),
        jnp.where(dead[:, None], restarts * average, new_sums),
    )
    return jax.tree.map(lambda new, old: jnp.where(counts.sum() > 0, new, old).astype(old.dtype), after, book)


class CodebookPerplexity(Metric):
    """exp of the entropy of the codes of all examples: K where all are used alike, 1 where one is.

    Args:
      counts: [K] int32, how often each code was used.
    """

    counts: jax.Array

    def compute(self) -> float | None:
        """Read the perplexity.

        Returns:
          From 1 to K; None where nothing was counted.
        """
        counts = np.asarray(self.counts, np.float64)
        if not counts.sum():
            return None
        p = counts[counts > 0] / counts.sum()
        return float(np.exp(-(p * np.log(p)).sum()))


class CodebookUsage(Metric):
    """The share of the codes that any example uses.

    Args:
      counts: [K] int32, how often each code was used.
    """

    counts: jax.Array

    def compute(self) -> float | None:
        """Read the share.

        Returns:
          From 1 / K to 1; None where nothing was counted.
        """
        counts = np.asarray(self.counts)
        return float((counts > 0).mean()) if counts.sum() else None


def reconstruction_loss(
    y: jax.Array, x: jax.Array, commitment_losses: jax.Array, mask: jax.Array, commitment: float | jax.Array
) -> tuple[jax.Array, Metrics]:
    """Add up the losses of reconstruction and commitment.

    Args:
      y: [B, H, W, C], reconstructions, about [-1, 1].
      x: [B, H, W, C] in [-1, 1].
      commitment_losses: [B], squared distances of the encoder's outputs from their codes.
      mask: [B], 0 for padding.
      commitment: beta.

    Returns:
      (mean loss, metrics: `mse` and `psnr` are of pixels in [0, 1]).
    """
    check_shapes(y=(y, "B H W C"), x=(x, "B H W C"), commitment_losses=(commitment_losses, "B"), mask=(mask, "mask B"))
    check_shapes(commitment=(commitment, ">= 0"))
    y, x = to_acc_dtype(y), to_acc_dtype(x)
    losses = jnp.square(y - x).mean((1, 2, 3)) + commitment * to_acc_dtype(commitment_losses)  # [B]
    y, x = denormalize(y), (x + 1) / 2
    metrics = {
        "loss": Sum.of(losses, mask),
        "commitment": Sum.of(commitment_losses, mask),
        "mse": Sum.of(jnp.square(y - x).mean((1, 2, 3)), mask),
        "psnr": Sum.of(jax.vmap(psnr)(y, x), mask),
    }
    return masked_mean(losses, mask), metrics


def quantize(model: nn.Module, params: Any, vectors: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Encode images as grids of codes.

    Args:
      model: model with `encode`, as `VQVAE`.
      params: parameters of the autoencoder.
      vectors: [K, D], e.
      x: [B, H, W, C] in [-1, 1].

    Returns:
      (encodings z [B, h, w, D], codes k [B, h, w] int32, their vectors q [B, h, w, D]).
    """
    z = model.apply({"params": params}, x, method="encode")
    codes = nearest_codes(z, vectors)
    return z, codes, vectors[codes]


def decode_vectors(model: nn.Module, params: Any, q: jax.Array) -> jax.Array:
    """Decode grids of code vectors to images.

    Args:
      model: model with `decode`, as `VQVAE`.
      params: parameters of the autoencoder.
      q: [B, h, w, D].

    Returns:
      [B, H, W, C] in [0, 1].
    """
    return denormalize(model.apply({"params": params}, q, method="decode"))


def autoencode(
    model: nn.Module, params: Any, vectors: jax.Array, x: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Reconstruct images from their codes, with gradients to encoder and decoder.

    Args:
      model: model with `encode` and `decode`, as `VQVAE`.
      As `quantize`.

    Returns:
      (reconstructions [B, H, W, C], commitment losses [B], encodings z [B, h, w, D], codes [B, h, w] int32).
    """
    z, codes, q = quantize(model, params, vectors, x)  # [B, h, w, D], [B, h, w], [B, h, w, D]
    # Straight-through gradient from the decoder to the encoder.
    y = model.apply({"params": params}, straight_through(z, q), method="decode")  # [B, H, W, C]
    # Commitment loss: the encoder stays near its code; the codebook moves by EMA.
    commitment_losses = jnp.square(to_acc_dtype(z) - jax.lax.stop_gradient(q)).mean((1, 2, 3))  # [B]
    return y, commitment_losses, z, codes


def _autoencoder_loss(
    model: nn.Module, params: Any, codebook: Codebook, batch: dict, commitment: float | jax.Array
) -> tuple[jax.Array, tuple[Metrics, jax.Array, jax.Array]]:
    """(loss, (metrics, encodings, codes))."""
    x, mask = normalize(batch["image"]), mask_of(batch)
    y, commitment_losses, z, codes = autoencode(model, params, codebook.vectors, x)
    loss, metrics = reconstruction_loss(y, x, commitment_losses, mask, commitment)
    return loss, (metrics, z, codes)


def prior_loss(prior: nn.Module, params: Any, codes: jax.Array, mask: jax.Array) -> tuple[jax.Array, Metrics]:
    """Negative log-likelihood of codes under their prior; no gradient goes to the codes.

    Args:
      prior: autoregressive network, as `dlcore.generative.autoregressive` describes it.
      params: parameters of the prior.
      codes: [B, h, w] int.
      mask: [B], 0 for padding.

    Returns:
      (mean nats a code, {"prior_bits"}: bits a code).
    """
    check_shapes(codes=(codes, "int B h w"), mask=(mask, "mask B"))
    codes = jax.lax.stop_gradient(codes)[..., None]
    nats = -log_likelihood(prior, params, codes) / (codes[0].size)  # [B]
    return masked_mean(nats, mask), {"prior_bits": BitsPerDim.of(nats, mask)}


def codebook_usage(codes: jax.Array, mask: jax.Array, num_codes: int) -> dict[str, Metric]:
    """Measure how many codes of a book are used.

    Args:
      num_codes: K.
      As `prior_loss`.

    Returns:
      {"perplexity", "usage"}.
    """
    check_whole_number("num_codes", num_codes, 1)
    check_shapes(codes=(codes, "int ..."))
    check_shapes(mask=(mask, f"mask {len(codes)}"))
    check_indices("codes", codes, num_codes, "codes")
    used = jax.nn.one_hot(codes.reshape(len(codes), -1), num_codes, dtype=jnp.int32).sum(1)  # [B, K]
    counts = jnp.where(mask[:, None] > 0, used, 0).sum(0)  # [K]
    return {"perplexity": CodebookPerplexity(counts), "usage": CodebookUsage(counts)}


def reconstruct(model: nn.Module, params: Any, vectors: jax.Array, batch: dict) -> dict[str, jax.Array]:
    """Reconstruct images, and interpolate to others: what `predict` returns.

    Args:
      model: model with `encode` and `decode`, as `VQVAE`.
      batch: {"image": [B, H, W, C]}, and perhaps "other" of the same shape.
      As `quantize`.

    Returns:
      {"codes", "features", "reconstruction", "psnr"} and with another image {"path"}, as `learner` describes them.
    """
    x = normalize(batch["image"])
    # Reconstruct from the nearest codes.
    z, codes, q = quantize(model, params, vectors, x)
    y = decode_vectors(model, params, q)  # [B, H, W, C]
    flat = z.reshape(z.shape[0], -1)  # [B, h * w * D]
    outputs = {"codes": codes, "features": flat, "reconstruction": y, "psnr": jax.vmap(psnr)(y, (x + 1) / 2)}
    if "other" in batch:
        endpoints, _, _ = quantize(model, params, vectors, normalize(batch["other"]))
        # Interpolate between two encodings; each point is quantized.
        path = arcs(flat, endpoints.reshape(flat.shape), NUM_STEPS).reshape(-1, *z.shape[1:])
        decoded = decode_vectors(model, params, vectors[nearest_codes(path, vectors)])
        outputs["path"] = decoded.reshape(z.shape[0], NUM_STEPS, *y.shape[1:])
    return outputs


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    num_codes: Annotated[int, Range(2)] = 128,
    commitment: Annotated[float, Range(0)] = 0.25,
    decay: Annotated[float, Range(0, 0.999999)] = 0.99,
    restart_below: Annotated[float, Range(0, 0.99)] = 0.03,
) -> Learner:
    """Train a VQ-VAE on `{"image": [B, H, W, C]}`.

    Args:
      model: model with `encode`, `decode` and `grid`, as `VQVAE`.
      optimizer: optimizer of the autoencoder, any optax transformation.
      num_codes: K.
      commitment: beta, weight of the pull of the encoder's outputs to their codes.
      decay: g, of the codebook's averages.
      restart_below: a code restarts where its share of the outputs is below this over K; 0 restarts none.

    Returns:
      The learner. `evaluate` returns the loss, `mse` and `psnr` of pixels in [0, 1], and `perplexity` and `usage` of
      the codebook over all examples. `predict` returns `codes [B, h, w]`, `features [B, h w D]`, `reconstruction [B, H,
      W, C]` with its `psnr [B]`, and where the batch has a second image `other`, the `path [B, 8, H, W, C]` to it, by
      codes nearest to the arc. There is no `loss`: what passes straight through is not the gradient of any value.
    """
    update_codes = functools.partial(update_codebook, decay=decay, restart_below=restart_below)

    def init(rng: jax.Array, batch: dict) -> VQVAEState:
        x = normalize(batch["image"])
        params = model.init(jax.random.fold_in(rng, 0), x[:1])["params"]
        z = model.apply({"params": params}, x, method="encode")
        return VQVAEState(
            step=jnp.zeros((), jnp.int32),
            rng=jax.random.fold_in(rng, 2),
            params=params,
            opt_state=optimizer.init(params),
            codebook=codebook_from(jax.random.fold_in(rng, 3), z.reshape(-1, z.shape[-1]), num_codes),
        )

    def update(state: VQVAEState, batch: dict) -> tuple[VQVAEState, Metrics]:
        def objective(params):
            return _autoencoder_loss(model, params, state.codebook, batch, commitment)

        # Gradient of reconstruction and commitment.
        gradients, (metrics, z, codes) = jax.grad(objective, has_aux=True)(state.params)
        mask, key = jnp.repeat(mask_of(batch), codes[0].size), jax.random.fold_in(state.rng, state.step)
        # EMA of the codebook; dead codes restart.
        codebook = update_codes(state.codebook, z.reshape(-1, z.shape[-1]), codes.reshape(-1), mask, key)
        # Optimizer step of the autoencoder.
        return apply_gradients(state, optimizer, gradients, codebook=codebook), metrics

    def evaluate(state: VQVAEState, batch: dict) -> Metrics:
        _, (metrics, _, codes) = _autoencoder_loss(model, state.params, state.codebook, batch, commitment)
        return metrics | codebook_usage(codes, mask_of(batch), num_codes)

    def predict(state: VQVAEState, batch: dict) -> dict[str, jax.Array]:
        return reconstruct(model, state.params, state.codebook.vectors, batch)

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict)
