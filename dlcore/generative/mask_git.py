"""MaskGIT: a transformer fills in masked codes of an image, the surest first, so that a few passes draw a sample.

Chang, Zhang, Jiang, Liu & Freeman 2022, arXiv:2202.04200.

    r ~ U[0, 1),   ceil(cos(pi r / 2) N) of the N codes become the mask token
    L = mean over the masked codes of -log p(k_i | the codes that are left), with smoothed labels
    sampling, t = 1 .. T, from all codes masked:
        k_i ~ p(k_i | the codes that are left) for the masked i,   confidence = log p(k_i) + c (1 - t / T) Gumbel noise
        the floor(cos(pi t / (2 T)) N) least confident of these are masked again

The transformer sees both sides of a code, and T does not grow with N. A code that is not masked again is final. The
codes are those of a frozen autoencoder, as in `dlcore.generative.vq_vae_prior`, whose network draws one code a pass.
`prior_bits` of both networks can be compared: if the number of masked codes is uniform in 1 .. N, the expectation of N
times the mean of -log p(k_i | the codes that are left) is the negative log-likelihood in a random order (Hoogeboom et
al. 2021, arXiv:2110.02037). The paper's transformer normalizes after each branch, this one before.
"""

import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.generative.vq_vae_prior import CodePrior, code_learner
from dlcore.learner import Learner, Metrics, Range, Sum, check_arguments
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.metrics.language import BitsPerDim
from dlcore.nn import Dense, Embed
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.position import LearnedPositions
from dlcore.nn.transformer import TransformerEncoderBlock
from dlcore.ops.categorical import sample_categorical
from dlcore.ops.checks import check_indices, check_shapes
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype

__all__ = ["CodeTransformer", "learner", "mask_codes", "num_masked", "sample"]


class CodeTransformer(nn.Module):
    """Bidirectional transformer: codes [B, h, w] in [0, K], K masked -> logits [B, h, w, K] of each position.

    Args:
      num_codes: K.
      width: D, features of a token.
      depth: blocks.
      num_heads: attention heads; divides width.
      mlp_ratio: hidden units of the perceptrons, in widths.
      dropout: probability to drop a value of a branch in training.
      dtype: dtype of the computation; None takes the parameters'.
    """

    num_codes: int
    width: Annotated[int, Range(1)] = 128
    depth: Annotated[int, Range(1)] = 4
    num_heads: Annotated[int, Range(1)] = 4
    mlp_ratio: Annotated[int, Range(1)] = 4
    dropout: Annotated[float, Range(0, 0.99)] = 0.1
    dtype: Any = None

    @nn.compact
    def __call__(self, codes: jax.Array, train: bool = False) -> jax.Array:
        """Predict the codes: [B, h, w] int in [0, K]; K is the mask token -> logits [B, h, w, K], at least float32."""
        batch, height, width = codes.shape
        init = nn.initializers.truncated_normal(0.02)
        x = Embed(self.num_codes + 1, self.width, embedding_init=init, dtype=self.dtype, name="embedding")(codes)
        x = LearnedPositions((height, width), name="position")(x.reshape(batch, height * width, self.width))
        for k in range(self.depth):
            x = TransformerEncoderBlock(
                self.num_heads,
                self.mlp_ratio * self.width,
                pre_norm=True,
                activation=nn.gelu,
                dropout_rate=self.dropout,
                dtype=self.dtype,
                kernel_init=init,
                name=f"blocks_{k}",
            )(x, train)
        x = LayerNorm(dtype=self.dtype, name="norm")(x).astype(acc_dtype_of(x.dtype))
        logits = Dense(self.num_codes, kernel_init=nn.initializers.zeros, name="logits")(x)  # [B, N, K]
        return logits.reshape(batch, height, width, self.num_codes)


