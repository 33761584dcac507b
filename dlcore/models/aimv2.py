"""AIMv2's encoder: a ViT without a class token, with RMS norms, gated MLPs and no biases.

Fini et al., "Multimodal autoregressive pre-training of large vision encoders" (2024), arXiv:2411.14402. The encoder of
a model that writes the patches and the caption of an image one by one; published without a head.

    z = RMS(patches E) + positions                                RMS(x) = g x / sqrt(mean x^2 + epsilon)
    z = z + MHA(RMS(z)),   z = z + W_2 (silu(W_g RMS(z)) W_1 RMS(z));         features = RMS(z)
    pool="mean"         the mean over tokens, as in timm
    pool="attention"    a learned query, not projected, attends to the tokens; then a linear layer   (transformers)

Weights may be timm's, Apple's own or those of transformers' Aimv2VisionModel. Here is the network of a fixed grid,
whose positions are interpolated for other images; that of native resolutions, with sines, is not.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.models import vit
from dlcore.models.fields import CheckedFields
from dlcore.models.torch_weights import Layout
from dlcore.models.vit import ViT
from dlcore.nn import Dense, dot_product_attention

__all__ = ["MODELS", "AIMv2", "AttentionPool", "from_torch"]

TORCH_NAMES = (
    *vit.TIMM_NAMES,
    (r"^patch_norm\.", "patch_embed.norm."),
    (r"\.mlp\.gate\.", ".mlp.fc1_g."),
    (r"\.mlp\.fc1\.", ".mlp.fc1_x."),
)
TORCH_OLD_NAMES = (
    (r"^preprocessor\.patchifier\.", "patch_embed."),
    (r"^preprocessor\.pos_embed$", "pos_embed"),
    (r"^trunk\.(?=blocks|post)", ""),
    (r"^post_trunk_norm\.", "norm."),
    (r"\.norm_(\d)\.", r".norm\1."),
    (r"\.mlp\.fc1\.", ".mlp.fc1_g."),
    (r"\.mlp\.fc3\.", ".mlp.fc1_x."),
)
"""Apple's names."""
TORCH_LAYOUTS = (
    Layout(
        r"^embeddings\.patch_embed\.",
        names=(
            (r"^patch_embed\.", "embeddings.patch_embed."),
            (r"^patch_norm\.", "embeddings.rms_norm."),
            (r"^pos_embed\.", "embeddings.position_embedding."),
            (r"^norm\.", "rms_norm."),
            (r"^blocks\.", "encoder.layers."),
            (r"\.norm(\d)\.", r".rms_norm\1."),
            (r"\.attn\.proj\.", ".attention.out_proj."),
            (r"^(.*)\.attn\.qkv\.(.*)", r"\1.attention.q_proj.\2 + \1.attention.k_proj.\2 + \1.attention.v_proj.\2"),
            (r"\.mlp\.gate\.", ".ffn.gate_proj."),
            (r"\.mlp\.fc1\.", ".ffn.up_proj."),
            (r"\.mlp\.fc2\.", ".ffn.down_proj."),
            (r"^attention_pool\.cls_token$", "head.cls_token"),
            (r"^attention_pool\.key\.", "head.k_proj."),
            (r"^attention_pool\.value\.", "head.v_proj."),
            (r"^attention_pool\.proj\.", "head.output_proj."),
        ),
        older=((r"^vision_model\.", ""),),
    ),
)
"""Transformers' names."""


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Interpolate a position table to another square grid."""
    return vit.from_torch(
        path, value[None] if path.endswith("pos_embed/embedding") and value.ndim == 2 else value, shape
    )


class AttentionPool(CheckedFields):
    """Pool tokens by attention of one learned query, [B, N, D] -> [B, D].

    Parameters `cls_token`, the query of all heads, and layers `key`, `value` (no biases) and `proj`.

    Args:
      num_heads: attention heads; divides D.
      kernel_init: initializer of all kernels.
    """

    num_heads: int
    dtype: Any = None
    kernel_init: Any = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool.

        Args:
          x: [B, N, D].

        Returns:
          [B, D].
        """
        width = x.shape[-1]

        def heads(x: jax.Array) -> jax.Array:
            return x.reshape(*x.shape[:-1], self.num_heads, width // self.num_heads)

        dense = functools.partial(Dense, width, dtype=self.dtype, kernel_init=self.kernel_init)
        query = self.param("cls_token", nn.initializers.normal(0.02), (1, 1, width)).astype(x.dtype)
        key, value = (heads(dense(use_bias=False, name=name)(x)) for name in ("key", "value"))
        query = jnp.broadcast_to(heads(query), (len(x), 1, *key.shape[2:]))
        return dense(name="proj")(dot_product_attention(query, key, value).reshape(len(x), width))


class AIMv2(ViT):
    """A ViT with RMS norms and gated MLPs, on [B, H, W, C]; stages are those of `ViT`.

    All fields of `ViT`.

    Args:
      num_classes: number of classes, the length of the logits; 0, as published: no head, a call gives what it would
        see.
      pool: what the head sees: mean, the mean over tokens, or attention, what a learned query attends to.
      epsilon: added to mean squares by the RMS norms.
    """

    num_classes: int = 0
    patch_size: int = 14
    pool: str = "mean"
    epsilon: float = 1e-5

    pools = ("mean", "attention")
    moves_token = False
    swiglu = True
    norm_kind = "rms"

    def _block_fields(self) -> dict[str, Any]:
        return {"use_bias": False}

    def _embed(self, x: jax.Array, features: int, dtype: Any) -> jax.Array:
        return self._norm("patch_norm", dtype)(super()._embed(x, features, dtype))

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        return self._encode(x, train, {})

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        if self.pool == "mean":
            return self._classify(x.mean(1), "head")
        return self._classify(AttentionPool(self.num_heads, x.dtype, name="attention_pool")(x), "head")


_SIZES = {
    "large": {"width": 1024, "depth": 24, "num_heads": 8, "mlp_features": 2816},
    "huge": {"width": 1536, "depth": 24, "num_heads": 12, "mlp_features": 4096},
    "1b": {"width": 2048, "depth": 24, "num_heads": 16, "mlp_features": 5632},
    "3b": {"width": 3072, "depth": 24, "num_heads": 24, "mlp_features": 8192},
}
MODELS = {
    f"aimv2_{size}_patch14_{side}": functools.partial(AIMv2, image_size=side, **fields)
    for side in (224, 336, 448)
    for size, fields in _SIZES.items()
}
INPUT_SHAPES = {name: (side, side, 3) for side in (336, 448) for name in MODELS if name.endswith(str(side))}
