"""Metric bins of ZoeDepth: depth in meters, a mean of depths (bins) whose centers depend on the pixel.

Bhat et al., "ZoeDepth: zero-shot transfer by combining relative and metric depth" (2023), arXiv:2302.12288.

    seed        c_1, ..., c_N = softplus(mlp(m))                       m: the coarsest map before fusion
    attract     c_i += mean or sum over k of r / (1 + 300 r^2),   r = a_k - c_i,   a = activation(mlp(e_l))
    embed       e_l = mlp(x_l) + resize(e_{l-1})                       x_l: fused map l, the coarsest first
    weights     p_i = softmax_i(log(C(N-1, i) p^i (1-p)^(N-1-i)) / t),   p, t: of the finest features and e
    depth       sum_i p_i c_i

Of `normed` bins the seed is a split of the range of depths into N intervals, and centers stay in it. With two domains,
such as rooms and streets, each has bins of its own, and a transformer on m chooses one of them for the whole batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.scipy.special import xlogy

from dlcore.nn import Dense, TransformerEncoderBlock, gelu, sinusoidal_encoding
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.resize import resize

__all__ = ["Domain", "MetricHead", "binomial_weights"]


class Domain(NamedTuple):
    """Range of depths of a kind of images.

    Args:
      num_bins: N.
      min_depth: least depth in meters.
      max_depth: most depth in meters.
      name: of its layers, where there are several domains.
    """

    num_bins: int = 64
    min_depth: float = 1e-3
    max_depth: float = 10.0
    name: str = ""


class PixelMLP(nn.Module):
    """Two dense layers on each pixel.

    Args:
      hidden_features: units between the layers.
      features: channels of the output.
      activation: function between the layers.
      dtype: dtype of the computation; None means by promotion.
    """

    hidden_features: int
    features: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the layers: [..., C] -> [..., features]."""
        x = self.activation(Dense(self.hidden_features, dtype=self.dtype, name="conv1")(x))
        return Dense(self.features, dtype=self.dtype, name="conv2")(x)


def binomial_weights(prob: jax.Array, temperature: jax.Array, num_bins: int) -> jax.Array:
    """Return the softmax over bins of the log of a binomial distribution, divided by a temperature.

    Args:
      prob: [...], probability of one trial.
      temperature: [...], > 0.
      num_bins: N, outcomes of N - 1 trials.

    Returns:
      [..., N], whose sum over bins is 1.
    """
    prob, temperature = to_acc_dtype(prob), to_acc_dtype(temperature)
    n, k = num_bins - 1, jnp.arange(num_bins, dtype=prob.dtype)
    # Stirling's approximation of log C(n, k), whose linear terms cancel.
    count = xlogy(n, n) - xlogy(k, k) - xlogy(n - k, n - k)
    log_prob, log_rest = (jnp.log(jnp.clip(p, 1e-4, 1))[..., None] for p in (prob, 1 - prob))
    return nn.softmax((count + k * log_prob + (n - k) * log_rest) / temperature[..., None])