def num_masked(progress: jax.Array, num_codes: int) -> jax.Array:
    """Cosine schedule: the number of masked codes, not rounded.

    Args:
      progress: [...] in [0, 1]: the share of sampling that is done, or the random number r of training.
      num_codes: N, codes of an image.

    Returns:
      [...] float32, from N at 0 to 0 at 1.
    """
    check_shapes(progress=(progress, "... 0 to 1"), num_codes=(num_codes, "int >= 1"))
    return jnp.maximum(jnp.cos(jnp.pi / 2 * jnp.asarray(progress, jnp.float32)), 0) * num_codes


def mask_codes(key: jax.Array, codes: jax.Array, count: jax.Array, mask_token: int) -> tuple[jax.Array, jax.Array]:
    """Mask codes of one image at random positions.

    Args:
      key: PRNG key of the positions.
      codes: [h, w] int, below `mask_token`.
      count: [] int, number of codes to mask, from 0 to h w.
      mask_token: K.

    Returns:
      (codes with the mask token [h, w] int32, bool [h, w]: masked).
    """
    check_shapes(codes=(codes, "int h w"), mask_token=(mask_token, "int >= 1"), count=(count, f"int 0 to {codes.size}"))
    check_indices("codes", codes, mask_token, "codes below mask_token")
    ranks = jax.random.permutation(key, codes.size).reshape(codes.shape)
    is_masked = ranks < count
    return jnp.where(is_masked, mask_token, codes).astype(jnp.int32), is_masked


def sample(
    model: nn.Module,
    params: Any,
    keys: jax.Array,
    grid: tuple[int, int],
    *,
    num_steps: int = 8,
    temperature: float | jax.Array = 1.0,
    choice_temperature: float | jax.Array = 4.5,
) -> jax.Array:
    """Draw one grid of codes for each key, from that key alone, in a few passes of the network.

    Args:
      model: codes [B, h, w] in [0, K] -> logits [B, h, w, K], as `CodeTransformer`; has `num_codes`.
      params: parameters of the network.
      keys: [B].
      grid: (h, w) of the codes.
      num_steps: T, passes; in each at least one more code of an image is decided.
      temperature: what logits are divided by: below 1 codes are more probable, 0 takes the most probable ones.
      choice_temperature: c, weight of the noise of the confidence, which falls to 0 in the last pass.

    Returns:
      [B, h, w] int32 in [0, K).
    """
    check_shapes(
        keys=(keys, "B"),
        num_steps=(num_steps, "int >= 1"),
        temperature=(temperature, ">= 0"),
        choice_temperature=(choice_temperature, ">= 0"),
    )
    if np.shape(grid) != (2,):
        raise ValueError(f"grid={tuple(grid)}: wrong axes; allowed: (h, w) of codes")
    check_shapes(h=(grid[0], "int >= 1"), w=(grid[1], "int >= 1"))
    mask_token, size = model.num_codes, grid[0] * grid[1]

    def choose(key, codes, logits, t):
        """One image: codes [h, w] after pass t."""
        draw_key, noise_key = jax.random.split(jax.random.fold_in(key, t))
        # Candidates for the masked codes.
        is_masked = codes == mask_token
        logits = to_acc_dtype(logits)
        candidates = jnp.where(is_masked, sample_categorical(draw_key, logits, temperature), codes)
        # Confidence: log p of the candidate, and noise that falls; what was decided before stays.
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), candidates[..., None], -1)[..., 0]
        noise = jax.random.gumbel(noise_key, log_p.shape, log_p.dtype)
        confidence = log_p + choice_temperature * (1 - t / num_steps) * noise
        confidence = jnp.where(is_masked, confidence, jnp.inf)
        # Mask the least confident again.
        count = jnp.minimum(jnp.floor(num_masked(t / num_steps, size)).astype(jnp.int32), is_masked.sum() - 1)
        ranks = confidence.ravel().argsort().argsort().reshape(codes.shape)
        return jnp.where((ranks < count) & (t < num_steps), mask_token, candidates).astype(jnp.int32)

    def one(codes, t):
        logits = model.apply({"params": params}, codes)  # [B, h, w, K]
        return jax.vmap(choose, (0, 0, 0, None))(keys, codes, logits, t), None

    codes = jnp.full((keys.shape[0], *grid), mask_token, jnp.int32)
    codes, _ = jax.lax.scan(one, codes, 1 + jnp.arange(num_steps))
    return codes


