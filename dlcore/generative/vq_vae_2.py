"""VQ-VAE-2: two grids of codes, a coarse one for the global layout and a fine one for detail, and a prior of both.

Razavi, van den Oord & Vinyals 2019, arXiv:1906.00446; codebooks and restarts are those of `dlcore.generative.vq_vae`.

    top       h = E_b(x),  z_t = E_t(h),   k_t = nearest code of z_t,   q_t its vector    half the sides of the bottom
    bottom    z_b = W [h; D_t(q_t)],       k_b = nearest code of z_b,   q_b its vector
    x^ = D([up(q_t); q_b])                 straight-through in both
    L = mean (x^ - x)^2 + beta (mean (z_t - sg(q_t))^2 + mean (z_b - sg(q_b))^2)
    p(k_t, k_b) = p(k_t) p(k_b | k_t)  each autoregressive; the second reads a map that convolutions make of k_t

The bottom's encoder sees what the top said, so that it need not say it again. The paper's priors are PixelSNAIL with
self-attention for the top and a network without attention, conditioned by residual blocks, for the bottom; here both
are gated PixelCNNs. Its decoder upsamples by transposed convolutions, here by nearest resize and convolution.

`mse_without_top` and `mse_without_bottom` decode with all codes of one level replaced by the mean vector that this
level uses: they are above `mse` as far as a level is used.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.generative.autoregressive import log_likelihood, sample
from dlcore.generative.pixels import denormalize, halve_sides, normalize
from dlcore.generative.vq_vae import (
    VQVAE,
    Codebook,
    codebook_from,
    codebook_usage,
    nearest_codes,
    reconstruction_loss,
    straight_through,
    update_codebook,
)
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.metrics import psnr
from dlcore.metrics.language import BitsPerDim
from dlcore.nn import Conv, Embed
from dlcore.optim import apply_part_gradients

__all__ = ["VQVAE2", "Priors", "TopCondition", "VQVAE2State", "learner", "never", "update_in_phases"]

LEVELS = ("top", "bottom")


class VQVAE2(VQVAE):
    """The networks of both levels, of convolutions and residual blocks as in `VQVAE`.

    Args:
      shape: (H, W, C) of an image.
      width: channels inside.
      embedding_dim: D, of a code of either level.
      downsamplings: how often sides are halved, up to the bottom's codes; the top's are halved once more.
      num_res_blocks: residual blocks of each encoder and decoder.
    """

    downsamplings: Annotated[int, Range(1)] = 1

    @property
    def grids(self) -> dict[str, tuple[int, int]]:
        """{"top": (h / 2, w / 2), "bottom": (h, w)} of the codes.

        Raises:
          ValueError: the sides cannot be halved so often.
        """
        return dict(zip(LEVELS, (halve_sides(self.shape, self.downsamplings + k) for k in (1, 0)), strict=True))

    def encode(self, x: jax.Array) -> jax.Array:
        """Compute the features that both levels read: [B, H, W, C] in [-1, 1] -> h [B, h, w, width]."""
        _ = self.grids
        for k in range(self.downsamplings):
            x = nn.relu(self._conv(f"down{k}", self.width, x, 4, 2))
        return self._blocks("encoder", self._conv("encoder_in", self.width, x, 3))

    def encode_top(self, features: jax.Array) -> jax.Array:
        """Compute what the top's codes are nearest to: [B, h, w, width], of `encode` -> z_t [B, h / 2, w / 2, D]."""
        x = nn.relu(self._conv("top_down", self.width, nn.relu(features), 4, 2))
        x = self._blocks("top", self._conv("top_in", self.width, x, 3))
        return self._conv("top_out", self.embedding_dim, nn.relu(x), 1)

    def encode_bottom(self, features: jax.Array, top: jax.Array) -> jax.Array:
        """Compute what the bottom's codes are nearest to, given the top's.

        features [B, h, w, width], of `encode`; top [B, h / 2, w / 2, D], vectors of the top's codes -> z_b [B, h, w,
        D].
        """
        decoded = nn.relu(self._blocks("top_decoder", self._conv("top_decoder_in", self.width, top, 3)))
        decoded = self._conv("top_decoder_up", self.width, decoded.repeat(2, 1).repeat(2, 2), 3)
        x = jnp.concatenate([nn.relu(features), nn.relu(decoded)], -1)
        return self._conv("bottom_out", self.embedding_dim, x, 1)

    def decode(self, top: jax.Array, bottom: jax.Array) -> jax.Array:
        """Decode code vectors of both levels.

        top [B, h / 2, w / 2, D], bottom [B, h, w, D] -> [B, H, W, C], about [-1, 1].
        """
        top = self._conv("top_up", self.embedding_dim, top.repeat(2, 1).repeat(2, 2), 3)
        x = self._blocks("decoder", self._conv("decoder_in", self.width, jnp.concatenate([top, bottom], -1), 3))
        for k in range(self.downsamplings):
            x = self._conv(f"up{k}", self.width, nn.relu(x).repeat(2, 1).repeat(2, 2), 3)
        return self._conv("decoder_out", self.shape[-1], nn.relu(x), 3)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Reconstruct without quantization: [B, H, W, C] in [-1, 1] -> [B, H, W, C], about [-1, 1]."""
        features = self.encode(x)
        top = self.encode_top(features)
        return self.decode(top, self.encode_bottom(features, top))


class TopCondition(nn.Module):
    """Codes of the top [B, h, w] int -> the map [B, 2 h, 2 w, features] that the bottom's prior reads.

    Args:
      num_codes: K, of the top.
      features: channels of the map.
      num_res_blocks: residual blocks of 3x3 convolutions on the top's grid.
      dtype: dtype of the computation; None takes the parameters'.
    """

    num_codes: int
    features: Annotated[int, Range(1)] = 32
    num_res_blocks: Annotated[int, Range(0)] = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        """Embed the codes, mix neighbors, and double the sides: [B, h, w] int -> [B, 2 h, 2 w, features]."""
        x = Embed(self.num_codes, self.features, dtype=self.dtype, name="embedding")(codes)
        for k in range(self.num_res_blocks):
            x = x + Conv(self.features, (3, 3), padding=1, dtype=self.dtype, name=f"block{k}")(nn.relu(x))
        return nn.relu(x).repeat(2, 1).repeat(2, 2)


class Priors(NamedTuple):
    """The networks of p(k_t) and p(k_b | k_t).

    Args:
      top: an autoregressive network of K levels, as `dlcore.generative.autoregressive` describes it.
      condition: top codes to a map, as `TopCondition`.
      bottom: an autoregressive network of K levels that takes this map in place of a label.
    """

    top: nn.Module
    condition: nn.Module
    bottom: nn.Module


@struct.dataclass
class VQVAE2State(State):
    """The state of both phases; params and opt_state are dicts of `autoencoder` and `prior`.

    Args:
      codebooks: {"top": Codebook, "bottom": Codebook}.
    """

    codebooks: dict[str, Codebook]


def _apply(model: nn.Module, params: dict, method: str, *inputs: jax.Array) -> jax.Array:
    return model.apply({"params": params["autoencoder"]}, *inputs, method=method)


def _init_priors(priors: Priors, grids: dict[str, tuple[int, int]], rng: jax.Array) -> dict[str, Any]:
    """Parameters of all networks of the priors."""
    codes = {level: jnp.zeros((1, *grids[level]), jnp.int32) for level in LEVELS}
    keys = jax.random.split(rng, 3)
    condition = priors.condition.init(keys[1], codes["top"])
    conditions = priors.condition.apply(condition, codes["top"])  # [1, h, w, F]
    return {
        "top": priors.top.init(keys[0], codes["top"][..., None])["params"],
        "condition": condition["params"],
        "bottom": priors.bottom.init(keys[2], codes["bottom"][..., None], conditions)["params"],
    }


def _quantize(model: nn.Module, params: dict, codebooks: dict[str, Codebook], x: jax.Array) -> dict[str, tuple]:
    """{level: (z, codes, q)}; the bottom is encoded given the top's vectors, through which gradients pass."""
    features = _apply(model, params, "encode", x)  # [B, h, w, width]
    z_top = _apply(model, params, "encode_top", features)  # [B, h/2, w/2, D]
    top_codes = nearest_codes(z_top, codebooks["top"].vectors)  # [B, h/2, w/2]
    q_top = codebooks["top"].vectors[top_codes]
    z_bottom = _apply(model, params, "encode_bottom", features, straight_through(z_top, q_top))  # [B, h, w, D]
    bottom_codes = nearest_codes(z_bottom, codebooks["bottom"].vectors)  # [B, h, w]
    q_bottom = codebooks["bottom"].vectors[bottom_codes]
    return {"top": (z_top, top_codes, q_top), "bottom": (z_bottom, bottom_codes, q_bottom)}


