"""LightGlue: matches of the keypoints of two images, by attention that stops early where matches are easy.

Lindenberger, Sarlin & Pollefeys, "LightGlue: local feature matching at light speed" (2023), arXiv:2306.13643.

    z = z + MLP([z, MHA(z)]),   z = z + MLP([z, MHA(z, z')])    queries and keys of the first turn by W p, p: location
    c = sigmoid(w_c z),   m = sigmoid(w_m z)                    z is final; z has a match
    log P_ij = log softmax_j S + log softmax_i S + log m_i + log m'_j,    S_ij = <W z_i, W z'_j> / sqrt(D)

After each layer a pair of images whose keypoints are mostly sure (c) is matched by that layer's P, and the keypoints of
other pairs that surely have no match are pruned. Arrays keep their sizes: what is pruned is hidden, and a pair that has
stopped keeps its matches. Weights are those of transformers' LightGlueForKeypointMatching
(`ETH-CVG/lightglue_superpoint`), SuperPoint's among them.
"""

import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.nn import Dense, LayerNorm, MultiHeadAttention
from dlcore.ops.precision import to_acc_dtype
from dlcore.vision3d.superglue import mutual_matches, other_image
from dlcore.vision3d.superpoint import SuperPoint

__all__ = ["LightGlue"]