class MetricHead(nn.Module):
    """Depth in meters from the maps of a network of relative depth.

    Args:
      domains: ranges of depth, one or two.
      attractors: number of attractors of each fused map, the coarsest first.
      embedding_features: channels of the bins' embeddings.
      attraction: mean or sum over attractors.
      normed: whether bins split the range of depths; otherwise centers are any positive numbers.
      temperatures: least and most temperature of the weights of bins.
      router_heads: heads of the transformer that chooses the domain.
      router_features: units of its perceptrons.
      dtype: dtype of the computation; None means by promotion.
    """

    domains: tuple[Domain, ...]
    attractors: tuple[int, ...]
    embedding_features: int
    attraction: str
    normed: bool
    temperatures: tuple[float, float]
    router_heads: int
    router_features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, maps: list[jax.Array], relative: jax.Array, features: jax.Array) -> dict[str, jax.Array]:
        """Predict depth.

        Args:
          maps: [B, h, w, C] each: the coarsest map before fusion, and the fused maps, the coarsest first.
          relative: [B, H, W], relative depth.
          features: [B, H, W, C'], what relative depth is computed from.

        Returns:
          {"predicted_depth": [B, H, W] meters}; of several domains "domain_logits", [B, number of domains], beside it.
        """
        several = len(self.domains) > 1
        hidden = self.embedding_features // 2 if several else 128
        x = Dense(maps[0].shape[-1], dtype=self.dtype, name="conv2")(maps[0])
        # Embeddings of each size, which all domains share.
        embeddings = [self._mlp(hidden, self.embedding_features, "seed_projector")(x)]
        for i, y in enumerate(maps[1:]):
            embeddings.append(self._mlp(hidden, self.embedding_features, f"projectors_{i}")(y))
        if not several:
            features = jnp.concatenate([features, relative[..., None]], -1)
            return {"predicted_depth": self._depth(self.domains[0], x, embeddings, features)}
        logits = self._domain_logits(x)
        depths = jnp.stack([self._depth(domain, x, embeddings, features) for domain in self.domains])
        return {"predicted_depth": depths[jnp.argmax(logits.sum(0))], "domain_logits": logits}

    def _mlp(self, hidden_features: int, features: int, name: str, activation: Any = nn.relu) -> PixelMLP:
        return PixelMLP(hidden_features, features, activation, self.dtype, name=name)

    def _depth(self, domain: Domain, x: jax.Array, embeddings: list[jax.Array], features: jax.Array) -> jax.Array:
        """Return the depth [B, H, W] that the bins of a domain say."""
        low, span, several = domain.min_depth, domain.max_depth - domain.min_depth, len(self.domains) > 1
        suffix = f"_{domain.name}" if several else ""
        # Seed: normed centers are from 0 to 1 until the end.
        hidden = self.embedding_features // 2 if several else 256
        name = f"seed_bin_regressor{'s' if several else ''}{suffix}"
        seed = to_acc_dtype(self._mlp(hidden, domain.num_bins, name)(x))
        if self.normed:
            widths = nn.relu(seed) + 1e-3
            widths /= widths.sum(-1, keepdims=True)
            centers = jnp.cumsum(widths, -1) - widths / 2
        else:
            centers = nn.softplus(seed)
        # Attractors move the centers, at one size after the other.
        for i, (count, y) in enumerate(zip(self.attractors, embeddings[1:], strict=True)):
            y = y + resize(embeddings[i], y.shape[1:3], align_corners=True)
            # Every second channel of normed attractors is computed in vain, as in the published network.
            points = self._mlp(self.embedding_features, count * (1 + self.normed), f"attractors{suffix}_{i}")(y)
            points = to_acc_dtype(points)
            points = nn.relu(points[..., ::2]) + 1e-3 if self.normed else nn.softplus(points)
            centers = resize(centers, y.shape[1:3], align_corners=True)
            gaps = points[..., :, None] - centers[..., None, :]
            moves = (gaps / (1 + 300 * gaps**2)).sum(-2)
            centers = centers + (moves / count if self.attraction == "mean" else moves)
        if self.normed:
            centers = jnp.clip(jnp.sort(span * centers + low, -1), low, domain.max_depth)
        # Weights of the bins, from the probability of a binomial distribution and its temperature.
        size = features.shape[1:3]
        y = jnp.concatenate([features, resize(embeddings[-1], size, align_corners=True)], -1)
        hidden = y.shape[-1] // (4 if several else 2)
        pairs = to_acc_dtype(self._mlp(hidden, 4, f"conditional_log_binomial{suffix}", gelu)(y))
        pairs = nn.softplus(pairs) + 1e-4
        prob, heat = (pairs[..., i] / (pairs[..., i] + pairs[..., i + 1]) for i in (0, 2))
        coldest, hottest = self.temperatures
        weights = binomial_weights(prob, (hottest - coldest) * heat + coldest, domain.num_bins)
        return (weights * resize(centers, size, align_corners=True)).sum(-1)

    def _domain_logits(self, x: jax.Array) -> jax.Array:
        """Return the score of each domain, [B, number of domains], from the coarsest map."""
        y = Dense(128, dtype=self.dtype, name="patch_transformer_embedding_convPxP")(x)
        # The class token starts at 0.
        y = jnp.pad(y.reshape(len(y), -1, 128), ((0, 0), (1, 0), (0, 0)))
        encoding = sinusoidal_encoding(y.shape[1], 128)  # sines and cosines in turn; here all sines are first
        y = y + jnp.concatenate([encoding[:, ::2], encoding[:, 1::2]], -1).astype(y.dtype)
        for i in range(4):
            name = f"patch_transformer_transformer_encoder_{i}"
            block = TransformerEncoderBlock(
                self.router_heads, self.router_features, fused_qkv=False, dtype=self.dtype, name=name
            )
            y = block(y)
        return to_acc_dtype(self._mlp(128, len(self.domains), "mlp_classifier")(y[:, 0]))