def _autoencoder_loss(
    model: nn.Module, params: dict, codebooks: dict[str, Codebook], batch: dict, commitment: float | jax.Array
) -> tuple[jax.Array, tuple[Metrics, dict[str, tuple]]]:
    """(loss, (metrics, {level: (z, codes, q)}))."""
    x, mask = normalize(batch["image"]), mask_of(batch)
    levels = _quantize(model, params, codebooks, x)
    # Straight-through gradients from the decoder to both encoders.
    y = _apply(model, params, "decode", *(straight_through(levels[level][0], levels[level][2]) for level in LEVELS))
    # Commitment losses: the encoders stay near their codes; the codebooks move by EMA.
    commitment_losses = sum(jnp.square(z - jax.lax.stop_gradient(q)).mean((1, 2, 3)) for z, _, q in levels.values())
    loss, metrics = reconstruction_loss(y, x, commitment_losses, mask, commitment)
    return loss, (metrics, levels)


def _level_metrics(
    model: nn.Module, params: dict, codebooks: dict[str, Codebook], levels: dict, batch: dict, num_codes: int
) -> Metrics:
    """Perplexity and usage of each codebook, and the mse where the mean vector stands for a level."""
    mask, metrics = mask_of(batch), {}
    for level in LEVELS:
        usage, codebook = codebook_usage(levels[level][1], mask, num_codes), codebooks[level]
        metrics |= {f"{level}_{name}": metric for name, metric in usage.items()}
        mean = codebook.sums.sum(0) / jnp.maximum(codebook.counts.sum(), 1e-12)  # [D]
        vectors = {name: levels[name][2] for name in LEVELS} | {level: jnp.full_like(levels[level][2], mean)}
        y = denormalize(_apply(model, params, "decode", *(vectors[name] for name in LEVELS)))  # [B, H, W, C]
        errors = jnp.square(y - (normalize(batch["image"]) + 1) / 2).mean((1, 2, 3))  # [B]
        metrics[f"mse_without_{level}"] = Sum.of(errors, mask)
    return metrics


