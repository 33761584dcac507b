"""EVA-02: a ViT with rotary positions of the grid, gated MLPs, and a norm inside the MLPs of the larger sizes.

Fang et al., "EVA-02: a visual representation for neon genesis" (2023), arXiv:2303.11331.

    z = [class token; patches E] + positions
    z = z + MHA(LN(z)),   z = z + W_2 LN(silu(W_g LN(z)) W_1 LN(z))       the inner LN (sub-LN) in base and large
    half of a head's pairs of channels turn by 16 row / rows / 10000^(4 i / D), the others by the column     i < D / 4
    features = LN(mean over patches of z)

The pairs are neighboring channels; the class token does not turn. Queries and values have a bias, keys have none. The
angles are those of a 16 x 16 grid, over which larger ones are spread; the table of positions is interpolated. Weights
are timm's, or the authors' own; sizes for 224 pixels were published without a head.
"""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models import vit
from dlcore.models.torch_weights import Layout
from dlcore.models.vit import TRUNCATED_INITS, ViT
from dlcore.nn.rotary import axial_angles

__all__ = ["EVA02", "MODELS", "from_torch"]

GRID = 16
"""Rows and columns of the grid whose angles all others share."""

TORCH_NAMES = (*vit.TIMM_NAMES, (r"\.mlp\.(gate|fc1)\.", ".mlp.fc1."))
TORCH_OLD_NAMES = ((r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2."))
TORCH_IGNORED = r"(^|\.)rope\.|^mask_token$"
TORCH_LAYOUTS = (
    Layout(
        r"\.attn\.k_proj\.",
        names=(
            *vit.TIMM_NAMES,
            (r"^(.*)\.attn\.qkv\.(.*)", r"\1.attn.q_proj.\2 + \1.attn.k_proj.\2 + \1.attn.v_proj.\2"),
            (r"\.attn\.(q|v)_bias$", r".attn.\1_proj.bias"),
            (r"\.mlp\.gate\.", ".mlp.fc1_g."),
            (r"\.mlp\.fc1\.", ".mlp.fc1_x."),
        ),
        older=(
            (r"\.attn\.(q|v)_bias$", r".attn.\1_proj.bias"),
            (r"\.mlp\.ffn_ln\.", ".mlp.norm."),
            (r"\.mlp\.w1\.", ".mlp.fc1_g."),
            (r"\.mlp\.w2\.", ".mlp.fc1_x."),
            (r"\.mlp\.w3\.", ".mlp.fc2."),
        ),
        ignored=TORCH_IGNORED,
    ),
)
"""Those of base and large, whose projections are layers of their own; those of tiny and small are joined."""


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Interpolate a position table, or cut a gated MLP's first layer, whose gate comes first."""
    part = re.search(r"/mlp/(gate|fc1)/", path)
    if part is None or len(value) != 2 * shape[-1]:
        return vit.from_torch(path, value, shape)
    return np.split(value, 2)[part[1] == "fc1"].T


class EVA02(ViT):
    """A ViT with rotary positions of the grid and gated MLPs, on [B, H, W, C]; stages are those of `ViT`.

    All fields of `ViT`.

    Args:
      pool: what the head sees: mean, the normalized mean over patches, or token, the class token after a norm of all
        tokens.
      mlp_norm: normalize the units of a block's MLP before its last layer (sub-LN).
    """

    num_classes: int = 0
    patch_size: int = 14
    pool: str = "mean"
    mlp_norm: bool = False

    moves_token = False
    swiglu = True

    INITS = TRUNCATED_INITS

    @property
    def final_norm(self) -> bool:
        """Whether a norm follows the last block: only the class token is read behind one."""
        return self.pool == "token"

    def _block_fields(self) -> dict[str, Any]:
        return {"qkv_bias": "qv", "rotary_pairs": "neighbors", "mlp_norm": self.mlp_norm}

    def _relation(self, i: int, grid: tuple[int, int]) -> dict[str, jax.Array]:
        rows, columns = (jnp.arange(n, dtype=jnp.float32) / n * GRID for n in grid)
        return {"angles": axial_angles(rows, columns, self.width // self.num_heads)}

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        return self._encode(x, train, {"cls_token": self.INITS["token"]})

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        return self._classify(x[:, 0] if self.pool == "token" else self._mean_of_patches(x), "head")


_SIZES = {
    "tiny": {"width": 192, "depth": 12, "num_heads": 3, "mlp_features": 512},
    "small": {"width": 384, "depth": 12, "num_heads": 6, "mlp_features": 1024},
    "base": {"width": 768, "depth": 12, "num_heads": 12, "mlp_features": 2048, "mlp_norm": True},
    "large": {"width": 1024, "depth": 24, "num_heads": 16, "mlp_features": 2730, "mlp_norm": True},
}
_SIDES = {"tiny": 336, "small": 336, "base": 448, "large": 448}
MODELS = {
    **{f"eva02_{size}_patch14_224": functools.partial(EVA02, **fields) for size, fields in _SIZES.items()},
    **{
        f"eva02_{size}_patch14_{_SIDES[size]}": functools.partial(
            EVA02, image_size=_SIDES[size], num_classes=1000, **fields
        )
        for size, fields in _SIZES.items()
    },
}
INPUT_SHAPES = {f"eva02_{size}_patch14_{side}": (side, side, 3) for size, side in _SIDES.items()}
