"""BEiT: a ViT whose attention has a relative position bias in every block, in place of a table of positions.

Bao et al., "BEiT: BERT pre-training of image transformers" (2021), arXiv:2106.08254; Peng et al., "BEiT v2" (2022),
arXiv:2208.06366, and Baevski et al., "data2vec" (2022), arXiv:2202.03555, train the same network. Li et al., "DiT"
(2022), arXiv:2203.02378, train it on scanned documents with a table of positions, which is added to the tokens.

    weights = softmax(Q K^T / sqrt(d) + B),   B_h(i, j) = T_h[y_i - y_j, x_i - x_j]       a table T for each block
    z = z + g_1 MHA(LN(z)),   z = z + g_2 MLP(LN(z))                                      g: a factor of each channel
    logits = head(LN(mean over patches of z))

Three more entries of T are those of the class token on patches, of patches on it, and of it on itself. Queries and
values have a bias, keys have none. Weights may be timm's (as Microsoft's) or those of transformers'
BeitForImageClassification, BeitModel and Data2VecVisionModel, whose layer norms have `epsilon=1e-12`; a model without
a pooler is `pool="none", num_classes=0`. For images of another size T is interpolated (bilinear, as in transformers).
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.models import vit
from dlcore.models.torch_weights import Layout
from dlcore.models.vit import TRUNCATED_INITS, ViT
from dlcore.nn import RelativePositionBias
from dlcore.nn.position import interpolate_offsets

__all__ = ["MODELS", "BEiT", "from_torch"]

TORCH_NAMES = (
    (r"^patch_embed\.", "patch_embed.proj."),
    (r"^bias_table\.(\d+)\.weight$", r"blocks.\1.attn.relative_position_bias_table"),
    (r"\.layer_scale(\d)$", r".gamma_\1"),
)
TORCH_IGNORED = r"\.relative_position_index$|(^|\.)mask_token$"
TORCH_LAYOUTS = (
    Layout(
        vit.TRANSFORMERS.pattern,
        names=(
            (r"\.attn\.(q|v)_bias$", r".attention.\1_proj.bias"),
            (r"^bias_table\.(\d+)\.weight$", r"layers.\1.relative_position_bias.relative_position_bias_table"),
            (r"\.layer_scale(\d)$", r".lambda_\1"),
            (r"^fc_norm\.", "pooler.layernorm."),
            *vit.TRANSFORMERS.names,
        ),
        older=(
            (r"^(beit|data2vec_vision)\.", ""),
            (r"\.attention\.attention\.relative_position_bias\.", ".relative_position_bias."),
            *vit.TRANSFORMERS.older,
        ),
        ignored=TORCH_IGNORED,
    ),
)


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Interpolate a table of positions, or of relative position biases, to another square grid."""
    if path.endswith("pos_embed/embedding"):
        return vit.from_torch(path, value, shape)
    if not path.startswith("params/bias_table_") or value.shape == shape:
        return None
    old, new = (round(((rows - 3) ** 0.5 + 1) / 2) for rows in (len(value), shape[0]))
    if ((2 * old - 1) ** 2 + 3, (2 * new - 1) ** 2 + 3) != (len(value), shape[0]):
        return None
    return np.asarray(interpolate_offsets(jnp.asarray(value), (old, old), (new, new), class_token=True))


class BEiT(ViT):
    """A ViT with a relative position bias in every block, on [B, H, W, C]; stages are those of `ViT`.

    All fields of `ViT`.

    Args:
      image_size: side in pixels of the square images whose tables of biases are learned; they are interpolated for
        other sizes.
      pool: what the head sees: mean, the normalized mean over patches; token, the class token after a norm of all
        tokens; or none, for num_classes=0: a call gives all tokens [B, 1 + N, width].
      layer_scale: initial factor of each channel of a block's branches, which is learned.
      relative_bias: whether attention has a relative position bias in every block.
      absolute_positions: whether a learned table of positions is added to the tokens.
    """

    pool: str = "mean"
    layer_scale: float | None = 0.1
    relative_bias: Annotated[bool, "if changed"] = True
    absolute_positions: Annotated[bool, "if changed"] = False

    pools = ("mean", "token", "none")
    moves_token = False

    INITS = TRUNCATED_INITS

    @property
    def learned_positions(self) -> bool:
        """Whether a table of positions is added, see `ViT`."""
        return self.absolute_positions

    @property
    def final_norm(self) -> bool:
        """Whether a norm follows the last block: only the class token is read behind one."""
        return self.pool == "token"

    def _block_fields(self) -> dict[str, Any]:
        return {"qkv_bias": "qv"}

    def _relation(self, i: int, grid: tuple[int, int]) -> dict[str, jax.Array]:
        if not self.relative_bias:
            return {}
        side = self.image_size // self.patch_size
        table = RelativePositionBias(
            (side, side), self.num_heads, nn.initializers.zeros, class_token=True, name=f"bias_table_{i}"
        )
        return {"bias": table(grid)}

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if self.pool == "none" and self.num_classes:
            raise ValueError(f"num_classes={self.num_classes}: pool='none' leaves the head nothing to see; allowed: 0")
        return self._encode(x, train, {"cls_token": self.INITS["token"]})

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        if self.pool == "none":
            return x
        return self._classify(x[:, 0] if self.pool == "token" else self._mean_of_patches(x), "head")


_BASE = {"width": 768, "depth": 12, "num_heads": 12, "mlp_features": 3072}
_LARGE = {"width": 1024, "depth": 24, "num_heads": 16, "mlp_features": 4096, "layer_scale": 1e-5}
MODELS = {
    "beit_base_patch16_224": functools.partial(BEiT, **_BASE),
    "beit_base_patch16_384": functools.partial(BEiT, image_size=384, **_BASE),
    **{f"beit_large_patch16_{size}": functools.partial(BEiT, image_size=size, **_LARGE) for size in (224, 384, 512)},
    "beitv2_base_patch16_224": functools.partial(BEiT, **_BASE, layer_scale=1e-5),
    "beitv2_large_patch16_224": functools.partial(BEiT, **_LARGE),
    "data2vec_vision_base": functools.partial(BEiT, **_BASE, layer_scale=1e-4, epsilon=1e-12),
    "data2vec_vision_large": functools.partial(BEiT, **_LARGE, epsilon=1e-12),
}
INPUT_SHAPES = {
    "beit_base_patch16_384": (384, 384, 3),
    "beit_large_patch16_384": (384, 384, 3),
    "beit_large_patch16_512": (512, 512, 3),
}