def _prior_loss(priors: Priors, params: dict, levels: dict, mask: jax.Array) -> tuple[jax.Array, Metrics]:
    """(nats a code of either level, metrics) of the priors."""
    top, bottom = (jax.lax.stop_gradient(levels[level][1]) for level in LEVELS)
    condition = priors.condition.apply({"params": params["condition"]}, top)  # [B, h, w, F]
    nats = {
        "top": -log_likelihood(priors.top, params["top"], top[..., None]),
        "bottom": -log_likelihood(priors.bottom, params["bottom"], bottom[..., None], condition),
    }  # [B] each
    sizes = {"top": top[0].size, "bottom": bottom[0].size}
    a_code = sum(nats.values()) / sum(sizes.values())
    metrics = {f"{level}_bits": BitsPerDim.of(nats[level] / sizes[level], mask) for level in LEVELS}
    return masked_mean(a_code, mask), metrics | {"prior_bits": BitsPerDim.of(a_code, mask)}


def _update_autoencoder(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    commitment: float | jax.Array,
    update_codes: Callable[..., Codebook],
    state: VQVAE2State,
    batch: dict,
) -> tuple[VQVAE2State, Metrics]:
    def objective(params):
        return _autoencoder_loss(model, {**state.params, "autoencoder": params}, state.codebooks, batch, commitment)

    # Gradient of reconstruction and commitment.
    gradients, (metrics, levels) = jax.grad(objective, has_aux=True)(state.params["autoencoder"])
    # EMA of each codebook; dead codes restart.
    codebooks, key = {}, jax.random.fold_in(state.rng, state.step)
    for k, (level, (z, codes, _)) in enumerate(levels.items()):
        inputs = z.reshape(-1, z.shape[-1]), codes.reshape(-1), jnp.repeat(mask_of(batch), codes[0].size)
        codebooks[level] = update_codes(state.codebooks[level], *inputs, jax.random.fold_in(key, k))
    # Optimizer step of the autoencoder.
    return apply_part_gradients(state, optimizer, "autoencoder", gradients, codebooks=codebooks), metrics


