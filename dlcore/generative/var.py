"""VAR: an image as grids of codes from coarse to fine, of which a transformer predicts one whole grid at a time.

Tian, Jiang, Yuan, Peng & Wang 2024, arXiv:2404.02905 ("Visual autoregressive modeling").

    f = E(x), f^_0 = 0;  for the scales s = s_1 .. s_n:                                        residual quantization
        r_s = nearest codes of down(f - f^, s),    f^ <- f^ + up(e_{r_s})
    x^ = D(f + stop_gradient(f^_n - f))
    L  = mean (x^ - x)^2 + beta mean over scales of mean (f - stop_gradient(f^_s))^2
    p(r_1, ..., r_n) = prod_s p(r_s | r_1, ..., r_{s-1}),   codes of one scale independent given the coarser scales

All scales share one codebook, an average with restarts as in `dlcore.generative.vq_vae`. The transformer reads for each
position of a scale what the coarser scales say there, down(f^_{s-1}, s); a start token for the first. Its attention is
causal between scales and full within one (`scale_mask`), so that a sample takes n passes. With a cache a pass
reads the new scale alone. The paper convolves each enlarged map, here it is added as it is; its transformer is
conditioned on a class by adaptive norms, here it has no condition.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import is_whole_number
from dlcore.generative.pixels import normalize
from dlcore.generative.vq_vae import (
    VQVAEState,
    codebook_from,
    codebook_usage,
    decode_vectors,
    nearest_codes,
    reconstruction_loss,
    straight_through,
    update_codebook,
)
from dlcore.generative.vq_vae_2 import never, update_in_phases
from dlcore.learner import Learner, Metrics, Range, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.metrics import psnr
from dlcore.metrics.language import BitsPerDim
from dlcore.nn import Dense
from dlcore.nn.attention import dot_product_attention
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.transformer import FeedForward
from dlcore.ops.categorical import sample_categorical
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.replica import replica_key
from dlcore.ops.resize import resize
from dlcore.optim import apply_part_gradients

__all__ = ["ScaleTransformer", "learner", "residual_quantize", "sample", "scale_mask"]

INIT = nn.initializers.truncated_normal(0.02)


def scale_mask(scales: Sequence[int]) -> np.ndarray:
    """Mask of attention between the codes of all scales: each sees its own scale and all coarser ones.

    Args:
      scales: sides of the grids, coarse to fine.

    Returns:
      [L, L] bool, L the sum of the squared sides; True where the row's code may attend to the column's.
    """
    _check_scales(scales)
    level = np.repeat(np.arange(len(scales)), np.square(scales))
    return level[:, None] >= level


def _check_scales(scales: Sequence[int], grid: tuple[int, int] | None = None) -> None:
    """Check that scales are rising sides, the last one that of the grid."""
    sides = [0, *scales]
    if not scales or not all(map(is_whole_number, sides)) or any(a >= b for a, b in itertools.pairwise(sides)):
        raise ValueError(f"scales={tuple(scales)}: no rising sides; allowed: such as 1,2,4")
    if grid is not None and grid != (scales[-1], scales[-1]):
        allowed = f"{grid[0]} for the last" if grid[0] == grid[1] else "an autoencoder of square grids"
        raise ValueError(
            f"scales={tuple(scales)}: the autoencoder has a grid of {grid[0]}x{grid[1]}; allowed: {allowed}"
        )


def _resized(x: jax.Array, side: int) -> jax.Array:
    return x if x.shape[1] == side else resize(x, (side, side), antialias=x.shape[1] > side)


def residual_quantize(
    z: jax.Array, vectors: jax.Array, scales: Sequence[int]
) -> tuple[list[jax.Array], list[jax.Array], list[jax.Array]]:
    """Quantize maps from coarse to fine, each scale what the coarser ones have left.

    Args:
      z: [B, h, h, D], outputs of the encoder.
      vectors: [K, D], e.
      scales: rising sides of the grids, the last one h.

    Returns:
      (residuals [B, s, s, D] that were quantized, codes [B, s, s] int32, sums f^ [B, h, h, D] after each scale).
    """
    check_shapes(z=(z, "B h w D"), vectors=(vectors, f"K {z.shape[-1]}"))
    _check_scales(scales, z.shape[1:3])
    vectors, total, residuals, codes, sums = jnp.asarray(vectors), jnp.zeros_like(z), [], [], []
    for side in scales:
        residuals.append(_resized(z - total, side))  # [B, s, s, D]
        codes.append(nearest_codes(residuals[-1], vectors))  # [B, s, s]
        total = total + _resized(vectors[codes[-1]].astype(z.dtype), z.shape[1])  # [B, h, h, D]
        sums.append(total)
    return residuals, codes, sums


class _Block(nn.Module):
    """Pre-norm attention and perceptron; with the keys and values of coarser scales in front of its own."""

    num_heads: int
    mlp_ratio: int
    dropout: float
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array | None, cache: tuple | None, train: bool
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        width = x.shape[-1]
        qkv = Dense(3 * width, dtype=self.dtype, kernel_init=INIT, name="qkv")(
            LayerNorm(dtype=self.dtype, name="norm1")(x)
        )
        q, k, v = (a.reshape(*a.shape[:2], self.num_heads, -1) for a in jnp.split(qkv, 3, -1))  # [B, T, H, d]
        if cache is not None:
            k, v = (jnp.concatenate([old, new], 1) for old, new in zip(cache, (k, v), strict=True))  # [B, S, H, d]
        y = dot_product_attention(q, k, v, mask=mask).reshape(x.shape)
        y = Dense(width, dtype=self.dtype, kernel_init=INIT, name="proj")(y)
        x = x + nn.Dropout(self.dropout)(y, deterministic=not train)
        mlp = FeedForward(self.mlp_ratio * width, nn.gelu, self.dropout, self.dtype, INIT, name="mlp")
        return x + mlp(LayerNorm(dtype=self.dtype, name="norm2")(x), train), (k, v)


class ScaleTransformer(nn.Module):
    """Transformer over scales: what coarser scales say at each position -> logits of the codes there.

    Args:
      num_codes: K.
      scales: rising sides of the grids.
      width: features of a token.
      depth: blocks.
      num_heads: attention heads; divides width.
      mlp_ratio: hidden units of the perceptrons, in widths.
      dropout: probability to drop a value of a branch in training.
    """

    num_codes: int
    scales: tuple[int, ...] = (1, 2, 4)
    width: Annotated[int, Range(1)] = 128
    depth: Annotated[int, Range(1)] = 4
    num_heads: Annotated[int, Range(1)] = 4
    mlp_ratio: Annotated[int, Range(1)] = 4
    dropout: Annotated[float, Range(0, 0.99)] = 0.1
    dtype: Any = None

    @nn.compact
    def __call__(
        self, maps: Sequence[jax.Array], first: int = 0, caches: list | None = None, train: bool = False
    ) -> tuple[list[jax.Array], list]:
        """Predict the codes of some scales.

        Args:
          maps: [B, s, s, D] for each of the scales from `first` on: the sum of the coarser scales, at this side.
          first: number of the first of these scales.
          caches: keys and values of all coarser scales, for each block, from the call before; None where `first` is 0.

        Returns:
          (logits [B, s, s, K] of each of these scales, at least float32; caches of all scales so far).
        """
        if self.width % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads}: no divisor; allowed: divisors of width={self.width}")
        sizes = np.square(self.scales)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        begin, end = starts[first], starts[first + len(maps)]
        # Tokens: a start token for the first scale, projected maps for the others, and their positions.
        start = self.param("start", INIT, (1, 1, self.width))
        project = Dense(self.width, dtype=self.dtype, kernel_init=INIT, name="project")
        tokens = [project(m.reshape(len(m), -1, m.shape[-1])) for m in maps]  # [B, s s, width] each
        if first == 0:
            tokens[0] = jnp.broadcast_to(start, tokens[0].shape).astype(tokens[0].dtype)
        position = self.param("position", INIT, (1, int(starts[-1]), self.width))
        x = jnp.concatenate(tokens, 1) + position[:, begin:end].astype(tokens[0].dtype)
        # Causal between scales, full within one.
        mask = jnp.asarray(scale_mask(self.scales)[begin:end, :end]) if len(maps) > 1 else None
        after = []
        for k in range(self.depth):
            block = _Block(self.num_heads, self.mlp_ratio, self.dropout, self.dtype, name=f"blocks_{k}")
            x, cache = block(x, mask, None if caches is None else caches[k], train)
            after.append(cache)
        x = LayerNorm(dtype=self.dtype, name="norm")(x).astype(acc_dtype_of(x.dtype))
        logits = Dense(self.num_codes, kernel_init=nn.initializers.zeros, name="logits")(x)  # [B, T, K]
        by_scale = jnp.split(logits, np.cumsum(sizes[first : first + len(maps)])[:-1], 1)
        return [a.reshape(*m.shape[:3], self.num_codes) for a, m in zip(by_scale, maps, strict=True)], after


def _inputs(sums: Sequence[jax.Array], scales: Sequence[int]) -> list[jax.Array]:
    """What the transformer reads for each scale: the sum of the coarser scales, at the side of this one."""
    before = [jnp.zeros_like(sums[0]), *sums[:-1]]
    return [_resized(total, side) for total, side in zip(before, scales, strict=True)]


def sample(
    model: ScaleTransformer,
    params: Any,
    vectors: jax.Array,
    keys: jax.Array,
    *,
    temperature: float | jax.Array = 1.0,
    cached: bool = True,
) -> tuple[list[jax.Array], jax.Array]:
    """Draw the codes of all scales for each key, from that key alone, scale by scale.

    Args:
      model: transformer over scales.
      params: its parameters.
      vectors: [K, D], e.
      keys: [B].
      temperature: what logits are divided by; below 1 samples are more probable and less diverse, 0 takes the most
        probable codes.
      cached: keep keys and values of coarser scales; else each pass reads all scales anew. The samples are the same.

    Returns:
      (codes [B, s, s] int32 of each scale, their sum f^ [B, h, h, D]).
    """
    check_shapes(vectors=(vectors, f"{model.num_codes} D"), keys=(keys, "B"), temperature=(temperature, ">= 0"))
    side, vectors = model.scales[-1], jnp.asarray(vectors)
    total, maps, codes, caches = jnp.zeros((keys.shape[0], side, side, vectors.shape[-1])), [], [], None
    for k, scale in enumerate(model.scales):
        maps.append(_resized(total, scale))
        if cached:
            logits, caches = model.apply({"params": params}, maps[-1:], k, caches)
        else:
            logits, _ = model.apply({"params": params}, maps)
        scale_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, k)
        draw = jax.vmap(lambda key, scores: sample_categorical(key, scores, temperature))
        codes.append(draw(scale_keys, logits[-1]))  # [B, s, s]
        total += _resized(vectors[codes[-1]], side)
    return codes, total


def _autoencoder_loss(
    model: nn.Module, scales: tuple[int, ...], params: Any, vectors: jax.Array, batch: dict, commitment: Any
) -> tuple[jax.Array, tuple]:
    """(loss, (metrics, residuals, codes, sums))."""
    x, mask = normalize(batch["image"]), mask_of(batch)
    z = model.apply({"params": params}, x, method="encode")  # [B, h, h, D]
    residuals, codes, sums = residual_quantize(z, vectors, scales)
    # Straight-through gradient from the decoder to the encoder.
    y = model.apply({"params": params}, straight_through(z, sums[-1]), method="decode")  # [B, H, W, C]
    # Commitment: the encoder stays near the sums of all scales; the codebook moves by EMA.
    errors = [jnp.square(z - jax.lax.stop_gradient(total)).mean((1, 2, 3)) for total in sums]  # [B] each
    loss, metrics = reconstruction_loss(y, x, sum(errors) / len(errors), mask, commitment)
    return loss, (metrics, residuals, codes, sums)


def _prior_loss(
    prior: ScaleTransformer,
    params: Any,
    codes: list[jax.Array],
    sums: list[jax.Array],
    mask: jax.Array,
    dropout: jax.Array | None = None,
) -> tuple[jax.Array, Metrics]:
    """(nats a code, {"prior_bits", and bits of each scale}); no gradient goes to the codes."""
    maps = jax.lax.stop_gradient(_inputs(sums, prior.scales))
    train = {} if dropout is None else {"train": True, "rngs": {"dropout": dropout}}
    logits, _ = prior.apply({"params": params}, maps, **train)
    nats = [softmax_cross_entropy_loss(a, r).reshape(len(r), -1) for a, r in zip(logits, codes, strict=True)]
    a_code = jnp.concatenate(nats, 1).mean(1)  # [B]
    by_scale = {f"bits_{s}": BitsPerDim.of(n.mean(1), mask) for s, n in zip(prior.scales, nats, strict=True)}
    return masked_mean(a_code, mask), {"prior_bits": BitsPerDim.of(a_code, mask), **by_scale}


def _join(arrays: list[jax.Array]) -> jax.Array:
    """Positions of all scales [B, L, ...] of arrays [B, s, s, ...]."""
    return jnp.concatenate([a.reshape(len(a), -1, *a.shape[3:]) for a in arrays], 1)


def _init(
    model: nn.Module, prior: ScaleTransformer, optimizers: dict, num_codes: int, rng: jax.Array, batch: dict
) -> VQVAEState:
    x = normalize(batch["image"])
    params = {"autoencoder": model.init(jax.random.fold_in(rng, 0), x[:1])["params"]}
    z = model.apply({"params": params["autoencoder"]}, x, method="encode")  # [B, h, h, D]
    maps = _inputs([z[:1]] * len(prior.scales), prior.scales)
    params["prior"] = prior.init(jax.random.fold_in(rng, 1), maps)["params"]
    opt_state = {name: optimizers[name].init(params[name]) for name in params}
    codebook = codebook_from(jax.random.fold_in(rng, 3), z.reshape(-1, z.shape[-1]), num_codes)
    return VQVAEState(jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 2), params, opt_state, codebook)


@check_arguments
def learner(
    *,
    model: nn.Module,
    prior: ScaleTransformer,
    optimizer: optax.GradientTransformation,
    prior_optimizer: optax.GradientTransformation,
    is_prior_step: Callable[[jax.Array], jax.Array] = never,
    num_codes: Annotated[int, Range(2)] = 128,
    commitment: Annotated[float, Range(0)] = 0.25,
    decay: Annotated[float, Range(0, 0.999999)] = 0.99,
    restart_below: Annotated[float, Range(0, 0.99)] = 0.03,
    temperature: Annotated[float, Range(1e-3)] = 1.0,
) -> Learner:
    """Train an autoencoder of several scales, and then a transformer over them, on `{"image": [B, H, W, C], "index"}`.

    Args:
      model: model with `encode`, `decode` and a square `grid`, as `dlcore.generative.vq_vae.VQVAE`.
      prior: transformer of `num_codes` codes; its last scale is the side of the grid.
      optimizer: optimizer of the autoencoder, any optax transformation.
      prior_optimizer: optimizer of the transformer.
      is_prior_step: step [] -> whether it trains the transformer and not the autoencoder.
      num_codes: K.
      commitment: beta, weight of the pull of the encoder's outputs to the sums of codes.
      decay: g, of the codebook's averages.
      restart_below: a code restarts where its share of the residuals is below this over K; 0 restarts none.
      temperature: temperature of samples; below 1 they are more probable and less diverse.

    Returns:
      The learner. `evaluate` returns the loss of the autoencoder, `mse` and `psnr` of pixels in [0, 1], `perplexity`
      and `usage` of the codebook, `prior_bits` a code of any scale, and `bits_SIDE` a code of each scale; uniform codes
      have log2 K. `predict` returns a `sample` by the index alone, and of images `codes [B, h, h]` of the last scale
      and `reconstruction [B, H, W, C]` with its `psnr [B]`. There is no `loss`: what passes straight through is not the
      gradient of any value.
    """
    scales = prior.scales
    _check_scales(scales, model.grid)
    update_codes = functools.partial(update_codebook, decay=decay, restart_below=restart_below)

    def quantize(params, codebook, batch):
        return _autoencoder_loss(model, scales, params, codebook.vectors, batch, commitment)

    optimizers = {"autoencoder": optimizer, "prior": prior_optimizer}
    init = functools.partial(_init, model, prior, optimizers, num_codes)

    def update_autoencoder(state: VQVAEState, batch: dict) -> tuple[VQVAEState, Metrics]:
        objective = functools.partial(quantize, codebook=state.codebook, batch=batch)
        # Gradient of reconstruction and commitment.
        gradients, (metrics, residuals, codes, _) = jax.grad(objective, has_aux=True)(state.params["autoencoder"])
        # EMA of the codebook over the residuals of all scales; dead codes restart.
        mask = jnp.repeat(mask_of(batch), sum(side * side for side in scales))
        key = jax.random.fold_in(state.rng, state.step)
        vectors = _join(residuals).reshape(-1, residuals[0].shape[-1])  # [B L, D]
        codebook = update_codes(state.codebook, vectors, _join(codes).reshape(-1), mask, key)
        # Optimizer step of the autoencoder.
        return apply_part_gradients(state, optimizer, "autoencoder", gradients, codebook=codebook), metrics

    def update_prior(state: VQVAEState, batch: dict) -> tuple[VQVAEState, Metrics]:
        # Codes of the frozen autoencoder.
        _, (_, _, codes, sums) = quantize(state.params["autoencoder"], state.codebook, batch)
        inputs = codes, sums, mask_of(batch), replica_key(jax.random.fold_in(state.rng, state.step))
        # Gradient of the negative log-likelihood of all scales, then the optimizer step.
        gradient = jax.grad(lambda params: _prior_loss(prior, params, *inputs), has_aux=True)
        gradients, metrics = gradient(state.params["prior"])
        return apply_part_gradients(state, prior_optimizer, "prior", gradients), metrics

    # Two phases: the autoencoder first, then the transformer on its codes.
    update = functools.partial(update_in_phases, update_autoencoder, update_prior, is_prior_step)

    def evaluate(state: VQVAEState, batch: dict) -> Metrics:
        _, (metrics, _, codes, sums) = quantize(state.params["autoencoder"], state.codebook, batch)
        bits = _prior_loss(prior, state.params["prior"], codes, sums, mask_of(batch))[1]
        return metrics | bits | codebook_usage(_join(codes), mask_of(batch), num_codes)

    def decode(state: VQVAEState, total: jax.Array) -> jax.Array:
        return decode_vectors(model, state.params["autoencoder"], total)

    def predict(state: VQVAEState, batch: dict) -> dict[str, jax.Array]:
        keys, vectors = example_keys(state.rng, batch), state.codebook.vectors
        outputs = {
            "sample": decode(state, sample(prior, state.params["prior"], vectors, keys, temperature=temperature)[1])
        }
        if "image" not in batch:
            return outputs
        # Reconstruct from the sum of all scales.
        _, (_, _, codes, sums) = quantize(state.params["autoencoder"], state.codebook, batch)
        y, target = decode(state, sums[-1]), (normalize(batch["image"]) + 1) / 2
        return outputs | {"codes": codes[-1], "reconstruction": y, "psnr": jax.vmap(psnr)(y, target)}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict)