class LightGlue(CheckedFields):
    """Keypoints of pairs of images [B, 2, H, W, C] in [0, 1], and which of them match.

    Args:
      detector: finds keypoints.
      features: D, channels of a keypoint; divisible by twice num_heads.
      num_layers: L, layers of self-attention and cross-attention.
      num_heads: attention heads.
      num_kv_heads: heads of keys and values; None means num_heads.
      use_bias: attention has biases.
      stop_ratio: part of a pair's keypoints that must be sure for it to stop; None: all pairs take all layers.
      prune_confidence: a sure keypoint is pruned where m is at most 1 minus this; None: none is.
      threshold: least probability of a match.
    """

    detector: SuperPoint
    features: Annotated[int, Range(1)] = 256
    num_layers: Annotated[int, Range(1)] = 9
    num_heads: Annotated[int, Range(1)] = 4
    num_kv_heads: Annotated[int, Range(1)] | None = None
    use_bias: bool = True
    stop_ratio: Annotated[float, Range(0)] | None = 0.95
    prune_confidence: Annotated[float, Range(0)] | None = 0.99
    threshold: Annotated[float, Range(0)] = 0.1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Match keypoints.

        Args:
          x: [B, 2, H, W, C], pairs of images.
          train: accepted as by other networks; nothing differs.

        Returns:
          keypoints [B, 2, K, 2], (x, y) in pixels, and mask [B, 2, K] as the detector gives them; matches [B, 2, K],
          index of the keypoint in the other image, -1 for none, matching_scores [B, 2, K], their probabilities, and
          prune [B, 2, K], number of layers that read a keypoint (all where nothing stops or is pruned).
        """
        pairs, size = len(x), jnp.array([x.shape[3], x.shape[2]])
        points = self.detector(x.reshape(-1, *x.shape[2:]))
        detected = points["mask"].reshape(pairs, 2, -1)
        z, mask = points["descriptors"], detected
        if z.shape[-1] != self.features:
            z = Dense(self.features, dtype=self.dtype, name="input_projection")(z)
        locations = (points["keypoints"] - size / 2) / (size.max() / 2)
        half = self.features // self.num_heads // 2
        angles = Dense(half, use_bias=False, name="positional_encoder_projector")(locations)[:, :, None]
        stopped = jnp.zeros(pairs, bool)
        matches, probs, layers = jnp.full(mask.shape, -1), jnp.zeros(mask.shape), jnp.ones(mask.shape, int)
        for i in range(self.num_layers):
            z = self._layer(z, mask.reshape(2 * pairs, -1), angles, f"transformer_layers_{i}")
            log_probs, match_logits = self._assign(z, mask, f"match_assignment_layers_{i}")
            stops = jnp.full(pairs, i == self.num_layers - 1)
            if i < self.num_layers - 1:
                sureness = Dense(1, dtype=self.dtype, name=f"token_confidence_{i}_token")(jax.lax.stop_gradient(z))
                # The paper's threshold falls from layer to layer.
                is_sure = nn.sigmoid(sureness).reshape(mask.shape) >= 0.8 + 0.1 * math.exp(-4 * i / self.num_layers)
                if self.stop_ratio is not None:
                    unsure = (mask & ~is_sure).sum((1, 2)) / jnp.maximum(detected.sum((1, 2)), 1)
                    stops = 1 - unsure > self.stop_ratio
                if self.prune_confidence is not None:
                    mask &= ~is_sure | (nn.sigmoid(match_logits) > 1 - self.prune_confidence)
            is_new = (stops & ~stopped)[:, None, None]
            new_matches, new_probs = mutual_matches(log_probs, 0.0)
            matches, probs = jnp.where(is_new, new_matches, matches), jnp.where(is_new, new_probs, probs)
            stopped |= stops
            layers += mask & ~stopped[:, None, None]
        if self.stop_ratio is None and self.prune_confidence is None:
            layers = jnp.full(mask.shape, self.num_layers)
        return {
            "keypoints": points["keypoints"].reshape(pairs, 2, -1, 2),
            "mask": detected,
            "matches": jnp.where(probs > self.threshold, matches, -1),
            "matching_scores": probs,
            "prune": layers,
        }

    def _layer(self, z: jax.Array, mask: jax.Array, angles: jax.Array, name: str) -> jax.Array:
        """Attend within each image, then to the other one; z [2 B, K, D]."""
        for kind in ("self", "cross"):
            attention = MultiHeadAttention(
                self.num_heads,
                num_kv_heads=self.num_kv_heads,
                use_bias=self.use_bias,
                rotary_pairs="neighbors",
                dtype=self.dtype,
                name=f"{name}_{kind}_attention",
            )
            if kind == "self":
                message = attention(z, mask=mask[:, None, None], angles=angles)
            else:
                message = attention(z, other_image(z), mask=other_image(mask)[:, None, None])
            y = jnp.concatenate([z, message], -1)
            y = Dense(2 * self.features, dtype=self.dtype, name=f"{name}_{kind}_mlp_fc1")(y)
            y = LayerNorm(epsilon=1e-5, dtype=self.dtype, name=f"{name}_{kind}_mlp_layer_norm")(y)
            y = nn.gelu(y, approximate=False)
            z += Dense(self.features, dtype=self.dtype, name=f"{name}_{kind}_mlp_fc2")(y)
        return z

    def _assign(self, z: jax.Array, mask: jax.Array, name: str) -> tuple[jax.Array, jax.Array]:
        """(log P [B, K, K], logits of m [B, 2, K]) of z [2 B, K, D]."""
        projected = Dense(self.features, dtype=self.dtype, name=f"{name}_final_projection")(z)
        projected = to_acc_dtype(projected).reshape(*mask.shape, -1)
        logits = to_acc_dtype(Dense(1, dtype=self.dtype, name=f"{name}_matchability")(z)).reshape(mask.shape)
        scores = jnp.einsum("bnd,bmd->bnm", projected[:, 0], projected[:, 1]) / self.features**0.5
        both, least = mask[:, 0, :, None] & mask[:, 1, None], jnp.finfo(scores.dtype).min
        scores = jnp.where(both, scores, least)
        log_probs = nn.log_softmax(scores, 2) + nn.log_softmax(scores, 1)
        log_probs += nn.log_sigmoid(logits[:, 0, :, None]) + nn.log_sigmoid(logits[:, 1, None])
        return jnp.where(both, log_probs, least), logits


TORCH_NAMES = (
    (r"^detector\.encoder_conv_blocks\.(\d+)_", r"keypoint_detector.encoder.conv_blocks.\1."),
    (r"^detector\.(keypoint|descriptor)_decoder_conv", r"keypoint_detector.\1_decoder.conv"),
    (r"^positional_encoder_", "positional_encoder."),
    (r"^(transformer_layers|match_assignment_layers|token_confidence)\.(\d+)_", r"\1.\2."),
    (r"_mlp_", "_mlp."),
    (r"_attention\.(q|k|v)[a-z]+\.", r"_attention.\1_proj."),
    (r"_attention\.proj\.", "_attention.o_proj."),
)