def _update_priors(
    model: nn.Module, priors: Priors, optimizer: optax.GradientTransformation, state: VQVAE2State, batch: dict
) -> tuple[VQVAE2State, Metrics]:
    # Codes of the frozen autoencoder.
    levels = _quantize(model, state.params, state.codebooks, normalize(batch["image"]))

    def objective(params):
        return _prior_loss(priors, params, levels, mask_of(batch))

    # Gradient of the negative log-likelihood of the codes of both levels.
    gradients, metrics = jax.grad(objective, has_aux=True)(state.params["prior"])
    # Optimizer step of the priors.
    return apply_part_gradients(state, optimizer, "prior", gradients), metrics


def update_in_phases(
    first: Callable, second: Callable | None, is_second: Callable[[jax.Array], jax.Array], state: Any, batch: dict
) -> tuple[Any, Metrics]:
    """Run the update of one of two phases, with metrics of both, and count the step.

    Args:
      first: `(state, batch) -> (state, metrics)`.
      second: the same of the second phase; None for none.
      is_second: step [] -> [] bool, whether it is of the second phase.
      state: the learner's state.
      batch: batch of the step.

    Returns:
      (state, metrics); metrics that only the other phase has are empty.
    """
    if second is None:
        new_state, metrics = first(state, batch)
        return new_state.replace(step=state.step + 1), metrics
    # Both branches of the cond return the same metrics; those of the other phase are zero.
    empty = [
        {name: jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), metric) for name, metric in shapes.items()}
        for shapes in (jax.eval_shape(update, state, batch)[1] for update in (first, second))
    ]

    def with_all_metrics(update):
        def run(state, batch):
            state, metrics = update(state, batch)
            return state, {**empty[0], **empty[1], **metrics}

        return run

    branches = with_all_metrics(second), with_all_metrics(first)
    new_state, metrics = jax.lax.cond(is_second(state.step), *branches, state, batch)
    return new_state.replace(step=state.step + 1), metrics


def never(step: jax.Array) -> jax.Array:
    """Return False for each step: no step is of the second phase.

    Args:
      step: [] int.

    Returns:
      [] bool.
    """
    return jnp.zeros_like(step, bool)