@check_arguments
def learner(
    *,
    model: nn.Module,
    prior: nn.Module,
    optimizer: optax.GradientTransformation,
    num_codes: Annotated[int, Range(2)] = 128,
    label_smoothing: Annotated[float, Range(0, 0.99)] = 0.1,
    num_steps: Annotated[int, Range(1)] = 8,
    temperature: Annotated[float, Range(0)] = 1.0,
    choice_temperature: Annotated[float, Range(0)] = 4.5,
) -> Learner:
    """Train a transformer of masked codes on `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      model: the autoencoder, see `dlcore.generative.vq_vae_prior.learner`.
      prior: network of `num_codes` codes, as `CodeTransformer`.
      optimizer: optimizer of the prior, any optax transformation.
      num_codes: K, number of codes.
      label_smoothing: probability of a label that is spread over all codes, in training.
      num_steps: T, passes of the network for a sample.
      temperature: temperature of the codes of samples; below 1 they are more probable and less diverse.
      choice_temperature: c, weight of the noise by which sampling chooses the codes to mask again.

    Returns:
      The learner. `evaluate` returns `prior_bits` a code in a random order, and `histogram_bits`, `perplexity` and
      `usage` as `dlcore.generative.vq_vae_prior.learner`; so does `predict`.
    """

    def init(key: jax.Array) -> Any:
        return prior.init(key, jnp.zeros((1, *model.grid), jnp.int32))["params"]

    def nats(params, codes, keys, counts, smoothing, dropout=None) -> jax.Array:
        """Mean cross-entropy of the masked codes of each image [B]."""
        codes = jax.lax.stop_gradient(codes)
        masked, is_masked = jax.vmap(mask_codes, (0, 0, 0, None))(keys, codes, counts, num_codes)  # [B, h, w] each
        train = {} if dropout is None else {"train": True, "rngs": {"dropout": dropout}}
        logits = prior.apply({"params": params}, masked, **train)  # [B, h, w, K]
        losses = softmax_cross_entropy_loss(logits, codes, smoothing)  # [B, h, w]
        return jnp.where(is_masked, losses, 0).sum((1, 2)) / is_masked.sum((1, 2))

    def loss(params, codes, mask, keys, dropout=None) -> tuple[jax.Array, Metrics]:
        # Cosine schedule: mask ceil(cos(pi r / 2) N) codes, at least one.
        size, (r_keys, keys) = math.prod(model.grid), _split(keys)
        r = jax.vmap(jax.random.uniform)(r_keys)  # [B]
        counts = jnp.clip(jnp.ceil(num_masked(r, size)), 1, size).astype(jnp.int32)
        losses = nats(params, codes, keys, counts, label_smoothing, dropout)  # [B]
        return masked_mean(losses, mask), {"loss": Sum.of(losses, mask)}

    def measure(params, codes, mask, keys) -> Metrics:
        # A uniform number of masked codes: the likelihood of a random order.
        size, (count_keys, keys) = math.prod(model.grid), _split(keys)
        counts = jax.vmap(lambda key: jax.random.randint(key, (), 1, size + 1))(count_keys)  # [B]
        return {"prior_bits": BitsPerDim.of(nats(params, codes, keys, counts, 0.0), mask)}

    def draw(params, keys) -> jax.Array:
        temperatures = {"temperature": temperature, "choice_temperature": choice_temperature}
        return sample(prior, params, keys, model.grid, num_steps=num_steps, **temperatures)

    return code_learner(model, CodePrior(init, loss, measure, draw), optimizer, num_codes)


def _split(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two keys [B] of each of [B]."""
    return tuple(jax.vmap(jax.random.fold_in, (0, None))(keys, k) for k in range(2))
