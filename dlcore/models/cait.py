"""CaiT: a deep ViT of patches alone, whose class token enters late and reads them by class attention.

Touvron et al., "Going deeper with image transformers" (2021), arXiv:2103.17239.

    z = patches E + positions
    z = z + g_1 MHA(LN(z)),   z = z + g_2 MLP(LN(z))        depth times;  g: a factor of each channel (layer scale)
    MHA       talking heads: the scores of the heads are mixed before the softmax, and the weights behind it
    c = c + g_1 Attention(query LN(c), keys and values LN([c; z])),   c = c + g_2 MLP(LN(c))       twice, z stays
    logits = head(LN(c))

Small factors keep blocks near the identity at first, which lets deeper networks train; a class token that comes late
does not ask the first blocks to mix patches and to sum them up at once. Drop path has one rate for all blocks. Weights
are timm's, which the authors' share.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models import vit
from dlcore.models.fields import CheckedFields
from dlcore.models.vit import ViT
from dlcore.nn import FeedForward, LayerNorm, MultiHeadAttention, gelu
from dlcore.ops.precision import acc_dtype_of

__all__ = ["MODELS", "CaiT", "ClassAttentionBlock"]

KERNEL_INIT = nn.initializers.truncated_normal(0.02)
TORCH_NAMES = (
    (r"^patch_embed\.", "patch_embed.proj."),
    (r"^pos_embed\.weight", "pos_embed"),
    (r"\.layer_scale(\d)$", r".gamma_\1"),
    (r"^(blocks_token_only\.\d+\.attn\.)(q|k|v)(?:uery|ey|alue)\.", r"\1\2."),
)
from_torch = vit.from_torch


class ClassAttentionBlock(CheckedFields):
    """Class attention and an MLP on the class token, [B, 1, D] and [B, N, D] -> [B, 1, D].

    Args:
      num_heads: attention heads; divides D.
      hidden_features: units of the MLP.
      layer_scale: initial factor of each channel of a branch, a parameter `layer_scale1` or `layer_scale2`.
    """

    num_heads: int
    hidden_features: int
    layer_scale: float = 1e-5
    epsilon: float = 1e-6
    dtype: Any = None

    @nn.compact
    def __call__(self, token: jax.Array, patches: jax.Array) -> jax.Array:
        """Apply the block.

        Args:
          token: [B, 1, D], the class token.
          patches: [B, N, D].

        Returns:
          [B, 1, D].
        """

        def scaled(x: jax.Array, i: int) -> jax.Array:
            init = nn.initializers.constant(self.layer_scale)
            return x * self.param(f"layer_scale{i}", init, x.shape[-1:]).astype(x.dtype)

        x = LayerNorm(self.epsilon, dtype=self.dtype, name="norm1")(jnp.concatenate([token, patches], 1))
        attention = MultiHeadAttention(self.num_heads, dtype=self.dtype, kernel_init=KERNEL_INIT, name="attn")
        token = token + scaled(attention(x[:, :1], x), 1)
        mlp = FeedForward(self.hidden_features, gelu, dtype=self.dtype, kernel_init=KERNEL_INIT, name="mlp")
        return token + scaled(mlp(LayerNorm(self.epsilon, dtype=self.dtype, name="norm2")(token)), 2)


class CaiT(ViT):
    """A ViT with talking heads and class attention, on [B, H, W, C]; stages are those of `ViT`.

    All fields of `ViT`.

    Args:
      drop_path: probability of dropping a block's branches of an example in training, the same for all blocks.
      layer_scale: initial factor of each channel of a block's branches, which is learned.
      class_depth: blocks of class attention.
    """

    layer_scale: float | None = 1e-5
    class_depth: int = 2

    pools = ("token",)
    moves_token = False
    final_norm = False

    INITS = ViT.INITS | {"token": KERNEL_INIT, "kernel": KERNEL_INIT, "out": KERNEL_INIT, "bias": nn.initializers.zeros}

    def _block_fields(self) -> dict[str, Any]:
        return {"talking_heads": True}

    def _drop_path_rate(self, i: int) -> float:
        return self.drop_path

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if self.layer_scale is None:
            raise ValueError("layer_scale=None: of class attention; allowed: a number")
        return self._encode(x, train, {})

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        token = self.param("cls_token", self.INITS["token"], (1, 1, self.width)).astype(x.dtype)
        token = jnp.broadcast_to(token, (len(x), 1, self.width))
        for i in range(self.class_depth):
            token = ClassAttentionBlock(
                self.num_heads,
                self.mlp_features,
                self.layer_scale,
                self.epsilon,
                self.dtype,
                name=f"blocks_token_only_{i}",
            )(token, x)
        tokens = jnp.concatenate([token, x], 1)
        return self._classify(self._norm("norm", acc_dtype_of(x.dtype))(tokens)[:, 0], "head")


def _variant(width: int, depth: int, num_heads: int, image_size: int, layer_scale: float = 1e-5) -> functools.partial:
    return functools.partial(
        CaiT,
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_features=4 * width,
        image_size=image_size,
        layer_scale=layer_scale,
    )


MODELS = {
    "cait_xxs24_224": _variant(192, 24, 4, 224),
    "cait_xxs24_384": _variant(192, 24, 4, 384),
    "cait_xxs36_224": _variant(192, 36, 4, 224),
    "cait_xxs36_384": _variant(192, 36, 4, 384),
    "cait_xs24_384": _variant(288, 24, 6, 384),
    "cait_s24_224": _variant(384, 24, 8, 224),
    "cait_s24_384": _variant(384, 24, 8, 384),
    "cait_s36_384": _variant(384, 36, 8, 384, 1e-6),
    "cait_m36_384": _variant(768, 36, 16, 384, 1e-6),
    "cait_m48_448": _variant(768, 48, 16, 448, 1e-6),
}
INPUT_SHAPES = {
    name: (side, side, 3) for name, variant in MODELS.items() if (side := variant.keywords["image_size"]) != 224
}