def _sample_codes(
    priors: Priors, params: dict, grids: dict[str, tuple[int, int]], keys: jax.Array, temperature: float | jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the top's codes [B, h/2, w/2], then the bottom's [B, h, w] given them."""
    keys = {level: jax.vmap(jax.random.fold_in, (0, None))(keys, k) for k, level in enumerate(LEVELS)}
    draw = {"temperature": temperature}
    top = sample(priors.top, params["top"], keys["top"], (*grids["top"], 1), **draw)[..., 0]
    draw["label"] = priors.condition.apply({"params": params["condition"]}, top)  # [B, h, w, F]
    bottom = sample(priors.bottom, params["bottom"], keys["bottom"], (*grids["bottom"], 1), **draw)
    return top, bottom[..., 0]


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    priors: Priors | None = None,
    prior_optimizer: optax.GradientTransformation | None = None,
    is_prior_step: Callable[[jax.Array], jax.Array] = never,
    num_codes: Annotated[int, Range(2)] = 128,
    commitment: Annotated[float, Range(0)] = 0.25,
    decay: Annotated[float, Range(0, 0.999999)] = 0.99,
    restart_below: Annotated[float, Range(0, 0.99)] = 0.03,
    temperature: Annotated[float, Range(0)] = 1.0,
) -> Learner:
    """Train a VQ-VAE-2, and then the priors of its codes, on `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      model: model with `encode`, `encode_top`, `encode_bottom`, `decode` and `grids`, as `VQVAE2`.
      optimizer: optimizer of the autoencoder, any optax transformation.
      priors: networks of `num_codes` levels; None trains none.
      prior_optimizer: optimizer of the priors, which share no parameter.
      is_prior_step: step [] -> whether it trains the priors and not the autoencoder.
      num_codes: K, of each level.
      commitment: beta, weight of the pull of the encoders' outputs to their codes.
      decay: g, of the codebooks' averages.
      restart_below: a code restarts where its share of the outputs is below this over K; 0 restarts none.
      temperature: temperature of samples; below 1 they are more probable and less diverse.

    Returns:
      The learner. `evaluate` returns the loss of the autoencoder, `mse` and `psnr` of pixels in [0, 1], for each level
      `perplexity` and `usage` of its codebook and the mse without it, and of the priors `top_bits` and `bottom_bits` a
      code of their level, and `prior_bits` a code of either (uniform ones have log2 K). `predict` returns `top_codes`,
      `bottom_codes`, `reconstruction [B, H, W, C]` with its `psnr [B]`, and with priors a `sample` by the index alone.
      A batch of `index` alone gives `sample`. There is no `loss`: what passes straight through is not the gradient of
      any value.
    """
    optimizers = {"autoencoder": optimizer} | ({} if priors is None else {"prior": prior_optimizer})
    update_codes = functools.partial(update_codebook, decay=decay, restart_below=restart_below)
    update_autoencoder = functools.partial(_update_autoencoder, model, optimizer, commitment, update_codes)
    update_priors = None if priors is None else functools.partial(_update_priors, model, priors, prior_optimizer)

    def init(rng: jax.Array, batch: dict) -> VQVAE2State:
        x = normalize(batch["image"])
        params = {"autoencoder": model.init(jax.random.fold_in(rng, 0), x[:1])["params"]}
        features = _apply(model, params, "encode", x)
        z = {"top": _apply(model, params, "encode_top", features)}
        z["bottom"] = _apply(model, params, "encode_bottom", features, z["top"])
        codebooks = {
            level: codebook_from(jax.random.fold_in(rng, 3 + k), z[level].reshape(-1, z[level].shape[-1]), num_codes)
            for k, level in enumerate(LEVELS)
        }
        if priors is not None:
            params["prior"] = _init_priors(priors, model.grids, jax.random.fold_in(rng, 1))
        opt_state = {name: optimizers[name].init(params[name]) for name in params}
        return VQVAE2State(jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 2), params, opt_state, codebooks)

    # Two phases: the autoencoder first, then the priors on its codes.
    update = functools.partial(update_in_phases, update_autoencoder, update_priors, is_prior_step)

    def evaluate(state: VQVAE2State, batch: dict) -> Metrics:
        params, codebooks, mask = state.params, state.codebooks, mask_of(batch)
        _, (metrics, levels) = _autoencoder_loss(model, params, codebooks, batch, commitment)
        metrics |= _level_metrics(model, params, codebooks, levels, batch, num_codes)
        return metrics if priors is None else metrics | _prior_loss(priors, params["prior"], levels, mask)[1]

    def decode(state: VQVAE2State, top: jax.Array, bottom: jax.Array) -> jax.Array:
        vectors = state.codebooks["top"].vectors[top], state.codebooks["bottom"].vectors[bottom]
        return denormalize(_apply(model, state.params, "decode", *vectors))

    def predict(state: VQVAE2State, batch: dict) -> dict[str, jax.Array]:
        outputs = {}
        if priors is not None:
            keys = example_keys(state.rng, batch)
            codes = _sample_codes(priors, state.params["prior"], model.grids, keys, temperature)
            outputs["sample"] = decode(state, *codes)
        if "image" not in batch:
            return outputs
        # Reconstruct from the nearest codes.
        x = normalize(batch["image"])
        levels = _quantize(model, state.params, state.codebooks, x)
        y = denormalize(_apply(model, state.params, "decode", *(levels[level][2] for level in LEVELS)))
        outputs |= {f"{level}_codes": levels[level][1] for level in LEVELS}
        return outputs | {"reconstruction": y, "psnr": jax.vmap(psnr)(y, (x + 1) / 2)}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict)
